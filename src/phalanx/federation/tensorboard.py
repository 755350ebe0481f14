"""A run's figures for TensorBoard. Needs the package `tensorboard`, not TensorFlow.

Scalars by round: accuracy by the members' ballots (mean and worst) where it is not hidden, ε spent, members accepted
and refused, the gate's p-value and whether the candidate was released.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phalanx.errors import NotAvailable
from phalanx.federation.callbacks import Callback, Started
from phalanx.federation.figures import figures_of
from phalanx.round.coordinator import RoundRecord

if TYPE_CHECKING:
    from phalanx.federation.result import Result


class TensorBoard(Callback):
    """Writes event files under `folder`. Raises NotAvailable where the package is missing."""

    def __init__(self, folder: Path | str) -> None:
        try:
            self._open = import_module("tensorboard.summary").Writer
        except ModuleNotFoundError as error:
            raise NotAvailable(
                f"not available: the TensorBoard exporter needs {error.name}", hint="pip install tensorboard"
            ) from None
        self._folder = Path(folder)
        self._writer: Any = None

    def started(self, run: Started) -> None:
        """Opens a file. Rounds of earlier sessions are written where nobody did; the last one of them in any case."""
        known = any(self._folder.glob("events.*"))
        self._writer = self._open(str(self._folder))
        for record in run.closed[-1:] if known else run.closed:
            self.round_closed(record)

    def round_closed(self, record: RoundRecord) -> None:
        """Writes the round's scalars."""
        for name, value in figures_of(record).items():
            self._writer.add_scalar(name, value, record.round)
        self._writer.flush()

    def ended(self, result: Result) -> None:
        """Closes the file."""
        self._writer.close()
