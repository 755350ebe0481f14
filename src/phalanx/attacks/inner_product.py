"""Against the honest mean: sign flip, and inner product manipulation (IPM) with the ε that hurts most."""

from __future__ import annotations

from collections.abc import Iterator

from phalanx.attacks.line_search import Line, best_response
from phalanx.attacks.min_max import gammas
from phalanx.attacks.plan import Harm, Plan
from phalanx.attacks.response import Target


def sign_flip(target: Target, harm: Harm) -> Iterator[Plan]:
    """-μ.  Li et al., AAAI 2019, where each attacker flips its own row."""
    yield Plan("sign-flip", target.basis.at(mean=-1.0))


def ipm(target: Target, harm: Harm) -> Iterator[Plan]:
    """-εμ with the ε of most harm.  Xie et al., UAI 2019.

    An ε of the paper's order of 1 stays among honest rows that differ much, a large one breaks means. Where honest rows
    differ little, the best row that is taken for one of them lies between μ and zero: then ε is negative, above -1.
    """
    basis = target.basis
    against = basis.at(mean=-1.0)
    line = Line(basis.at(mean=1.0), against, marks=(1.1, 1.5, 2.0, 101.0, *gammas(basis, against)))  # τ = ε + 1
    tau = best_response(target, line, harm)
    yield Plan("ipm", line.at(tau), {"epsilon": tau - 1.0})
