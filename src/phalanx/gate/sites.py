"""How good the candidate is at each member, worst first, as far as the members' ballots say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from phalanx.gate.ballots import defect
from phalanx.gate.policy import GatePolicy
from phalanx.types import MemberId, Tally, Vote


@dataclass(frozen=True, slots=True)
class SiteRow:
    """One member's own word: its accuracy is from `low` to `high`, equal where it sent counts.

    `held_out`: on how many examples, None where it sent a vote.
    """

    member: MemberId
    low: float
    high: float
    held_out: int | None


@dataclass(frozen=True, slots=True)
class SiteTable:
    """Rows, worst first, or none of them and the sentence that says why."""

    rows: tuple[SiteRow, ...]
    hidden: str = ""


def site_accuracy(ballots: Mapping[MemberId, Tally | Vote], policy: GatePolicy, min_members: int = 5) -> SiteTable:
    """The accuracies in the sound ballots; a ballot without held-out examples reports none.

    Hidden as a whole where fewer than `min_members` report: the worst of three is easily recognised. Nobody checks
    these figures: a liar's is what it likes.
    """
    rows = [
        row
        for member, ballot in ballots.items()
        if not defect(ballot, policy) and (row := _row(member, ballot, policy)) is not None
    ]
    if len(rows) < min_members:
        members = "member" if len(rows) == 1 else "members"
        return SiteTable((), f"Hidden: {len(rows)} {members} reported an accuracy, shown from {min_members} on.")
    return SiteTable(tuple(sorted(rows, key=lambda row: (row.low, row.high, row.member))))


def _row(member: MemberId, ballot: Tally | Vote, policy: GatePolicy) -> SiteRow | None:
    if isinstance(ballot, Vote):
        if ballot.accuracy < 0:
            return None
        low, high = (min(bucket / policy.accuracy_buckets, 1.0) for bucket in (ballot.accuracy, ballot.accuracy + 1))
        return SiteRow(member, low, high, None)
    examples = sum(ballot.total)
    if not examples:
        return None
    accuracy = sum(ballot.right) / examples
    return SiteRow(member, accuracy, accuracy, examples)
