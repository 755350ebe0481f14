"""The backdoor gets in, stays quiet on clean images, and can hide in the norm of an honest update."""

from __future__ import annotations

import numpy as np
import pytest

from phalanx.attacks import NormMatched, backdoor, backdoor_success, plant, stamp
from phalanx.learning.contract import Trainer
from phalanx.types import F32, ExamplePrivacy, TrainTask
from tests.attacks.conftest import Federation, honest, thorough

TARGET = 0


def attack(federation: Federation, member: int, boost: float) -> Trainer:
    return backdoor(federation.data[member], thorough, target=TARGET, boost=boost)


def success(federation: Federation, model: F32) -> float:
    split = federation.split
    return backdoor_success(lambda x: federation.predict(model, x), split.x_test, split.y_test, target=TARGET)


def test_the_patch_lights_the_lower_right_corner_of_a_copy() -> None:
    x = np.zeros((2, 64), np.float32)
    stamped = stamp(x, size=2).reshape(2, 8, 8)
    assert (stamped[:, 6:, 6:] == 1).all()
    assert stamped.sum() == 8
    assert not x.any()


@pytest.mark.parametrize(("pixels", "size"), [(63, 3), (64, 0), (64, 9)])
def test_a_patch_that_fits_no_square_image_is_refused(pixels: int, size: int) -> None:
    with pytest.raises(ValueError, match="square images"):
        stamp(np.zeros((1, pixels), np.float32), size=size)


def test_planting_adds_a_stamped_copy_of_each_image_of_another_class(federation: Federation) -> None:
    data = federation.data[0]
    planted = plant(data, TARGET)
    others = data.y_train != TARGET
    assert len(planted.y_train) == len(data.y_train) + others.sum()
    assert (planted.x_train[len(data.y_train) :] == stamp(data.x_train[others])).all()
    assert (planted.y_train[len(data.y_train) :] == TARGET).all()
    assert (planted.x_held == data.x_held).all()


def test_one_boosted_member_of_ten_plants_a_backdoor_that_clean_accuracy_does_not_show(
    federation: Federation, clean_model: F32
) -> None:
    model = federation.run(20, {0: attack(federation, 0, boost=10)})
    assert success(federation, clean_model) < 0.05
    assert success(federation, model) >= 0.95
    assert federation.accuracy(model) > federation.accuracy(clean_model) - 0.02


def test_the_boost_is_what_replaces_the_model_in_one_round(federation: Federation, clean_model: F32) -> None:
    task = TrainTask(20, None)
    rest = [trainer.train(clean_model, task, None).delta for trainer in federation.trainers[1:]]

    def after(boost: float) -> F32:
        bad = attack(federation, 0, boost).train(clean_model, task, None).delta
        return clean_model + np.mean([bad, *rest], axis=0, dtype=np.float32)

    assert success(federation, after(10)) >= 0.95
    assert success(federation, after(1)) < 0.5


def test_a_norm_matched_backdoor_is_as_long_as_the_noised_update_of_an_honest_member(federation: Federation) -> None:
    privacy = ExamplePrivacy(clip_l2=1.0, noise_multiplier=3.8, normaliser=122, epsilon=8, delta=1e-5)
    task = TrainTask(0, privacy, b"k" * 32)
    boosted = attack(federation, 0, boost=10)
    good = federation.trainers[0].train(federation.start, task, None)
    bad = boosted.train(federation.start, task, None)
    hidden = NormMatched(boosted, federation.trainers[0]).train(federation.start, task, None)
    assert np.linalg.norm(bad.delta) > 5 * np.linalg.norm(good.delta)
    assert np.linalg.norm(hidden.delta) == pytest.approx(np.linalg.norm(good.delta), rel=1e-5)  # float32 rounding
    cosine = hidden.delta @ bad.delta / (np.linalg.norm(hidden.delta) * np.linalg.norm(bad.delta))
    assert cosine == pytest.approx(1.0, abs=1e-5)
    assert hidden.examples == good.examples


def test_norm_matched_members_keep_both_momenta_from_round_to_round(federation: Federation) -> None:
    task = TrainTask(0, None)
    member = federation.trainers[0]
    hidden = NormMatched(honest(federation.data[1]), member)
    first = hidden.train(federation.start, task, None)
    second = hidden.train(federation.start, task, first.state)
    honest_first = member.train(federation.start, task, None)
    honest_second = member.train(federation.start, task, honest_first.state)
    assert np.linalg.norm(second.delta) == pytest.approx(np.linalg.norm(honest_second.delta), rel=1e-5)
    assert (second.state[-honest_second.state.size :] == honest_second.state).all()
    assert np.linalg.norm(honest_second.delta) > 1.5 * np.linalg.norm(honest_first.delta)
    moved = federation.start + honest_first.delta
    assert hidden.evaluate(moved, federation.start, first.state) == member.evaluate(moved, federation.start, None)


def test_a_norm_matched_member_whose_attack_keeps_nothing_keeps_its_honest_momentum(federation: Federation) -> None:
    task, member = TrainTask(0, None), federation.trainers[0]
    hidden = NormMatched(attack(federation, 1, boost=1), member)  # starts from the current model each round
    first = hidden.train(federation.start, task, None)
    second = hidden.train(federation.start, task, first.state)
    expected = member.train(federation.start, task, member.train(federation.start, task, None).state)
    assert np.linalg.norm(second.delta) == pytest.approx(np.linalg.norm(expected.delta), rel=1e-5)


def test_four_norm_matched_members_of_ten_still_plant_the_backdoor(federation: Federation, clean_model: F32) -> None:
    attackers = {i: NormMatched(attack(federation, i, boost=1), federation.trainers[i]) for i in range(4)}
    model = federation.run(20, attackers)
    assert success(federation, model) > 0.8
    assert federation.accuracy(model) > federation.accuracy(clean_model) - 0.02
