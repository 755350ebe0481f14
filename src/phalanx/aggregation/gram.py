"""The Gram matrix of the rows: all that a rotation-invariant rule needs to know of them.

Rows are seen from a centre c, the row of median norm, so that the distance of two near rows is not lost in the square
of their length. With n > 2f members the median norm is at most the largest honest one, whoever owns that row; row 0
would be whoever the attacker wants. The centre is kept as one more vector of the matrix, so that steps which are not
translation invariant (clipping) can be applied to it as well.

Everything is a product of float64 values: float32 rows of 3e38 in 1e6 dimensions have a squared norm of 1e83. An entry
is rounded relative to the lengths of its own two vectors only, so a huge row spoils its own entries and no others.

Letters: `n` rows x_i, `c` the centre, `W` (n, n) a mixing matrix: the mixed rows are W X.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from phalanx.aggregation.columns import blocks, squared_norms
from phalanx.types import F32, F64


@dataclass(frozen=True, slots=True)
class Gram:
    """`products` (n+1, n+1): inner products of the vectors x_1 - c, …, x_n - c, c. `squared_norms` (n,): of the x_i."""

    products: F64
    squared_norms: F64

    @property
    def centred(self) -> F64:
        """(n, n): inner products of the rows as seen from the centre."""
        return self.products[:-1, :-1]


def gram(rows: F32) -> Gram:
    """(n, d) float32 -> their Gram matrix. Raises ValueError if a value is not finite."""
    squares = squared_norms(rows)
    centre = _median_row(squares)
    products = np.zeros((len(rows) + 1, len(rows) + 1))
    for columns in blocks(rows):
        block = rows[:, columns].astype(np.float64)
        vectors = np.vstack([block - block[centre], block[centre]])
        products += vectors @ vectors.T
    return Gram(products, squares)


def mixed(before: Gram, W: F64) -> Gram:
    """The Gram matrix of the rows W X, from that of X.

    The new centre is subtracted among the coefficients, before any product, so that nothing is lost by it; and a row
    with coefficient zero contributes an exact zero.
    """
    coefficients = np.column_stack([W, W.sum(axis=1)])
    squares = np.einsum("ij,ij->i", coefficients @ before.products, coefficients)
    centre = coefficients[_median_row(squares)]
    vectors = np.vstack([coefficients - centre, centre])
    return Gram(vectors @ before.products @ vectors.T, np.maximum(squares, 0.0))


def squared_distances(view: Gram) -> F64:
    """(n, n) squared l2 distances between the rows: never negative, zero on the diagonal, symmetric to the last bit.

    Without the symmetry, rounding and not the order of the rows would decide between two rows that are each other's
    nearest.
    """
    squares = np.diagonal(view.centred)
    distances = np.maximum(squares[:, None] + squares[None, :] - (view.centred + view.centred.T), 0.0)
    np.fill_diagonal(distances, 0.0)
    return distances


def _median_row(squares: F64) -> int:
    """The row of median norm: the lower one of two, the first one of several."""
    return int(np.argsort(squares, kind="stable")[(len(squares) - 1) // 2])
