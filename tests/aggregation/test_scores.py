"""Scores for monitoring: signs, prediction errors over rounds, and their cumulative sums."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phalanx.aggregation.cusum import CEILING, cusum
from phalanx.aggregation.prediction_error import WINDOW, Past, hessian_times, observe
from phalanx.aggregation.sign_statistics import (
    direction_alignment,
    median_z_scores,
    sign_alignment,
    sign_fractions,
)
from phalanx.types import F32, F64, MemberId

MEMBERS = [MemberId(f"m{i}") for i in range(10)]

# --------------------------------------------------------------------------------------------------------------- signs


def test_sign_fractions_by_hand() -> None:
    rows = np.array([[1, 2, -3, 0], [0, 0, 0, 0], [-1, -1, -1, -1]], dtype=np.float32)
    assert sign_fractions(rows).tolist() == [[0.5, 0.25, 0.25], [0, 1, 0], [0, 0, 1]]


def test_sign_alignment_by_hand() -> None:
    rows = np.array([[5, 1, 1, 1], [4, 2, 1, -1], [-9, 8, 1, 1]], dtype=np.float32)
    # Most rows are positive everywhere. Of the two largest values: both agree; both agree; one of two.
    assert sign_alignment(rows, 0.5).tolist() == [1.0, 1.0, 0.5]


def test_direction_alignment_and_its_median_z_scores_by_hand() -> None:
    rows = np.array([[2, 0], [0, 3], [-1, 0], [0, 0]], dtype=np.float32)
    cosines = direction_alignment(rows, np.array([5, 0], dtype=np.float32))
    assert cosines.tolist() == [1, 0, -1, 0]
    assert np.allclose(median_z_scores(cosines), np.abs(cosines) / np.std([1, 0, -1, 0]))
    assert median_z_scores(np.ones(4)).tolist() == [0, 0, 0, 0]
    assert direction_alignment(rows, np.zeros(2, dtype=np.float32)).tolist() == [0, 0, 0, 0]


def test_signs_show_a_flip_that_no_distance_shows() -> None:
    """In many dimensions a row flipped at 40 % of its coordinates is as long as before, and hardly farther away."""
    rng = np.random.default_rng(0)
    honest = (0.05 + 0.3 * rng.normal(size=(10, 20_000))).astype(np.float32)
    rows = honest.copy()
    rows[9] = np.where(rng.random(20_000) < 0.4, -np.abs(honest[9]), honest[9])
    distances = np.linalg.norm(rows[:, None, :2000] - rows[None, :, :2000], axis=2).sum(axis=1)
    assert distances[9] < 1.05 * np.median(distances)
    assert sign_fractions(rows)[9, 2] > 1.15 * sign_fractions(rows)[:9, 2].max()
    assert np.argmin(sign_alignment(rows)) == 9


@pytest.mark.parametrize("share", [0.0, -1.0, 1.1, np.nan])
def test_a_share_of_nothing_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share must be in"):
        sign_alignment(np.ones((2, 4), dtype=np.float32), share)


# --------------------------------------------------------------------------------------------------- prediction errors


def dense_bfgs(S: F64, Y: F64) -> F64:
    """What BFGS updates give, one after the other, from sigma times the identity: an independent reference."""
    sigma = (S[-1] @ Y[-1]) / (S[-1] @ S[-1])
    B = sigma * np.eye(S.shape[1])
    for s, y in zip(S, Y, strict=True):
        B = B - np.outer(B @ s, B @ s) / (s @ B @ s) + np.outer(y, y) / (y @ s)
    return np.asarray(B)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(k=st.integers(1, 6), d=st.integers(7, 20), seed=st.integers(0, 2**32))
def test_the_compact_form_equals_bfgs_updates_one_by_one(k: int, d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(d, d))
    H = root @ root.T / d + np.eye(d)
    S = rng.normal(size=(k, d))
    v = rng.normal(size=d)
    assert np.allclose(hessian_times(S, S @ H, v), dense_bfgs(S, S @ H) @ v, rtol=1e-7, atol=1e-8)


def test_pairs_without_curvature_are_left_out() -> None:
    S, Y = np.eye(3), -np.eye(3)
    assert hessian_times(S, Y, np.ones(3)).tolist() == [0, 0, 0]
    assert np.allclose(hessian_times(np.vstack([S, S[0]]), np.vstack([Y, 2 * S[0]]), S[0]), 2 * S[0])


def training(hostile: int, rounds: int = 25, d: int = 30) -> Past:
    """Quadratic losses, each member its own minimum; the last `hostile` members make their updates up."""
    rng = np.random.default_rng(4)
    root = rng.normal(size=(d, d))
    H = root @ root.T / d + 0.5 * np.eye(d)
    minima = rng.normal(size=(len(MEMBERS), d))
    w = np.full(d, 3.0)
    past = Past()
    for _ in range(rounds):
        rows = (w - minima) @ H + 0.01 * rng.normal(size=minima.shape)
        typical = np.linalg.norm(rows, axis=1).mean()
        for i in range(len(MEMBERS) - hostile, len(MEMBERS)):
            made_up = rng.normal(size=d)
            rows[i] = made_up / np.linalg.norm(made_up) * typical  # as long as an honest one
        rows = rows.astype(np.float32)
        mean = rows[: len(MEMBERS) - hostile].mean(axis=0)
        past = observe(past, w.astype(np.float32), dict(zip(MEMBERS, rows, strict=True)), mean)
        w = w - 0.1 * mean
    return past


def test_members_that_make_their_updates_up_are_predicted_worst() -> None:
    scores = training(hostile=2).scores
    ranked = sorted(scores, key=lambda member: scores[member])
    assert set(ranked[-2:]) == set(MEMBERS[-2:])
    assert min(scores[member] for member in MEMBERS[-2:]) > 3 * max(scores[member] for member in MEMBERS[:-2])


def test_honest_members_are_all_predicted_alike() -> None:
    scores = training(hostile=0).scores
    assert max(scores.values()) < 2 / len(MEMBERS)
    assert sum(scores.values()) == pytest.approx(1.0)


def test_the_past_is_bounded_and_who_was_away_gets_no_error() -> None:
    past = training(hostile=0)
    assert len(past.models) == len(past.aggregates) == WINDOW + 1
    assert len(past.errors) == WINDOW
    row: F32 = np.ones(30, dtype=np.float32)
    after = observe(past, row, {MEMBERS[0]: row, MemberId("new"): row}, row)
    assert set(after.errors[-1]) == {MEMBERS[0]}
    assert observe(Past(), row, {MEMBERS[0]: row}, row).scores == {}


# -------------------------------------------------------------------------------------------------------------- CUSUM


def test_cusum_by_hand() -> None:
    scores = dict(zip(MEMBERS[:5], [1.0, 2.0, 3.0, 4.0, 5.0], strict=True))
    # Median 3, median absolute deviation 1, one deviation 1.4826.
    after = cusum({MEMBERS[4]: 0.25}, scores)
    assert after[MEMBERS[4]] == pytest.approx(0.25 + 2 / 1.4826 - 0.5)
    assert after[MEMBERS[3]] == pytest.approx(1 / 1.4826 - 0.5)
    assert [after[member] for member in MEMBERS[:3]] == [0, 0, 0]


def test_a_small_excess_shows_after_rounds_and_ordinary_noise_does_not() -> None:
    rng = np.random.default_rng(1)
    sums: dict[MemberId, float] = {}
    highest = 0.0
    for _ in range(100):
        scores = dict(zip(MEMBERS, rng.normal(size=10), strict=True))
        scores[MEMBERS[9]] += 1.5  # within what one round may show by chance
        sums = cusum(sums, scores)
        highest = max(highest, max(sums[member] for member in MEMBERS[:9]))
    assert sums[MEMBERS[9]] > 50
    assert highest < sums[MEMBERS[9]] / 3


def test_one_huge_score_adds_no_more_than_the_ceiling_and_moves_no_unit() -> None:
    scores = {member: float(i) for i, member in enumerate(MEMBERS)}
    usual = cusum({}, scores)
    after = cusum({}, scores | {MEMBERS[9]: 1e300})
    assert after[MEMBERS[9]] == CEILING - 0.5
    assert all(after[member] == usual[member] for member in MEMBERS[:9])


def test_equal_scores_raise_no_sum_and_the_absent_keep_theirs() -> None:
    assert cusum({MEMBERS[1]: 4.0}, {MEMBERS[0]: 1.0, MEMBERS[2]: 1.0}) == {
        MEMBERS[1]: 4.0,
        MEMBERS[0]: 0,
        MEMBERS[2]: 0,
    }
    assert cusum({MEMBERS[1]: 4.0}, {}) == {MEMBERS[1]: 4.0}


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        cusum({}, {MEMBERS[0]: float("nan")})
    with pytest.raises(ValueError, match="slack"):
        cusum({}, {MEMBERS[0]: 1.0}, slack=-1.0)
