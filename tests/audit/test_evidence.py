"""Decisions that do not follow from the evidence beside them, and the auditor's own sign test."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from phalanx.audit.agreed import Agreed, open_config
from phalanx.audit.evidence import check_decision, sign_test
from phalanx.audit.votes import chance, fewest_voters
from phalanx.errors import LogInconsistent
from phalanx.gate import GatePolicy, judge
from phalanx.gate import fewest_voters as fewest_of_the_gate
from phalanx.types import MemberId, Tally, Vote
from tests.audit.synthetic_run import REFUSING, config_file

POLICY = GatePolicy(classes=2, f=1)
AGREED = open_config(config_file("run-1"))
PASSED = {"passed": True, "test": "overall", "p_value": 15 / 16, "worse": 1, "better": 3, "voters": 4, "refused": ()}
REFUSED = PASSED | REFUSING


def check(decision: dict[str, Any], agreed: Agreed = AGREED, *, untried: bool = False) -> None:
    voted = {f"m-{i}" for i in range(decision["voters"])}
    check_decision(agreed, decision, voted=voted, untried=untried)


# --------------------------------------------------------------------------------------------------------- sign test


@given(st.integers(0, 6000), st.integers(0, 6000))
@settings(max_examples=150, deadline=None)
def test_the_sign_test_is_scipys_binomial_tail(worse: int, better: int) -> None:
    expected = float(binom.sf(worse - 1, worse + better, 0.5))
    assert sign_test(worse, better) == pytest.approx(expected, rel=1e-8, abs=1e-250)  # scipy gives 0 from there on


@pytest.mark.parametrize(("worse", "better"), [(0, 0), (9, 0), (10, 0), (1, 3), (1000, 1000), (1001, 1000), (2001, 0),
    (1100, 901), (0, 2001), (1500, 502), (60_000, 59_000), (59_000, 60_000), (50_001, 49_999)])  # fmt: skip
def test_both_sides_of_where_the_arithmetic_changes_are_exact(worse: int, better: int) -> None:
    n = worse + better
    term, tail = math.comb(n, better), 0
    for k in range(better, -1, -1):
        tail += term
        term = term * k // (n - k + 1)
    shift = max(tail.bit_length() - 200, 0)
    assert sign_test(worse, better) == pytest.approx(math.ldexp(tail >> shift, shift - n), rel=1e-11, abs=1e-300)


# ------------------------------------------------------------------------------------------------------------ honest

COUNTS = st.tuples(st.integers(0, 40), st.integers(0, 40))


@given(
    st.lists(st.tuples(COUNTS, COUNTS, st.sampled_from([True] * 9 + [False])), min_size=3, max_size=4),
    st.none() | st.tuples(COUNTS, COUNTS, st.booleans()),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_whatever_the_gate_decides_about_honest_ballots_is_accepted(ballots: Any, own: Any, untried: bool) -> None:
    tallies = [
        None
        if row is None
        else Tally(
            worse=(row[0][0], row[1][0]), better=(row[0][1], row[1][1]), right=(40, 40), total=(80, 80), finite=row[2]
        )
        for row in (own, *ballots)
    ]
    votes = {MemberId(f"m-{i}"): tally for i, tally in enumerate(tallies[1:]) if tally is not None}
    policy = GatePolicy(classes=2, f=1, class_significance=0.0 if untried else 0.001)
    verdict = judge(votes, tallies[0], policy)
    logged = {name: getattr(verdict, name) for name in PASSED}
    check(json.loads(json.dumps(logged)), untried=untried)


def test_a_gate_that_was_switched_off_says_so_and_nothing_else() -> None:
    off = open_config(config_file("run-1", {"gate": {"unsafe_accept_all": True}}))
    verdict = judge({}, None, GatePolicy(classes=2, unsafe_accept_all=True))
    logged = {name: getattr(verdict, name) for name in PASSED}
    check(logged, off)
    for changes in ({"passed": False}, {"p_value": 0.5}, {"worse": 1}, {"test": "overall"}):
        with pytest.raises(LogInconsistent, match="has the gate accept all"):
            check(logged | changes, off)
    with pytest.raises(LogInconsistent, match=r"0 voters, config\.json needs 3"):
        check(logged)


# ----------------------------------------------------------------------------------------------------- contradictions


def lost(worse: int, better: int = 0) -> dict[str, Any]:
    return {"worse": worse, "better": better, "p_value": sign_test(worse, better)}


@pytest.mark.parametrize(("changes", "why"), [
    ({"p_value": 0, "worse": 1000, "better": 0, "voters": 0}, "0 voters"),
    ({"p_value": 0, "worse": 500, "better": 0}, "records p = 0, worse on 500 and better on 0 give 3"),
    ({"p_value": 1}, "records p = 1, worse on 1 and better on 3 give 0.9375"),
    (lost(10), "passed at p = 0.0009765625, config.json refuses below 0.001"),
    ({"test": "class 1"}, "passed by 'class 1', expected the test over all classes"),
    ({"test": "own held-out data: overall"}, "passed by 'own held-out data: overall'"),
    ({"test": "unsafe-accept-all"}, "rests on 'unsafe-accept-all', which is no test of the gate"),
    ({"test": "non-finite outputs at 2 of 4 voters"}, "with another verdict than refused"),
    ({"test": "class 01"}, "which is no test of the gate"),
    ({"better": 2**53 - 1}, "the voters hold at most 400001"),
])  # fmt: skip
def test_a_candidate_cannot_pass_with(changes: dict[str, Any], why: str) -> None:
    check(PASSED)
    with pytest.raises(LogInconsistent, match=why.replace("(", r"\(")):
        check(PASSED | changes)


@pytest.mark.parametrize(("changes", "why"), [
    (lost(9), "refused by 'overall' at p = 0.001953125, which is not below 0.001"),
    ({"test": "class 1", **lost(10)}, "refused by 'class 1' at p = 0.0009765625, which is not below 0.0005"),
    ({"test": "own held-out data: overall", **lost(0, 9)}, "which is not below 0.001"),
    ({"test": "own held-out data: overall", **lost(100_002)}, "the voters hold at most 100001"),
    ({"test": "non-finite outputs at 5 of 4 voters", "p_value": 0, "worse": 0}, "with another verdict"),
    ({"test": "non-finite outputs at 2 of 3 voters", "p_value": 0, "worse": 0}, "with another verdict"),
    ({"test": "non-finite outputs at 2 of 4 voters"}, "with another verdict"),
    ({"test": "I did not like it"}, "which is no test of the gate"),
])  # fmt: skip
def test_a_candidate_cannot_be_refused_with(changes: dict[str, Any], why: str) -> None:
    check(REFUSED)
    with pytest.raises(LogInconsistent, match=why):
        check(REFUSED | changes)


def test_against_the_initial_model_no_test_of_one_class_refuses() -> None:
    decision = REFUSED | {"test": "class 1"}
    check(decision)
    with pytest.raises(LogInconsistent, match=r"not below 0\.0"):
        check(decision, untried=True)


# --------------------------------------------------------------------------------------------------------------- votes

VOTES = open_config(
    config_file(
        "run-1", {"gate": {"ballot": "votes"}, "federation": {"members": [f"m-{i}" for i in range(20)], "labels": {}}}
    )
)
VOTE_POLICY = GatePolicy(classes=2, f=1, ballot="votes")


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 5), st.sampled_from([0.01, 0.1, 1e-6]))
@settings(max_examples=100, deadline=None)
def test_the_chance_of_so_many_votes_is_scipys_binomial_tail(more: int, against: int, f: int, alpha: float) -> None:
    voters = f + more
    expected = float(binom.sf(against - f - 1, more, alpha))
    assert float(chance(against, voters, f, Fraction(repr(alpha)))) == pytest.approx(expected, rel=1e-8, abs=1e-290)


@pytest.mark.parametrize("alpha", [0.01, 0.1])
@pytest.mark.parametrize("significance", [0.001, 1e-6, 0.05])
@pytest.mark.parametrize("f", [0, 1, 3, 10])
def test_the_fewest_voters_are_those_of_the_gate_itself(f: int, alpha: float, significance: float) -> None:
    policy = GatePolicy(classes=2, f=f, ballot="votes", vote_significance=alpha, significance=significance)
    exact = Fraction(repr(alpha)), Fraction(repr(significance))
    expected = fewest_of_the_gate(policy)
    assert fewest_voters(f, *exact, members=1000) == expected
    assert fewest_voters(f, *exact, members=expected - 1) == expected  # one more than there are: nobody can vote


@given(st.lists(st.booleans(), min_size=6, max_size=15), st.none() | st.tuples(COUNTS, COUNTS))
@settings(max_examples=150, deadline=None)
def test_whatever_the_gate_decides_about_honest_votes_is_accepted(against: list[bool], own: Any) -> None:
    votes = {MemberId(f"m-{i}"): Vote(worse=worse, accuracy=10, finite=True) for i, worse in enumerate(against)}
    tally = None
    if own is not None:
        worse, better = zip(*own, strict=True)
        tally = Tally(worse=worse, better=better, right=(40, 40), total=(80, 80), finite=True)
    verdict = judge(votes, tally, VOTE_POLICY)
    logged = {name: getattr(verdict, name) for name in PASSED}
    check(json.loads(json.dumps(logged)), VOTES)


def voted(against: int, voters: int = 10, policy: GatePolicy = VOTE_POLICY) -> dict[str, Any]:
    """What the gate says of so many votes against."""
    names = [MemberId(f"m-{i}") for i in range(voters)]
    verdict = judge({n: Vote(i < against, 10, True) for i, n in enumerate(names)}, None, policy)
    return {name: getattr(verdict, name) for name in PASSED}


def test_two_more_votes_than_liars_are_chance_and_three_are_not() -> None:
    """P[Bin(9, 0.01) >= 2] is 0.0034 and P[Bin(9, 0.01) >= 3] is 0.00008: the agreed level 0.001 lies between."""
    for against in range(11):
        decision = voted(against)
        assert decision["passed"] == (against < 4)
        check(decision, VOTES)


@pytest.mark.parametrize(("against", "changes", "why"), [
    (3, {"passed": False}, "passed is False, config.json does not refuse at 3 of 10 votes against"),
    (4, {"passed": True}, "passed is True, config.json refuses at 4 of 10 votes against"),
    (4, {"worse": 3, "better": 7, "passed": True}, "records p = "),
    (4, {"worse": 3}, "3 votes against and 6 not, of 10 voters"),
    (0, {"p_value": 0.5}, "records p = 0.5, 0 of 10 votes against give 1.0"),
    (0, {"test": "overall"}, "rests on 'overall', config.json has the gate count votes"),
    (0, {"test": "own held-out data: overall", "p_value": 1.0, "worse": 0}, "passed by 'own held-out data: overall'"),
])  # fmt: skip
def test_a_decision_by_votes_cannot_say(against: int, changes: dict[str, Any], why: str) -> None:
    check(voted(against), VOTES)
    with pytest.raises(LogInconsistent, match=why):
        check(voted(against) | changes, VOTES)


def test_a_chance_of_exactly_the_significance_refuses() -> None:
    """One vote of one, at α = 0.1 and significance 0.1: equal as decimals, whatever float64 makes of them."""
    policy = GatePolicy(classes=2, f=0, ballot="votes", vote_significance=0.1, significance=0.1)
    gate = {"ballot": "votes", "f": 0, "vote_significance": 0.1, "significance": 0.1}
    decision = voted(1, 1, policy)
    assert not decision["passed"]
    check(decision, open_config(config_file("run-1", {"gate": gate})))


def test_a_gate_that_was_agreed_to_count_examples_cannot_count_votes() -> None:
    with pytest.raises(LogInconsistent, match="rests on 'votes', which is no test of the gate"):
        check(voted(0))


def test_fewer_votes_than_the_honest_need_to_refuse_are_no_decision() -> None:
    assert VOTES.min_voters == fewest_of_the_gate(VOTE_POLICY) > AGREED.min_voters
    few = VOTES.min_voters - 1
    with pytest.raises(LogInconsistent, match=f"{few} voters, config.json needs {VOTES.min_voters}"):
        check({**voted(0), "voters": few, "better": few}, VOTES)
