"""The last word of a search: from the best plan that the named attacks found, in any direction of the basis' span.

The lines of the papers leave a rule's weak spot between them. A pattern search (Hooke and Jeeves, J. ACM 1961) needs no
gradient, which a rule that selects does not have.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from phalanx.attacks.basis import Basis
from phalanx.attacks.line_search import lengths
from phalanx.attacks.plan import Harm, Plan
from phalanx.attacks.response import Target
from phalanx.types import F64

_STARTS = 2  # the worst of two different attacks
_TRIED = 150  # rows, for each start
_FIRST_STEP, _LAST_STEP = 0.5, 0.02  # of the typical length of an honest row
_WORTH = 1e-3  # a gain, relative to the start, that is worth another name
_RANK = 1e-9  # of the largest eigenvalue: below it, rounding


def pattern_search(target: Target, harm: Harm, plans: Sequence[Plan]) -> list[Plan]:
    """Better plans than the best of two attacks, in the order of those; none where there is nothing better nearby."""
    harms = harm(target.respond(np.array([plan.coefficients for plan in plans])))
    starts: dict[str, int] = {}
    for i in np.argsort(-harms, kind="stable"):
        starts.setdefault(plans[i].attack, int(i))
    found = []
    for attack, i in list(starts.items())[:_STARTS]:
        climbed, most = _climb(target, harm, plans[i].coefficients, float(harms[i]))
        if most > harms[i] + _WORTH * abs(harms[i]):
            found.append(Plan("pattern-search", climbed, {}, f"from {attack}"))
    return found


def _climb(target: Target, harm: Harm, start: F64, most: float) -> tuple[F64, float]:
    """Along one axis after the other: twice the step where it helped, half of it where it did not.

    No farther out than the lines go: against a rule without a bound it would go on for ever.
    """
    best, axes, longest = start, _axes(target.basis), lengths(target.basis)[-1]
    steps = np.full(len(axes), _FIRST_STEP)
    for _ in range(_TRIED // (2 * len(axes)) + 1):
        for i in np.flatnonzero(steps >= _LAST_STEP):
            tried = best + np.outer([steps[i], -steps[i]], axes[i])
            harms = harm(target.respond(tried))
            harms[[target.basis.length(row) > longest for row in tried]] = -np.inf
            helped = bool(harms.max() > most)
            if helped:
                best, most = tried[int(np.argmax(harms))], float(harms.max())
            steps[i] *= 2.0 if helped else 0.5
    return best, most


def _axes(basis: Basis) -> F64:
    """(k, m) orthogonal vectors of the typical length of an honest row that span the basis."""
    values, vectors = np.linalg.eigh(basis.products)
    kept = np.flatnonzero(values > _RANK * values[-1])[::-1]
    typical = np.hypot(basis.mean_length, basis.spread)
    axes: F64 = typical * (vectors[:, kept] / np.sqrt(values[kept])).T
    return axes
