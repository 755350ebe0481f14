"""Local steps against the papers' pseudo code in float64, and mini-batches that see each example once an epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phalanx.errors import ConfigError
from phalanx.learning.descent import Descent, batch_of, control_after, descend
from phalanx.types import F32, F64

M, D, SHARED, ETA, STEPS, ROUNDS = 3, 5, 3, 0.05, 7, 4
RNG = np.random.default_rng(11)
A = RNG.normal(size=(M, 20, D))  # a least-squares problem for each member
B = RNG.normal(size=(M, 20))
START = RNG.normal(size=(M, D))
SETTINGS = Descent(learning_rate=ETA, local_steps=STEPS, batch_size=6)
Exact = Callable[[int, F64, int], F64]  # (member, point (D,), step) → gradient (D,)


def exact_gradient(round: int) -> Exact:
    def of(member: int, point: F64, step: int) -> F64:
        rows = batch_of(SETTINGS, 20, round, step)
        a, b = A[member][rows], B[member][rows]
        gradient: F64 = a.T @ (a @ point - b) / len(rows)
        return gradient

    return of


def rounded_gradient(round: int) -> Callable[[F32, int, F32], None]:
    def into(models: F32, step: int, out: F32) -> None:
        for member in range(M):
            out[member] = exact_gradient(round)(member, models[member].astype(np.float64), step)

    return into


def fedavg(gradient: Exact, member: int, x: F64) -> F64:
    """McMahan et al., AISTATS 2017, Algorithm 1, ClientUpdate."""
    w = x.copy()
    for k in range(STEPS):
        w = w - ETA * gradient(member, w, k)
    return w - x


def heavy_ball(gradient: Exact, member: int, x: F64, m: F64, beta: float) -> tuple[F64, F64]:
    """Polyak, 1964, as in Karimireddy et al., ICML 2021, with m not scaled by 1 - β."""
    w = x.copy()
    for k in range(STEPS):
        m = beta * m + gradient(member, w, k)
        w = w - ETA * m
    return w - x, m


def fedprox(gradient: Exact, member: int, x: F64, mu: float) -> F64:
    """Li et al., MLSys 2020, Algorithm 2: gradient steps on F(w) + μ/2 ‖w - x‖², over the shared tensors alone."""
    w, pull = x.copy(), np.where(np.arange(D) < SHARED, mu, 0.0)
    for k in range(STEPS):
        w = w - ETA * (gradient(member, w, k) + pull * (w - x))
    return w - x


def corrected(gradient: Exact, member: int, x: F64, c: F64, own: F64) -> tuple[F64, F64]:
    """Karimireddy et al., ICML 2020, Algorithm 1, lines 10 to 12 with option II, over the shared tensors alone."""
    y, correction = x.copy(), np.zeros(D)
    correction[:SHARED] = -own + c
    for k in range(STEPS):
        y = y - ETA * (gradient(member, y, k) + correction)
    return y - x, own - c + (x - y)[:SHARED] / (STEPS * ETA)


def ours(settings: Descent, momentum: F32 | None = None, round: int = 1, **more: Any) -> tuple[F32, F32]:
    start = START.astype(np.float32)
    held = np.zeros_like(start) if momentum is None else momentum
    return descend(settings, start, held, rounded_gradient(round), shared=SHARED, **more)


def close(found: F32, expected: Any) -> bool:
    """To float32: seven steps of a few roundings each, on values of about 1."""
    assert found.dtype == np.float32
    return np.allclose(found, np.array(expected), rtol=0, atol=1e-5)


def test_mini_batch_steps_are_those_of_federated_averaging() -> None:
    delta, momentum = ours(SETTINGS)
    gradient = exact_gradient(1)
    assert close(delta, [fedavg(gradient, member, START[member].astype(np.float32)) for member in range(M)])
    assert not momentum.any()


def test_momentum_is_heavy_ball_over_steps_and_rounds() -> None:
    settings = Descent(learning_rate=ETA, local_steps=STEPS, batch_size=6, momentum=0.9)
    held, m = np.zeros((M, D), np.float32), np.zeros((M, D))
    for number in range(1, ROUNDS + 1):
        delta, held = ours(settings, held, number)
        pairs = [heavy_ball(exact_gradient(number), i, START[i], m[i], 0.9) for i in range(M)]
        m = np.array([after for _, after in pairs])
        assert close(delta, [move for move, _ in pairs])
        assert np.allclose(held, m, rtol=1e-5, atol=1e-4)  # momentum is 1 / (1 - β) times as large as a gradient


def test_momentum_that_is_forgotten_between_rounds_gives_other_steps() -> None:
    """Off twin of the test above."""
    settings = Descent(learning_rate=ETA, local_steps=STEPS, batch_size=6, momentum=0.9)
    _, held = ours(settings)
    assert not np.allclose(ours(settings, held, 2)[0], ours(settings, None, 2)[0], atol=0.01)


def test_prox_pulls_the_shared_tensors_back_and_no_other() -> None:
    delta, _ = ours(Descent(learning_rate=ETA, local_steps=STEPS, batch_size=6, prox=2.0))
    assert close(delta, [fedprox(exact_gradient(1), member, START[member], 2.0) for member in range(M)])
    assert not np.allclose(delta, ours(SETTINGS)[0], atol=0.01)


def test_scaffold_corrects_each_step_and_gives_the_next_control_variate() -> None:
    settings = Descent(learning_rate=ETA, local_steps=STEPS, batch_size=6, scaffold=True)
    c, own = RNG.normal(size=SHARED), RNG.normal(size=(M, SHARED))
    correction = (c - own).astype(np.float32)
    delta, _ = ours(settings, correction=correction)
    pairs = [corrected(exact_gradient(1), i, START[i], c, own[i]) for i in range(M)]
    assert close(delta, [move for move, _ in pairs])
    server = np.broadcast_to(c.astype(np.float32), (M, SHARED))
    after = control_after(settings, own.astype(np.float32), server, delta[:, :SHARED])
    assert np.allclose(after, [control for _, control in pairs], rtol=0, atol=1e-4)  # delta's error by 1 / (Kη) = 3


def test_members_side_by_side_step_as_each_alone() -> None:
    settings = Descent(learning_rate=ETA, local_steps=STEPS, batch_size=6, momentum=0.5, prox=0.1)
    together, momenta = ours(settings)
    for member in range(M):

        def gradient(models: F32, step: int, out: F32, member: int = member) -> None:
            out[0] = exact_gradient(1)(member, models[0].astype(np.float64), step)

        start = START[member : member + 1].astype(np.float32)
        alone, momentum = descend(settings, start, np.zeros_like(start), gradient, shared=SHARED)
        assert alone.tobytes() == together[member].tobytes()
        assert momentum.tobytes() == momenta[member].tobytes()


def test_no_argument_is_modified() -> None:
    start, momentum, correction = (np.ones((1, width), np.float32) for width in (2, 2, 1))

    def gradient(models: F32, step: int, out: F32) -> None:
        out[:] = models
        models[:] = np.nan  # a gradient that spoils the point that it is given

    plain = Descent(learning_rate=0.5, local_steps=3)
    delta, _ = descend(plain, start, momentum, gradient, shared=1, correction=correction)
    assert np.isfinite(delta).all()
    assert (start == 1).all() and (momentum == 1).all() and (correction == 1).all()


def test_steps_that_diverge_are_returned_as_they_are_and_raise_nothing() -> None:
    def gradient(models: F32, step: int, out: F32) -> None:
        np.multiply(models, models, out=out)

    start = np.full((1, 2), -1e30, np.float32)
    delta, _ = descend(Descent(learning_rate=1.0, local_steps=4), start, np.zeros_like(start), gradient, shared=2)
    assert not np.isfinite(delta).any()


# ------------------------------------------------------------------------------------------------------- mini-batches


@given(
    examples=st.integers(1, 60),
    size=st.integers(1, 70) | st.none(),
    round=st.integers(0, 2**31),
    epoch=st.integers(0, 5),
)
def test_each_epoch_holds_every_example_once(examples: int, size: int | None, round: int, epoch: int) -> None:
    settings = Descent(learning_rate=1.0, batch_size=size)
    batches = -(-examples // min(size or examples, examples))
    steps = range(epoch * batches, (epoch + 1) * batches)
    rows = [batch_of(settings, examples, round, step) for step in steps]
    assert sorted(np.concatenate(rows).tolist()) == list(range(examples))
    assert {len(one) for one in rows[:-1]} <= {min(size or examples, examples)}
    assert 1 <= len(rows[-1]) <= min(size or examples, examples)
    again = [batch_of(settings, examples, round, step) for step in steps]
    assert all((one == other).all() for one, other in zip(rows, again, strict=True))


def test_the_order_depends_on_round_and_epoch() -> None:
    settings = Descent(learning_rate=1.0, batch_size=10)

    def order(round: int, epoch: int) -> list[int]:
        rows: list[int] = np.concatenate([batch_of(settings, 100, round, 10 * epoch + i) for i in range(10)]).tolist()
        return rows

    orders = [order(round, epoch) for round in range(3) for epoch in range(3)]
    assert len({tuple(one) for one in orders}) == 9
    assert list(range(100)) not in orders


def test_every_example_has_the_same_chance_of_the_first_batch() -> None:
    settings = Descent(learning_rate=1.0, batch_size=10)
    counts = np.bincount(np.concatenate([batch_of(settings, 40, round, 0) for round in range(2000)]), minlength=40)
    # Each is in a quarter of the batches: 500 ± 19.4 (one standard deviation). Five of them, over 40 examples: 2e-5
    assert abs(counts - 500).max() < 97


def test_a_batch_of_all_examples_keeps_their_order() -> None:
    assert batch_of(Descent(learning_rate=1.0, batch_size=9), 5, 3, 7).tolist() == [0, 1, 2, 3, 4]
    assert batch_of(Descent(learning_rate=1.0), 5, 3, 7).tolist() == [0, 1, 2, 3, 4]


# ----------------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *(("learning_rate", rate) for rate in (0.0, -1.0, float("nan"), float("inf"))),
        *(("momentum", beta) for beta in (-0.1, 1.0, float("nan"))),
        *(("local_steps", steps) for steps in (0, -1)),
        *(("batch_size", size) for size in (0, -1)),
        *(("prox", mu) for mu in (-0.1, float("nan"), float("inf"))),
    ],
)
def test_a_number_out_of_its_range_is_refused_by_name(name: str, wrong: float) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be .*, got {wrong!r}$"):
        Descent(**{"learning_rate": 1.0, "local_steps": 2, name: wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prox": 0.1}, "FedProx pulls towards the model that the round started from"),
        ({"prox": 0.1, "scaffold": True, "local_steps": 2}, "choose one"),
        ({"scaffold": True, "momentum": 0.9}, "found momentum = 0.9"),
    ],
)
def test_parts_that_do_nothing_or_do_not_compose_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Descent(learning_rate=1.0, **settings)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"local_steps": 2}, "one step a round, found local_steps = 2"),
        ({"batch_size": 8}, "found a batch_size"),
        ({"scaffold": True}, "SCAFFOLD would only add the noise of earlier rounds"),
    ],
)
def test_steps_that_example_level_privacy_does_not_cover_say_why(settings: dict[str, Any], why: str) -> None:
    assert why in Descent(learning_rate=1.0, **settings).refuse_privacy()
    assert Descent(learning_rate=1.0, momentum=0.9).refuse_privacy() == ""
