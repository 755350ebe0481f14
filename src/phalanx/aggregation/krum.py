"""Krum and Multi-Krum: rows scored by how near their neighbours are.

The score of a row is the sum of the squared distances to its n-f-2 nearest others (Blanchard et al., NeurIPS 2017,
section 4); other libraries take n-f-1. Krum keeps the row of lowest score, Multi-Krum the mean of the m = n-f-2 lowest
(Damaskinos et al., SysML 2019). Of equal scores the earlier row wins. Both need n >= 2f + 3.
"""

from __future__ import annotations

import numpy as np

from phalanx.aggregation.gram import Gram, squared_distances
from phalanx.rules import Krum, MultiKrum
from phalanx.types import F64


def weights(rule: Krum | MultiKrum, view: Gram) -> tuple[F64, F64]:
    """(n,) equal weights of the selected rows, zero for the others; and the (n,) scores."""
    scores = _scores(squared_distances(view), rule.f)
    n = len(scores)
    kept = 1 if isinstance(rule, Krum) else n - rule.f - 2
    weights = np.zeros(n)
    weights[np.argsort(scores, kind="stable")[:kept]] = 1.0 / kept
    return weights, scores


def _scores(distances: F64, f: int) -> F64:
    """(n,) sums over the n-f-2 nearest others."""
    n = len(distances)
    others = distances.copy()
    np.fill_diagonal(others, np.inf)
    nearest: F64 = np.sort(others, axis=1)[:, : n - f - 2]
    return np.asarray(nearest.sum(axis=1))
