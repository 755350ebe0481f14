"""The policy `votes`: what a member's vote is made of, and how many votes refuse a candidate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from phalanx.errors import GateRefusal, QuorumError
from phalanx.gate import BLIND_SPOTS, GatePolicy, approve, fewest_voters, judge, vote_of, votes_to_refuse
from phalanx.learning.tally import paired_tally
from phalanx.types import Binding, Candidate, MemberId, Reason, Tally, Verdict, Vote, member_id

BINDING = Binding("clinics", "run-1", 3, 0, "ab" * 32, "cd" * 32, "0" * 32)
CANDIDATE = Candidate(np.zeros(3, dtype=np.float32), "ca" * 32, "ba" * 32, BINDING)
POLICY = GatePolicy(classes=10, f=3, ballot="votes")
FINE, WORSE, NONE = Vote(False, 18, True), Vote(True, 9, True), (0,) * 10
OWN = Tally(NONE, (5,) * 10, (5,) * 10, (20,) * 10, True)


def tally(worse: Sequence[int], better: Sequence[int] = NONE, *, total: int = 60) -> Tally:
    """Ten classes of `total` examples; the candidate has right whatever it did not lose."""
    return Tally(tuple(worse), tuple(better), tuple(total - lost for lost in worse), (total,) * len(worse), True)


def votes(against: int, voters: int) -> dict[MemberId, Tally | Vote]:
    return {member_id(f"m{i:03}"): WORSE if i < against else FINE for i in range(voters)}


def in_class_0(lost: int) -> tuple[int, ...]:
    return (lost, *NONE[1:])


# ------------------------------------------------------------------------------------------------ the member's vote


@pytest.mark.parametrize(("lost", "against"), [(7, False), (8, True)])
def test_a_member_votes_against_what_its_test_over_all_classes_finds_worse(lost: int, against: bool) -> None:
    """2**-7 and 2**-8 lie on either side of half of 0.01."""
    spread = (1,) * lost + (0,) * (10 - lost)
    assert vote_of(tally(spread), POLICY, untried=False).worse is against


@pytest.mark.parametrize(("lost", "against"), [(10, False), (11, True)])
def test_a_member_votes_against_damage_to_one_class_that_gains_elsewhere_hide(lost: int, against: bool) -> None:
    """2**-10 and 2**-11 lie on either side of a tenth of half of 0.01."""
    gains = (0, *(9,) * 9)
    assert vote_of(tally(in_class_0(lost), gains), POLICY, untried=False).worse is against


def test_off_twin_without_tests_by_class_hidden_damage_gets_no_vote_against_it() -> None:
    hidden = tally(in_class_0(60), (0, *(9,) * 9))
    assert vote_of(hidden, POLICY, untried=False).worse
    assert not vote_of(hidden, POLICY, untried=True).worse
    assert not vote_of(hidden, replace(POLICY, class_significance=0.0), untried=False).worse


@pytest.mark.parametrize(("lost", "against"), [(6, False), (7, True)])
def test_against_an_untried_incumbent_the_one_test_has_the_whole_significance(lost: int, against: bool) -> None:
    assert vote_of(tally(in_class_0(lost)), POLICY, untried=True).worse is against


@pytest.mark.parametrize(
    ("right", "total", "bucket"), [(0, 40, 0), (1, 40, 0), (2, 40, 1), (39, 40, 19), (40, 40, 20), (0, 0, -1)]
)
def test_the_accuracy_leaves_in_buckets(right: int, total: int, bucket: int) -> None:
    held = Tally((0,), (0,), (right,), (total,), True)
    assert vote_of(held, GatePolicy(classes=1), untried=False) == Vote(False, bucket, True)


def test_a_vote_says_whether_the_outputs_were_finite() -> None:
    assert not vote_of(replace(tally(NONE), finite=False), POLICY, untried=False).finite


def test_a_members_own_tally_that_cannot_be_true_is_the_programmers_error() -> None:
    with pytest.raises(ValueError, match="own tally: more examples changed"):
        vote_of(replace(tally(NONE), worse=in_class_0(61)), POLICY, untried=False)


@pytest.mark.parametrize("changed", [8, 20, 57])
def test_a_member_votes_against_a_candidate_that_is_no_worse_with_at_most_alpha(changed: int) -> None:
    """One class, where both tests are one; then ten classes by simulation, where their errors add up."""
    one = replace(POLICY, classes=1)
    wrong = sum(
        math.comb(changed, lost)
        for lost in range(changed + 1)
        if vote_of(tally((lost,), (changed - lost,)), one, untried=False).worse
    )
    assert Fraction(wrong, 2**changed) <= Fraction(1, 100)
    lost = np.random.default_rng(changed).binomial(changed, 0.5, size=(2000, 10))
    found = sum(vote_of(tally(r.tolist(), (changed - r).tolist()), POLICY, untried=False).worse for r in lost)
    assert found <= 35  # more than 35 of Bin(2000, 0.01) has a probability of 1e-3


_labels = st.lists(st.tuples(*(st.integers(-1, 2) for _ in range(2)), st.integers(0, 2)), max_size=40)


@given(rows=_labels)
def test_what_a_member_counts_is_a_ballot_that_can_be_true(rows: list[tuple[int, int, int]]) -> None:
    now, before, truth = (np.array([row[i] for row in rows], dtype=np.int64) for i in range(3))
    counted = paired_tally(now, before, truth, classes=3, finite=True)
    assert counted.right == tuple(sum(n == t == c for n, _, t in rows) for c in range(3))
    assert judge({member_id("a"): counted}, None, GatePolicy(classes=3)).refused == ()


# ------------------------------------------------------------------------------------------- how many votes refuse


def by_definition(n: int, k: int, alpha: Fraction) -> Fraction:
    """P[Bin(n, alpha) > k], term by term."""
    terms = (math.comb(n, j) * alpha**j * (1 - alpha) ** (n - j) for j in range(k + 1, n + 1))
    return sum(terms, Fraction(0))


@pytest.mark.parametrize(
    ("f", "voters", "expected"),
    [(0, 1, 2), (0, 10, 3), (1, 4, 3), (2, 7, 4), (3, 10, 6), (3, 31, 7), (10, 31, 14), (3, 1000, 25)],
)
def test_the_number_of_votes_that_refuse_is_f_plus_k_plus_1(f: int, voters: int, expected: int) -> None:
    policy = replace(POLICY, f=f)
    k, alpha, most = expected - f - 1, Fraction(1, 100), Fraction(1, 1000)
    assert votes_to_refuse(voters, policy) == expected
    assert by_definition(voters - f, k, alpha) <= most < by_definition(voters - f, k - 1, alpha)


def test_a_probability_exactly_at_the_significance_refuses() -> None:
    """0.1**3 is 0.001 in decimal digits, and not in float64."""
    assert 0.1**3 > 0.001
    exact = replace(POLICY, f=0, vote_significance=0.1, significance=0.001)
    assert votes_to_refuse(3, exact) == 3
    verdict = judge(votes(3, 3), None, exact)
    assert (verdict.passed, verdict.p_value) == (False, 0.001)


@given(voters=st.integers(10, 60), against=st.integers(0, 60), alpha=st.sampled_from([0.1, 0.01, 0.001, 1e-7]))
def test_the_p_value_is_scipys_and_decides_as_the_count_does(voters: int, against: int, alpha: float) -> None:
    policy = replace(POLICY, vote_significance=alpha)
    if against > voters or voters < fewest_voters(policy):
        return
    verdict = judge(votes(against, voters), None, policy)
    expected = binom.sf(against - 3 - 1, voters - 3, alpha)
    assert math.isclose(verdict.p_value, expected, rel_tol=1e-9, abs_tol=1e-300)  # scipy's own accuracy
    assert verdict.passed == (verdict.p_value > policy.significance) == (against < votes_to_refuse(voters, policy))


@pytest.mark.parametrize(("f", "voters"), [(1, 4), (2, 7), (3, 10), (3, 40), (10, 31)])
def test_a_candidate_that_is_no_worse_is_refused_with_at_most_the_stated_probability(f: int, voters: int) -> None:
    """All f liars vote against it, and of the honest ones each with probability α: summed exactly over their number."""
    policy, honest, alpha = replace(POLICY, f=f), voters - f, Fraction(1, 100)
    refused = sum(
        math.comb(honest, w) * alpha**w * (1 - alpha) ** (honest - w)
        for w in range(honest + 1)
        if not judge(votes(f + w, voters), None, policy).passed
    )
    assert refused <= Fraction(1, 1000)


@pytest.mark.parametrize(("f", "expected"), [(0, 2), (1, 4), (2, 6), (3, 8), (10, 23)])
def test_below_the_fewest_voters_the_honest_ones_could_not_refuse_anything(f: int, expected: int) -> None:
    policy = replace(POLICY, f=f)
    assert fewest_voters(policy) == expected
    assert votes_to_refuse(expected, policy) <= expected - f
    assert votes_to_refuse(expected - 1, policy) > expected - 1 - f or expected - 1 < 2 * f + 1
    assert fewest_voters(replace(policy, ballot="counts")) == 2 * f + 1
    with pytest.raises(QuorumError, match=f"needs {expected} sound ballots, found {expected - 1} "):
        judge(votes(expected - 1, expected - 1), None, policy)


@given(f=st.integers(1, 60), more=st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_3f_plus_1_voters_are_always_enough(f: int, more: int) -> None:
    policy = replace(POLICY, f=f)
    assert fewest_voters(policy) <= 3 * f + 1 + more
    assert votes_to_refuse(3 * f + 1 + more, policy) <= 2 * f + 1 + more


def test_fewer_voters_than_liars_are_the_programmers_error() -> None:
    with pytest.raises(ValueError, match="at least f = 3 voters, found 2"):
        votes_to_refuse(2, POLICY)


def test_the_blind_spots_name_the_figures_of_a_vote() -> None:
    assert votes_to_refuse(10, POLICY) == 6
    for figure in ("lose 8 examples, 11 of one", "6 of ten members with f = 3"):
        assert figure in BLIND_SPOTS


# ----------------------------------------------------------------------------------------------------- the verdict


def test_the_verdict_on_votes_counts_them() -> None:
    passed = judge(votes(5, 10), None, POLICY)
    assert (passed.passed, passed.test, passed.worse, passed.better, passed.voters) == (True, "votes", 5, 5, 10)
    refused = judge(votes(6, 10), None, POLICY)
    assert not refused.passed and (refused.worse, refused.better) == (6, 4)
    with pytest.raises(GateRefusal, match=r"votes, 6 against and 4 not \(p = 3.4e-05\), 10 voters"):
        approve(CANDIDATE, refused)
    assert approve(CANDIDATE, passed).verdict is passed


def test_off_twin_with_the_gate_off_votes_against_a_candidate_change_nothing() -> None:
    assert judge(votes(10, 10), None, replace(POLICY, unsafe_accept_all=True)).passed


def test_the_coordinators_own_data_is_a_test_of_its_own_beside_votes() -> None:
    verdict = judge(votes(0, 10), tally((2,) * 10), POLICY)
    assert verdict == Verdict(False, "own held-out data: overall", 2.0**-20, 20, 0, 10)
    assert judge(votes(0, 10), OWN, POLICY) == Verdict(True, "votes", 1.0, 0, 10, 10)
    assert not judge(votes(0, 10), replace(OWN, finite=False), POLICY).passed


def test_f_voters_that_cry_non_finite_are_not_believed_and_f_plus_1_are_under_votes() -> None:
    cry = replace(FINE, finite=False)
    ballots = votes(0, 10)
    believed = list(ballots)
    assert judge(ballots | dict.fromkeys(believed[:3], cry), None, POLICY).passed
    verdict = judge(ballots | dict.fromkeys(believed[:4], cry), None, POLICY)
    assert (verdict.passed, verdict.test) == (False, "non-finite outputs at 4 of 10 voters")


def hostile(worse: Any, accuracy: Any, finite: Any) -> Vote:
    """A vote of any types."""
    return Vote(worse, accuracy, finite)


@pytest.mark.parametrize(
    "ballot",
    [
        hostile(1, 3, True),
        hostile(None, 3, True),
        hostile("no", 3, True),
        hostile(False, 3, 1),
        hostile(False, True, True),
        hostile(False, 3.0, True),
        hostile(False, "3", True),
        hostile(False, -2, True),
        hostile(False, 21, True),
        hostile(False, 10**5000, True),
        tally((0,) * 10),
    ],
)
def test_a_vote_that_cannot_be_true_or_is_none_is_quarantined_and_the_vote_goes_on(ballot: Tally | Vote) -> None:
    verdict = judge(votes(6, 10) | {member_id("liar"): ballot}, None, POLICY)
    assert [(bad.member, bad.reason) for bad in verdict.refused] == [("liar", Reason.BAD_BALLOT)]
    assert not verdict.passed and verdict.voters == 10


def test_where_counts_are_asked_a_vote_is_no_ballot() -> None:
    counts = GatePolicy(classes=10)
    verdict = judge({member_id("a"): tally((0,) * 10), member_id("b"): WORSE}, None, counts)
    assert [bad.detail for bad in verdict.refused] == ["expected a ballot of counts, found a Vote"]
