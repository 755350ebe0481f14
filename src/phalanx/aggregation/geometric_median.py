"""The geometric median: the point with the smallest sum of distances to the rows.

Pillutla et al., 2022 (RFA), section 3: the minimum of Σ sqrt(|x_i - z|² + ν²), smoothed so that a point on a row can be
left again. ν is 1e-6 of a scale that fewer than half of the rows cannot set: of the median row, the median distance to
the others. It costs at most n ν of the sum. A fixed ν would mean something else for every length of the rows.

Weiszfeld's step (the mean under weights 1/r_i, r_i the smoothed distances) never goes up, but crawls where rows lie
nearly on a line or the median on one of them; Newton's step is fast near the minimum, but may go astray. Of both, of
shortened Newton steps and of the nearest row, each pass takes the one that goes lowest. What a step gains is computed
row by row as a difference, since in the sum itself a row 1e30 away would drown all the others.

It ends when the best step gains no more than 1e-14 of the scale a row, or when what it gains is rounding: 2 to 5 passes
in the generic case, up to 35 where an even number of rows lies on a line and all between the middle two are medians.
"""

from __future__ import annotations

import numpy as np

from phalanx.aggregation.gram import Gram, squared_distances
from phalanx.rules import GeometricMedian
from phalanx.types import F64

_SMOOTHING = 1e-6  # ν, in units of the scale
_TOLERANCE = 1e-14  # of the sum of distances, in units of the scale, a row
_MAX_PASSES = 50
_NEWTON = np.array([1.0, 0.5, 0.1, 0.01])  # parts of Newton's step that are tried
_EPS = float(np.finfo(np.float64).eps)


def weights(rule: GeometricMedian, view: Gram) -> tuple[F64, F64]:
    """(n,) weights that sum to 1, in proportion to 1/r_i; and (n,) scores: the smoothed distances r_i."""
    distances = squared_distances(view)
    from_others = _median_of_others(distances)
    square = float(_lower_median(from_others[None, :])[0])
    if square == 0.0:  # more than half of the rows are one and the same: that row is the median
        equal = (from_others == 0.0).astype(np.float64)
        return equal / equal.sum(), np.sqrt(distances[np.argmin(from_others)])
    r = _descend(view.centred / square, np.sqrt(from_others / square + 1.0))
    return _normalised(1.0 / r), r * np.sqrt(square)


def _median_of_others(distances: F64) -> F64:
    """(n,) the lower median of each row's squared distances to the others; zero of a row alone."""
    n = len(distances)
    if n == 1:
        return np.zeros(1)
    others = distances[~np.eye(n, dtype=bool)].reshape(n, n - 1)
    return _lower_median(others)


def _lower_median(values: F64) -> F64:
    """Of two middle values the lower one, in each row: with f of 2f + 1 the upper one might be hostile."""
    middle = (values.shape[1] - 1) // 2
    return np.asarray(np.partition(values, middle, axis=1)[:, middle])


def _normalised(a: F64) -> F64:
    return np.asarray(a / a.sum())


def _descend(G: F64, r: F64) -> F64:
    """(n,) smoothed distances of the rows from the median, from a guess `r` of them.

    The point is always the mean under weights 1/r: coefficients of both signs, as Newton's steps would pile up where
    rows depend on each other, would multiply the rounding.
    """
    lengths = np.sqrt(np.maximum(np.diagonal(G), 0.0))
    enough, gained = _TOLERANCE * len(G), np.inf
    for _ in range(_MAX_PASSES):
        a = _normalised(1.0 / r)
        K = _seen_from_mean(G, a, int(np.argmin(r)))
        r = np.sqrt(np.maximum(np.diagonal(K), 0.0) + _SMOOTHING**2)
        change, after = _outcomes(K, r, _proposals(K, r))
        best = int(np.argmin(change))
        before, gained = gained, -float(change[best])
        # Two near rows that are far from the centre have a product rounded relative to its length. What is below that
        # may be real, then Newton's steps make it vanish, or not, then they turn in circles.
        rounding = enough + _EPS * float((lengths / r).sum() * (a @ lengths))
        at_end = gained <= enough or (gained <= rounding and gained > before / 4.0)
        if at_end and change[0] <= rounding:
            best = 0  # all alike within rounding: Newton's whole step ends nearest to the minimum
        if not change[best] <= rounding:
            return r
        r = after[best]
        if at_end:
            break
    return r


def _seen_from_mean(G: F64, a: F64, near: int) -> F64:
    """(n, n) inner products of the rows as seen from their mean under weights `a`, by way of the row nearest to it.

    So the distance to a row that carries nearly all of the weight is no difference of large numbers.
    """
    H = G - G[:, near, None] - G[near] + G[near, near]
    mean = H @ a
    return np.asarray(H - mean[:, None] - mean + a @ mean)


def _proposals(K: F64, r: F64) -> F64:
    """(steps, n) coefficients y: each step goes from the point z to z + Σ y_i (x_i - z). The first is Newton's.

    With p_i the multiplier of row i's unit pull, y_i = p_i / r_i, Newton's equation is
    s p_i - Σ_j K_ij p_j / (r_i² r_j) = 1 with s = Σ 1/r_i: all of its terms are of order 1, whatever r_i is.
    """
    n = len(r)
    pull = 1.0 / r
    s = pull.sum()
    M = -K * (pull**2)[:, None] * pull
    M[np.diag_indices(n)] += s * (1.0 + _TOLERANCE)
    try:
        newton = np.linalg.solve(M, np.ones(n)) * pull
    except np.linalg.LinAlgError:  # not met so far; Weiszfeld's step needs no solution
        newton = pull / s
    nearest = np.zeros(n)
    nearest[np.argmin(r)] = 1.0
    return np.vstack([_NEWTON[:, None] * newton, pull / s, nearest])


def _outcomes(K: F64, r: F64, steps: F64) -> tuple[F64, F64]:
    """(steps,) by how much each changes the sum of the smoothed distances; and these distances (steps, n) after it."""
    toward = steps @ K
    square = np.einsum("ij,ij->i", toward, steps)[:, None]
    moved = square - 2.0 * toward  # the change of each squared distance
    after = np.sqrt(np.maximum(r**2 + moved, _SMOOTHING**2))
    return (moved / (r + after)).sum(axis=1), after
