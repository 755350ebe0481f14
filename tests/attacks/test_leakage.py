"""An unprotected update of one example gives the image away; DP-SGD's does not."""

from __future__ import annotations

import numpy as np
import pytest

from phalanx.attacks import psnr, reconstruct
from phalanx.attacks.leakage import Reconstruction
from phalanx.learning.data import MemberData
from phalanx.learning.layout import unflatten
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


def test_psnr_of_a_known_error() -> None:
    image = np.zeros(4, np.float32)
    assert psnr(image, np.full(4, 0.5, np.float32)) == pytest.approx(6.0206, abs=1e-4)  # 10·log10(1 / 0.25)
    assert psnr(image, image) == float("inf")
