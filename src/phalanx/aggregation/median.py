"""Coordinate-wise median: the middle value, or the mean of the two middle values in float64.

Yin et al., ICML 2018, Definition 1. It is the trimmed mean that trims as much as it can, whatever f was declared.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phalanx.aggregation.trimmed_mean import trim
from phalanx.types import F32, F64


def middle(block: F32) -> tuple[F64, npt.NDArray[np.int64]]:
    """(n, b) columns -> (b,) medians in float64; and (n,) at how many columns a row was (one of) the middle."""
    return trim(block, (len(block) - 1) // 2)
