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
    """What is known before the first round. `travels`, `how_trained` and `warnings` are lines for people.

    `closed` are the rounds that were closed before: none of a new run, and those of earlier sessions of a resumed one.
    """

    settings: Settings
    run: str
    members: tuple[MemberId, ...]
    travels: tuple[str, ...]
    how_trained: tuple[str, ...]
    warnings: tuple[str, ...] = ()  # what will most likely go wrong
    closed: tuple[RoundRecord, ...] = ()


class Callback:
    """Hears of a run's start, of each closed round, of the comparisons, and of the end. Override what is of interest.

    | called             | when                                                                                     |
    |--------------------|------------------------------------------------------------------------------------------|
    | `started(run)`     | once in each session: before the first round, or before the next one of a resumed run    |
    | `round_closed`     | once for each round, when it is durable; not again for the rounds in `run.closed`        |
    | `comparing()`      | after the last round, before the comparisons are trained; not where they are left out    |
    | `ended(result)`    | after the last round, or when the run was stopped: `result.stopped` says why             |

    Called in this process between rounds. An error that it raises ends the run as a crash would: it can be resumed, and
    the round is then in `run.closed`. A run that was interrupted, or found no quorum, has not ended.
    """

    def started(self, run: Started) -> None:
        """Before the first round of this session."""

    def round_closed(self, record: RoundRecord) -> None:
        """After each round."""

    def comparing(self) -> None:
        """Before the members are trained alone, without controls, and pooled."""

    def ended(self, result: Result) -> None:
        """After the end."""
