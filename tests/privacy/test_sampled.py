"""ε of sampled Gaussians against published values and bounds, and charges that count on a draw nobody has seen."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phalanx.errors import ConflictError, IntegrityError, PolicyError
from phalanx.privacy import charge, epsilon, noise_multiplier, sampled
from phalanx.privacy.sampled import certain_epsilon, sampled_epsilon
from phalanx.types import Reservation

ORACLE = [  # reference/privacy.md 10.1, PLD on a grid of 1e-3, and performance.md 6: σ, q, T, δ, ε RDP, ε PLD
    (1.3, 0.004, 3750, 1e-5, 0.9220, 0.8389),
    (1.1, 0.004, 15000, 1e-5, 2.5029, 2.3052),
    (0.7, 0.004, 11250, 1e-5, 6.0937, 5.4349),
    (1.0, 0.01, 1000, 1e-5, 2.1014, 1.8289),
    (1.0, 0.01, 100_000, 1e-5, 27.24, 25.57),
    (1.0, 0.1, 100, 1e-5, 7.9039, 7.0466),
    (2.0, 0.1, 100, 1e-3, 1.7990, 1.5439),
    (0.7126, 0.05, 1500, 1e-6, 35.36, 32.29),
]


@pytest.mark.parametrize(("sigma", "rate", "rounds", "delta", "renyi", "expected"), ORACLE)
def test_published_epsilons_of_sampled_mechanisms(
    sigma: float, rate: float, rounds: int, delta: float, renyi: float, expected: float
) -> None:
    found = epsilon([sigma] * rounds, delta, [rate] * rounds)
    assert found <= renyi
    assert found == pytest.approx(expected, rel=0.007)  # a finer grid than the published: up to 0.6 % less


@pytest.mark.parametrize(
    ("rate", "rounds", "delta", "target", "expected"),  # reference/privacy.md 10.1, calibrated σ
    [(0.1, 100, 1e-3, 1.0, 2.753), (0.1, 100, 1e-3, 8.0, 0.778), (0.01, 1000, 1e-5, 2.0, 0.959)],
)
def test_published_calibrations_of_sampled_mechanisms(
    rate: float, rounds: int, delta: float, target: float, expected: float
) -> None:
    found = noise_multiplier(target, delta, rounds, rate)
    assert expected - 0.003 <= found <= expected + 0.0105  # the next hundredth
    one_less = epsilon([found - 0.01] * rounds, delta, [rate] * rounds)
    assert epsilon([found] * rounds, delta, [rate] * rounds) <= target < one_less


@settings(max_examples=20, deadline=None)
@given(
    sigma=st.floats(0.5, 8.0),
    rate=st.floats(0.01, 1.0),
    times=st.integers(1, 300),
    delta=st.sampled_from([1e-7, 1e-5, 1e-3]),
)
def test_sampling_never_costs_more_and_the_pld_lies_between_its_bounds(
    sigma: float, rate: float, times: int, delta: float
) -> None:
    found = epsilon([sigma] * times, delta, [rate] * times)  # raises IntegrityError outside the bounds
    assert certain_epsilon(sigma, rate, times, delta) - 1e-3 <= found
    assert found <= epsilon([sigma] * times, delta) * 1.001 + 0.002  # two grids


def test_a_rate_of_one_is_no_sampling() -> None:
    assert epsilon([4.0] * 10, 1e-5, [1.0] * 10) == epsilon([4.0] * 10, 1e-5)
    assert certain_epsilon(4.0, 1.0, 10, 1e-5) == pytest.approx(epsilon([4.0] * 10, 1e-5), rel=0.01)  # one Gaussian
    assert noise_multiplier(2.0, 1e-5, 20, 1.0) == noise_multiplier(2.0, 1e-5, 20)


def test_sampled_charges_and_charges_in_full_add_up() -> None:
    full, both = epsilon([4.0] * 5, 1e-5), epsilon([4.0] * 10, 1e-5, [1.0] * 5 + [0.1] * 5)
    assert full < both < epsilon([4.0] * 10, 1e-5)


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.1, math.nan])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="a rate in"):
        epsilon([1.0], 1e-5, [rate])


def test_hardly_any_noise_costs_infinity_and_hardly_any_member_nothing() -> None:
    assert epsilon([0.005], 1e-5, [0.5]) == math.inf
    assert epsilon([0.05] * 1000, 1e-5, [0.5] * 1000) == math.inf
    assert epsilon([1e9, 1e308], 1e-5, [0.5, 0.1]) == 0.0
    assert epsilon([0.5], 1e-3, [1e-6]) == 0.0


@pytest.mark.parametrize(("name", "broken"), [("_renyi", 0.5), ("certain_epsilon", 3.0)])
def test_an_accountant_outside_its_bounds_stops_the_work(
    monkeypatch: pytest.MonkeyPatch, name: str, broken: float
) -> None:
    sampled_epsilon.cache_clear()
    monkeypatch.setattr(sampled, name, lambda *_: broken)
    with pytest.raises(IntegrityError, match="accountants disagree"):
        epsilon([1.0] * 1000, 1e-5, [0.01] * 1000)


# ----------------------------------------------------------------------------------------------------------- the ledger


def reservation(key: str, **other: Any) -> Reservation:
    return replace(Reservation(key, "tiny/members", "member", 1.0, 8.0, 1e-5, 0.1, f"{key}'s draw"), **other)


def test_a_sampled_charge_costs_less_than_one_in_full() -> None:
    history = [reservation(f"run/{i}") for i in range(9)]
    assert charge(history, reservation("next")).epsilon == epsilon([1.0] * 10, 1e-5, [0.1] * 10)
    in_full = [reservation(f"run/{i}", rate=1.0, sample="", epsilon_budget=99.0) for i in range(9)]
    last = reservation("next", rate=1.0, sample="", epsilon_budget=99.0)
    assert charge(in_full, last).epsilon == epsilon([1.0] * 10, 1e-5)


def test_a_charge_from_before_there_were_rates_counts_in_full() -> None:
    old = Reservation("old", "tiny/members", "member", 1.0, 8.0, 1e-5)
    assert charge([old], reservation("next")).epsilon == epsilon([1.0] * 2, 1e-5, [1.0, 0.1])


def test_a_draw_is_counted_on_once() -> None:
    """An old copy of the state would ask the same cohort again, with other noise."""
    first, again = reservation("run/1/1/aa", sample="run/1/1"), reservation("run/1/1/bb", sample="run/1/1")
    with pytest.raises(PolicyError, match="counts on the sample run/1/1, which charge run/1/1/aa has used"):
        charge([first], again)
    assert charge([first], first).charges == 1  # the same charge again is no second one
    with pytest.raises(ConflictError):
        charge([first], replace(first, rate=0.2))


def test_off_twin_two_releases_of_one_draw_cost_more_than_two_draws() -> None:
    """What the refusal is for: both noises on one draw are one Gaussian of σ / √2 on it."""
    one_draw = certain_epsilon(2.0 / math.sqrt(2), 0.01, 1, 1e-5)
    assert one_draw > epsilon([2.0] * 2, 1e-5, [0.01] * 2)


@pytest.mark.parametrize("change", [{"rate": 0.0}, {"rate": 1.5}, {"rate": True}, {"sample": ""}, {"rate": 1.0}])
def test_a_rate_without_its_sample_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="rate"):
        charge([], reservation("one", **change))


@pytest.mark.parametrize(("rate", "deviation"), [(1.0, 19.9), (0.3, 20.4), (0.1, 22.5)])
def test_the_price_of_secret_cohorts_is_what_adr_0013_quotes(rate: float, deviation: float) -> None:
    """In clip_l2 / n on the aggregate, for ε = 2 at δ = 1e-5 over 100 rounds."""
    assert round(noise_multiplier(2.0, 1e-5, 100, rate) / rate, 1) == deviation


def test_the_example_of_adr_0013() -> None:
    assert round(epsilon([1.0] * 1000, 1e-5, [0.01] * 1000), 2) == 1.83
    assert round(epsilon([1.0], 1e-5), 2) == 4.38
