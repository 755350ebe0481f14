"""`redteam.sarif`: the findings as SARIF 2.1.0, for code scanning. Attacks are the rules, ATLAS is a taxonomy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from phalanx.attacks.card import Card
from phalanx.redteam.report import lookup
from phalanx.redteam.report.figures import limits, with_interval
from phalanx.redteam.report.shapes import plain, written
from phalanx.redteam.report.taxonomy import ATLAS, ATLAS_VERSION, named
from phalanx.redteam.result import SEVERITIES, Finding, Result, Severity
from phalanx.report.wording import shortened

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS: Mapping[Severity, str] = {
    "critical": "error", "high": "error", "medium": "warning", "low": "note", "none": "none",
}  # fmt: skip
# What code scanning sorts by, in CVSS's bands.
_SCORES: Mapping[Severity, str] = {"critical": "9.5", "high": "8.0", "medium": "5.5", "low": "2.5", "none": "0.0"}
_BASELINE = {"new": "new", "worse": "updated", "better": "updated", "same": "unchanged"}
_LONGEST = 4000


def as_sarif(result: Result) -> bytes:
    """One run, without times. Pure: the same result gives the same bytes."""
    known = lookup.cards(result)
    rules = [_rule(card, [one for one in result.findings if one.judged.attack == card.name]) for card in result.cards]
    techniques = sorted({one.id for card in result.cards for one in named(card).atlas})
    places = {name: index for index, name in enumerate(known)}
    run = {
        "tool": {
            "driver": {
                "name": "Phalanx red team",
                "version": result.program or "not recorded",
                "rules": rules,
                "supportedTaxonomies": [{"name": "ATLAS", "index": 0}],
            }
        },
        "taxonomies": [_atlas(techniques)],
        "invocations": [_invocation(result)],
        "columnKind": "unicodeCodePoints",
        "results": [_result(one, known.get(one.judged.attack), places, techniques, result) for one in result.findings],
        "properties": {
            "federation": result.federation, "configuration": result.config, "seeds": list(result.seeds),
            "members": result.members, "hostile": list(result.hostile),
        },
    }  # fmt: skip
    return written(plain({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}))


def _rule(card: Card, findings: Sequence[Finding]) -> dict[str, Any]:
    """The attack. Its help is how to fix what it got through, its score that of its worst finding."""
    found, worst = named(card), min((one.severity for one in findings), key=SEVERITIES.index, default=None)
    fixes = list(dict.fromkeys(one.fix for one in findings if one.fix))
    properties: dict[str, Any] = {
        "tags": ["security", "federated-learning", card.threat, *found.ids],
        "threat": card.threat,
        "family": card.family,
        "knowledge": card.knowledge,
        "atlas": [{"id": one.id, "relation": one.relation} for one in found.atlas],
        "nist": list(found.nist),
        "owasp": list(found.owasp),
    }
    if worst is not None:
        properties["security-severity"] = _SCORES[worst]
    return {
        "id": card.name,
        "name": "".join(part.capitalize() for part in card.name.split("-")),
        "shortDescription": _message(card.title),
        "fullDescription": _message(
            f"{card.does} The attackers want to {card.goal.words}; a defence {limits(card.goal)}. {card.paper}."
        ),
        "help": _message(" ".join(fixes) or "This attack got past nothing that was tested."),
        "relationships": [
            {
                "target": {"id": one.id, "toolComponent": {"name": "ATLAS", "index": 0}},
                "kinds": ["superset" if one.relation == "exact" else "relevant"],
            }
            for one in found.atlas
        ],
        "properties": properties,
    }


def _result(
    finding: Finding, card: Card | None, places: Mapping[str, int], techniques: Sequence[str], result: Result
) -> dict[str, Any]:
    judged = finding.judged
    setting = lookup.setting(judged).words(result.members)
    figure = f" Measured: {with_interval(judged.figure, card.goal.unit)}." if card and judged.figure else ""
    found: dict[str, Any] = {
        "ruleId": judged.attack,
        "kind": "fail",
        "level": _LEVELS[finding.severity],
        "message": _message(f"{finding.title}. {finding.happened}{figure} Attackers: {setting}. Fix: {finding.fix}"),
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": "phalanx.toml"}, "region": {"startLine": 1}},
                "logicalLocations": [{"name": judged.defence, "kind": "configuration"}],
            }
        ],
        "partialFingerprints": {"phalanxFinding/v1": finding.id},
        "suppressions": _suppressions(finding),
        "properties": {
            "finding": finding.id,
            "severity": finding.severity,
            "verdict": judged.verdict,
            "harm": judged.harm,
            "hostile": judged.hostile,
            "split": judged.split,
            "seeds": judged.seeds,
            "command": judged.command,
        },
    }
    if judged.attack in places:
        found["ruleIndex"] = places[judged.attack]
    if card is not None:
        found["taxa"] = [
            {"id": one.id, "index": techniques.index(one.id), "toolComponent": {"name": "ATLAS", "index": 0}}
            for one in named(card).atlas
        ]
    if finding.change in _BASELINE:
        found["baselineState"] = _BASELINE[finding.change]
    return found


def _suppressions(finding: Finding) -> list[dict[str, Any]]:
    """An empty list says that it was looked at and is not suppressed."""
    if not finding.waived:
        return []
    return [{"kind": "external", "status": "accepted", "justification": shortened(finding.waived, _LONGEST)}]


def _invocation(result: Result) -> dict[str, Any]:
    """The command, and as notifications what was not tested: silence would read as a pass."""
    unplayed: dict[tuple[str, str], list[str]] = {}
    for one in lookup.attacked(result):
        if one.verdict in ("not tested", "not available", "invalid test"):
            unplayed.setdefault((one.verdict, one.why), []).append(f"{one.attack} on {one.defence}")
    said = [f"not tested: {what}: {why}" for what, why in result.left_out]
    said += [f"{verdict}: {', '.join(dict.fromkeys(cells))}: {why}" for (verdict, why), cells in unplayed.items()]
    return {
        "executionSuccessful": True,
        "commandLine": shortened(result.command, _LONGEST),
        "toolExecutionNotifications": [{"level": "note", "message": _message(text)} for text in said],
    }


def _atlas(techniques: Sequence[str]) -> dict[str, Any]:
    return {
        "name": "ATLAS",
        "version": ATLAS_VERSION,
        "organization": "MITRE",
        "shortDescription": {"text": "Adversarial Threat Landscape for Artificial-Intelligence Systems"},
        "isComprehensive": False,
        "taxa": [{"id": name, "name": ATLAS[name]} for name in techniques],
    }


def _message(text: str) -> dict[str, str]:
    """A plain message: no placeholder ("{0}") and no link ("[text](target)") can be made by what is put into it."""
    plain_text = shortened(text, _LONGEST).replace("{", "{{").replace("}", "}}").replace("](", "] (")
    return {"text": plain_text or "no text"}
