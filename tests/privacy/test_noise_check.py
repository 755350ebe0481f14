"""The test for noise accepts σ and rejects ⅔σ."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import chi2

from phalanx.entropy import gaussian
from tests.privacy.noise_check import check_noise

KEY = bytes(32)
CLEAR = np.random.default_rng(7).normal(size=(20, 50))


@pytest.mark.parametrize("trial", range(20))
def test_true_noise_passes_and_two_thirds_of_it_do_not(trial: int) -> None:
    noise = gaussian(KEY, f"trial {trial}", CLEAR.size).reshape(CLEAR.shape)
    assert check_noise(CLEAR, CLEAR + 0.3 * noise, 0.3).passed
    assert not check_noise(CLEAR, CLEAR + 0.2 * noise, 0.3).passed
    assert not check_noise(CLEAR, CLEAR + 0.45 * noise, 0.3).passed


def test_off_twin_noise_that_was_never_drawn_is_found() -> None:
    found = check_noise(CLEAR, CLEAR, 0.3)
    assert not found.passed and found.std_found == 0.0


def test_a_constant_of_the_right_size_is_not_noise() -> None:
    assert not check_noise(CLEAR, CLEAR + 0.3, 0.3).passed


def test_the_bounds_hold_against_the_exact_chi_squared_distribution() -> None:
    """How often true noise fails, and ⅔ of it passes, by scipy: both below what is promised."""
    for d in (400, 1000, 100_000):
        t = math.log(4 / 1e-3)
        low, high = d - 2 * math.sqrt(d * t), d + 2 * math.sqrt(d * t) + 2 * t
        assert chi2.cdf(low, d) + chi2.sf(high, d) <= 1e-3
        assert chi2.sf(low * 9 / 4, d) <= 1e-3


def test_an_array_too_short_to_tell_is_refused() -> None:
    with pytest.raises(ValueError, match="100 values are too few"):
        check_noise(np.zeros(100), np.ones(100), 1.0)


@pytest.mark.parametrize("std", [0.0, -1.0, math.nan])
def test_a_deviation_that_is_none_is_refused(std: float) -> None:
    with pytest.raises(ValueError, match="standard deviation"):
        check_noise(CLEAR, CLEAR, std)


def test_arrays_that_do_not_compare_are_refused() -> None:
    with pytest.raises(ValueError, match="non-finite"):
        check_noise(CLEAR, np.full(CLEAR.shape, math.nan), 1.0)
    with pytest.raises(ValueError, match="shape"):
        check_noise(CLEAR, np.zeros(1), 1.0)
