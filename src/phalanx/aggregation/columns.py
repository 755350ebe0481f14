"""Passes over the rows (n, d), a block of columns at a time, in float64 and in a fixed order.

The rows are never copied whole to float64. A row of weight zero is not read: it leaves no trace, however large it is,
and Krum's answer costs one row.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from phalanx.types import F32, F64

BLOCK_ELEMENTS = 1 << 17  # 1 MiB of float64: about one core's L2


def blocks(rows: F32) -> Iterator[slice]:
    """The column slices of a pass over `rows`, in order. Their width depends on n alone."""
    n, d = rows.shape
    width = max(1, BLOCK_ELEMENTS // n)
    for start in range(0, d, width):
        yield slice(start, min(start + width, d))


def squared_norms(rows: F32) -> F64:
    """(n,) squared l2 norms. Raises ValueError that names the rows with a value that is not finite.

    A sum of squares of finite float32 values cannot overflow float64 (3.4e38 squared is 1.2e77), so that one pass
    answers both questions.
    """
    squares = np.zeros(rows.shape[0])
    for columns in blocks(rows):
        block = rows[:, columns].astype(np.float64)
        squares += np.einsum("ij,ij->i", block, block)
    bad = np.flatnonzero(~np.isfinite(squares))
    if bad.size:
        raise ValueError(f"rows must be finite, got NaN or infinity in rows {bad.tolist()}")
    return squares


def combine(weights: F64, rows: F32) -> F32:
    """(n,) weights, (n, d) rows -> (d,) their weighted sum, accumulated in float64 in the order of the rows."""
    vector = np.empty(rows.shape[1], dtype=np.float32)
    used = np.flatnonzero(weights)
    for columns in blocks(rows):
        total = np.zeros(columns.stop - columns.start)
        for i in used:
            total += weights[i] * rows[i, columns].astype(np.float64)
        vector[columns] = total
    return vector


def mix(mixing: F64, block: F32) -> F32:
    """(n, n) mixing matrix, (n, b) columns -> (n, b) mixed columns, accumulated in float64 in the order of the rows."""
    mixed = np.zeros(block.shape)
    for j, row in enumerate(block.astype(np.float64)):
        takers = np.flatnonzero(mixing[:, j])
        mixed[takers] += mixing[takers, j, None] * row
    return mixed.astype(np.float32)
