"""Models that a malicious coordinator sends so that their updates give inputs away, single ones even out of a sum.

- An imprint (robbing the fed: Fowl et al., ICLR 2022, arXiv:2110.13057): all rows of a first layer look along one
  direction h, row i fires where h·x passes the i-th of many thresholds, and everything behind treats all rows alike.
  Then two neighbouring rows' updates differ by what lies between their thresholds: often one input.
- Bins by softmax, for a model that is a single linear layer: logits i·s·h·x - s·(the first i thresholds) are highest
  for the class in whose bin x is, so that with a steep s each row's update is the inputs of one bin less those of one
  label.
- Silence (gradient suppression: Pasquini et al., CCS 2022, arXiv:2111.07380): biases at which no neuron fires. Who is
  sent that has nothing to say, so that the sum over all members is the update of the one who was not.

Letters: `k` rows, `p` features.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from phalanx.attacks.leakage import FirstLayer, ratios
from phalanx.learning.contract import Model, Tensors
from phalanx.learning.data import Array, Labels
from phalanx.types import F32

WEIGHT, BIAS, HEAD, HEAD_BIAS = "imprint.weight", "imprint.bias", "head.weight", "head.bias"
IMPRINT = FirstLayer(WEIGHT, BIAS, rows_first=True)
DEAD = -1e6  # a bias from which no input brings a neuron back
_STEEP = 1e4  # of the softmax that sorts into bins, over the distance of two thresholds


@dataclass(frozen=True, slots=True)
class Bins:
    """A direction h (p,), of norm 1, and rising thresholds (k,) on h·x with about as many inputs between each two."""

    direction: F32 = field(repr=False)
    thresholds: F32 = field(repr=False)


def bins_of(like: F32, k: int, rng: np.random.Generator) -> Bins:
    """k thresholds for inputs such as `like` (n, p), which the attacker has: public data of the same kind, or made up.

    The first lies below all of them. Between two values that `like` has, thresholds are spread evenly.
    """
    drawn = rng.normal(size=like.shape[1])
    h = np.asarray(drawn / np.linalg.norm(drawn))
    along = like.astype(np.float64) @ h
    margin = max(float(np.ptp(along)), 1e-6) / max(len(along), 2)
    thresholds = np.quantile(along, np.arange(k) / k)
    thresholds[0] -= margin
    rising = thresholds + np.arange(k) * 1e-6 * margin  # of equal values too
    return Bins(h.astype(np.float32), rising.astype(np.float32))


def imprint_model(features: int, classes: int, bins: Bins) -> Model:
    """The imprint and a head, as a model of its own: what a coordinator sends whose members run whatever comes.

    logits = V·relu(Wx + b), the columns of V all alike. Inputs may have any shape of `features` numbers.
    """
    k = len(bins.thresholds)
    column = np.linspace(-1, 1, classes) / (k * float(np.ptp(bins.thresholds)) + 1e-12)
    start: Tensors = {
        WEIGHT: np.tile(bins.direction, (k, 1)),
        BIAS: -bins.thresholds,
        HEAD: np.tile(column[:, None], (1, k)).astype(np.float32),
        HEAD_BIAS: np.zeros(classes, np.float32),
    }
    return Model(
        classes=classes,
        initial_model=lambda: {name: value.copy() for name, value in start.items()},
        predict=lambda model, x: _forward(model, x)[2].argmax(axis=1),
        gradient=_gradient,
        logits=lambda model, x: _forward(model, x)[2],
    )


def _forward(model: Tensors, x: Array) -> tuple[F32, F32, F32]:
    flat = np.asarray(x, np.float32).reshape(len(x), -1)
    hidden = np.maximum(flat @ model[WEIGHT].T + model[BIAS], 0)
    return flat, hidden, hidden @ model[HEAD].T + model[HEAD_BIAS]


def _gradient(model: Tensors, x: Array, y: Labels) -> Tensors:
    """Of the mean cross-entropy."""
    flat, hidden, logits = _forward(model, x)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    error = odds / odds.sum(axis=1, keepdims=True)
    error[np.arange(len(y)), y] -= 1
    error /= np.float32(len(y))
    back = (error @ model[HEAD]) * (hidden > 0)
    return {WEIGHT: back.T @ flat, BIAS: back.sum(axis=0), HEAD: error.T @ hidden, HEAD_BIAS: error.sum(axis=0)}


def read_imprint(weight: F32, bias: F32) -> F32:
    """(c, p): what the update of an imprint `weight` (k, p), `bias` (k,) holds between each two thresholds.

    (ΔW_i - ΔW_{i+1}) / (Δb_i - Δb_{i+1}): an input where one lies there, a mixture where there are several. Empty bins
    are left out.
    """
    w, b = (np.concatenate([one.astype(np.float64), np.zeros((1, *one.shape[1:]))]) for one in (weight, bias))
    return ratios(w[:-1] - w[1:], b[:-1] - b[1:], largest=float(np.abs(b).max())).astype(np.float32)


def write_imprint(tensors: Mapping[str, F32], first: FirstLayer, bins: Bins) -> dict[str, F32]:
    """`tensors` with an imprint in their first layer (k rows), everything that reads it the same for all rows.

    A tensor reads the layer if it has a single axis of k and is no part of it; of such a one the slice of largest norm
    along that axis takes the place of all. Whether that does it is for the attacker to try on inputs of its own.
    """
    k = len(bins.thresholds)
    written = {name: value.copy() for name, value in tensors.items()}
    written |= _put(first, np.tile(bins.direction, (k, 1)), -bins.thresholds)
    for name, value in tensors.items():
        axes = [axis for axis, size in enumerate(value.shape) if size == k]
        if name not in (first.weight, first.bias) and value.ndim > 1 and len(axes) == 1:
            written[name] = np.broadcast_to(_loudest(value, axes[0]), value.shape).copy()
    return written


def _loudest(value: F32, axis: int) -> F32:
    """The slice of the largest norm: the mean of many random ones would be nearly nothing."""
    slices = np.moveaxis(value, axis, 0)
    norms = np.linalg.norm(slices.reshape(len(slices), -1), axis=1)
    return np.expand_dims(slices[int(norms.argmax())], axis)


def write_bins(tensors: Mapping[str, F32], layer: FirstLayer, bins: Bins) -> dict[str, F32]:
    """`tensors` of a model that is one linear layer of k logits, so that its softmax sorts inputs into k bins.

    `bins` has k thresholds, of which the first, below everything, does nothing.
    """
    steep = _STEEP / max(float(np.ptp(bins.thresholds.astype(np.float64))) / len(bins.thresholds), 1e-12)
    slopes = steep * np.arange(len(bins.thresholds))
    passed = steep * np.cumsum(np.concatenate([[0.0], bins.thresholds[1:].astype(np.float64)]))
    weight, bias = np.outer(slopes, bins.direction), -passed
    return dict(tensors) | _put(layer, weight.astype(np.float32), bias.astype(np.float32))


def _put(layer: FirstLayer, weight: F32, bias: F32) -> dict[str, F32]:
    return {layer.weight: (weight if layer.rows_first else weight.T).copy(), layer.bias: bias.astype(np.float32)}


def silenced(tensors: Mapping[str, F32], but: Collection[str] = ()) -> dict[str, F32]:
    """`tensors` with every bias (one axis) at which a neuron is dead, but for those named: nothing fires any more."""
    return {
        name: np.full_like(value, DEAD) if value.ndim == 1 and name not in but else value.copy()
        for name, value in tensors.items()
    }


def isolation(total: Mapping[str, F32], own: Mapping[str, F32], but: Collection[str] = ()) -> float:
    """0 … 1: how much of a sum of updates is one member's `own`: 1 - ‖sum - own‖ / ‖own‖, cut at 0.

    The tensors named are left out: the last bias learns whatever happens.
    """
    names = [name for name in own if name not in but]
    apart = sum(float(((total[name].astype(np.float64) - own[name]) ** 2).sum()) for name in names)
    length = sum(float((own[name].astype(np.float64) ** 2).sum()) for name in names)
    return max(0.0, 1.0 - float(np.sqrt(apart / length))) if length > 0 else 0.0
