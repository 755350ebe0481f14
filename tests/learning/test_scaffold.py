"""SCAFFOLD over whole federations: the textbook's two messages against our one, and the drift that it is for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from phalanx.canonical import model_digest
from phalanx.learning import Descent, LocalTrainer, MemberData, Sgd, step
from phalanx.learning.descent import batch_of
from phalanx.learning.server import Scaffold, first_memory, server_control
from phalanx.types import F32, F64, Aggregate, AggregationReport, Binding, TrainTask
from tests.learning.numpy_models import bowl_data, bowl_model, linear_model, mean_gradient, some_data, start_of

N, STEPS, ETA, ROUNDS = 5, 4, 0.1, 12
EVERYBODY = [list(range(N))] * ROUNDS
SOME = [[number % N, (number + 2) % N] for number in range(ROUNDS)]
SETTINGS = Descent(learning_rate=ETA, local_steps=STEPS, batch_size=8, scaffold=True)
DATA = [some_data(seed=seed) for seed in range(N)]

Gradient = Callable[[int, F64, int, int], F64]  # (member, point (d,), round, step) → (d,)


def textbook(gradient: Gradient, x: F64, cohorts: Sequence[Sequence[int]], server_rate: float) -> F64:
    """Karimireddy et al., ICML 2020, Algorithm 1 with option II, in float64; members send (Δy, Δc)."""
    c, own = np.zeros_like(x), np.zeros((N, x.size))
    for number, cohort in enumerate(cohorts, 1):
        dy, dc = [], []
        for i in cohort:
            y = x.copy()
            for k in range(STEPS):
                y = y - ETA * (gradient(i, y, number, k) - own[i] + c)
            plus = own[i] - c + (x - y) / (STEPS * ETA)
            dy.append(y - x)
            dc.append(plus - own[i])
            own[i] = plus
        x = x + server_rate * np.mean(dy, axis=0)
        c = c + len(cohort) / N * np.mean(dc, axis=0)
    return x


def applied(model: F32, vector: F32, server: Sgd) -> F32:
    binding = Binding("fed", "run", 1, 0, model_digest(model), "c" * 64, "0" * 32)
    aggregate = Aggregate(vector, AggregationReport("mean", np.ones(1), None, None), None, binding)
    return step(aggregate, model, server, first_memory(server, model.size))[0].model


def federation(
    trainers: Sequence[LocalTrainer],
    model: F32,
    cohorts: Sequence[Sequence[int]],
    server: Sgd,
    *,
    share: float | None = None,
    refused: int = 0,
    forget: bool = False,
) -> F32:
    """Ours: members send Δy alone. The round `refused` moves neither model nor c; nor members that `forget` it."""
    steps = trainers[0].settings
    scaffold = Scaffold(steps.local_steps, steps.learning_rate)
    control, states = np.zeros_like(model), [None] * len(trainers)  # type: tuple[F32, list[F32 | None]]
    for number, cohort in enumerate(cohorts, 1):
        task = TrainTask(number, None, control=control if steps.scaffold else None)
        trained = {i: trainers[i].train(model, task, states[i]) for i in cohort}
        vector: F32 = np.mean([one.delta for one in trained.values()], axis=0, dtype=np.float32)
        if number != refused:
            model = applied(model, vector, server)
            control = server_control(scaffold, control, vector, share=share or len(cohort) / len(trainers))
        if number != refused or not forget:
            states = [trained[i].state if i in trained else state for i, state in enumerate(states)]
    return model


def exact(member: int, point: F64, number: int, k: int) -> F64:
    rows = batch_of(SETTINGS, 30, number, k)
    tensors = {"bias": point[:3], "weight": point[3:].reshape(4, 3)}
    given = mean_gradient(tensors, DATA[member].x_train[rows].astype(np.float64), DATA[member].y_train[rows])
    return np.concatenate([given["bias"], given["weight"].ravel()])


@pytest.mark.parametrize("server_rate", [1.0, 0.5])
@pytest.mark.parametrize("cohorts", [EVERYBODY, SOME])
def test_the_aggregate_alone_carries_what_the_textbook_sends_in_two_messages(
    cohorts: list[list[int]], server_rate: float
) -> None:
    trainers = [LocalTrainer(linear_model(), data, SETTINGS) for data in DATA]
    start = start_of(linear_model())
    found = federation(trainers, start, cohorts, Sgd(learning_rate=server_rate))
    expected = textbook(exact, start.astype(np.float64), cohorts, server_rate)
    assert np.abs(expected).max() > 0.2
    assert np.allclose(found, expected, rtol=0, atol=3e-6)  # float32: 48 steps on values below 1


def test_the_share_of_members_that_took_part_counts() -> None:
    """Off twin: with the share of a full round, a partial federation is not the textbook's."""
    trainers = [LocalTrainer(linear_model(), data, SETTINGS) for data in DATA]
    start = start_of(linear_model())
    found = federation(trainers, start, SOME, Sgd(), share=1.0)
    assert not np.allclose(found, textbook(exact, start.astype(np.float64), SOME, 1.0), rtol=0, atol=1e-2)


# -------------------------------------------------------------------------------------------------------------- drift

CURVES, CENTRES, RATE, MANY = np.array([1.0, 4.0]), np.array([-1.0, 1.0]), 0.1, 5
OPTIMUM = float((CURVES * CENTRES).sum() / CURVES.sum())  # of the mean of ½ a(w - b)²: 0.6
SHRINK = (1 - RATE * CURVES) ** MANY  # K steps of member i from w: b + (1 - ηa)^K (w - b)
DRIFTED = float(((1 - SHRINK) * CENTRES).sum() / (1 - SHRINK).sum())  # where the members' moves cancel


def bowls(*, scaffold: bool, refused: int = 0, forget: bool = False, rounds: int = 120) -> float:
    settings = Descent(learning_rate=RATE, local_steps=MANY, scaffold=scaffold)
    data: list[MemberData] = [bowl_data(pair) for pair in zip(CURVES.tolist(), CENTRES.tolist(), strict=True)]
    trainers = [LocalTrainer(bowl_model(), one, settings) for one in data]
    everybody = [[0, 1]] * rounds
    return float(federation(trainers, np.zeros(1, np.float32), everybody, Sgd(), refused=refused, forget=forget)[0])


def test_scaffold_finds_the_optimum_of_members_that_differ() -> None:
    assert bowls(scaffold=True) == pytest.approx(OPTIMUM, abs=1e-6)


def test_without_it_the_members_drift_and_the_model_settles_elsewhere() -> None:
    """Off twin, and where to is known in closed form."""
    assert bowls(scaffold=False) == pytest.approx(DRIFTED, abs=1e-6)
    assert abs(DRIFTED - OPTIMUM) > 0.2


def test_a_member_that_forgets_a_refused_round_still_finds_the_optimum() -> None:
    assert bowls(scaffold=True, refused=2, forget=True) == pytest.approx(OPTIMUM, abs=1e-6)


def test_a_control_variate_that_moved_in_a_refused_round_biases_every_later_one() -> None:
    """Off twin. c - mean(cᵢ) never changes again, so the model settles where the mean gradient is minus that."""
    lasting = bowls(scaffold=True, refused=2)
    assert lasting == pytest.approx(bowls(scaffold=True, refused=2, rounds=240), abs=1e-6)
    assert abs(lasting - OPTIMUM) > 0.01
