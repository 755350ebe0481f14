"""How much each member counts: the coordinator's decision, never the member's.

A member's sample count is a claim. It is capped before it is used, and what it gives is capped again, so that a lie is
worth at most the liar's cap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from phalanx.errors import QuorumError
from phalanx.types import F64, MemberId, Reason, Refusal

CAPS_ROUNDING = 1e-9  # ten caps of 0.1 are 1, whatever their sum in floating point is


def check_claim(member: MemberId, claim: Any) -> Refusal | None:
    """A sample count is an integer >= 1: not True, not "12", not 12.0, not NaN."""
    if type(claim) is int and claim >= 1:
        return None
    kind = "an integer below 1" if type(claim) is int else f"a {type(claim).__name__}"
    return Refusal(member, Reason.BAD_CLAIM, f"{kind}, expected an integer >= 1")


def capped_weights(shares: Sequence[float], caps: Sequence[float]) -> F64:
    """Weights (n,) in proportion to `shares`, none above its cap, that sum to 1. All are > 0.

    What a capped member may not have goes to the others in proportion to their shares, again up to their caps
    (water-filling). Raises QuorumError if the caps sum to less than 1: these members are too few for anybody to stay
    under its cap. Raises ValueError unless every share is >= 1 and every cap in (0, 1].
    """
    base, cap = np.asarray(shares, dtype=np.float64), np.asarray(caps, dtype=np.float64)
    if not ((base >= 1).all() and np.isfinite(base).all()):
        raise ValueError(f"shares are finite and >= 1, got {base.min()} to {base.max()}")
    if not ((cap > 0).all() and (cap <= 1).all()):
        raise ValueError(f"weight caps are in (0, 1], got {cap.min()} to {cap.max()}")
    total = math.fsum(cap)
    if total < 1 - CAPS_ROUNDING:
        raise QuorumError(f"the weight caps of the {len(cap)} members that count sum to {total:.3g}, needed 1")
    if total <= 1:
        return cap / total
    # In the order in which a rising level λ meets the members' caps: the first k are at their caps, the rest at λ·base.
    order = np.argsort(cap / base, kind="stable")
    spent = np.concatenate([[0.0], np.cumsum(cap[order])[:-1]])
    left = np.cumsum(base[order][::-1])[::-1]
    level = (1 - spent) / left
    unmet = level <= (cap / base)[order]
    unmet[-1] = True  # the caps sum to more than 1, so the last one is never met, whatever the rounding says
    return np.asarray(np.minimum(cap, level[int(np.argmax(unmet))] * base), dtype=np.float64)
