"""Who hears of a run while it goes on: progress, exporters, a report. Beside the corridor, and never in its way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from phalanx.config import Settings
from phalanx.round.coordinator import RoundRecord
from phalanx.types import MemberId

if TYPE_CHECKING:
    from phalanx.federation.result import Result


@dataclass(frozen=True, slots=True)
class Started:
    """What is known before the first round. `travels` and `how_trained` are lines for people."""

    settings: Settings
    run: str
    members: tuple[MemberId, ...]
    travels: tuple[str, ...]
    how_trained: tuple[str, ...]


class Callback:
    """Hears of a run's start, of each round that was closed, and of the end. Override what is of interest.

    Called in this process between rounds. An error that it raises ends the run as a crash would: it can be resumed.
    """

    def started(self, run: Started) -> None:
        """Before the first round, or before the next one of a run that is resumed."""

    def round_closed(self, record: RoundRecord) -> None:
        """After each round, when it is durable."""

    def ended(self, result: Result) -> None:
        """After the last round, or when the run was stopped (`result.stopped` says why)."""
