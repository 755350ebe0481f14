"""What central member-level noise costs with ten members: the figures in `privacy.central.COST_AT_SMALL_N`.

    .venv/bin/python benchmarks/central_noise.py

The best setting that we found for so few members: ten local steps a round, updates clipped to norm 0.2.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from phalanx.config import parse
from phalanx.engine.assemble import Stores, assemble, lab_edges
from phalanx.entropy import system_entropy
from phalanx.learning import Descent
from phalanx.learning.digits import CLASSES
from phalanx.learning.threads import use_threads
from phalanx.redteam.demo.scenario import MEMBERS, Draw, Measure, initial_model, split, trainer
from phalanx.store import LedgerStore, RunStore

SEEDS = range(10)
CLIPPED = {"rule": "mean", "pre": ["norm-clip"], "clip_l2": 0.2}
NOISE = {"unit": "member", "epsilon": 8.0, "delta": 1e-5}
CASES: dict[str, dict[str, Any]] = {
    "mean": {"aggregation": {"rule": "mean"}},
    "clipped mean": {"aggregation": CLIPPED},
    "clipped mean with noise, ε = 8": {"aggregation": CLIPPED, "privacy": NOISE},
}


def accuracy(tables: dict[str, Any], seed: int) -> float:
    """The final model's accuracy on the lab's test set."""
    digits = split(Draw(seed))
    settings = parse(
        {
            "federation": {"name": "digits", "members": list(MEMBERS)},
            "run": {"rounds": 40},
            "learning": {"module": "benchmark", "local_steps": 10},
            "gate": {"unsafe_accept_all": True},
            **tables,
        }
    )
    descent = Descent(learning_rate=0.5, local_steps=10)
    engine = assemble(
        settings,
        {member: trainer(digits.members[member], descent) for member in MEMBERS},
        classes=CLASSES,
        code="benchmark",
        stores=Stores(RunStore(None, system_entropy), LedgerStore(None)),
        edges=lab_edges(seed),
        durable=False,
    )
    engine.run(initial_model())
    return Measure(digits).accuracy(engine.model())


def main() -> None:
    use_threads(1)
    table = {}
    for name, tables in CASES.items():
        found = [accuracy(tables, seed) for seed in SEEDS]
        table[name] = {"mean": round(float(np.mean(found)), 4), "worst": round(min(found), 4)}
        print(f"{name:32s} accuracy {table[name]['mean']:.3f} (worst {table[name]['worst']:.3f})")
    out = Path(__file__).with_name("results") / "central_noise.json"
    out.write_text(json.dumps({"command": "python benchmarks/central_noise.py", "runs": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
