"""The demo's runs over several seeds, mean and worst: the figures that the README quotes.

    .venv/bin/python benchmarks/demo_seeds.py --seeds 0-9 --out benchmarks/results/demo_seeds.json
    .venv/bin/python benchmarks/demo_seeds.py --seeds 10-19 --out benchmarks/results/demo_seeds_holdout.json
    .venv/bin/python benchmarks/demo_seeds.py --seeds 0-9 --alpha 0.5 --out benchmarks/results/demo_uneven.json

Two processes, a few minutes; without `--out` it prints only. Nothing is timed for comparison; the seconds say how long
a run took on this machine.
"""

from __future__ import annotations

import argparse
import json
import platform
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from phalanx import __version__
from phalanx.learning.threads import use_threads
from phalanx.redteam.demo.result import RunResult
from phalanx.redteam.demo.scenario import ALONE, POOLED, RUNS, Draw, play, play_alone, play_pooled, quiet


def one(job: tuple[str, Draw]) -> RunResult:
    """One run of one split, in memory, with entropy that is derived from its seed."""
    name, draw = job
    if name == ALONE:
        return play_alone(draw)
    if name == POOLED:
        return play_pooled(draw)
    run = next(run for run in RUNS if run.name == name)
    return play(run, draw, None, quiet)[0]


def summary(results: list[RunResult]) -> dict[str, Any]:
    """Mean and worst over the seeds. Worst: lowest accuracy, highest backdoor success."""
    accuracy = [result.accuracy for result in results]
    backdoor = [result.backdoor_success for result in results]
    return {
        "accuracy_mean": round(float(np.mean(accuracy)), 4),
        "accuracy_worst": round(min(accuracy), 4),
        "accuracy": [round(value, 4) for value in accuracy],
        "backdoor_mean": round(float(np.mean(backdoor)), 4),
        "backdoor_worst": round(max(backdoor), 4),
        "backdoor": [round(value, 4) for value in backdoor],
        "epsilon": results[0].epsilon,
        "unit": results[0].unit,
        "finite": [result.finite for result in results],
        "gate_refusals": sum(result.gate_refusals for result in results),
        "refused": [sum(result.refused.values()) for result in results],
        "seconds_mean": round(float(np.mean([result.seconds for result in results])), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", default="0-9", help="first-last")
    parser.add_argument("--alpha", type=float, help="uneven data: Dirichlet shares of each class")
    parser.add_argument("--out", type=Path, help="where to write the figures; nothing is written without it")
    arguments = parser.parse_args()
    first, last = (int(part) for part in arguments.seeds.split("-"))
    seeds = list(range(first, last + 1))
    names = [run.name for run in RUNS] + [ALONE, POOLED]
    draws = [Draw(seed, arguments.alpha) for seed in seeds]
    jobs = [(name, draw) for name in names for draw in draws]
    use_threads(1)
    with ProcessPoolExecutor(2, get_context("fork")) as pool:
        results = dict(zip(jobs, pool.map(one, jobs), strict=True))
    table = {name: summary([results[name, draw] for draw in draws]) for name in names}
    for name, row in table.items():
        print(
            f"{name:32s} accuracy {row['accuracy_mean']:.3f} (worst {row['accuracy_worst']:.3f})  "
            f"backdoor {row['backdoor_mean']:.3f} (worst {row['backdoor_worst']:.3f})"
        )
    machine = {"python": platform.python_version(), "machine": platform.machine(), "phalanx": __version__}
    uneven = "" if arguments.alpha is None else f" --alpha {arguments.alpha:g}"
    command = f"python benchmarks/demo_seeds.py --seeds {arguments.seeds}{uneven}"
    if arguments.out is None:
        return
    arguments.out.write_text(
        json.dumps({"command": command, "machine": machine, "seeds": seeds, "runs": table}, indent=1) + "\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
