"""The exact sign test against scipy's binomial distribution, and what it is blind to."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from phalanx.gate import BLIND_SPOTS, detectable_drop, p_value


@pytest.mark.parametrize(
    ("worse", "better", "expected"),  # exact fractions
    [(0, 0, 1.0), (1, 0, 1 / 2), (0, 1, 1.0), (1, 1, 3 / 4), (2, 0, 1 / 4), (10, 0, 1 / 1024), (3, 1, 5 / 16)],
)
def test_small_cases_are_exact(worse: int, better: int, expected: float) -> None:
    assert p_value(worse, better) == expected


@given(worse=st.integers(0, 20_000), better=st.integers(0, 20_000))
def test_p_values_are_scipys(worse: int, better: int) -> None:
    expected = binom.sf(worse - 1, worse + better, 0.5)
    assert math.isclose(p_value(worse, better), expected, rel_tol=1e-9, abs_tol=1e-300)  # scipy's own accuracy


@given(worse=st.integers(0, 400), better=st.integers(0, 400))
def test_p_values_are_exact_sums_of_binomial_coefficients(worse: int, better: int) -> None:
    n = worse + better
    exact = sum(math.comb(n, k) for k in range(worse, n + 1)) / 2**n
    assert math.isclose(p_value(worse, better), exact, rel_tol=1e-15)


@given(worse=st.integers(0, 500), better=st.integers(0, 500))
def test_more_losses_never_raise_p_and_more_gains_never_lower_it(worse: int, better: int) -> None:
    assert p_value(worse + 1, better) <= p_value(worse, better) <= p_value(worse, better + 1)


@pytest.mark.parametrize("n", [1, 9, 10, 57, 300])
def test_a_candidate_that_is_no_worse_is_refused_with_at_most_the_stated_probability(n: int) -> None:
    refused = sum(math.comb(n, worse) for worse in range(n + 1) if p_value(worse, n - worse) < 0.001) / 2**n
    assert refused <= 0.001


def test_counts_below_zero_are_refused() -> None:
    with pytest.raises(ValueError, match="counts"):
        p_value(-1, 3)


def test_the_blind_spots_name_the_figures_that_the_test_has() -> None:
    assert (p_value(9, 0) > 0.001 > p_value(10, 0)) and (p_value(13, 0) > 0.0001 > p_value(14, 0))
    assert detectable_drop(1000, 0.001, churn=0.1) == 0.037
    assert detectable_drop(1000, 0.0001, churn=0.1) == 0.046
    for figure in ("10 examples", "not of 9", "a loss of 14", "not of 13", "37 more lost (3.7 %)", "and 46"):
        assert figure in BLIND_SPOTS


@given(examples=st.integers(1, 3000), churn=st.floats(0, 0.5))
def test_the_detectable_drop_is_the_first_that_is_refused(examples: int, churn: float) -> None:
    drop, each = detectable_drop(examples, 0.001, churn), int(churn * examples / 2)
    if drop is None:
        assert p_value(examples - each, each) >= 0.001
    else:
        lost = round(drop * examples)
        assert p_value(each + lost, each) < 0.001 <= p_value(each + lost - 1, each)


def test_nine_held_out_examples_detect_nothing() -> None:
    assert detectable_drop(9, 0.001) is None
    assert detectable_drop(0, 0.001) is None
    assert detectable_drop(10, 0.001) == 1.0


@pytest.mark.parametrize(
    ("significance", "churn"), [(0.0, 0.0), (1.0, 0.0), (math.nan, 0.0), (0.001, -0.1), (0.001, 2)]
)
def test_a_test_that_makes_no_sense_is_refused(significance: float, churn: float) -> None:
    with pytest.raises(ValueError, match="make no test"):
        detectable_drop(100, significance, churn)
