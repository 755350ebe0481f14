"""Special models of a malicious coordinator: what they read, out of sums too, and what clip and noise leave of it."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from phalanx.attacks.leakage import FirstLayer, candidates
from phalanx.attacks.similarity import psnr
from phalanx.attacks.special_model import (
    BIAS,
    HEAD_BIAS,
    IMPRINT,
    WEIGHT,
    Bins,
    bins_of,
    imprint_model,
    isolation,
    read_imprint,
    silenced,
    write_bins,
    write_imprint,
)
from phalanx.attacks.transparent import find_pixels, pixels_of, write_transparent
from phalanx.learning.adapters.torch_module import torch_model
from phalanx.learning.contract import Model
from phalanx.learning.data import Labels
from phalanx.learning.dpsgd import private_mean
from phalanx.learning.models import small_cnn, small_network, softmax_regression
from phalanx.types import F32, ExamplePrivacy
from tests.attacks.conftest import Federation

NETWORK = torch_model(lambda: small_network(64, 48, 10, seed=0), 10)


def gradient(model: Model, x: F32, y: Labels, tensors: dict[str, F32] | None = None) -> dict[str, F32]:
    assert model.gradient is not None
    return dict(model.gradient(model.initial_model() if tensors is None else tensors, x, y))


def rebuilt(found: F32, x: F32) -> int:
    """How many of the inputs a candidate gives at 60 dB or better."""
    return sum(max((psnr(one, guess) for guess in found), default=0.0) > 60 for one in x)


@pytest.fixture(scope="module")
def batch(federation: Federation) -> tuple[F32, Labels]:
    return federation.data[0].x_train[:8], federation.data[0].y_train[:8]


def test_inputs_that_lie_alone_between_two_thresholds_are_read_exactly() -> None:
    x = np.arange(1, 6, dtype=np.float32)[:, None] * np.full(4, 0.25, np.float32)  # h·x = 0.5, 1, … 2.5
    bins = Bins(np.full(4, 0.5, np.float32), np.array([0.1, 0.7, 1.2, 1.7, 2.2], np.float32))
    update = gradient(imprint_model(4, 3, bins), x, np.array([0, 1, 2, 0, 1]))
    found = read_imprint(*IMPRINT.read(update))
    assert found == pytest.approx(x, rel=1e-5)


def test_two_inputs_between_the_same_thresholds_are_a_mixture() -> None:
    x = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    bins = Bins(np.array([0.6, 0.6], np.float32), np.array([0.1, 0.9], np.float32))
    update = gradient(imprint_model(2, 2, bins), x, np.array([0, 0]))
    assert read_imprint(*IMPRINT.read(update)) == pytest.approx(np.array([[0.5, 0.5]]), rel=1e-4)


def test_an_imprint_reads_single_inputs_out_of_the_sum_of_ten_members(federation: Federation) -> None:
    bins = bins_of(federation.split.x_test, 512, np.random.default_rng(0))
    model = imprint_model(64, 10, bins)
    updates, rows = [], []
    for data in federation.data:
        rows.append(data.x_train[:8])
        updates.append(gradient(model, data.x_train[:8], data.y_train[:8]))
    total = {name: np.sum([one[name] for one in updates], axis=0) for name in (WEIGHT, BIAS)}
    assert rebuilt(read_imprint(*IMPRINT.read(total)), np.concatenate(rows)) >= 50  # of 80: others share a bin


def test_under_clip_and_noise_an_imprint_reads_nothing(federation: Federation, batch: tuple[F32, Labels]) -> None:
    privacy = ExamplePrivacy(clip_l2=1.0, noise_multiplier=3.8, normaliser=8, epsilon=8, delta=1e-5)
    bins = bins_of(federation.split.x_test, 128, np.random.default_rng(0))
    model = imprint_model(64, 10, bins)
    each = [gradient(model, batch[0][[i]], batch[1][[i]]) for i in range(8)]
    rows = np.stack([np.concatenate([one[WEIGHT].ravel(), one[BIAS]]) for one in each])
    noised = private_mean(rows, privacy, bytes(32), round=0)
    weight, bias = noised[: 128 * 64].reshape(128, 64), noised[128 * 64 :]
    mean = federation.split.x_test.mean(axis=0)
    found = np.clip(read_imprint(weight, bias), 0, 1)
    assert max(psnr(one, guess) - psnr(one, mean) for one in batch[0] for guess in found) < 1


def test_an_imprint_can_be_written_into_a_first_layer_of_the_agreed_layout(
    federation: Federation, batch: tuple[F32, Labels]
) -> None:
    layer = FirstLayer("0.weight", "0.bias", rows_first=True)
    bins = bins_of(federation.split.x_test, 48, np.random.default_rng(1))
    written = write_imprint(NETWORK.initial_model(), layer, bins)
    assert {name: value.shape for name, value in written.items()} == {
        name: value.shape for name, value in NETWORK.initial_model().items()
    }
    update = gradient(NETWORK, *batch, written)
    assert rebuilt(read_imprint(*layer.read(update)), batch[0]) >= 5


def test_softmax_sorts_inputs_into_bins_where_there_is_one_linear_layer(
    federation: Federation, batch: tuple[F32, Labels]
) -> None:
    model = torch_model(lambda: softmax_regression(64, 10), 10)
    layer = FirstLayer("weight", "bias", rows_first=True)
    bins = bins_of(federation.split.x_test, 10, np.random.default_rng(0))
    written = write_bins(model.initial_model(), layer, bins)
    assert model.logits is not None
    sorted_into = model.logits(written, federation.split.x_test).argmax(axis=1)
    share = np.bincount(sorted_into, minlength=10) / len(sorted_into)
    assert share.min() > 0.05  # tenths
    labels = np.zeros(8, np.int64)  # all alike: what tells them apart is the bins alone
    plain = candidates(*layer.read(gradient(model, batch[0], labels)))
    special = candidates(*layer.read(gradient(model, batch[0], labels, written)))
    assert rebuilt(plain, batch[0]) == 0
    assert rebuilt(special, batch[0]) >= 2


def test_who_is_sent_dead_neurons_adds_nothing_to_the_sum(federation: Federation, batch: tuple[F32, Labels]) -> None:
    loud = {"2.bias"}
    quiet = silenced(NETWORK.initial_model(), loud)
    own = gradient(NETWORK, batch[0][:1], batch[1][:1])
    others = [gradient(NETWORK, data.x_train, data.y_train, quiet) for data in federation.data[1:]]
    total = {name: np.sum([own[name]] + [one[name] for one in others], axis=0) for name in own}
    assert isolation(total, own, loud) == 1.0
    assert rebuilt(candidates(total["0.weight"], total["0.bias"]), batch[0][:1]) == 1
    honest = [gradient(NETWORK, data.x_train, data.y_train) for data in federation.data[1:]]
    mixed = {name: np.sum([own[name]] + [one[name] for one in honest], axis=0) for name in own}
    assert isolation(mixed, own, loud) < 0.5
    assert rebuilt(candidates(mixed["0.weight"], mixed["0.bias"]), batch[0][:1]) == 0


def test_noise_of_the_silent_members_hides_the_victim() -> None:
    rng = np.random.default_rng(0)
    own = {"w": rng.normal(size=100).astype(np.float32)}
    total = {"w": own["w"] + rng.normal(size=100).astype(np.float32)}
    nothing = {"w": np.zeros(3, np.float32)}
    assert isolation(total, own) < 0.2
    assert isolation(own, own) == 1.0
    assert isolation(nothing, nothing) == 0.0


def test_an_imprint_model_predicts_and_its_gradient_is_the_loss_s(federation: Federation) -> None:
    bins = bins_of(federation.split.x_test, 6, np.random.default_rng(0))
    model = imprint_model(64, 3, bins)
    tensors, x, y = model.initial_model(), federation.split.x_test[:4], np.array([0, 1, 2, 0])

    def loss(moved: dict[str, F32]) -> float:
        assert model.logits is not None
        z = model.logits(moved, x).astype(np.float64)
        return float(np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(4), y]))

    found = gradient(model, x, y)
    for name in (BIAS, HEAD_BIAS):
        for i in range(len(tensors[name])):
            up, down = ({**tensors, name: tensors[name] + np.float32(s) * np.eye(len(tensors[name]), dtype="f4")[i]}
                        for s in (1e-2, -1e-2))  # fmt: skip
            assert found[name][i] == pytest.approx((loss(up) - loss(down)) / 2e-2, abs=2e-3)
    assert set(model.predict(tensors, x)) <= {0, 1, 2}


# --------------------------------------------------------------------------------------------- transparent convolutions


def test_convolutions_of_the_agreed_layout_pass_every_pixel_on() -> None:
    model, rng = torch_model(lambda: small_cnn(10, seed=0), 10), np.random.default_rng(0)
    written = write_transparent(model.module, model.initial_model(), -1.0)
    assert written is not None
    tensors, layer = written
    x = rng.uniform(-1, 1, (4, 784)).astype(np.float32)
    features = [candidates(*layer.read(gradient(model, one[None], np.array([3]), tensors)))[:1] for one in x]
    places = find_pixels(np.concatenate(features[:3]), x[:3], -1.0)
    assert places is not None
    assert psnr(x[3], pixels_of(features[3], places, -1.0)[0]) > 100
    assert find_pixels(np.concatenate(features[:3])[:, :700], x[:3], -1.0) is None  # the last ones are cut off


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Conv2d(1, 3, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(27, 2)),  # 4 channels are needed
        nn.Sequential(nn.Conv2d(1, 4, 2, stride=2), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 2)),  # pixels are lost
        nn.Sequential(nn.Conv2d(1, 4, 2, stride=2, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)),
        nn.Sequential(nn.Linear(64, 2)),
        nn.Sequential(nn.Conv2d(1, 2, 3)),
    ],
)
def test_where_pixels_cannot_be_passed_on_there_is_no_such_model(module: nn.Module) -> None:
    tensors = {name: value.detach().numpy() for name, value in module.named_parameters()}
    assert write_transparent(module, tensors, 0.0) is None
