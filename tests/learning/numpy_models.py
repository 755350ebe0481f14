"""Models written by hand, small enough to know what training has to give."""

from __future__ import annotations

import numpy as np

from phalanx.learning import MemberData, Model
from phalanx.learning.contract import Tensors
from phalanx.learning.data import Array, Labels
from phalanx.types import F32


def residuals(model: Tensors, x: Array, y: Labels) -> Array:
    """(n, classes): softmax minus one-hot, in the precision of `model`."""
    z = x @ model["weight"] + model["bias"]
    e = np.exp(z - z.max(axis=1, keepdims=True))
    r: Array = e / e.sum(axis=1, keepdims=True) - np.eye(len(model["bias"]), dtype=z.dtype)[y]
    return r


def each_gradient(model: Tensors, x: Array, y: Labels) -> Tensors:
    """Of each example's cross-entropy."""
    r = residuals(model, x, y)
    return {"bias": r, "weight": x[:, :, None] * r[:, None, :]}


def mean_gradient(model: Tensors, x: Array, y: Labels) -> Tensors:
    """Of the mean cross-entropy."""
    r = residuals(model, x, y) / len(x)
    return {"bias": r.sum(axis=0), "weight": x.T @ r}


def linear_model(features: int = 4, classes: int = 3) -> Model:
    """Softmax regression from zero: tensors bias (classes,) and weight (features, classes)."""
    return Model(
        classes=classes,
        initial_model=lambda: {
            "bias": np.zeros(classes, np.float32),
            "weight": np.zeros((features, classes), np.float32),
        },
        predict=lambda model, x: (x @ model["weight"] + model["bias"]).argmax(axis=1),
        per_example_gradients=each_gradient,
        gradient=mean_gradient,
    )


def bowl_model() -> Model:
    """A point in a bowl, ½ a(w - b)² for each example (a, b): the gradient is a(w - b). Label 1 where w > b."""
    return Model(
        classes=2,
        initial_model=lambda: {"w": np.zeros(1, np.float32)},
        predict=lambda model, x: (model["w"] > x[:, 1]).astype(np.int64),
        per_example_gradients=lambda model, x, y: {"w": x[:, :1] * (model["w"] - x[:, 1:])},
        gradient=lambda model, x, y: {"w": (x[:, :1] * (model["w"] - x[:, 1:])).mean(axis=0)},
    )


def some_data(seed: int = 8, n: int = 30, held: int = 10, features: int = 4, classes: int = 3) -> MemberData:
    """Examples whose class is that of the largest of the first inputs."""
    x = np.random.default_rng(seed).normal(size=(n + held, features)).astype(np.float32)
    y = x[:, :classes].argmax(axis=1).astype(np.int64)
    return MemberData(x[:n], y[:n], x[n:], y[n:], classes)


def bowl_data(*examples: tuple[float, float]) -> MemberData:
    """Training examples (a, b), none held out."""
    x = np.array(examples, np.float32)
    return MemberData(x, np.zeros(len(x), np.int64), x[:0], np.zeros(0, np.int64), 2)


def start_of(model: Model) -> F32:
    """The initial model's tensors one after the other, by name."""
    tensors = model.initial_model()
    return np.concatenate([tensors[name].ravel() for name in sorted(tensors)])
