"""The torch models that Phalanx brings, with weights from a numpy seed. Needs the `torch` extra.

Deterministic from the seed; torch's global generator is neither read nor moved. Weights are uniform in ±√(6 / fan-in)
(He et al., ICCV 2015) unless said otherwise, biases zero.
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from phalanx.types import F32, F64

_Layer = TypeVar("_Layer", nn.Linear, nn.Conv2d)


def softmax_regression(features: int, classes: int) -> nn.Module:
    """One linear layer from zero: convex, so every start leads to the same place and no seed is needed."""
    return _linear(np.zeros((classes, features)))


def small_network(features: int, hidden: int, classes: int, *, seed: int) -> nn.Module:
    """Linear, ReLU, linear."""
    rng = np.random.default_rng(seed)
    first, second = _uniform(rng, hidden, features), _uniform(rng, classes, hidden)
    return nn.Sequential(_linear(first), nn.ReLU(), _linear(second))


def small_cnn(classes: int, *, seed: int) -> nn.Module:
    """Two convolutions of stride 2 and a linear layer, for 28 × 28 grey images in any shape of 784 numbers.

    About 21,000 parameters for ten classes. No batch statistics, so that it trains with example-level privacy.
    """
    rng = np.random.default_rng(seed)
    first = _convolution(_uniform(rng, 16, 1, 5, 5), stride=2)  # 28 × 28 → 14 × 14
    second = _convolution(_uniform(rng, 32, 16, 3, 3), stride=2)  # → 7 × 7
    last = _linear(_uniform(rng, classes, 32 * 7 * 7))
    images = nn.Unflatten(1, (1, 28, 28))
    return nn.Sequential(nn.Flatten(), images, first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), last)


def text_transformer(
    *, vocabulary: int, width: int, heads: int, layers: int, length: int, classes: int, seed: int
) -> nn.Module:
    """A transformer encoder with layer norm first and mean pooling. Vaswani et al., NeurIPS 2017, section 3.

    Maps token ids (n, length) int64, 0 … vocabulary-1, to logits (n, classes). Id 0 is padding: no other token sees it
    and the mean leaves it out. Attention is written out: the fused kernels are not made for per-example gradients.
    Raises ValueError unless `heads` divides `width`.
    """
    if width % heads:
        raise ValueError(f"heads must divide width = {width}, got {heads}")
    rng = np.random.default_rng(seed)
    tokens, positions = _embedding(rng, vocabulary, width), _embedding(rng, length, width)
    return _TextTransformer(tokens, positions, [_Block(rng, width, heads) for _ in range(layers)], rng, classes)


def tensors_of(module: nn.Module) -> dict[str, F32]:
    """The module's parameters as named arrays, copied: what the first model of a run is made of."""
    return {name: parameter.detach().cpu().numpy().copy() for name, parameter in module.named_parameters()}


class _TextTransformer(nn.Module):
    def __init__(
        self,
        tokens: nn.Embedding,
        positions: nn.Embedding,
        blocks: list[_Block],
        rng: np.random.Generator,
        classes: int,
    ) -> None:
        super().__init__()
        self.tokens, self.positions, self.blocks = tokens, positions, nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(tokens.embedding_dim)
        self.head = _linear(_uniform(rng, classes, tokens.embedding_dim))

    def forward(self, ids: Tensor) -> Tensor:
        there = ids != 0
        x = self.tokens(ids) + self.positions.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x, there)
        weight = there[:, :, None].to(x.dtype)
        pooled = (self.norm(x) * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)  # no token: a vector of zeros
        logits: Tensor = self.head(pooled)
        return logits


class _Block(nn.Module):
    """Self-attention, then two linear layers with GELU between; each after a layer norm, and added to its input."""

    def __init__(self, rng: np.random.Generator, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_dense = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values = _linear(_uniform(rng, 3 * width, width) / math.sqrt(2))  # variance 1 / fan-in
        self.attended = _linear(_uniform(rng, width, width) / math.sqrt(2))
        self.widen, self.narrow = _linear(_uniform(rng, 4 * width, width)), _linear(_uniform(rng, width, 4 * width))

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        n, length, width = x.shape
        apart = self.queries_keys_values(self.before_attention(x)).reshape(
            n, length, 3, self.heads, width // self.heads
        )
        queries, keys, values = apart.permute(2, 0, 3, 1, 4)  # each (n, heads, length, width / heads)
        scores = queries @ keys.transpose(-1, -2) / math.sqrt(width // self.heads)
        scores = scores.masked_fill(~there[:, None, None, :], -1e9)  # not -∞: padding alone would give NaN
        mixed = (scores.softmax(dim=-1) @ values).transpose(1, 2).reshape(n, length, width)
        x = x + self.attended(mixed)
        added: Tensor = x + self.narrow(nn.functional.gelu(self.widen(self.before_dense(x))))
        return added


def _uniform(rng: np.random.Generator, *shape: int) -> F64:
    bound = np.sqrt(6.0 / math.prod(shape[1:]))
    return rng.uniform(-bound, bound, shape)


def _linear(weight: F64) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta").to_empty(device="cpu")  # draws nothing
    return _set(layer, weight)


def _convolution(weight: F64, *, stride: int) -> nn.Conv2d:
    to, of, side, _ = weight.shape
    layer = nn.Conv2d(of, to, side, stride, padding=side // 2, device="meta").to_empty(device="cpu")
    return _set(layer, weight)


def _embedding(rng: np.random.Generator, rows: int, width: int) -> nn.Embedding:
    """Normal with standard deviation 0.1."""
    weight = torch.from_numpy(rng.normal(0.0, 0.1, (rows, width)).astype(np.float32))
    return nn.Embedding(rows, width, _weight=weight, _freeze=False)


def _set(layer: _Layer, weight: F64) -> _Layer:
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.zero_()  # type: ignore[union-attr]
    return layer
