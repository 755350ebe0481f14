"""Honest-looking rows: a copy of one honest row, and rows along the direction in which honest rows differ most."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from phalanx.attacks.line_search import Line, best_response
from phalanx.attacks.plan import Harm, Plan, first_of_most
from phalanx.attacks.response import Target


def mimic(target: Target, harm: Harm) -> Iterator[Plan]:
    """The honest row whose copies hurt most.  Karimireddy et al., ICLR 2022.

    The paper takes the row of largest projection on the top direction of all rounds so far; here each is tried.
    """
    rows = np.array([target.basis.at_row(i) for i in range(target.basis.h)])
    worst = first_of_most(harm(target.respond(rows)))
    yield Plan("mimic", rows[worst], {"row": float(worst)})


def principal(target: Target, harm: Harm) -> Iterator[Plan]:
    """μ + τv, v the top direction of the honest rows, of their spread's length; the τ of most harm, of either sign.

    Our variant of the attack on covariance filters of Choudhary et al., IEEE S&P 2024 (HIDRA).
    """
    basis = target.basis
    _, vectors = np.linalg.eigh(basis.products[: basis.h, : basis.h])
    top = np.pad(vectors[:, -1], (0, len(basis.products) - basis.h))
    length = basis.length(top)
    if not length > 0.0:
        return
    line = Line(basis.at(mean=1.0), top * (basis.spread / length), both_signs=True)
    tau = best_response(target, line, harm)
    yield Plan("principal", line.at(tau), {"tau": tau})
