"""A user's Python file: a model and this member's data, as functions over numpy arrays.

A member's module defines five names:

    CLASSES = 10

    def initial_model():                 # named float32 arrays; the same at every member
        return {"bias": np.zeros(10, "f4"), "weight": np.zeros((64, 10), "f4")}

    def load(member):                    # this member's examples: inputs (n, …), integer labels (n,)
        return x, y

    def predict(model, x):               # labels (n,)
        return (x @ model["weight"] + model["bias"]).argmax(axis=1)

    def per_example_gradients(model, x, y):          # named arrays (n, …): a gradient for each example
        z = x @ model["weight"] + model["bias"]
        e = np.exp(z - z.max(axis=1, keepdims=True))
        r = e / e.sum(axis=1, keepdims=True) - np.eye(CLASSES)[y]
        return {"bias": r, "weight": x[:, :, None] * r[:, None, :]}

or two: `load`, and `MODEL`, which an adapter made of what is already there (`phalanx.learning.adapters`).

Phalanx holds out part of the rows, clips, adds noise, steps and flattens. The privacy rests on this: row i of a
gradient depends on example i alone, never on the others or on their number (no batch statistics, no division by n).

In place of `per_example_gradients`, or beside it, `gradient(model, x, y)` gives the gradient of the mean loss, which is
all that training without example-level privacy needs. Training that is not a gradient step gives `train(model, x, y, *,
round)` → named arrays: the new model minus the old. It cannot be combined with example-level privacy, since what one
example did to it is not known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

from phalanx.errors import ConfigError
from phalanx.learning.contract import Model
from phalanx.learning.data import Array

_OPTIONAL = ("per_example_gradients", "gradient", "train", "refresh", "logits")


@dataclass(frozen=True, slots=True)
class Member:
    """What a user's module defines: the model, and `load(member)` → inputs (n, …) and integer labels (n,)."""

    model: Model
    load: Callable[[str], tuple[Array, Array]]


def member_of(module: ModuleType) -> Member:
    """The model and the data that `module` defines. Raises ConfigError naming what is missing or too much."""
    adapted = hasattr(module, "MODEL")
    required = ("MODEL", "load") if adapted else ("CLASSES", "initial_model", "load", "predict")
    missing = [name for name in required if not hasattr(module, name)]
    if missing:
        raise ConfigError(f"a member's module defines {', '.join(required)}; missing: {', '.join(missing)}")
    if not adapted:
        optional = {name: getattr(module, name, None) for name in _OPTIONAL}
        model = Model(classes=module.CLASSES, initial_model=module.initial_model, predict=module.predict, **optional)
        return Member(model, module.load)
    if not isinstance(module.MODEL, Model):
        raise ConfigError(f"MODEL must be made by an adapter, found a {type(module.MODEL).__name__}")
    return Member(module.MODEL, module.load)
