"""A federation small enough to be followed by hand: softmax regression on three numbers, a few members."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from phalanx.federation import Callback, Federation, Result, Started
from phalanx.learning import Model
from phalanx.learning.contract import Tensors
from phalanx.learning.data import Array, Labels
from phalanx.round.coordinator import RoundRecord

FEATURES, CLASSES = 3, 2
TABLES: Mapping[str, Mapping[str, Any]] = {
    "run": {"rounds": 3},
    "learning": {"learning_rate": 0.5},
    "aggregation": {"rule": "trimmed-mean", "f": 1},
}
PRIVACY = {"unit": "example", "epsilon": 5.0, "clip_l2": 1.0, "normaliser": 60}


def start() -> Tensors:
    """All zeros."""
    return {"weight": np.zeros((FEATURES, CLASSES), np.float32)}


def predict(model: Tensors, x: Array) -> Array:
    """The likelier class."""
    return np.asarray((x @ model["weight"]).argmax(axis=1))


def each_gradient(model: Tensors, x: Array, y: Labels) -> Tensors:
    """(n, 3, 2): the gradient of each example's cross-entropy."""
    logits = x @ model["weight"]
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    error = odds / odds.sum(axis=1, keepdims=True) - np.eye(CLASSES)[y]
    return {"weight": x[:, :, None] * error[:, None, :]}


def model(**functions: Any) -> Model:
    """The model; `functions` replace its own."""
    own = {"initial_model": start, "predict": predict, "per_example_gradients": each_gradient}
    return Model(classes=CLASSES, **{**own, **functions})


def sites(members: int = 5, examples: int = 60) -> dict[str, tuple[Array, Labels]]:
    """Two clouds at each member, the label in the first number."""
    made = {}
    for i in range(members):
        rng = np.random.default_rng(i)
        y = np.arange(examples) % CLASSES
        x = rng.normal(size=(examples, FEATURES)).astype(np.float32)
        x[:, 0] += 3 * y - 1.5
        made[f"m-{i}"] = (x, y)
    return made


def federation(given: Model | None = None, **tables: Mapping[str, Any]) -> Federation:
    """Five members; `tables` replace whole tables."""
    return Federation.local(given or model(), sites(), **{**TABLES, **tables})


def charges(ledger: Path) -> int:
    """How many charges a ledger holds; 0 where there is none."""
    if not ledger.exists():
        return 0
    database = sqlite3.connect(ledger)
    try:
        return int(database.execute("select count(*) from charge").fetchone()[0])
    finally:
        database.close()


class Diary(Callback):
    """Writes down what it hears, and fails after the round that it is told to fail after."""

    def __init__(self, fails_after: int = 0) -> None:
        self.heard: list[str] = []
        self.results: list[Result] = []
        self.runs: list[Started] = []
        self._fails_after = fails_after

    def started(self, run: Started) -> None:
        self.runs.append(run)
        self.heard.append(f"started after {len(run.closed)}")

    def round_closed(self, record: RoundRecord) -> None:
        self.heard.append(f"round {record.round}")
        if record.round == self._fails_after:
            raise InterruptedError("the machine was switched off")

    def comparing(self) -> None:
        self.heard.append("comparing")

    def ended(self, result: Result) -> None:
        self.results.append(result)
        self.heard.append(f"ended after {len(result.records)}")
