"""Convolutions that pass every pixel on, so that the first fully connected layer reads the image. Needs `torch`.

A malicious coordinator may send any weights in the agreed layout. A convolution of stride s with s² channels for each
of its inputs can keep them all: each channel picks one pixel of every s × s block (the identity of Fowl et al., ICLR
2022, with strides). ReLUs do nothing to what is positive, so the first bias lifts all pixels above zero. Over several
local steps the convolutions move: then one example is still read exactly, and of a batch some are.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from torch import nn

from phalanx.attacks.leakage import FirstLayer
from phalanx.types import F32

Places = npt.NDArray[np.int64]  # (p,): which feature is which pixel

_PASSING = (nn.ReLU, nn.Flatten, nn.Unflatten, nn.Identity, nn.Dropout)


def write_transparent(
    module: nn.Module, tensors: Mapping[str, F32], lowest: float
) -> tuple[dict[str, F32], FirstLayer] | None:
    """`tensors` with transparent convolutions, and the linear layer, all zero, that then reads the image.

    `lowest` is the least value of a pixel. None where the module is no chain of convolutions, ReLUs and one linear
    layer at its end, or a convolution has too few channels. Whether each pixel gets through is for the attacker to try.
    """
    layers = [(name, layer) for name, layer in module.named_modules() if not list(layer.children())]
    convolutions = [(name, layer) for name, layer in layers if isinstance(layer, nn.Conv2d)]
    others = [(name, layer) for name, layer in layers if not isinstance(layer, nn.Conv2d)]
    if not convolutions or not others:
        return None
    *between, (last, linear) = others
    chain = isinstance(linear, nn.Linear) and all(isinstance(layer, _PASSING) for _, layer in between)
    reader = FirstLayer(f"{last}.weight", f"{last}.bias", rows_first=True)
    if not chain or not {reader.weight, reader.bias} <= set(tensors):
        return None
    written = dict(tensors) | {name: np.zeros_like(tensors[name]) for name in (reader.weight, reader.bias)}
    kept, lift = convolutions[0][1].in_channels, -lowest
    for name, layer in convolutions:
        picked = _picking(layer, kept)
        if picked is None or layer.bias is None:
            return None
        written |= {f"{name}.weight": picked, f"{name}.bias": np.full(layer.out_channels, lift, np.float32)}
        kept, lift = kept * layer.stride[0] * layer.stride[1], 0.0
    return written, reader


def _picking(layer: nn.Conv2d, kept: int) -> F32 | None:
    """The weight of a convolution that picks each of the first `kept` channels' pixels apart; None if it cannot."""
    (down, across), (height, width) = layer.stride, layer.kernel_size
    if isinstance(layer.padding, str) or layer.groups != 1 or layer.dilation != (1, 1):
        return None
    top, left = (int(side) for side in layer.padding)
    if kept * down * across > layer.out_channels or top + down > height or left + across > width:
        return None
    weight = np.zeros((layer.out_channels, layer.in_channels, height, width), np.float32)
    for place in range(down * across):
        for channel in range(kept):
            weight[place * kept + channel, channel, top + place // across, left + place % across] = 1
    return weight


def find_pixels(features: F32, toys: F32, lowest: float) -> Places | None:
    """(p,): which feature is which pixel, from what transparent convolutions made (t, q) of `toys` (t, p).

    None if a pixel is not found among the features: then some did not get through.
    """
    lifted = toys.astype(np.float64) - lowest
    apart = np.zeros((lifted.shape[1], features.shape[1]))
    for image, made in zip(lifted, features.astype(np.float64), strict=True):
        apart = np.maximum(apart, np.abs(image[:, None] - made[None, :]))
    found = apart.argmin(axis=1)
    errors = apart[np.arange(len(found)), found]
    return found if float(errors.max()) <= 1e-3 * float(lifted.max()) else None


def pixels_of(features: F32, places: Places, lowest: float) -> F32:
    """Images (n, p) from features (n, q)."""
    return (features[:, places] + lowest).astype(np.float32)
