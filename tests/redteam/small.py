"""A small federation for the red team's own tests: five members, digits, softmax regression in numpy, six rounds."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from phalanx.federation import Federation
from phalanx.learning import Model
from phalanx.learning.data import Array

SITES = tuple(f"site-{i}" for i in range(5))


def _logits(model: Mapping[str, Array], x: Array) -> Array:
    return np.asarray(x @ model["weight"] + model["bias"])


def _per_example(model: dict[str, Array], x: Array, y: Array) -> dict[str, Array]:
    logits = _logits(model, x)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    error = odds / odds.sum(axis=1, keepdims=True) - np.eye(10)[y]
    return {"weight": x[:, :, None] * error[:, None, :], "bias": error}


MODEL = Model(
    classes=10,
    initial_model=lambda: {"weight": np.zeros((64, 10), np.float32), "bias": np.zeros(10, np.float32)},
    predict=lambda model, x: _logits(model, x).argmax(axis=1),
    per_example_gradients=_per_example,
)


@cache
def _examples() -> dict[str, tuple[Array, Array]]:
    x, y = load_digits(return_X_y=True)
    return {name: ((x[i::5][:160] / 16).astype(np.float32), y[i::5][:160]) for i, name in enumerate(SITES)}


def federation(**tables: Mapping[str, Any]) -> Federation:
    """The federation with these tables in place of its own."""
    own: dict[str, Mapping[str, Any]] = {
        "federation": {"name": "small", "weight_cap": 0.5},
        "run": {"rounds": 8, "missing_allowed": 1},
        "learning": {"module": "small", "learning_rate": 0.6, "momentum": 0.9, "held_out": 0.25},
        "aggregation": {"rule": "trimmed-mean", "f": 1},
        "gate": {"f": 1},
        "report": {"baselines": False},
    }
    return Federation.local(MODEL, _examples(), **(own | tables))
