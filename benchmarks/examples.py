"""Every example over three seeds: accuracy at each site alone, without controls, with them, and pooled.

    make bench-data
    .venv/bin/python benchmarks/examples.py --out benchmarks/results/examples.json
    .venv/bin/python benchmarks/examples.py adult flights --seeds 0-4

Through the real rounds, as `phalanx run` does it, on a copy of the example's folder, so with a ledger of its own. The
seed replaces the module's SEED, which says which examples are used and who has them; digits has none, there only the
noise is another.
`better_off` counts the sites at which the federated model with its controls beats training alone.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from phalanx import __version__
from phalanx.errors import PhalanxError
from phalanx.federation import Federation, Result
from phalanx.learning.threads import use_threads

EXAMPLES = Path(__file__).parent.parent / "examples"
NAMES = ("digits", "breast-cancer", "adult", "flights", "fashion", "spam")
WAYS = ("alone", "plain", "protected", "pooled")


def one(name: str, seed: int) -> dict[str, Any]:
    """One run of one example: the four accuracies of each site."""
    began = time.perf_counter()
    with TemporaryDirectory() as place:
        folder = Path(shutil.copytree(EXAMPLES / name, Path(place) / name))
        module = folder / "member.py"
        text = module.read_text(encoding="utf-8")
        module.write_text(re.sub(r"^SEED = 0\b", f"SEED = {seed}", text, flags=re.MULTILINE), encoding="utf-8")
        try:
            result = Federation.from_config(folder / "phalanx.toml").run()
        except PhalanxError as error:  # a run that the gate stopped is a result too
            return {"seed": seed, "stopped": error.message, "seconds": round(time.perf_counter() - began, 1)}
    return {
        "seed": seed,
        "stopped": "",
        "rounds": len(result.records),
        "gate_refusals": sum(not record.verdict.passed for record in result.records),
        "epsilon": result.epsilon,
        "held_out": dict(result.held_out),
        "sites": sites(result),
        "seconds": round(time.perf_counter() - began, 1),
    }


def sites(result: Result) -> dict[str, dict[str, float]]:
    """Each site's four accuracies, rounded."""
    return {
        site: {way: round(share, 4) for way, share in zip(WAYS, shares, strict=True) if share is not None}
        for site, *shares in result.rows()
    }


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds of the median, the worst and the mean site, by way; and how many sites are better off."""
    done = [run for run in runs if not run["stopped"]]
    if not done:
        return {"finished": 0}
    gains = [[site["protected"] - site["alone"] for site in run["sites"].values()] for run in done]
    return {
        "finished": len(done),
        "of": len(runs),
        "median": {way: _mean(done, way, median) for way in WAYS},
        "worst": {way: _mean(done, way, min) for way in WAYS},
        "mean": {way: _mean(done, way, lambda shares: sum(shares) / len(shares)) for way in WAYS},
        "median_gain": [round(median(gain), 4) for gain in gains],
        "better_off": [sum(one > 0 for one in gain) for gain in gains],
        "worse_off": [sum(one < 0 for one in gain) for gain in gains],
        "sites": len(gains[0]),
        "epsilon": done[0]["epsilon"],
        "gate_refusals": [run["gate_refusals"] for run in done],
    }


def _mean(runs: list[dict[str, Any]], way: str, over: Any) -> float:
    return round(float(np.mean([over([site[way] for site in run["sites"].values()]) for run in runs])), 4)


def show(name: str, row: Mapping[str, Any]) -> None:
    """One example in a few lines."""
    if not row["finished"]:
        print(f"{name}: no run finished")
        return
    print(f"{name}: {row['finished']} of {row['of']} seeds, {row['sites']} sites, ε {row['epsilon']}")
    for which in ("median", "worst", "mean"):
        print(f"  {which:7} " + "  ".join(f"{way} {row[which][way]:.3f}" for way in WAYS))
    print(f"  gain at the median site {row['median_gain']}, better off {row['better_off']}, worse {row['worse_off']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(NAMES), help="which examples; all without")
    parser.add_argument("--seeds", default="0-2", help="first-last")
    parser.add_argument("--out", type=Path, help="where the result goes, as JSON; examples that are there are kept")
    given = parser.parse_args()
    use_threads(1)
    os.environ.setdefault("PHALANX_DATA", str(EXAMPLES.parent / "data"))
    first, last = (int(part) for part in given.seeds.split("-"))
    held = json.loads(given.out.read_text(encoding="utf-8")) if given.out and given.out.exists() else {"examples": {}}
    for name in given.names:
        runs = [one(name, seed) for seed in range(first, last + 1)]
        row = summary(runs)
        show(name, row)
        held["examples"][name] = {"summary": row, "runs": runs}
        held |= {"seeds": given.seeds, "phalanx": __version__}
        if given.out:
            given.out.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
