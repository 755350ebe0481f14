"""The auditor's ε against published values, another accountant, and a second way to compute it."""

from __future__ import annotations

import math

import dp_accounting
import pytest
from dp_accounting.pld import PLDAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erfcx, log_ndtr

from phalanx.audit.epsilon import _erfcx, delta_of, epsilon_of


@pytest.mark.parametrize(("sigma", "rounds", "expected", "digits"), [
    (1.0, 1, 4.3772, 5e-5), (1.0, 10, 17.8566, 5e-5), (4.0, 100, 13.2067, 5e-5), (2.684, 20, 8.0, 2e-3),
    (16.684, 20, 1.0, 2e-3), (4.999, 100, 10.0, 4e-3),
])  # fmt: skip
def test_epsilon_is_the_published_one(sigma: float, rounds: int, expected: float, digits: float) -> None:
    """Last digits of the table of calibrated σ: half a unit of σ's third digit moves ε by `digits` at most."""
    assert epsilon_of(math.sqrt(rounds) / sigma, 1e-5) == pytest.approx(expected, abs=digits)


@pytest.mark.parametrize(("sigma", "rounds"), [(1.0, 1), (4.0, 10), (8.0, 50)])
def test_the_ledgers_accountant_is_never_below_and_hardly_above(sigma: float, rounds: int) -> None:
    accountant = PLDAccountant(value_discretization_interval=1e-3)
    accountant.compose(dp_accounting.SelfComposedDpEvent(dp_accounting.GaussianDpEvent(sigma), rounds))
    recorded = math.ceil(float(accountant.get_epsilon(1e-5)) * 1000) / 1000
    exact = epsilon_of(math.sqrt(rounds) / sigma, 1e-5)
    assert exact - 1e-9 <= recorded <= exact * 1.01 + 0.01


@given(st.floats(1e-3, 50), st.floats(0, 200))
@settings(max_examples=200, deadline=None)
def test_delta_is_the_formula_of_balle_and_wang(mu: float, epsilon: float) -> None:
    upper, lower = log_ndtr(mu / 2 - epsilon / mu), epsilon + log_ndtr(-mu / 2 - epsilon / mu)
    if upper < -600:
        assert delta_of(epsilon, mu) < 1e-250
        return
    expected = math.exp(upper) * -math.expm1(min(lower - upper, 0.0))
    # Absolutely 1e-13, relatively what the difference of two log_ndtr in float64 leaves at small mu.
    assert delta_of(epsilon, mu) == pytest.approx(expected, rel=1e-6, abs=1e-13)


@given(st.floats(0.01, 100), st.sampled_from([1e-3, 1e-5, 1e-9, 1e-12]))
@settings(max_examples=100, deadline=None)
def test_epsilon_is_on_the_safe_side_of_delta_and_close(mu: float, delta: float) -> None:
    epsilon = epsilon_of(mu, delta)
    assert delta_of(epsilon, mu) <= delta
    if epsilon > 0:
        assert delta_of(epsilon * (1 - 1e-6), mu) > delta


@given(st.floats(0.01, 100), st.floats(0.01, 100))
@settings(max_examples=100, deadline=None)
def test_more_noise_never_costs_more(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert epsilon_of(low, 1e-5) <= epsilon_of(high, 1e-5) * (1 + 1e-9) + 1e-9


@pytest.mark.parametrize("x", [0.0, 0.5, 3.0, 24.9, 25.0, 26.0, 300.0, 1e6])
def test_the_scaled_error_function_is_scipys(x: float) -> None:
    assert _erfcx(x) == pytest.approx(float(erfcx(x)), rel=1e-11)


def test_the_formula_as_it_is_printed_overflows_where_this_one_does_not() -> None:
    mu, epsilon = 1000.0, epsilon_of(1000.0, 1e-5)
    with pytest.raises(OverflowError):
        math.exp(epsilon)
    assert delta_of(epsilon, mu) == pytest.approx(1e-5, rel=1e-4)


def test_no_release_costs_nothing() -> None:
    assert epsilon_of(0.0, 1e-5) == 0.0
    assert epsilon_of(1e-7, 1e-5) == 0.0


@pytest.mark.parametrize(("mu", "delta"), [
    (-1.0, 1e-5), (math.nan, 1e-5), (math.inf, 1e-5), (1.0, 0.0), (1.0, 1.0), (1.0, math.nan),
])  # fmt: skip
def test_numbers_without_meaning_are_programmers_errors(mu: float, delta: float) -> None:
    with pytest.raises(ValueError, match="needs 0 <= mu"):
        epsilon_of(mu, delta)
