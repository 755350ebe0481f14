"""Divide and conquer: the mean without the rows that lie farthest along the direction in which the rows spread most.

Shejwalkar and Houmansadr, NDSS 2021, Algorithm 2. It samples coordinates and intersects what several samples keep; here
one pass sees all coordinates, so that the same rows always give the same answer. One direction is looked at: hostile
rows that lie in a second one, far but less far, stay in.
"""

from __future__ import annotations

import numpy as np

from phalanx.aggregation.gram import Gram
from phalanx.rules import DnC
from phalanx.types import F64


def weights(rule: DnC, view: Gram) -> tuple[F64, F64]:
    """(n,) equal weights of the kept rows; and the (n,) squared projections. Of equal ones the earlier row is kept."""
    along = _top_projections(view.centred)
    from_mean = along - along.mean()
    # Beside a row 1e30 away all others are equally far from the mean, to the last bit: then their own order decides.
    outward = np.where(from_mean < 0.0, -along, along)
    n = len(along)
    kept = np.lexsort((outward, np.abs(from_mean)))[: n - rule.removed]
    weights = np.zeros(n)
    weights[kept] = 1.0 / len(kept)
    return weights, from_mean**2


def _top_projections(G: F64) -> F64:
    """(n,) each row, as seen from the centre, along the top eigenvector of the covariance; zero if the rows are equal.

    Not as seen from the mean: an honest row's projection is then rounded relative to its own length.
    """
    mean = G.mean(axis=1)
    K = G - mean[:, None] - mean + mean.mean()
    _, vectors = np.linalg.eigh(K)
    direction = vectors[:, -1] - vectors[:, -1].mean()  # Σ u_k (x_k - mean) in terms of the rows
    projections: F64 = G @ direction
    square = float(direction @ projections)
    return projections / np.sqrt(square) if square > 0.0 else np.zeros_like(projections)
