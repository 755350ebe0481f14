"""The passes over columns in plain numpy: what the C kernels must compute, and what runs where there is no compiler.

Same arguments, same results as the functions of `_native`: to the byte for `combine` and `select`, to rounding in
float64 for `norms` and `products`, where the order of additions is the library's.

Letters: `rows` (n, d) float32, of which the columns [start, stop) are seen; results are added to, or written at, what
is handed in.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phalanx.kernels.networks import Plan, odd_even_sort

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

MIDDLE, EXTREMES, NEAREST = 0, 1, 2  # windows, see `select`
_ELEMENTS = 1 << 18  # of a block of float32: 1 MiB, about one core's L2
_WIDTH = 1 << 15  # columns of a block of `select`: long enough for numpy, and a whole part


def norms(rows: F32, start: int, stop: int, squares: F64) -> None:
    """squares (n,) += the squared l2 norms, in float64. A value that is not finite makes them so."""
    with np.errstate(over="ignore", invalid="ignore"):
        for columns in _blocks(len(rows), start, stop):
            block = rows[:, columns].astype(np.float64)
            squares += np.einsum("ij,ij->i", block, block)


def combine(
    rows: F32, other: F32 | None, used: npt.NDArray[np.int32], weights: F64, start: int, stop: int, vector: F32
) -> None:
    """vector = the sum of weights[u] * row used[u], added in that order in float64. Row n is `other`."""
    for columns in _blocks(2, start, stop):
        total = np.zeros(columns.stop - columns.start)
        for i, weight in zip(used, weights, strict=True):
            row = rows[i] if other is None or i < len(rows) else other
            total += weight * row[columns].astype(np.float64)
        with np.errstate(over="ignore"):  # as in C: a sum beyond float32 is infinite
            vector[columns] = total


def products(rows: F32, other: F32 | None, centre: int, start: int, stop: int, out: F64) -> None:
    """out += inner products of the rows seen from row `centre`, in whose place is the row itself. `other` is last.

    With centre -1 they are seen from zero.
    """
    for columns in _blocks(len(rows), start, stop):
        block = [rows[:, columns]] if other is None else [rows[:, columns], other[None, columns]]
        seen = np.concatenate(block).astype(np.float64)
        if centre >= 0:
            middle = seen[centre].copy()
            seen -= middle
            seen[centre] = middle
        out += seen @ seen.T


def select(
    rows: F32,
    chosen: npt.NDArray[np.int32] | None,
    mixing: F64 | None,
    plan: Plan,
    window: int,
    first: int,
    last: int,
    start: int,
    stop: int,
    vector: F32,
    kept: I64,
) -> bool:
    """vector[k] = the mean of some of the sorted values of column k, of the rows or of `mixing` (m, n) times the rows.

    `chosen` (n,) says which rows are meant; None: all.

    | window   | which values                                                            |
    |----------|-------------------------------------------------------------------------|
    | MIDDLE   | the sorted values [first, last)                                         |
    | EXTREMES | values parted at `first`: the median, from the largest below and the smallest above |
    | NEAREST  | the last - first values nearest to the median; at the same distance the lower |

    kept (m,) += the number of columns at which a row lies within the window, equal values included. Returns whether
    every value is finite; if not, the rest is undefined.
    """
    m = len(kept)
    finite = True
    for left in range(start, stop, _WIDTH):
        columns = slice(left, min(left + _WIDTH, stop))
        with np.errstate(invalid="ignore"):
            block = rows[:, columns].copy() if chosen is None else rows[chosen, columns]
            finite = finite and not np.isnan((block * np.float32(0)).sum())
            before = block.copy() if mixing is None else _mixed(mixing, block)
            values = _sorted(block if mixing is None else before.copy(), plan)
            low, high, total = _WINDOWS[window](values, first, last, m)
            vector[columns] = total / (2.0 if window == EXTREMES else float(last - first))
            kept += _within(before, low, high)
    return finite


def products_mod64(left: U64, right: U64, start: int, stop: int, out: U64) -> None:
    """out (n, m) += left (n, d) rightᵀ over the columns, modulo 2^64."""
    out += left[:, start:stop] @ right[:, start:stop].T


def _blocks(n: int, start: int, stop: int) -> list[slice]:
    width = max(1, _ELEMENTS // n)
    return [slice(left, min(left + width, stop)) for left in range(start, stop, width)]


def _mixed(mixing: F64, block: F32) -> F32:
    """mixing @ block, added in the order of the rows in float64."""
    total = np.zeros((len(mixing), block.shape[1]))
    for j, row in enumerate(block.astype(np.float64)):
        for i in np.flatnonzero(mixing[:, j]):
            total[i] += mixing[i, j] * row
    with np.errstate(over="ignore"):
        return total.astype(np.float32)


def _sorted(block: F32, plan: Plan) -> list[F32]:
    """The rows in the plan's order, after its comparators. Works in `block`; swaps rows instead of copying them."""
    row = list(block)
    spare = np.empty_like(row[0])
    start = 0
    comparators = []
    for size in plan.groups.tolist():
        comparators += [(start + a, start + b) for a, b in odd_even_sort(size)]
        start += size
    for a, b in comparators + plan.comparators.tolist():
        np.minimum(row[a], row[b], out=spare)
        np.maximum(row[a], row[b], out=row[b])
        row[a], spare = spare, row[a]
    return [row[i] for i in plan.order.tolist()]


def _within(rows: F32, low: F32, high: F32) -> I64:
    """(m,) at how many columns a row's value is in [low, high]."""
    above, below = np.empty(low.shape, dtype=bool), np.empty(low.shape, dtype=bool)
    counts = np.empty(len(rows), dtype=np.int64)
    for i, row in enumerate(rows):
        np.greater_equal(row, low, out=above)
        np.less_equal(row, high, out=below)
        np.logical_and(above, below, out=above)
        counts[i] = np.count_nonzero(above)
    return counts


def _middle(values: list[F32], first: int, last: int, m: int) -> tuple[F32, F32, F64]:
    low, high, total = values[first].copy(), values[first].copy(), np.zeros(values[0].shape)
    for value in values[first:last]:
        np.minimum(low, value, out=low)
        np.maximum(high, value, out=high)
        total += value
    return low, high, total


def _extremes(values: list[F32], first: int, last: int, m: int) -> tuple[F32, F32, F64]:
    high = _folded(np.minimum, values[first:])
    low = high if m % 2 else _folded(np.maximum, values[:first])
    return low, high, 0.0 + low.astype(np.float64) + high  # never minus zero


def _folded(choose: np.ufunc, values: list[F32]) -> F32:
    """The smallest or the largest of the values at each column."""
    chosen = values[0].copy()
    for value in values[1:]:
        choose(chosen, value, out=chosen)
    return chosen


def _nearest(values: list[F32], first: int, last: int, m: int) -> tuple[F32, F32, F64]:
    """From the lowest on, the window moves up while what it would take in is nearer than what it would lose."""
    size = last - first
    exact = [value.astype(np.float64) for value in values]
    twice = exact[(m - 1) // 2] + exact[m // 2]
    begin = np.zeros(twice.shape, dtype=np.int64)
    for i in range(m - size):
        begin += exact[i] + exact[i + size] < twice
    low, high, total = np.zeros_like(values[0]), np.zeros_like(values[0]), np.zeros(twice.shape)
    for i in range(m):
        at = i - begin
        total += np.where((at >= 0) & (at < size), exact[i], 0.0)
        np.copyto(low, values[i], where=at == 0)
        np.copyto(high, values[i], where=at == size - 1)
    return low, high, total


_WINDOWS = {MIDDLE: _middle, EXTREMES: _extremes, NEAREST: _nearest}
