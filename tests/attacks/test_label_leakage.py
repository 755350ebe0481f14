"""Labels in the sign of a gradient: exact for one example, counted for several; noise takes them away."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from phalanx.attacks.label_leakage import ClassTensor, find_class_tensor, label_counts, label_of
from phalanx.learning.adapters.torch_module import torch_model
from phalanx.learning.contract import Model
from phalanx.learning.models import small_network
from phalanx.types import F32, ExamplePrivacy, TrainTask
from tests.attacks.conftest import MODEL, Federation, honest

NETWORK = torch_model(lambda: small_network(64, 32, 10, seed=0), 10)


def gradient(model: Model, federation: Federation, rows: np.ndarray) -> dict[str, F32]:
    data = federation.data[0]
    assert model.gradient is not None
    return dict(model.gradient(model.initial_model(), data.x_train[rows], data.y_train[rows]))


def tensor_of(model: Model, federation: Federation) -> ClassTensor:
    rows = np.arange(12)
    found = find_class_tensor(
        [gradient(model, federation, rows[[i]]) for i in rows], federation.data[0].y_train[rows].tolist(), 10
    )
    assert found is not None
    return found


@pytest.mark.parametrize(("model", "name"), [(MODEL, "bias"), (NETWORK, "2.bias")])
def test_the_label_of_one_example_is_always_read(model: Model, name: str, federation: Federation) -> None:
    tensor = tensor_of(model, federation)
    assert tensor.name == name
    truth = federation.data[0].y_train[:50]
    read = [label_of(tensor.scores(gradient(model, federation, np.array([i])))) for i in range(50)]
    assert read == truth.tolist()


def test_without_a_bias_the_last_weight_tells(federation: Federation) -> None:
    rows = np.arange(12)
    without = [{k: v for k, v in gradient(NETWORK, federation, rows[[i]]).items() if k != "2.bias"} for i in rows]
    tensor = find_class_tensor(without, federation.data[0].y_train[rows].tolist(), 10)
    assert tensor is not None
    assert (tensor.name, tensor.axis) == ("2.weight", 0)


def test_counts_of_a_batch_are_exact_where_the_confidence_is_known(federation: Federation) -> None:
    tensor, rows = tensor_of(MODEL, federation), np.arange(32)
    counts = label_counts(tensor.scores(gradient(MODEL, federation, rows)), 32, np.full(10, 0.1))
    assert counts == tuple(np.bincount(federation.data[0].y_train[rows], minlength=10).tolist())


def test_a_gradient_that_several_steps_shortened_is_lengthened_until_some_label_has_none() -> None:
    true = np.array([4, 3, 1, 0, 0, 0, 0, 0, 0, 0])
    assert label_counts(0.3 * (0.1 - true / 8), 8, np.full(10, 0.1)) == tuple(true.tolist())


def test_counts_sum_up_whatever_the_noise_says() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert sum(label_counts(rng.normal(size=10), 8, np.full(10, 0.1))) == 8
    assert label_counts(np.full(2, 9.0), 4, np.full(2, 0.5)) == (2, 2)


def test_clip_and_noise_leave_the_label_to_chance(federation: Federation) -> None:
    privacy = ExamplePrivacy(clip_l2=1.0, noise_multiplier=3.8, normaliser=122, epsilon=8, delta=1e-5)
    data, tensor, right = federation.data[0], tensor_of(MODEL, federation), 0
    for i in range(100):
        one = replace(data, x_train=data.x_train[[i]], y_train=data.y_train[[i]])
        key = i.to_bytes(32, "big")
        trainer = honest(one)
        delta = trainer.train(federation.start, TrainTask(0, privacy, key), None).delta
        bias = delta[trainer.layout.tensors[0].offset :][: trainer.layout.tensors[0].size]
        right += label_of(tensor.scores({"bias": -bias})) == int(data.y_train[i])
    assert right <= 20  # 10 ± 3 by chance; undefended it is 100


def test_one_logit_for_two_classes_tells_by_its_sign() -> None:
    gradients = [{"b": np.array([v], np.float32)} for v in (0.5, -0.5, -0.4)]
    tensor = find_class_tensor(gradients, [0, 1, 1], 2)
    assert tensor == ClassTensor("b", 0, 2)
    assert tensor.scores(gradients[0]).tolist() == [-0.5, 0.5]
    assert find_class_tensor(gradients, [1, 1, 0], 2) is None
