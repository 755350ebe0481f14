"""Each row of the table of what breaks Flower 1.42 (reference/flower.md 2.1): refused here, and working undefended.

Rows about clipping and noise under central privacy are in tests/venue/test_open_venue.py.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from phalanx.errors import QuorumError
from phalanx.types import Reason, Refusal
from tests.screening.honest import (
    ATTACKER,
    CLAIMED,
    INVITED,
    LAYOUT,
    OFF,
    POLICY,
    nine,
    screened,
    update,
    weighted_mean,
)


def reasons(refused: tuple[Refusal, ...]) -> dict[str, Reason]:
    return {refusal.member: refusal.reason for refusal in refused}


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_one_non_finite_update_is_quarantined_and_the_mean_and_median_stay_sound(poison: float) -> None:
    values = np.ones(LAYOUT.d)
    values[4] = poison
    cohort, report = screened([*nine(), update(ATTACKER, values)])
    assert reasons(report.refused) == {ATTACKER: Reason.NOT_FINITE}
    assert report.refused[0].detail == "first at element 4 of 9"
    assert report.accepted == INVITED[:9]
    assert np.allclose(weighted_mean(cohort), 1.0)
    assert np.allclose(np.median(cohort.rows, axis=0), 1.0)


def test_off_twin_one_nan_update_makes_mean_and_median_nan() -> None:
    cohort, _ = screened([*nine(), update(ATTACKER, math.nan)], OFF)
    assert np.isnan(weighted_mean(cohort)).all()
    assert np.isnan(np.median(cohort.rows, axis=0)).all()


def test_a_signalling_nan_is_quarantined_without_a_warning() -> None:
    payload = np.full(LAYOUT.d, 0x7F800001, dtype="<u4").tobytes()
    _, report = screened([*nine(), update(ATTACKER, payload=payload)])
    assert reasons(report.refused) == {ATTACKER: Reason.NOT_FINITE}
    cohort, _ = screened([*nine(), update(ATTACKER, payload=payload)], OFF)
    assert np.isnan(cohort.rows[9]).all()


def test_a_claim_of_1e12_examples_is_capped_and_listed_and_counts_at_most_the_cap() -> None:
    cohort, report = screened([*nine(), update(ATTACKER, 30.0, claim=10**12)], CLAIMED)
    assert report.capped_claims == (ATTACKER,)
    assert cohort.weights[9] == 0.2  # 1000 of 1090 before the weight cap
    assert np.allclose(cohort.weights[:9], 0.8 / 9)


def test_a_claim_counts_nothing_under_equal_weights() -> None:
    cohort, _ = screened([*nine(), update(ATTACKER, 30.0, claim=10**12)], POLICY)
    assert np.allclose(cohort.weights, 0.1)


def test_off_twin_a_claim_of_1e12_examples_gives_the_attackers_value() -> None:
    cohort, _ = screened([*nine(), update(ATTACKER, 500.0, claim=10**12)], OFF)
    assert np.allclose(weighted_mean(cohort), 500.0, rtol=1e-6)


@pytest.mark.parametrize("claim", [-89, 0])
def test_a_negative_or_zero_claim_is_quarantined(claim: int) -> None:
    cohort, report = screened([*nine(), update(ATTACKER, 20.0, claim=claim)], CLAIMED)
    assert reasons(report.refused) == {ATTACKER: Reason.BAD_CLAIM}
    assert np.allclose(weighted_mean(cohort), 1.0)


def test_off_twin_a_negative_claim_throws_the_mean_far_outside_all_updates() -> None:
    cohort, _ = screened([*nine(), update(ATTACKER, 500.0, claim=-89)], OFF)
    assert (weighted_mean(cohort) < -44_000).all()


def test_claims_that_sum_to_zero_refuse_members_and_not_the_coordinator() -> None:
    everybody = [update(member, claim=0) for member in INVITED]
    with pytest.raises(QuorumError, match=r"needs 5 sound updates, found 0 \(m0 bad-claim"):
        screened(everybody, CLAIMED)


def test_off_twin_claims_that_sum_to_zero_leave_no_mean_at_all() -> None:
    cohort, _ = screened([update(member, claim=0) for member in INVITED], OFF)
    assert np.isnan(weighted_mean(cohort)).all()


@pytest.mark.parametrize("first", [True, False])
def test_an_array_of_shape_1_is_quarantined_wherever_it_arrives(first: bool) -> None:
    honest_statement = update(ATTACKER, payload=np.float32(30.0).tobytes())
    says_so = update(ATTACKER, 30.0, tensors=[["weight", [1], "float32"], ["bias", [3], "float32"]])
    for bad, reason in ((honest_statement, Reason.WRONG_LENGTH), (says_so, Reason.WRONG_SHAPE)):
        cohort, report = screened([bad, *nine()] if first else [*nine(), bad])
        assert reasons(report.refused) == {ATTACKER: reason}
        assert np.allclose(weighted_mean(cohort), 1.0)


def test_off_twin_a_transposed_tensor_of_the_right_length_is_taken() -> None:
    transposed = [["weight", [3, 2], "float32"], ["bias", [3], "float32"]]
    bad = update(ATTACKER, tensors=transposed)
    assert reasons(screened([*nine(), bad])[1].refused) == {ATTACKER: Reason.WRONG_SHAPE}
    assert ATTACKER in screened([*nine(), bad], OFF)[1].accepted


def test_a_member_that_returns_the_model_unchanged_does_not_stop_the_round() -> None:
    cohort, report = screened([*nine(), update(ATTACKER, 0.0)])
    assert report.accepted == INVITED
    assert report.norms[ATTACKER] == 0.0
    assert np.allclose(weighted_mean(cohort), 0.9)


def test_an_update_past_the_norm_bound_is_quarantined() -> None:
    cohort, report = screened([*nine(), update(ATTACKER, 1e30)])
    assert reasons(report.refused) == {ATTACKER: Reason.NORM_TOO_LARGE}
    assert report.refused[0].detail == "longer than 100"
    assert np.allclose(weighted_mean(cohort), 1.0)


def test_off_twin_an_update_of_any_norm_takes_over_the_mean() -> None:
    cohort, _ = screened([*nine(), update(ATTACKER, 1e30)], OFF)
    assert (weighted_mean(cohort) > 1e28).all()
