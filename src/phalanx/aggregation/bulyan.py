"""Bulyan's selection: θ = n-2f rows, each the one that Krum would choose among those still there.

El Mhamdi et al., ICML 2018, section 4, step 1, with Krum as the rule that is run again and again. The paper leaves open
what Krum's number of neighbours becomes as rows leave; here, with m rows still there and f as declared, the score of a
row is over its m-f-2 nearest others still there, at least 1. (The last choices are among fewer than the 2f + 3 rows
that Krum by itself asks for: of the last 2f + 1 rows f may be hostile, and the second step, which drops 2f of the θ
values at each coordinate, is what bounds them.) Of equal scores the earlier row is chosen.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phalanx.aggregation.gram import Gram, squared_distances
from phalanx.rules import Bulyan


def selection(rule: Bulyan, view: Gram) -> npt.NDArray[np.intp]:
    """(θ,) numbers of the chosen rows, ascending."""
    distances = squared_distances(view)
    n = len(distances)
    # Sorted once: a row that leaves is struck out of each of the others' lists, which stay sorted.
    others = np.argsort(np.where(np.eye(n, dtype=bool), -1.0, distances), axis=1, kind="stable")[:, 1:]
    lengths = np.take_along_axis(distances, others, axis=1)
    left = np.arange(n)
    for m in range(n, 2 * rule.f, -1):
        scores = lengths[:, : max(m - rule.f - 2, 1)].sum(axis=1)
        chosen = int(np.argmin(scores))
        struck = left[chosen]
        left = np.delete(left, chosen)
        others, lengths = np.delete(others, chosen, axis=0), np.delete(lengths, chosen, axis=0)
        stays = others != struck
        shape = (m - 1, max(m - 2, 0))
        others, lengths = others[stays].reshape(shape), lengths[stays].reshape(shape)
    return np.setdiff1d(np.arange(n), left)
