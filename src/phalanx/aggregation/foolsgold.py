"""FoolsGold: members whose updates have pointed the same way, round after round, share one member's weight or less.

Fung et al., RAID 2020, Algorithm 1, on all coordinates (no feature importance), κ = 1, with the weights brought to sum
1. With v_i the largest cosine of row i's history to another's:

| case                                            | what happens                                           |
|-------------------------------------------------|--------------------------------------------------------|
| v_j > v_i                                       | cos_ij is pardoned: times v_i / v_j                    |
| a negative cosine                               | counts as 0, as no similarity                          |
| α_i = 1 - max_j cos_ij, over the largest α, = 1 | weight 1 before the sum: the logit is cut to [0, 1]    |
| every history the same as another               | every weight is zero: the aggregate is zero            |
| a history of length zero                        | similar to nobody: full weight; all zero: equal weight |
"""

from __future__ import annotations

import numpy as np

from phalanx.rules import FoolsGold
from phalanx.types import F64

_ROUNDING = 1e-12  # what rounding leaves of 1 - cosine of two equal histories; over the largest α it would become 1


def weights(rule: FoolsGold, history: F64) -> tuple[F64, F64]:
    """(n,) weights that sum to 1, or all zero; and (n,) scores in [0, 1]: the largest pardoned similarity.

    `history` (n, n) are the inner products of the histories, the sums of past updates.
    """
    cosines = _cosines(history)
    highest = cosines.max(axis=1)
    pardon = np.ones_like(cosines)
    np.divide(highest[:, None], highest, out=pardon, where=highest > highest[:, None])
    scores = (cosines * pardon).max(axis=1)
    alpha = np.where(scores < 1.0 - _ROUNDING, 1.0 - scores, 0.0)
    if not alpha.any():
        return alpha, scores
    odds = np.clip(alpha / alpha.max(), 0.3, 0.7)  # beyond, the weight is 0 or 1; at 0 and 1 there is no logarithm
    weights = np.clip(np.log(odds / (1.0 - odds)) + 0.5, 0.0, 1.0)
    return weights / weights.sum(), scores


def _cosines(history: F64) -> F64:
    """(n, n) in [0, 1], zero on the diagonal and for histories of length zero."""
    norms = np.sqrt(np.maximum(np.diagonal(history), 0.0))
    lengths = norms[:, None] * norms
    cosines = np.zeros_like(history)
    np.divide(history, lengths, out=cosines, where=lengths > 0.0)
    np.fill_diagonal(cosines, 0.0)
    return np.asarray(np.clip(cosines, 0.0, 1.0))
