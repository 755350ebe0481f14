"""The three comparisons on a problem with known answers, measured by held-out examples that pin the answer down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from phalanx.learning import Descent, Job, LocalTrainer, MemberData
from phalanx.learning.baselines import Baselines, baselines_of, settings_in_words
from phalanx.learning.contract import Tensors
from phalanx.learning.data import Array, Labels
from phalanx.types import MemberId, Trained, member_id
from tests.learning.numpy_models import bowl_model

A, B = member_id("a"), member_id("b")
EXAMPLES = {A: [(1.0, -1.0)], B: [(4.0, 1.0)] * 3}  # ½ a(w - b)²: another curve, another centre, another number
RATE, STEPS = 0.1, 5
SETTINGS = Descent(learning_rate=RATE, local_steps=STEPS)
START = np.zeros(1, np.float32)
MANY = 40  # rounds: each leaves 0.59 (member a alone, the slowest) or less of the distance to the answer


def one_by_one(jobs: Sequence[Job]) -> list[Trained]:
    return [job.trainer.train(job.model, job.task, job.state) for job in jobs]


def data_of(examples: Sequence[tuple[float, float]], answer: float | None) -> MemberData:
    """Held out are a point a little below the answer and one a little above: both are right for that answer alone."""
    x = np.array(examples, np.float32)
    probes = [] if answer is None else [(1.0, answer - 1e-3), (1.0, answer + 1e-3)]
    held = np.array(probes, np.float32).reshape(-1, 2)
    return MemberData(x, np.zeros(len(x), np.int64), held, np.array([1, 0][: len(held)], np.int64), 2)


def run(
    answers: Mapping[MemberId, float | None], settings: Descent = SETTINGS, rounds: int = MANY, **examples: object
) -> Baselines:
    given = EXAMPLES | {member_id(name): rows for name, rows in examples.items()}
    members = {
        member: LocalTrainer(bowl_model(), data_of(given[member], answer), settings)  # type: ignore[arg-type]
        for member, answer in answers.items()
    }
    return baselines_of(members, START, rounds, one_by_one)


def drifted() -> float:
    """Where the moves of K local steps, weighted by examples, cancel: member i goes from w to b + (1 - ηa)ᴷ (w - b)."""
    moves = [len(rows) * (1 - (1 - RATE * rows[0][0]) ** STEPS) for rows in EXAMPLES.values()]
    return float(np.average([rows[0][1] for rows in EXAMPLES.values()], weights=moves))


OPTIMUM = (1 * 1 * -1 + 3 * 4 * 1) / (1 * 1 + 3 * 4)  # of all examples together


def test_alone_each_member_finds_the_optimum_of_its_own_examples() -> None:
    found = run({A: -1.0, B: 1.0})
    assert found.alone == {A: 1.0, B: 1.0}
    assert found.plain == found.pooled == {A: 0.5, B: 0.5}


def test_plain_is_federated_averaging_weighted_by_examples() -> None:
    found = run({A: drifted(), B: drifted()})
    assert found.plain == {A: 1.0, B: 1.0}
    assert found.alone == found.pooled == {A: 0.5, B: 0.5}


def test_pooled_finds_the_optimum_of_all_examples() -> None:
    found = run({A: OPTIMUM, B: OPTIMUM})
    assert found.pooled == {A: 1.0, B: 1.0}
    assert found.alone == found.plain == {A: 0.5, B: 0.5}


def test_alone_sees_nothing_of_the_others_while_plain_and_pooled_do() -> None:
    there, other = run({A: -1.0, B: 1.0}), run({A: -1.0, B: None}, b=[(4.0, -5.0)] * 3)
    assert other.alone[A] == there.alone[A] == 1.0
    before, after = run({A: drifted(), B: None}), run({A: drifted(), B: None}, b=[(4.0, -5.0)] * 3)
    assert (before.plain[A], after.plain[A]) == (1.0, 0.5)
    before, after = run({A: OPTIMUM, B: None}), run({A: OPTIMUM, B: None}, b=[(4.0, -5.0)] * 3)
    assert (before.pooled[A], after.pooled[A]) == (1.0, 0.5)


def test_members_without_held_out_examples_train_and_are_left_out() -> None:
    found = run({A: None, B: drifted()})
    assert found.alone.keys() == found.plain.keys() == found.pooled.keys() == {B}
    assert found.plain[B] == 1.0


def heavy_ball(examples: Sequence[tuple[float, float]], w: float, m: float) -> tuple[float, float]:
    for _ in range(STEPS):
        m = 0.9 * m + float(np.mean([a * (w - b) for a, b in examples]))
        w -= RATE * m
    return w, m


def test_momentum_lasts_over_the_rounds_of_each_comparison() -> None:
    settings = replace(SETTINGS, momentum=0.9)
    alone, momenta, plain, pooled = {A: 0.0, B: 0.0}, {A: 0.0, B: 0.0}, 0.0, (0.0, 0.0)
    of_plain = {A: 0.0, B: 0.0}
    for _ in range(3):
        moves = {}
        for member, rows in EXAMPLES.items():
            alone[member], momenta[member] = heavy_ball(rows, alone[member], momenta[member])
            moves[member], of_plain[member] = heavy_ball(rows, plain, of_plain[member])
        plain = 0.25 * moves[A] + 0.75 * moves[B]
        pooled = heavy_ball([*EXAMPLES[A], *EXAMPLES[B]], *pooled)
    assert run(alone, settings, 3).alone == {A: 1.0, B: 1.0}
    assert run({A: plain, B: plain}, settings, 3).plain == {A: 1.0, B: 1.0}
    assert run({A: pooled[0], B: pooled[0]}, settings, 3).pooled == {A: 1.0, B: 1.0}


@pytest.mark.parametrize("settings", [replace(SETTINGS, scaffold=True), replace(SETTINGS, prox=3.0)])
def test_corrections_of_drift_are_no_part_of_the_comparisons(settings: Descent) -> None:
    answers: dict[MemberId, float | None] = {A: -1.0, B: drifted()}
    assert run(answers, settings) == run(answers)


@pytest.mark.parametrize("batch_size", [None, 4, 8, 16])
def test_each_comparison_sees_as_many_examples(batch_size: int | None) -> None:
    seen: list[int] = []

    def gradient(model: Tensors, x: Array, y: Labels) -> Tensors:
        seen.append(len(x))
        return {"w": np.zeros(1)}

    model = replace(bowl_model(), gradient=gradient)
    settings = Descent(learning_rate=RATE, local_steps=2, batch_size=batch_size)
    members = {member: LocalTrainer(model, data_of([(1.0, i) for i in range(16)], None), settings) for member in (A, B)}
    baselines_of(members, START, 3, one_by_one)
    of_one = 3 * 2 * (batch_size or 16)
    assert sum(seen) == 3 * 2 * of_one  # three comparisons, each with as many examples as two members see
    together = sum(seen[-(3 * 2 if batch_size is None else 2 * 3 * 2) :])
    assert together == 2 * of_one  # the last calls are those of the pooled trainer


@pytest.mark.parametrize("steps", [1, 2])  # past float32 in the second round's sum; and, one up and one down, at once
def test_steps_that_diverge_get_nothing_right_and_raise_nothing(steps: int) -> None:
    runaway = replace(bowl_model(), gradient=lambda model, x, y: {"w": -x[0, 1:]})
    settings = Descent(learning_rate=3e38, local_steps=steps)
    members = {member: LocalTrainer(runaway, data_of(EXAMPLES[member], 0.0), settings) for member in (A, B)}
    found = baselines_of(members, START, 3, one_by_one)
    assert found.alone == {A: 0.0, B: 0.0}
    assert found.pooled == {A: 0.0, B: 0.0}
    assert steps == 1 or found.plain == {A: 0.0, B: 0.0}


def test_settings_are_said_in_one_line() -> None:
    assert settings_in_words(Descent(learning_rate=0.5)) == "1 step a round on all examples, rate 0.5"
    many = Descent(learning_rate=0.1, local_steps=20, batch_size=32, momentum=0.9, prox=0.01)
    assert settings_in_words(many) == (
        "20 steps a round on mini-batches of 32, rate 0.1, momentum 0.9, FedProx μ = 0.01"
    )
    assert settings_in_words(Descent(learning_rate=1.0, scaffold=True)).endswith("rate 1, SCAFFOLD")
