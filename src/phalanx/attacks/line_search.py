"""Best response: the point on a line of hostile rows that hurts a given rule most.

ByzFL (González et al., 2025) climbs from one start. The harm has several peaks, since a rule lets go of the hostile
rows at some point and may take them up again farther out; so here a grid over all lengths that make sense comes first,
and then a refinement around its best point.

Letters: `m` coefficients over the basis, τ the position on the line, `t` positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from phalanx.attacks.basis import LARGEST, Basis
from phalanx.attacks.plan import ROUNDING, Harm, first_of_most
from phalanx.attacks.response import Target
from phalanx.types import F64

_NEAREST, _FARTHEST = 2.0**-5, 2.0**10  # of the shorter and of the longer of ‖μ‖ and the spread
_MOST_POINTS = 32
_REFINEMENTS = 5  # each halves, in the logarithm, what is not known of τ: to 2 % from a grid of factor 2


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """The hostile rows start + τ · direction, (m,) coefficients each, for τ > 0, or for τ of both signs.

    `marks` are values of τ that are tried whatever the grid is, so that the best response is never less than these.
    """

    start: F64
    direction: F64
    marks: tuple[float, ...] = ()
    both_signs: bool = False

    def at(self, tau: float) -> F64:
        """(m,) coefficients."""
        return self.start + tau * self.direction


def best_response(target: Target, line: Line, harm: Harm) -> float:
    """The τ of most harm, of equal ones the one nearest to zero; 0 on a line that leads nowhere."""
    length = target.basis.length(line.direction)
    if not length > 0.0:
        return 0.0
    grid = lengths(target.basis) / length
    tau = np.concatenate([grid, -grid if line.both_signs else [], line.marks])
    best, most = _best(target, line, harm, tau)
    factor = grid[1] / grid[0]
    for _ in range(_REFINEMENTS):
        factor = np.sqrt(factor)
        near, harm_near = _best(target, line, harm, np.clip([best / factor, best * factor], -grid[-1], grid[-1]))
        if harm_near > most + ROUNDING * abs(most):
            best, most = near, harm_near
    return best


def lengths(basis: Basis) -> F64:
    """Ascending l2 lengths, by a constant factor of 2 or somewhat more: from hardly noticed to beyond every bound.

    None is longer than the largest float32, so that no value of a row is.
    """
    scales = [scale for scale in (basis.mean_length, basis.spread) if scale > 0.0]
    first, last = _NEAREST * min(scales), min(_FARTHEST * max(scales), LARGEST)
    points = min(_MOST_POINTS, int(np.log2(last / first)) + 1)
    return np.geomspace(first, last, max(points, 2))


def _best(target: Target, line: Line, harm: Harm, tau: F64) -> tuple[float, float]:
    ascending = tau[np.argsort(np.abs(tau), kind="stable")]
    harms = harm(target.respond(line.start + ascending[:, None] * line.direction))
    i = first_of_most(harms)
    return float(ascending[i]), float(harms[i])
