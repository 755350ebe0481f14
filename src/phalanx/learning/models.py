"""The two torch models that Phalanx brings: softmax regression and a small network. Needs the `torch` extra."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from phalanx.types import F32, F64


def softmax_regression(features: int, classes: int) -> nn.Module:
    """One linear layer from zero: convex, so every start leads to the same place and no seed is needed."""
    return _linear(np.zeros((classes, features)))


def small_network(features: int, hidden: int, classes: int, *, seed: int) -> nn.Module:
    """Linear, ReLU, linear; weights uniform in ±√(6 / fan-in) (He et al., ICCV 2015), biases zero.

    Deterministic from the seed; torch's global generator is neither read nor moved.
    """
    rng = np.random.default_rng(seed)

    def uniform(rows: int, columns: int) -> F64:
        bound = np.sqrt(6.0 / columns)
        return rng.uniform(-bound, bound, (rows, columns))

    first, second = uniform(hidden, features), uniform(classes, hidden)
    return nn.Sequential(_linear(first), nn.ReLU(), _linear(second))


def tensors_of(module: nn.Module) -> dict[str, F32]:
    """The module's parameters as named arrays, copied: what the first model of a run is made of."""
    return {name: parameter.detach().cpu().numpy().copy() for name, parameter in module.named_parameters()}


def _linear(weight: F64) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta").to_empty(device="cpu")  # draws nothing
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.zero_()
    return layer
