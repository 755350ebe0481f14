"""The red team's own claims: every attack where nothing defends, on digits and MNIST, and the default matrix on digits.

    make bench-data
    .venv/bin/python benchmarks/redteam.py --undefended     # about 10 minutes; results/redteam_undefended.json
    .venv/bin/python benchmarks/redteam.py --matrix         # under 5 minutes; results/redteam_digits.json

`--undefended`: each attack against plain federated averaging (attacks on votes: behind a gate that trusts everybody),
three seeds, two settings. Digits: the configuration of examples/digits, 3 of 10 members hostile. MNIST: 4,000 images
over ten members, a network of 50,890 parameters, 30 rounds of 5 steps on mini-batches of 32, 3 of 10 hostile. An attack
that does not meet its goal is reported as an invalid test there, and its figure with it.

`--matrix`: `phalanx redteam examples/digits/phalanx.toml` as it is, in a folder of its own, twice: the reports must be
the same bytes. Figures of time are of this machine, all cores.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

import numpy as np

from phalanx.federation import Federation
from phalanx.learning.adapters.torch_module import torch_model
from phalanx.learning.models import small_network
from phalanx.redteam.campaign import campaign, run_campaign
from phalanx.redteam.known import known
from phalanx.redteam.matrix import Progress
from phalanx.redteam.outcome import QUIET
from phalanx.redteam.report.json_file import as_json
from phalanx.redteam.report.page import render
from phalanx.redteam.report.sarif import as_sarif
from phalanx.redteam.result import Judged, Result
from phalanx.redteam.scenario import Scenario

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
DIGITS = ROOT / "examples" / "digits" / "phalanx.toml"
MNIST = ROOT / "data" / "mnist.npz"
SITES = tuple(f"site-{i}" for i in range(10))
_REPORTS = (as_json, render, as_sarif)
IMAGES, HIDDEN, SEEDS, HOSTILE = 4_000, 64, 3, 3


def mnist() -> Federation:
    """Ten members with 400 images each, evenly."""
    with np.load(MNIST) as file:
        images, labels = file["images"].reshape(-1, 784), file["labels"].astype(np.int64)
    some = np.random.default_rng(0).permutation(len(labels))[:IMAGES]
    parts = dict(zip(SITES, np.array_split(some, len(SITES)), strict=True))
    sites = {name: ((images[rows] / 255).astype(np.float32), labels[rows]) for name, rows in parts.items()}
    return Federation.local(
        torch_model(lambda: small_network(784, HIDDEN, 10, seed=0), 10),
        sites,
        federation={"name": "mnist", "weight_cap": 0.2},
        run={"rounds": 30, "missing_allowed": 3},
        learning={"module": "mnist", "learning_rate": 0.1, "local_steps": 5, "batch_size": 32, "held_out": 0.2},
        aggregation={"rule": "trimmed-mean", "f": 3},
        gate={"f": 3},
        report={"baselines": False},
    )


def main() -> None:
    """Runs what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--undefended", action="store_true")
    parser.add_argument("--matrix", action="store_true")
    given = parser.parse_args()
    if given.undefended:
        _write("redteam_undefended.json", undefended())
    if given.matrix:
        _write("redteam_digits.json", matrix())


def undefended() -> dict[str, Any]:
    """Every attack on training, where nothing defends."""
    every = known(())
    found: dict[str, Any] = {"hostile": HOSTILE, "seeds": SEEDS, "attacks": {}}
    for name, federation in (("digits", Federation.from_config(DIGITS)), ("mnist", mnist())):
        scenario = Scenario(attacks=("training",), defences=("none",), hostile=(HOSTILE,))
        result, _ = _played(federation, scenario, f"undefended-{name}")
        for one in result.judged:
            if one.attack == QUIET or one.defence != every.training[one.attack].undefended:
                continue
            row = found["attacks"].setdefault(one.attack, _card(result, one.attack))
            row[name] = _figures(one)
        found[f"{name}_accuracy"] = next(j.accuracy for j in result.judged if (j.attack, j.defence) == (QUIET, "none"))
    return found


def matrix() -> dict[str, Any]:
    """The default matrix on digits, twice from nothing."""
    federation = Federation.from_config(DIGITS)
    first, first_s = _played(federation, Scenario(), "matrix-first")
    second, second_s = _played(federation, Scenario(), "matrix-second")
    written = [
        [hashlib.sha256(made(one)).hexdigest() for made in (as_json, render, as_sarif)] for one in (first, second)
    ]
    return {
        "seconds": [round(first_s, 1), round(second_s, 1)],
        "cells": len(first.outcomes),
        "cores": len(os.sched_getaffinity(0)),
        "same_bytes": written[0] == written[1],
        "hostile": list(first.hostile),
        "test_inputs": first.test_inputs,
        "clean": {one.defence: one.accuracy for one in first.judged if one.attack == QUIET},
        "threats": {one.id: {"title": one.title, "status": one.status, "words": one.words} for one in first.threats},
        "worst": [{"defence": w.defence, "attack": w.attack, "harm": w.harm, "words": w.words} for w in first.worst],
        "costs": [
            {
                "defence": c.defence,
                "attack": c.attack,
                "members": c.members,
                "knowledge": c.knowledge,
                "rounds": c.rounds,
                "points": c.points,
                "per_point": c.per_point,
            }
            for c in first.costs
        ],
        "leaks": [
            {"attack": x.attack, "measure": x.measure, "central": x.central, "naive": x.naive, "phalanx": x.phalanx}
            for x in first.leaks
        ],
        "cells_by": [
            {"attack": j.attack, "defence": j.defence, "verdict": j.verdict, "harm": j.harm, **_figures(j)}
            for j in first.judged
            if j.attack != QUIET
        ],
    }


def _played(federation: Federation, scenario: Scenario, name: str) -> tuple[Result, float]:
    """The result, and how long it took from nothing."""
    one = campaign(federation, known(()), scenario, range(SEEDS), "phalanx redteam examples/digits/phalanx.toml")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix=f"phalanx-{name}-") as folder:
        result, _ = run_campaign(one, Path(folder), None, _say)
    return result, time.perf_counter() - started


def _say(progress: Progress) -> None:
    if progress.done % 25 == 0:
        print(f"{progress.done} of {progress.cells} cells", flush=True)


def _card(result: Result, name: str) -> dict[str, Any]:
    card = next(one for one in result.cards if one.name == name)
    return {"title": card.title, "threat": card.threat, "knowledge": card.knowledge, "goal": card.goal.words}


def _figures(one: Judged) -> dict[str, Any]:
    figure = one.figure
    return {
        "verdict": one.verdict,
        "value": None if figure is None else round(figure.value, 4),
        "low": None if figure is None else round(figure.low, 4),
        "high": None if figure is None else round(figure.high, 4),
        "accuracy": None if one.accuracy is None else round(one.accuracy, 4),
        "lifespan": one.lifespan,
    }


def _write(name: str, held: Mapping[str, Any]) -> None:
    path = RESULTS / name
    path.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
