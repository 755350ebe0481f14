"""How well scores tell members from others: at few false alarms, and on the whole.

Low false alarms are what counts: an attack that is sure of a few members does harm that an average hides (Carlini et
al., S&P 2022, section III). Scores of `members` (n,) and of `others` (m,), higher for members, may be infinite.
Ties: equal scores are claimed together or not at all, and no point between two of the curve is taken. So a share is
never more than an attacker had got.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from phalanx.types import F64

_ROUNDING = 1e-9  # 0.001 · 1000 false alarms are 1, whatever the product is


@dataclass(frozen=True, slots=True)
class Roc:
    """The curve's corners from (0, 0) to (1, 1): shares of others and of members that are claimed."""

    fpr: F64 = field(repr=False)
    tpr: F64 = field(repr=False)


def roc(members: F64, others: F64) -> Roc:
    """One corner for each score that occurs, the highest first."""
    _check(members, others)
    thresholds = np.unique(np.concatenate([members, others]))[::-1]
    fpr, tpr = (
        np.concatenate([[0.0], 1 - np.searchsorted(np.sort(scores), thresholds, side="left") / len(scores)])
        for scores in (others, members)
    )
    return Roc(fpr, tpr)


def tpr_at(members: F64, others: F64, fpr: float) -> tuple[int, int]:
    """(k, n): how many of the n members are claimed when at most the share `fpr` of the others is.

    With m others the false alarms allowed are ⌊fpr · m⌋: under 1000 others, 0.1 % allows none, and the share is that at
    no false alarm. An interval for (k, n) takes the threshold as given. It was found on the same data: with `a` false
    alarms allowed and nothing to find, as many members and others, k is a + 1 on average, with variance 2(a + 1).
    """
    _check(members, others)
    if not 0 <= fpr <= 1:
        raise ValueError(f"a share of false alarms is from 0 to 1, got {fpr!r}")
    allowed = int(fpr * len(others) + _ROUNDING)
    if allowed >= len(others):
        return len(members), len(members)
    limit = np.partition(others, len(others) - 1 - allowed)[len(others) - 1 - allowed]
    return int((members > limit).sum()), len(members)


def area(members: F64, others: F64) -> float:
    """AUC: the chance that a member's score is above another's, half of the chance that they are equal."""
    _check(members, others)
    ordered = np.sort(others)
    below = np.searchsorted(ordered, members, side="left").sum(dtype=np.float64)
    upto = np.searchsorted(ordered, members, side="right").sum(dtype=np.float64)
    return float((below + upto) / (2 * len(members) * len(others)))


def balanced_accuracy(members: F64, others: F64) -> float:
    """The best of ½(TPR + 1 - FPR) over thresholds, so never below ½: it is chosen on the data that it is told of."""
    curve = roc(members, others)
    return float((curve.tpr + 1 - curve.fpr).max() / 2)


def _check(members: F64, others: F64) -> None:
    if not (len(members) and len(others)):
        raise ValueError(f"a curve needs members and others, got {len(members)} and {len(others)}")
    if np.isnan(members).any() or np.isnan(others).any():
        raise ValueError("a score is not a number")
