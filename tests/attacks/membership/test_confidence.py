"""A model's confidence from its scores, or from the one gradient that gives it away."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from phalanx.attacks.membership import confidence
from phalanx.attacks.membership.confidence import of_logits, of_residual
from phalanx.learning.adapters.torch_module import torch_model
from phalanx.learning.contract import Model, Tensors
from phalanx.learning.data import Array, Labels
from phalanx.learning.models import small_network
from phalanx.types import F64

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(50, 8)).astype(np.float32), RNG.integers(0, 4, 50)
NETWORK = torch_model(small_network(8, 16, 4, seed=0), 4)


def softmax(z: F64) -> F64:
    odds = np.exp(z - z.max(axis=1, keepdims=True))
    found: F64 = odds / odds.sum(axis=1, keepdims=True)
    return found


def test_it_is_the_logarithm_of_the_odds_of_the_true_label() -> None:
    z = RNG.normal(0, 2, (30, 5))
    y = RNG.integers(0, 5, 30)
    p = softmax(z)[np.arange(30), y]
    assert of_logits(z, y) == pytest.approx(np.log(p / (1 - p)))
    assert of_residual(softmax(z) - np.eye(5)[y], y) == pytest.approx(np.log(p / (1 - p)))


def test_it_stays_apart_where_the_probability_rounds_to_one() -> None:
    z = np.array([[800.0, 0, 0], [900.0, 0, 0], [-800.0, 0, 0]])
    assert of_logits(z, np.zeros(3, np.int64)) == pytest.approx([800 - np.log(2), 900 - np.log(2), -800 - np.log(2)])


def test_scores_shifted_alike_are_the_same_confidence() -> None:
    z = RNG.normal(size=(20, 3))
    y = RNG.integers(0, 3, 20)
    assert of_logits(z + 1000, y) == pytest.approx(of_logits(z, y))


def test_a_model_without_scores_is_read_from_its_last_layers_gradient() -> None:
    tensors = NETWORK.initial_model()
    by_scores = confidence(NETWORK, tensors, X, Y)
    by_gradient = confidence(replace(NETWORK, logits=None), tensors, X, Y)
    assert by_scores is not None
    assert by_gradient is not None
    assert by_gradient == pytest.approx(by_scores, abs=1e-4)


def test_a_gradient_of_another_kind_is_not_mistaken_for_it() -> None:
    """The hinge loss: rows sum to 0 and have the shape, but half of a margin is no probability."""

    def hinge(model: Tensors, x: Array, y: Labels) -> Tensors:
        rows = np.full((len(y), 4), 0.5)
        rows[np.arange(len(y)), y] = -1.5
        return {"bias": rows}

    tensors = NETWORK.initial_model()
    assert confidence(replace(NETWORK, logits=None, per_example_gradients=hinge), tensors, X, Y) is None
    assert confidence(replace(NETWORK, logits=None, per_example_gradients=None), tensors, X, Y) is None


def test_a_long_list_of_examples_is_asked_in_parts() -> None:
    calls = []

    def gradients(model: Tensors, x: Array, y: Labels) -> Tensors:
        calls.append(len(y))
        return {"bias": np.full((len(y), 2), 0.5) - np.eye(2)[y]}

    model = Model(
        classes=2,
        initial_model=lambda: {"bias": np.zeros(1 << 23, np.float32)},
        predict=lambda model, x: np.zeros(len(x), np.int64),
        per_example_gradients=gradients,
    )
    found = confidence(model, model.initial_model(), X[:5], Y[:5] % 2)
    assert calls == [2, 2, 1]
    assert found == pytest.approx(np.zeros(5))
