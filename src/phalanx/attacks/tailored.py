"""A white-box search for rows that agree with what a rule looks at, and do their harm at a right angle to it.

The row is l (cos θ ĝ + sin θ û): ĝ is the direction of the reference, or of μ without one; û is a harmful direction
made orthogonal to ĝ. Rules that judge by the cosine to a reference look unbeatable until they meet it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from phalanx.attacks.basis import Basis
from phalanx.attacks.plan import ROUNDING, Harm, Plan, first_of_most
from phalanx.attacks.response import Target
from phalanx.types import F64

_ANGLES = (15, 45, 75, 105, 135, 165)
_REFINEMENTS = 5
_PARALLEL = 1e-6  # of its length: what rounding leaves of a direction that has nothing orthogonal to ĝ


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    toward: F64  # ĝ
    across: F64  # û
    name: str
    angle_deg: float
    length: float

    @property
    def coefficients(self) -> F64:
        theta = math.radians(self.angle_deg)
        return self.length * (math.cos(theta) * self.toward + math.sin(theta) * self.across)


def tailored(target: Target, harm: Harm) -> Iterator[Plan]:
    """The û in -μ, ±σ, -sign(μ)σ, the angle and the length of most harm: a grid, then ever smaller steps.

    None if there is no ĝ, or nothing but it. Ours.
    """
    grid = list(_grid(target.basis))
    if not grid:
        return
    best, most = _best(target, harm, grid)
    turn, stretch = 30.0, 3.0
    for _ in range(_REFINEMENTS):
        turn, stretch = turn / 2.0, stretch**0.5
        near = [replace(best, angle_deg=best.angle_deg + change) for change in (-turn, turn)]
        near += [replace(best, length=best.length * factor) for factor in (1.0 / stretch, stretch)]
        nearby, harm_nearby = _best(target, harm, near)
        if harm_nearby > most + ROUNDING * abs(most):
            best, most = nearby, harm_nearby
    yield Plan("tailored", best.coefficients, {"angle_deg": best.angle_deg, "length": best.length}, best.name)


def _grid(basis: Basis) -> Iterator[_Row]:
    toward = basis.at(mean=1.0, **({"reference": 1.0} if "reference" in basis.directions else {}))
    if not basis.length(toward) > 0.0:
        return
    toward = toward / basis.length(toward)
    typical = math.hypot(basis.mean_length, basis.spread)  # the root mean square length of the honest rows
    harmful = {
        "-mean": {"mean": -1.0},
        "+sigma": {"sigma": 1.0},
        "-sigma": {"sigma": -1.0},
        "-sign*sigma": {"directed": 1.0},
    }
    for name, along in harmful.items():
        wanted = basis.at(**along)
        across = wanted - (wanted @ basis.products @ toward) * toward
        if basis.length(across) > _PARALLEL * basis.length(wanted):
            across = across / basis.length(across)
            for angle in _ANGLES:
                for length in (basis.mean_length or typical, typical, 3.0 * typical):
                    yield _Row(toward, across, name, angle, length)


def _best(target: Target, harm: Harm, tried: list[_Row]) -> tuple[_Row, float]:
    harms = harm(target.respond(np.array([row.coefficients for row in tried])))
    i = first_of_most(harms)
    return tried[i], float(harms[i])
