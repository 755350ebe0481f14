"""An unprotected update of one example gives the image away, of several often some; DP-SGD's does not."""

from __future__ import annotations

import numpy as np
import pytest

from phalanx.attacks import psnr, reconstruct
from phalanx.attacks.leakage import FirstLayer, Reconstruction, candidates, find_first_layer
from phalanx.learning.adapters.torch_module import torch_model
from phalanx.learning.data import MemberData
from phalanx.learning.descent import Descent
from phalanx.learning.layout import flatten, unflatten
from phalanx.learning.models import small_network, softmax_regression
from phalanx.learning.trainer import LocalTrainer
from phalanx.types import F32, ExamplePrivacy, TrainTask
from tests.attacks.conftest import Federation, honest


def stolen_from(federation: Federation, row: int, privacy: ExamplePrivacy | None) -> tuple[F32, int, Reconstruction]:
    data = federation.data[0]
    one = MemberData(data.x_train[[row]], data.y_train[[row]], data.x_held, data.y_held, data.classes)
    trainer = honest(one)
    update = unflatten(trainer.train(federation.start, TrainTask(0, privacy, b"k" * 32), None).delta, trainer.layout)
    return one.x_train[0], int(one.y_train[0]), reconstruct(update["weight"], update["bias"])


@pytest.mark.parametrize("row", range(5))
def test_a_single_example_is_reconstructed_from_an_unprotected_update(federation: Federation, row: int) -> None:
    image, label, guess = stolen_from(federation, row, None)
    assert psnr(image, guess.x) > 60
    assert guess.label == label


@pytest.mark.parametrize("row", range(5))
def test_clip_and_noise_leave_less_than_the_mean_image_tells(federation: Federation, row: int) -> None:
    privacy = ExamplePrivacy(clip_l2=1.0, noise_multiplier=3.8, normaliser=122, epsilon=8, delta=1e-5)
    image, _, guess = stolen_from(federation, row, privacy)
    baseline = psnr(image, federation.split.x_test.mean(axis=0))
    assert psnr(image, guess.x) < baseline


def test_an_update_without_bias_movement_tells_nothing() -> None:
    with pytest.raises(ValueError, match="no bias moved"):
        reconstruct(np.ones((10, 64), np.float32), np.zeros(10, np.float32))


# ----------------------------------------------------------------------------------------------------- several examples

RELU = torch_model(lambda: small_network(64, 100, 10, seed=0), 10)
SOFTMAX = torch_model(lambda: softmax_regression(64, 10), 10)


def best(found: F32, image: F32) -> float:
    """PSNR of the candidate that is nearest."""
    inside = np.clip(found, 0, 1)
    return min(200.0, max(psnr(image, one) for one in inside))


def test_with_a_hidden_layer_most_of_a_small_batch_is_read_exactly(federation: Federation) -> None:
    """Neurons that fire for one example alone: robust-aggregation.md 14.6, mean over 100 neurons: 185 dB at B = 2."""
    x, y = federation.data[0].x_train[:4], federation.data[0].y_train[:4]
    gradient = RELU.gradient(RELU.initial_model(), x, y) if RELU.gradient else {}
    found = candidates(gradient["0.weight"], gradient["0.bias"])
    assert sum(best(found, image) > 60 for image in x) >= 3


def test_images_whose_label_nobody_else_has_are_read_exactly_out_of_a_softmax_regression(
    federation: Federation,
) -> None:
    data = federation.data[0]
    rows = np.array([np.flatnonzero(data.y_train == label)[0] for label in range(6)])
    gradient = SOFTMAX.gradient(SOFTMAX.initial_model(), data.x_train[rows], data.y_train[rows])  # type: ignore[misc]
    found = candidates(gradient["weight"], gradient["bias"], len(rows))
    assert min(best(found, image) for image in data.x_train[rows]) > 60
    without = candidates(gradient["weight"][:6], gradient["bias"][:6])  # no row whose label nobody has
    assert min(best(without, image) for image in data.x_train[rows]) < 25


def test_the_fit_to_all_rows_is_better_than_one_ratio_under_noise() -> None:
    rng = np.random.default_rng(0)
    x, errors = rng.random(64), rng.normal(size=100)
    weight = (np.outer(errors, x) + rng.normal(0, 0.3, (100, 64))).astype(np.float32)
    bias = (errors + rng.normal(0, 0.3, 100)).astype(np.float32)
    fit = candidates(weight, bias)[0]
    assert psnr(x.astype(np.float32), fit) > psnr(x.astype(np.float32), reconstruct(weight, bias).x) + 3


def test_a_little_noise_is_no_defence_and_noise_as_large_as_the_clip_is(federation: Federation) -> None:
    """One ratio ends at s = 1e-2 (robust-aggregation.md 14.6); the fit to a hundred rows sees through it."""
    data, average = federation.data[0], federation.split.x_test.mean(axis=0)
    gains = {}
    for noise in (0.01, 1.0):
        privacy = ExamplePrivacy(1.0, noise, 1, epsilon=8, delta=1e-5)
        gains[noise] = [fitted(federation, row, privacy) - psnr(data.x_train[row], average) for row in range(10)]
    assert float(np.mean(gains[0.01])) > 3
    assert max(gains[1.0]) < 1


def fitted(federation: Federation, row: int, privacy: ExamplePrivacy) -> float:
    """PSNR of the fit to all rows of one image's update as it is sent."""
    data = federation.data[0]
    one = MemberData(data.x_train[[row]], data.y_train[[row]], data.x_held, data.y_held, data.classes)
    trainer = LocalTrainer(RELU, one, Descent(learning_rate=1.0))
    start = flatten(RELU.initial_model(), trainer.layout)
    update = unflatten(trainer.train(start, TrainTask(row, privacy, b"k" * 32), None).delta, trainer.layout)
    return psnr(one.x_train[0], np.clip(candidates(update["0.weight"], update["0.bias"])[0], 0, 1))


@pytest.mark.parametrize("rows_first", [True, False])
def test_the_first_layer_is_found_by_what_it_gives_back_and_not_by_its_name(rows_first: bool) -> None:
    rng = np.random.default_rng(0)
    toys = rng.random((3, 5)).astype(np.float32)
    updates = []
    for toy in toys:
        errors = rng.normal(size=4).astype(np.float32)
        outer = np.outer(errors, toy)
        decoy = rng.normal(size=(4, 5)).astype(np.float32)
        updates.append({"a": decoy, "b": errors, "z": outer if rows_first else outer.T.copy()})
    assert find_first_layer(updates, toys) == FirstLayer("z", "b", rows_first)
    assert find_first_layer([{"a": one["a"], "b": one["b"]} for one in updates], toys) is None


def test_a_solver_with_a_penalty_gives_the_direction_away_and_the_scale_is_tried() -> None:
    rng = np.random.default_rng(0)
    toys = rng.random((4, 5)).astype(np.float32)
    updates = [
        {"w": s * toy[None], "b": np.ones(1, np.float32)} for toy, s in zip(toys, (0.5, 0.6, 0.8, 0.7), strict=True)
    ]
    layer = find_first_layer(updates, toys)
    assert layer is not None
    assert (min(layer.scales), max(layer.scales)) == pytest.approx((1.25, 2.0))
    assert layer.scaled(toys[:1]).shape == (len(layer.scales), 5)


def test_an_update_in_which_nothing_moved_has_no_candidates() -> None:
    assert candidates(np.zeros((3, 5), np.float32), np.zeros(3, np.float32)).shape == (0, 5)
