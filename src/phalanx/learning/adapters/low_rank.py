"""Low-rank adapters (LoRA) on a frozen torch module: they alone travel. Needs the `torch` extra.

A linear layer Wx + c becomes Wx + c + (α/r)·B·A·x, A (r, in) and B (out, r). W and c stay as they are; A is drawn from
N(0, 1/in) by the seed, B starts at zero, so that the first model is the frozen one. Hu et al., ICLR 2022, section 4.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from phalanx.canonical import digest, encode
from phalanx.errors import ConfigError
from phalanx.learning.adapters.pure_module import Make, module_of
from phalanx.learning.adapters.torch_module import torch_model
from phalanx.learning.contract import Model


def low_rank_model(
    make: Make,
    *,
    classes: int,
    rank: int,
    alpha: float,
    targets: Sequence[str],
    seed: int,
    train_too: Sequence[str] = (),
) -> Model:
    """The module with adapters on the layers that the patterns `targets` name, as a `Model` of them alone.

    A layer is a plain nn.Linear that is called; one whose weight is read past it (nn.MultiheadAttention's) is none.
    Tensors: `<layer>.low_rank_a`, `<layer>.low_rank_b`, and the parameters that the patterns `train_too` name, such as
    "head.*". All else is constant, batch norm's statistics too: every member has to hold the same (`frozen_digest`).
    Raises ConfigError for a pattern that names nothing and a rank above the layer's.
    """
    module, rng = module_of(make), np.random.default_rng(seed)
    trained = _named(train_too, [name for name, _ in module.named_parameters()])
    layers = {name: layer for name, layer in module.named_modules() if type(layer) is nn.Linear}
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in trained)
    for layer in module.modules():
        for name, buffer in list(layer.named_buffers(recurse=False)):
            layer.register_buffer(name, buffer, persistent=False)  # a constant, for `running_statistics`
    for name in _named(targets, layers):
        _adapt(name, layers[name], rank, alpha, rng)
    return torch_model(module, classes)


def frozen_digest(make: Make, *, train_too: Sequence[str] = ()) -> str:
    """The hash of all parameters and buffers that `low_rank_model` keeps constant: which base a run is on."""
    module = module_of(make)
    trained = _named(train_too, [name for name, _ in module.named_parameters()])
    every = [*module.named_parameters(), *module.named_buffers()]
    frozen = sorted((name, one.detach().cpu().numpy()) for name, one in every if name not in trained)
    described = [
        [name, list(one.shape), str(one.dtype), digest("frozen-tensor", one.tobytes())] for name, one in frozen
    ]
    return digest("frozen", encode(described))


def _adapt(name: str, layer: nn.Linear, rank: int, alpha: float, rng: np.random.Generator) -> None:
    if not (1 <= rank <= min(layer.in_features, layer.out_features) and 0 < alpha < np.inf):
        raise ConfigError(f"layer {name!r} {tuple(layer.weight.shape)} takes no adapter of rank {rank}, alpha {alpha}")
    a = rng.normal(0.0, layer.in_features**-0.5, (rank, layer.in_features))
    layer.register_parameter("low_rank_a", nn.Parameter(torch.tensor(a).to(layer.weight)))
    layer.register_parameter("low_rank_b", nn.Parameter(layer.weight.new_zeros(layer.out_features, rank)))

    def add(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        added: Tensor = inputs[0] @ layer.low_rank_a.T @ layer.low_rank_b.T
        return output + alpha / rank * added

    layer.register_forward_hook(add)  # a hook, so that torch's fused paths, which read weights past layers, stay off


def _named(patterns: Sequence[str], names: Iterable[str]) -> list[str]:
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(f"{pattern!r} names nothing; there are: {', '.join(names)}")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
