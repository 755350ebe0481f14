"""The covariance-bound-agnostic filter: weights shrink along the direction in which the rows spread most.

Allouah et al., ICML 2025 (CafCor), the filter alone. While more than n-2f of the weight is left: find the top
eigenpair (λ, v) of the weighted covariance, then multiply each weight by 1 - τ_i/τ_max with τ_i = <x_i - μ, v>². The
answer is the weighted mean μ that had the smallest λ. The eigenpair is exact, from an n × n matrix, and so the same in
every call; power iteration from a random start is not.

τ_max is over the rows that still have weight. Over all rows, one huge row, long removed, would keep τ_max so large that
the others stop shrinking, and the loop would never end: one member could stop the server.
"""

from __future__ import annotations

import numpy as np

from phalanx.aggregation.gram import Gram
from phalanx.rules import CAF
from phalanx.types import F64

_EPS = float(np.finfo(np.float64).eps)


def weights(rule: CAF, view: Gram) -> tuple[F64, F64]:
    """(n,) weights that sum to 1; and (n,) scores in [0, 1]: how much of the row's weight was filtered away."""
    G = view.centred
    n = len(G)
    left = best = np.ones(n)
    smallest = np.inf
    for _ in range(n):  # each pass removes at least the row of τ_max
        if not left.sum() > n - 2 * rule.f:
            break
        spread, tau = _top_direction(G, left / left.sum())
        if spread < smallest:
            smallest, best = spread, left
        if spread == 0.0:
            break
        left = left * (1.0 - np.minimum(tau / tau.max(), 1.0))
    return best / best.sum(), 1.0 - best


def _top_direction(G: F64, a: F64) -> tuple[float, F64]:
    """λ and (n,) τ for weights `a` that sum to 1; τ is zero where `a` is.

    λ is given as zero when it is within rounding of the rows' squared length as seen from the centre: then the rows
    with weight are equal to within float32, and which of them counts more no longer matters.
    """
    mean = G @ a
    K = G - mean[:, None] - mean[None, :] + a @ mean
    root = np.sqrt(a)
    values, vectors = np.linalg.eigh(root[:, None] * K * root[None, :])
    spread = float(values[-1])
    if not spread > len(a) * _EPS * float(a @ np.diagonal(G)):
        return 0.0, np.zeros_like(a)
    tau = (K @ (root * vectors[:, -1])) ** 2 / spread
    return spread, np.where(a > 0.0, tau, 0.0)
