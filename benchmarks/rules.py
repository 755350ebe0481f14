"""Which rule, when: many rules under every attack on a small model, their cost without one, and where they break.

    make bench-data
    nice -n 19 taskset -c 1 .venv/bin/python benchmarks/rules.py --minutes 60
    .venv/bin/python benchmarks/rules.py --show

The setting of robust-aggregation.md 14: MNIST, a network of 25,450 parameters, 10 honest members and f colluders, 250
steps, gamma 0.33 (`_dsgd.py` has the protocol). All attacks but sign flip and label flip search their free parameters,
or which of several rows to send, in each step against the deployed rule. `tailored` makes the most of the rule's own
reference, and turns training around rather than aside; `fang-trim`, the worst there is for median and trimmed mean,
is for coordinate-wise rules only.

FLTrust has 100 images of its own; centred clipping starts from its last aggregate; the coin of bucketing is drawn after
the rows are sent. Each rule is told the true f. A rule that refuses f of 10 + f members is reported as refusing.

The summary has a row for each rule and f. `worst_best`: the least over the attacks of the best accuracy at any time;
`worst_final` that of the last; `cost`: what the rule loses to the mean where nobody attacks; `aggregate_s`: processor
seconds of one aggregation. A rule is `broken` where the worst is 20 points or more below its own accuracy without an
attack.

Each run is added to benchmarks/results/which_rule.json when it is done, and not done again. A run takes a few seconds.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

from _dsgd import SCALES, Maker, Results, Run, Setting, mean_curves, work

from phalanx.aggregation import (
    ARC,
    CAF,
    FLAME,
    MDA,
    NNM,
    Bucketing,
    Bulyan,
    CenteredClipping,
    Chain,
    DnC,
    FLTrust,
    GeometricMedian,
    Krum,
    MeaMed,
    Mean,
    Median,
    MultiKrum,
    NormClip,
    TrimmedMean,
)
from phalanx.learning.threads import use_threads
from phalanx.rules import CoordinateRule

RULES: dict[str, Maker] = {
    "mean": lambda f, coin: Mean(),
    "krum": lambda f, coin: Krum(f),
    "multi-krum": lambda f, coin: MultiKrum(f),
    "median": lambda f, coin: Median(f),
    "trimmed-mean": lambda f, coin: TrimmedMean(f),
    "meamed": lambda f, coin: MeaMed(f),
    "bulyan": lambda f, coin: Bulyan(f),
    "geometric-median": lambda f, coin: GeometricMedian(f),
    "centered-clipping": lambda f, coin: CenteredClipping(1.0, steps=3, f=f),
    "caf": lambda f, coin: CAF(f),
    "mda": lambda f, coin: MDA(f),
    "dnc": lambda f, coin: DnC(f),
    "nnm-tm": lambda f, coin: NNM(f) >> TrimmedMean(f),
    "nnm-gm": lambda f, coin: NNM(f) >> GeometricMedian(f),
    "nnm-caf": lambda f, coin: NNM(f) >> CAF(f),
    "arc-caf": lambda f, coin: ARC(f) >> CAF(f),
    "arc-nnm-caf": lambda f, coin: ARC(f) >> NNM(f) >> CAF(f),
    "arc-nnm-gm": lambda f, coin: ARC(f) >> NNM(f) >> GeometricMedian(f),
    "arc-nnm-tm": lambda f, coin: ARC(f) >> NNM(f) >> TrimmedMean(f),
    "clip-nnm-gm": lambda f, coin: NormClip(2.0) >> NNM(f) >> GeometricMedian(f),
    "fltrust": lambda f, coin: FLTrust(),
    "flame": lambda f, coin: FLAME(f),
    "bucketing-gm": lambda f, coin: Bucketing(2, coin) >> GeometricMedian(f),
}
ATTACKS = ("none", "sign-flip", "ipm", "alie", "min-max", "label-flip", "mimic", "tailored", "fang-trim")
GAMMA = 0.33
FS = (2, 4, 1, 3)  # the order of work
BROKEN = 0.2
RESULTS = Path(__file__).parent / "results"


def attacks_on(rule: str) -> tuple[str, ...]:
    """All but those that do not apply."""
    made = RULES[rule](1, bytes(32))
    last = made.rule if isinstance(made, Chain) else made
    return ATTACKS if isinstance(last, CoordinateRule) else ATTACKS[:-1]


def todo(given: argparse.Namespace) -> Iterator[Run]:
    """The runs that were asked for: f = 2 and 4 first, seed by seed."""
    first, last = (int(part) for part in given.seeds.split("-"))
    for seed in range(first, last + 1):
        for f in given.f:
            for rule in given.rule:
                attacks = [attack for attack in attacks_on(rule) if attack in given.attack]
                yield from (Run(rule, GAMMA, f, attack, seed) for attack in attacks)


def table(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each rule and f that has a run; the worst case once all attacks are there."""
    rows = []
    for f in sorted(FS):
        without_rule = mean_curves(run for run in runs if (run["rule"], run["f"]) == ("mean", f)).get("none")
        for rule in RULES:
            mine = [run for run in runs if (run["rule"], run["f"]) == (rule, f)]
            curves = mean_curves(mine)
            refused = [run["refused"] for run in mine if "refused" in run]
            row: dict[str, Any] = {"rule": rule, "f": f, "seeds": sorted({run["seed"] for run in mine})}
            if refused:
                rows.append(row | {"refused": refused[0]})
            elif curves:
                rows.append(row | _figures(rule, mine, curves, without_rule))
    return rows


def _figures(
    rule: str, mine: list[dict[str, Any]], curves: dict[str, list[float]], without_rule: list[float] | None
) -> dict[str, Any]:
    best = {attack: round(max(curve), 4) for attack, curve in curves.items()}
    final = {attack: round(curve[-1], 4) for attack, curve in curves.items()}
    costs = sorted(run["aggregate_s"] for run in mine if "aggregate_s" in run)
    row: dict[str, Any] = {"chain": mine[0]["chain"], "best": best, "final": final}
    row["aggregate_s"] = costs[len(costs) // 2]
    if without_rule is not None and "none" in best:
        row["cost"] = round(max(without_rule) - best["none"], 4)
    if set(curves) >= set(attacks_on(rule)):
        for when, shares in (("best", best), ("final", final)):
            hostile = {attack: share for attack, share in shares.items() if attack != "none"}
            worst = min(hostile, key=hostile.__getitem__)
            row |= {f"worst_{when}": hostile[worst], f"worst_{when}_attack": worst}
            row[f"broken_{when}"] = bool(shares["none"] - hostile[worst] >= BROKEN)
    return row


def breaking(rows: Sequence[dict[str, Any]], rule: str, when: str) -> str:
    """The smallest f at which the rule is broken or refuses; `>4` if it holds; `?` where runs are missing."""
    mine = {row["f"]: row for row in rows if row["rule"] == rule}
    for f in sorted(FS):
        row = mine.get(f, {})
        if "refused" in row:
            return f"refuses {f}"
        if f"broken_{when}" not in row:
            return "?"
        if row[f"broken_{when}"]:
            return str(f)
    return f">{max(FS)}"


def summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The table, and where each rule breaks."""
    rows = table(runs)
    breaks = {rule: {when: breaking(rows, rule, when) for when in ("best", "final")} for rule in RULES}
    return {"breaking_f": breaks, "table": rows}


def show(figures: dict[str, Any]) -> None:
    """The tables for people: best/final accuracy in percent."""
    for f in sorted(FS):
        rows = [row for row in figures["table"] if row["f"] == f]
        if rows:
            heads = "".join(f"{head:>11}" for head in (*ATTACKS, "worst"))
            print(f"\n{f'f={f} of {10 + f}':18}{heads}  {'attack':11}{'cost':>5}{'ms':>7}{'breaking f':>12}")
        for row in rows:
            print(_line(row, figures["breaking_f"][row["rule"]]["best"]))


def _line(row: dict[str, Any], breaks: str) -> str:
    if "refused" in row:
        return f"{row['rule']:18}{row['refused']}"
    best, final = row["best"], row["final"]
    cells = (f"{100 * best[one]:.0f}/{100 * final[one]:.0f}" if one in best else "-" for one in ATTACKS)
    worst = f"{100 * row['worst_best']:.0f}/{100 * row['worst_final']:.0f}" if "worst_best" in row else "-"
    cost = f"{100 * row['cost']:.1f}" if "cost" in row else "-"
    ends = f"{worst:>11}  {row.get('worst_best_attack', '-'):11}{cost:>5}{1e3 * row['aggregate_s']:7.2f}{breaks:>12}"
    return f"{row['rule']:18}" + "".join(f"{cell:>11}" for cell in cells) + ends


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--f", type=int, nargs="*", default=list(FS), help="in the order of work")
    parser.add_argument("--rule", nargs="*", choices=list(RULES), default=list(RULES))
    parser.add_argument("--attack", nargs="*", choices=ATTACKS, default=list(ATTACKS))
    parser.add_argument("--seeds", default="0-0", help="first-last")
    parser.add_argument("--data", choices=list(SCALES), default="mnist")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after the run that passes them")
    parser.add_argument("--steps", type=int, help="for a trial: fewer steps, and nothing is written")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/which_rule[_DATA].json")
    parser.add_argument("--show", action="store_true", help="print what is done, and run nothing")
    given = parser.parse_args()
    use_threads(1)
    out = given.out or RESULTS / f"which_rule{'' if given.data == 'mnist' else '_' + given.data}.json"
    setting = Setting(given.data, "mlp", given.steps or 250, min(25, given.steps or 25))
    results = None if given.steps else Results(out, setting, summary)
    if not given.show:
        work(todo(given), setting, RULES, results, given.minutes)
    if results is not None:
        show(summary(results.runs()))


if __name__ == "__main__":
    main()
