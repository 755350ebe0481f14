"""Intervals of 95 % for the red team's figures: shares, differences of paired shares, and means over seeds.

Letters: `k` successes in `n` trials. Every function gives (low, high). All take the trials for independent: where one
example is asked of several models, or one seed gives many trials, the truth is wider, and whoever reports says so.

| figure                                        | interval            | kept                                         |
|-----------------------------------------------|---------------------|----------------------------------------------|
| a share that is tested against a small limit  | `clopper_pearson`   | at least 95 %, whatever the share            |
| a share                                       | `wilson`            | 95 % on average over shares, so it is shorter|
| a gain or loss on the same trials             | `paired_difference` | about 95 %, also where few or none changed   |
| anything else, over seeds                     | `bootstrap`         | less than 95 % for a handful of values       |
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from scipy.special import betaincinv

from phalanx.types import F64

CONFIDENCE = 0.95
DRAWS = 2000  # of the bootstrap: its own error is then a tenth of the interval's width or less

Interval = tuple[float, float]


def wilson(k: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """The shares that a score test of k successes in n would not refuse.

    Wilson, JASA 1927; Newcombe, Statistics in Medicine 17 (1998) 857, method 3. Raises ValueError unless 0 <= k <= n
    and n >= 1.
    """
    _check_share(k, n)
    z = _normal_quantile(confidence)
    middle = (k + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(k * (n - k) / n + z * z / 4)
    return (0.0 if k == 0 else middle - half, 1.0 if k == n else middle + half)  # exact there, not but for rounding


def clopper_pearson(k: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """The shares that neither one-sided exact binomial test would refuse: it never covers less than it says.

    Clopper and Pearson, Biometrika 26 (1934) 404, by quantiles of the beta distribution. Raises ValueError as `wilson`.
    """
    _check_share(k, n)
    tail = (1 - _checked(confidence)) / 2
    low = 0.0 if k == 0 else float(betaincinv(k, n - k + 1, tail))
    high = 1.0 if k == n else float(betaincinv(k + 1, n - k, 1 - tail))
    return low, high


def paired_difference(improved: int, worsened: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """For (improved - worsened) / n: how much a share rose when the same n trials were done in another way.

    Wald's interval after one trial more of each kind that changed: Bonett and Price, J. Educational and Behavioral
    Statistics 37 (2012) 479. It needs only the trials that changed, and not how many stayed right. Raises ValueError
    unless both counts are >= 0 and together <= n, and n >= 1.
    """
    if not (improved >= 0 and worsened >= 0 and improved + worsened <= n and n >= 1):
        raise ValueError(f"improved = {improved!r} and worsened = {worsened!r} are no counts of n = {n!r} trials")
    up, down = (improved + 1) / (n + 2), (worsened + 1) / (n + 2)
    half = _normal_quantile(confidence) * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    return max(-1.0, up - down - half), min(1.0, up - down + half)


def bootstrap(
    values: F64,
    *,
    rng: np.random.Generator,
    statistic: Callable[[F64], F64] = lambda rows: np.mean(rows, axis=-1),
    confidence: float = CONFIDENCE,
) -> Interval:
    """For `statistic` of values (n,), from `DRAWS` samples of n of them with replacement: the percentile method.

    `statistic` is of the last axis: it gets (DRAWS, n) and gives (DRAWS,). Efron and Tibshirani, An Introduction to
    the Bootstrap (1993), section 13.3. Too short for few values: of three, all the samples lie between the least and
    the greatest. Raises ValueError for no values, or one that is not finite.
    """
    if not (values.ndim == 1 and len(values) and np.isfinite(values).all()):
        raise ValueError(f"a bootstrap needs finite values (n,), n >= 1, got {values!r:.80}")
    tail = (1 - _checked(confidence)) / 2
    drawn = statistic(values[rng.integers(0, len(values), (DRAWS, len(values)))])
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def _check_share(k: int, n: int) -> None:
    if not (0 <= k <= n and n >= 1):
        raise ValueError(f"a share is k of n with 0 <= k <= n and n >= 1, got {k!r} of {n!r}")


def _checked(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be above 0 and below 1, got {confidence!r}")
    return confidence


def _normal_quantile(confidence: float) -> float:
    return NormalDist().inv_cdf(0.5 + _checked(confidence) / 2)
