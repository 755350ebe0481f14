"""ε against published values, and two independent accountants against each other."""

from __future__ import annotations

import math

import dp_accounting
import pytest
from dp_accounting import pld
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_ndtr, ndtr

from phalanx.errors import IntegrityError
from phalanx.privacy import accountant
from phalanx.privacy.accountant import epsilon, exact_delta, exact_epsilon, noise_multiplier

_sigma = st.floats(0.3, 1e4)


@pytest.mark.parametrize(
    ("sigma", "rounds", "expected"),  # reference/privacy.md 10.1, the rows with q = 1; δ = 1e-5
    [(1.0, 1, 4.3772), (1.0, 10, 17.8566), (4.0, 100, 13.2067)],
)
def test_published_epsilons_of_full_participation(sigma: float, rounds: int, expected: float) -> None:
    found = epsilon([sigma] * rounds, 1e-5)
    assert expected - 5e-5 <= found <= expected + 1.1e-3  # rounded up to 1e-3 from a value known to 1e-4


@pytest.mark.parametrize(
    ("rounds", "target", "expected"),  # reference/privacy.md 10.1, calibrated σ at δ = 1e-5
    [
        *((20, e, s) for e, s in zip((1, 2, 4, 8, 10), (16.684, 8.917, 4.835, 2.684, 2.236), strict=True)),
        *((50, e, s) for e, s in zip((1, 2, 4, 8, 10), (26.380, 14.098, 7.645, 4.244, 3.535), strict=True)),
        *((100, e, s) for e, s in zip((1, 2, 4, 8, 10), (37.306, 19.938, 10.812, 6.002, 4.999), strict=True)),
    ],
)
def test_published_calibrations(rounds: int, target: float, expected: float) -> None:
    found = noise_multiplier(target, 1e-5, rounds)
    assert expected - 5e-4 <= found <= expected + 0.0105  # the next hundredth
    assert epsilon([found] * rounds, 1e-5) <= target < epsilon([found - 0.01] * rounds, 1e-5)


@given(mu=st.floats(0.01, 8.0), eps=st.floats(0.0, 60.0))
def test_the_exact_curve_is_theorem_8_as_scipy_computes_it(mu: float, eps: float) -> None:
    expected = ndtr(mu / 2 - eps / mu) - math.exp(eps + log_ndtr(-mu / 2 - eps / mu))
    assert math.isclose(exact_delta(mu, eps), expected, rel_tol=1e-6, abs_tol=1e-14)  # 1e-14: both subtract


def test_the_exact_curve_does_not_overflow_where_exp_epsilon_does() -> None:
    assert exact_delta(60.0, 2000.0) == pytest.approx(
        float(ndtr(30 - 2000 / 60) - math.exp(2000 + log_ndtr(-30 - 2000 / 60)))
    )


@given(mu=st.floats(0.01, 90.0), delta=st.floats(1e-10, 1e-2))
def test_the_exact_epsilon_is_the_inverse_of_the_exact_curve(mu: float, delta: float) -> None:
    found = exact_epsilon(mu, delta)
    assert exact_delta(mu, found) <= delta
    if found > 0:
        assert exact_delta(mu, found * (1 - 1e-6)) > delta


@settings(max_examples=25, deadline=None)
@given(sigmas=st.lists(_sigma, min_size=1, max_size=5), delta=st.sampled_from([1e-7, 1e-5, 1e-3]))
def test_the_two_accountants_agree_on_any_composition(sigmas: list[float], delta: float) -> None:
    found = epsilon(sigmas, delta)  # raises IntegrityError if not
    exact = exact_epsilon(math.sqrt(math.fsum(1 / sigma**2 for sigma in sigmas)), delta)
    assert exact <= found <= exact * 1.01 + 0.011


def test_equal_mechanisms_entered_as_one_cost_what_self_composition_says() -> None:
    composed = pld.PLDAccountant(
        dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE, value_discretization_interval=1e-3
    )
    composed.compose(dp_accounting.GaussianDpEvent(4.0), 100)
    assert abs(epsilon([4.0] * 100, 1e-5) - composed.get_epsilon(1e-5)) <= 1e-3


@settings(max_examples=15, deadline=None)
@given(sigmas=st.lists(_sigma, max_size=4), more=_sigma)
def test_epsilon_never_falls_with_another_charge_and_ignores_their_order(sigmas: list[float], more: float) -> None:
    assert epsilon(sigmas, 1e-5) <= epsilon([*sigmas, more], 1e-5) == epsilon([more, *sigmas], 1e-5)


def test_nothing_costs_nothing_and_hardly_any_noise_costs_infinity() -> None:
    assert epsilon([], 1e-5) == 0.0
    assert epsilon([1e9], 1e-5) == 0.0
    assert epsilon([1e308], 1e-5) == 0.0
    assert epsilon([0.009], 1e-5) == math.inf
    assert epsilon([1e-300], 1e-5) == math.inf
    assert epsilon([5e-324] * 3, 1e-5) == math.inf


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf])
def test_a_noise_multiplier_that_is_none_is_refused(sigma: float) -> None:
    with pytest.raises(ValueError, match="noise multiplier"):
        epsilon([1.0, sigma], 1e-5)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, math.nan])
def test_a_delta_outside_0_to_1_is_refused(delta: float) -> None:
    with pytest.raises(ValueError, match="delta"):
        epsilon([1.0], delta)
    with pytest.raises(ValueError, match="delta"):
        noise_multiplier(1.0, delta, 1)


@pytest.mark.parametrize("target", [0.0, -1.0, math.nan, math.inf])
def test_an_epsilon_that_no_noise_meets_is_refused(target: float) -> None:
    with pytest.raises(ValueError, match="epsilon"):
        noise_multiplier(target, 1e-5, 1)


def test_accountants_that_disagree_stop_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accountant, "_pld_epsilon", lambda *_: 3.0)
    with pytest.raises(IntegrityError, match="accountants disagree"):
        epsilon([1.000001], 1e-5)  # a value that no other test has cached


def test_off_twin_without_the_cross_check_a_broken_accountant_would_be_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(accountant, "_pld_epsilon", lambda *_: 3.0)
    monkeypatch.setattr(accountant, "exact_epsilon", lambda *_: 3.0)
    assert epsilon([1.000002], 1e-5) == 3.0
    accountant._epsilon.cache_clear()
