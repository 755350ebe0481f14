"""The exact ε of composed Gaussian mechanisms, in plain Python: the auditor's own, without an accountant's library.

T releases with noise multipliers σᵢ, each seen in full (no sampling), are one Gaussian mechanism with
μ = sqrt(Σ 1/σᵢ²)  (Dong, Roth, Su, JRSS-B 2022, Corollary 2), and

    δ(ε) = Φ(μ/2 - ε/μ) - e^ε Φ(-μ/2 - ε/μ)       (Balle and Wang, ICML 2018, Theorem 8)

Neighbouring: one unit added or removed, at sensitivity 1.
"""

from __future__ import annotations

import math

_ROOT_2 = math.sqrt(2.0)
_ROOT_PI = math.sqrt(math.pi)
_FAR = 25.0  # from here on exp(x²) nears the end of float64, and four terms of the series are exact to 1e-13


def delta_of(epsilon: float, mu: float) -> float:
    """δ(ε) of a Gaussian mechanism with sensitivity over noise `mu` > 0, for ε >= 0. Never overflows."""
    a, b = mu / 2 + epsilon / mu, mu / 2 - epsilon / mu
    # e^ε Φ(-a) = exp(-b²/2) erfcx(a/√2) / 2, because ε - a²/2 = -b²/2: the huge factor is gone.
    density = math.exp(-b * b / 2)
    if b >= 0:
        return 0.5 * (math.erfc(-b / _ROOT_2) - density * _erfcx(a / _ROOT_2))
    return 0.5 * density * (_erfcx(-b / _ROOT_2) - _erfcx(a / _ROOT_2))


def epsilon_of(mu: float, delta: float) -> float:
    """The smallest ε for which the mechanism is (ε, δ)-DP, rounded up by at most 1e-12 of itself.

    Raises ValueError unless 0 <= mu <= 1e6 and 0 < delta < 1.
    """
    if not (0 <= mu <= 1e6 and 0 < delta < 1):
        raise ValueError(f"needs 0 <= mu <= 1e6 and 0 < delta < 1, got {mu!r} and {delta!r}")
    if mu == 0 or delta_of(0.0, mu) <= delta:
        return 0.0
    low, high = 0.0, 1.0
    while delta_of(high, mu) > delta:
        low, high = high, 2 * high
    while high - low > 1e-12 * max(1.0, high):  # δ falls in ε: `high` is always on the safe side
        middle = (low + high) / 2
        low, high = (middle, high) if delta_of(middle, mu) > delta else (low, middle)
    return high


def _erfcx(x: float) -> float:
    """exp(x²) erfc(x) for x >= 0.  Abramowitz and Stegun 7.1.23 where the product would leave float64."""
    if x < _FAR:
        return math.exp(x * x) * math.erfc(x)
    y = 0.5 / (x * x)
    return (1 - y * (1 - 3 * y * (1 - 5 * y * (1 - 7 * y)))) / (x * _ROOT_PI)
