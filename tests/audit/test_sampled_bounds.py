"""The auditor's two bounds on ε of sampled mechanisms against published values and the accountants of a library."""

from __future__ import annotations

import dp_accounting
import pytest
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st

from phalanx.audit.epsilon import epsilon_of
from phalanx.audit.sampled import _ORDERS, epsilon_above, epsilon_below


def event(sigma: float, rate: float, times: int) -> dp_accounting.DpEvent:
    once = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(sigma))
    return dp_accounting.SelfComposedDpEvent(once, times)


@pytest.mark.parametrize(
    ("sigma", "rate", "times", "delta", "renyi", "pld"),  # reference/privacy.md 10.1; its RDP has orders below 2 too
    [
        (1.3, 0.004, 3750, 1e-5, 0.9220, 0.8389),
        (1.0, 0.01, 1000, 1e-5, 2.1014, 1.8289),
        (2.0, 0.1, 100, 1e-3, 1.7990, 1.5439),
        (0.7126, 0.05, 1500, 1e-6, 35.36, 32.29),
    ],
)
def test_the_upper_bound_is_the_published_one_and_the_lower_below(
    sigma: float, rate: float, times: int, delta: float, renyi: float, pld: float
) -> None:
    assert epsilon_above(sigma, rate, times, delta) == pytest.approx(renyi, rel=4e-3)
    assert epsilon_below(sigma, rate, times, delta) < pld


@given(st.floats(0.3, 10), st.floats(0.001, 0.999), st.integers(1, 1000), st.sampled_from([1e-3, 1e-5, 1e-9]))
@settings(max_examples=60, deadline=None)
def test_the_upper_bound_is_the_librarys_at_the_same_orders(
    sigma: float, rate: float, times: int, delta: float
) -> None:
    accountant = RdpAccountant(_ORDERS, dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE)
    expected = float(accountant.compose(event(sigma, rate, times)).get_epsilon(delta))
    assert epsilon_above(sigma, rate, times, delta) >= expected - 1e-6  # the library has one more conversion to try
    if expected > 0:  # the library says 0 where the total variation is below δ, which we do not look at
        assert epsilon_above(sigma, rate, times, delta) == pytest.approx(expected, rel=0.02, abs=0.01)


@given(st.floats(0.5, 8), st.floats(0.01, 0.99), st.integers(1, 300), st.sampled_from([1e-3, 1e-5]))
@settings(max_examples=15, deadline=None)
def test_a_pld_accountant_lies_between_the_bounds(sigma: float, rate: float, times: int, delta: float) -> None:
    accountant = PLDAccountant(value_discretization_interval=1e-3)
    found = float(accountant.compose(event(sigma, rate, times)).get_epsilon(delta))
    assert epsilon_below(sigma, rate, times, delta) - 1e-3 <= found
    assert found <= epsilon_above(sigma, rate, times, delta) * 1.01 + 0.01


def test_without_sampling_the_lower_bound_is_the_exact_value() -> None:
    exact = epsilon_of(10**0.5 / 4, 1e-5)
    assert exact * 0.99 <= epsilon_below(4.0, 1.0, 10, 1e-5) <= exact <= epsilon_above(4.0, 1.0, 10, 1e-5)


def test_no_release_costs_nothing() -> None:
    assert epsilon_below(1.0, 0.5, 0, 1e-5) == epsilon_above(1.0, 0.5, 0, 1e-5) == 0.0
