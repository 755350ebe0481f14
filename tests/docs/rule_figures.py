"""The figures of docs/which-rule.md and docs/aggregation.md, from the results that the benchmarks wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.docs.page import ROOT, table

RULES = "benchmarks/results/which_rule.json"
CELLS = "benchmarks/results/accuracy.json"
LARGE = "benchmarks/results/large_rows.json"
BEYOND = "benchmarks/results/beyond.json"
SPEED = "benchmarks/results/aggregation.json"


def _read(path: str) -> Any:
    return json.loads((ROOT / path).read_text(encoding="utf-8"))


def rules() -> str:
    """Each rule at f = 2 of 12 and f = 4 of 14, the best worst case at f = 2 first."""
    summary = _read(RULES)["summary"]
    by_rule: dict[str, dict[int, Mapping[str, Any]]] = {}
    for row in summary["table"]:
        by_rule.setdefault(row["rule"], {})[row["f"]] = row
    named = sorted(by_rule.items(), key=lambda one: -_worst(one[1].get(2)))
    rows = [
        (
            f"`{name}`",
            *_at(found.get(2)),
            *_at(found.get(4)),
            summary["breaking_f"][name]["best"],
            "–" if 2 not in found else f"{1e3 * found[2]['aggregate_s']:.1f}",
        )
        for name, found in named
    ]
    head = (
        "rule",
        "no attack, f = 2",
        "worst / final",
        "by",
        "no attack, f = 4",
        "worst / final",
        "by",
        "breaks at f",
        "ms",
    )
    return table(head, rows)


def _worst(row: Mapping[str, Any] | None) -> float:
    return -1.0 if row is None or row.get("worst_best") is None else float(row["worst_best"])


def _at(row: Mapping[str, Any] | None) -> tuple[str, str, str]:
    if row is None or row.get("worst_best") is None:
        return "–", "refused" if row is not None and row.get("refused") else "not run", "–"
    return (
        _percent(row["best"]["none"]),
        f"{_percent(row['worst_best'])} / {_percent(row['worst_final'])}",
        str(row["worst_best_attack"]),
    )


def cells() -> str:
    """Worst case over the attacks, best over time and final, of the cells that were run to the end."""
    rows = []
    for one in sorted(_read(CELLS)["summary"], key=lambda row: (-row["gamma"], row["f"], row["rule"])):
        if one.get("worst_best") is None:
            continue
        published = one.get("published")
        rows.append(
            (
                f"{one['gamma']:g}",
                str(one["f"]),
                f"`{one['chain']}`",
                _percent(one["best"]["none"]),
                f"{_percent(one['worst_best'])} / {_percent(one['worst_final'])}",
                str(one["worst_attack"]),
                _percent(one["best"]["ipm-climb"]) if "ipm-climb" in one["best"] else "–",
                "–" if not published else f"{100 * published:.0f}",
            )
        )
    return table(("γ", "f", "rule", "no attack", "worst / final", "by", "IPM by ByzFL's search", "ByzFL's worst"), rows)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def large_rows() -> str:
    """Seconds and memory of 8 GB of rows."""
    found = _read(LARGE)
    seconds: Sequence[tuple[str, float]] = list(found["seconds"].items())
    rows = [("make and seal the rows", f"{found['seconds_to_make_and_seal']:.0f} s")]
    rows += [(f"`{rule}`", f"{taken:.1f} s") for rule, taken in seconds]
    rows += [("peak memory of the process", f"{found['peak_gib']:.2f} GiB")]
    return table(("step", "took"), rows)


_TRIED = {
    "arc-trusted-caf": "ARC, CAF with f copies of the reference",
    "arc-caf": "ARC, CAF",
    "arc-nnm-caf": "ARC, NNM, CAF",
    "root-only": "the server's 100 images alone",
}


def beyond() -> str:
    """Means over the runs that the rule was not chosen on, of the worst case and of its last round."""
    held_out = [
        one
        for one in _read(BEYOND)["summary"]
        if (one["gamma"], one["root"]) == (0.33, "all") and (one["data"], one["seed"]) != ("mnist", 0)
    ]
    rows = []
    for rule, name in _TRIED.items():
        cells = []
        for data, f in (("mnist", 2), ("fashion-mnist", 2), ("mnist", 4), ("fashion-mnist", 4)):
            run = 4 if rule == "root-only" else f  # it has no f
            found = [one for one in held_out if (one["rule"], one["data"], one["f"]) == (rule, data, run)]
            worst = [_best_and_final(one) for one in found]
            best, final = (sum(one[i] for one in worst) / len(worst) for i in (0, 1))
            cells.append(f"{_percent(best)} / {_percent(final)}")
        rows.append((name, *cells))
    return table(("rule", "MNIST, f = 2", "Fashion, f = 2", "MNIST, f = 4", "Fashion, f = 4"), rows)


def _best_and_final(one: Mapping[str, Any]) -> tuple[float, float]:
    """Of the worst attack; of none, for what no member can attack."""
    if "worst_best" in one:
        return one["worst_best"], one["worst_final"]
    best, final = one["by_attack"]["none"]
    return best, final


def speed() -> str:
    """Each rule at a million parameters: our time, passes over the rows, ratios to Flower and to the fastest other."""
    rows = []
    cells = [one for one in _read(SPEED)["rows"] if one["d"] == 1_000_000 and one["kernels"] != "numpy"]
    for rule, n in dict.fromkeys((one["rule"], one["n"]) for one in cells):
        here = [one for one in cells if (one["rule"], one["n"]) == (rule, n) and one.get("wall")]
        if not here:
            continue
        same = [one for one in here if not one["other_rule"]] or here
        best = min(same, key=lambda one: float(one["wall"]["ratio"]))
        ours = best["wall"]["our_ms"]
        by_name = {one["peer"]: one for one in here}
        flower = by_name.get("flower")
        rows.append(
            (
                rule,
                str(n),
                f"{ours:.3g} ms",
                f"{best['passes']:.1f}",
                "–" if flower is None else _ratio(flower),
                f"{_ratio(best)} ({best['peer']})",
            )
        )
    head = ("rule", "n", "ours", "passes", "Flower, wall / CPU", "the fastest other, wall / CPU")
    return table(head, rows)


def _ratio(one: Mapping[str, Any]) -> str:
    return f"{one['wall']['ratio']:.3g} / {one['cpu']['ratio']:.3g} ×"
