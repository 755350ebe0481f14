"""What a sequence of Gaussian mechanisms costs, by two accountants that must agree.

Each mechanism adds N(0, σ²S²) to a query of l2 sensitivity S; σ is its noise multiplier. Everybody takes part every
time (full batches, the whole roster), unless a rate is given: then each unit was sampled in secret with that
probability, and `privacy.sampled` accounts for it. Neighbouring relation: add or remove one unit.

The first accountant is the privacy loss distribution (PLD) of dp_accounting. The second is exact: Gaussians compose to
one Gaussian with μ = sqrt(Σ 1/σ²), whose curve is Theorem 8 of Balle and Wang, ICML 2018.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache

import dp_accounting
from dp_accounting import pld

from phalanx.errors import IntegrityError
from phalanx.privacy.sampled import sampled_epsilon

# μ = 100 is ε > 5000 at any useful δ. Past it neither accountant is asked: there is no privacy to put a number on.
_LARGEST_MU = 100.0
# The PLD's grid step in units of μ: at μ = 1, δ = 1e-5 it costs 3e-6 in ε and some 15 ms.
_GRID = 2e-3
_SQRT2 = math.sqrt(2.0)

_Groups = tuple[tuple[float, int], ...]  # (σ, how often), sorted by σ


def epsilon(noise_multipliers: Sequence[float], delta: float, rates: Sequence[float] | None = None) -> float:
    """ε of all these mechanisms together at `delta`, rounded up to 1e-3: the larger of the two accountants' answers.

    `rates`: the probability with which each mechanism sampled a unit, in secret; None where nothing was sampled.

    | input | answer |
    |---|---|
    | nothing was run | 0 |
    | noise so small that μ > 100 (ε in the thousands) | inf |
    | a noise multiplier that is zero, negative, infinite or NaN; δ outside (0, 1); a rate outside (0, 1] | ValueError |
    | the accountants differ by more than 1 % + 0.01, or, where sampled, by more than theory allows | IntegrityError |
    """
    _check_delta(delta)
    if rates is not None and any(rate != 1 for rate in rates):
        return _sampled(noise_multipliers, delta, rates)
    for sigma in noise_multipliers:
        if not (math.isfinite(sigma) and sigma > 0):
            raise ValueError(f"a noise multiplier is finite and > 0, got {sigma!r}")
    return _epsilon(tuple(sorted(Counter(map(float, noise_multipliers)).items())), delta)


def noise_multiplier(epsilon: float, delta: float, rounds: int, rate: float = 1.0) -> float:
    """The smallest σ, in steps of 0.01, with which `rounds` mechanisms cost at most `epsilon` at `delta`.

    `rate` as in `epsilon`. Raises ValueError for numbers that no σ can meet: ε not in (0, 5000], δ outside (0, 1),
    fewer than one round, a rate outside (0, 1].
    """
    _check_delta(delta)
    if not 0 < epsilon <= 5000:
        raise ValueError(f"an epsilon to calibrate to is in (0, 5000], got {epsilon!r}")
    if rounds < 1:
        raise ValueError(f"noise is calibrated for at least 1 round, got {rounds!r}")
    mu = _first_reached(lambda guess: exact_delta(guess, epsilon) > delta, _LARGEST_MU)
    hundredths = max(1, math.floor(100 * math.sqrt(rounds) / mu))
    while _epsilon(((hundredths / 100, rounds),), delta) > epsilon:
        hundredths += 1
    return (hundredths if rate == 1 else _fewest_sampled(hundredths, epsilon, delta, rounds, rate)) / 100


def exact_delta(mu: float, epsilon: float) -> float:
    """The δ of a Gaussian mechanism with sensitivity / deviation = `mu` at `epsilon`.

    Φ(μ/2 - ε/μ) - exp(ε) Φ(-μ/2 - ε/μ), Balle and Wang, ICML 2018, Theorem 8; the second term is written with erfcx so
    that exp(ε) never overflows.
    """
    a, b = epsilon / mu - mu / 2, epsilon / mu + mu / 2
    return 0.5 * math.erfc(a / _SQRT2) - 0.5 * math.exp(-a * a / 2) * _erfcx(b / _SQRT2)


def exact_epsilon(mu: float, delta: float) -> float:
    """The ε of a Gaussian mechanism with sensitivity / deviation = `mu` at `delta`, from above, to 1e-12 relative."""
    if exact_delta(mu, 0.0) <= delta:
        return 0.0
    ceiling = 1.0
    while exact_delta(mu, ceiling) > delta:
        ceiling *= 2
    return _first_reached(lambda guess: exact_delta(mu, guess) <= delta, ceiling)


def _sampled(noise_multipliers: Sequence[float], delta: float, rates: Sequence[float]) -> float:
    pairs = Counter(zip(map(float, noise_multipliers), map(float, rates), strict=True))
    for sigma, rate in pairs:
        if not (math.isfinite(sigma) and sigma > 0 and 0 < rate <= 1):
            raise ValueError(f"a noise multiplier is finite and > 0, a rate in (0, 1], got {sigma!r} and {rate!r}")
    if any(sigma * _LARGEST_MU < 1 for sigma, _ in pairs):
        return math.inf
    mu = math.hypot(*(math.sqrt(count) / sigma for (sigma, _), count in pairs.items()))
    if mu <= _LARGEST_MU and (mu == 0 or exact_epsilon(mu, delta) == 0.0):
        return 0.0  # δ alone covers it, even if everybody took part
    found = sampled_epsilon(tuple(sorted((sigma, rate, count) for (sigma, rate), count in pairs.items())), delta)
    return math.ceil(found * 1000) / 1000 if math.isfinite(found) else math.inf


def _fewest_sampled(enough: int, epsilon: float, delta: float, rounds: int, rate: float) -> int:
    """The fewest hundredths of σ that do for sampled mechanisms, of which `enough` do where nothing is sampled."""
    too_few = 0
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        spent = _sampled([middle / 100] * rounds, delta, [rate] * rounds)
        too_few, enough = (too_few, middle) if spent <= epsilon else (middle, enough)
    return enough


@lru_cache(maxsize=1 << 16)
def _epsilon(groups: _Groups, delta: float) -> float:
    mu = math.hypot(*(math.sqrt(count) / sigma for sigma, count in groups))
    if not mu <= _LARGEST_MU:
        return math.inf
    exact = exact_epsilon(mu, delta) if mu else 0.0
    if exact == 0.0:
        return 0.0  # δ alone covers it; the PLD has no grid for so small a μ
    numerical = _pld_epsilon(groups, mu, delta)
    if not abs(exact - numerical) <= 0.01 * exact + 0.01:
        raise IntegrityError(f"accountants disagree: exact Gaussian ε = {exact}, PLD ε = {numerical} at δ = {delta:g}")
    return math.ceil(max(exact, numerical) * 1000) / 1000


def _pld_epsilon(groups: _Groups, mu: float, delta: float) -> float:
    """By dp_accounting. `count` equal mechanisms are entered as the one Gaussian they are: σ / sqrt(count)."""
    accountant = pld.PLDAccountant(
        dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE, value_discretization_interval=mu * _GRID
    )
    for sigma, count in groups:
        accountant.compose(dp_accounting.GaussianDpEvent(sigma / math.sqrt(count)))
    return float(accountant.get_epsilon(delta))


def _erfcx(x: float) -> float:
    """exp(x²) erfc(x) for x >= 0; past 25 by its asymptotic series (DLMF 7.12.1), to 1e-10."""
    if x < 25:
        return math.exp(x * x) * math.erfc(x)
    y = 1 / (2 * x * x)
    return (1 - y * (1 - 3 * y * (1 - 5 * y))) / (x * math.sqrt(math.pi))


def _first_reached(reached: Callable[[float], bool], ceiling: float) -> float:
    """The point in (0, ceiling] from which on `reached` is true, by bisection to the last bits; from above."""
    low, high = 0.0, ceiling
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(f"delta is in (0, 1), got {delta!r}")
