"""Who counts in a round: hostile statements and claims, equivocation, order of arrival, quorum."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phalanx.errors import QuorumError
from phalanx.screening import ScreeningPolicy, screen
from phalanx.types import Layout, Reason, Refusal, TensorSpec, member_id
from tests.screening.honest import ATTACKER, CAPS, CLAIMED, INVITED, LAYOUT, OFF, POLICY, nine, screened, update

RIGHT = LAYOUT.as_json()
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("stated", "reason"),
    [
        ("weight", Reason.MALFORMED),
        ({"weight": [2, 3]}, Reason.MALFORMED),
        (7, Reason.MALFORMED),
        ([], Reason.WRONG_NAMES),
        (["weight", "bias"], Reason.MALFORMED),
        ([RIGHT[0]], Reason.WRONG_NAMES),
        ([RIGHT[1], RIGHT[0]], Reason.WRONG_NAMES),
        ([["Weight", [2, 3], "float32"], RIGHT[1]], Reason.WRONG_NAMES),
        ([[None, [2, 3], "float32"], RIGHT[1]], Reason.WRONG_NAMES),
        ([RIGHT[0], RIGHT[0]], Reason.WRONG_NAMES),
        ([["weight", [6], "float32"], RIGHT[1]], Reason.WRONG_SHAPE),
        ([["weight", [2.0, 3.0], "float32"], RIGHT[1]], Reason.WRONG_SHAPE),
        ([["weight", "23", "float32"], RIGHT[1]], Reason.WRONG_SHAPE),
        ([["weight", [2, -3], "float32"], RIGHT[1]], Reason.WRONG_SHAPE),
        ([["weight", [10**5000], "float32"], RIGHT[1]], Reason.WRONG_SHAPE),
        ([["weight", [2, 3], "float64"], RIGHT[1]], Reason.WRONG_DTYPE),
        ([["weight", [2, 3], ["float32"]], RIGHT[1]], Reason.WRONG_DTYPE),
        ([["weight", [2, 3], "object"], RIGHT[1]], Reason.WRONG_DTYPE),
    ],
)
def test_a_statement_of_other_tensors_is_quarantined_by_its_first_defect(stated: Any, reason: Reason) -> None:
    _, report = screened([*nine(), update(ATTACKER, tensors=stated)])
    assert [(one.member, one.reason) for one in report.refused] == [(ATTACKER, reason)]
    assert len(report.refused[0].detail) < 400


def test_true_is_not_a_dimension_of_one() -> None:
    layout = Layout((TensorSpec("scale", (1,), 0),))
    bad = update(INVITED[0], tensors=[["scale", [True], "float32"]], payload=bytes(4))
    with pytest.raises(QuorumError, match="m0 wrong-shape"):
        screen([bad], (), POLICY, layout, cohort_binding(), INVITED, CAPS)


def cohort_binding() -> Any:
    return screened(nine())[0].binding


@given(stated=_json)
def test_a_statement_of_any_json_becomes_a_refusal_and_no_exception(stated: Any) -> None:
    _, report = screened([*nine(), update(ATTACKER, tensors=[] if stated is None else stated)])
    assert report.accepted == INVITED[:9]


@given(payload=st.binary(max_size=80))
def test_bytes_of_any_length_become_a_row_or_a_refusal(payload: bytes) -> None:
    _, report = screened([*nine(), update(ATTACKER, payload=payload)])
    if len(payload) != LAYOUT.nbytes:
        assert [one.reason for one in report.refused] == [Reason.WRONG_LENGTH]


@pytest.mark.parametrize("claim", [True, "12", 12.0, math.nan, math.inf, None, [12], {}, -1, 0])
def test_a_claim_that_is_no_positive_integer_is_quarantined(claim: Any) -> None:
    _, report = screened([*nine(), update(ATTACKER, claim=claim)])
    assert [one.reason for one in report.refused] == [Reason.BAD_CLAIM]


@pytest.mark.parametrize("claim", [10**400, -(10**400), math.nan, True, "12", None])
def test_off_twin_any_claim_is_a_number_or_left_out_and_never_an_exception(claim: Any) -> None:
    screened([*nine(), update(ATTACKER, claim=claim)], OFF)


def test_a_claim_of_any_size_is_capped() -> None:
    _, report = screened([*nine(), update(ATTACKER, claim=10**5000)])
    assert report.capped_claims == (ATTACKER,)


def test_a_capped_claim_weighs_what_the_cap_allows() -> None:
    updates, free = [*nine(), update(ATTACKER, claim=10**12)], dict.fromkeys(INVITED, 1.0)
    cohort, _ = screen(updates, (), CLAIMED, LAYOUT, cohort_binding(), INVITED, free)
    assert cohort.weights[9] == pytest.approx(1000 / 1090)


def test_the_norm_bound_itself_is_allowed_and_anything_above_is_not() -> None:
    policy = ScreeningPolicy(max_norm=3.0, max_examples=10, min_rows=1)
    just_above = np.nextafter(np.float32(1), np.float32(2))
    _, report = screened([update(INVITED[0], 1.0), update(INVITED[1], just_above)], policy, cap=1.0)
    assert report.accepted == INVITED[:1] and report.norms[INVITED[0]] == 3.0
    assert Reason.NORM_TOO_LARGE in [one.reason for one in report.refused]


def test_different_updates_in_one_members_name_are_all_refused() -> None:
    two = [update(ATTACKER, 1.0, receipt="a"), update(ATTACKER, 30.0, receipt="b")]
    for updates in ([*nine(), *two], [*two[::-1], *nine()]):
        _, report = screened(updates)
        assert [(one.member, one.reason) for one in report.refused] == [(ATTACKER, Reason.DUPLICATE)]
        assert report.refused[0].detail == "2 different updates, expected one"


def test_off_twin_one_member_counts_as_often_as_it_likes() -> None:
    flood = [update(ATTACKER, 30.0, receipt=str(i)) for i in range(50)]
    cohort, _ = screened([*nine(), *flood], OFF)
    assert cohort.members.count(ATTACKER) == 50
    assert cohort.weights[9:].sum() > 0.8


def test_the_same_update_delivered_twice_counts_once() -> None:
    cohort, report = screened([*nine(), *nine()])
    assert cohort.members == INVITED[:9]
    assert [one.reason for one in report.refused] == [Reason.MISSING]


def test_a_sybil_that_was_not_invited_does_not_count() -> None:
    _, report = screened([*nine(), update(member_id("a-sybil"))])
    assert (report.refused[0].member, report.refused[0].reason) == ("a-sybil", Reason.UNKNOWN_MEMBER)
    assert report.accepted == INVITED[:9]


def test_an_invited_member_without_an_answer_is_missing() -> None:
    _, report = screened(nine())
    assert report.refused == (Refusal(ATTACKER, Reason.MISSING),)


def test_a_member_whose_answer_the_channel_refused_is_not_missing_too() -> None:
    declined = Refusal(ATTACKER, Reason.DECLINED, "floor")
    assert screened(nine(), refused=(declined,))[1].refused == (declined,)


def test_an_envelope_forged_in_a_members_name_does_not_cost_it_its_own_update() -> None:
    forged = Refusal(INVITED[0], Reason.BAD_SIGNATURE)
    _, report = screened(nine(), refused=(forged,))
    assert INVITED[0] in report.accepted
    assert forged in report.refused


def test_the_order_of_arrival_changes_nothing() -> None:
    updates = [*nine()[:4], update(ATTACKER, math.nan), update(INVITED[8], claim=-1)]
    policy = ScreeningPolicy(max_norm=100.0, max_examples=1000, min_rows=4)
    first, first_report = screened(updates, policy, cap=1.0)
    for order in itertools.islice(itertools.permutations(updates), 0, 720, 37):
        cohort, report = screened(list(order), policy, cap=1.0)
        assert cohort.rows.tobytes() == first.rows.tobytes()
        assert (cohort.members, report) == (first.members, first_report)


def test_rows_are_contiguous_float32_sorted_by_member_with_the_invited_as_denominator() -> None:
    cohort, report = screened(nine()[::-1])
    assert cohort.rows.dtype == np.float32 and cohort.rows.flags.c_contiguous and cohort.rows.shape == (9, 9)
    assert cohort.members == INVITED[:9] and cohort.invited == 10
    assert report.norms[INVITED[0]] == pytest.approx(0.96 * 3, rel=1e-7)  # float32 has 24 bits


def test_a_round_with_too_few_sound_updates_is_refused_with_found_and_expected() -> None:
    with pytest.raises(QuorumError, match=r"needs 5 sound updates, found 4 \(m4 missing, m5 missing"):
        screened(nine()[:4])


def test_a_round_without_any_answer_is_refused_even_with_screening_off() -> None:
    with pytest.raises(QuorumError, match="needs 1 sound updates, found 0"):
        screened([], OFF)


def test_a_norm_bound_that_is_nan_is_refused_when_it_is_set() -> None:
    for bound in (math.nan, math.inf, 0.0, -1.0):
        with pytest.raises(ValueError, match="max_norm"):
            ScreeningPolicy(max_norm=bound, max_examples=10, min_rows=1)


def test_a_member_without_a_cap_is_the_programmers_error() -> None:
    with pytest.raises(ValueError, match="no weight cap for m1, m2"):
        screen(
            nine(), (), POLICY, LAYOUT, cohort_binding(), INVITED, {m: 0.2 for m in INVITED if m not in ("m1", "m2")}
        )


@settings(max_examples=50)
@given(values=st.lists(st.floats(width=32), min_size=9, max_size=9))
def test_what_is_accepted_is_finite_and_within_the_norm_bound(values: list[float]) -> None:
    cohort, report = screened([*nine(), update(ATTACKER, values)])
    assert np.isfinite(cohort.rows).all()
    assert all(norm <= 100.0 for norm in report.norms.values())
