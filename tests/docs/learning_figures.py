"""The figures of docs/learning.md, from the results that the benchmarks wrote."""

from __future__ import annotations

import json
from typing import Any

from tests.docs.page import ROOT, table

ALGORITHMS = "benchmarks/results/learning.json"
BALLOTS = "benchmarks/results/ballots.json"
EXAMPLES = "benchmarks/results/examples.json"
SIMULATION = "benchmarks/results/simulation.json"
_NAMES = {
    "fedavg": "FedAvg", "fedprox": "FedProx", "scaffold": "SCAFFOLD", "fedadam": "FedAdam", "fedyogi": "FedYogi",
    "fedavgm": "FedAvgM", "scaffold-swapped": "SCAFFOLD, its two control variates exchanged",
}  # fmt: skip
_ENGINES = {"phalanx": "Phalanx", "flower": "Flower 1.41", "pfl": "pfl 0.6", "loop": "plain torch loop"}
_SPEED = {"phalanx": "Phalanx", "torch-loop": "plain torch loop", "flower": "Flower", "pfl": "pfl"}


def _read(path: str) -> Any:
    return json.loads((ROOT / path).read_text(encoding="utf-8"))


def algorithms() -> str:
    """Test accuracy by round of each algorithm in each engine: mean and deviation over three seeds."""
    rows = []
    for one in _read(ALGORITHMS)["rows"]:
        at = [f"{100 * cell['mean']:.1f} ± {100 * cell['std']:.1f}" for cell in one["at"].values()]
        rows.append((_NAMES[one["algorithm"]], _ENGINES[one["engine"]], *at))
    return table(("algorithm", "engine", "round 5", "round 10", "round 20", "round 30"), rows)


def ballots() -> str:
    """The smallest loss at each seeing member that is refused in nine of ten draws. Ten voters, three may lie."""
    rows = []
    for ballot in ("counts", "votes"):
        for seeing in ("4", "6", "7"):
            cells = [
                f"{_smallest(ballot, held, 0, seeing)} / {_smallest(ballot, held, 3, seeing)}" for held in (15, 50, 200)
            ]
            rows.append((f"`{ballot}`", seeing, *cells))
    head = ("ballots", "members that see it", "15 held out each", "50 each", "200 each")
    return table(head, rows)


def _smallest(ballot: str, held_out: int, liars: int, seeing: str) -> str:
    for one in _read(BALLOTS)["smallest_loss"]:
        found = one["ballot"], one["members"], one["held_out"], one["liars"], one["churn"]
        if found == (ballot, 10, held_out, liars, 0.05):
            loss = one["smallest_loss_by_members"].get(seeing)
            return "–" if loss is None else f"{100 * loss:.0f} %"
    raise LookupError(f"no figure for {ballot}, {held_out} held out, {liars} liars")


def examples() -> str:
    """The four ways of training at the median and at the worst site of each example."""
    rows = []
    for name, one in _read(EXAMPLES)["examples"].items():
        summary = one["summary"]
        cells = [f"{_percent(summary['median'][way])} / {_percent(summary['worst'][way])}" for way in _WAYS]
        gain = sum(summary["median_gain"]) / len(summary["median_gain"])
        better = sum(summary["better_off"]), sum(summary["worse_off"]), summary["sites"] * summary["finished"]
        rows.append((name, *cells, f"{100 * gain:+.1f}", f"{better[0]} better, {better[1]} worse of {better[2]}"))
    head = (
        "example",
        "alone",
        "without controls",
        "with controls",
        "pooled",
        "median gain, points",
        "sites, all seeds",
    )
    return table(head, rows)


_WAYS = ("alone", "plain", "protected", "pooled")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def simulation() -> str:
    """A round of 32 members on two models, each engine in a process of its own, and what it costs beside ours."""
    found = _read(SIMULATION)
    rows = []
    for name, engines in found["engines"].items():
        for engine, one in engines.items():
            cost = f"{one['cpu_ms']:.0f} ms", f"{one['wall_ms']:.0f} ms"
            ratio = f"{one['cpu_over_phalanx']:.1f} ×", f"{one['wall_over_phalanx']:.1f} ×"
            rows.append((name.upper(), _SPEED[engine], *cost, *ratio, f"{one['peak_rss_mb']:.0f} MB"))
    return table(("model", "engine", "CPU a round", "wall a round", "CPU over ours", "wall over ours", "memory"), rows)
