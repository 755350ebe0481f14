"""Training on halves is the training of a run: the same models, noise and cohorts, without the corridor around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from phalanx.learning import LocalTrainer, flatten
from phalanx.learning.baselines import joined
from phalanx.privacy import central_noise
from phalanx.redteam.halves import Seen, pool_of, refusal, trained
from phalanx.redteam.lab import Lab
from phalanx.types import F32, ExamplePrivacy, MemberPrivacy, TrainTask
from tests.redteam.membership import PRIVATE, lab_of, network

MODEL = network(8)
STEPS = {"learning_rate": 0.5, "momentum": 0.5, "held_out": 0.0}
SCAFFOLD = {"learning_rate": 0.2, "local_steps": 3, "batch_size": 10, "algorithm": "scaffold", "held_out": 0.0}
RNG = np.random.default_rng(0)


def small_lab(**tables: Mapping[str, Any]) -> Lab:
    defaults: dict[str, Any] = {"run": {"rounds": 4}, "learning": STEPS}
    return lab_of(members=5, examples=30, model=MODEL, **(defaults | tables))


def on_all(lab: Lab, setting: Any, runs: int = 1) -> F32:
    pool = pool_of(lab)
    return trained(lab, setting, pool, np.ones((runs, len(pool.y)), np.bool_), np.random.default_rng(1))


@pytest.mark.parametrize(
    "tables",
    [
        {},
        {"aggregation": {"rule": "trimmed-mean", "f": 1}},
        {"aggregation": {"rule": "median", "f": 1, "pre": ("nnm",)}, "server": {"learning_rate": 0.7, "momentum": 0.3}},
        {"learning": SCAFFOLD},
        {"screening": {"weighting": "claimed"}},
    ],
    ids=["mean", "trimmed-mean", "server momentum", "scaffold", "claimed"],
)
def test_with_all_examples_it_ends_in_the_model_of_the_real_rounds(tables: dict[str, Any]) -> None:
    lab = small_lab(**tables)
    real = lab.federation.run()
    expected = flatten({name: np.asarray(value) for name, value in real.model.items()}, _trainer(lab).layout)
    assert on_all(lab, "yours")[0] == pytest.approx(expected, abs=1e-6)


def test_naively_it_is_federated_averaging_weighted_by_examples_whatever_the_configuration() -> None:
    lab = small_lab(aggregation={"rule": "krum", "f": 1}, privacy=PRIVATE | {"normaliser": 30})
    pool = pool_of(lab)
    inside = np.ones((1, len(pool.y)), np.bool_)
    inside[0, :20] = False  # the first member has 10 of its 30
    model = lab.start(lab.trainers())
    states: list[F32 | None] = [None] * 5
    for number in range(1, 5):
        moves = []
        for place, trainer in enumerate(lab.trainers().values()):
            data = pool.data(inside[0] & (pool.owner == place))
            done = trainer.with_data(data).train(model, TrainTask(number, None), states[place])
            states[place] = done.state
            moves.append(done.delta * len(data.y_train) / 130)
        model = model + np.sum(moves, axis=0, dtype=np.float32)
    found = trained(lab, "none", pool, inside, np.random.default_rng(0))
    assert found[0] == pytest.approx(model, abs=1e-6)


def test_in_one_place_it_is_one_trainer_with_everybodys_examples() -> None:
    lab = small_lab()
    trainer = _trainer(lab).with_data(joined([lab.sites[member] for member in lab.members]))
    model, state = lab.start(lab.trainers()), None
    for number in range(1, 5):
        done = trainer.train(model, TrainTask(number, None), state)
        model, state = model + done.delta, done.state
    assert np.array_equal(on_all(lab, "central")[0], model)


def test_members_noise_is_the_configurations_over_half_of_its_normaliser() -> None:
    """Two runs on the same examples differ by noise alone: one step of rate 1 at 5 members, with σC over 15."""
    lab = small_lab(
        run={"rounds": 1}, learning={"learning_rate": 1.0, "held_out": 0.0}, privacy=PRIVATE | {"normaliser": 30}
    )
    mechanism = lab.settings.mechanism
    assert isinstance(mechanism, ExamplePrivacy)
    first, second = on_all(lab, "yours", runs=2)
    expected = np.sqrt(2 / 5) * mechanism.noise_multiplier / 15
    assert (first - second).std() == pytest.approx(expected, rel=0.15)  # 610 numbers: three standard errors are 0.09
    assert (first - second).std() != pytest.approx(expected * 2 / 3, rel=0.15)
    first, second = on_all(lab, "none", runs=2)
    assert first == pytest.approx(second, abs=1e-6)  # side by side, sums may be taken in another order


def test_central_noise_is_the_aggregators() -> None:
    lab = small_lab(
        run={"rounds": 1},
        aggregation={"rule": "mean", "pre": ("norm-clip",), "clip_l2": 0.1},
        privacy={"unit": "member", "epsilon": 8.0},
    )
    mechanism = lab.settings.mechanism
    assert isinstance(mechanism, MemberPrivacy)
    first, second = on_all(lab, "yours", runs=2)
    expected = np.sqrt(2) * central_noise(lab.settings.chain, 5.0, mechanism).std
    assert (first - second).std() == pytest.approx(expected, rel=0.15)
    assert (first - second).std() != pytest.approx(expected * 2 / 3, rel=0.15)


@pytest.mark.parametrize(
    ("selection", "sizes"),
    [
        ({"policy": "uniform", "size": 3}, {3}),
        ({"policy": "stratified", "size": 1}, {2}),
        ({"policy": "poisson", "rate": 0.5}, {0, 1, 2, 3, 4, 5}),
        ({}, {5}),
    ],
    ids=["uniform", "stratified", "poisson", "all"],
)
def test_an_onlooker_sees_the_cohorts_that_the_configuration_draws(selection: dict[str, Any], sizes: set[int]) -> None:
    regions = {f"m-{i}": "north" if i < 3 else "south" for i in range(5)}
    labels = regions if selection.get("policy") == "stratified" else {}
    lab = small_lab(run={"rounds": 20}, selection=selection, federation={"name": "f", "labels": labels})
    seen: list[Seen] = []
    pool = pool_of(lab)
    inside = RNG.random((2, len(pool.y))) < 0.5
    trained(lab, "yours", pool, inside, np.random.default_rng(2), seen.append)
    assert {len(one.places) for one in seen} <= sizes
    assert {place for one in seen for place in one.places.tolist()} == set(range(5))
    assert all(one.updates.shape == (len(one.places), one.model.size) for one in seen)
    assert {one.run for one in seen} == {0, 1}


def test_a_member_without_an_example_in_a_half_stays_away() -> None:
    lab = small_lab()
    seen: list[Seen] = []
    pool = pool_of(lab)
    trained(lab, "yours", pool, (pool.owner != 2)[None], np.random.default_rng(0), seen.append)
    assert [one.places.tolist() for one in seen] == [[0, 1, 3, 4]] * 4


def test_what_cannot_be_played_is_named_beforehand_and_refused() -> None:
    adam = small_lab(server={"optimiser": "adam"})
    assert refusal(adam, "none") == ""
    with pytest.raises(ValueError, match="optimiser is adam"):
        on_all(adam, "yours")
    with pytest.raises(ValueError, match="stays with the members"):
        on_all(small_lab(learning=STEPS | {"local": ("2.*",)}), "none")


def test_the_same_generator_gives_the_same_models() -> None:
    lab = small_lab(privacy=PRIVATE | {"normaliser": 30}, learning={"learning_rate": 1.0, "held_out": 0.0})
    assert np.array_equal(on_all(lab, "yours", runs=2), on_all(lab, "yours", runs=2))


def _trainer(lab: Lab) -> LocalTrainer:
    return next(iter(lab.trainers().values()))
