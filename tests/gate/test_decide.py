"""The gate's decision: honest candidates, broken ones, and voters that lie."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phalanx.errors import GateRefusal, QuorumError
from phalanx.gate import GatePolicy, approve, judge, p_value
from phalanx.types import Binding, Candidate, MemberId, Reason, Tally, Verdict, member_id

BINDING = Binding("clinics", "run-1", 3, 0, "ab" * 32, "cd" * 32, "0" * 32)
CANDIDATE = Candidate(np.zeros(3, dtype=np.float32), "ca" * 32, "ba" * 32, BINDING)
POLICY = GatePolicy(classes=3)
OVERALL = GatePolicy(classes=1, f=2, class_significance=0.0)


def tally(worse: Any, better: Any, total: Any = (200, 200, 200), *, right: Any = None, finite: Any = True) -> Tally:
    """The candidate has right what it won and nothing else, unless told otherwise."""
    return Tally(worse, better, better if right is None else right, total, finite)


def one(worse: int, better: int, total: int = 1000) -> Tally:
    return tally((worse,), (better,), (total,))


def named(ballots: list[Tally]) -> dict[MemberId, Tally]:
    return {member_id(f"m{i:02}"): ballot for i, ballot in enumerate(ballots)}


GOOD, BROKEN = one(20, 25), one(40, 10)
# ------------------------------------------------------------------------------------------------ honest voters


def test_a_candidate_that_is_better_is_approved() -> None:
    verdict = judge(named([tally((3, 4, 2), (10, 9, 8))] * 5), None, POLICY)
    assert verdict == Verdict(True, "overall", p_value(45, 135), 45, 135, 5)
    assert approve(CANDIDATE, verdict).candidate is CANDIDATE


def test_a_broken_candidate_is_refused_with_the_evidence() -> None:
    verdict = judge(named([tally((30, 40, 20), (0, 0, 0))] * 5), None, POLICY)
    assert not verdict.passed
    with pytest.raises(GateRefusal, match=r"worse on 450 and better on 0 held-out examples .* 5 voters"):
        approve(CANDIDATE, verdict)


def test_damage_to_one_class_hidden_by_gains_elsewhere_is_refused() -> None:
    verdict = judge(named([tally((9, 0, 0), (1, 30, 30))] * 5), None, POLICY)
    assert (verdict.passed, verdict.test, verdict.worse, verdict.better) == (False, "class 0", 45, 5)


@pytest.mark.parametrize(("worse", "passes"), [(11, True), (12, False)])
def test_class_tests_share_their_significance(worse: int, passes: bool) -> None:
    """2**-11 and 2**-12 lie on either side of 0.001 / 3."""
    assert judge(named([tally((worse, 0, 0), (0, 30, 30))]), None, POLICY).passed is passes


def test_off_twin_without_class_tests_damage_to_one_class_passes() -> None:
    policy = replace(POLICY, class_significance=0.0)
    assert judge(named([tally((9, 0, 0), (1, 30, 30))] * 5), None, policy).passed


def test_off_twin_with_the_gate_off_a_broken_candidate_is_approved() -> None:
    verdict = judge(named([tally((200, 200, 200), (0, 0, 0))] * 5), None, replace(POLICY, unsafe_accept_all=True))
    assert approve(CANDIDATE, verdict).verdict.test == "unsafe-accept-all"


def test_an_even_exchange_of_errors_is_no_reason_to_refuse() -> None:
    """As after most honest rounds: many examples change, as many lost as won."""
    assert judge(named([tally((12, 9, 11), (10, 11, 12))] * 5), None, POLICY).passed


def test_off_twin_a_fixed_threshold_refuses_a_large_share_of_candidates_that_are_no_worse() -> None:
    """600 held-out examples, a tenth of them change by fair coins; "no loss of more than half a point" against us."""
    rng = np.random.default_rng(3)
    worse = rng.binomial(60, 0.5, size=2000)
    threshold = np.mean(worse - (60 - worse) > 0.005 * 600)
    ours = np.mean([p_value(int(lost), 60 - int(lost)) < 0.001 for lost in worse])
    assert threshold > 0.25
    assert ours <= 0.003


def test_the_coordinators_own_data_is_a_test_of_its_own() -> None:
    good = named([tally((3, 4, 2), (10, 9, 8))] * 5)
    verdict = judge(good, tally((30, 0, 0), (0, 5, 5)), POLICY)
    assert (verdict.passed, verdict.test) == (False, "own held-out data: class 0")
    assert judge(good, tally((0, 0, 0), (0, 5, 5)), POLICY).passed


def test_no_ballots_no_approval() -> None:
    with pytest.raises(QuorumError, match=r"2f \+ 1 = 1 sound ballots, found 0"):
        judge({}, tally((0, 0, 0), (5, 5, 5)), POLICY)


def test_a_verdict_that_did_not_pass_never_becomes_an_approval() -> None:
    with pytest.raises(GateRefusal, match="did not pass"):
        approve(CANDIDATE, Verdict(False, "overall", 0.5, 1, 1, 1))


# ---------------------------------------------------------------------------------------------- ballots that lie


@pytest.mark.parametrize(
    "ballot",
    [
        tally((1, 1), (1, 1), (9, 9)),
        tally((1, 1, 1, 1), (0, 0, 0, 0), (9, 9, 9, 9)),
        tally((1, 1, 1), (0, 0, 0), (9, 9)),
        tally((-1, 0, 0), (0, 0, 0)),
        tally((1.0, 0, 0), (0, 0, 0)),
        tally((True, 0, 0), (0, 0, 0)),
        tally(("1", 0, 0), (0, 0, 0)),
        tally(None, (0, 0, 0)),
        tally("100", (0, 0, 0)),
        tally({0: 1, 1: 1, 2: 1}, (0, 0, 0)),
        tally((150, 0, 0), (51, 0, 0)),
        tally((0, 0, 0), (0, 0, 0), right=(1, 1)),
        tally((0, 0, 0), (0, 0, 0), right=(1, 1.0, 1)),
        tally((0, 0, 0), (0, 0, 0), right=(201, 0, 0)),
        tally((0, 0, 0), (9, 0, 0), right=(8, 0, 0)),
        tally((9, 0, 0), (0, 0, 0), right=(192, 0, 0)),
        tally((0, 0, 0), (0, 0, 0), (100_000, 1, 0)),
        tally((0, 0, 0), (0, 0, 0), (10**5000, 0, 0)),
        tally((0, 0, 0), (0, 0, 0), finite=1),
        tally((0, 0, 0), (0, 0, 0), finite="yes"),
    ],
)
def test_a_ballot_that_cannot_be_true_is_quarantined_and_the_vote_goes_on(ballot: Tally) -> None:
    verdict = judge({**named([tally((3, 4, 2), (10, 9, 8))] * 4), member_id("liar"): ballot}, None, POLICY)
    assert [(bad.member, bad.reason) for bad in verdict.refused] == [("liar", Reason.BAD_BALLOT)]
    assert verdict.passed and verdict.voters == 4


def test_an_own_tally_that_cannot_be_true_is_the_programmers_error() -> None:
    with pytest.raises(ValueError, match="own tally: more examples changed"):
        judge(named([tally((0, 0, 0), (1, 1, 1))]), tally((300, 0, 0), (0, 0, 0)), POLICY)


def test_too_few_sound_ballots_for_the_liars_tolerated_is_no_quorum() -> None:
    with pytest.raises(QuorumError, match=r"2f \+ 1 = 5 sound ballots, found 4 \(1 refused\)"):
        judge(named([GOOD] * 4 + [one(-1, 0)]), None, OVERALL)


def test_f_voters_that_cry_non_finite_are_not_believed_and_f_plus_1_are() -> None:
    cry = replace(GOOD, finite=False)
    assert judge(named([GOOD] * 5 + [cry] * 2), None, OVERALL).passed
    verdict = judge(named([GOOD] * 4 + [cry] * 3), None, OVERALL)
    assert (verdict.passed, verdict.test) == (False, "non-finite outputs at 3 of 7 voters")


def test_non_finite_outputs_on_the_coordinators_own_data_refuse() -> None:
    assert not judge(named([GOOD] * 7), replace(GOOD, finite=False), OVERALL).passed


_ballot = st.tuples(st.integers(0, 500), st.integers(0, 500)).map(lambda pair: one(*pair))


def _lead(ballot: Tally) -> int:
    return ballot.worse[0] - ballot.better[0]


def _changed(ballot: Tally) -> int:
    return ballot.worse[0] + ballot.better[0]


@settings(max_examples=300)
@given(honest=st.lists(_ballot, min_size=3, max_size=9), lies=st.lists(_ballot, max_size=2))
def test_whatever_f_liars_say_the_verdict_stays_between_honest_voters_values(
    honest: list[Tally], lies: list[Tally]
) -> None:
    n, f = len(honest) + len(lies), len(lies)
    if n < 2 * f + 1:
        return
    verdict = judge(named(honest + lies), None, replace(OVERALL, f=f))
    leads, changed = sorted(map(_lead, honest)), sorted(map(_changed, honest))
    keep = n - 2 * f
    assert sum(leads[:keep]) <= verdict.worse - verdict.better <= sum(leads[-keep:])
    assert sum(changed[:keep]) <= verdict.worse + verdict.better
    assert verdict.worse + verdict.better <= sum(changed[-keep:]) + 1
    assert verdict.worse >= 0 and verdict.better >= 0


@settings(max_examples=200)
@given(lies=st.lists(_ballot, max_size=2))
def test_two_liars_of_seven_neither_pass_a_broken_model_nor_refuse_a_good_one(lies: list[Tally]) -> None:
    honest = 7 - len(lies)
    assert judge(named([GOOD] * honest + lies), None, OVERALL).passed
    assert not judge(named([BROKEN] * honest + lies), None, OVERALL).passed


@pytest.mark.parametrize("lie", [one(0, 1000), one(500, 500), one(0, 0), one(1000, 0)])
def test_the_liars_best_ballots_do_not_pass_a_broken_model_nor_refuse_a_good_one(lie: Tally) -> None:
    assert judge(named([GOOD] * 5 + [lie] * 2), None, OVERALL).passed
    assert not judge(named([BROKEN] * 5 + [lie] * 2), None, OVERALL).passed


def test_off_twin_with_f_0_one_liar_passes_a_broken_model_or_refuses_a_good_one() -> None:
    believing = replace(OVERALL, f=0)
    assert judge(named([BROKEN] * 6 + [one(0, 1000)]), None, believing).passed
    assert not judge(named([GOOD] * 6 + [one(1000, 0)]), None, believing).passed


def test_the_limit_f_plus_1_liars_of_2f_plus_1_decide() -> None:
    assert judge(named([BROKEN] * 2 + [one(0, 1000)] * 3), None, OVERALL).passed
    assert not judge(named([GOOD] * 2 + [one(1000, 0)] * 3), None, OVERALL).passed


def test_off_twin_dropping_whole_ballots_lets_one_liar_drown_the_others() -> None:
    """Why lead and number of changed examples are trimmed apart: a middling lead amid very many changes."""
    liar = one(50_030, 50_000, 100_030)
    ballots = [BROKEN] * 3 + [one(50, 10)] * 2 + [one(30, 10)] * 2 + [liar]
    whole = sorted(ballots, key=_lead)[2:-2]
    assert p_value(sum(b.worse[0] for b in whole), sum(b.better[0] for b in whole)) > 0.3
    policy = replace(OVERALL, max_held_out=1_000_000)
    assert not judge(named(ballots), None, policy).passed


def test_what_tolerating_liars_costs_damage_at_f_voters_only_passes() -> None:
    assert judge(named([one(500, 0)] * 2 + [one(5, 5)] * 6), None, OVERALL).passed
    assert not judge(named([one(500, 0)] * 3 + [one(5, 5)] * 6), None, OVERALL).passed


def test_trimming_does_not_refuse_candidates_that_are_no_worse_more_often() -> None:
    """2000 rounds, ten voters with 5 to 200 changed examples each, fair coins. At 0.001, two refusals are expected."""
    rng = np.random.default_rng(5)
    refused = 0
    for _ in range(2000):
        changed = rng.integers(5, 200, size=10)
        worse = rng.binomial(changed, 0.5)
        ballots = [one(int(w), int(m - w)) for w, m in zip(worse, changed, strict=True)]
        refused += not judge(named(ballots), None, OVERALL).passed
    assert refused <= 9  # more than 9 of Poisson(2) has a probability of 5e-5


@pytest.mark.parametrize(
    "bad",
    [
        {"classes": 0},
        {"f": -1},
        {"significance": 0.0},
        {"significance": 1.0},
        {"class_significance": -0.1},
        {"max_held_out": 0},
        {"ballot": "shares"},
        {"vote_significance": 0.0},
        {"vote_significance": 0.2},
        {"vote_significance": math.nan},
        {"accuracy_buckets": 0},
    ],
)
def test_a_policy_that_decides_nothing_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="got GatePolicy"):
        GatePolicy(**{"classes": 3, **bad})
