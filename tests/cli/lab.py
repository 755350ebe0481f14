"""A run that a user could have set up in a folder: three members, plain numpy, a configuration to be changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from phalanx.cli.app import app

MODULE = """
import numpy as np

CLASSES = 2


def initial_model():
    return {"weight": np.zeros((3, 2), "f4")}


def load(member):
    rng = np.random.default_rng(int(member.rsplit("-", 1)[1]))
    labels = np.arange(200) % 2
    x = rng.normal(size=(200, 3)).astype("f4")
    x[:, 0] += 4 * labels - 2
    return x, labels


def predict(model, x):
    return (x @ model["weight"]).argmax(axis=1)


def per_example_gradients(model, x, y):
    logits = x @ model["weight"]
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    error = odds / odds.sum(axis=1, keepdims=True) - np.eye(2)[y]
    return {"weight": x[:, :, None] * error[:, None, :]}
"""
TABLES: Mapping[str, Mapping[str, Any]] = {
    "federation": {"name": "lab", "members": ["m-0", "m-1", "m-2"]},
    "run": {"rounds": 2},
    "learning": {"module": "member.py"},
    "aggregation": {"rule": "trimmed-mean", "f": 1},
    "gate": {"f": 1},
}


@dataclass(frozen=True)
class Result:
    """What a command left: its exit code, stdout, and stderr."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def envelope(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        (line,) = self.stdout.splitlines()
        return dict(json.loads(line))


def write(place: Path, module: str = MODULE, **tables: Mapping[str, Any]) -> Path:
    """A folder with member.py and phalanx.toml; `tables` replace whole tables. Returns the configuration's path."""
    place.mkdir(parents=True, exist_ok=True)
    (place / "member.py").write_text(module, encoding="utf-8")
    lines = []
    for name, table in {**TABLES, **tables}.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    (place / "phalanx.toml").write_text("\n".join(lines), encoding="utf-8")
    return place / "phalanx.toml"


def phalanx(*arguments: str | Path) -> Result:
    """The command line in this process."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return Result(result.exit_code, result.stdout, result.stderr)


def run(config: Path, *options: str | Path) -> Result:
    """`phalanx run` with JSON on stdout, into RUN beside the configuration."""
    return phalanx("run", config, "--out", config.with_name("run"), "--format", "json", *options)
