"""LiRA with a prior on the variances, which carries it through small numbers of shadow models: BaVarIA.

Brännvall, arXiv:2603.11799: a normal-inverse-gamma prior for each example gives a Student-t predictive density. Of the
paper only the abstract was at hand. The prior's strength, ν₀ = 4 around the pooled variance, and its flat mean are
ours, and figures need not be the paper's.
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

from phalanx.attacks.membership.shadows import Moments, Shadows
from phalanx.types import F64

PRIOR_STRENGTH = 4.0  # ν₀: as many shadows as the pooled variance counts for


def student(phi: F64, shadows: Shadows, strength: float = PRIOR_STRENGTH) -> F64:
    """(n,): log t(φ; IN) - log t(φ; OUT) for the target's φ (n,).

    With n shadows on a side, mean m and squared distances S: ν₀ + n degrees of freedom around m, and the scale
    s²(1 + 1/n) with s² = (ν₀s₀² + S) / (ν₀ + n), s₀² the pooled variance (Gelman et al., Bayesian Data Analysis, 3rd
    ed., sections 3.2 and 3.3). Raises ValueError for ν₀ <= 0, and where one side has no shadows.
    """
    if not strength > 0:
        raise ValueError(f"the prior's strength must be above 0, got {strength!r}")
    inside, outside = shadows.sides()
    return _log_predictive(phi, inside, strength) - _log_predictive(phi, outside, strength)


def _log_predictive(phi: F64, side: Moments, strength: float) -> F64:
    freedom = strength + side.count
    variance = (strength * side.pooled + side.squares) / freedom
    scale = variance * (1 + 1 / np.maximum(side.count, 1))  # a mean that was filled in counts as one shadow's
    density: F64 = (
        gammaln((freedom + 1) / 2)
        - gammaln(freedom / 2)
        - 0.5 * np.log(freedom * np.pi * scale)
        - (freedom + 1) / 2 * np.log1p((phi - side.mean) ** 2 / (freedom * scale))
    )
    return density
