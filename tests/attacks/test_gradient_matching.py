"""Images found by the gradient that they leave: undefended at 25 dB and more, under clip and noise not at all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from phalanx.attacks.gradient_matching import Observed, angle, deep_leakage, inverting_gradients, squared
from phalanx.attacks.similarity import psnr
from phalanx.learning.adapters.torch_module import torch_model
from phalanx.learning.contract import Model
from phalanx.learning.dpsgd import private_mean
from phalanx.learning.threads import use_threads
from phalanx.types import F32, ExamplePrivacy
from tests.attacks.conftest import Federation

use_threads(1)


def smooth(width: int = 24) -> nn.Module:
    """Sigmoids, weights uniform in ±0.5, as in DLG."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Linear(64, width), nn.Sigmoid(), nn.Linear(width, width), nn.Sigmoid(), nn.Linear(width, 10)
    )
    for parameter in module.parameters():
        nn.init.uniform_(parameter, -0.5, 0.5)
    return module


def convolutional() -> nn.Module:
    """ReLUs, on 8 × 8 images."""
    torch.manual_seed(0)
    first, second = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 16, 3, stride=2, padding=1)
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)
    )


SMOOTH, CONVOLUTIONAL = torch_model(smooth, 10), torch_model(convolutional, 10)


def observed(model: Model, federation: Federation, row: int, privacy: ExamplePrivacy | None = None) -> Observed:
    data, start = federation.data[0], model.initial_model()
    assert model.gradient is not None
    gradient = dict(model.gradient(start, data.x_train[[row]], data.y_train[[row]]))
    if privacy is not None:
        flat = np.concatenate([value.ravel() for value in gradient.values()])[None]
        noised, at = private_mean(flat, privacy, bytes(32), round=row), 0
        for name, value in gradient.items():
            gradient[name], at = noised[at : at + value.size].reshape(value.shape), at + value.size
    return Observed(
        module=model.module,
        tensors=start,
        gradient=gradient,
        labels=data.y_train[[row]],
        shape=(64,),
        low=np.float32(0),  # type: ignore[arg-type]  # broadcast
        high=np.float32(1),  # type: ignore[arg-type]
        picture=(8, 8),
    )


def image(federation: Federation, row: int) -> F32:
    found: F32 = federation.data[0].x_train[row]
    return found


@pytest.mark.parametrize("row", [0, 1])
def test_dlg_rebuilds_an_image_from_a_smooth_network(row: int, federation: Federation) -> None:
    found = deep_leakage(observed(SMOOTH, federation, row), iterations=200, restarts=1, rng=np.random.default_rng(row))
    assert psnr(image(federation, row), found.x[0]) > 25


def test_dlg_rebuilds_an_image_from_a_network_of_relus(federation: Federation) -> None:
    rng = np.random.default_rng(0)
    found = deep_leakage(observed(CONVOLUTIONAL, federation, 0), iterations=150, restarts=3, rng=rng)
    assert psnr(image(federation, 0), found.x[0]) > 25


def test_inverting_gradients_rebuilds_an_image_by_the_direction_alone(federation: Federation) -> None:
    seen = observed(CONVOLUTIONAL, federation, 0)
    longer = Observed(
        module=seen.module,
        tensors=seen.tensors,
        gradient={name: np.float32(7) * value for name, value in seen.gradient.items()},
        labels=seen.labels,
        shape=seen.shape,
        low=seen.low,
        high=seen.high,
        picture=seen.picture,
    )
    found = inverting_gradients(longer, iterations=500, rng=np.random.default_rng(0))
    assert psnr(image(federation, 0), found.x[0]) > 20


@pytest.mark.parametrize("row", [0, 1])
def test_clip_and_noise_of_a_hundredth_leave_less_than_the_mean_image(row: int, federation: Federation) -> None:
    """s = 1e-2 of the clip is where the analytic attack ends, too (robust-aggregation.md 14.6)."""
    privacy = ExamplePrivacy(clip_l2=1.0, noise_multiplier=0.05, normaliser=1, epsilon=8, delta=1e-5)
    seen = observed(SMOOTH, federation, row, privacy)
    mean = psnr(image(federation, row), federation.split.x_test.mean(axis=0))
    for distance in (squared, angle):
        found = deep_leakage(seen, distance=distance, iterations=200, restarts=1, rng=np.random.default_rng(row))
        assert psnr(image(federation, row), found.x[0]) < mean + 1
    found = inverting_gradients(seen, iterations=200, rng=np.random.default_rng(row))
    assert psnr(image(federation, row), found.x[0]) < mean + 1


def test_a_search_that_diverges_gives_grey(federation: Federation) -> None:
    seen = observed(SMOOTH, federation, 0)
    broken = Observed(
        module=seen.module,
        tensors=seen.tensors,
        gradient={name: np.full_like(value, np.nan) for name, value in seen.gradient.items()},
        labels=seen.labels,
        shape=seen.shape,
        low=seen.low,
        high=seen.high,
    )
    found = deep_leakage(broken, iterations=3, restarts=1, rng=np.random.default_rng(0))
    assert found.x.tolist() == [[0.5] * 64]
    assert found.distance == float("inf")


def test_a_gradient_of_no_tensor_of_the_model_is_refused(federation: Federation) -> None:
    seen = observed(SMOOTH, federation, 0)
    other = Observed(
        module=seen.module,
        tensors=seen.tensors,
        gradient={"elsewhere": np.zeros(3, np.float32)},
        labels=seen.labels,
        shape=seen.shape,
        low=seen.low,
        high=seen.high,
    )
    with pytest.raises(ValueError, match="elsewhere"):
        deep_leakage(other, iterations=1, restarts=1, rng=np.random.default_rng(0))
