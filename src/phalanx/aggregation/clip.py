"""Steps that only shorten rows need the rows' norms and nothing else of them."""

from __future__ import annotations

import numpy as np

from phalanx.aggregation import arc, norm_clip
from phalanx.rules import ARC, NormClip, PreStep
from phalanx.types import F64


def only_clips(steps: tuple[PreStep, ...]) -> bool:
    """Whether each of the steps does nothing but shorten rows."""
    return all(isinstance(step, ARC | NormClip) for step in steps)


def clip_factors(steps: tuple[PreStep, ...], squares: F64) -> F64:
    """(n,) factors in [0, 1] by which clip steps, in order, shorten rows of these squared norms."""
    factors = np.ones_like(squares)
    for step in steps:
        now = squares * factors**2
        match step:
            case NormClip():
                factors = factors * norm_clip.scales(step, now)
            case ARC():
                factors = factors * arc.scales(step, now)
            case _:
                raise ValueError(f"{step} is no clip step")
    return factors
