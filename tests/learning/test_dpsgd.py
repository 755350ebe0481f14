"""The private mean: one example moves it by no more than its clip, and its noise has the σ that was charged for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from scipy.stats import chi2

from phalanx.learning import private_mean
from phalanx.learning.dpsgd import clipped_sum
from phalanx.types import F32, F64, ExamplePrivacy

PRIVACY = ExamplePrivacy(clip_l2=0.5, noise_multiplier=3.8, normaliser=100, epsilon=8.0, delta=1e-5)
KEY = b"k" * 32


def rows_with(outlier: float) -> F32:
    rows = np.random.default_rng(1).normal(size=(50, 20)).astype(np.float32) * np.float32(0.01)
    rows[7] = outlier
    return rows


ANY_FLOAT = st.floats(width=32, allow_nan=True, allow_infinity=True)


@given(
    arrays_of.arrays(np.float32, (4, 6), elements=ANY_FLOAT), arrays_of.arrays(np.float32, (1, 6), elements=ANY_FLOAT)
)
def test_no_example_whatever_moves_the_sum_by_more_than_the_clip(rows: F32, one_more: F32) -> None:
    difference = clipped_sum(np.concatenate([rows, one_more]), 0.5) - clipped_sum(rows, 0.5)
    assert np.linalg.norm(difference) <= 0.5 * (1 + 1e-12)  # float64 rounding of sums of at most 5 · 0.5


def test_without_the_clip_an_outlier_moves_the_sum_by_more() -> None:
    rows = rows_with(outlier=1e6)
    without = np.delete(rows, 7, axis=0)
    assert np.linalg.norm(clipped_sum(rows, 0.5) - clipped_sum(without, 0.5)) <= 0.5 * (1 + 1e-12)
    assert np.linalg.norm(rows.sum(0) - without.sum(0)) > 1e6


def test_rows_within_the_clip_are_summed_as_they_are() -> None:
    rows = rows_with(outlier=0.01)
    assert np.allclose(clipped_sum(rows, 0.5), rows.sum(0, dtype=np.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_non_finite_example_counts_as_zero_and_leaves_the_others(bad: float) -> None:
    rows = rows_with(outlier=bad)
    expected = np.delete(rows, 7, axis=0).sum(0, dtype=np.float64)
    assert np.allclose(clipped_sum(rows, 0.5), expected, rtol=0, atol=1e-12)


def normalised(noised: F32, privacy: ExamplePrivacy) -> F64:
    """What is standard normal if the noise has the σ and the scale that it should have."""
    zeros_sum_noise = noised.astype(np.float64) * privacy.normaliser
    return zeros_sum_noise / (privacy.noise_multiplier * privacy.clip_l2)


def test_the_noise_has_the_sigma_that_was_asked_for_and_not_two_thirds_of_it() -> None:
    d = 20_000
    low, high = chi2.ppf([5e-4, 1 - 5e-4], d)

    def in_range(privacy: ExamplePrivacy) -> bool:
        noised = private_mean(np.zeros((3, d), np.float32), privacy, KEY, round=0)
        return bool(low < (normalised(noised, PRIVACY) ** 2).sum() < high)

    assert in_range(PRIVACY)
    assert not in_range(replace(PRIVACY, noise_multiplier=PRIVACY.noise_multiplier * 2 / 3))


def test_the_result_is_the_clipped_sum_over_the_public_normaliser_not_over_the_members_own_count() -> None:
    rows = rows_with(outlier=0.01)
    noise = private_mean(np.zeros_like(rows), PRIVACY, KEY, round=0)
    both = private_mean(rows, PRIVACY, KEY, round=0)
    fewer = private_mean(rows[:-1], PRIVACY, KEY, round=0)
    assert np.allclose(both - noise, rows.sum(0) / 100, atol=1e-7)  # float32 rounding of noise around 0.02
    assert np.allclose(both - fewer, rows[-1] / 100, atol=1e-7)


def test_noise_depends_on_key_and_round_and_on_nothing_else() -> None:
    rows = rows_with(outlier=1.0)
    first = private_mean(rows, PRIVACY, KEY, round=0)
    assert (private_mean(rows, PRIVACY, KEY, round=0) == first).all()
    for other in (private_mean(rows, PRIVACY, KEY, round=1), private_mean(rows, PRIVACY, b"l" * 32, round=0)):
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.7
        assert not (other == first).any()


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (replace(PRIVACY, clip_l2=0.0), "clip_l2"),
        (replace(PRIVACY, clip_l2=float("nan")), "clip_l2"),
        (replace(PRIVACY, clip_l2=float("inf")), "clip_l2"),
        (replace(PRIVACY, noise_multiplier=0.0), "noise_multiplier"),
        (replace(PRIVACY, noise_multiplier=-1.0), "noise_multiplier"),
        (replace(PRIVACY, noise_multiplier=float("nan")), "noise_multiplier"),
        (replace(PRIVACY, normaliser=0), "normaliser"),
    ],
)
def test_settings_that_protect_nothing_are_refused(settings: ExamplePrivacy, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        private_mean(rows_with(1.0), settings, KEY, round=0)


def test_an_empty_noise_key_is_refused() -> None:
    with pytest.raises(ValueError, match="needs at least 32 bytes, got 0"):
        private_mean(rows_with(1.0), PRIVACY, b"", round=0)
