"""A run as an MLflow run. Needs the package `mlflow-skinny`, or `mlflow`.

| MLflow    | holds                                                                                        |
|-----------|----------------------------------------------------------------------------------------------|
| params    | every setting in force, as "table.key", cut at 500 characters                                |
| metrics   | by round: accuracy by ballots where it is not hidden, ε, members accepted and refused, gate  |
|           | at the end: each baseline's and this run's mean accuracy over sites                          |
| artifacts | report.html, and the run's public folder                                                     |
| tags      | phalanx.run (a resumed run goes on in the same MLflow run), phalanx.stopped                  |

A folder is written directly and nothing crosses a network. With a tracking URI of yours it goes where you say, the
report with every site's accuracy too. MLflow sends reports of its use to its makers unless it is told not to, and
writes folders only where it is asked to: both are told to it here, before it is loaded, through the environment
variables MLFLOW_DISABLE_TELEMETRY and MLFLOW_ALLOW_FILE_STORE, unless you have set them.
"""

from __future__ import annotations

import json
import os
from importlib import import_module
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from phalanx.config import Settings
from phalanx.errors import NotAvailable
from phalanx.federation.callbacks import Callback, Started
from phalanx.federation.figures import figures_of
from phalanx.round.coordinator import RoundRecord

if TYPE_CHECKING:
    from phalanx.federation.result import Result

RUN_TAG, STOPPED_TAG = "phalanx.run", "phalanx.stopped"
_LONGEST = 500  # characters of a parameter; older servers take no more
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ALLOW_FILE_STORE": "true"}


class MLflow(Callback):
    """Writes to a `folder` of MLflow's format, or to a `tracking_uri` in place of it.

    Raises NotAvailable without MLflow. The experiment is the federation's name unless `experiment` says otherwise.
    """

    def __init__(
        self, folder: Path | str = "mlruns", *, tracking_uri: str | None = None, experiment: str | None = None
    ) -> None:
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        try:
            client = import_module("mlflow").MlflowClient
        except ModuleNotFoundError as error:
            raise NotAvailable(
                f"not available: the MLflow exporter needs {error.name}", hint="pip install mlflow-skinny"
            ) from None
        self._client: Any = client(tracking_uri=tracking_uri or Path(folder).resolve().as_uri())
        self._experiment = experiment
        self._id = ""

    def started(self, run: Started) -> None:
        """Makes an MLflow run with the settings, or finds that of an earlier session."""
        experiment = self._experiment_id(self._experiment or run.settings.federation.name)
        known = self._client.search_runs([experiment], f"tags.`{RUN_TAG}` = '{run.run}'")
        if known:
            self._id = known[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
        else:
            self._id = self._client.create_run(experiment, tags={RUN_TAG: run.run}, run_name=run.run).info.run_id
            for name, value in flattened(run.settings).items():
                self._client.log_param(self._id, name, value)
        for record in run.closed[-1:] if known else run.closed:  # the last may have been closed just before a crash
            self.round_closed(record)

    def round_closed(self, record: RoundRecord) -> None:
        """Logs the round's metrics."""
        for name, value in figures_of(record).items():
            self._client.log_metric(self._id, name, value, step=record.round)

    def ended(self, result: Result) -> None:
        """Logs the comparison, the report and the public folder, and ends the MLflow run."""
        base = result.baselines
        ways = {} if base is None else {"alone": base.alone, "plain": base.plain, "pooled": base.pooled}
        for name, shares in {**ways, "here": result.accuracy}.items():
            if shares:
                self._client.log_metric(self._id, f"sites/{name}", fmean(shares.values()), step=len(result.records))
        with TemporaryDirectory() as folder:
            page = Path(folder) / "report.html"
            result.save_report(page)
            self._client.log_artifact(self._id, str(page))
        if result.public is not None:
            self._client.log_artifacts(self._id, str(result.public), "public")
        if result.stopped:
            self._client.set_tag(self._id, STOPPED_TAG, result.stopped[:_LONGEST])
        self._client.set_terminated(self._id, status="FAILED" if result.stopped else "FINISHED")

    def _experiment_id(self, name: str) -> str:
        known = self._client.get_experiment_by_name(name)
        return str(self._client.create_experiment(name) if known is None else known.experiment_id)


def flattened(settings: Settings) -> dict[str, str]:
    """Every setting that has a value, as "table.key" and JSON."""
    tables = settings.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {
        f"{table}.{key}": (value if isinstance(value, str) else json.dumps(value))[:_LONGEST]
        for table, keys in tables.items()
        for key, value in keys.items()
    }
