"""Min-Max, Min-Sum: as far from μ along ∇ as the distances between honest rows allow; and the same against the rule.

Shejwalkar and Houmansadr, NDSS 2021, with its three perturbations ∇ against the honest update: -σ ("inverse
std"), -sign(μ) and -μ/‖μ‖. The paper searches γ by halving. Both conditions are quadratic in γ, so here it is computed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from phalanx.attacks.basis import Basis
from phalanx.attacks.line_search import Line, best_response
from phalanx.attacks.plan import Harm, Plan
from phalanx.attacks.response import Target
from phalanx.types import F64

_INSIDE = 1.0 - 1e-5  # the paper's search ends at 1e-5, too


def min_max(target: Target, harm: Harm) -> Iterator[Plan]:
    """μ + γ∇ no farther from any honest row than the two farthest of these are from each other."""
    basis = target.basis
    for name, direction in _perturbations(basis):
        gamma, _ = gammas(basis, direction)
        yield Plan("min-max", basis.at(mean=1.0) + gamma * direction, {"gamma": gamma}, name)


def min_sum(target: Target, harm: Harm) -> Iterator[Plan]:
    """μ + γ∇ with no more squared distance to all honest rows than the worst of these has."""
    basis = target.basis
    for name, direction in _perturbations(basis):
        _, gamma = gammas(basis, direction)
        yield Plan("min-sum", basis.at(mean=1.0) + gamma * direction, {"gamma": gamma}, name)


def agr_tailored(target: Target, harm: Harm) -> Iterator[Plan]:
    """μ - γ sign(μ) with the γ of most harm to this rule. Along the other two ∇ it is what `alie` and `ipm` find."""
    basis = target.basis
    against = basis.at(sign=-1.0)
    line = Line(basis.at(mean=1.0), against, marks=gammas(basis, against))
    tau = best_response(target, line, harm)
    yield Plan("agr-tailored", line.at(tau), {"gamma": tau}, "-sign")


def gammas(basis: Basis, direction: F64) -> tuple[float, float]:
    """The γ that are sent, of Min-Max and of Min-Sum: a hair below the bound.

    On it, two distances are equal, and how the row is rounded to float32 would decide what a rule makes of that.
    """
    return _INSIDE * max_gamma(basis, direction), _INSIDE * sum_gamma(basis, direction)


def max_gamma(basis: Basis, direction: F64) -> float:
    """The largest γ with ‖μ + γ∇ - x_i‖ ≤ R for all i, R the largest distance of two honest rows. 0 where ∇ is."""
    h, P = basis.h, basis.products
    squares = np.diagonal(P)[:h]
    diameter = max(float((squares[:, None] + squares[None, :] - 2.0 * P[:h, :h]).max()), 0.0)
    toward, length = P[:h] @ direction, basis.length(direction)
    if not length > 0.0:
        return 0.0
    toward = toward / length
    return float((toward + np.sqrt(np.maximum(toward**2 + diameter - squares, 0.0))).min()) / length


def sum_gamma(basis: Basis, direction: F64) -> float:
    """The largest γ with Σ_i ‖μ + γ∇ - x_i‖² ≤ max_i Σ_j ‖x_i - x_j‖². 0 where ∇ is.

    As the x_i - μ add up to zero, that is γ‖∇‖ = max_i ‖x_i - μ‖.
    """
    length = basis.length(direction)
    return float(np.sqrt(np.diagonal(basis.products)[: basis.h].max())) / length if length > 0.0 else 0.0


def _perturbations(basis: Basis) -> Iterator[tuple[str, F64]]:
    yield "-sigma", basis.at(sigma=-1.0)
    yield "-sign", basis.at(sign=-1.0)
    if basis.mean_length > 0.0:
        yield "-mean", basis.at(mean=-1.0 / basis.mean_length)
