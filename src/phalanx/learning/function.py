"""The member's contract for a user's own Python functions over numpy arrays, whatever framework is inside them.

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

Phalanx holds out part of the rows, clips, adds noise, steps and flattens. The privacy rests on this: row i of a
gradient depends on example i alone, never on the others or on their number (no batch statistics, no division by n).

Training that is not a gradient step gives, in place of `per_example_gradients`, `train(model, x, y, *, round)` → named
arrays: the new model minus the old. It cannot be combined with example-level privacy, since what one example did to it
is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Protocol

import numpy as np

from phalanx.errors import ConfigError
from phalanx.learning.data import Array, Labels, MemberData
from phalanx.learning.descent import Descent, descend
from phalanx.learning.dpsgd import private_mean
from phalanx.learning.layout import check_vector, flatten, flatten_rows, layout_of, unflatten
from phalanx.learning.tally import paired_tally
from phalanx.types import F32, Layout, Tally, Trained, TrainTask

Tensors = dict[str, Array]


class TrainFunction(Protocol):
    """`train(model, x, y, *, round)` → the new model minus the old, as named arrays."""

    def __call__(self, model: Tensors, x: Array, y: Labels, /, *, round: int) -> Mapping[str, Array]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Functions:
    """A user's functions, as the module docstring describes them; exactly one of the last two is given."""

    classes: int
    initial_model: Callable[[], Tensors]
    load: Callable[[str], tuple[Array, Array]]
    predict: Callable[[Tensors, Array], Array]
    train: TrainFunction | None = None
    per_example_gradients: Callable[[Tensors, Array, Labels], Mapping[str, Array]] | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.classes, int) and self.classes >= 2):
            raise ConfigError(f"CLASSES must be an integer >= 2, got {self.classes!r}")
        if (self.train is None) == (self.per_example_gradients is None):
            raise ConfigError(
                "a member's module defines either train or per_example_gradients, found "
                + ("neither" if self.train is None else "both")
            )


def functions_of(module: ModuleType) -> Functions:
    """The functions that `module` defines. Raises ConfigError naming what is missing."""
    required = ("CLASSES", "initial_model", "load", "predict")
    missing = [name for name in required if not hasattr(module, name)]
    if missing:
        raise ConfigError(f"a member's module defines {', '.join(required)}; missing: {', '.join(missing)}")
    return Functions(
        classes=module.CLASSES,
        initial_model=module.initial_model,
        load=module.load,
        predict=module.predict,
        train=getattr(module, "train", None),
        per_example_gradients=getattr(module, "per_example_gradients", None),
    )


class FunctionTrainer:
    """A user's functions as a `Trainer` on one member's data (`hold_out` of what `load` gave).

    `settings` rules the steps of `per_example_gradients`; a `train` function has its own and keeps no state here.
    Outputs may be of any float type; names and shapes must be the model's (ValueError).
    """

    __slots__ = ("_data", "_functions", "_settings", "layout")

    def __init__(self, functions: Functions, data: MemberData, settings: Descent) -> None:
        self.layout: Layout = layout_of(functions.initial_model())
        self._functions = functions
        self._data = data
        self._settings = settings

    def train(self, model: F32, task: TrainTask, state: F32 | None) -> Trained:
        """See `Trainer`. Raises ConfigError where privacy is asked of a `train` function."""
        check_vector(model, self.layout)
        if self._functions.train is not None:
            return self._train_by(self._functions.train, model, task)

        def gradient(here: F32) -> F32:
            rows = self._per_example_gradients(here)
            if task.privacy is None:
                mean: F32 = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
                return mean
            return private_mean(rows, task.privacy, task.noise_key, round=task.round)

        return descend(self._settings, model, task, state, len(self._data.x_train), gradient)

    def evaluate(self, candidate: F32, incumbent: F32) -> Tally:
        """See `Trainer`. A model with a non-finite parameter has every example wrong, whatever it predicts."""
        truth, classes = self._data.y_held, self._data.classes
        finite = bool(np.isfinite(candidate).all())
        return paired_tally(self._labels(candidate), self._labels(incumbent), truth, classes=classes, finite=finite)

    def _train_by(self, train: TrainFunction, model: F32, task: TrainTask) -> Trained:
        if task.privacy is not None:
            raise ConfigError(
                "example-level privacy needs per_example_gradients, and this member's module defines train",
                hint="define per_example_gradients, or run without example-level privacy",
            )
        data = self._data
        delta = train(unflatten(model, self.layout), data.x_train.copy(), data.y_train.copy(), round=task.round)
        return Trained(flatten(_as_float32(delta), self.layout), len(data.x_train), np.zeros_like(model))

    def _per_example_gradients(self, model: F32) -> F32:
        function, data = self._functions.per_example_gradients, self._data
        if function is None:  # `Functions` holds exactly one of the two
            raise ValueError("these functions have no per_example_gradients")
        gradients = function(unflatten(model, self.layout), data.x_train.copy(), data.y_train.copy())
        return flatten_rows(_as_float32(gradients), self.layout, len(data.x_train))

    def _labels(self, model: F32) -> Labels:
        if not np.isfinite(model).all():
            return np.full(len(self._data.y_held), -1, dtype=np.int64)
        labels = np.asarray(self._functions.predict(unflatten(model, self.layout), self._data.x_held.copy()))
        if labels.shape != self._data.y_held.shape or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(
                f"predict must return integer labels of shape {self._data.y_held.shape}, "
                f"got {labels.dtype} of shape {labels.shape}"
            )
        return labels.astype(np.int64)


def _as_float32(tensors: Mapping[str, Array]) -> dict[str, F32]:
    with np.errstate(over="ignore"):
        return {name: np.asarray(value).astype(np.float32) for name, value in tensors.items()}
