"""The server's step against the papers' algorithms, of the model that the updates are relative to and of no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phalanx.canonical import model_digest
from phalanx.errors import IntegrityError
from phalanx.learning import Adam, Sgd, Yogi, step
from phalanx.learning.server import Scaffold, ServerOptimiser, first_memory, server_control
from phalanx.types import F32, F64, Aggregate, AggregationReport, Binding

MODEL = np.array([1.0, 2.0, 3.0], np.float32)
PLAIN = Sgd()
ROUNDS = 20
DELTAS = np.random.default_rng(5).normal(size=(ROUNDS, 3)) * np.array([1.0, 1e-2, 1e-4])  # around and below τ
ETA, BETA, BETA2, TAU = 0.3, 0.9, 0.95, 1e-3


def aggregate(vector: F32, model: F32 = MODEL) -> Aggregate:
    binding = Binding("fed", "run", 1, 0, model_digest(model), "c" * 64, "0" * 32)
    return Aggregate(vector, AggregationReport("mean", np.ones(1), None, None), None, binding)


def plain_step(vector: F32, model: F32 = MODEL, optimiser: ServerOptimiser = PLAIN) -> F32:
    return step(aggregate(vector, model), model, optimiser, first_memory(optimiser, model.size))[0].model


# --------------------------------------------------------------------------------------------------------- the papers


def fedavgm(deltas: F64) -> F64:
    """Hsu et al., arXiv:1909.06335, section 4.2: v ← βv + Δ, w ← w + ηv."""
    x, v = MODEL.astype(np.float64), np.zeros(3)
    for delta in deltas:
        v = BETA * v + delta
        x = x + ETA * v
    return x


def adaptive(second_moment: Callable[[F64, F64], F64]) -> Callable[[F64], F64]:
    """Reddi et al., ICLR 2021, Algorithm 2, with v₋₁ = τ²."""

    def run(deltas: F64) -> F64:
        x, m, v = MODEL.astype(np.float64), np.zeros(3), np.full(3, TAU**2)
        for delta in deltas:
            m = BETA * m + (1 - BETA) * delta
            v = second_moment(v, delta)
            x = x + ETA * m / (np.sqrt(v) + TAU)
        return x

    return run


fedadam = adaptive(lambda v, delta: BETA2 * v + (1 - BETA2) * delta**2)
fedyogi = adaptive(lambda v, delta: v - (1 - BETA2) * delta**2 * np.sign(v - delta**2))
KNOWN: list[tuple[ServerOptimiser, Callable[[F64], F64]]] = [
    (Sgd(learning_rate=ETA), lambda deltas: MODEL + ETA * deltas.sum(axis=0)),
    (Sgd(learning_rate=ETA, momentum=BETA), fedavgm),
    (Adam(learning_rate=ETA, momentum=BETA, second_momentum=BETA2, tau=TAU), fedadam),
    (Yogi(learning_rate=ETA, momentum=BETA, second_momentum=BETA2, tau=TAU), fedyogi),
]


def rounds(optimiser: ServerOptimiser, deltas: F64, *, forgetful: bool = False) -> F32:
    model, memory = MODEL, first_memory(optimiser, 3)
    for delta in deltas:
        candidate, after = step(aggregate(delta.astype(np.float32), model), model, optimiser, memory)
        model, memory = candidate.model, memory if forgetful else after
    return model


@pytest.mark.parametrize(("optimiser", "reference"), KNOWN)
def test_twenty_rounds_are_those_of_the_paper(optimiser: ServerOptimiser, reference: Callable[[F64], F64]) -> None:
    found, expected = rounds(optimiser, DELTAS), reference(DELTAS)
    assert np.abs(expected - MODEL).max() > 0.1
    assert np.allclose(found, expected, rtol=0, atol=5e-6)  # 20 roundings of values of about 3, and of the memory


@pytest.mark.parametrize(("optimiser", "reference"), KNOWN[1:])
def test_the_memory_that_is_returned_has_to_be_kept(
    optimiser: ServerOptimiser, reference: Callable[[F64], F64]
) -> None:
    """Off twin: a server that forgets its memory between rounds does something else."""
    assert not np.allclose(rounds(optimiser, DELTAS, forgetful=True), reference(DELTAS), rtol=0, atol=1e-3)


def test_yogi_forgets_a_large_update_more_slowly_than_adam() -> None:
    deltas = np.full((6, 3), 0.1)
    deltas[0] = 10.0
    adam, yogi = (rounds(one, deltas) for one in (KNOWN[2][0], KNOWN[3][0]))
    assert np.allclose(adam, fedadam(deltas), atol=5e-6) and np.allclose(yogi, fedyogi(deltas), atol=5e-6)
    assert (yogi < adam).all()


def test_the_first_memory_is_nothing_or_zeros_with_v_at_tau_squared() -> None:
    assert first_memory(Sgd(), 3).shape == (0, 3)
    assert first_memory(Sgd(momentum=0.9), 3).tolist() == [[0, 0, 0]]
    for kind in (Adam, Yogi):
        memory = first_memory(kind(learning_rate=1.0, tau=0.5), 3)
        assert memory.dtype == np.float32
        assert memory.tolist() == [[0, 0, 0], [0.25, 0.25, 0.25]]


@pytest.mark.parametrize("optimiser", [one for one, _ in KNOWN])
def test_a_step_moves_no_argument_and_is_the_same_twice(optimiser: ServerOptimiser) -> None:
    vector, model = np.array([0.5, 0.0, -3.0], np.float32), MODEL.copy()
    memory = first_memory(optimiser, 3)
    before = memory.copy()
    first, after = step(aggregate(vector), model, optimiser, memory)
    second, again = step(aggregate(vector), model, optimiser, memory)
    assert (memory == before).all() and (model == MODEL).all() and vector.tolist() == [0.5, 0.0, -3.0]
    assert first.digest == second.digest and after.tobytes() == again.tobytes()
    assert after.dtype == np.float32 and after.shape == before.shape
    assert not after.size or (after != before).any()


# ------------------------------------------------------------------------------------------------------ the candidate


def test_a_candidate_is_the_model_plus_the_aggregate_and_names_both_hashes() -> None:
    given = aggregate(np.array([0.5, 0.0, -3.0], np.float32))
    candidate, memory = step(given, MODEL, PLAIN, first_memory(PLAIN, 3))
    assert candidate.model.tolist() == [1.5, 2.0, 0.0]
    assert candidate.model.dtype == np.float32
    assert candidate.digest == model_digest(candidate.model)
    assert candidate.base == model_digest(MODEL)
    assert candidate.binding == given.binding
    assert memory.shape == (0, 3)


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=8))
def test_the_default_step_adds_the_aggregate_and_rounds_once(values: list[float]) -> None:
    vector = np.array(values, np.float32)
    model = np.linspace(-1, 1, len(vector), dtype=np.float32)
    assert plain_step(vector, model).tobytes() == (model + vector).tobytes()


@pytest.mark.parametrize("optimiser", [one for one, _ in KNOWN])
def test_a_non_finite_aggregate_gives_a_candidate_that_shows_it(optimiser: ServerOptimiser) -> None:
    assert np.isnan(plain_step(np.full(3, np.nan, np.float32), optimiser=optimiser)).all()
    assert not np.isfinite(plain_step(np.full(3, np.inf, np.float32), optimiser=optimiser)).any()


def test_a_sum_past_float32_is_infinite() -> None:
    top = np.full(3, np.finfo(np.float32).max)
    assert np.isposinf(plain_step(top, top)).all()


def test_updates_relative_to_another_model_are_not_applied() -> None:
    with pytest.raises(IntegrityError, match="relative to model"):
        step(aggregate(MODEL, MODEL + 1), MODEL, PLAIN, first_memory(PLAIN, 3))


def test_an_aggregate_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(2,\) does not fit"):
        plain_step(np.zeros(2, np.float32))


def test_the_memory_of_another_optimiser_is_refused() -> None:
    with pytest.raises(ValueError, match=r"memory must have shape \(2, 3\), got \(1, 3\)"):
        step(aggregate(MODEL), MODEL, KNOWN[2][0], first_memory(KNOWN[1][0], 3))


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        *((kind, "learning_rate", rate) for kind in (Sgd, Adam, Yogi) for rate in (0.0, -1.0, np.nan, np.inf)),
        *((kind, "momentum", beta) for kind in (Sgd, Adam, Yogi) for beta in (-0.1, 1.0, np.nan)),
        *((kind, "second_momentum", beta) for kind in (Adam, Yogi) for beta in (0.0, 1.0, np.nan)),
        *((kind, "tau", tau) for kind in (Adam, Yogi) for tau in (0.0, -1e-3, np.nan, np.inf)),
    ],
)
def test_a_number_out_of_its_range_is_refused_by_name(kind: Any, name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"the server's {name} must be above 0"):
        kind(**{"learning_rate": 1.0, name: value})


# ------------------------------------------------------------------------------------------ scaffold's control variate


def test_the_control_variate_is_the_members_mean_gradient_after_a_full_round() -> None:
    control = server_control(Scaffold(4, 0.5), np.full(2, 9, np.float32), np.array([1, -2], np.float32), share=1.0)
    assert control.tolist() == [-0.5, 1.0]  # -Δ / (Kη)


def test_a_round_of_some_moves_the_control_variate_by_their_share() -> None:
    control = server_control(Scaffold(4, 0.5), np.full(2, 8, np.float32), np.array([1, -2], np.float32), share=0.25)
    assert control.tolist() == [0.75 * 8 - 0.125, 0.75 * 8 + 0.25]
    assert control.dtype == np.float32


def test_a_non_finite_aggregate_shows_in_the_control_variate() -> None:
    vector = np.array([np.nan, np.inf, np.finfo(np.float32).max], np.float32)
    assert not np.isfinite(server_control(Scaffold(1, 1e-3), np.zeros(3, np.float32), vector, share=1.0)).any()
