"""Membership inference on a network that learns 300 images by heart: LiRA, RMIA, BaVarIA by the number of shadow models.

    taskset -c 0 nice -n 10 .venv/bin/python benchmarks/membership.py
    .venv/bin/python benchmarks/membership.py --show

600 images of MNIST (`make bench-data`) at ten members, one image in ten with a wrong label; a network of one hidden
layer. Each of 33 models is trained on a random half of them, in one place, by plain federated averaging of five steps a
round, or in rounds of one step with ε = 8 for each example. Each model is the target in turn, and the first k of the
others after it, in a circle, are the shadow models. Everything is drawn from SEEDS; the images differ too.

What papers found on CIFAR-10 is printed beside it. The order of the attacks is what can be compared, not the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

import numpy as np

from phalanx.attacks.membership import (
    Shadows,
    area,
    confidence,
    lira_offline,
    lira_online,
    log_likelihood,
    rmia_offline,
    rmia_online,
    student,
    tpr_at,
)
from phalanx.federation import Federation
from phalanx.learning.adapters.torch_module import torch_model
from phalanx.learning.models import small_network
from phalanx.learning.threads import use_threads
from phalanx.redteam.halves import pool_of, trained
from phalanx.redteam.intervals import clopper_pearson
from phalanx.redteam.lab import Lab
from phalanx.redteam.probe import Setting
from phalanx.types import F64

ROOT = Path(__file__).parent
DATA, OUT = ROOT.parent / "data" / "mnist.npz", ROOT / "results" / "membership.json"
SEEDS = (0,)
MEMBERS, EXAMPLES, HIDDEN, WRONG = 10, 60, 32, 0.1
MODELS = 33
BUDGETS = (1, 4, 16, 32)
Attack = Callable[[F64, Shadows], F64]
ATTACKS: dict[str, Attack] = {
    "loss threshold": lambda phi, shadows: log_likelihood(phi),
    "LiRA online": lira_online,
    "LiRA offline": lira_offline,
    "RMIA online": rmia_online,
    "RMIA offline": rmia_offline,
    "BaVarIA": student,
}
SETTINGS: dict[str, tuple[Setting, dict[str, Any]]] = {
    "central": ("central", {"run": {"rounds": 20}, "local_steps": 5}),
    "naive": ("none", {"run": {"rounds": 20}, "local_steps": 5}),
    "ε = 8": ("yours", {"run": {"rounds": 40}, "local_steps": 1}),
}
PUBLISHED = [
    "LiRA, S&P 2022: CIFAR-10, online, 256 shadows: TPR 8.4 % at 0.1 % FPR, balanced accuracy 63.8 %",
    "RMIA, ICML 2024: CIFAR-10, offline, 1 reference: AUC 68.64, TPR 1.19 % at 0.01 %",
    "RMIA, ICML 2024: CIFAR-10, online, 254 references: RMIA AUC 72.25, TPR 4.31 %; LiRA 72.04, 3.39 % at 0.01 %",
    "BaVarIA, 2026: wins or ties on 12 data sets with 7 numbers of shadows, most with few (abstract)",
    "CIFAR-10, natural examples: audited ε 4.56 without, 0.126 with differential privacy (Privacy Meter)",
]


def lab_of(seed: int, tables: dict[str, Any]) -> Lab:
    """Ten members with 60 images each under a plain mean, ε = 8 for each image."""
    rng = np.random.default_rng(seed)
    with np.load(DATA) as file:
        rows = rng.permutation(len(file["labels"]))[: MEMBERS * EXAMPLES]
        x, y = (file["images"][rows] / 255).astype("f4").reshape(len(rows), -1), file["labels"][rows].astype("i8")
    y = np.where(rng.random(len(y)) < WRONG, rng.integers(0, 10, len(y)), y)
    sites = {f"m-{i}": (x[i::MEMBERS], y[i::MEMBERS]) for i in range(MEMBERS)}
    federation = Federation.local(
        torch_model(small_network(784, HIDDEN, 10, seed=0), 10),
        sites,
        run=tables["run"],
        learning={"learning_rate": 0.3, "momentum": 0.0, "held_out": 0.0, "local_steps": tables["local_steps"]},
        aggregation={"rule": "mean"},
        gate={"unsafe_accept_all": True},
        report={"baselines": False},
        **tables.get("more", {}),
    )
    return Lab(federation=federation, sites=federation.sites, split="natural", seed=seed)


def asked(seed: int, name: str) -> tuple[Shadows, float]:
    """What 33 models say of the 600 images, and how many of those that they were trained on they have right."""
    setting, tables = SETTINGS[name]
    if setting == "yours":
        privacy = {"unit": "example", "epsilon": 8.0, "delta": 1e-5, "clip_l2": 1.0, "normaliser": EXAMPLES}
        tables = tables | {"more": {"privacy": privacy}}
    lab = lab_of(seed, tables)
    pool, rng = pool_of(lab), lab.rng("benchmark", name)
    inside = lab.rng("coins").random((MODELS, len(pool.y))) < 0.5
    vectors = trained(lab, setting, pool, inside, rng)
    trainer = next(iter(lab.trainers().values()))
    phi = np.stack([_phi(trainer, vector, pool) for vector in vectors])
    return Shadows(phi, inside), float((phi[inside] > 0).mean() - (phi[~inside] > 0).mean())


def _phi(trainer: Any, vector: Any, pool: Any) -> F64:
    found = confidence(trainer.model, trainer.tensors(vector), pool.x, pool.y)
    assert found is not None
    return found


def scores(models: Shadows, attack: Attack, budget: int) -> F64:
    """(m, n): each model attacked with the help of the next `budget` ones."""
    rows = []
    for target in range(MODELS):
        others = [(target + step) % MODELS for step in range(1, budget + 1)]
        rows.append(attack(models.phi[target], Shadows(models.phi[others], models.inside[others])))
    return np.stack(rows)


def figures(name: str, attack: str, budget: int, found: list[Shadows]) -> dict[str, Any]:
    """Of all seeds together, with intervals, and the AUC of each."""
    each = [(one, scores(one, ATTACKS[attack], budget)) for one in found]
    counts = {fpr: [tpr_at(s[one.inside], s[~one.inside], fpr) for one, s in each] for fpr in (0.001, 0.01)}
    row: dict[str, Any] = {"setting": name, "attack": attack, "shadows": budget}
    for fpr, label in ((0.001, "tpr_at_01"), (0.01, "tpr_at_1")):
        k, n = (sum(pair[i] for pair in counts[fpr]) for i in (0, 1))
        row[label] = round(k / n, 5)
        row[f"{label}_interval"] = [round(limit, 5) for limit in clopper_pearson(k, n)]
    aucs = [area(s[one.inside], s[~one.inside]) for one, s in each]
    return row | {"auc": round(float(np.mean(aucs)), 4), "auc_by_seed": [round(value, 4) for value in aucs]}


def measured() -> dict[str, Any]:
    """All rows."""
    use_threads(1)
    rows, gaps = [], {}
    for name in SETTINGS:
        started = time.monotonic()
        told = [asked(seed, name) for seed in SEEDS]
        gaps[name] = [round(gap, 3) for _, gap in told]
        found = [models for models, _ in told]
        budgets = {attack: BUDGETS[-1:] if attack == "loss threshold" else BUDGETS for attack in ATTACKS}
        rows += [figures(name, attack, budget, found) for attack in ATTACKS for budget in budgets[attack]]
        print(f"{name}: trained and attacked in {time.monotonic() - started:.0f} s", flush=True)
    return {
        "task": f"MNIST, {MEMBERS} members with {EXAMPLES} images, {WRONG:.0%} wrong labels, 784-{HIDDEN}-10",
        "seeds": SEEDS,
        "models": MODELS,
        "gap": gaps,
        "rows": rows,
        "published": PUBLISHED,
    }


def shown(result: dict[str, Any]) -> str:
    """As text."""
    lines = [result["task"], f"accuracy on members less that on others, by seed: {result['gap']}", ""]
    for one in result["rows"]:
        low, high = one["tpr_at_01_interval"]
        lines.append(
            f"{one['setting']:8} {one['attack']:15} {one['shadows']:3} shadows   TPR {one['tpr_at_01']:7.2%} "
            f"({low:.2%} … {high:.2%}) at 0.1 %, {one['tpr_at_1']:6.2%} at 1 %   AUC {one['auc']:.3f}"
        )
    return "\n".join([*lines, "", *result["published"]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", action="store_true", help="print the kept result")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    if not given.show:
        given.out.write_text(json.dumps(measured(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(shown(json.loads(given.out.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
