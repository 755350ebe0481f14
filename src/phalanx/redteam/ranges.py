"""Inputs on a scale of 0 … 1, and how near one that was rebuilt is to the truth.

The bounds are taken to be public. Images have one range for all pixels, tables one for each column; a column that never
changes is 0. So a table's PSNR says how large the error is beside the range of its columns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from phalanx.attacks.similarity import psnr, ssim
from phalanx.learning.data import Array
from phalanx.redteam.lab import Lab
from phalanx.redteam.outcome import Rebuilt
from phalanx.types import F32, F64

MOST_DB = 200.0  # where rounding is all that is left
REBUILT_DB = 25.0  # from here an image counts as rebuilt
_SMALLEST_SIDE = 8  # of a row of numbers that is taken for a square image
_SHOWN_SIDE, _SHOWN_ROW = 32, 64


@dataclass(frozen=True, slots=True)
class Range:
    """`low` and `width` (p,) of inputs of a `shape`; `picture` (height, width) where they are images."""

    low: F32 = field(repr=False)
    width: F32 = field(repr=False)
    shape: tuple[int, ...]
    picture: tuple[int, int] | None

    def unit(self, x: Array) -> F32:
        """Inputs (n, …) → (n, p), 0 … 1 inside the bounds. What is not finite becomes 0."""
        rows: F32 = (np.asarray(x, np.float32).reshape(len(x), -1) - self.low) / self.width
        return np.asarray(np.nan_to_num(rows, nan=0.0, posinf=0.0, neginf=0.0))

    def original(self, unit: F32 | F64) -> F32:
        """(n, p), 0 … 1 → inputs (n, …)."""
        return np.asarray(self.low + self.width * unit, np.float32).reshape(len(unit), *self.shape)

    def images(self, row: F32) -> F32:
        """(p,) → (channels, height, width). Raises ValueError for what is no image."""
        if self.picture is None:
            raise ValueError("these inputs are no images")
        if len(self.shape) == 3 and self.shape[:2] == self.picture:  # the channels last
            return np.moveaxis(row.reshape(self.shape), 2, 0)
        return row.reshape(-1, *self.picture)


def range_of(lab: Lab) -> Range:
    """The bounds of all members' inputs, held-out ones too."""
    sites = [lab.sites[member] for member in lab.members]
    shape = sites[0].x_train.shape[1:]
    rows = [np.asarray(part, np.float32).reshape(len(part), -1)
            for data in sites for part in (data.x_train, data.x_held) if len(part)]  # fmt: skip
    low, high = np.min([one.min(axis=0) for one in rows], axis=0), np.max([one.max(axis=0) for one in rows], axis=0)
    picture = _picture(shape, low)
    if picture is not None:
        low, high = np.full_like(low, low.min()), np.full_like(high, high.max())
    return Range(low, np.where(high > low, high - low, np.float32(1)).astype(np.float32), shape, picture)


def _picture(shape: tuple[int, ...], low: F32) -> tuple[int, int] | None:
    """Two axes are an image, three one with channels first or last; so is a square number of values with one lowest."""
    if len(shape) == 2 and min(shape) > 1:
        return shape[0], shape[1]
    if len(shape) == 3:
        return (shape[1], shape[2]) if shape[0] <= 4 else (shape[0], shape[1])
    side = math.isqrt(math.prod(shape))
    square = len(shape) == 1 and side >= _SMALLEST_SIDE and side * side == shape[0]
    return (side, side) if square and bool((low == low.min()).all()) else None


@dataclass(frozen=True, slots=True)
class Guessed:
    """An input (p,), the best guess at it, and the mean input: all 0 … 1."""

    truth: F32 = field(repr=False)
    guess: F32 = field(repr=False)
    mean: F32 = field(repr=False)

    @property
    def psnr(self) -> float:
        """In dB, at most 200."""
        return min(psnr(self.truth, self.guess), MOST_DB)

    @property
    def gain(self) -> float:
        """dB above guessing the mean; 0 where the mean is nearer, since that is what one would then guess."""
        return max(0.0, self.psnr - self.of_mean)

    @property
    def of_mean(self) -> float:
        """What guessing the mean gives, in dB."""
        return min(psnr(self.truth, self.mean), MOST_DB)


def guessed(truth: F32, candidates: F32, mean: F32) -> list[Guessed]:
    """For each true input (b, p) the nearest of the attacker's candidates (c, p), cut to 0 … 1; without any, the mean.

    The attacker does not know which is the nearest: it is the most that it can have.
    """
    inside = np.clip(np.nan_to_num(candidates, nan=0.5), 0, 1) if len(candidates) else mean[None]
    errors = [((inside - one) ** 2).mean(axis=1, dtype=np.float64) for one in truth]
    return [Guessed(one, inside[int(error.argmin())], mean) for one, error in zip(truth, errors, strict=True)]


def figures(found: Sequence[Guessed], scale: Range, prefix: str = "") -> dict[str, float]:
    """The measures of some guesses: the best PSNR, the mean one, the mean gain, and of images the best SSIM."""
    named = {
        "psnr": max(one.psnr for one in found),
        "psnr_mean": float(np.mean([one.psnr for one in found])),
        "psnr_of_mean": float(np.mean([one.of_mean for one in found])),
        "psnr_gain": float(np.mean([one.gain for one in found])),
    }
    if scale.picture is not None:
        named["ssim"] = max(_ssim(one, scale) for one in found)
    return {prefix + name: value for name, value in named.items()}


def shares(found: Sequence[Guessed], prefix: str = "") -> Mapping[str, tuple[int, int]]:
    """How many were rebuilt at 25 dB or better."""
    return {f"{prefix}rebuilt": (sum(one.psnr >= REBUILT_DB for one in found), len(found))}


def _ssim(one: Guessed, scale: Range) -> float:
    pairs = zip(scale.images(one.truth), scale.images(one.guess), strict=True)
    return float(np.mean([ssim(truth, guess) for truth, guess in pairs]))


def shown(found: Sequence[Guessed], scale: Range, what: str) -> tuple[Rebuilt, ...]:
    """Pairs to be looked at; colours as their mean, large images thinned out, of long rows the first numbers."""
    return tuple(_shown(one, scale, what) for one in found)


def _shown(one: Guessed, scale: Range, what: str) -> Rebuilt:
    words = f"{what}: {one.psnr:.1f} dB; the mean input scores {one.of_mean:.1f} dB"
    if scale.picture is None:
        rows = [tuple(row[:_SHOWN_ROW].astype(float).tolist()) for row in (one.truth, one.guess)]
        return Rebuilt(rows[0], rows[1], (len(rows[0]),), words)
    step = math.ceil(max(scale.picture) / _SHOWN_SIDE)
    images = [scale.images(row).mean(axis=0)[::step, ::step] for row in (one.truth, one.guess)]
    flat = [tuple(image.ravel().astype(float).tolist()) for image in images]
    return Rebuilt(flat[0], flat[1], images[0].shape, words)
