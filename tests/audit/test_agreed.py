"""What config.json promises against the roster, the privacy plan and the log of an operator who runs something else."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, get_args

import pytest

from phalanx.audit import Entry, PrivacyPlan, verify_run
from phalanx.audit.agreed import Selection, open_config
from phalanx.audit.entries import Moment, finished
from phalanx.canonical import decode, encode
from phalanx.config import parse
from phalanx.config.tables import RuleName
from phalanx.errors import IntegrityError, NotCanonical
from tests.audit.synthetic_run import EFFECTIVE, PLAN, Run, config_file, find

Cheat = Callable[[Run, list[Entry]], object]


def refused(run: Run, told: list[Entry], where: str) -> None:
    with pytest.raises(IntegrityError, match=f"^{where}"):
        verify_run(run.folder(told), run.fingerprint)


# ------------------------------------------------------------------------------------------- reading it a second time


@pytest.mark.parametrize("rule", get_args(RuleName))
@pytest.mark.parametrize("pre", [[], ["norm-clip"], ["arc", "nnm"], ["norm-clip", "nnm"]])
@pytest.mark.parametrize("clip", [1.0, 0.1234567, 1e16])
def test_rule_and_fewest_rows_are_those_of_the_run_itself(rule: str, pre: list[str], clip: float) -> None:
    tolerant = rule != "mean" or {"arc", "nnm"} & set(pre)
    settings = parse(
        {
            "federation": {"name": "grove", "members": [f"m-{i}" for i in range(12)]},
            "run": {"rounds": 3},
            "learning": {"module": "m.py"},
            "aggregation": {"rule": rule, "pre": pre, "f": 2 if tolerant else 0}
            | ({"clip_l2": clip} if "norm-clip" in pre or rule == "centered-clipping" else {})
            | ({"steps": 3} if rule == "centered-clipping" and pre else {}),
        }
    )
    agreed = open_config(settings.effective("code"))
    assert (agreed.rule, agreed.min_rows) == (str(settings.chain), settings.chain.min_rows)
    assert agreed.min_voters == 2 * settings.liars + 1
    assert (agreed.rounds, agreed.members, agreed.privacy) == (3, frozenset(settings.members), None)


@pytest.mark.parametrize(("table", "expected"), [
    ({}, Selection(policy="all", size=None, rate=None, min_cohort=1)),
    ({"policy": "uniform", "size": 4, "min_cohort": 4}, Selection(policy="uniform", size=4, rate=None, min_cohort=4)),
    ({"policy": "poisson", "rate": 1.0, "min_cohort": 2}, Selection(policy="poisson", size=None, rate=1, min_cohort=2)),
    ({"policy": "stratified", "size": 2}, Selection(policy="stratified", size=2, rate=None, min_cohort=1)),
])  # fmt: skip
def test_selection_and_labels_are_those_of_the_run_itself(table: dict[str, Any], expected: Selection) -> None:
    labels = {"m-1": "north", "m-2": "south"} if expected.policy == "stratified" else {}
    settings = parse(
        {
            "federation": {
                "name": "grove", "members": [f"m-{i}" for i in range(6)], "labels": labels,
            },
            "run": {"rounds": 3},
            "learning": {"module": "m.py"},
            "aggregation": {"rule": "mean"},
            "selection": table,
        }
    )  # fmt: skip
    agreed = open_config(settings.effective("code"))
    assert agreed.selection == expected
    assert agreed.labels == labels


FIELDS = [
    ("federation", "name"), ("federation", "members"), ("federation", "weight_cap"), ("run", "rounds"),
    ("selection", "policy"), ("selection", "size"), ("selection", "rate"), ("selection", "min_cohort"),
    ("aggregation", "rule"), ("aggregation", "f"), ("aggregation", "pre"), ("aggregation", "clip_l2"),
    ("privacy", "unit"), ("privacy", "epsilon"), ("privacy", "delta"), ("privacy", "noise_multiplier"),
    ("gate", "f"), ("gate", "ballot"), ("gate", "vote_significance"),
    ("gate", "significance"), ("gate", "class_significance"), ("gate", "unsafe_accept_all"),
]  # fmt: skip
NULL = {("privacy", "noise_multiplier"), ("gate", "f"), ("selection", "size"), ("selection", "rate")}


@pytest.mark.parametrize("place", FIELDS)
def test_a_field_that_is_missing_or_of_another_type_is_no_config(place: tuple[str, str]) -> None:
    config = json.loads(config_file("run-1"))
    odd: object
    for odd in ("None", -1, "x" * 99, [[]], {}, "Grove", ["a", "a"], None):
        if odd is None and place in NULL:
            continue
        config[place[0]][place[1]] = odd
        with pytest.raises(NotCanonical, match=rf"^{place[0]}\.{place[1]} "):
            open_config(encode(config))
    del config[place[0]][place[1]]
    with pytest.raises(NotCanonical, match=rf"^{place[0]}\.{place[1]} is missing"):
        open_config(encode(config))


@pytest.mark.parametrize("place", [("run", "rounds"), ("aggregation", "f"), ("gate", "f"), ("privacy", "epsilon")])
def test_true_is_not_the_number_one(place: tuple[str, str]) -> None:
    config = json.loads(config_file("run-1"))
    config[place[0]][place[1]] = True
    with pytest.raises(NotCanonical, match="is 'True'"):
        open_config(encode(config))


@pytest.mark.parametrize(("table", "where"), [
    ({"policy": "uniform"}, "size"), ({"policy": "uniform", "size": 0}, "size"),
    ({"policy": "uniform", "size": True}, "size"), ({"policy": "stratified", "size": 1.5}, "size"),
    ({"policy": "uniform", "size": 3, "rate": 0.5}, "rate"), ({"policy": "poisson"}, "rate"),
    ({"policy": "poisson", "rate": 0}, "rate"), ({"policy": "poisson", "rate": 1.5}, "rate"),
    ({"policy": "poisson", "rate": True}, "rate"), ({"policy": "poisson", "rate": 0.5, "size": 3}, "size"),
    ({"size": 3}, "size"), ({"rate": 0.5}, "rate"), ({"min_cohort": 0}, "min_cohort"), ({"policy": "first"}, "policy"),
])  # fmt: skip
def test_a_selection_without_its_number_or_with_that_of_another_is_no_config(table: Any, where: str) -> None:
    with pytest.raises(NotCanonical, match=rf"^selection\.{where} is "):
        open_config(config_file("run-1", {"selection": table}))


@pytest.mark.parametrize("labels", [None, [], "north", {"ash": None}, {"ash": ["north"]}, {"ash": 1}])
def test_labels_are_texts_by_member(labels: Any) -> None:
    with pytest.raises(NotCanonical, match=r"^federation\.labels is "):
        open_config(config_file("run-1", {"federation": {"labels": labels}}))


@pytest.mark.parametrize("name", ["federation", "run", "selection", "aggregation", "privacy", "gate", "rule"])
def test_a_table_that_is_missing_is_named_together_with_its_file(name: str) -> None:
    run = Run()
    run.config = encode({key: value for key, value in decode(run.config).items() if key != name})
    refused(run, run.entries(), rf"config\.json: {name} is missing")


@pytest.mark.parametrize("pre", [["mean"], ["median"], ["nnm", 7], [None], [["nnm"]], ["trimmed"], "nnm"])
def test_a_step_that_no_rule_has_is_no_config(pre: Any) -> None:
    with pytest.raises(NotCanonical, match=r"^aggregation\.pre is"):
        open_config(config_file("run-1", {"aggregation": {"pre": pre}}))


def test_the_words_for_the_rule_are_those_of_the_table() -> None:
    run = Run(agreed={"aggregation": {"rule": "trimmed-mean", "f": 1}})
    refused(run, run.entries(), r"config\.json: rule is 'norm-clip\(1\) >> mean', its aggregation table says")


# ------------------------------------------------------------------------------- an operator who runs something else

AGREED: dict[str, tuple[str, Mapping[str, Any], Cheat]] = {
    "another federation": (
        r"federation\.json: is of 'grove', config\.json of 'thicket'",
        {"federation": {"name": "thicket"}}, lambda run, told: None,
    ),
    "a member that nobody agreed to": (
        r"federation\.json: lists other members than config\.json: \['fir'\]",
        {"federation": {"members": ["ash", "birch", "cedar", "yew"], "labels": {}}}, lambda run, told: None,
    ),
    "a member that was agreed and is not on the roster": (
        r"federation\.json: lists other members than config\.json: \['zelkova'\]",
        {"federation": {"members": [*EFFECTIVE["federation"]["members"], "zelkova"]}}, lambda run, told: None,
    ),
    "a cap that nobody agreed to": (
        r"federation\.json: weight_cap of ash is 0\.5, config\.json says 0\.4",
        {"federation": {"weight_cap": 0.4}}, lambda run, told: None,
    ),
    "a label that nobody agreed to": (
        r"federation\.json: the label of ash is 'north', config\.json says 'west'",
        {"federation": {"labels": {"ash": "west"}}}, lambda run, told: None,
    ),
    "a label where none was agreed": (
        r"federation\.json: the label of ash is 'north', config\.json says ''",
        {"federation": {"labels": {"cedar": "south", "fir": "south", "yew": "north"}}}, lambda run, told: None,
    ),
    "a label of somebody who is no member": (
        r"config\.json: federation\.labels names \['zelkova'\], who are no members",
        {"federation": {"labels": {"zelkova": "north"}}}, lambda run, told: None,
    ),
    "a weaker rule": (
        r"log\.jsonl entry 2 \(round-open\): rule 'norm-clip\(1\) >> mean', config\.json says 'norm-clip\(1\) >> med",
        {"aggregation": {"rule": "median", "f": 1}, "rule": "norm-clip(1) >> median(f=1)"}, lambda run, told: None,
    ),
    "privacy that is promised and not logged": (
        r"log\.jsonl entry 0 \(genesis\): has no privacy plan, config\.json has a",
        {}, lambda run, told: told[0].update(privacy=None),
    ),
    "privacy that was not promised": (
        r"log\.jsonl entry 0 \(genesis\): has a privacy plan, config\.json has no",
        {"privacy": None}, lambda run, told: None,
    ),
    "a larger budget": (
        r"log\.jsonl entry 0 \(genesis\): privacy is not what config\.json promises: \[\('epsilon_budget', 3, 2\)\]",
        {"privacy": {"epsilon": 2.0}}, lambda run, told: None,
    ),
    "a larger delta": (
        r"log\.jsonl entry 0 \(genesis\): privacy is not .* \[\('delta', ", {"privacy": {"delta": 1e-6}},
        lambda run, told: None,
    ),
    "another unit": (
        r"log\.jsonl entry 0 \(genesis\): privacy is not .* \[\('unit', 'member', 'example'\)\]",
        {"privacy": {"unit": "example"}}, lambda run, told: None,
    ),
    "less noise": (
        r"log\.jsonl entry 0 \(genesis\): privacy is not .* \[\('noise_multiplier', 4, 5\)\]",
        {"privacy": {"noise_multiplier": 5.0}}, lambda run, told: None,
    ),
    "noise that does not last for all rounds": (
        r"log\.jsonl entry 0 \(genesis\): 2 rounds of this noise cost ε 1\.35[0-9]*, budget 1",
        {"privacy": {"epsilon": 1.0, "noise_multiplier": None}},
        lambda run, told: told[0]["privacy"].update(epsilon_budget=1),
    ),
    "a plan for other rounds": (
        r"log\.jsonl entry 0 \(genesis\): privacy is not .* \[\('rounds', 1, 2\)\]",
        {}, lambda run, told: told[0]["privacy"].update(rounds=1),
    ),
    "a charge past the budget": (
        r"log\.jsonl entry 15 \(charge\): records ε 1\.357, the budget is 1\.2",
        {"privacy": {"epsilon": 1.2}}, lambda run, told: told[0]["privacy"].update(epsilon_budget=1.2),
    ),
    "a round more than agreed": (
        r"log\.jsonl entry 10 \(round-open\): round 2, config\.json has 1",
        {"run": {"rounds": 1}}, lambda run, told: told[0]["privacy"].update(rounds=1),
    ),
    "an end before all rounds": (
        r"log\.jsonl entry 20 \(finished\): after 2 closed rounds, config\.json has 3",
        {"run": {"rounds": 3}}, lambda run, told: told[0]["privacy"].update(rounds=3),
    ),
    "an end before any round": (
        r"log\.jsonl entry 2 \(finished\): after 0 closed rounds, config\.json has 2",
        {}, lambda run, told: told.__setitem__(slice(2, None), [finished(Moment(1000), selection_seed=None)]),
    ),
    "fewer voters than its liars allow": (
        r"log\.jsonl entry 8 \(decision\): 2 voters, config\.json needs 3",
        {}, lambda run, told: two_ballots(told),
    ),
}  # fmt: skip


def two_ballots(told: list[Entry]) -> None:
    """The first vote has two signed ballots, and says so."""
    del find(told, "ballots")["ballots"][2:]
    find(told, "decision").update(voters=2)


@pytest.mark.parametrize("name", list(AGREED))
def test_an_operator_cannot_agree_on_one_thing_and_sign(name: str) -> None:
    expected, agreed, change = AGREED[name]
    run = Run(agreed=agreed)
    told = run.entries()
    change(run, told)
    refused(run, told, expected)


def as_agreed(rule: str, f: int, *, gate_f: int | None = 0) -> tuple[Run, list[Entry]]:
    """The run without privacy under another rule, everywhere in config and log."""
    words = f"norm-clip(1) >> {rule}(f={f})"
    run = Run(agreed={"aggregation": {"rule": rule, "f": f}, "rule": words, "gate": {"f": gate_f}, "privacy": None})
    told = [entry for entry in run.entries() if entry["kind"] != "charge"]
    told[0] = run.genesis(plan=None)
    for entry in told:
        entry.update({"rule": words} if "rule" in entry else {})
    return run, told


@pytest.mark.parametrize(("rule", "f", "needed"), [("median", 2, 5), ("krum", 1, 5), ("multi-krum", 2, 7)])
def test_an_aggregate_of_fewer_updates_than_its_rule_needs_is_refused(rule: str, f: int, needed: int) -> None:
    run, told = as_agreed(rule, f)
    where = rf"log\.jsonl entry 5 \(aggregate\): an aggregate of 3 updates, .*{rule}\(f={f}\) needs {needed}"
    refused(run, told, where)


def test_as_many_updates_as_the_rule_needs_are_enough() -> None:
    run, told = as_agreed("trimmed-mean", 1, gate_f=None)
    assert verify_run(run.folder(told), run.fingerprint).finished


def test_without_its_own_f_the_gate_has_that_of_the_rule() -> None:
    run, told = as_agreed("trimmed-mean", 1, gate_f=None)
    two_ballots(told)
    refused(run, told, r"log\.jsonl entry 7 \(decision\): 2 voters, config\.json needs 3")


def test_calibrated_noise_that_lasts_for_all_rounds_is_as_promised() -> None:
    run = Run(agreed={"privacy": {"noise_multiplier": None}})
    assert verify_run(run.folder(), run.fingerprint).finished
    louder: PrivacyPlan = replace(PLAN, noise_multiplier=400.0)  # not tight, and no worse for anybody
    told = [run.genesis(louder), *run.entries()[1:2]]
    assert verify_run(run.folder(told), run.fingerprint).unit == "member"
