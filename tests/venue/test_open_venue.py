"""The open venue: equal weights over a fixed denominator under central noise, and the Flower table's rows about it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from phalanx.errors import PolicyError, SensitivityUnknown
from phalanx.privacy import central_noise
from phalanx.rules import Chain, Krum, Mean, NormClip
from phalanx.types import F32, F64, AggregationReport, Binding, Cohort, MemberPrivacy, member_id
from phalanx.venue import Noise, aggregate
from tests.privacy.noise_check import check_noise

D = 4000
CLIP = 0.1
RULE = NormClip(CLIP) >> Mean()
BINDING = Binding("clinics", "run-1", 3, 0, "ab" * 32, "cd" * 32, "0" * 32)
KEY = bytes(range(32))


def combine(rows: F32, rule: Chain, weights: F64 | None) -> tuple[F32, AggregationReport]:
    """A reference for `norm-clip >> mean`, by the definition."""
    share = np.full(len(rows), 1 / len(rows)) if weights is None else weights
    norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    scale = np.array([1.0 if norm <= CLIP else CLIP / norm for norm in norms])
    vector = ((share * scale) @ rows.astype(np.float64)).astype(np.float32)
    return vector, AggregationReport(str(rule), share * scale, norms, rule.l2_sensitivity(len(rows)))


def cohort(rows: F32, *, invited: int = 10, weights: F64 | None = None) -> Cohort:
    n = len(rows)
    share = np.full(n, 1 / n) if weights is None else weights
    return Cohort(tuple(member_id(f"m{i}") for i in range(n)), rows, share, invited, BINDING)


def honest(n: int) -> F32:
    return np.random.default_rng(1).normal(size=(n, D)).astype(np.float32)


def noise(invited: int = 10, noise_multiplier: float = 0.7) -> Noise:
    chosen = central_noise(RULE, invited, MemberPrivacy(noise_multiplier, 8.0, 1e-5))
    return Noise(chosen.std, chosen.noise_multiplier, KEY)


def test_without_noise_the_aggregate_is_the_rules_over_the_cohorts_weights() -> None:
    weights = np.array([0.5, 0.3, 0.2])
    out = aggregate(cohort(honest(3), weights=weights), RULE, combine, None)
    vector, report = combine(honest(3), RULE, weights)
    assert out.vector.tobytes() == vector.tobytes()
    assert out.report.weights.tolist() == report.weights.tolist()
    assert out.noise_multiplier is None and out.binding == BINDING


def test_with_noise_the_denominator_is_the_invited_and_not_those_who_answered() -> None:
    rows = honest(6)
    quiet = replace(noise(), std=1e-12, noise_multiplier=1e-10)
    out = aggregate(cohort(rows), RULE, combine, quiet)
    expected = sum(row.astype(np.float64) * CLIP / np.linalg.norm(row.astype(np.float64)) for row in rows) / 10
    assert np.allclose(out.vector, expected, atol=1e-9)  # 24 bits of values near 1e-3
    assert out.report.weights.tolist() == [0.1] * 6
    assert out.report.l2_sensitivity == CLIP / 10


def test_one_member_moves_the_noised_aggregate_by_at_most_the_sensitivity_whatever_it_claims() -> None:
    rows, weights = honest(10), np.array([1.0] * 9 + [1e9]) / (1e9 + 9)
    rows[9] *= 1e6
    full = aggregate(cohort(rows, weights=weights), RULE, combine, noise())
    without = aggregate(cohort(rows[:9]), RULE, combine, noise())
    moved = np.linalg.norm(full.vector.astype(np.float64) - without.vector.astype(np.float64))
    assert moved <= CLIP / 10 * (1 + 1e-3)  # the noise is rounded to float32


def test_off_twin_a_claimed_weight_of_1e9_moves_the_aggregate_by_the_whole_clip() -> None:
    rows, weights = honest(10), np.array([1.0] * 9 + [1e9]) / (1e9 + 9)
    full = aggregate(cohort(rows, weights=weights), RULE, combine, None)
    without = aggregate(cohort(rows[:9]), RULE, combine, None)
    assert np.linalg.norm(full.vector - without.vector) > 0.9 * CLIP


def test_the_noise_added_is_the_noise_promised_and_not_two_thirds_of_it() -> None:
    rows, chosen = honest(10), noise()
    out = aggregate(cohort(rows), RULE, combine, chosen)
    clear, _ = combine(rows, RULE, None)
    assert check_noise(clear, out.vector, chosen.std).passed
    assert not check_noise(clear, out.vector, chosen.std * 1.5).passed


def test_off_twin_without_noise_the_aggregate_is_the_members_mean_itself() -> None:
    rows = honest(10)
    assert aggregate(cohort(rows), RULE, combine, None).vector.tobytes() == combine(rows, RULE, None)[0].tobytes()


def test_the_report_of_a_noised_aggregate_tells_nothing_of_the_rows() -> None:
    loud = honest(10)
    loud[3] *= 1000
    reports = [aggregate(cohort(rows), RULE, combine, noise()).report for rows in (honest(10), loud)]
    assert reports[0].weights.tolist() == reports[1].weights.tolist()
    assert reports[0].scores is None


def test_one_key_used_in_two_rounds_still_gives_different_noise() -> None:
    rows = np.zeros((10, D), dtype=np.float32)
    first = aggregate(cohort(rows), RULE, combine, noise())
    again = aggregate(cohort(rows), RULE, combine, noise())
    later = aggregate(replace(cohort(rows), binding=replace(BINDING, attempt=1)), RULE, combine, noise())
    assert first.vector.tobytes() == again.vector.tobytes()
    assert not np.isclose(first.vector, later.vector).all()


def test_noise_for_a_rule_of_unknown_sensitivity_is_refused() -> None:
    with pytest.raises(SensitivityUnknown, match="krum"):
        aggregate(cohort(honest(10)), Chain((), Krum(f=2)), combine, noise())


@pytest.mark.parametrize("std", [0.0, math.nan, -1.0, 0.7 * CLIP / 10 * (2 / 3)])
def test_noise_that_does_not_cover_the_sensitivity_is_refused(std: float) -> None:
    with pytest.raises(PolicyError, match="less than noise multiplier"):
        aggregate(cohort(honest(10)), RULE, combine, replace(noise(), std=std))


def test_noise_calibrated_to_more_members_than_were_invited_is_refused() -> None:
    with pytest.raises(PolicyError):
        aggregate(cohort(honest(10)), RULE, combine, noise(invited=1000))


def test_the_noise_key_is_not_in_the_repr() -> None:
    assert repr(KEY) not in repr(noise()) and "key" not in repr(noise())


# ------------------------------------------------------------------------------------------------------ secret cohorts


def secret(rows: F32) -> Cohort:
    """A cohort of which nobody knows the size: 5 members on average."""
    return replace(cohort(rows, invited=len(rows), weights=np.full(len(rows), 1 / 5)), expected=5.0)


def still() -> Noise:
    """Noise that is too small to see."""
    return Noise(1e-12, 1e-11, KEY)


def axis(*signs: int) -> F32:
    """Rows of length CLIP along the first axis."""
    rows = np.zeros((len(signs), D), np.float32)
    rows[:, 0] = np.array(signs, np.float32) * CLIP
    return rows


@pytest.mark.parametrize("others", [axis(), axis(1), axis(1, -1, 1, 1), axis(*[1] * 9)], ids=len)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_member_of_a_secret_cohort_moves_the_sum_by_clip_over_the_expected_size(others: F32, sign: int) -> None:
    without = aggregate(secret(others), RULE, combine, still()).vector.astype(np.float64)
    present = aggregate(secret(np.concatenate([axis(sign), others])), RULE, combine, still())
    assert present.report.l2_sensitivity == CLIP / 5
    moved = np.linalg.norm(present.vector.astype(np.float64) - without)
    assert moved == pytest.approx(CLIP / 5, rel=1e-5)  # float32


def test_off_twin_over_the_size_of_the_cohort_one_member_moves_the_mean_by_more() -> None:
    """One among one: what it moves is five times what the noise is made for."""
    alone, _ = combine(axis(1), RULE, None)
    both, _ = combine(axis(1, -1), RULE, None)
    assert np.linalg.norm(both - alone) == pytest.approx(CLIP)
    assert np.linalg.norm(both - alone) > 4.9 * CLIP / 5


def test_the_sum_of_an_empty_secret_cohort_is_noise_alone() -> None:
    chosen = central_noise(RULE, 5.0, MemberPrivacy(0.7, 8.0, 1e-5))
    out = aggregate(secret(axis()), RULE, combine, Noise(chosen.std, 0.7, KEY))
    assert check_noise(np.zeros(D), out.vector, 0.7 * CLIP / 5).passed
    assert out.report.weights.tolist() == [] and out.report.l2_sensitivity == CLIP / 5


def test_noise_for_everybody_is_too_little_for_a_secret_cohort() -> None:
    with pytest.raises(PolicyError, match="less than noise multiplier"):
        aggregate(secret(axis(1)), RULE, combine, noise(invited=10))
