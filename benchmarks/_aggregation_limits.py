"""Our kernels beside the machine's limits, and what peers get wrong: parts of `aggregation.py`."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import aggregators
import numpy as np
import numpy.typing as npt
from aggregators import ENTRIES, Given
from pairs import Call, Round, TooSlow, in_turn, relative_difference

from phalanx import aggregation as ours
from phalanx import kernels
from phalanx.aggregation.gram import gram, squared_distances

Found = dict[str, Any]
_GRAM = ("products", "Gram matrix")


def short(value: float) -> float:
    """Three digits."""
    return float(f"{value:.3g}")


def on(machine: str, run: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same call on other kernels."""

    def there(given: Any) -> Any:
        os.environ["PHALANX_KERNELS"] = machine
        try:
            return run(given)
        finally:
            del os.environ["PHALANX_KERNELS"]

    return there


def reads(X: npt.NDArray[np.float32]) -> list[Call]:
    """Two ways to read all rows once."""
    return [Call(lambda _: X.max()), Call(lambda _: kernels.squared_norms(X))]


def passes(rounds: list[Round], at: int) -> float:
    """Wall time of the call at that place of each round, by that of the faster of the two reads, which come first."""
    return short(statistics.median(turn[at][0] / min(turn[0][0], turn[1][0]) for turn in rounds))


# ------------------------------------------------------------------------------------------------------------- limits


def measured(given: Given, rounds: int) -> Found:
    """Our kernels at one size, on every instruction set in turn.

    The Gram matrix's limit is the longer of one read and n(n+1)d flops at the peak of numpy's matrix product: in
    float32, and in float64, in which our products are accumulated.
    """
    peaks = {"sgemm": peak(np.float32), "dgemm": peak(np.float64)}
    read = min(min(turn[0][0], turn[1][0]) for turn in in_turn(reads(given.X), rounds))
    found: Found = {"n": given.n, "d": given.d, "read_ms": short(1e3 * read)}
    found["read_gb_s"] = short(given.X.nbytes / read / 1e9)
    found |= {f"{name}_gflops": short(flops / 1e9) for name, flops in peaks.items()}
    found["kernels"] = []
    for name, run in _kernels(given).items():
        turns = in_turn([*reads(given.X), *(Call(on(one, run)) for one in kernels.machines())], rounds)
        for at, machine in enumerate(kernels.machines(), start=2):
            row: Found = {"kernel": name, "machine": machine, "wall_ms": _median_ms(turns, at, 0)}
            row |= {"cpu_ms": _median_ms(turns, at, 1), "passes": passes(turns, at)}
            if name in _GRAM:
                flops = given.n * (given.n + 1) * given.d
                row |= {f"times_{blas}_limit": _beyond(turns, at, flops / rate) for blas, rate in peaks.items()}
            found["kernels"].append(row)
    return found


def peak(dtype: type, size: int = 2048) -> float:
    """Flops a second of numpy's matrix product on all cores, the best of several."""
    A = np.random.default_rng(0).standard_normal((size, size)).astype(dtype)
    return 2.0 * size**3 / min(turn[0][0] for turn in in_turn([Call(lambda _: A @ A)], 5))


def _kernels(given: Given) -> dict[str, Callable[[Any], Any]]:
    X, n, f = given.X, given.n, given.f
    equal, W = np.full(n, 1.0 / n), np.full((n, n), 1.0 / n)
    return {
        "squared norms": lambda _: kernels.squared_norms(X),
        "products": lambda _: kernels.products(X, 0),
        "Gram matrix": lambda _: gram(X),
        "combine": lambda _: kernels.combine(equal, X),
        "median": lambda _: kernels.median(kernels.Seen(X)),
        "trimmed mean": lambda _: kernels.trimmed_mean(kernels.Seen(X), f),
        "mean near median": lambda _: kernels.mean_near_median(kernels.Seen(X), n - f),
        "mixing, trimmed mean": lambda _: kernels.trimmed_mean(kernels.Seen(X, mixing=W), f),
    }


def _median_ms(turns: list[Round], at: int, place: int) -> float:
    return short(1e3 * statistics.median(turn[at][place] for turn in turns))


def _beyond(turns: list[Round], at: int, flops_s: float) -> float:
    return short(statistics.median(turn[at][0] / max(min(turn[0][0], turn[1][0]), flops_s) for turn in turns))


# --------------------------------------------------------------------------------------------------- right and wrong


def distance_errors(n: int, d: int, size: float) -> Found:
    """The largest relative error of a squared distance between rows weights + update, the update `size` times as long.

    And how many are negative. The exact ones are sums in float64 of the float32 rows' differences.
    """
    rng = np.random.default_rng([n, d])
    X = np.float32(size) * rng.standard_normal((n, d), dtype=np.float32)
    X += rng.standard_normal(d, dtype=np.float32)
    upper = np.triu_indices(n, 1)
    exact = np.array([np.square(X[i].astype(np.float64) - X[j]).sum() for i, j in zip(*upper, strict=True)])
    seen = {"ours": squared_distances(gram(X)), **aggregators.distances(Given(X, n // 5, 1.0))}
    error = {who: short(float(np.abs(D[upper] / exact - 1.0).max())) for who, D in seen.items()}
    negative = {who: int((D[upper] < 0).sum()) for who, D in seen.items()}
    return {
        "n": n,
        "d": d,
        "size": size,
        "error": error,
        "negative": {k: count for k, count in negative.items() if count},
    }


def hostile_picks(n: int, d: int, size: float = 3e-4, trials: int = 6, m: int = 4) -> Found:
    """How many of the rows that Multi-Krum chooses are hostile: weights + updates, theirs three times as long."""
    f = n // 5
    hostile = {"ours": 0, "flower serverapp": 0}
    for trial in range(trials):
        rng = np.random.default_rng([n, d, trial])
        X = np.float32(size) * rng.standard_normal((n, d), dtype=np.float32)
        X[n - f :] *= np.float32(3.0)
        X += rng.standard_normal(d, dtype=np.float32)
        hostile["ours"] += int(np.count_nonzero(ours.aggregate(X, ours.MultiKrum(f, m=m))[1].weights[n - f :]))
        hostile["flower serverapp"] += sum(at >= n - f for at in aggregators.chosen_by_flower(Given(X, f, 1.0), m))
    return {"n": n, "d": d, "f": f, "size": size, "chosen": trials * m, "hostile": hostile}


def caf_of_a_huge_row(given: Given, limit_s: float = 8.0) -> Found:
    """Seconds of CAF with one row a million times as long (None: no answer); and how far ByzFL's answers differ."""
    huge = replace(given, X=given.X.copy())
    huge.X[-1] *= np.float32(1e6)
    calls = {"ours": Call(lambda _: ours.aggregate(huge.X, ours.CAF(given.f)))}
    calls |= {one.peer: Call(next(iter(one.forms.values())), lambda: huge) for one in ENTRIES["caf"]}
    answers = [ENTRIES["caf"][0].forms["torch"](given) for _ in range(6)]
    return {
        "n": given.n,
        "d": given.d,
        "limit_s": limit_s,
        "seconds": {who: _seconds(call, limit_s) for who, call in calls.items()},
        "byzfl_spread": short(max(relative_difference(one, answers[0]) for one in answers)),
    }


def _seconds(call: Call, limit_s: float) -> float | None:
    try:
        return short(call.first(limit_s).seconds[0])
    except TooSlow:
        return None
