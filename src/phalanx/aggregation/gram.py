"""The Gram matrix of the rows: all that a rotation-invariant rule needs to know of them.

Rows are seen from a centre c, a row of about median norm, so that the distance of two near rows is not lost in the
square of their length. With n > 2f members the median norm is at most the largest honest one, whoever owns that row;
row 0 would be whoever the attacker wants. Rules that compare directions, and may have to hold against a hostile
majority, see them from zero instead: a centre that a huge hostile row owns would drown the honest rows' directions.

The centre is kept as one more vector of the matrix, so that steps which are not translation invariant (clipping) can be
applied to it as well; and so is the reference vector, where a rule is handed one.

Everything is a product of float64 values: float32 rows of 3e38 in 1e6 dimensions have a squared norm of 1e83. An entry
is rounded relative to the lengths of its own two vectors only, so a huge row spoils its own entries and no others.

Letters: `n` rows x_i, `c` the centre, `r` the reference, `W` (m, n) a mixing matrix: the mixed rows are W X.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from phalanx.aggregation.columns import Rows, products, sampled_norms, squared_norms
from phalanx.rules.rule import Centre
from phalanx.types import F32, F64

_LONGEST_CENTRE = 2.0  # in median norms: a shorter centre costs no digit, a longer one few


@dataclass(frozen=True, slots=True)
class Gram:
    """`products`: the inner products of x_1 - c, …, x_n - c, then r - c if there is a reference, then c itself.

    `fixed`: c is zero or the reference, and stays that when the rows are mixed. `lengths` (n,) are the rows' squared
    norms as they were measured, where they were.
    """

    products: F64
    has_reference: bool = False
    fixed: bool = False
    lengths: F64 | None = None

    @property
    def n(self) -> int:
        """The number of rows."""
        return len(self.products) - 1 - self.has_reference

    @property
    def centred(self) -> F64:
        """(n, n): inner products of the rows as seen from the centre."""
        return self.products[: self.n, : self.n]

    @property
    def raw(self) -> F64:
        """(n, n), or (n+1, n+1) with the reference last: inner products of the rows as they are."""
        P = self.products
        toward_centre = P[:-1, -1]
        raw: F64 = P[:-1, :-1] + toward_centre[:, None] + toward_centre[None, :] + P[-1, -1]
        return raw

    @property
    def squared_norms(self) -> F64:
        """(n,): squared l2 norms of the rows, never negative.

        Taken back from products about a centre they are right to 1e-15 of its square only, which is not enough for a
        clip that promises a bound: it measures.
        """
        return np.maximum(np.diagonal(self.raw)[: self.n], 0.0) if self.lengths is None else self.lengths


def gram(rows: Rows, reference: F32 | None = None, seen_from: Centre = "median row", *, measured: bool = False) -> Gram:
    """(n, d) float32 -> their Gram matrix, with the rows' lengths `measured` by a pass of their own.

    One pass, if the row of median norm in a sample of the columns turns out to be no longer than twice the row that is
    of median norm; whoever hides a long row's length from the sample makes it three, and gains nothing else.
    Raises ValueError that names the rows with a value that is not finite.
    """
    lengths = squared_norms(rows) if measured else None
    if seen_from != "median row":
        centre = rows.shape[0] if seen_from == "reference" and reference is not None else -1
        view = Gram(products(rows, centre, reference), reference is not None, True, lengths)
    else:
        centre = median_row(sampled_norms(rows))
        view = Gram(products(rows, centre, reference), reference is not None, False, lengths)
    if not np.isfinite(np.diagonal(view.products)).all():
        squared_norms(rows)  # names the rows
    if view.fixed or view.products[-1, -1] <= _LONGEST_CENTRE**2 * float(np.median(view.squared_norms)):
        return view
    centre = median_row(squared_norms(rows) if lengths is None else lengths)
    return Gram(products(rows, centre, reference), reference is not None, False, lengths)


def from_products(G: F64, has_reference: bool = False, seen_from: Centre = "median row") -> Gram:
    """The same of rows that are known by their inner products X Xᵀ alone, the reference last if there is one."""
    fixed = seen_from == "zero" or (seen_from == "reference" and not has_reference)
    n = len(G) - has_reference
    as_they_are = Gram(np.pad(G, (0, 1)), has_reference, fixed, np.diagonal(G)[:n].copy())
    return mixed(as_they_are, np.eye(n))


def mixed(before: Gram, W: F64) -> Gram:
    """The Gram matrix of the rows W X, from that of X. The reference stays as it is.

    The new centre is subtracted among the coefficients, before any product, so that nothing is lost by it; and a row
    with coefficient zero contributes an exact zero.
    """
    m, n = W.shape
    coefficients = np.zeros((m + before.has_reference, len(before.products)))
    coefficients[:m, :n] = W
    coefficients[:m, -1] = W.sum(axis=1)
    if before.has_reference:
        coefficients[m, n] = coefficients[m, -1] = 1.0
    if before.fixed:
        centre = np.zeros(len(before.products))
        centre[-1] = 1.0
    else:
        squares = np.einsum("ij,ij->i", coefficients[:m] @ before.products, coefficients[:m])
        centre = coefficients[median_row(squares)]
    vectors = np.vstack([coefficients - centre, centre])
    scaled = before.lengths is not None and m == n and not np.any(W - np.diag(np.diagonal(W)))
    lengths = before.lengths * np.diagonal(W) ** 2 if scaled and before.lengths is not None else None
    return Gram(vectors @ before.products @ vectors.T, before.has_reference, before.fixed, lengths)


def squared_distances(view: Gram) -> F64:
    """(n, n) squared l2 distances between the rows: never negative, zero on the diagonal, symmetric to the last bit.

    Without the symmetry, rounding and not the order of the rows would decide between two rows that are each other's
    nearest.
    """
    squares = np.diagonal(view.centred)
    distances = np.maximum(squares[:, None] + squares[None, :] - (view.centred + view.centred.T), 0.0)
    np.fill_diagonal(distances, 0.0)
    return distances


def median_row(squares: F64) -> int:
    """The row of median norm: the lower one of two, the first one of several."""
    return int(np.argsort(squares, kind="stable")[(len(squares) - 1) // 2])
