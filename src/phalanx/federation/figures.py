"""The figures of a closed round that are drawn over time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean

from phalanx.round.coordinator import RoundRecord


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The candidate's accuracy (0 … 1) by the members' own ballots, which nobody checks. `members` reported one.

    `mean` takes the middle of what a member reported in steps, `worst` the lower end.
    """

    mean: float
    worst: float
    members: int


def accuracy_of(record: RoundRecord) -> Accuracy | None:
    """None where so few members reported one that it is hidden."""
    rows = record.sites.rows
    if not rows:
        return None
    return Accuracy(fmean((row.low + row.high) / 2 for row in rows), min(row.low for row in rows), len(rows))


def figures_of(record: RoundRecord) -> dict[str, float]:
    """Every figure by name; one that does not exist in this round, or is not finite, is left out."""
    accuracy = accuracy_of(record)
    figures = {
        "accuracy/mean": None if accuracy is None else accuracy.mean,
        "accuracy/worst": None if accuracy is None else accuracy.worst,
        "privacy/epsilon": record.epsilon,
        "members/accepted": float(len(record.accepted)),
        "members/refused": float(len(record.refused)),
        "gate/p_value": record.verdict.p_value,
        "gate/released": float(record.verdict.passed),
    }
    return {name: value for name, value in figures.items() if value is not None and math.isfinite(value)}
