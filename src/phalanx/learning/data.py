"""A member's own examples, parted into those it trains on and those it judges candidates with.

None of this leaves the member.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from phalanx.canonical import digest
from phalanx.entropy import expand
from phalanx.types import MemberId

Array = npt.NDArray[Any]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class MemberData:
    """Training examples (n, …) and held-out examples (h, …), with labels 0 … classes-1.

    n >= 1; h may be 0: such a member has nothing to judge candidates with. Raises ValueError for anything else.
    """

    x_train: Array = field(repr=False)
    y_train: Labels = field(repr=False)
    x_held: Array = field(repr=False)
    y_held: Labels = field(repr=False)
    classes: int

    def __post_init__(self) -> None:
        if len(self.x_train) < 1:
            raise ValueError("a member needs at least 1 training example, got 0")
        for part, x, y in (("training", self.x_train, self.y_train), ("held-out", self.x_held, self.y_held)):
            _check_labels(part, x, y, self.classes)


def _check_labels(part: str, x: Array, y: Labels, classes: int) -> None:
    if y.dtype != np.int64 or y.shape != (len(x),):
        raise ValueError(f"{part} labels must be int64 of shape ({len(x)},), got {y.dtype} of shape {y.shape}")
    if len(y) and not (y.min() >= 0 and y.max() < classes):
        raise ValueError(f"{part} labels must be 0 … {classes - 1}, got {y.min()} … {y.max()}")


def hold_out(x: Array, y: Array, *, classes: int, member: MemberId, fraction: float) -> MemberData:
    """The examples, with about `fraction` of them (rounded, 0 <= fraction < 1) held out; order is kept in each part.

    Which ones depends on the member's name and on each row's index, and on nothing else: on no seed that could be
    tried until the split flatters, and no library's generator. Rows appended later leave most rows where they were.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"the held-out fraction must be in [0, 1), got {fraction!r}")
    if not np.issubdtype(y.dtype, np.integer) or y.shape != (len(x),):
        raise ValueError(f"labels must be integers of shape ({len(x)},), got {y.dtype} of shape {y.shape}")
    key = bytes.fromhex(digest("held-out", member.encode()))
    draws = np.frombuffer(expand(key, "held-out", 8 * len(x)), dtype="<u8")
    held = np.zeros(len(x), dtype=np.bool_)
    held[np.argsort(draws, kind="stable")[: round(fraction * len(x))]] = True
    _check_finite(x)
    labels = y.astype(np.int64)
    return MemberData(x[~held], labels[~held], x[held], labels[held], classes)


def _check_finite(x: Array) -> None:
    """A missing value would make every gradient that it touches count as nothing, and nobody would be told."""
    if not np.issubdtype(x.dtype, np.inexact):
        return
    broken = np.flatnonzero(~np.isfinite(x.reshape(len(x), -1)).all(axis=1))
    if len(broken):
        raise ValueError(
            f"{len(broken)} of {len(x)} examples hold a value that is not finite, first in row {broken[0]}"
        )
