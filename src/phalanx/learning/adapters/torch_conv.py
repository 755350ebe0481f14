"""Layers over images for `torch_mlp`: convolution as one product with the patches, and 2 × 2 maximum.

Images are (m, channels, width, height, b), contiguous. The examples are last, so that a shifted copy moves long runs;
columns come before rows, so that the maximum compares neighbours in a row first: where values are equal, the first in
row-major order has the gradient, as in torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from phalanx.learning.adapters.torch_mlp import Fixed, Shape, Target, Tensors


@dataclass(frozen=True, slots=True)
class ToImages(Fixed):
    """Examples (m, b, channels, height, width) as images."""

    def forward(self, models: Tensors, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `Layer`."""
        return x.permute(0, 2, 4, 3, 1).contiguous(), x

    def backward(self, models: Tensors, x: Tensor, kept: Tensor, d: Tensor) -> Tensor:
        """See `Layer`."""
        return d.permute(0, 4, 1, 3, 2)


@dataclass(frozen=True, slots=True)
class ToVectors(Fixed):
    """Images as vectors (m, b, channels · height · width), in torch's order."""

    def space(self, shape: Shape) -> tuple[Shape, int]:
        """See `Layer`."""
        return (math.prod(shape),), 2 * math.prod(shape)

    def forward(self, models: Tensors, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `Layer`."""
        return x.permute(0, 4, 1, 3, 2).flatten(2), x

    def backward(self, models: Tensors, x: Tensor, kept: Tensor, d: Tensor) -> Tensor:
        """See `Layer`."""
        m, channels, width, height, b = x.shape
        return d.view(m, b, channels, height, width).permute(0, 2, 4, 3, 1).contiguous()


@dataclass(frozen=True, slots=True)
class Conv:
    """Cross-correlation with W (m, out, in, kernel height, kernel width), stride 1, and b (m, out)."""

    weight: str
    bias: str | None
    outputs: int
    kernel: tuple[int, int]  # height, width
    padding: tuple[int, int]

    @property
    def parameters(self) -> tuple[str, ...]:
        """See `Layer`."""
        return (self.weight,) if self.bias is None else (self.weight, self.bias)

    def space(self, shape: Shape) -> tuple[Shape, int]:
        """See `Layer`."""
        channels, height, width = shape
        above = (height + 2 * self.padding[0] - self.kernel[0] + 1, width + 2 * self.padding[1] - self.kernel[1] + 1)
        patches = channels * math.prod(self.kernel)
        return (self.outputs, *above), math.prod(above) * 2 * (patches + self.outputs)

    def forward(self, models: Tensors, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `Layer`."""
        patches = self._patches(x)
        weight = self._matrix(models)
        shape = (len(x), self.outputs, *patches.shape[4:])
        columns = patches.flatten(4).flatten(1, 3)
        if self.bias is None:
            return torch.bmm(weight, columns).view(shape), columns
        return torch.baddbmm(models[self.bias][:, :, None], weight, columns).view(shape), columns

    def backward(self, models: Tensors, x: Tensor, kept: Tensor, d: Tensor) -> Tensor:
        """See `Layer`."""
        (m, channels, width, height, b), (rows, columns) = x.shape, self.padding
        shares = torch.bmm(self._matrix(models).transpose(1, 2), d.flatten(2))
        shares = shares.view(m, channels, self.kernel[1], self.kernel[0], *d.shape[2:])
        below = x.new_zeros(m, channels, width + 2 * columns, height + 2 * rows, b)
        for i in range(self.kernel[1]):
            for j in range(self.kernel[0]):
                below[:, :, i : i + d.shape[2], j : j + d.shape[3]].add_(shares[:, :, i, j])
        return below[:, :, columns : columns + width, rows : rows + height].contiguous()

    def add_gradients(self, target: Target, kept: Tensor, d: Tensor) -> None:
        """See `Layer`."""
        flat = d.flatten(2)
        gradient = torch.bmm(flat, kept.transpose(1, 2))
        target.add(self.weight, gradient.view(*gradient.shape[:2], -1, self.kernel[1], self.kernel[0]).transpose(3, 4))
        if self.bias is not None:
            target.add(self.bias, flat.sum(2))

    def _matrix(self, models: Tensors) -> Tensor:
        """(m, out, in · kernel width · kernel height)."""
        return models[self.weight].transpose(3, 4).flatten(2)

    def _patches(self, x: Tensor) -> Tensor:
        """(m, in, kernel width, kernel height, width, height, b) of the output: each pixel's surroundings, copied."""
        rows, columns = self.padding
        if rows or columns:
            x = functional.pad(x, (0, 0, rows, rows, columns, columns))
        windows = x.unfold(2, self.kernel[1], 1).unfold(3, self.kernel[0], 1)
        return windows.permute(0, 1, 5, 6, 2, 3, 4).contiguous()


@dataclass(frozen=True, slots=True)
class MaxPool(Fixed):
    """The largest of each 2 × 2 pixels; an odd last row or column is left out."""

    def space(self, shape: Shape) -> tuple[Shape, int]:
        """See `Layer`."""
        channels, height, width = shape
        return (channels, height // 2, width // 2), 2 * math.prod(shape)

    def forward(self, models: Tensors, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `Layer`: keeps the larger of two neighbours in each row."""
        pairs = _halves(x)
        larger = torch.maximum(pairs[:, :, :, 0], pairs[:, :, :, 1])
        return torch.maximum(larger[:, :, :, :, 0], larger[:, :, :, :, 1]), larger

    def backward(self, models: Tensors, x: Tensor, kept: Tensor, d: Tensor) -> Tensor:
        """See `Layer`."""
        by_row = torch.empty_like(kept)
        _share(d, kept[:, :, :, :, 0], kept[:, :, :, :, 1], by_row[:, :, :, :, 0], by_row[:, :, :, :, 1])
        below = torch.zeros_like(x) if x.shape[2] % 2 or x.shape[3] % 2 else torch.empty_like(x)
        pairs, into = _halves(x), _halves(below)
        _share(by_row, pairs[:, :, :, 0], pairs[:, :, :, 1], into[:, :, :, 0], into[:, :, :, 1])
        return below


def _halves(x: Tensor) -> Tensor:
    """(m, channels, width // 2, 2, height // 2, 2, b), a view."""
    width, height = x.shape[2] // 2, x.shape[3] // 2
    whole = x[:, :, : 2 * width, : 2 * height]
    return whole.view(*x.shape[:2], width, 2, height, 2, x.shape[4])


def _share(d: Tensor, one: Tensor, other: Tensor, to_one: Tensor, to_other: Tensor) -> None:
    """Writes d into `to_other` where `other` is the larger, else into `to_one`, and zero into the one that is not."""
    torch.ops.aten.threshold_backward.grad_input(d, other - one, 0, grad_input=to_other)
    torch.sub(d, to_other, out=to_one)
