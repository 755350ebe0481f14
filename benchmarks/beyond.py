"""Beyond the literature: rules anchored at a trusted update, beside the best rules without one, at f = 2 and f = 4.

    taskset -c 0 nice -n 10 .venv/bin/python benchmarks/beyond.py --minutes 20
    .venv/bin/python benchmarks/beyond.py --show

The setting is that of rules.py. All rules that need a reference get the gradient on the same 100 images (`root-only`
takes nothing else: what the server has without any member). `root` in the table is where those images come from: `all`
classes, or only three of them (`three`).

Besides the attacks of rules.py there are three searches that know the deployed rule and its reference, `seek-*`: a
pattern search over all combinations of the honest rows, the reference, the label-flip gradient, sigma and
-sign(mean) sigma, from the best of a grid and from what was best in the last step. Their goals: `progress`, turn the
step against the honest mean; `deviation`, move it as far as possible; `flip`, move it along the label-flip gradient, a
goal that stays the same from step to step.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

import _dsgd
import numpy as np
from _dsgd import SCALES, Images, Maker, Members, Run, Setting, load, train
from rules import RULES

from phalanx.aggregation import ARC, NNM, Chain, FLTrust, gram_weights, weigh
from phalanx.aggregation.gram import Gram
from phalanx.learning.threads import use_threads
from phalanx.rules import Rule
from phalanx.types import F32, F64

OUT = Path(__file__).parent / "results" / "beyond.json"
SOUGHT = ("seek-progress", "seek-deviation", "seek-flip")
ATTACKS = ("tailored", "label-flip", "ipm", "alie", "min-max", "sign-flip", "mimic", *SOUGHT)
THREE = 3  # classes that a biased root has


# ------------------------------------------------------------------------------------------------------------ the rules


@dataclass(frozen=True, slots=True)
class Anchored(FLTrust):
    """A rule with a reference, for the experiment: a subclass of FLTrust, so that _dsgd hands it the reference."""

    f: int = 0
    kind: str = "anchored-caf"
    seen_from = "median row"

    def __str__(self) -> str:
        return f"{self.kind}(f={self.f})"


def anchored(rule: Anchored, view: Gram) -> tuple[F64, F64]:
    """(n+1,) weights, and scores of no meaning."""
    n, P = view.n, view.products
    K = P[:n, :n] - P[:n, n][:, None] - P[:n, n][None, :] + P[n, n]  # as seen from the reference
    match rule.kind:
        case "root-only":
            return np.append(np.zeros(n), 1.0), np.zeros(n)
        case "anchored-caf":
            counted = filtered(K, rule.f)
        case "trusted-caf":
            counted = filtered_with_reference(K, rule.f, float(rule.f))
        case "nearest-mean":
            counted = nearest_mean(K, 1.0 / (n - rule.f))
        case _:
            raise ValueError(rule.kind)
    return np.append(counted, 0.0), np.zeros(n)


weigh._WEIGHTS[Anchored] = anchored


def filtered(K: F64, f: int) -> F64:
    """CAF on the second moment about the reference instead of the covariance about the weighted mean."""
    n = len(K)
    left = best = np.ones(n)
    smallest = np.inf
    for _ in range(n):
        if not left.sum() > n - 2 * f:
            break
        a = left / left.sum()
        root = np.sqrt(a)
        values, vectors = np.linalg.eigh(root[:, None] * K * root[None, :])
        moment = float(values[-1])
        if moment < smallest:
            smallest, best = moment, left
        tau = np.where(a > 0.0, (K @ (root * vectors[:, -1])) ** 2, 0.0)
        if not tau.max() > 0.0:
            break
        left = left * (1.0 - tau / tau.max())
    return best / best.sum()


def filtered_with_reference(K: F64, f: int, trusted: float) -> F64:
    """CAF among the rows and `trusted` copies of the reference, which lose no weight and are left out of the mean."""
    n = len(K)
    K = np.pad(K, (0, 1))  # the reference, as seen from itself, is zero
    left = best = np.ones(n)
    smallest = np.inf
    for _ in range(n):
        if not left.sum() > n - 2 * f:
            break
        a = np.append(left, trusted) / (left.sum() + trusted)
        mean, root = K @ a, np.sqrt(a)
        C = K - mean[:, None] - mean[None, :] + a @ mean
        values, vectors = np.linalg.eigh(root[:, None] * C * root[None, :])
        if values[-1] < smallest:
            smallest, best = float(values[-1]), left
        tau = np.where(left > 0.0, (C @ (root * vectors[:, -1]))[:n] ** 2, 0.0)
        if not tau.max() > 0.0:
            break
        left = left * (1.0 - tau / tau.max())
    return best / best.sum()


def nearest_mean(K: F64, cap: float) -> F64:
    """The weights, at most `cap` each, whose mean is nearest to the reference: an active set method."""
    n = len(K)
    K = K + np.eye(n) * (1e-6 * np.trace(K) / n + 1e-300)
    whole = int(1.0 / cap + 1e-9)
    order = np.argsort(np.diagonal(K), kind="stable")
    w = np.zeros(n)
    w[order[:whole]] = cap
    if whole < n:
        w[order[whole]] = 1.0 - whole * cap
    state = np.where(w <= 0.0, -1, np.where(w >= cap - 1e-12, 1, 0))
    for _ in range(20 * n):
        free, upper = np.flatnonzero(state == 0), np.flatnonzero(state == 1)
        if len(free) == 0:
            slope = K @ w
            up, down = np.where(state == -1, slope, np.inf), np.where(state == 1, slope, -np.inf)
            i, j = int(np.argmin(up)), int(np.argmax(down))
            if up[i] >= down[j] * (1.0 - 1e-12):
                break
            state[i] = state[j] = 0
            continue
        k = len(free)
        A = np.ones((k + 1, k + 1))
        A[:k, :k], A[k, k] = K[np.ix_(free, free)], 0.0
        solved = np.linalg.solve(A, np.append(-cap * K[np.ix_(free, upper)].sum(axis=1), 1.0 - cap * len(upper)))
        step = solved[:k] - w[free]
        room = np.full(k, np.inf)
        room[step < -1e-15] = (-w[free] / np.minimum(step, -1e-300))[step < -1e-15]
        room[step > 1e-15] = ((cap - w[free]) / np.maximum(step, 1e-300))[step > 1e-15]
        j = int(np.argmin(room))
        if room[j] < 1.0:
            w[free] = np.clip(w[free] + room[j] * step, 0.0, cap)
            state[free[j]], w[free[j]] = (-1, 0.0) if step[j] < 0.0 else (1, cap)
            continue
        w[free] = solved[:k]
        slope = K @ w + solved[k]
        wrong = np.where(state == -1, -slope, np.where(state == 1, slope, -np.inf))
        if wrong.max() <= 1e-10 * np.trace(K) / n:
            break
        state[int(np.argmax(wrong))] = 0
    w = np.clip(w, 0.0, cap)
    return w / w.sum()


MINE: dict[str, Maker] = {
    "root-only": lambda f, coin: Anchored(f, "root-only"),
    "anchored-caf": lambda f, coin: Anchored(f),
    "arc-anchored-caf": lambda f, coin: ARC(f) >> Anchored(f),
    "arc-nnm-anchored-caf": lambda f, coin: ARC(f) >> NNM(f) >> Anchored(f),
    "arc-trusted-caf": lambda f, coin: ARC(f) >> Anchored(f, "trusted-caf"),
    "nearest-mean": lambda f, coin: Anchored(f, "nearest-mean"),
    "arc-nearest-mean": lambda f, coin: ARC(f) >> Anchored(f, "nearest-mean"),
    "nnm-fltrust": lambda f, coin: NNM(f) >> FLTrust(),
}
ALL = MINE | {name: RULES[name] for name in ("arc-caf", "arc-nnm-caf", "fltrust")}


# ------------------------------------------------------------------------------------------------------- the adversary


class Seeker:
    """A pattern search against the deployed rule that remembers what was best in the last step."""

    def __init__(self, goal: str) -> None:
        self.goal, self.last = goal, None

    def row(self, rule: Rule | Chain, members: Members, f: int, handed: F32 | None) -> F32:
        """(d,) what each colluder sends."""
        honest, h = members.rows.astype(np.float64), len(members.rows)
        mean, sigma = honest.mean(axis=0), honest.std(axis=0)
        flipped = members.flipped().astype(np.float64)
        reference = mean if handed is None else handed.astype(np.float64)
        V = np.vstack([honest, reference, flipped, sigma, -np.sign(mean) * sigma])
        P = V @ V.T
        at_mean = np.zeros(len(V))
        at_mean[:h] = 1.0 / h
        evaluate = self._harm(rule, P, h, f, at_mean, handed is not None)
        typical = float(np.sqrt(np.mean(np.diagonal(P)[:h])))

        starts = [at_mean * s for s in (-1.0, -0.3, 0.3)]
        for i in range(h, len(V)):
            unit = np.zeros(len(V))
            unit[i] = typical / max(np.sqrt(P[i, i]), 1e-30)
            starts += [base + s * unit for base in (0.0 * at_mean, at_mean) for s in (-1.0, -0.5, 0.5, 1.0)]
        starts += [np.eye(len(V))[i] for i in range(h)]
        if handed is not None:  # what would pull a mean of n-f rows, f of them hostile, to the reference and beyond
            for beyond in (1.0, 1.5):
                pull = -at_mean * (h - f) / f
                pull[h] = beyond * h / f
                starts.append(pull)
        if self.last is not None:
            starts.append(self.last)
        harms = [evaluate(start) for start in starts]
        best, most = starts[int(np.argmax(harms))], max(harms)
        values, vectors = np.linalg.eigh(P)
        kept = values > 1e-9 * values[-1]
        axes = typical * (vectors[:, kept] / np.sqrt(values[kept])).T[::-1]
        steps = np.full(len(axes), 0.3)
        for _ in range(4):
            for i in range(len(axes)):
                if steps[i] < 0.01:
                    continue
                tried = [best + steps[i] * axes[i], best - steps[i] * axes[i]]
                found = [evaluate(one) for one in tried]
                if max(found) > most:
                    best, most = tried[int(np.argmax(found))], max(found)
                    steps[i] *= 2.0
                else:
                    steps[i] *= 0.5
        self.last = best
        return np.clip(best @ V, -1e30, 1e30).astype(np.float32)

    def _harm(
        self, rule: Rule | Chain, P: F64, h: int, f: int, at_mean: F64, referenced: bool
    ) -> Callable[[F64], float]:
        m = len(P)
        rows = np.zeros((h + f + referenced, m))
        rows[np.arange(h), np.arange(h)] = 1.0
        if referenced:
            rows[-1, h] = 1.0

        def harm(hostile: F64) -> float:
            rows[h : h + f] = hostile
            counted, _ = gram_weights(rows @ P @ rows.T, rule, reference=referenced)
            moved = counted @ rows[: len(counted)]
            if self.goal == "seek-progress":
                return -float(moved @ P @ at_mean)
            if self.goal == "seek-flip":
                return float(moved @ P[h + 1])
            away = moved - at_mean
            return float(away @ P @ away)

        return harm


_plain = _dsgd._hostile


def attacked(run: Run, images: Images, setting: Setting, make: Maker) -> dict[str, Any]:
    """One training; the searches take the place of _dsgd's attacks."""
    seeker = Seeker(run.attack)

    def hostile(run: Run, rule: Rule | Chain, members: Members, handed: F32 | None) -> F32:
        if run.attack in SOUGHT:
            return seeker.row(rule, members, run.f, handed)
        return _plain(run, rule, members, handed)

    _dsgd._hostile = hostile
    try:
        return train(run, setting, make, images).as_dict()
    finally:
        _dsgd._hostile = _plain


# ------------------------------------------------------------------------------------------------------------ the runs


def three_classes(images: Images, seed: int) -> Callable[[], None]:
    """Makes _dsgd draw its root from the first three classes; returns what undoes it."""
    places = np.flatnonzero(images.y < THREE)
    plain = np.random.default_rng

    class Root:
        def choice(self, count: int, shape: tuple[int, int], replace: bool) -> Any:
            return places[plain([seed, 4]).choice(len(places), shape, replace=replace)]

    def rng(key: Any) -> Any:
        return Root() if key == [seed, 4] else plain(key)

    np.random.default_rng = rng  # type: ignore[assignment]

    def undo() -> None:
        np.random.default_rng = plain

    return undo


def todo(given: argparse.Namespace) -> Iterator[Run]:
    for seed in given.seed:
        for f in given.f:
            for rule in given.rule:
                yield from (Run(rule, given.gamma, f, attack, seed) for attack in given.attack)


def read() -> list[dict[str, Any]]:
    return json.loads(OUT.read_text(encoding="utf-8"))["runs"] if OUT.exists() else []


def write(runs: Sequence[dict[str, Any]]) -> None:
    lines = ",\n".join("  " + json.dumps(one) for one in runs)
    partial = OUT.with_suffix(".partial")
    partial.write_text('{"summary": [\n' + ",\n".join("  " + json.dumps(row) for row in table(runs)) + "\n ],\n")
    with partial.open("a", encoding="utf-8") as file:
        file.write(f' "runs": [\n{lines}\n ]}}\n')
    partial.replace(OUT)


def table(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each data set, gamma, root, f, seed and rule: best and final accuracy by attack, and the worst."""
    cells: dict[tuple[Any, ...], dict[str, tuple[float, float]]] = {}
    for run in runs:
        key = (run["data"], run["gamma"], run["root"], run["f"], run["seed"], run["rule"])
        cells.setdefault(key, {})[run["attack"]] = (run["best"], run["final"])
    rows = []
    for key, by in sorted(cells.items()):
        hostile = {attack: pair for attack, pair in by.items() if attack != "none"}
        row: dict[str, Any] = dict(zip(("data", "gamma", "root", "f", "seed", "rule"), key, strict=True))
        if hostile:
            for i, when in enumerate(("best", "final")):
                worst = min(hostile, key=lambda attack: hostile[attack][i])
                row |= {f"worst_{when}": hostile[worst][i], f"worst_{when}_attack": worst}
        rows.append(row | {"by_attack": {attack: list(pair) for attack, pair in by.items()}})
    return rows


def show(runs: Sequence[dict[str, Any]]) -> None:
    for row in table(runs):
        by = "  ".join(f"{a} {100 * p[0]:.0f}/{100 * p[1]:.0f}" for a, p in row["by_attack"].items())
        worst = f"{100 * row['worst_best']:.1f}/{100 * row['worst_final']:.1f}" if "worst_best" in row else "-"
        head = f"{row['data']} g={row['gamma']} root={row['root']} f={row['f']} seed={row['seed']} {row['rule']:21}"
        print(f"{head} worst {worst:10} {by}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rule", nargs="*", choices=list(ALL), default=["arc-trusted-caf", "arc-caf", "arc-nnm-caf"])
    parser.add_argument("--attack", nargs="*", choices=("none", *ATTACKS), default=list(ATTACKS))
    parser.add_argument("--f", type=int, nargs="*", default=[2, 4])
    parser.add_argument("--seed", type=int, nargs="*", default=[0])
    parser.add_argument("--gamma", type=float, default=0.33)
    parser.add_argument("--data", choices=list(SCALES), default="mnist")
    parser.add_argument("--root", choices=("all", "three"), default="all")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--show", action="store_true")
    given = parser.parse_args()
    use_threads(1)
    if given.show:
        show(read())
        return
    setting = replace(Setting(given.data, "mlp", 250, 25))
    images, began = load(given.data), time.monotonic()
    for run in todo(given):
        key = asdict(run) | {"data": given.data, "root": given.root}
        if any(key.items() <= done.items() for done in read()):
            continue
        undo = three_classes(images, run.seed) if given.root == "three" else (lambda: None)
        try:
            figures = attacked(run, images, setting, ALL[run.rule])
        finally:
            undo()
        write([*read(), key | figures])
        passed = (time.monotonic() - began) / 60
        print(
            f"{passed:5.1f} min {given.data} {run} best {figures['best']:.3f} final {figures['final']:.3f}"
            f" {figures['seconds']:.0f} s",
            flush=True,
        )
        if passed > given.minutes:
            break


if __name__ == "__main__":
    main()
