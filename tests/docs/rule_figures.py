"""The figures of docs/which-rule.md and docs/aggregation.md, from the results that the benchmarks wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.docs.page import ROOT, table

RULES = "benchmarks/results/which_rule.json"
CELLS = "benchmarks/results/accuracy.json"
LARGE = "benchmarks/results/large_rows.json"


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
        (_name(name), *_at(found.get(2)), *_at(found.get(4)), summary["breaking_f"][name]["best"])
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


def _name(key: str) -> str:
    return key


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
                "–" if not published else f"{100 * published:.0f}",
            )
        )
    return table(("γ", "f", "rule", "no attack", "worst / final", "by", "ByzFL's"), rows)


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
