"""One member's update against what was asked for: names, shapes, dtypes, length, finiteness, norm.

Everything in an update is hostile until this file has read it: its statement of tensors is JSON of any type, and its
payload any bytes. Nothing is allocated in proportion to what the member says, only to what was asked.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from phalanx.types import F32, Layout, MemberId, Reason, Refusal, Update

_CHUNK = 1 << 16  # elements squared in float64 at a time, so that a row is never copied whole


def row_of(update: Update, layout: Layout, max_norm: float) -> tuple[F32, float] | Refusal:
    """The update as a read-only row (d,) and its l2 norm in float64, or why it does not count.

    An all-zero row is sound: whether a member learned nothing is for monitoring, and nothing here divides by a norm.
    """
    refusal = check_statement(update.member, update.tensors, layout) or check_length(update, layout)
    if refusal:
        return refusal
    row = read(update)
    if not np.isfinite(row).all():
        where = int(np.argmin(np.isfinite(row)))
        return Refusal(update.member, Reason.NOT_FINITE, f"first at element {where} of {layout.d}")
    norm = l2_norm(row)
    if not norm <= max_norm:
        # Without the norm itself: the log is public, and no noise covers this figure.
        return Refusal(update.member, Reason.NORM_TOO_LARGE, f"longer than {max_norm:.6g}")
    return row, norm


def check_length(update: Update, layout: Layout) -> Refusal | None:
    """Before any array is made of the payload."""
    if len(update.payload) != layout.nbytes:
        found = f"{len(update.payload)} bytes, expected {layout.nbytes}"
        return Refusal(update.member, Reason.WRONG_LENGTH, found)
    return None


def check_statement(member: MemberId, stated: Any, layout: Layout) -> Refusal | None:
    """The member's own list of [name, [shape], dtype] against the layout, first difference first."""
    expected = layout.as_json()
    if not isinstance(stated, list) or not all(isinstance(item, list) and len(item) == 3 for item in stated):
        return Refusal(member, Reason.MALFORMED, "tensors are not a list of [name, shape, dtype]")
    if len(stated) != len(expected):
        return Refusal(member, Reason.WRONG_NAMES, f"{len(stated)} tensors, expected {len(expected)}")
    for column, reason in enumerate((Reason.WRONG_NAMES, Reason.WRONG_SHAPE, Reason.WRONG_DTYPE)):
        for found, want in zip(stated, expected, strict=True):
            if not _same(found[column], want[column]):
                detail = f"{_shown(found[column])} for {_shown(want[0])}, expected {_shown(want[column])}"
                return Refusal(member, reason, detail)
    return None


def read(update: Update) -> F32:
    """The payload as float32 (d,), without a copy on a little-endian machine."""
    return np.frombuffer(update.payload, dtype="<f4").astype(np.float32, copy=False)


def l2_norm(row: F32) -> float:
    """In float64: the square of the largest float32 is far below float64's limit."""
    chunks = (row[start : start + _CHUNK].astype(np.float64) for start in range(0, row.size, _CHUNK))
    return math.sqrt(math.fsum(float(np.square(chunk).sum()) for chunk in chunks))


def _same(found: Any, want: Any) -> bool:
    """Equality that tells 1 from True and 1.0; `want` is a string or a list of integers."""
    if isinstance(want, list):
        return isinstance(found, list) and len(found) == len(want) and all(map(_same, found, want))
    return type(found) is type(want) and bool(found == want)


def _shown(value: Any, depth: int = 1) -> str:
    """A hostile JSON value as a short text, whatever its size and nesting."""
    match value:
        case str():
            return repr(value[:40])
        case bool() | float() | None:
            return repr(value)
        case int() if abs(value) < 1 << 63:
            return str(value)
        case list() if depth:
            return "[" + ", ".join(_shown(item, depth - 1) for item in value[:8]) + (", …]" if value[8:] else "]")
        case _:
            return f"a {type(value).__name__}"
