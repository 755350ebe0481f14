"""A federated toy for each adapter, by a plain loop over `Model`: no member holds all classes, together they do.

Three classes, normal around the corners of a triangle of side 4 with standard deviation 1. The best rule is wrong with
probability at most 2·Q(2) = 0.0455, by the union of two half-planes; it is linear, since the variances are equal. On
600 examples the standard error of that is at most 0.0085, so a model that found the rule is right on at least
1 - 0.0455 - 4·0.0085 = 0.92. A model that knows only two of the three classes is right on at most 2/3 of them.
"""

from __future__ import annotations

import copy
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.neural_network import MLPClassifier

from phalanx.learning.adapters.jax_function import jax_model
from phalanx.learning.adapters.low_rank import low_rank_model
from phalanx.learning.adapters.scikit import scikit_model
from phalanx.learning.adapters.scikit_gradients import scikit_gradients
from phalanx.learning.adapters.torch_module import torch_model
from phalanx.learning.contract import Model, Tensors
from phalanx.learning.data import Array, Labels
from phalanx.learning.models import small_network, softmax_regression

BOUND = 0.92
CORNERS = np.array([[0.0, 4 / np.sqrt(3)], [2.0, -2 / np.sqrt(3)], [-2.0, -2 / np.sqrt(3)]])


def examples(rng: np.random.Generator, classes: list[int], each: int) -> tuple[Array, Labels]:
    y = np.repeat(np.array(classes, np.int64), each)
    return (CORNERS[y] + rng.normal(size=(len(y), 2))).astype(np.float32), y


def network_by_jax() -> Model:
    def init() -> Any:
        first, second = jax.random.split(jax.random.key(3))
        return {"in": jax.random.normal(first, (2, 16)), "out": [jax.random.normal(second, (16, 3)) / 4, jnp.zeros(3)]}

    return jax_model(init, lambda p, x: jnp.tanh(x @ p["in"]) @ p["out"][0] + p["out"][1], 3)


MODELS = {
    "torch": lambda: torch_model(softmax_regression(2, 3), 3),
    "torch network": lambda: torch_model(lambda: small_network(2, 16, 3, seed=1), 3),
    "low rank": lambda: low_rank_model(
        small_network(2, 16, 3, seed=1), classes=3, rank=1, alpha=2, targets=["0"], train_too=["2.*"], seed=1
    ),
    "jax": network_by_jax,
    "scikit gradients": lambda: scikit_gradients(LogisticRegression(), features=2, classes=3),
    "scikit gradients against the rest": lambda: scikit_gradients(
        SGDClassifier(loss="log_loss"), features=2, classes=3
    ),
    "scikit SGD": lambda: scikit_model(SGDClassifier(loss="log_loss", alpha=0.01), features=2, classes=3),
    "scikit logistic regression": lambda: scikit_model(LogisticRegression(), features=2, classes=3, local_epochs=3),
    "scikit network": lambda: scikit_model(
        MLPClassifier((16,), learning_rate_init=0.01, random_state=1), features=2, classes=3, local_epochs=5
    ),
}


def delta_of(model: Model, here: Tensors, x: Array, y: Labels, round: int) -> Any:
    if model.train is not None:
        return model.train(copy.deepcopy(here), x, y, round=round)
    assert model.gradient
    return {name: -0.3 * value for name, value in model.gradient(here, x, y).items()}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS.keys())
def test_a_federation_of_members_without_a_class_each_finds_the_best_rule(make: Any) -> None:
    rng = np.random.default_rng(5)
    members = [examples(rng, classes, 60) for classes in ([0, 1], [1, 2], [2, 0])]
    x, y = examples(rng, [0, 1, 2], 200)
    model: Model = make()
    here = model.initial_model()
    assert (model.predict(here, x) == y).mean() < 2 / 3
    for round in range(1, 31):
        deltas = [delta_of(model, here, *member, round) for member in members]
        here = {
            name: (value + np.mean([delta.get(name, 0) for delta in deltas], axis=0)).astype(np.float32)
            for name, value in here.items()
        }
    assert (model.predict(here, x) == y).mean() >= BOUND
