"""Tensors of a torch module that follow the data without a gradient: batch norm's mean and variance, and their like.

They are the module's persistent float buffers. Integer buffers are counters or indices: they are no tensors here, and
what a counter says is never read. A constant is registered with `persistent=False` and is no tensor either.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from phalanx.errors import ConfigError

_ROWS = 2048  # examples at once; more are cut into parts of equal size, and the statistics are the parts' mean


def moving_buffers(module: nn.Module) -> dict[str, Tensor]:
    """The buffers that `refreshed` recomputes, by name."""
    kept = module.state_dict()
    return {name: one for name, one in module.named_buffers() if name in kept and one.is_floating_point()}


def refuse_across_examples(module: nn.Module) -> None:
    """Raises ConfigError naming a layer in which one example's output depends, or comes to depend, on the others.

    Such layers are known by their buffers, and batch norm also without any. What else a user's own forward does to a
    batch is not looked into: it cannot matter, since each example is passed alone.
    """
    if across := _layers_across_examples(module):
        raise ConfigError(
            f"layer {across[0]!r} keeps statistics over examples, which clipping each example does not bound",
            hint="use group norm or layer norm there, or no example-level privacy; "
            "register a buffer that is a constant with persistent=False",
        )


def learning_copy(module: nn.Module) -> nn.Module:
    """A copy for gradients: batch norm uses the batch's statistics, as in training, but keeps none. Dropout is off."""
    across, learner = _layers_across_examples(module), copy.deepcopy(module).eval()
    for name, layer in learner.named_modules():
        if name in across and isinstance(layer, _BatchNorm):
            layer.train()
            layer.track_running_stats = False
    return learner


def refreshed(module: nn.Module, tensors: Mapping[str, Tensor], x: Tensor) -> dict[str, Tensor]:
    """The moving buffers after a forward pass over x (n, …) with `tensors`, batch norm's by cumulative average.

    Layers without moving buffers stay as in evaluation. `module` and `tensors` are left as they were.
    """
    fresh = copy.deepcopy(module).eval()
    fresh.load_state_dict(dict(tensors), strict=False)
    for name in moving_buffers(module):
        layer = fresh.get_submodule(name.rpartition(".")[0])
        layer.training = True
        if isinstance(layer, _BatchNorm):
            layer.reset_running_stats()
            layer.momentum = None  # the cumulative average
    with torch.no_grad():
        for part in torch.tensor_split(x, max(1, -(-len(x) // _ROWS))):
            fresh(part)
    return moving_buffers(fresh)


def _layers_across_examples(module: nn.Module) -> list[str]:
    moving = {name.rpartition(".")[0] for name in moving_buffers(module)}
    return [
        name
        for name, layer in module.named_modules()
        if name in moving or (isinstance(layer, _BatchNorm) and layer.running_mean is None)
    ]
