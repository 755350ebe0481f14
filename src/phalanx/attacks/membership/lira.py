"""LiRA, the likelihood ratio attack: two normal distributions for each example, of its confidence with and without it.

Carlini et al., S&P 2022 (arXiv:2112.03570), section V. Under 64 shadow models all examples share a variance (section
VI-C). Here it is pooled around each example's own mean; the authors' code takes that of all confidences together, which
is larger by the spread between examples.
"""

from __future__ import annotations

import numpy as np

from phalanx.attacks.membership.shadows import Shadows
from phalanx.types import F64

OWN_VARIANCE = 64  # shadows on one side from which an example has a variance of its own


def lira_online(phi: F64, shadows: Shadows, fewest: int = OWN_VARIANCE) -> F64:
    """(n,): log N(φ; μ_in, σ_in²) - log N(φ; μ_out, σ_out²), for the target's φ (n,). Algorithm 1.

    `fewest` shadows on a side give an example a variance of its own. Raises ValueError where one side has no shadows.
    """
    inside, outside = shadows.sides()
    return _log_normal(phi, inside.mean, inside.variance(fewest)) - _log_normal(
        phi, outside.mean, outside.variance(fewest)
    )


def lira_offline(phi: F64, shadows: Shadows, fewest: int = OWN_VARIANCE) -> F64:
    """(n,): (φ - μ_out) / σ_out, with the models that were not trained on an example alone: equation 4.

    The paper's score is Φ of it, in the same order; Φ is 1 to the last bit for all that is 9 deviations away.
    """
    outside = shadows.outside()
    score: F64 = (phi - outside.mean) / np.sqrt(outside.variance(fewest))
    return score


def _log_normal(value: F64, mean: F64, variance: F64) -> F64:
    """Without the constant, which cancels."""
    density: F64 = -0.5 * (np.log(variance) + (value - mean) ** 2 / variance)
    return density
