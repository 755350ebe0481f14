"""Adaptive robust clipping: the longest rows are cut to the length of the next one.

Allouah et al., ICLR 2025 (ARC). The bound depends on the data, so this is no clipping for differential privacy.
"""

from __future__ import annotations

import numpy as np

from phalanx.aggregation.norm_clip import shorten
from phalanx.rules import ARC
from phalanx.types import F64


def scales(step: ARC, squared_norms: F64) -> F64:
    """(n,) factors in [0, 1]: the k = floor(2(f/n)(n-f)) longest rows get the (k+1)-th longest norm."""
    n = len(squared_norms)
    k = 2 * step.f * (n - step.f) // n
    norms = np.sqrt(squared_norms)
    return shorten(norms, float(np.sort(norms)[n - 1 - k]))
