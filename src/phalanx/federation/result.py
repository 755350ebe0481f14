"""What a run comes to: the released model, every round's record, and how each site fares beside the alternatives."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from phalanx.config import Settings
from phalanx.federation.callbacks import Started
from phalanx.learning.baselines import Baselines
from phalanx.learning.data import Array
from phalanx.round.coordinator import RoundRecord
from phalanx.types import MemberId


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A finished or stopped run, as the lab sees it. Accuracies are shares (0 … 1) on each site's held-out examples.

    `model` holds the shared tensors of the last released version, by name; local tensors stay with their members.
    `public` is the folder that anybody can verify against `fingerprint`, None for a run that was kept in memory.
    """

    start: Started
    records: tuple[RoundRecord, ...]
    stopped: str  # why the run ended early, or ""
    model: Mapping[str, Array] = field(repr=False)
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

    def __str__(self) -> str:
        lines = [self._summary(), f"{'site':<20} {'alone':>8} {'plain':>8} {'here':>8} {'pooled':>8}"]
        lines += [f"{site:<20} " + " ".join(f"{_percent(share):>8}" for share in rest) for site, *rest in self.rows()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """What a notebook shows: the summary and the table of sites."""
        head = "".join(f"<th>{word}</th>" for word in ("site", "alone", "without controls", "with controls", "pooled"))
        body = "".join(
            f"<tr><td>{html.escape(site)}</td>" + "".join(f"<td>{_percent(share)}</td>" for share in rest) + "</tr>"
            for site, *rest in self.rows()
        )
        return f"<p>{html.escape(self._summary())}</p><table><tr>{head}</tr>{body}</table>"

    def _summary(self) -> str:
        closed = len(self.records)
        spent = "no privacy was charged" if self.epsilon is None else f"ε = {self.epsilon:.3f} spent"
        end = f"; stopped: {self.stopped}" if self.stopped else ""
        gain = self.median_gain()
        worth = "" if gain is None else f"; the median site gains {100 * gain:+.1f} points over training alone"
        return f"version {self.version} after {closed} of {self.settings.run.rounds} rounds, {spent}{worth}{end}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
