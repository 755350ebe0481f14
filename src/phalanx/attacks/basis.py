"""What colluders who see the honest rows can build with: those rows, directions made of them, and their inner products.

An attack is a few coefficients over this basis. What a rule that is a function of the Gram matrix makes of it is then
arithmetic on small matrices, and the hostile row itself is made once, at the end. One pass over the rows, a block of
columns at a time, in float64; the rows are never copied whole.

Letters: `h` honest rows x_i with mean μ, `d` parameters, `m` vectors of the basis. σ is the coordinate-wise standard
deviation of the honest rows (population, 1/h), so that ‖σ‖ is their root mean squared distance from μ: the spread.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from phalanx.types import F32, F64

# sigma: σ. sign: sign(μ). directed: -sign(μ)σ, away from where the model would move, by as much as the rows differ.
# edge: from μ to one end of the honest range in each coordinate. reference: from μ to the rule's reference.
Direction = Literal["sigma", "sign", "directed", "edge", "reference"]

# (h, b) columns of the honest rows -> (b,) the end of the honest range that suits the attacker.
Edge = Callable[[F32], F32]

_BLOCK_ELEMENTS = 1 << 17  # 1 MiB of float64: about one core's L2
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """`products` (m, m): inner products of x_1 - μ, …, x_h - μ, then μ, then `directions` in order.

    Seen from the mean, the distance of two near rows is not lost in the square of their length. `vectors` holds the
    mean and the directions, (d,) float32 each.
    """

    honest: F32
    directions: tuple[Direction, ...]
    products: F64
    vectors: Mapping[str, F32]

    @property
    def h(self) -> int:
        """Honest rows."""
        return len(self.honest)

    @property
    def d(self) -> int:
        """Parameters."""
        return int(self.honest.shape[1])

    @property
    def mean_length(self) -> float:
        """‖μ‖."""
        return math.sqrt(self.products[self.h, self.h])

    @property
    def spread(self) -> float:
        """Root mean squared distance of the honest rows from their mean; exactly 0 if they are equal."""
        return math.sqrt(float(np.trace(self.products[: self.h, : self.h])) / self.h)

    def at(self, mean: float = 0.0, **along: float) -> F64:
        """(m,) coefficients of `mean` times μ plus the directions that are named, times what they are given."""
        coefficients = np.zeros(len(self.products))
        coefficients[self.h] = mean
        names: tuple[str, ...] = self.directions
        for name, value in along.items():
            coefficients[self.h + 1 + names.index(name)] = value
        return coefficients

    def at_row(self, i: int) -> F64:
        """(m,) coefficients of honest row i."""
        coefficients = self.at(mean=1.0)
        coefficients[i] = 1.0
        return coefficients

    def length(self, coefficients: F64) -> float:
        """The l2 norm of the vector with these coefficients."""
        return math.sqrt(max(float(coefficients @ self.products @ coefficients), 0.0))

    def row(self, coefficients: F64) -> F32:
        """(d,) the vector with these coefficients; the copy of an honest row is exact.

        Values beyond the range of float32, which rows of a model that diverged may ask for, are cut to it.
        """
        h = self.h
        factors = np.concatenate([coefficients[:h], [coefficients[h] - coefficients[:h].sum()], coefficients[h + 1 :]])
        vectors = [*self.honest, self.vectors["mean"], *(self.vectors[name] for name in self.directions)]
        used = np.flatnonzero(factors)
        row = np.zeros(self.d, dtype=np.float32)
        for columns in _blocks(self.d, 4):
            total = np.zeros(columns.stop - columns.start)
            for i in used:
                total += factors[i] * vectors[i][columns].astype(np.float64)
            row[columns] = np.clip(total, -LARGEST, LARGEST)
        return row

    def columns(self, where: npt.NDArray[np.intp]) -> F64:
        """(m, len(where)): the vectors that `products` is of, at these columns."""
        honest = np.take(self.honest, where, axis=1).astype(np.float64)
        mean = honest.sum(axis=0) / self.h
        return np.vstack([honest - mean, mean, *(self.vectors[name][where] for name in self.directions)])


def observe(
    honest: F32, directions: tuple[Direction, ...] = (), *, reference: F32 | None = None, edge: Edge | None = None
) -> Basis:
    """The basis of honest rows (h, d) float32 and `directions`; those named edge and reference must be handed in.

    Raises ValueError for anything but finite float32 rows with h, d >= 1, or if all of them are zero: then there is
    nothing to attack, and no direction to do it in.
    """
    _check(honest, directions, reference, edge)
    h, d = honest.shape
    m = h + 1 + len(directions)
    vectors = {name: np.empty(d, dtype=np.float32) for name in ("mean", *directions)}
    products = np.zeros((m, m))
    room = np.empty((m, _BLOCK_ELEMENTS // m + 1))
    with np.errstate(invalid="ignore"):  # infinities, refused below
        for columns in _blocks(d, m):
            V = room[:, : columns.stop - columns.start]
            V[:h] = honest[:, columns]
            np.divide(V[:h].sum(axis=0), h, out=V[h])  # exact where the rows are equal
            V[:h] -= V[h]
            if edge is not None and "edge" in directions:
                V[h + 1 + directions.index("edge")] = edge(honest[:, columns]) - V[h]
            if reference is not None and "reference" in directions:
                V[h + 1 + directions.index("reference")] = reference[columns] - V[h]
            _directions(V, h, directions)
            for i, name in enumerate(("mean", *directions), h):
                vectors[name][columns] = np.clip(V[i], -LARGEST, LARGEST)
            products += V @ V.T
    if not np.isfinite(products).all():
        raise ValueError("the honest rows and the reference must be finite, got NaN or infinity")
    if not products[: h + 1, : h + 1].any():
        raise ValueError("the honest rows are all zero: there is nothing to attack")
    return Basis(honest, directions, products, vectors)


def _directions(V: F64, h: int, directions: tuple[Direction, ...]) -> None:
    """Writes those directions that follow from the rows, which V holds as seen from their mean, and the mean."""
    around, mean = V[:h], V[h]
    sigma = np.sqrt(np.einsum("ij,ij->j", around, around) / h) if {"sigma", "directed"} & set(directions) else mean
    for i, name in enumerate(directions, h + 1):
        match name:
            case "sigma":
                V[i] = sigma
            case "sign":
                V[i] = np.sign(mean)
            case "directed":
                V[i] = -np.sign(mean) * sigma


def _blocks(d: int, count: int) -> list[slice]:
    """Column slices of all d columns, in order, for blocks of `count` vectors."""
    width = _BLOCK_ELEMENTS // count + 1
    return [slice(start, min(start + width, d)) for start in range(0, d, width)]


def _check(honest: F32, directions: tuple[Direction, ...], reference: F32 | None, edge: Edge | None) -> None:
    for name, rows, ndim in (("honest rows", honest, 2), ("reference", reference, 1)):
        if rows is not None and not (isinstance(rows, np.ndarray) and rows.dtype == np.float32 and rows.ndim == ndim):
            raise ValueError(f"the {name} must be a float32 array of {ndim} dimensions, got {_shown(rows)}")
    if honest.size == 0:
        raise ValueError(f"the honest rows must be (h, d) with h, d >= 1, got shape {honest.shape}")
    if reference is not None and reference.shape != honest.shape[1:]:
        raise ValueError(f"the reference must be as long as the rows, {honest.shape[1]}, got {len(reference)}")
    for direction, handed in (("edge", edge), ("reference", reference)):
        if direction in directions and handed is None:
            raise ValueError(f"the direction {direction!r} needs the argument of that name")


def _shown(rows: object) -> str:
    return f"{rows.dtype} {rows.shape}" if isinstance(rows, np.ndarray) else type(rows).__name__
