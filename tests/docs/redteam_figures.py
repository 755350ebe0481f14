"""The figures of docs/red-team.md, from the results that the benchmark wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.docs.page import ROOT, table

UNDEFENDED = "benchmarks/results/redteam_undefended.json"
DIGITS = "benchmarks/results/redteam_digits.json"


def _read(path: str) -> Any:
    return json.loads((ROOT / path).read_text(encoding="utf-8"))


def undefended() -> str:
    """Every attack where nothing defends, on both data sets."""
    held = _read(UNDEFENDED)
    rows = [
        (f"`{name}`", one["threat"], one["knowledge"], _reached(one.get("digits")), _reached(one.get("mnist")))
        for name, one in held["attacks"].items()
    ]
    return table(("attack", "threat", "knows", "digits", "MNIST"), rows)


def _reached(one: Mapping[str, Any] | None) -> str:
    if one is None or one["value"] is None:
        return "not available"
    mark = " †" if one["verdict"] == "invalid test" else ""
    return f"{100 * one['value']:.1f} [{100 * one['low']:.1f}, {100 * one['high']:.1f}]{mark}"


def worst() -> str:
    """The attack on accuracy and the backdoor that hurt each defence most."""
    held = _read(DIGITS)
    by: dict[str, list[Mapping[str, Any]]] = {}
    for one in held["worst"]:
        by.setdefault(one["defence"], []).append(one)
    rows = [
        (f"`{name}`", f"{100 * held['clean'][name]:.1f} %", *(_worst(found, what) for what in ("points", "misread")))
        for name, found in sorted(by.items(), key=lambda item: sum(one["harm"] for one in item[1]))
        if name in held["clean"]
    ]
    return table(("defence", "accuracy, no attack", "worst attack on accuracy", "best backdoor"), rows)


def _worst(found: list[Mapping[str, Any]], what: str) -> str:
    said = [f"`{one['attack']}` {one['words']}" for one in found if what in one["words"]]
    return said[0] if said else "–"


def costs() -> str:
    """The cheapest damage and the cheapest backdoor that each defence lets through."""
    rows = [
        (
            f"`{one['defence']}`",
            f"`{one['attack']}`",
            str(one["members"]),
            one["knowledge"],
            str(one["rounds"]),
            f"{one['points']:.1f}",
            "nothing beyond limit and chance" if one["per_point"] is None else f"{one['per_point']:.2f}",
        )
        for one in _read(DIGITS)["costs"]
    ]
    head = ("defence", "cheapest attack", "members", "knows", "rounds", "points", "member-rounds a point")
    return table(head, rows)


def leaks() -> str:
    """What onlookers' attacks find in three ways of training."""
    rows = [
        (f"`{one['attack']}`", one["measure"], one["central"], one["naive"], one["phalanx"])
        for one in _read(DIGITS)["leaks"]
    ]
    return table(("attack", "measure", "central", "naive federated", "this configuration"), rows)


def threats() -> str:
    """The threat table by what was played."""
    rows = [(name, one["title"], one["status"], one["words"]) for name, one in _read(DIGITS)["threats"].items()]
    return table(("threat", "", "status", "attacks"), rows)


def time() -> str:
    """How long the default matrix takes."""
    held = _read(DIGITS)
    first, second = held["seconds"]
    same = "the same bytes" if held["same_bytes"] else "DIFFERENT BYTES"
    return (
        f"{held['cells']} cells on {held['cores']} cores: {first:.0f} and {second:.0f} seconds from nothing, with "
        f"{same} in page, JSON and SARIF. {held['test_inputs']} test inputs.\n"
    )


# ------------------------------------------------------------------------------------------- beside published figures

FLTRUST = "benchmarks/results/fltrust.json"
LEAKAGE = "benchmarks/results/leakage.json"
MEMBERSHIP = "benchmarks/results/membership.json"
_RULES = ("mean", "krum", "trimmed-mean", "median", "fltrust")


def fltrust() -> str:
    """FLTrust's MNIST table at the learning rate of the main run: ours / published."""
    rows = [
        (f"{row['attack']}, {row['figure']}", *(_pair(row, rule) for rule in _RULES))
        for row in _read(FLTRUST)["table"]
        if row["rate"] == 0.1
    ]
    return table(("attack", *_RULES), rows)


def _pair(row: Mapping[str, Any], rule: str) -> str:
    published = row["published"].get(rule) if row["published"] else None
    return f"{row['ours'][rule]:.2f} / {'–' if published is None else f'{published:.2f}'}"


def searched() -> str:
    """Gradient matching: mean PSNR over three images."""
    rows = [
        (
            f"{one['data']}, {one['network']}, {one['state']}",
            f"{one['mean image']:.1f}",
            f"{one['dlg']['mean']:.1f}",
            f"{one['inverting-gradients']['mean']:.1f}",
        )
        for one in _read(LEAKAGE)["searched"]
    ]
    published = (
        ("published: CIFAR-10, LeNet of sigmoids, untrained", "–", "46.3", "18.0"),
        ("published: the same, trained", "–", "13.2", "18.1"),
    )
    return table(("data, net, state", "mean image", "DLG", "inverting gradients"), [*rows, *published])


def membership() -> str:
    """Membership inference by attack and number of shadow models."""
    rows = [
        (
            one["setting"],
            one["attack"],
            str(one["shadows"]),
            f"{100 * one['tpr_at_01']:.2f} [{', '.join(f'{100 * x:.2f}' for x in one['tpr_at_01_interval'])}]",
            f"{one['auc']:.3f}",
        )
        for one in _read(MEMBERSHIP)["rows"]
        if one["shadows"] in (0, 4, 32) and "offline" not in one["attack"]
    ]
    return table(("training", "attack", "shadows", "TPR at 0.1 % FPR, %", "AUC"), rows)
