"""Gradients of many members at once for a chain of simple layers: forward and backward pass by batched products.

Each layer works on the stacked parameters of m members, views into larger arrays, and writes its gradients where they
are wanted: `out ← keep·out + scale·gradient`, so that a plain step is part of the matrix product. No autograd.

Letters: m members, b examples of a mini-batch. Vectors are (m, b, features); `torch_conv` has the layers over images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from phalanx.learning.contract import Batches, Batching
from phalanx.types import F32

Shape = tuple[int, ...]
Tensors = Mapping[str, Tensor]
BLOCK_BYTES = 16 << 20  # activations of the members that go through the layers together: they should stay in the cache


@dataclass(frozen=True, slots=True)
class Target:
    """Where the gradients go: `tensors[name] ← keep·tensors[name] + scale·gradient`; keep = 0 overwrites."""

    tensors: Tensors
    keep: float
    scale: float

    def add_product(self, name: str, left: Tensor, right: Tensor) -> None:
        """The gradient of `name` (m, p, q) is left (m, p, r) times right (m, r, q)."""
        self.tensors[name].baddbmm_(left, right, beta=self.keep, alpha=self.scale)

    def add(self, name: str, gradient: Tensor) -> None:
        """The gradient of `name`, in its shape."""
        place = self.tensors[name]
        if self.keep == 0:  # what was there may not be finite
            torch.mul(gradient, self.scale, out=place)
        else:
            (place if self.keep == 1 else place.mul_(self.keep)).add_(gradient, alpha=self.scale)


class Layer(Protocol):
    """One step of the chain. `kept` is the tensor that `forward` hands to `backward`."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """The tensors that it moves."""
        ...

    def space(self, shape: Shape) -> tuple[Shape, int]:
        """The output's shape for one example of `shape`, and about how many floats the two passes need."""
        ...

    def forward(self, models: Tensors, x: Tensor) -> tuple[Tensor, Tensor]:
        """The output and `kept`."""
        ...

    def backward(self, models: Tensors, x: Tensor, kept: Tensor, d: Tensor) -> Tensor:
        """The loss's gradient by the input x, from d, that by the output."""
        ...

    def add_gradients(self, target: Target, kept: Tensor, d: Tensor) -> None:
        """Writes the gradients by the parameters."""
        ...


class Fixed:
    """A layer without parameters."""

    __slots__ = ()
    parameters: tuple[str, ...] = ()

    def space(self, shape: Shape) -> tuple[Shape, int]:
        """See `Layer`: the output has the input's shape."""
        return shape, 2 * math.prod(shape)

    def add_gradients(self, target: Target, kept: Tensor, d: Tensor) -> None:
        """See `Layer`: there are none."""


@dataclass(frozen=True, slots=True)
class Linear:
    """y = x Wᵀ + b along the last dimension, with W (m, out, in) and b (m, out)."""

    weight: str
    bias: str | None
    outputs: int

    @property
    def parameters(self) -> tuple[str, ...]:
        """See `Layer`."""
        return (self.weight,) if self.bias is None else (self.weight, self.bias)

    def space(self, shape: Shape) -> tuple[Shape, int]:
        """See `Layer`."""
        return (*shape[:-1], self.outputs), math.prod(shape) + 2 * math.prod(shape[:-1]) * self.outputs

    def forward(self, models: Tensors, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `Layer`."""
        weight, rows = models[self.weight].transpose(1, 2), x.flatten(1, -2)
        bias = None if self.bias is None else models[self.bias][:, None]
        y = torch.bmm(rows, weight) if bias is None else torch.baddbmm(bias, rows, weight)
        return y.view(*x.shape[:-1], self.outputs), rows

    def backward(self, models: Tensors, x: Tensor, kept: Tensor, d: Tensor) -> Tensor:
        """See `Layer`."""
        return torch.bmm(d.flatten(1, -2), models[self.weight]).view(x.shape)

    def add_gradients(self, target: Target, kept: Tensor, d: Tensor) -> None:
        """See `Layer`."""
        rows = d.flatten(1, -2)
        target.add_product(self.weight, rows.transpose(1, 2), kept)
        if self.bias is not None:
            target.add(self.bias, rows.sum(1))


@dataclass(frozen=True, slots=True)
class ReLU(Fixed):
    """max(x, 0); the slope at 0 is 0, as in torch."""

    def forward(self, models: Tensors, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `Layer`."""
        y = x.clamp_min(0)
        return y, y

    def backward(self, models: Tensors, x: Tensor, kept: Tensor, d: Tensor) -> Tensor:
        """See `Layer`."""
        below: Tensor = torch.ops.aten.threshold_backward(d, kept, 0)
        return below


@dataclass(frozen=True, slots=True)
class Tanh(Fixed):
    """tanh(x)."""

    def forward(self, models: Tensors, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `Layer`."""
        y = x.tanh()
        return y, y

    def backward(self, models: Tensors, x: Tensor, kept: Tensor, d: Tensor) -> Tensor:
        """See `Layer`."""
        below: Tensor = torch.ops.aten.tanh_backward(d, kept)
        return below


class _Reshaped(Fixed):
    __slots__ = ()

    def backward(self, models: Tensors, x: Tensor, kept: Tensor, d: Tensor) -> Tensor:
        """See `Layer`."""
        return d.reshape(x.shape)


@dataclass(frozen=True, slots=True)
class Flatten(_Reshaped):
    """Each example as a vector, row-major."""

    def space(self, shape: Shape) -> tuple[Shape, int]:
        """See `Layer`."""
        return (math.prod(shape),), 0

    def forward(self, models: Tensors, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `Layer`."""
        return x.flatten(2), x


@dataclass(frozen=True, slots=True)
class Unflatten(_Reshaped):
    """The first dimension of each example as several."""

    sizes: Shape

    def space(self, shape: Shape) -> tuple[Shape, int]:
        """See `Layer`."""
        return (*self.sizes, *shape[1:]), 0

    def forward(self, models: Tensors, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `Layer`."""
        return x.reshape(*x.shape[:2], *self.sizes, *x.shape[3:]), x


@dataclass(frozen=True, slots=True)
class HandBatched:
    """`ManyMembers` for a chain of layers that ends in logits (m, b, classes), with cross-entropy."""

    layers: tuple[Layer, ...]

    @property
    def batching(self) -> Batching:
        """See `ManyMembers`."""
        return "hand-batched"

    def gradients(
        self,
        models: Mapping[str, F32],
        batch: Batches,
        out: Mapping[str, F32],
        *,
        keep: float = 0.0,
        scale: float = 1.0,
    ) -> None:
        """See `ManyMembers`. A member's bytes do not depend on who is beside it, as far as the matrix products'
        do not, which the tests check."""
        tensors = {name: torch.from_numpy(value) for name, value in models.items()}
        targets = {name: torch.from_numpy(value) for name, value in out.items()}
        x, y, weight = torch.from_numpy(batch.x).float(), torch.from_numpy(batch.y), torch.from_numpy(batch.weight)
        size = self._block(tuple(batch.x.shape[1:]))
        for start in range(0, len(x), size):
            part = slice(start, start + size)
            target = Target({name: value[part] for name, value in targets.items()}, keep, scale)
            self._pass({name: value[part] for name, value in tensors.items()}, x[part], y[part], weight[part], target)

    def _block(self, batch: Shape) -> int:
        """How many members with mini-batches (b, …) go through the layers together."""
        shape, floats = batch[1:], 0
        for layer in self.layers:
            shape, more = layer.space(shape)
            floats += more
        return max(1, BLOCK_BYTES // (4 * batch[0] * max(1, floats)))

    def _pass(self, models: Tensors, x: Tensor, y: Tensor, weight: Tensor, target: Target) -> None:
        """Forward, the loss's gradient by the logits, and back as far as there are parameters."""
        trail: list[tuple[Layer, Tensor, Tensor]] = []
        for layer in self.layers:
            above, kept = layer.forward(models, x)
            trail.append((layer, x, kept))
            x = above
        d = _cross_entropy_gradient(x, y, weight)
        first = next(place for place, layer in enumerate(self.layers) if layer.parameters)
        for place in range(len(trail) - 1, first - 1, -1):
            layer, x, kept = trail.pop()
            below = layer.backward(models, x, kept, d) if place > first else d
            layer.add_gradients(target, kept, d)
            d = below


def _cross_entropy_gradient(logits: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """(m, b, classes): weight (m, b) times softmax minus the label's indicator."""
    d = torch.softmax(logits, 2)
    d.scatter_add_(2, y[:, :, None], d.new_full((), -1.0).expand(*y.shape, 1))
    return d.mul_(weight[:, :, None])
