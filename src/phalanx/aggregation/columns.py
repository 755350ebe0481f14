"""Passes over the rows (n, d), in float64 and in a fixed order, wherever the rows lie: in memory, mapped, or sealed.

The rows are never copied whole to float64. A row of weight zero is not read: it leaves no trace, however large it is,
and Krum's answer costs one row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from phalanx import kernels
from phalanx.aggregation.sealed_rows import SealedRows
from phalanx.types import F32, F64

Rows = F32 | SealedRows
_SAMPLE, _SAMPLES = 512, 8  # columns of a sample that lie together, and how many of them


def blocks(rows: Rows) -> Iterator[tuple[slice, F32]]:
    """The rows' columns in order: all at once if they are in memory."""
    if isinstance(rows, np.ndarray):
        yield slice(0, rows.shape[1]), rows
    else:
        yield from rows.blocks()


def squared_norms(rows: Rows) -> F64:
    """(n,) squared l2 norms. Raises ValueError that names the rows with a value that is not finite.

    A sum of squares of finite float32 values cannot overflow float64 (3.4e38 squared is 1.2e77), so that one pass
    answers both questions.
    """
    squares = rows.squared_norms if isinstance(rows, SealedRows) else kernels.squared_norms(rows)
    bad = np.flatnonzero(~np.isfinite(squares))
    if bad.size:
        raise ValueError(f"rows must be finite, got NaN or infinity in rows {bad.tolist()}")
    return squares


def sampled_norms(rows: Rows) -> F64:
    """(n,) squared l2 norms of some columns, to guess by; of all, where they are known. May be not finite."""
    if isinstance(rows, SealedRows):
        return rows.squared_norms
    d = rows.shape[1]
    starts = range(0, d, max(_SAMPLE, d // _SAMPLES)) if d > _SAMPLE * _SAMPLES else [0]
    width = _SAMPLE if len(starts) > 1 else d
    return np.asarray(sum(kernels.squared_norms(rows[:, start : start + width]) for start in starts))


def products(rows: Rows, centre: int, reference: F32 | None = None) -> F64:
    """Inner products of the vectors rows - c, then reference - c if there is one, then c, which is row `centre`.

    With centre -1 c is zero.
    """
    m = rows.shape[0] + (reference is not None)
    total = np.zeros((m, m))
    for columns, block in blocks(rows):
        total += kernels.products(block, centre, None if reference is None else reference[columns])
    seen = np.zeros((m + 1, m + 1))
    seen[:m, :m] = total
    if centre < 0:
        return seen
    seen[m, :m] = seen[:m, m] = total[centre]
    seen[m, m] = total[centre, centre]
    seen[:, centre] = seen[centre, :] = 0.0  # from itself the centre is seen as zero
    return seen


def combine(weights: F64, rows: Rows, reference: F32 | None = None) -> F32:
    """(n,) weights, (n, d) rows -> (d,) their weighted sum, accumulated in float64 in the order of the rows.

    With (n+1,) weights the last is that of the reference.
    """
    other = reference if len(weights) > rows.shape[0] else None
    if isinstance(rows, np.ndarray):
        return kernels.combine(weights, rows, other)
    vector = np.empty(rows.shape[1], dtype=np.float32)
    for columns, block in blocks(rows):
        vector[columns] = kernels.combine(weights, block, None if other is None else other[columns])
    return vector


def select(
    rows: Rows,
    window: Callable[[kernels.Seen], kernels.Selected],
    mixing: F64 | None = None,
    chosen: npt.NDArray[np.int64] | None = None,
) -> tuple[F32, F64]:
    """(d,) what `window`, a coordinate-wise kernel, gives; (m,) at which share of coordinates each row was averaged.

    It sees the rows at `chosen`, or all; or `mixing` (m, n) times them. Raises ValueError that names the rows with a
    value that is not finite.
    """
    d = rows.shape[1]
    places = None if chosen is None else chosen.astype(np.int32)
    if isinstance(rows, np.ndarray):
        vector, counts, finite = window(kernels.Seen(rows, places, mixing))
        if not finite:
            squared_norms(rows)  # names them
        return vector, counts / d
    vector = np.empty(d, dtype=np.float32)
    counted = []
    for columns, block in rows.blocks():  # sealed rows are finite
        vector[columns], counts, _ = window(kernels.Seen(block, places, mixing))
        counted.append(counts)
    return vector, np.sum(counted, axis=0) / d
