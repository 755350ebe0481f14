"""Directed deviation: against the direction s = sign(μ) in which the model would move, coordinate by coordinate.

Fang et al., USENIX Security 2020. Where the paper draws values at random from an interval, its middle or its near end
is taken: all colluders send the same row, and the answer is the same in every call.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from phalanx.aggregation import aggregate
from phalanx.attacks.basis import Basis, Edge
from phalanx.attacks.line_search import Line, best_response
from phalanx.attacks.plan import Harm, Objective, Plan
from phalanx.attacks.response import Target
from phalanx.rules import CoordinateRule
from phalanx.types import F32

_LEAST = 1e-5  # of the first λ: where the paper's search gives up


def krum_attack(target: Target, harm: Harm) -> Iterator[Plan]:
    """-λs, λ halved from the paper's bound until the rule takes it up ("Attacking Krum").

    Krum takes a row or leaves it. Of other rules we say that they take the hostile rows up when these weigh at least
    half of what they would in a mean; of a coordinate-wise rule that cannot be said, and there is no such attack on it.
    Updates are relative to the model, which is the paper's w_Re = 0.
    """
    basis, f = target.basis, target.f
    first = lambda_bound(basis, f)
    halvings = first * 0.5 ** np.arange(int(-np.log2(_LEAST)) + 1)
    share = target.respond(halvings[:, None] * basis.at(sign=-1.0)).share
    if not np.isfinite(share).all() or not first > 0.0:
        return
    taken = np.flatnonzero(share >= 0.5 * f / (basis.h + f))
    tau = float(halvings[taken[0] if taken.size else -1])
    yield Plan("fang-krum", basis.at(sign=-tau), {"lambda": tau})


def lambda_bound(basis: Basis, f: int) -> float:
    """The λ beyond which Krum takes no row at -λs.  Theorem 1, with ‖s‖ for √d."""
    h, P = basis.h, basis.products
    squares = np.diagonal(P)[:h]
    distances = np.sqrt(np.maximum(squares[:, None] + squares[None, :] - 2.0 * P[:h, :h], 0.0))
    nearest = np.sort(distances, axis=1)[:, 1 : max(h - 1, 1)].sum(axis=1)  # h - 2 others
    norms = np.sqrt(np.maximum(squares + 2.0 * P[:h, h] + P[h, h], 0.0))
    length = basis.length(basis.at(sign=1.0))
    return float(nearest.min() / max(h - f - 1, 1) + norms.max()) / length if length > 0.0 else 0.0


def directed(target: Target, harm: Harm) -> Iterator[Plan]:
    """μ - τ s σ with the τ of most harm. τ of 3 to 4 is its trim attack with partial knowledge."""
    basis = target.basis
    line = Line(basis.at(mean=1.0), basis.at(directed=1.0), marks=(3.0, 3.5, 4.0))
    tau = best_response(target, line, harm)
    yield Plan("fang-directed", line.at(tau), {"tau": tau})


def trim_attack(target: Target, harm: Harm) -> Iterator[Plan]:
    """In each coordinate an end of the honest range, or τ times as far from μ ("Attacking trimmed mean").

    For coordinate-wise rules. Against trimmed mean and median alone, τ = 1 cannot be beaten.
    """
    basis = target.basis
    line = Line(basis.at(mean=1.0), basis.at(edge=1.0), marks=(1.0,))
    tau = best_response(target, line, harm)
    yield Plan("fang-trim", line.at(tau), {"tau": tau})


def edge_against(rule: CoordinateRule, f: int, objective: Objective) -> Edge:
    """The end of the honest range to send: that of sign -s, or for the deviation, that which moves the rule farther."""

    def edge(honest: F32) -> F32:
        low: F32 = honest.min(axis=0)
        high: F32 = honest.max(axis=0)
        mean = honest.mean(axis=0, dtype=np.float64)
        if objective == "progress":
            lower = mean >= 0.0
        else:
            down, up = (np.abs(aggregate(np.vstack([honest, *[end] * f]), rule)[0] - mean) for end in (low, high))
            lower = down >= up
        return np.where(lower, low, high).astype(np.float32)

    return edge
