"""The member's contract for any torch module with cross-entropy. Needs the `torch` extra.

Threads are the caller's business: `torch.set_num_threads(1)` is fastest for small models, and the same number of
threads gives the same bytes.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from phalanx.learning.data import Labels, MemberData
from phalanx.learning.descent import Descent, descend
from phalanx.learning.dpsgd import private_mean
from phalanx.learning.layout import check_vector, flatten, flatten_rows, layout_of, unflatten
from phalanx.learning.models import tensors_of
from phalanx.learning.tally import paired_tally
from phalanx.types import F32, Layout, Tally, Trained, TrainTask


def use_one_thread() -> None:
    """Keeps this process's torch to one thread: fastest for small models, and the parties share the cores anyway."""
    torch.set_num_threads(1)


class TorchTrainer:
    """Full-batch descent on the member's training examples; DP-SGD when the task has privacy.

    `module` maps inputs (n, …) to logits (n, classes) and gives the architecture only: weights come with each call. It
    is copied and runs in evaluation mode (dropout off). Raises ValueError for buffers (batch norm: statistics over the
    batch are neither per example nor clipped) and for parameters that are not float32.
    """

    __slots__ = ("_data", "_module", "_settings", "_x", "_x_held", "_y", "layout")

    def __init__(self, module: nn.Module, data: MemberData, settings: Descent) -> None:
        buffers = [name for name, _ in module.named_buffers()]
        if buffers:
            raise ValueError(f"a module with buffers cannot be trained by per-example gradients, got {buffers}")
        self.layout: Layout = layout_of(tensors_of(module))
        self._module = copy.deepcopy(module).eval()
        self._data = data
        self._settings = settings
        self._x, self._y = torch.tensor(data.x_train), torch.tensor(data.y_train)
        self._x_held = torch.tensor(data.x_held)

    def train(self, model: F32, task: TrainTask, state: F32 | None) -> Trained:
        """See `Trainer`. Raises ValueError for several local steps under privacy."""
        check_vector(model, self.layout)

        def gradient(here: F32) -> F32:
            if task.privacy is None:
                return self.gradient(here)
            return private_mean(self.per_example_gradients(here), task.privacy, task.noise_key, round=task.round)

        return descend(self._settings, model, task, state, len(self._x), gradient)

    def evaluate(self, candidate: F32, incumbent: F32) -> Tally:
        """See `Trainer`. An example with a non-finite output is one that the model has wrong."""
        labels, finite = self._labels(candidate)
        before, _ = self._labels(incumbent)
        finite = finite and bool(np.isfinite(candidate).all())
        return paired_tally(labels, before, self._data.y_held, classes=self._data.classes, finite=finite)

    def gradient(self, model: F32) -> F32:
        """(d,): the gradient of the mean cross-entropy over the training examples. Not private."""
        gradients = grad(self._loss)(self._tensors(model), self._x, self._y)
        return flatten({name: value.numpy() for name, value in gradients.items()}, self.layout)

    def per_example_gradients(self, model: F32) -> F32:
        """(n, d): the gradient of each training example's cross-entropy, in order. Not private."""
        each = vmap(grad(self._example_loss), in_dims=(None, 0, 0))
        gradients = each(self._tensors(model), self._x, self._y)
        return flatten_rows({name: value.numpy() for name, value in gradients.items()}, self.layout, len(self._x))

    def _tensors(self, model: F32) -> dict[str, Tensor]:
        return {name: torch.from_numpy(value) for name, value in unflatten(model, self.layout).items()}

    def _loss(self, tensors: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(functional_call(self._module, tensors, (x,)), y)

    def _example_loss(self, tensors: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return self._loss(tensors, x[None], y[None])

    def _labels(self, model: F32) -> tuple[Labels, bool]:
        """(h,) predictions for the held-out examples, and whether all outputs are finite.

        -1 where an output is not finite or no class has the lead. A tie is no prediction: an untrained model of zeros
        would otherwise have its first class wholly right, and no honest candidate could ever be as good there.
        """
        with torch.no_grad():
            logits = functional_call(self._module, self._tensors(model), (self._x_held,))
            finite = logits.isfinite().all(dim=1)
            lead = (logits == logits.amax(dim=1, keepdim=True)).sum(dim=1) == 1
            labels = torch.where(finite & lead, logits.argmax(dim=1), -1)
        return labels.numpy(), bool(finite.all())
