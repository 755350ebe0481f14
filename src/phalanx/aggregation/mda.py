"""Minimum-diameter averaging: the mean of the n-f rows of which the two farthest apart are nearest to each other.

El Mhamdi et al., 2020 (1911.07537), section 3. Every subset is looked at, so that the answer is exact: of n = 20 rows
there are up to 167,960.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import chain, combinations
from math import comb
from typing import Any

import numpy as np
import numpy.typing as npt

from phalanx.aggregation.gram import Gram, squared_distances
from phalanx.rules import MDA
from phalanx.types import F64


def weights(rule: MDA, view: Gram) -> tuple[F64, None]:
    """(n,) equal weights of the chosen rows. No scores: a subset is chosen, not rows."""
    kept = view.n - rule.f
    weights = np.zeros(view.n)
    weights[tightest(squared_distances(view), kept)] = 1.0 / kept
    return weights, None


def tightest(distances: npt.NDArray[Any], size: int, ranks: npt.NDArray[Any] | None = None) -> npt.NDArray[np.intp]:
    """The `size` rows of smallest diameter; of several such sets that of the smallest sum of distances, then the first.

    Sets of one diameter are common: all that hold its two ends and nothing outside. The paper takes any of them; the
    sum keeps the answer from depending on the order of the rows. `ranks`, numbers in the order of the distances, are
    compared in their place where they are quicker to compare.
    """
    compared = distances if ranks is None else ranks
    subsets = _subsets(len(distances), size)
    diameters = np.zeros(len(subsets), dtype=compared.dtype)
    for i, j in combinations(range(size), 2):
        np.maximum(diameters, compared[subsets[:, i], subsets[:, j]], out=diameters)
    tied = subsets[diameters == diameters.min()]
    sums = distances[tied[:, :, None], tied[:, None, :]].sum(axis=(1, 2))
    return np.asarray(tied[np.argmin(sums)])


@lru_cache(maxsize=4)  # a search for attacks asks for the same ones again and again
def _subsets(n: int, size: int) -> npt.NDArray[np.intp]:
    """(count, size): all subsets of n rows, in lexicographic order."""
    count = comb(n, size)
    members = np.fromiter(chain.from_iterable(combinations(range(n), size)), dtype=np.intp, count=count * size)
    members.flags.writeable = False
    return members.reshape(count, size)
