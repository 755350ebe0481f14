"""The ledger's arithmetic: one charge once, budgets that hold over runs, refusals that charge nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phalanx.errors import BudgetExhausted, ConflictError, IntegrityError, PolicyError
from phalanx.privacy import charge, epsilon, noise_multiplier
from phalanx.types import Receipt, Reservation


def reservation(key: str = "run-1/1/0/0", **other: Any) -> Reservation:
    values = {"dataset": "ward-7", "unit": "example", "noise_multiplier": 4.0, "epsilon_budget": 8.0, "delta": 1e-5}
    return Reservation(key=key, **{**values, **other})


def charged(rounds: int, **other: Any) -> list[Reservation]:
    history: list[Reservation] = []
    for i in range(rounds):
        charge(history, reservation(f"run-1/{i}/0/0", **other))
        history.append(reservation(f"run-1/{i}/0/0", **other))
    return history


def test_a_receipt_states_the_epsilon_of_all_charges_on_the_dataset() -> None:
    assert charge(charged(9), reservation("next")) == Receipt("next", 10, epsilon([4.0] * 10, 1e-5))


def test_a_budget_for_twenty_rounds_bears_twenty_and_refuses_the_twenty_first() -> None:
    sigma = noise_multiplier(8.0, 1e-5, 20)
    history = charged(20, noise_multiplier=sigma)
    with pytest.raises(BudgetExhausted) as refused:
        charge(history, reservation("one-more", noise_multiplier=sigma))
    words = str(refused.value)
    assert words.startswith("this charge would take dataset ward-7 from ε = 7.9")
    assert words.endswith("past its budget of 8 at δ = 1e-05; nothing was charged")


def test_off_twin_a_ledger_by_run_would_pay_the_budget_twice() -> None:
    sigma = noise_multiplier(8.0, 1e-5, 20)
    first_run = charged(20, noise_multiplier=sigma)
    second = reservation("run-2/0/0/0", noise_multiplier=sigma)
    assert charge([], second).epsilon <= 8.0  # what a ledger that knows run 2 only would say
    with pytest.raises(BudgetExhausted):
        charge(first_run, second)


@settings(max_examples=15, deadline=None)
@given(sigmas=st.lists(st.sampled_from([3.0, 5.0, 20.0]), min_size=1, max_size=6), again=st.integers(0, 5))
def test_a_charge_repeated_at_any_later_time_gives_its_first_receipt(sigmas: list[float], again: int) -> None:
    history: list[Reservation] = []
    receipts = []
    for i, sigma in enumerate(sigmas):
        new = reservation(f"k{i}", noise_multiplier=sigma, epsilon_budget=50.0)
        receipts.append(charge(history, new))
        history.append(new)
    which = again % len(history)
    assert charge(history, history[which]) == receipts[which]
    assert [one.epsilon for one in receipts] == sorted(one.epsilon for one in receipts)


def test_off_twin_a_retry_under_a_fresh_key_pays_again() -> None:
    history = charged(1)
    assert charge(history, history[0]).charges == 1
    assert charge(history, replace(history[0], key="retry")).charges == 2


@pytest.mark.parametrize(
    "change",
    [{"noise_multiplier": 4.1}, {"dataset": "ward-8"}, {"epsilon_budget": 9.0}, {"delta": 1e-6}, {"unit": "member"}],
)
def test_a_key_reused_with_other_content_is_a_conflict(change: dict[str, Any]) -> None:
    with pytest.raises(ConflictError, match="other content"):
        charge(charged(2), reservation("run-1/0/0/0", **change))


def test_a_later_run_cannot_widen_the_budget() -> None:
    history = charged(1, epsilon_budget=2.0)
    with pytest.raises(BudgetExhausted, match="past its budget of 2 "):
        charge(history, reservation("wide", noise_multiplier=1.0, epsilon_budget=100.0))


def test_a_later_run_may_narrow_the_budget_and_is_held_to_it() -> None:
    with pytest.raises(BudgetExhausted, match=r"past its budget of 0\.5 "):
        charge(charged(1), reservation("narrow", epsilon_budget=0.5))


def test_another_dataset_has_a_budget_of_its_own() -> None:
    assert charge(charged(9), reservation("other", dataset="ward-8", delta=1e-6)).charges == 1


@pytest.mark.parametrize("change", [{"delta": 1e-6}, {"unit": "member"}])
def test_charges_whose_epsilon_cannot_be_added_up_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(PolicyError, match="is charged at δ = 1e-05 per example"):
        charge(charged(1), reservation("other", **change))


@pytest.mark.parametrize("name", ["noise_multiplier", "epsilon_budget", "delta"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, True, "4", None])
def test_a_number_that_is_none_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        charge([], reservation(**{name: value}))


def test_noise_too_small_to_count_never_fits_a_budget() -> None:
    with pytest.raises(BudgetExhausted, match="to inf"):
        charge([], reservation(noise_multiplier=1e-3, epsilon_budget=1e300))


def test_a_history_that_holds_a_key_twice_is_not_believed() -> None:
    with pytest.raises(IntegrityError, match="2 charges under 1 keys"):
        charge([reservation("a"), reservation("a")], reservation("b"))
