"""Exporters: what other programs read of a run, also of one that was interrupted."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from phalanx.errors import ConfigError, GateRefusal, NotAvailable
from phalanx.federation import Started, json_lines
from phalanx.federation.figures import figures_of
from phalanx.federation.json_lines import JsonLines
from phalanx.federation.mlflow import MLflow
from phalanx.federation.tensorboard import TensorBoard
from phalanx.gate import SiteRow, SiteTable
from phalanx.round.coordinator import RoundRecord
from phalanx.types import MemberId, Reason, Refusal, Verdict
from tests.federation import small

HEAD = {"schema", "event", "run", "time"}


def _events(path: Path) -> list[dict[str, Any]]:
    lines = path.read_bytes().split(b"\n")
    assert lines.pop() == b""
    return [json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is not JSON")) for line in lines]


def _started(**changes: Any) -> Started:
    settings = small.federation().settings
    return replace(Started(settings, "ab12", settings.members, (), ()), **changes)


def _record(**changes: Any) -> RoundRecord:
    member = MemberId("m-0")
    record = RoundRecord(
        round=1,
        attempt=1,
        version=1,
        accepted=(member,),
        refused=(Refusal(MemberId("m-1"), Reason.NOT_FINITE, "words of a member"),),
        weights=(1.0,),
        verdict=Verdict(passed=True, test="all classes together", p_value=0.25, worse=3, better=4, voters=5),
        sites=SiteTable((SiteRow(member, 0.5, 0.6, 10), SiteRow(MemberId("m-2"), 0.9, 0.9, 10))),
        epsilon=1.5,
        model="sha256:00",
    )
    return replace(record, **changes)


# ----------------------------------------------------------------------------------------------------------- JSON lines


def test_a_run_is_one_object_a_line_from_its_start_to_its_end(tmp_path: Path) -> None:
    result = small.federation(privacy=small.PRIVACY).run(callbacks=[JsonLines(tmp_path / "events.jsonl")])
    first, *rounds, last = _events(tmp_path / "events.jsonl")
    assert [first["event"], *(one["event"] for one in rounds), last["event"]] == [
        "run.started", "round.closed", "round.closed", "round.closed", "run.ended"
    ]  # fmt: skip
    assert {(one["schema"], one["run"]) for one in (first, *rounds, last)} == {("phalanx/events/1", result.start.run)}
    assert all(datetime.fromisoformat(one["time"]).utcoffset() is not None for one in (first, *rounds, last))
    assert (first["members"], first["rounds"], first["closed"]) == ([*small.sites()], 3, 0)
    assert first["privacy"]["unit"] == "example" and first["privacy"]["epsilon"] == 5.0
    assert [one["epsilon"] for one in rounds] == [record.epsilon for record in result.records]
    assert [one["model"] for one in rounds] == [record.model for record in result.records]
    assert last["accuracy"] == result.accuracy and last["epsilon"] == result.epsilon
    assert (last["status"], last["reason"], last["terminal"]) == ("finished", "", True)


def test_the_fields_are_those_of_the_schema_in_the_docstring(tmp_path: Path) -> None:
    small.federation(privacy=small.PRIVACY).run(callbacks=[JsonLines(tmp_path / "events.jsonl")])
    assert json_lines.__doc__ is not None
    rows = [line.split("|")[1:3] for line in json_lines.__doc__.splitlines() if line.startswith("| ")][1:]
    told: dict[str, str] = {}
    for name, text in rows:
        key = name.strip() or list(told)[-1]
        told[key] = told.get(key, "") + text
    for event in _events(tmp_path / "events.jsonl"):
        words = set(re.findall(r"[a-z_]+", told[event["event"]]))
        assert set(event) - HEAD <= words


def test_a_resumed_run_goes_on_in_the_same_file_and_has_each_round_once(tmp_path: Path) -> None:
    """The round after which the machine stopped reached no exporter; the line before it was torn."""
    file = tmp_path / "events.jsonl"
    with pytest.raises(InterruptedError):
        small.federation().run(tmp_path / "run", callbacks=[small.Diary(fails_after=2), JsonLines(file)])
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"schema": "phalanx/ev')
    small.federation().run(tmp_path / "run", resume=True, callbacks=[JsonLines(file)])
    assert file.read_bytes().startswith(whole)
    told = [(one["event"], one.get("round", one.get("closed"))) for one in _events(file)]
    assert told == [
        ("run.started", 0),
        ("round.closed", 1),
        ("round.closed", 2),
        ("run.started", 2),
        ("round.closed", 3),
        ("run.ended", None),
    ]


def test_what_others_wrote_into_the_file_stays(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    other = b'{"event": "round.closed", "run": "another", "round": 1}\nnot json\n[1]\n'
    file.write_bytes(other)
    small.federation(run={"rounds": 1}).run(callbacks=[JsonLines(file)])
    assert file.read_bytes().startswith(other)
    assert len(file.read_bytes().splitlines()) == 3 + 3


def test_another_runs_rounds_do_not_stand_for_ones_that_are_missing(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    with pytest.raises(InterruptedError):
        small.federation().run(tmp_path / "run", callbacks=[small.Diary(fails_after=2)])
    small.federation(run={"rounds": 2}).run(callbacks=[JsonLines(file)])
    result = small.federation().run(tmp_path / "run", resume=True, callbacks=[JsonLines(file)])
    ours = [one["round"] for one in _events(file) if one["run"] == result.start.run and "round" in one]
    assert ours == [1, 2, 3]


def test_a_file_that_cannot_be_written_stops_before_anything_is_charged(tmp_path: Path) -> None:
    exporter = JsonLines(tmp_path / "no" / "events.jsonl")
    with pytest.raises(ConfigError, match=r"cannot write .*events\.jsonl: No such file"):
        small.federation(privacy=small.PRIVACY).run(tmp_path / "run", callbacks=[exporter])
    assert small.charges(tmp_path / "phalanx-ledger.db") == 0


def test_a_number_that_json_does_not_have_is_null_and_a_members_words_stay_out(tmp_path: Path) -> None:
    exporter = JsonLines(tmp_path / "events.jsonl")
    exporter.started(_started())
    exporter.round_closed(_record(epsilon=math.inf, verdict=replace(_record().verdict, p_value=math.nan)))
    event = _events(tmp_path / "events.jsonl")[1]
    assert (event["epsilon"], event["gate"]["p_value"]) == (None, None)
    assert event["refused"] == [{"member": "m-1", "reason": str(Reason.NOT_FINITE)}]
    assert "words of a member" not in (tmp_path / "events.jsonl").read_text(encoding="utf-8")


def test_an_accuracy_that_is_hidden_is_null_and_no_mean_of_few() -> None:
    assert figures_of(_record())["accuracy/mean"] == pytest.approx((0.55 + 0.9) / 2)
    assert figures_of(_record())["accuracy/worst"] == 0.5
    hidden = figures_of(_record(sites=SiteTable((), "Hidden: 2 members reported an accuracy."), epsilon=None))
    assert set(hidden) == {"members/accepted", "members/refused", "gate/p_value", "gate/released"}


def test_a_stopped_run_has_its_reason_in_the_last_line(tmp_path: Path) -> None:
    def worse(model: Any, x: Any) -> Any:
        return ((x[:, 0] > 0) if not model["weight"].any() else (x[:, 0] <= 0)).astype(int)

    federation = small.federation(small.model(predict=worse), run={"rounds": 5, "max_refusals": 1})
    with pytest.raises(GateRefusal):
        federation.run(callbacks=[JsonLines(tmp_path / "events.jsonl")])
    last = _events(tmp_path / "events.jsonl")[-1]
    assert (last["event"], last["status"], last["rounds"]) == ("run.ended", "stopped", 1)
    assert last["reason"].startswith("the gate refused 1 candidates")


@pytest.fixture
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that says nothing of MLflow, and is put back afterwards."""
    for name in ("MLFLOW_DISABLE_TELEMETRY", "MLFLOW_ALLOW_FILE_STORE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


# -------------------------------------------------------------------------------------------------------------- missing


@pytest.mark.parametrize(
    ("exporter", "module", "package"),
    [(TensorBoard, "tensorboard.summary", "tensorboard"), (MLflow, "mlflow", "mlflow-skinny")],
)
def test_an_exporter_without_its_package_says_what_to_install(
    exporter: Callable[[Path], object],
    module: str,
    package: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    own_environment: None,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(NotAvailable, match="not available: ") as refused:
        exporter(tmp_path / "out")
    assert refused.value.hint == f"pip install {package}"
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------------------------------------------------- TensorBoard


def _scalars(folder: Path) -> dict[str, dict[int, float]]:
    loader = import_module("tensorboard.backend.event_processing.event_file_loader")
    found: dict[str, dict[int, float]] = {}
    for file in sorted(folder.iterdir()):
        for event in loader.EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                (number,) = value.tensor.float_val
                assert found.setdefault(value.tag, {}).setdefault(event.step, number) == number
    return found


def test_tensorboard_has_every_figure_of_every_round_once_after_a_resume_too(tmp_path: Path) -> None:
    federation = small.federation(privacy=small.PRIVACY)
    with pytest.raises(InterruptedError):
        callbacks = [small.Diary(fails_after=2), TensorBoard(tmp_path / "tb")]
        federation.run(tmp_path / "run", callbacks=callbacks)
    result = federation.run(tmp_path / "run", resume=True, callbacks=[TensorBoard(tmp_path / "tb")])
    expected = {record.round: figures_of(record) for record in result.records}
    found = _scalars(tmp_path / "tb")
    assert set(found) == set(expected[1])
    for name, steps in found.items():
        assert steps == pytest.approx({step: figures[name] for step, figures in expected.items()}, rel=1e-6)  # float32


# --------------------------------------------------------------------------------------------------------------- MLflow


def test_mlflow_has_the_settings_the_figures_the_report_and_the_public_folder(
    tmp_path: Path, own_environment: None
) -> None:
    mlflow = import_module("mlflow")
    with pytest.raises(InterruptedError):
        callbacks = [small.Diary(fails_after=2), MLflow(tmp_path / "mlruns")]
        small.federation().run(tmp_path / "run", callbacks=callbacks)
    result = small.federation().run(tmp_path / "run", resume=True, callbacks=[MLflow(tmp_path / "mlruns")])
    client = mlflow.MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("local")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.tags["phalanx.run"] == result.start.run
    assert (run.data.params["aggregation.rule"], run.data.params["run.rounds"]) == ("trimmed-mean", "3")
    steps = {one.step: one.value for one in client.get_metric_history(run.info.run_id, "accuracy/mean")}
    assert steps == {record.round: figures_of(record)["accuracy/mean"] for record in result.records}
    assert run.data.metrics["sites/here"] == pytest.approx(sum(result.accuracy.values()) / 5)
    artifacts = {one.path for one in client.list_artifacts(run.info.run_id)}
    assert artifacts == {"report.html", "public"}
    assert result.public is not None
    copied = tmp_path / "mlruns" / experiment.experiment_id / run.info.run_id / "artifacts" / "public" / "log.jsonl"
    assert copied.read_bytes() == (result.public / "log.jsonl").read_bytes()


def test_mlflow_is_told_to_report_to_nobody_unless_the_user_has_spoken(
    own_environment: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)  # what counts is what is set before it is loaded
    with pytest.raises(NotAvailable):
        MLflow(tmp_path)
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "false")
    with pytest.raises(NotAvailable):
        MLflow(tmp_path)
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "false"


def test_the_exporters_load_their_packages_only_when_they_are_made() -> None:
    code = (
        "import sys, phalanx.federation.json_lines, phalanx.federation.tensorboard, phalanx.federation.mlflow; "
        "print(sorted({'mlflow', 'tensorboard', 'torch', 'sklearn'} & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout == "[]\n"


def test_a_file_that_is_somebody_elses_is_not_cut(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("one line without an end", encoding="utf-8")
    with pytest.raises(ConfigError, match="no run of ours began"):
        small.federation().run(callbacks=[JsonLines(notes)])
    assert notes.read_text(encoding="utf-8") == "one line without an end"
