"""RMIA: is the model surer of an example than it would be without it, by more than of other examples?

Zarifzadeh et al., ICML 2024 (arXiv:2312.03262), sections 3.1 and 3.2. Letters: p the target's probability of the true
label, P its mean over models with and without the example, `a` the slope of P_in ≈ a·P_out + (1 - a).

The population z are the examples asked about, each compared with all. Those that are members raise the bar for
everybody alike, so the order of the scores is that of any other z. A few hundred z leave ties between targets, which
tens of thousands, as in the paper, do not: they go to the greater ratio.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from phalanx.attacks.membership.loss import log_likelihood
from phalanx.attacks.membership.shadows import Bools, Shadows
from phalanx.types import F64

SLOPE = 0.3  # a: the paper tunes it on a reference model; 0.3 is its value for CIFAR-10
GAMMA = 1.0
_LEAST = 1e-300


def rmia_offline(phi: F64, shadows: Shadows, a: float = SLOPE, gamma: float = GAMMA) -> F64:
    """(n,): the share of examples z with ratio(x) > γ·ratio(z), ratio = p / P, P = ½((1 + a)P_out + 1 - a).

    Only shadows that were not trained on an example count for it; where there is none, P_out is that which gives their
    P_in. Raises ValueError unless 0 < a <= 1 and γ > 0.
    """
    _check(a, gamma)
    outside, _ = _sides(shadows, a)
    return _dominated(log_likelihood(phi) - np.log(((1 + a) * outside + 1 - a) / 2), gamma)


def rmia_online(phi: F64, shadows: Shadows, a: float = SLOPE, gamma: float = GAMMA) -> F64:
    """(n,): the same with P = ½(P_in + P_out). `a` fills in the side of which an example has no shadow."""
    _check(a, gamma)
    outside, inside = _sides(shadows, a)
    return _dominated(log_likelihood(phi) - np.log((inside + outside) / 2), gamma)


def _sides(shadows: Shadows, a: float) -> tuple[F64, F64]:
    """P_out and P_in (n,)."""
    p = expit(shadows.phi)
    outside, has_outside = _mean(p, ~shadows.inside)
    inside, has_inside = _mean(p, shadows.inside)
    out = np.where(has_outside, outside, (inside - (1 - a)) / a)
    return np.clip(out, _LEAST, 1.0), np.where(has_inside, inside, a * outside + 1 - a)


def _mean(p: F64, side: Bools) -> tuple[F64, Bools]:
    count = side.sum(axis=0)
    return np.where(side, p, 0.0).sum(axis=0) / np.maximum(count, 1), count > 0


def _dominated(log_ratio: F64, gamma: float) -> F64:
    """(n,): the share of all whose ratio, times γ, is smaller; by less than 1/n more, the greater the ratio is."""
    below = np.searchsorted(np.sort(log_ratio), log_ratio - np.log(gamma), side="left")
    share: F64 = (below + expit(log_ratio)) / len(log_ratio)
    return share


def _check(a: float, gamma: float) -> None:
    if not (0 < a <= 1 and gamma > 0):
        raise ValueError(f"RMIA needs 0 < a <= 1 and gamma > 0, got a = {a!r} and gamma = {gamma!r}")
