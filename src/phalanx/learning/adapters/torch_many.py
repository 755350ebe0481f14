"""How a torch module's gradients are computed for many members at once: by hand, by vmap, or not at all.

| the module                                                             | here                                     |
|------------------------------------------------------------------------|------------------------------------------|
| Sequential of Linear, ReLU, Tanh, Flatten, Unflatten, Identity, Conv2d | "hand-batched": no autograd              |
| (stride 1, no groups) and MaxPool2d(2), on the CPU, cross-entropy      |                                          |
| another one without buffers, if vmap is seen to give its gradients     | "vmap": autograd over stacked parameters |
| anything else                                                          | None: members train one by one           |

vmap is tried, never assumed: a convolution over members becomes one with groups, and a module may decide by its data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from phalanx.learning.adapters.pure_module import trained_parameters
from phalanx.learning.adapters.torch_conv import Conv, MaxPool, ToImages, ToVectors
from phalanx.learning.adapters.torch_mlp import Flatten, HandBatched, Layer, Linear, ReLU, Tanh, Unflatten
from phalanx.learning.contract import Batches, Batching, ManyMembers
from phalanx.learning.data import Array
from phalanx.types import F32

_MEMBERS_AT_ONCE = 8  # by vmap


def many_members(module: nn.Module, *, sample: Array | None = None) -> ManyMembers | None:
    """The gradients of cross-entropy for members side by side, or None where it has to be one by one.

    `module` is in evaluation mode, its parameters float32. `sample` (k >= 1, …) are inputs to try vmap with; without
    them it is not considered. Parameters that need no gradient and other constants are the module's own.
    """
    layers = _chain(module)
    if layers is not None:
        return HandBatched(layers)
    if sample is None or any(True for _ in module.buffers()) or not _on_cpu(module):
        return None
    many = Vmapped(module)
    return many if _agrees(many, module, sample) else None


def many_by_inputs(module: nn.Module) -> Callable[[Array], ManyMembers | None]:
    """What `many_members` finds for inputs of a shape, found once: a `Model`'s `many`."""
    found: dict[tuple[tuple[int, ...], str], ManyMembers | None] = {}

    def many(x: Array) -> ManyMembers | None:
        kind = x.shape[1:], x.dtype.str
        if kind not in found:
            found[kind] = many_members(module, sample=x[:2])
        return found[kind]

    return many


@dataclass(frozen=True, slots=True)
class Vmapped:
    """`ManyMembers` by `torch.func.vmap` of the gradient."""

    module: nn.Module

    @property
    def batching(self) -> Batching:
        """See `ManyMembers`."""
        return "vmap"

    def gradients(
        self,
        models: Mapping[str, F32],
        batch: Batches,
        out: Mapping[str, F32],
        *,
        keep: float = 0.0,
        scale: float = 1.0,
    ) -> None:
        """See `ManyMembers`."""
        each = vmap(grad(self._loss))
        for start in range(0, len(batch.x), _MEMBERS_AT_ONCE):
            part = slice(start, start + _MEMBERS_AT_ONCE)
            here = {name: torch.from_numpy(value[part]) for name, value in models.items()}
            found = each(
                here, _inputs(batch.x[part]), torch.from_numpy(batch.y[part]), torch.from_numpy(batch.weight[part])
            )
            for name, gradient in found.items():
                _add(torch.from_numpy(out[name][part]), gradient, keep, scale)

    def _loss(self, tensors: dict[str, Tensor], x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        logits = functional_call(self.module, tensors, (x,))
        return (weight * nn.functional.cross_entropy(logits, y, reduction="none")).sum()


def _inputs(x: Array) -> Tensor:
    """Floating values as float32."""
    inputs = torch.from_numpy(x)
    return inputs.float() if inputs.is_floating_point() else inputs


def _add(place: Tensor, gradient: Tensor, keep: float, scale: float) -> None:
    if keep == 0:  # what was there may not be finite
        torch.mul(gradient, scale, out=place)
    else:
        place.mul_(keep).add_(gradient, alpha=scale)


def _on_cpu(module: nn.Module) -> bool:
    return all(one.device.type == "cpu" for one in module.parameters())


def _agrees(many: Vmapped, module: nn.Module, sample: Array) -> bool:
    """Whether vmap gives the gradients of two unlike members that the plain way gives."""
    start = {name: one.detach() for name, one in trained_parameters(module).items()}
    members = [start, {name: 0.5 * one for name, one in start.items()}]
    x, y = _inputs(sample), torch.zeros(len(sample), dtype=torch.int64)
    weight = torch.full((len(sample),), 1 / len(sample))
    batch = Batches(np.stack([sample, sample]), np.zeros((2, len(sample)), np.int64), np.stack([weight.numpy()] * 2))
    out = {name: np.empty((2, *one.shape), np.float32) for name, one in start.items()}
    try:
        many.gradients({name: torch.stack([one[name] for one in members]).numpy() for name in start}, batch, out)
    except RuntimeError:  # what torch raises for whatever vmap cannot do
        return False
    for place, member in enumerate(members):
        alone = grad(many._loss)(member, x, y, weight)
        if not all(np.allclose(out[name][place], alone[name].numpy(), rtol=1e-3, atol=1e-5) for name in start):
            return False
    return True


def _chain(module: nn.Module) -> tuple[Layer, ...] | None:
    """The layers of a module that is nothing but a chain of those we know, each used once; else None."""
    layers: list[Layer] = []
    images = False
    for name, step in _steps(module):
        found = _image_layers(name, step, images) or _vector_layers(name, step, images)
        if found is None:
            return None
        layers, images = layers + found[0], found[1]
        if len(layers) > 1 and isinstance(layers[-1], MaxPool) and isinstance(layers[-2], ReLU):
            layers[-2:] = [MaxPool(), ReLU()]  # the same numbers and gradients, and a quarter of them to cut off at 0
    moved = [name for layer in layers for name in layer.parameters]
    once = sorted(moved) == sorted(name for name, _ in module.named_parameters(remove_duplicate=False))
    whole = once and sorted(moved) == sorted(trained_parameters(module))
    return tuple(layers) if whole and not images and _on_cpu(module) else None


def _steps(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The modules in the order in which they are applied, each with the prefix of its parameters' names."""
    if type(module) is not nn.Sequential:
        yield prefix, module
        return
    for name, step in module.named_children():
        yield from _steps(step, f"{prefix}{name}.")


Found = tuple[list[Layer], bool]  # the layers, and whether what comes out of them is images


def _vector_layers(prefix: str, step: nn.Module, images: bool) -> Found | None:
    if type(step) is nn.Linear and not images:  # equal types: a subclass may compute something else
        return [Linear(f"{prefix}weight", _bias(prefix, step), step.out_features)], False
    if type(step) is nn.Flatten and (step.start_dim, step.end_dim) == (1, -1):
        return [ToVectors() if images else Flatten()], False
    if type(step) is nn.Unflatten and step.dim == 1 and not images:
        return [Unflatten(tuple(step.unflattened_size))], False
    layers: dict[type[nn.Module], list[Layer]] = {nn.ReLU: [ReLU()], nn.Tanh: [Tanh()], nn.Identity: []}
    return (layers[type(step)], images) if type(step) in layers else None


def _image_layers(prefix: str, step: nn.Module, images: bool) -> Found | None:
    before: list[Layer] = [] if images else [ToImages()]
    if type(step) is nn.Conv2d:
        (height, width), padding = step.kernel_size, step.padding
        plain = (step.stride, step.dilation, step.groups, step.padding_mode) == ((1, 1), (1, 1), 1, "zeros")
        if not plain or isinstance(padding, str):
            return None
        rows, columns = padding
        conv = Conv(f"{prefix}weight", _bias(prefix, step), step.out_channels, (height, width), (rows, columns))
        return [*before, conv], True
    if type(step) is nn.MaxPool2d:
        halves = step.kernel_size in (2, (2, 2)) and step.stride in (2, (2, 2))
        plain = step.padding in (0, (0, 0)) and step.dilation in (1, (1, 1))
        if halves and plain and not step.ceil_mode and not step.return_indices:
            return [*before, MaxPool()], True
    return None


def _bias(prefix: str, step: nn.Linear | nn.Conv2d) -> str | None:
    return None if step.bias is None else f"{prefix}bias"
