"""The auditor's own bounds on ε of sampled Gaussian mechanisms, in plain Python: one from above, one from below.

T releases with noise multiplier σ; for each of them every member was drawn for itself and in secret with probability
q. There is no closed form of their ε. What is here is certain on both sides, and leaves a gap: a log that records an ε
below the lower bound lies; one that records any ε between the two is not caught, and the upper bound is the ε that this
auditor vouches for. Neighbouring: one member added or removed, at sensitivity 1.
"""

from __future__ import annotations

import math
from functools import lru_cache

_ORDERS = (*range(2, 65), *(72, 80, 96, 128, 160, 192, 256, 384, 512, 768, 1024))
_THRESHOLDS = 40


def epsilon_above(sigma: float, rate: float, times: int, delta: float) -> float:
    """An ε that these releases certainly keep, by Rényi differential privacy of integer orders α.

    One release: Mironov, Talwar and Zhang 2019, section 3.3. To (ε, δ): Canonne, Kamath and Steinke 2020, Prop. 12.
    """
    if times == 0:
        return 0.0
    best = math.inf
    for alpha, cost in _curve(sigma, rate):
        epsilon = times * cost + math.log1p(-1 / alpha) - (math.log(delta) + math.log(alpha)) / (alpha - 1)
        best = min(best, epsilon)
    return max(0.0, best)


def epsilon_below(sigma: float, rate: float, times: int, delta: float) -> float:
    """An ε below which these releases certainly are not private at `delta`.

    Who adds the releases up sees N(k, Tσ²), where k ~ Bin(T, q) counts how often the member was drawn, and N(0, Tσ²)
    without it. P[sum > s] <= e^ε Q[sum > s] + δ must hold for every s: each that is tried gives a bound.
    """
    if times == 0:
        return 0.0
    deviation, middle = sigma * math.sqrt(times), times * rate
    drawn = math.sqrt(times * rate * (1 - rate))
    low, high = max(0, math.floor(middle - 7 * drawn)), min(times, math.ceil(middle + 7 * drawn) + 7)
    law = [(k, math.exp(_log_binomial(times, k, rate))) for k in range(low, high + 1)]  # less than all: P only falls
    best = 0.0
    for i in range(_THRESHOLDS):
        s = middle + 6 * i / _THRESHOLDS * math.hypot(deviation, drawn)
        present = math.fsum(chance * _above((s - k) / deviation) for k, chance in law)
        absent = _above(s / deviation)
        if present > delta and absent > 1e-300:
            best = max(best, math.log((present - delta) / absent))
    return best


@lru_cache(maxsize=64)
def _curve(sigma: float, rate: float) -> tuple[tuple[int, float], ...]:
    return tuple((alpha, _renyi(sigma, rate, alpha)) for alpha in _ORDERS)


def _renyi(sigma: float, rate: float, alpha: int) -> float:
    """log( Σ C(α, k) (1 - q)^(α - k) q^k exp((k² - k) / 2σ²) ) / (α - 1), in log space: nothing overflows."""
    terms = [_log_binomial(alpha, k, rate) + (k * k - k) / (2 * sigma * sigma) for k in range(alpha + 1)]
    largest = max(terms)
    return (largest + math.log(math.fsum(math.exp(term - largest) for term in terms))) / (alpha - 1)


def _log_binomial(n: int, k: int, p: float) -> float:
    """log P[Bin(n, p) = k]."""
    if p == 1:
        return 0.0 if k == n else -math.inf
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return ways + k * math.log(p) + (n - k) * math.log1p(-p)


def _above(z: float) -> float:
    """P[N(0, 1) > z]."""
    return 0.5 * math.erfc(z / math.sqrt(2.0))
