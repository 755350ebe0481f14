"""Accuracy under attack: the cells of ByzFL's benchmark on MNIST, each the worst of three attacks on a rule.

    make bench-data
    nice -n 19 taskset -c 1 .venv/bin/python benchmarks/accuracy.py --minutes 60
    .venv/bin/python benchmarks/accuracy.py --show

A convolutional network of 431,080 parameters, 10 honest members and f colluders, 800 steps (`_dsgd.py` has the
protocol, robust-aggregation.md 5 the published figures). In each step the colluders search the ε of IPM and the z of
ALIE that move the deployed rule farthest from the honest mean: a grid and a refinement (`phalanx.attacks`), where ByzFL
climbs from one start. The accuracy on the 10,000 test images is measured every 50 steps; `best` is the most
that was reached at any time, which hides a collapse, `final` the last. A cell is the least over the attacks.

Each run is added to benchmarks/results/accuracy.json when it is done, and not done again: the command can be stopped
and given again. A run takes about a minute of one core.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

from _dsgd import Maker, Results, Run, Setting, mean_curves, work

from phalanx.aggregation import ARC, CAF, NNM, GeometricMedian, Mean, NormClip, TrimmedMean
from phalanx.learning.threads import use_threads

RULES: dict[str, Maker] = {
    "clip-nnm-gm": lambda f, coin: NormClip(2.0) >> NNM(f) >> GeometricMedian(f),
    "clip-nnm-tm": lambda f, coin: NormClip(2.0) >> NNM(f) >> TrimmedMean(f),
    "arc-caf": lambda f, coin: ARC(f) >> CAF(f),
    "mean": lambda f, coin: Mean(),
}
ATTACKS = ("none", "sign-flip", "ipm", "alie")
COMPARED = "ipm-climb"  # the same attack by a weaker search, ByzFL's; no part of the worst case
# gamma and f, the most telling first.
CELLS = (
    *((0.33, 2), (0.33, 4), (0.0, 2), (0.0, 4)),
    *((0.33, 1), (0.33, 3), (0.0, 1), (0.0, 3)),
    *((0.66, 2), (0.66, 4), (1.0, 2), (1.0, 4)),
    *((0.66, 1), (0.66, 3), (1.0, 1), (1.0, 3)),
)
# ByzFL's heat maps for f = 1, 2, 3, 4, read from its documentation: robust-aggregation.md 5.
PUBLISHED = {
    "clip-nnm-gm": {
        0.0: (0.87, 0.56, 0.26, 0.27),
        0.33: (0.98, 0.96, 0.94, 0.94),
        0.66: (0.98, 0.97, 0.97, 0.96),
        1.0: (0.98, 0.98, 0.98, 0.97),
    },
    "clip-nnm-tm": {
        0.0: (0.87, 0.61, 0.26, 0.21),
        0.33: (0.98, 0.97, 0.94, 0.91),
        0.66: (0.98, 0.97, 0.97, 0.97),
        1.0: (0.98, 0.98, 0.98, 0.98),
    },
}
OUT = Path(__file__).parent / "results" / "accuracy.json"


def todo(given: argparse.Namespace) -> Iterator[Run]:
    """The runs that were asked for, the most telling first."""
    first, last = (int(part) for part in given.seeds.split("-"))
    for seed in range(first, last + 1):
        for gamma, f in CELLS:
            if gamma in given.gamma and f in given.f:
                yield from (Run(rule, gamma, f, attack, seed) for rule in given.rule for attack in given.attack)


def cells(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each rule, gamma and f: no attack, each attack, and the worst, once all three are there."""
    rows = []
    for gamma, f in sorted(CELLS, key=lambda cell: (-cell[0], cell[1])):
        for rule in RULES:
            mine = [run for run in runs if (run["rule"], run["gamma"], run["f"]) == (rule, gamma, f)]
            curves = mean_curves(mine)
            if not curves:
                continue
            seeds = sorted({run["seed"] for run in mine})
            row: dict[str, Any] = {"rule": rule, "chain": mine[0]["chain"], "gamma": gamma, "f": f, "seeds": seeds}
            row["best"] = {attack: round(max(curve), 4) for attack, curve in curves.items()}
            row["final"] = {attack: round(curve[-1], 4) for attack, curve in curves.items()}
            hostile = [attack for attack in ATTACKS[1:] if attack in curves]
            if len(hostile) == len(ATTACKS) - 1:
                row["worst_attack"] = min(hostile, key=lambda attack: row["best"][attack])
                row["worst_best"] = row["best"][row["worst_attack"]]
                row["worst_final"] = min(row["final"][attack] for attack in hostile)
                if rule in PUBLISHED:
                    row["published"] = PUBLISHED[rule][gamma][f - 1]
            rows.append(row)
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """The cells for people: best/final accuracy in percent."""
    print(f"{'gamma f rule':24}" + "".join(f"{attack:>12}" for attack in ATTACKS) + f"{'worst':>12}{'published':>11}")
    for row in rows:
        text = f"{row['gamma']:<5} {row['f']} {row['rule']:16}"
        for attack in ATTACKS:
            seen = attack in row["best"]
            text += f"{_percent(row['best'][attack], row['final'][attack]) if seen else '-':>12}"
        if "worst_best" in row:
            text += f"{_percent(row['worst_best'], row['worst_final']):>12}{100 * row.get('published', 0):11.0f}"
        print(text)


def _percent(best: float, final: float) -> str:
    return f"{100 * best:.1f}/{100 * final:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gamma", type=float, nargs="*", default=[0.0, 0.33, 0.66, 1.0])
    parser.add_argument("--f", type=int, nargs="*", default=[1, 2, 3, 4])
    parser.add_argument("--rule", nargs="*", choices=list(RULES), default=list(RULES))
    parser.add_argument("--attack", nargs="*", choices=[*ATTACKS, COMPARED], default=list(ATTACKS))
    parser.add_argument("--seeds", default="0-0", help="first-last")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after the run that passes them")
    parser.add_argument("--steps", type=int, help="for a trial: fewer steps, and nothing is written")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--show", action="store_true", help="print the cells that are done, and run nothing")
    given = parser.parse_args()
    use_threads(1)
    setting = Setting("mnist", "cnn", given.steps or 800, min(50, given.steps or 50))
    results = None if given.steps else Results(given.out, setting, cells)
    if not given.show:
        work(todo(given), setting, RULES, results, given.minutes)
    if results is not None:
        show(cells(results.runs()))


if __name__ == "__main__":
    main()
