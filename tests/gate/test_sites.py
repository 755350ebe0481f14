"""The table of members, worst first, and what it does not show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phalanx.gate import GatePolicy, SiteRow, SiteTable, site_accuracy, vote_of
from phalanx.types import MemberId, Tally, Vote, member_id

COUNTS = GatePolicy(classes=2)
VOTES = GatePolicy(classes=2, ballot="votes")
A, B, C, D, E, F = (member_id(name) for name in "abcdef")


def right(of_each: int, total: int = 20) -> Tally:
    return Tally((0, 0), (0, 0), (of_each, of_each), (total, total), True)


def test_counts_make_a_table_of_exact_accuracies_worst_first() -> None:
    table = site_accuracy({A: right(20), B: right(9), C: right(15, 50), D: right(9), E: right(0)}, COUNTS)
    assert table.rows == (
        SiteRow(E, 0.0, 0.0, 40),
        SiteRow(C, 0.3, 0.3, 100),
        SiteRow(B, 0.45, 0.45, 40),
        SiteRow(D, 0.45, 0.45, 40),
        SiteRow(A, 1.0, 1.0, 40),
    )
    assert table.hidden == ""


def test_votes_make_a_table_of_bounds_without_the_number_of_examples() -> None:
    ballots: dict[MemberId, Vote] = {A: Vote(False, 20, True), B: Vote(True, 0, True), C: Vote(False, 13, True)}
    table = site_accuracy(ballots, VOTES, min_members=3)
    assert table.rows == (SiteRow(B, 0.0, 0.05, None), SiteRow(C, 0.65, 0.7, None), SiteRow(A, 1.0, 1.0, None))


@given(st.integers(0, 300), st.integers(1, 300), st.integers(1, 100))
def test_the_true_accuracy_lies_within_a_votes_bounds(hit: int, missed: int, buckets: int) -> None:
    policy = GatePolicy(classes=1, ballot="votes", accuracy_buckets=buckets)
    held = Tally((0,), (0,), (hit,), (hit + missed,), True)
    (row,) = site_accuracy({A: vote_of(held, policy, untried=False)}, policy, min_members=1).rows
    assert row.low <= hit / (hit + missed) < row.high


@pytest.mark.parametrize(("members", "shown"), [(4, False), (5, True)])
def test_below_five_members_the_whole_table_is_hidden(members: int, shown: bool) -> None:
    """Two members that compare notes would otherwise know the third one's figure."""
    ballots = {member_id(f"m{i}"): right(i) for i in range(members)}
    table = site_accuracy(ballots, COUNTS)
    assert bool(table.rows) is shown
    assert table.hidden == ("" if shown else "Hidden: 4 members reported an accuracy, shown from 5 on.")


def test_off_twin_without_the_minimum_one_members_accuracy_is_shown() -> None:
    assert site_accuracy({A: right(3)}, COUNTS, min_members=1).rows == (SiteRow(A, 0.15, 0.15, 40),)
    assert site_accuracy({A: right(3)}, COUNTS) == SiteTable(
        (), "Hidden: 1 member reported an accuracy, shown from 5 on."
    )


@pytest.mark.parametrize(
    ("silent", "policy"),
    [
        (right(0, 0), COUNTS),
        (right(21), COUNTS),
        (Vote(False, 20, True), COUNTS),
        (Vote(False, -1, True), VOTES),
        (Vote(False, 21, True), VOTES),
        (right(20), VOTES),
    ],
)
def test_a_ballot_without_data_or_that_cannot_be_true_does_not_make_up_the_minimum(
    silent: Tally | Vote, policy: GatePolicy
) -> None:
    sound = right(5) if policy is COUNTS else Vote(False, 5, True)
    four: dict[MemberId, Tally | Vote] = dict.fromkeys((A, B, C, D), sound)
    assert site_accuracy({**four, E: silent}, policy).rows == ()
    assert [row.member for row in site_accuracy({**four, E: silent, F: sound}, policy).rows] == [A, B, C, D, F]
