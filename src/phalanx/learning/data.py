"""A member's own examples, parted into those it trains on and those it judges candidates with.

None of this leaves the member.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from phalanx.canonical import digest, encode
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


def hold_out(
    x: Array, y: Array, *, classes: int, member: MemberId, fraction: float, by: Array | None = None
) -> MemberData:
    """The examples, each held out with probability `fraction` (0 <= fraction < 1); order is kept in each part.

    Whether one is held out depends on the member's name, on the example (its row in `by`, its label) and on nothing
    else: not on the other examples or its place among them. So an example that is withdrawn moves no other one between
    the parts, which ε per example rests on; nor is there a seed that could be tried until the split flatters. `by` are
    the rows as they were before they were scaled, so that every use of the same data parts it alike; x without it.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"the held-out fraction must be in [0, 1), got {fraction!r}")
    if not np.issubdtype(y.dtype, np.integer) or y.shape != (len(x),):
        raise ValueError(f"labels must be integers of shape ({len(x)},), got {y.dtype} of shape {y.shape}")
    rows = x if by is None else by
    if len(rows) != len(x):
        raise ValueError(f"expected {len(x)} rows to decide by, got {len(rows)}")
    bound = int(fraction * 2**64)
    held = np.array([_draw(member, row, int(label)) < bound for row, label in zip(rows, y, strict=True)], np.bool_)
    _check_finite(x)
    labels = y.astype(np.int64)
    return MemberData(x[~held], labels[~held], x[held], labels[held], classes)


def _draw(member: MemberId, row: Any, label: int) -> int:
    """A number below 2⁶⁴ that belongs to this example at this member. Equal examples have equal numbers."""
    plain = np.asarray(row)
    data = repr(plain.tolist()).encode() if plain.dtype == object else plain.tobytes()
    return int(digest("held-out", encode([member, label]) + data)[:16], 16)


def _check_finite(x: Array) -> None:
    """A missing value would make every gradient that it touches count as nothing, and nobody would be told."""
    if not np.issubdtype(x.dtype, np.inexact):
        return
    broken = np.flatnonzero(~np.isfinite(x.reshape(len(x), -1)).all(axis=1))
    if len(broken):
        raise ValueError(
            f"{len(broken)} of {len(x)} examples hold a value that is not finite, first in row {broken[0]}"
        )
