"""What robust aggregation costs: ours beside Flower, ByzFL, krum, byzpy, plain numpy and torch, in one process in turn.

    PYTHONPATH=src "$peers/rules/bin/python" benchmarks/aggregation.py            (that environment: peers/README.md)
    PYTHONPATH=src "$peers/rules/bin/python" benchmarks/aggregation.py --quick

A row of the result is one rule at one size beside one peer. Rows to aggregate are float32 and lie in memory.

- *ratio*: the peer's time by ours, the median over pairs of calls that follow each other, for wall seconds and for CPU
  seconds of the process. The peer has its better configuration for each: its own number of threads or one; rows of
  numpy or of torch.
- *passes*: our time by that of reading the rows once, measured in the same round: the faster of `X.max()` and our
  squared norms. Rows of 100,000 columns are read from the processor's cache.
- *extra memory*: by how much the process was larger while the call ran.
- *difference*: how far the two results are apart, relative to their length; where conventions are the same it must not
  be above the tolerance.

Then our kernels on every instruction set beside the machine's limits, how right squared distances are where updates are
small beside the weights, and what one huge row does to CAF. What was measured is not measured again unless `--fresh`:
an interrupted run goes on where it was.
"""

from __future__ import annotations

import os
import sys

# Some machines set the first two for old BLAS builds; they slow a new one, and the others would choose for the peers.
UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "PHALANX_KERNELS")
if __name__ == "__main__" and any(name in os.environ for name in UNSET):  # BLAS reads them when it is loaded
    kept = {name: value for name, value in os.environ.items() if name not in UNSET}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], kept)

import argparse  # noqa: E402
import contextlib  # noqa: E402
import json  # noqa: E402
import platform  # noqa: E402
import statistics  # noqa: E402
from collections.abc import Callable  # noqa: E402
from dataclasses import replace  # noqa: E402
from functools import partial  # noqa: E402
from importlib.metadata import PackageNotFoundError, version  # noqa: E402
from itertools import product  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "peers"))

import _aggregation_limits as limits  # noqa: E402
import _aggregation_report as report  # noqa: E402
import aggregators  # noqa: E402
import numpy as np  # noqa: E402
from _aggregation_limits import on, passes, reads, short  # noqa: E402
from aggregators import ENTRIES, Entry, Given  # noqa: E402
from pairs import Call, First, Round, TooSlow, in_turn, relative_difference, repeats  # noqa: E402
from threadpoolctl import threadpool_info  # noqa: E402

from phalanx import aggregation as ours  # noqa: E402
from phalanx import kernels  # noqa: E402

Found = dict[str, Any]
SLOW_S = 20.0  # after a call that long nothing else is tried of this peer
RULES: dict[str, Callable[[Given], Any]] = {
    "median": lambda given: ours.Median(given.f),
    "trimmed mean": lambda given: ours.TrimmedMean(given.f),
    "meamed": lambda given: ours.MeaMed(given.f),
    "krum": lambda given: ours.Krum(given.f),
    "multi-krum": lambda given: ours.MultiKrum(given.f, m=given.n - given.f),
    "geometric median": lambda given: ours.GeometricMedian(given.f),
    "centred clipping": lambda given: ours.CenteredClipping(given.clip_l2, steps=aggregators.CLIP_STEPS),
    "bulyan": lambda given: ours.Bulyan(given.bulyan().f),
    "nnm, trimmed mean": lambda given: ours.NNM(given.f) >> ours.TrimmedMean(given.f),
    "norm clip, mean": lambda given: ours.NormClip(given.clip_l2) >> ours.Mean(),
    "mean": lambda given: ours.Mean(),
    "mda": lambda given: ours.MDA(given.f),
    "caf": lambda given: ours.CAF(given.f),
}


def made(n: int, d: int) -> Given:
    """Rows as of uneven data: a shared part, eight directions in which they differ, noise; a fifth has the sign turned.

    Row 0 lies near the middle, so that Krum's winner is no matter of rounding or of one neighbour more.
    """
    rng = np.random.default_rng([n, d])
    f = n // 5
    shared = np.float32(0.05) * rng.standard_normal(d, dtype=np.float32)
    X = np.float32(0.02) * rng.standard_normal((n, d), dtype=np.float32)
    where = np.float32(0.01) * rng.standard_normal((n, 8), dtype=np.float32)
    where[0] *= np.float32(0.1)
    for direction in where.T:
        X += direction[:, None] * rng.standard_normal(d, dtype=np.float32)
    X[: n - f] += shared
    X[n - f :] -= shared
    return Given(X, f, clip_l2=0.05 * d**0.5)


# -------------------------------------------------------------------------------------------------------------- a cell


def cell(given: Given, rule: str, entry: Entry, settings: argparse.Namespace) -> Found:
    """One rule at one size beside one peer."""
    chain, machine = RULES[rule](given), entry.kernels or kernels.machines()[0]
    found: Found = {"rule": rule, "n": given.n, "d": given.d, "f": getattr(chain, "f", given.f), "peer": entry.peer}
    found |= {"kernels": machine, "note": entry.note, "other_rule": entry.other_rule}
    if entry.memory(given) > aggregators.LARGEST:
        return found | {"not_run": f"it needs {entry.memory(given) / 1e9:.0f} GB"}
    mine = Call(on(machine, lambda _: ours.aggregate(given.X, chain)[0]))
    first = mine.first(settings.limit_s)
    tries, reasons = tried(given, entry, settings.limit_s)
    if not tries:
        slow = any(reason.startswith("no answer") for reason in reasons)
        bound = {"ratio_above": short(settings.limit_s / mine.timed()[0])} if slow else {}
        return found | {"not_run": "; ".join(dict.fromkeys(reasons)), **bound}
    best = [min(tries, key=lambda one: one[2].seconds[place]) for place in (0, 1)]
    found["pairs"] = min(settings.pairs, _pairs(best[0][2].seconds[0]))
    rounds: list[Round] = []
    for place, what in enumerate(("wall", "cpu")):
        form, call, seen = best[place]
        if place == 0 or call is not best[0][1]:
            rounds = in_turn([*reads(given.X), mine, call], found["pairs"], seen.seconds[0])
        found[what] = {"form": form, **ratio(rounds, place)}
        found.setdefault("passes", passes(rounds, 2))
    return found | _compared(entry, first, best[0][2])


def tried(given: Given, entry: Entry, limit_s: float) -> tuple[list[tuple[str, Call, First]], list[str]]:
    """Each form of the peer with its own number of threads and with one, and what it took; and what went wrong."""
    tries: list[tuple[str, Call, First]] = []
    reasons: list[str] = []
    for form, run in entry.forms.items():
        for threads in ("own threads", "1 thread"):
            if any(first.seconds[0] > SLOW_S for _, _, first in tries):
                break
            fresh = (lambda: replace(given, X=given.X.copy())) if entry.changes_rows else (lambda: given)
            call = Call(run, fresh, one_thread=threads == "1 thread")
            try:
                first = call.first(limit_s)
            except TooSlow:
                reasons.append(f"no answer in {limit_s:.0f} s")
                break
            except Exception as failure:  # whatever a peer raises is its answer
                reasons.append(f"{form} {type(failure).__name__}: {str(failure)[:100]}".strip())
                break
            if first.seconds[0] < SLOW_S / 4:  # else the first call's warming up does not matter
                first = replace(first, seconds=call.timed(repeats(first.seconds[0])))
            tries.append((f"{form}, {threads}" if form else threads, call, first))
    return tries, reasons


def _pairs(seconds: float) -> int:
    """How many pairs a peer's call is worth."""
    return 9 if seconds < 0.3 else 5 if seconds < 1.0 else 3 if seconds < 5.0 else 1


def ratio(rounds: list[Round], place: int) -> Found:
    """Medians of ours and theirs, the last two of each round, and of their ratio; `place` 0 is wall, 1 CPU."""
    mine, theirs = ([turn[at][place] for turn in rounds] for at in (-2, -1))
    ratios = sorted(b / a for a, b in zip(mine, theirs, strict=True))
    return {
        "our_ms": short(1e3 * statistics.median(mine)),
        "peer_ms": short(1e3 * statistics.median(theirs)),
        "ratio": short(statistics.median(ratios)),
        "ratio_of_medians": short(statistics.median(theirs) / statistics.median(mine)),
        "lowest": short(ratios[0]),
        "highest": short(ratios[-1]),
    }


def _compared(entry: Entry, mine: First, theirs: First) -> Found:
    difference = relative_difference(mine.result, theirs.result)
    return {
        "our_extra_mb": round(mine.extra_bytes / 2**20, 1),
        "peer_extra_mb": round(theirs.extra_bytes / 2**20, 1),
        "difference": short(difference),
        "tolerance": entry.tolerance,
        "agrees": None if entry.tolerance is None else bool(difference <= entry.tolerance),
    }


# --------------------------------------------------------------------------------------------------------------- a run

KEYS = {
    "rows": ("rule", "n", "d", "peer", "kernels"),
    "limits": ("n", "d"),
    "distances": ("n", "d", "size"),
    "picks": ("n", "d"),
    "caf": ("n", "d"),
}


class Results:
    """What has been measured, in a file that is written after every cell."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.about: Found = {"commands": [], "not_available": {}, **surroundings()}
        self.parts: dict[str, dict[tuple[Any, ...], Found]] = {part: {} for part in KEYS}
        if path and path.exists():
            before = json.loads(path.read_text())
            if any(before.get(key) != self.about[key] for key in ("machine", "versions")):
                raise SystemExit(f"{path} is of another machine or of other versions: remove it, or name another --out")
            self.about["commands"] = before["commands"]
            self.parts = {part: {_key(part, row): row for row in before[part]} for part in KEYS}
        command = " ".join(["PYTHONPATH=src python benchmarks/aggregation.py", *sys.argv[1:]])
        self.about["commands"] = list(dict.fromkeys([*self.about["commands"], command]))

    def forget(self, settings: argparse.Namespace) -> None:
        """The rows of these rules and sizes; if it is all rules, the other parts too."""
        every = len(settings.rules) == len(RULES)
        for part, rows in self.parts.items():
            for key, row in list(rows.items()):
                here = row["n"] in settings.members and row["d"] in settings.dimensions
                if (here and row["rule"] in settings.rules) if part == "rows" else every:
                    del rows[key]

    def add(self, part: str, wanted: Found, measure: Callable[[], Found]) -> None:
        """Measures what is not there yet."""
        if _key(part, wanted) in self.parts[part]:
            return
        row = measure()
        self.parts[part][_key(part, row)] = row
        print(report.line(part, row), flush=True)
        if self.path:
            report.write(self.path, self.whole())

    def whole(self) -> Found:
        found = {part: list(rows.values()) for part, rows in self.parts.items()}
        order = [(rule, entry.peer) for rule, entries in ENTRIES.items() for entry in entries]
        found["rows"].sort(key=lambda row: (order.index((row["rule"], row["peer"])), -row["d"], row["n"]))
        found["limits"].sort(key=lambda row: (-row["d"], row["n"]))
        return self.about | found


def _key(part: str, row: Found) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEYS[part])


def surroundings() -> Found:
    info = Path("/proc/cpuinfo").read_text().splitlines()
    versions = {"python": platform.python_version()}
    for name in ("numpy", "torch", "flwr", "byzfl", "krum", "byzpy"):
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    blas = {
        f"{one['internal_api']} {one.get('architecture')}" for one in threadpool_info() if one["user_api"] == "blas"
    }
    return {
        "machine": {
            "processor": next((line.partition(":")[2].strip() for line in info if line.startswith("model name")), ""),
            "cores": len(os.sched_getaffinity(0)),
            "kernels": list(kernels.machines()),
            "numpy's BLAS": sorted(blas),
        },
        "versions": versions,
        "environment": f"not set: {', '.join(UNSET)}",
        "load_before": round(os.getloadavg()[0], 2),
    }


def measure_all(results: Results, settings: argparse.Namespace) -> None:
    results.about["not_available"] = missing = aggregators.load()
    for peer, reason in missing.items():
        print(f"{peer}: {reason}")
    for d in settings.dimensions:
        for n in settings.members:
            given = made(n, d)
            results.add("limits", {"n": n, "d": d}, partial(limits.measured, given, settings.pairs))
            for rule in settings.rules:
                if n <= (getattr(RULES[rule](given), "max_rows", None) or n):
                    _beside_peers(results, given, rule, settings)
        for n, size in product((20, 50), (1e-1, 1e-2, 1e-3, 3e-4)):
            results.add("distances", {"n": n, "d": d, "size": size}, partial(limits.distance_errors, n, d, size))
        if "flower" not in missing:
            results.add("picks", {"n": 20, "d": d}, partial(limits.hostile_picks, 20, d))
    if "byzfl" not in missing:
        results.add("caf", {"n": 10, "d": 10_000}, lambda: limits.caf_of_a_huge_row(made(10, 10_000)))


def _beside_peers(results: Results, given: Given, rule: str, settings: argparse.Namespace) -> None:
    for entry in ENTRIES[rule]:
        if entry.peer.replace(",", " ").split()[0] in results.about["not_available"]:
            continue
        wanted: Found = {"rule": rule, "n": given.n, "d": given.d, "peer": entry.peer}
        wanted["kernels"] = entry.kernels or kernels.machines()[0]
        results.add("rows", wanted, partial(cell, given, rule, entry, settings))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--members", type=int, nargs="+", default=[10, 20, 50], metavar="N")
    parser.add_argument("--dimensions", type=int, nargs="+", default=[1_000_000, 100_000], metavar="D")
    parser.add_argument("--rules", nargs="+", choices=list(RULES), default=list(RULES), metavar="RULE")
    parser.add_argument("--pairs", type=int, default=9, help="at most; fewer for a peer's call above 0.3 s")
    parser.add_argument("--limit-s", type=float, default=60.0, help="of a peer's first call")
    parser.add_argument("--fresh", action="store_true", help="measure these rules and sizes again")
    parser.add_argument("--quick", action="store_true", help="10 rows of 20,000, one pair; nothing is written")
    parser.add_argument("--report", action="store_true", help="only write table and plot again")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "aggregation.json")
    settings = parser.parse_args()
    if settings.report:
        report.write(settings.out, json.loads(settings.out.read_text()))
        return
    if settings.quick:
        settings.members, settings.dimensions, settings.pairs = [10], [20_000], 1
    results = Results(None if settings.quick else settings.out)
    if settings.fresh:
        results.forget(settings)
    measure_all(results, settings)
    wrong = [row for row in results.parts["rows"].values() if row.get("agrees") is False]
    print(f"{len(results.parts['rows'])} rows; {len(wrong)} where results differ by more than the tolerance")
    for row in wrong:
        print(report.line("rows", row))


if __name__ == "__main__":
    main()
