"""How sure a model is of the true label: φ = log p_y - log(1 - p_y), all that the attacks here ask a model for.

On this scale confidences are nearly normal, and saturated ones stay apart: Carlini et al., S&P 2022, section V-A. It is
never computed from p_y itself, which rounds to 1.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import logsumexp

from phalanx.learning.contract import Model, Tensors
from phalanx.learning.data import Array, Labels
from phalanx.types import F64

_NUMBERS = 1 << 24  # numbers of per-example gradients at once: 64 MiB
_ROUNDING = 1e-4  # rows of a softmax in float32 sum to 1 within this
_LEAST_WRONG = 2.0**-60  # a float32 may round 1 - p_y to 0: φ then ends at 41.6 in place of infinity
_LEAST_RIGHT = 2.0**-24  # p_y is known by p_y - 1, which is rounded to this


def confidence(model: Model, tensors: Tensors, x: Array, y: Labels) -> F64 | None:
    """(n,): φ for examples x (n, …) with labels y (n,). None where the model tells neither scores nor p - e_y.

    From `Model.logits`; else from the per-example gradients, one tensor of which is the last layer's bias: its
    gradient is p - e_y where the loss is the cross-entropy of a softmax, which the values are asked for.
    """
    if model.logits is not None:
        return of_logits(np.asarray(model.logits(tensors, x.copy()), np.float64), y)
    if model.per_example_gradients is None:
        return None
    size = max(1, _NUMBERS // sum(math.prod(value.shape) for value in tensors.values()))
    parts = []
    for start in range(0, len(x), size):
        rows = slice(start, start + size)
        residual = _residual(model, tensors, x[rows], y[rows])
        if residual is None:
            return None
        parts.append(of_residual(residual, y[rows]))
    return np.concatenate(parts)


def of_logits(logits: F64, y: Labels) -> F64:
    """(n,): z_y - log Σ_{k≠y} exp z_k of scores z (n, classes), exact however large they are."""
    own = np.arange(logits.shape[1]) == y[:, None]
    others: F64 = logsumexp(np.where(own, -np.inf, logits), axis=1)
    mine: F64 = logits[own]
    return mine - others


def of_residual(residual: F64, y: Labels) -> F64:
    """(n,): φ of p - e_y (n, classes). The sum over the other classes is 1 - p_y without its rounding."""
    own = np.arange(residual.shape[1]) == y[:, None]
    wrong = np.clip(np.where(own, 0.0, residual).sum(axis=1), _LEAST_WRONG, 1.0)
    right = np.clip(1.0 + residual[own], _LEAST_RIGHT, 1.0)
    phi: F64 = np.log(np.where(wrong < 0.5, 1.0 - wrong, right)) - np.log(wrong)
    return phi


def _residual(model: Model, tensors: Tensors, x: Array, y: Labels) -> F64 | None:
    """p - e_y (n, classes), found among the gradients; None if none of them is it."""
    if model.per_example_gradients is None:
        return None
    for value in model.per_example_gradients(tensors, x.copy(), y.copy()).values():
        found = np.asarray(value, np.float64)
        if found.shape == (len(x), model.classes) and _is_residual(found, y):
            return found
    return None


def _is_residual(found: F64, y: Labels) -> bool:
    """Rows that sum to 0, of values in -1 … 1, of which only that of the label is negative."""
    own = np.arange(found.shape[1]) == y[:, None]
    return bool(
        (np.abs(found.sum(axis=1)) <= _ROUNDING).all()
        and (found[own] <= _ROUNDING).all()
        and (found[~own] >= -_ROUNDING).all()
        and (np.abs(found) <= 1 + _ROUNDING).all()
    )
