"""How near a rebuilt input is to the true one."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from phalanx.types import F32, F64

_WINDOW = 7
_C1, _C2 = 0.01**2, 0.03**2  # for values in 0 … 1


def psnr(image: F32, guess: F32) -> float:
    """Peak signal-to-noise ratio in dB of values in 0 … 1; infinite if equal."""
    error = float(np.mean((image.astype(np.float64) - guess.astype(np.float64)) ** 2))
    return float("inf") if error == 0 else -10.0 * float(np.log10(error))


def ssim(image: F32, guess: F32) -> float:
    """Structural similarity of two images (height, width) with values in 0 … 1: 1 if equal, about 0 if unrelated.

    The mean over all uniform windows of 7 × 7 that lie inside the image, with unbiased variances, K1 = 0.01 and K2 =
    0.03; of a smaller image the window is its shorter side.  Wang et al., IEEE TIP 2004, section III.B, with the window
    of scikit-image. Raises ValueError for images of different shapes, or with a side below 2.
    """
    if image.shape != guess.shape or image.ndim != 2 or min(image.shape) < 2:
        raise ValueError(f"expected two images (height, width) of one shape, got {image.shape} and {guess.shape}")
    side = min(_WINDOW, *image.shape)
    x, y = _windows(image, side), _windows(guess, side)
    mean_x, mean_y = x.mean(axis=2), y.mean(axis=2)
    of_x, of_y = x - mean_x[:, :, None], y - mean_y[:, :, None]
    norm = side * side - 1
    var_x, var_y, both = (np.einsum("ijk,ijk->ij", a, b) / norm for a, b in ((of_x, of_x), (of_y, of_y), (of_x, of_y)))
    light = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    structure = (2 * both + _C2) / (var_x + var_y + _C2)
    return float((light * structure).mean())


def correlation(a: F32 | F64, b: F32 | F64) -> float:
    """Pearson's correlation of two arrays of the same size, -1 … 1; 0 where one of them is constant."""
    x, y = (one.ravel().astype(np.float64) - float(np.mean(one, dtype=np.float64)) for one in (a, b))
    lengths = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / lengths if lengths > 0 else 0.0


def _windows(image: F32, side: int) -> F64:
    """(rows, columns, side²): every window that lies inside the image."""
    found = sliding_window_view(image.astype(np.float64), (side, side))
    return found.reshape(*found.shape[:2], side * side)
