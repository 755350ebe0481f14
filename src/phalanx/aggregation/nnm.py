"""Nearest-neighbour mixing: each row becomes the mean of the n-f rows nearest to it, itself included.

Allouah et al., AISTATS 2023, section 3 (NNM).
"""

from __future__ import annotations

import numpy as np

from phalanx.aggregation.gram import Gram, squared_distances
from phalanx.rules import NNM
from phalanx.types import F64


def mixing(step: NNM, view: Gram) -> F64:
    """(n, n) row-stochastic mixing matrix. Rows at the same distance count in their order; exact zeros elsewhere."""
    distances = squared_distances(view)
    n = len(distances)
    np.fill_diagonal(distances, -1.0)  # itself first, also among equals
    nearest = np.argsort(distances, axis=1, kind="stable")[:, : n - step.f]
    mixing = np.zeros((n, n))
    np.put_along_axis(mixing, nearest, 1.0 / (n - step.f), axis=1)
    return mixing
