"""Whether noise that was added is the noise that was promised: a test to run on real updates.

Where σ was charged and ⅔σ was drawn, ε is half as large again or more, and no ledger sees it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class NoiseCheck:
    """The answer, and the standard deviation that was found (about zero, so a constant offset counts as noise)."""

    passed: bool
    std_found: float
    std_expected: float


def check_noise(clear: npt.ArrayLike, noised: npt.ArrayLike, std: float, *, false_alarm: float = 1e-3) -> NoiseCheck:
    """Is `noised - clear` independent N(0, std²) on each coordinate, by its sum and its sum of squares?

    True noise fails with a probability of at most `false_alarm`; noise of ⅔ std passes with at most that. The bounds
    are Laurent and Massart's, Annals of Statistics 2000, Lemma 1 (chi-squared, both sides), and the Gaussian tail.
    Raises ValueError for arrays too short to tell std from ⅔ std, of different shape, or with non-finite values.
    """
    before, after = np.asarray(clear, dtype=np.float64), np.asarray(noised, dtype=np.float64)
    if before.shape != after.shape:
        raise ValueError(f"clear has shape {before.shape}, noised {after.shape}")
    difference = np.ravel(after - before)
    if not (math.isfinite(std) and std > 0):
        raise ValueError(f"a standard deviation is finite and > 0, got {std!r}")
    if not np.isfinite(difference).all():
        raise ValueError("the noise to check has non-finite values")
    d, t = difference.size, math.log(4 / false_alarm)  # a quarter of the false alarms for each of four bounds
    low, high = d - 2 * math.sqrt(d * t), d + 2 * math.sqrt(d * t) + 2 * t
    if not 4 / 9 * high < low:
        raise ValueError(f"{d} values are too few to tell a deviation of {std:g} from two thirds of it")
    squares, total = float(difference @ difference) / std**2, float(difference.sum()) / std
    passed = low <= squares <= high and abs(total) <= math.sqrt(2 * d * t)
    return NoiseCheck(passed, std * math.sqrt(squares / d), std)
