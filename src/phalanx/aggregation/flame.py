"""FLAME's filter: the rows that a majority cluster by direction holds, cut to the median length, averaged.

Nguyen et al., USENIX Security 2022, Algorithm 1, lines 6 to 12. It clusters with HDBSCAN, the least size of a cluster
n//2 + 1, one neighbour, a single cluster allowed. Then no cluster can split in two, the reachability of two rows is
their distance, and what is left is: join rows in the order of their distance until a component holds a majority; that
component is kept. Rows at the same distance join together. There always is one, so that FLAME removes fewer than n/2
rows and may remove honest ones that differ from the majority.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phalanx.aggregation.gram import Gram, squared_distances
from phalanx.aggregation.norm_clip import shorten
from phalanx.rules import FLAME
from phalanx.types import F64


def weights(rule: FLAME, view: Gram) -> tuple[F64, F64]:
    """(n,) weights of the kept rows, clipped; and (n,) scores: the cosine distance to the nearest kept row.

    The models that are clustered are reference + row, or the rows if there is no reference; the lengths that are
    clipped are those of the rows, the bound is the median over all rows, kept or not.
    """
    distances = _cosine_distances(view)
    kept = majority(distances)
    norms = np.sqrt(view.squared_norms)
    weights = np.where(kept, shorten(norms, float(np.median(norms))), 0.0) / kept.sum()
    return weights, distances[:, kept].min(axis=1)


def majority(distances: F64) -> npt.NDArray[np.bool_]:
    """(n,) whether a row is in the first single-linkage component of more than n/2 rows."""
    n = len(distances)
    component = np.arange(n)
    height = np.inf
    for length, i, j in sorted(_spanning_tree(distances)):
        if length > height:
            break
        component[component == component[j]] = component[i]
        if height == np.inf and 2 * int((component == component[i]).sum()) > n:
            height = length  # rows at the very same distance still join
    return np.asarray(component == np.bincount(component).argmax())


def _spanning_tree(distances: F64) -> list[tuple[float, int, int]]:
    """The n-1 shortest edges (length, i, j) that join all rows: Prim's algorithm."""
    edges = []
    outside = np.ones(len(distances), dtype=bool)
    outside[0] = False
    nearest, shortest = np.zeros(len(distances), dtype=np.intp), distances[0].copy()
    for _ in range(len(distances) - 1):
        j = int(np.where(outside, shortest, np.inf).argmin())
        edges.append((float(shortest[j]), int(nearest[j]), j))
        outside[j] = False
        closer = distances[j] < shortest
        nearest[closer], shortest[closer] = j, distances[j][closer]
    return edges


def _cosine_distances(view: Gram) -> F64:
    """(n, n) 1 - cos of the models: symmetric, in [0, 2], zero on the diagonal, 1 to a model of length zero.

    Models of one round are near to each other, so 1 - cos is computed from their difference: 1 minus a cosine near 1
    would be rounding. Only where they are far apart is it the other way round.
    """
    n = view.n
    models = np.eye(n, len(view.products))
    models[:, -1] = 2.0 if view.has_reference else 1.0
    if view.has_reference:
        models[:, n] = 1.0
    products = models @ view.products @ models.T
    lengths = np.sqrt(np.maximum(np.diagonal(products), 0.0))
    both = lengths[:, None] * lengths
    apart = squared_distances(view)
    near = (apart - (lengths[:, None] - lengths) ** 2) / 2.0
    far = both - (products + products.T) / 2.0
    distances = np.where(apart > 0.0, 1.0, 0.0)
    np.divide(np.where(apart < both, near, far), both, out=distances, where=both > 0.0)
    np.fill_diagonal(distances, 0.0)
    return np.asarray(np.clip(distances, 0.0, 2.0))
