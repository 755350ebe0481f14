"""Algorithms on uneven data: FedAvg, FedProx, SCAFFOLD, FedAdam, FedYogi and FedAvgM beside Flower, pfl and a loop.

    .venv/bin/python benchmarks/learning.py
    .venv/bin/python benchmarks/learning.py --python-flower PY --python-pfl PY --out benchmarks/results/learning.json

The task is that of `benchmarks/peers/tasks.py`: digits, ten members, Dirichlet(0.1), ten steps a round. Ours goes
through the real rounds: sealed, signed, screened, logged. Only rule and gate are those of plain averaging, as the peers
have it.
Every engine draws its own mini-batches, so curves agree up to that noise: three seeds each.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "peers"))
import tasks

from phalanx.config import parse
from phalanx.engine.assemble import Stores, assemble, lab_edges
from phalanx.entropy import system_entropy
from phalanx.learning import LocalTrainer, MemberData, unflatten
from phalanx.learning.adapters.torch_module import torch_model
from phalanx.learning.parts import flatten_whole
from phalanx.learning.threads import use_threads
from phalanx.store import LedgerStore, RunStore

SEEDS = (0, 1, 2)
SHOWN = (5, 10, 20, 30)
PEERS = {
    "fedavg": ("flower", "pfl", "loop"),
    "fedprox": ("flower", "pfl", "loop"),
    "fedadam": ("flower", "pfl", "loop"),
    "scaffold": ("pfl", "loop"),
    "scaffold-swapped": ("pfl",),
}
OURS = ("fedavg", "fedprox", "scaffold", "fedadam", "fedavgm", "fedyogi")


def tables(algorithm: str) -> dict[str, dict[str, object]]:
    """The configuration: the peers' rates, and for what they do not have the nearest of them."""
    server: dict[str, object] = {}
    if algorithm in ("fedadam", "fedyogi"):
        betas = {"momentum": tasks.ADAM_BETAS[0], "second_momentum": tasks.ADAM_BETAS[1]}
        kind = algorithm.removeprefix("fed")
        server = {"optimiser": kind, "learning_rate": tasks.ADAM_RATE, "tau": tasks.ADAM_EPSILON, **betas}
    if algorithm == "fedavgm":
        server = {"learning_rate": 0.3, "momentum": 0.9}
    kind = algorithm if algorithm in ("fedprox", "scaffold") else "fedavg"
    learning = {"learning_rate": tasks.CURVE_RATE, "local_steps": tasks.CURVE_STEPS, "batch_size": tasks.BATCH}
    prox = {"prox": tasks.PROX_MU} if kind == "fedprox" else {}
    return {
        "federation": {"name": "digits", "members": [f"m-{i}" for i in range(tasks.CURVE_MEMBERS)]},
        "run": {"rounds": tasks.CURVE_ROUNDS},
        "learning": {"module": "benchmark", "held_out": 0.0, "algorithm": kind, **learning, **prox},
        "server": server,
        "aggregation": {"rule": "mean"},
        "gate": {"unsafe_accept_all": True},
    }


def ours(algorithm: str, seed: int) -> list[float]:
    """Test accuracy before the first round and after each. The seed puts each member's examples into another order."""
    x, y = tasks.digits()
    x_test, y_test = tasks.test_set()
    model = torch_model(_network(), tasks.CLASSES)
    settings = parse(tables(algorithm))
    rng = np.random.default_rng(seed)
    none = np.zeros((0, x.shape[1]), np.float32), np.zeros(0, np.int64)
    trainers = {}
    for member, rows in zip(settings.members, tasks.split().members, strict=True):
        order = rng.permutation(rows)
        data = MemberData(x[order], y[order], *none, tasks.CLASSES)
        trainers[member] = LocalTrainer(model, data, settings.descent())
    stores = Stores(RunStore(None, system_entropy), LedgerStore(None))
    engine = assemble(
        settings, trainers, classes=tasks.CLASSES, code="b", stores=stores, edges=lab_edges(seed), durable=False
    )
    layout = engine.plan.layout

    def accuracy(vector: np.ndarray) -> float:  # type: ignore[type-arg]
        return float((model.predict(unflatten(vector, layout), x_test) == y_test).mean())

    start = flatten_whole(model.initial_model(), layout)
    curve = [accuracy(start)]
    engine.observe = lambda record, standing: curve.append(accuracy(standing.model))
    engine.run(start)
    return curve


def _network() -> object:
    import torch

    network = tasks.network("digits")
    network.load_state_dict({name: torch.from_numpy(value) for name, value in tasks.first_model("digits").items()})
    return network


def theirs(engine: str, algorithm: str, seed: int, python: str) -> list[float]:
    """A peer's curve, by its own script in its own environment."""
    scripts = {"flower": "flower_simulation.py", "pfl": "pfl_simulation.py", "loop": "torch_loop.py"}
    command = [python, scripts[engine], "--curve", algorithm, "--seed", str(seed)]
    done = subprocess.run(command, cwd=Path(__file__).parent / "peers", capture_output=True, text=True, check=True)
    return [float(one) for one in json.loads(done.stdout)["accuracy"]]


def row(engine: str, algorithm: str, curves: list[list[float]]) -> dict[str, object]:
    """One line of the result: mean and deviation over seeds at some rounds, and all the curves."""
    values = np.array(curves)
    at = {
        str(r): {"mean": round(float(values[:, r].mean()), 4), "std": round(float(values[:, r].std(ddof=1)), 4)}
        for r in SHOWN
    }
    return {"engine": engine, "algorithm": algorithm, "at": at, "curves": np.round(values, 4).tolist()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python-flower", help="interpreter of Flower's environment (benchmarks/peers/README.md)")
    parser.add_argument("--python-pfl", help="interpreter of pfl's environment")
    parser.add_argument("--out", type=Path, help="where the result goes, as JSON")
    given = parser.parse_args()
    use_threads(1)
    pythons = {"flower": given.python_flower, "pfl": given.python_pfl, "loop": sys.executable}
    rows = []
    for algorithm in (*OURS, "scaffold-swapped"):
        if algorithm in OURS:
            rows.append(row("phalanx", algorithm, [ours(algorithm, seed) for seed in SEEDS]))
            print(_line(rows[-1]), flush=True)
        for engine in PEERS.get(algorithm, ()):
            if pythons[engine]:
                rows.append(row(engine, algorithm, [theirs(engine, algorithm, s, pythons[engine]) for s in SEEDS]))
                print(_line(rows[-1]), flush=True)
    if given.out:
        result = {"task": "digits, Dirichlet(0.1), ten members", "split": tasks.split().digest(), "rows": rows}
        given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _line(one: dict[str, object]) -> str:
    at = one["at"]
    shown = "  ".join(f"round {r}: {at[str(r)]['mean']:.3f} ± {at[str(r)]['std']:.3f}" for r in SHOWN)  # type: ignore
    return f"{one['algorithm']!s:18}{one['engine']!s:9}{shown}"


if __name__ == "__main__":
    main()
