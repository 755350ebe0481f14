"""Whether a ballot can be true at all. What it says may still be a lie; that is what the gate's tests are for."""

from __future__ import annotations

from typing import Any

from phalanx.gate.policy import GatePolicy
from phalanx.types import Tally, Vote


def defect(ballot: Tally | Vote, policy: GatePolicy) -> str:
    """Why this ballot does not count under `policy`, or "". Its fields come from outside and may be of any type."""
    expected = Tally if policy.ballot == "counts" else Vote
    if not isinstance(ballot, expected):
        return f"expected a ballot of {policy.ballot}, found a {type(ballot).__name__}"
    return tally_defect(ballot, policy) if isinstance(ballot, Tally) else _vote_defect(ballot, policy)


def tally_defect(tally: Tally, policy: GatePolicy) -> str:
    """Why these counts cannot be true, or ""."""
    columns: tuple[Any, ...] = (tally.worse, tally.better, tally.right, tally.total)
    if not all(isinstance(column, tuple | list) and len(column) == policy.classes for column in columns):
        return f"expected worse, better, right and total for {policy.classes} classes each"
    if not all(type(count) is int and count >= 0 for column in columns for count in column):
        return "expected counts that are integers >= 0"
    for worse, better, right, total in zip(*columns, strict=True):
        if worse + better > total:
            return "more examples changed than there are"
        if not better <= right <= total - worse:
            return "the candidate has what it won right and what it lost wrong, these counts say otherwise"
    if sum(tally.total) > policy.max_held_out:
        return f"more than {policy.max_held_out} held-out examples"
    return "" if type(tally.finite) is bool else "expected finite to be true or false"


def _vote_defect(vote: Vote, policy: GatePolicy) -> str:
    if not (type(vote.worse) is bool and type(vote.finite) is bool):
        return "expected worse and finite to be true or false"
    if not (type(vote.accuracy) is int and -1 <= vote.accuracy <= policy.accuracy_buckets):
        return f"expected an accuracy bucket of -1 to {policy.accuracy_buckets}"
    return ""
