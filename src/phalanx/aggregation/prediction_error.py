"""How badly each member's update was predicted from its last one: a score over rounds, for monitoring.

FLDetector: Zhang, Cao, Jia and Gong, KDD 2022, section 4. An honest member's update changes as its loss curves:
x_i(t) ≈ x_i(t-1) + H (w(t) - w(t-1)), with H from the last aggregates by L-BFGS (Byrd, Nocedal and Schnabel, 1994,
Theorem 2.3). A member that makes its updates up does not follow. The paper then clusters the scores; here they stay
scores. Where data differ much, or members come and go, honest ones are predicted badly too.

Letters: `d` parameters, `w` the model, `g` the aggregate, `S` (k, d) past differences of models, `Y` of aggregates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from phalanx.types import F32, F64, MemberId

WINDOW = 10  # rounds: of differences for H, and of errors that a score averages


@dataclass(frozen=True, slots=True)
class Past:
    """What the next prediction needs. Starts empty; `observe` gives the next one. Holds every member's last update."""

    models: tuple[F32, ...] = field(default=(), repr=False)
    aggregates: tuple[F32, ...] = field(default=(), repr=False)
    updates: Mapping[MemberId, F32] = field(default_factory=dict, repr=False)
    errors: tuple[Mapping[MemberId, float], ...] = ()

    @property
    def scores(self) -> dict[MemberId, float]:
        """For each member its mean share of a round's errors over the window. 1/n is ordinary, more is suspicious."""
        seen: dict[MemberId, list[float]] = {}
        for errors in self.errors:
            for member, error in errors.items():
                seen.setdefault(member, []).append(error)
        return {member: sum(errors) / len(errors) for member, errors in sorted(seen.items())}


def observe(past: Past, model: F32, updates: Mapping[MemberId, F32], aggregate: F32) -> Past:
    """The past after one more round: the model (d,) that members started from, their updates, and what became of them.

    A member without an update in the round before, and every member in the first two rounds, gets no error.
    """
    models, aggregates = (*past.models, model), (*past.aggregates, aggregate)
    errors = past.errors
    if len(models) > 2:
        S = np.diff(np.array(models[:-1], dtype=np.float64), axis=0)
        Y = np.diff(np.array(aggregates[:-1], dtype=np.float64), axis=0)
        expected_change = hessian_times(S, Y, model.astype(np.float64) - models[-2])
        errors = (*errors, _shares(past.updates, updates, expected_change))[-WINDOW:]
    return replace(
        past,
        models=models[-WINDOW - 1 :],
        aggregates=aggregates[-WINDOW - 1 :],
        updates=dict(updates),
        errors=errors,
    )


def _shares(before: Mapping[MemberId, F32], now: Mapping[MemberId, F32], change: F64) -> dict[MemberId, float]:
    """Each member's error as a share of all errors of the round."""
    errors = {}
    for member in sorted(now.keys() & before.keys()):
        off = now[member].astype(np.float64) - before[member] - change
        errors[member] = float(np.sqrt(off @ off))
    total = sum(errors.values())
    return {member: error / total if total > 0 else 1.0 / len(errors) for member, error in errors.items()}


def hessian_times(S: F64, Y: F64, v: F64) -> F64:
    """(k, d), (k, d), (d,) -> (d,): the L-BFGS approximation of the Hessian times v; zero if it knows no curvature.

    Pairs without positive curvature <s, y> > 0 are left out, as L-BFGS requires: the matrix then exists.
    """
    curved = np.einsum("ij,ij->i", S, Y) > 1e-12 * np.sqrt(np.einsum("ij,ij->i", S, S) * np.einsum("ij,ij->i", Y, Y))
    S, Y = S[curved], Y[curved]
    if not len(S):
        return np.zeros_like(v)
    SY, SS = S @ Y.T, S @ S.T
    sigma = float(SY[-1, -1] / SS[-1, -1])
    lower = np.tril(SY, -1)
    middle: npt.NDArray[np.float64] = np.block([[-np.diag(np.diagonal(SY)), lower.T], [lower, sigma * SS]])
    right = np.concatenate([Y @ v, sigma * (S @ v)])
    weights = np.linalg.lstsq(middle, right, rcond=None)[0]
    k = len(S)
    return np.asarray(sigma * v - Y.T @ weights[:k] - sigma * (S.T @ weights[k:]))
