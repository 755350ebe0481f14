"""What a run comes to: the released model, every round's record, and how each site fares beside the alternatives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from phalanx.config import Settings
from phalanx.errors import ConfigError
from phalanx.federation.callbacks import Started
from phalanx.federation.markup import Cell, Share, page_table, paragraph, text_table
from phalanx.federation.report import report_page
from phalanx.federation.words import insecure
from phalanx.learning.baselines import Baselines
from phalanx.learning.data import Array
from phalanx.round.coordinator import RoundRecord
from phalanx.store import write_file
from phalanx.types import MemberId

HEAD = ("site", "held out", "alone", "without controls", "with controls", "pooled", "gain, points")
_SHOWN = 30  # sites; the report has them all
_FORGOTTEN = (
    "Its privacy ledger ended with it: another run on the same examples does not know that this ε was spent, and the "
    "two add up"
)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Result:
    """A finished or stopped run, as the lab sees it. Accuracies are shares (0 … 1) on each site's held-out examples.

    `model` holds the shared tensors of the last released version, by name; `local` each member's own tensors, which
    only the lab has in one place.
    `public` is the folder that anybody can verify against `fingerprint`, None for a run that was kept in memory.
    """

    start: Started
    records: tuple[RoundRecord, ...]
    stopped: str  # why the run ended early, or ""
    model: Mapping[str, Array] = field(repr=False)
    local: Mapping[MemberId, Mapping[str, Array]] = field(repr=False)
    accuracy: Mapping[MemberId, float]
    baselines: Baselines | None
    held_out: Mapping[MemberId, int]
    split: Mapping[MemberId, tuple[int, ...]]  # examples by class
    public: Path | None
    fingerprint: str
    member_errors: Mapping[MemberId, Exception]

    @property
    def settings(self) -> Settings:
        """What the run was configured with."""
        return self.start.settings

    @property
    def epsilon(self) -> float | None:
        """ε after the last closed round; None where nothing was charged."""
        return self.records[-1].epsilon if self.records else None

    @property
    def version(self) -> int:
        """The last released version; 0 is the initial model."""
        return self.records[-1].version if self.records else 0

    def model_at(self, member: str) -> dict[str, Array]:
        """What this member predicts with: the shared tensors of the last released version, and its own local ones.

        Raises ConfigError for a name that is no member's.
        """
        if member not in self.local:
            raise ConfigError(f"{member!r} is no member of this run", hint=f"its members: {', '.join(self.local)}")
        return {**self.model, **self.local[MemberId(member)]}

    def rows(self) -> list[tuple[MemberId, float | None, float | None, float, float | None]]:
        """(site, alone, without controls, with controls, pooled), the worst with controls first."""
        base = self.baselines
        worst_first = sorted(self.accuracy.items(), key=lambda one: (one[1], one[0]))
        if base is None:
            return [(site, None, None, share, None) for site, share in worst_first]
        return [
            (site, base.alone.get(site), base.plain.get(site), share, base.pooled.get(site))
            for site, share in worst_first
        ]

    def median_gain(self) -> float | None:
        """What the median site gains over training alone; None where that was not measured."""
        gains = [here - alone for _, alone, _, here, _ in self.rows() if alone is not None]
        return median(gains) if gains else None

    def notes(self) -> tuple[str, ...]:
        """What has to be said beside the figures: what was switched off, and what is lost with this process."""
        lines = [f"NOT SECURE: {line}" for line in insecure(self.settings)]
        lines += self.start.warnings
        if own := next(iter(self.local.values()), {}):
            lines.append(f"{', '.join(own)} stay with each member: predict with model_at(member), not with model")
        if self.public is None:
            kept = "kept in memory: there is nothing to verify or to resume; run(out) keeps the run in a folder"
            lines.append(kept if self.epsilon is None else f"{kept}. {_FORGOTTEN}")
        return tuple(lines)

    def save_report(self, path: Path | str) -> None:
        """Writes the whole report, one HTML page that refers to nothing outside itself."""
        write_file(Path(path), report_page(self))

    def table(self) -> str:
        """The summary and the table of sites, for a terminal."""
        return "\n".join([self._summary(), text_table(HEAD, self._cells()), *self._left_out()])

    def __str__(self) -> str:
        return "\n".join([self.table(), *self.notes()])

    def __repr__(self) -> str:
        return f"Result({self._summary()})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the summary and the table of sites."""
        small = [paragraph(line, quiet=True) for line in (*self._left_out(), *self.notes())]
        return "".join([paragraph(self._summary()), page_table(HEAD, self._cells()), *small])

    def _cells(self) -> list[list[Cell]]:
        return [
            [
                site,
                self._held(site),
                Share(alone),
                Share(plain),
                Share(here, bar=True),
                Share(pooled),
                _points(here, alone),
            ]
            for site, alone, plain, here, pooled in self.rows()[:_SHOWN]
        ]

    def _held(self, site: MemberId) -> str:
        return f"{self.held_out.get(site, 0):,}"

    def _left_out(self) -> list[str]:
        more = len(self.accuracy) - _SHOWN
        return [f"and {more} more in the report, none of them worse"] if more > 0 else []

    def _summary(self) -> str:
        closed, planned = len(self.records), self.settings.run.rounds
        spent = "no privacy was charged" if self.epsilon is None else f"ε = {self.epsilon:.3f} spent"
        end = f"; stopped: {self.stopped}" if self.stopped else ""
        gain = self.median_gain()
        worth = "" if gain is None else f"; the median site {_in_words(gain)} training alone"
        return f"released version {self.version} after {closed} of {planned} rounds, {spent}{worth}{end}"


def _in_words(gain: float) -> str:
    return f"gains {100 * gain:.1f} points over" if gain >= 0 else f"loses {-100 * gain:.1f} points against"


def _points(here: float, alone: float | None) -> str:
    return "–" if alone is None else f"{round(100 * (here - alone), 1) + 0.0:+.1f}"  # no -0.0
