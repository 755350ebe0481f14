"""MoNNA's average: the mean of the n-f rows nearest to one's own.  Farhadkhani et al., ICML 2023, Algorithm 1."""

from __future__ import annotations

import numpy as np

from phalanx.aggregation.gram import Gram, squared_distances
from phalanx.rules import MoNNA
from phalanx.types import F64


def weights(rule: MoNNA, view: Gram) -> tuple[F64, F64]:
    """(n,) equal weights of the kept rows; and the (n,) squared distances from the own row.

    The own row is always kept, also where others are the same; of other rows at one distance the earlier is.
    """
    scores = squared_distances(view)[rule.own]
    n = len(scores)
    order = scores.copy()
    order[rule.own] = -1.0
    weights = np.zeros(n)
    weights[np.argsort(order, kind="stable")[: n - rule.f]] = 1.0 / (n - rule.f)
    return weights, scores
