"""Cumulative sums: a small excess in a score that goes on for rounds, which no single round would show.

Page, Biometrika 1954. For each member C(t) = max(0, C(t-1) + z(t) - slack), with z its score in units of the others'
spread. The sum stays near zero while z is ordinary, and grows by z - slack a round once it is not.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from phalanx.types import MemberId

_TO_DEVIATION = 1.4826  # the median absolute deviation of a normal variable, times this, is its standard deviation
CEILING = 10.0  # one round adds no more than this, whatever the score: a sum shows what lasts, not one outlier


def cusum(
    sums: Mapping[MemberId, float], scores: Mapping[MemberId, float], slack: float = 0.5
) -> dict[MemberId, float]:
    """The sums after one more round of scores, high ones suspicious.

    Who has no score keeps its sum; new sums start at zero. A shift of 2 `slack` deviations is found soonest. Median and
    median absolute deviation of the round's scores set the units, so that fewer than half of the members cannot move
    them far. Raises ValueError for a score that is not finite or a negative slack.
    """
    if not slack >= 0:
        raise ValueError(f"slack must be >= 0, got {slack!r}")
    if not scores:
        return dict(sums)
    values = np.array(list(scores.values()))
    if not np.isfinite(values).all():
        raise ValueError("scores must be finite")
    median = float(np.median(values))
    deviation = _TO_DEVIATION * float(np.median(np.abs(values - median)))
    after = dict(sums)
    for member, score in scores.items():
        away = score - median
        z = min(away / deviation, CEILING) if deviation > 0 else (CEILING if away > 0 else 0.0)
        after[member] = max(0.0, sums.get(member, 0.0) + z - slack)
    return after
