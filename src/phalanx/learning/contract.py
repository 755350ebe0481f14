"""What a member brings: a model as pure functions over named numpy arrays, whatever framework is inside them.

Nothing here knows a framework or a device. Adapters (`learning.adapters`) make a `Model` of a torch module, a
scikit-learn estimator, a JAX function or low-rank layers; a user may as well write the functions by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from phalanx.errors import ConfigError
from phalanx.learning.data import Array, Labels
from phalanx.types import F32, Layout, Tally, Trained, TrainTask

Tensors = dict[str, Array]
Batching = Literal["loop", "vmap", "hand-batched"]


class TrainFunction(Protocol):
    """`train(model, x, y, *, round)` → the new model minus the old, as named arrays."""

    def __call__(self, model: Tensors, x: Array, y: Labels, /, *, round: int) -> Mapping[str, Array]: ...


@dataclass(frozen=True, slots=True)
class Batches:
    """The next mini-batch of m members side by side: x (m, b, …), y (m, b) and the examples' weights (m, b) float32.

    Weights sum to 1 for each member; a member with fewer than b examples is padded with rows of weight 0.
    """

    x: Array
    y: Labels
    weight: F32


class ManyMembers(Protocol):
    """Gradients of m members at once, each at a model of its own. Optional: without it members train one by one."""

    @property
    def batching(self) -> Batching:
        """How it does it, for people."""
        ...

    def gradients(
        self,
        models: Mapping[str, F32],
        batch: Batches,
        out: Mapping[str, F32],
        *,
        keep: float = 0.0,
        scale: float = 1.0,
    ) -> None:
        """out ← keep·out + scale·(each member's gradient of its weighted mean loss). Arrays (m, *shape), by name.

        Both may be views into larger arrays. keep = 0 overwrites whatever was there. `out` may be `models` itself: a
        plain step in place; otherwise `models` are not modified.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model family: where it starts, what it predicts, and one way to train it. No data, no weights.

    | function                            | gives                                                                  |
    |-------------------------------------|------------------------------------------------------------------------|
    | `initial_model()`                   | named float32 arrays, the same at every member                         |
    | `predict(model, x)`                 | labels (n,); -1 where it has no answer                                 |
    | `per_example_gradients(model, x, y)`| arrays (n, *shape): needed for example-level privacy                   |
    | `gradient(model, x, y)`             | arrays of the model's shapes: of the mean loss; faster without privacy |
    | `train(model, x, y, *, round)`      | the new model minus the old: training that is not a gradient step      |
    | `refresh(model, x)`                 | tensors that no gradient moves (batch norm statistics), from the       |
    |                                     | training inputs; they have to be local                                 |
    | `logits(model, x)`                  | scores (n, classes) whose softmax is the model's confidence: for the   |
    |                                     | red team, no run needs them                                            |

    `train` excludes the two gradients and everything that is built on them (privacy, FedProx, SCAFFOLD, momentum).
    `module`: the torch module that the model was made of, if any, for attacks that need derivatives by the inputs.
    A gradient that lacks a tensor leaves that tensor alone. `many(x)` says, for inputs like `x`, how the gradients of
    many members are computed at once; None: one by one. Raises ConfigError for anything else.
    """

    classes: int
    initial_model: Callable[[], Tensors]
    predict: Callable[[Tensors, Array], Array]
    per_example_gradients: Callable[[Tensors, Array, Labels], Mapping[str, Array]] | None = None
    gradient: Callable[[Tensors, Array, Labels], Mapping[str, Array]] | None = None
    train: TrainFunction | None = None
    refresh: Callable[[Tensors, Array], Mapping[str, Array]] | None = None
    many: Callable[[Array], ManyMembers | None] | None = None
    logits: Callable[[Tensors, Array], Array] | None = None
    module: Any = None

    def __post_init__(self) -> None:
        if not (isinstance(self.classes, int) and self.classes >= 2):
            raise ConfigError(f"CLASSES must be an integer >= 2, got {self.classes!r}")
        gradients = self.per_example_gradients is not None or self.gradient is not None
        if gradients == (self.train is not None):
            raise ConfigError(
                "a model has either train, or per_example_gradients and gradient or one of the two; found "
                + ("both kinds" if gradients else "none of them")
            )


class Trainer(Protocol):
    """A member's training and judging, on data that never leaves it. Flat float32 vectors (d,) in the `layout`.

    Pure and deterministic: the same arguments give the same bytes. No argument is modified.
    """

    @property
    def layout(self) -> Layout:
        """How the tensors that travel lie in the vectors; must equal the coordinator's."""
        ...

    def train(self, model: F32, task: TrainTask, state: F32 | None) -> Trained:
        """One round of local training. `delta` is relative to exactly `model`.

        `state` is what the last round's `Trained.state` was, None at first; its length is the trainer's own business.
        """
        ...

    def evaluate(self, candidate: F32, incumbent: F32, state: F32 | None) -> Tally:
        """Candidate against incumbent on the member's held-out examples, both with the local tensors in `state`."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    """One member's training of one round, to be done alone or beside others."""

    trainer: Trainer
    model: F32
    task: TrainTask
    state: F32 | None


TrainTogether = Callable[[Sequence[Job]], list[Trained]]
