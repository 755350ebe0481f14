"""Norm clipping: rows longer than a public bound are scaled down to it, others are left alone."""

from __future__ import annotations

import numpy as np

from phalanx.rules import NormClip
from phalanx.types import F64


def scales(step: NormClip, squared_norms: F64) -> F64:
    """(n,) factors in [0, 1] for rows of these squared norms."""
    return shorten(np.sqrt(squared_norms), step.clip_l2)


def shorten(norms: F64, bound: float) -> F64:
    """(n,) factors in [0, 1] that bring rows of these norms to at most `bound`; exactly 1 for those already there."""
    factors = np.ones_like(norms)
    longer = ~(norms <= bound)  # a zero row is never divided by, and a NaN would not pass as short
    factors[longer] = bound / norms[longer]
    return factors
