"""The two tasks that Phalanx and its peers are given: the same data, first model and rates for every engine.

Speed: 32 members with 60 made-up examples each; a round is three plain SGD steps a member, over its examples in order,
in batches of 20. Nothing is drawn after the start, so all engines must arrive at the same model.

Curve: scikit-learn's digits over ten members, each class shared out by Dirichlet(0.1). A round is ten plain SGD steps a
member, each on 20 of its examples drawn at random without replacement. All members take part in each round and weigh
the same. The rates are the same for every engine; they were chosen with `torch_loop.py` on seeds 100 to 102.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from torch import nn

CLASSES = 10
BATCH = 20

# Speed.
SPEED_MEMBERS = 32
SPEED_EXAMPLES = 60
SPEED_STEPS = SPEED_EXAMPLES // BATCH
SPEED_RATE = 0.05
SPEED_INPUTS = {"mlp": (784,), "cnn": (1, 28, 28)}
SPEED_PARAMETERS = {"mlp": 101_770, "cnn": 5_258}

# Curve.
CURVE_MEMBERS = 10
CURVE_ROUNDS = 30
CURVE_STEPS = 10
CURVE_ALPHA = 0.1
CURVE_TEST = 0.2  # of each class
CURVE_RATE = 0.3
PROX_MU = 0.1
ADAM_RATE = 0.1
ADAM_BETAS = (0.9, 0.99)
ADAM_EPSILON = 1e-3  # τ of Reddi et al., ICLR 2021

_SPLIT_SEED, _MODEL_SEED, _DATA_SEED = 2026, 11, 5

Tensors = dict[str, np.ndarray[Any, Any]]


def network(name: str) -> nn.Sequential:
    """The architecture only; tensors are called "0.weight", "0.bias" and so on. Set the weights before use."""
    if name == "mlp":
        return nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, CLASSES))
    if name == "cnn":
        return nn.Sequential(
            nn.Conv2d(1, 8, 3),  # 28 → 26, no padding
            nn.ReLU(),
            nn.MaxPool2d(2),  # 13
            nn.Conv2d(8, 16, 3),  # 11
            nn.ReLU(),
            nn.MaxPool2d(2),  # 5
            nn.Flatten(),
            nn.Linear(16 * 5 * 5, CLASSES),
        )
    if name == "digits":
        return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, CLASSES))
    raise ValueError(f"a network is mlp, cnn or digits, got {name!r}")


def first_model(name: str) -> Tensors:
    """Weights uniform in ±√(6 / fan-in) in the order of the layers, biases zero; float32."""
    rng = np.random.default_rng(_MODEL_SEED)
    tensors = {}
    for key, value in network(name).state_dict().items():
        shape = tuple(value.shape)
        if key.endswith("weight"):
            bound = np.sqrt(6.0 / np.prod(shape[1:]))
            tensors[key] = rng.uniform(-bound, bound, shape).astype(np.float32)
        else:
            tensors[key] = np.zeros(shape, np.float32)
    return tensors


def speed_data(name: str, member: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """x (60, …) float32 standard normal and y (60,) int64 of one member."""
    rng = np.random.default_rng([_DATA_SEED, member])
    x = rng.standard_normal((SPEED_EXAMPLES, *SPEED_INPUTS[name]), dtype=np.float32)
    return x, rng.integers(0, CLASSES, SPEED_EXAMPLES)


@dataclass(frozen=True, slots=True)
class Split:
    """Row numbers of `load_digits()`: the test set that nobody trains on, and each member's examples."""

    test: list[int]
    members: list[list[int]]

    def digest(self) -> str:
        """Eight hex digits that two engines share if they have the same split."""
        return hashlib.sha256(repr((self.test, self.members)).encode()).hexdigest()[:8]


@lru_cache
def digits() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """x (1797, 64) float32 in 0 … 1 and y (1797,) int64."""
    images, labels = load_digits(return_X_y=True)
    return (images / 16.0).astype(np.float32), labels.astype(np.int64)


@lru_cache
def split() -> Split:
    """A fifth of each class is the test set; the rest of each class goes by Dirichlet(0.1) shares to the members.

    Drawn anew from the same generator until every member has one whole batch.
    """
    _, y = digits()
    rng = np.random.default_rng(_SPLIT_SEED)
    by_class = [rng.permutation(np.flatnonzero(y == c)) for c in range(CLASSES)]
    held = [round(CURVE_TEST * len(rows)) for rows in by_class]
    test = np.concatenate([rows[:h] for rows, h in zip(by_class, held, strict=True)])
    rest = [rows[h:] for rows, h in zip(by_class, held, strict=True)]
    while True:
        shares = [rng.dirichlet(np.full(CURVE_MEMBERS, CURVE_ALPHA)) for _ in rest]
        ends = [(np.cumsum(share)[:-1] * len(rows)).astype(np.int64) for share, rows in zip(shares, rest, strict=True)]
        pieces = [np.split(rows, end) for rows, end in zip(rest, ends, strict=True)]
        members = [np.concatenate([of_class[i] for of_class in pieces]) for i in range(CURVE_MEMBERS)]
        if min(map(len, members)) >= BATCH:
            return Split(test.tolist(), [rows.tolist() for rows in members])


def draw(seed: int, round: int, member: int, engine: str) -> np.ndarray[Any, Any]:
    """(steps, batch) row numbers: what one member trains on in one round, counted from 0.

    An engine that gives its own name has draws of its own; engines that give the same name train on the same examples.
    """
    rng = np.random.default_rng([seed, round, member, zlib.crc32(engine.encode())])
    rows = np.array(split().members[member])
    return np.stack([rng.choice(rows, BATCH, replace=False) for _ in range(CURVE_STEPS)])


def test_set() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """x and y of the test rows."""
    x, y = digits()
    return x[split().test], y[split().test]


def fingerprint(model: Tensors) -> dict[str, float]:
    """Sum and Euclidean norm of all weights: equal, up to rounding, where two engines computed the same."""
    flat = np.concatenate([model[key].ravel().astype(np.float64) for key in sorted(model)])
    return {"sum": float(flat.sum()), "norm": float(np.linalg.norm(flat))}
