"""Krum and Multi-Krum: rows scored by how near their neighbours are.

The score of a row is the sum of the squared distances to its n-f-2 nearest others (Blanchard et al., NeurIPS 2017,
section 4); other libraries take n-f-1. Krum keeps the row of lowest score, Multi-Krum the mean of the m lowest,
m = n-f-2 unless the rule says otherwise (Damaskinos et al., SysML 2019). Of equal scores the earlier row wins. Both
need n >= 2f + 3.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from phalanx.aggregation.gram import Gram, squared_distances
from phalanx.rules import Krum, MultiKrum
from phalanx.types import F64


def weights(rule: Krum | MultiKrum, view: Gram) -> tuple[F64, F64]:
    """(n,) equal weights of the selected rows, zero for the others; and the (n,) scores."""
    neighbours = view.n - rule.f - 2
    kept = kept_rows(rule, view.n)
    sums = np.asarray(scores(squared_distances(view), neighbours), dtype=np.float64)
    weights = np.zeros(view.n)
    weights[np.argsort(sums, kind="stable")[:kept]] = 1.0 / kept
    return weights, sums


def kept_rows(rule: Krum | MultiKrum, n: int) -> int:
    """How many of the n rows are averaged."""
    return 1 if isinstance(rule, Krum) else rule.m or n - rule.f - 2


def scores(distances: npt.NDArray[Any], neighbours: int) -> npt.NDArray[Any]:
    """(n,) sums over the nearest others, of distances (n, n) in float64 or in exact Python integers."""
    n = len(distances)
    others = distances[~np.eye(n, dtype=bool)].reshape(n, n - 1)
    return np.asarray(np.sort(others, axis=1)[:, :neighbours].sum(axis=1))
