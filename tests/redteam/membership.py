"""A federation whose model learns its examples by heart: a fifth of the labels are wrong, and right nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from phalanx.federation import Federation
from phalanx.learning import Model
from phalanx.learning.adapters.torch_module import torch_model
from phalanx.learning.models import small_network
from phalanx.learning.threads import use_threads
from phalanx.redteam.lab import Lab

WRONG = 0.2
PRIVATE = {"unit": "example", "epsilon": 8.0, "delta": 1e-5, "clip_l2": 1.0}


def network(hidden: int = 32) -> Model:
    return torch_model(small_network(64, hidden, 10, seed=0), 10)


def lab_of(
    *, members: int, examples: int, model: Model, seed: int = 0, wrong: float = WRONG, **tables: Mapping[str, Any]
) -> Lab:
    """`members` with `examples` digits each, under a plain mean without a gate unless `tables` say otherwise."""
    use_threads(1)
    x, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(len(y)) < wrong, rng.integers(0, 10, len(y)), y)
    rows = np.split(rng.permutation(len(y))[: members * examples], members)
    sites = {f"m-{i}": ((x[each] / 16).astype(np.float32), labels[each]) for i, each in enumerate(rows)}
    defaults: dict[str, Mapping[str, Any]] = {
        "run": {"rounds": 40},
        "learning": {"learning_rate": 0.5, "momentum": 0.9, "held_out": 0.0},
        "aggregation": {"rule": "mean"},
        "gate": {"unsafe_accept_all": True},
        "report": {"baselines": False},
    }
    federation = Federation.local(model, sites, **(defaults | tables))
    return Lab(federation=federation, sites=federation.sites, split="natural", seed=seed)
