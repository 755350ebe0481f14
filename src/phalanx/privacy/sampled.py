"""What Gaussian mechanisms cost whose inputs are sampled: each unit for itself, in secret, with probability q a time.

The privacy loss distribution (PLD) of dp_accounting gives ε. It has to lie between two bounds found in other ways: not
above the Rényi accountant of the same package, and not below what one test of the outputs' sum certainly tells. Both
hold only where nobody but a trusted party knows who was sampled, and every draw is independent of the draws before
(docs/adr/0013-secret-cohorts.md). Neighbouring relation: add or remove one unit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import dp_accounting
from dp_accounting import pld, rdp

from phalanx.errors import IntegrityError

_MOST = 5000.0  # a Rényi bound past it: there is no privacy to put a number on
_GRID, _FINEST = 5e-5, 1e-4  # the PLD's grid step as a part of ε, and its least: costs some 0.1 % and some 100 ms
_ORDERS = (*range(2, 65), 96, 128, 192, 256, 512, 1024)  # integers: there the series is finite
_SLACK = 1e-3

Sampled = tuple[float, float, int]  # σ, q, how often
_RELATION = dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE


@lru_cache(maxsize=1 << 12)
def sampled_epsilon(groups: tuple[Sampled, ...], delta: float) -> float:
    """ε of all these mechanisms together at `delta`, as the PLD gives it; inf past 5000.

    A group with q = 1 is not sampled. Raises IntegrityError where the PLD leaves the two bounds.
    """
    upper = _renyi(groups, delta)
    if not upper <= _MOST:
        return math.inf
    accountant = pld.PLDAccountant(_RELATION, value_discretization_interval=max(_FINEST, _GRID * upper))
    found = float(accountant.compose(_event(groups)).get_epsilon(delta))
    lower = max(certain_epsilon(*group, delta) for group in groups)  # to see less than all tells no more
    if not lower - _SLACK <= found <= upper * (1 + _SLACK) + _SLACK:
        raise IntegrityError(f"accountants disagree: ε is in [{lower}, {upper}], PLD ε = {found} at δ = {delta:g}")
    return found


def certain_epsilon(sigma: float, rate: float, times: int, delta: float) -> float:
    """A lower bound of ε: what an adversary has who adds the outputs up and compares the sum with a threshold.

    With the unit the sum is N(k, Tσ²) with k from Bin(T, q), without it N(0, Tσ²). For any threshold s,
    (ε, δ)-privacy asks for P[S > s] <= exp(ε) Q[S > s] + δ. Whatever thresholds are tried, the bound holds.
    """
    scale = sigma * math.sqrt(times) * math.sqrt(2.0)
    mean, spread = times * rate, math.sqrt(times * rate * (1 - rate))
    near = range(max(0, int(mean - 8 * spread)), min(times, int(mean + 8 * spread) + 8) + 1)
    chances = [(k, _binomial(times, k, rate)) for k in near]  # the others are left out, which lowers P
    best = 0.0
    for step in range(48):
        s = mean + (step / 8) * math.hypot(spread, scale / math.sqrt(2.0))
        with_unit = math.fsum(0.5 * chance * math.erfc((s - k) / scale) for k, chance in chances)
        without = 0.5 * math.erfc(s / scale)
        if with_unit > delta and without > 1e-300:
            best = max(best, math.log(with_unit - delta) - math.log(without))
    return best


def _binomial(n: int, k: int, p: float) -> float:
    if p == 1.0:
        return float(k == n)
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(ways + k * math.log(p) + (n - k) * math.log1p(-p))


def _renyi(groups: Sequence[Sampled], delta: float) -> float:
    return float(rdp.RdpAccountant(_ORDERS, _RELATION).compose(_event(groups)).get_epsilon(delta))


def _event(groups: Sequence[Sampled]) -> dp_accounting.DpEvent:
    return dp_accounting.ComposedDpEvent([_several(*group) for group in groups])


def _several(sigma: float, rate: float, times: int) -> dp_accounting.DpEvent:
    """Unsampled ones are entered as the one Gaussian that they are together."""
    if rate == 1.0:
        return dp_accounting.GaussianDpEvent(sigma / math.sqrt(times))
    once = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(sigma))
    return dp_accounting.SelfComposedDpEvent(once, times)
