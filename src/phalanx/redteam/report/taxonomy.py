"""What the threats are called elsewhere: MITRE ATLAS, NIST AI 100-2 e2025, OWASP Machine Learning Security Top 10.

ATLAS knows no federated learning, so each technique carries how it fits: `exact`, the attack is an instance of it; or
`near`, the closest that there is. A threat without any technique has none: nothing is made up to fill the column.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from phalanx.attacks.card import Card

ATLAS_VERSION = "5.6.0"
NIST_EDITION = "NIST AI 100-2 e2025"
OWASP_EDITION = "OWASP ML Top 10 (2023, draft 0.3)"
Relation = Literal["exact", "near"]


@dataclass(frozen=True, slots=True)
class Technique:
    """One ATLAS technique, and how what the red team does fits it."""

    id: str
    relation: Relation

    @property
    def name(self) -> str:
        """As ATLAS calls it."""
        return ATLAS[self.id]


@dataclass(frozen=True, slots=True)
class Named:
    """A threat, or one attack, in the words of the three taxonomies. Empty where they have no word for it."""

    title: str
    atlas: tuple[Technique, ...] = ()
    nist: tuple[str, ...] = ()
    owasp: tuple[str, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        """Every id, without its relation: for tags."""
        return (*(one.id for one in self.atlas), *self.nist, *self.owasp)


ATLAS: Mapping[str, str] = {
    "AML.T0010": "AI Supply Chain Compromise",
    "AML.T0010.001": "AI Software",
    "AML.T0010.002": "Data",
    "AML.T0010.003": "Model",
    "AML.T0011.000": "Unsafe AI Artifacts",
    "AML.T0012": "Valid Accounts",
    "AML.T0018.000": "Poison AI Model",
    "AML.T0018.002": "Embed Malware",
    "AML.T0020": "Poison Training Data",
    "AML.T0021": "Establish Accounts",
    "AML.T0024.000": "Infer Training Data Membership",
    "AML.T0024.001": "Invert AI Model",
    "AML.T0029": "Denial of AI Service",
    "AML.T0031": "Erode AI Model Integrity",
    "AML.T0034": "Cost Harvesting",
    "AML.T0035": "AI Artifact Collection",
    "AML.T0043.004": "Insert Backdoor Trigger",
    "AML.T0044": "Full AI Model Access",
    "AML.T0046": "Spamming AI System with Chaff Data",
    "AML.T0048.004": "AI Intellectual Property Theft",
    "AML.T0055": "Unsecured Credentials",
    "AML.T0059": "Erode Dataset Integrity",
    "AML.T0073": "Impersonation",
    "AML.T0091": "Use Alternate Authentication Material",
    "AML.T0107": "Exploitation for Defense Evasion",
    "AML.T0112.001": "AI Artifacts",
}


def _exact(*numbers: str) -> tuple[Technique, ...]:
    return tuple(Technique(f"AML.T{number}", "exact") for number in numbers)


def _near(*numbers: str) -> tuple[Technique, ...]:
    return tuple(Technique(f"AML.T{number}", "near") for number in numbers)


def _nist(*numbers: str) -> tuple[str, ...]:
    return tuple(f"NISTAML.{number}" for number in numbers)


THREATS: Mapping[str, Named] = {
    "T1": Named(
        "Data poisoning: label flipping", (*_exact("0020"), *_near("0059")), _nist("013", "012", "024"), ("ML02",)
    ),
    "T2": Named(
        "Gradient manipulation, aggregation poisoning",
        (*_exact("0018.000"), *_near("0031")),
        _nist("026", "011"),
        ("ML10",),
    ),
    "T3": Named(
        "Backdoors, sleepers, model replacement",
        _exact("0018.000", "0043.004"),
        _nist("023", "021"),
        ("ML10", "ML07"),
    ),
    "T4": Named("Sybils: many false identities", _near("0021", "0012")),
    "T5": Named("Collusion within normal bounds", _near("0018.000", "0107"), _nist("026"), ("ML10",)),
    "T6": Named("Training data rebuilt from updates", _near("0024.001"), _nist("032"), ("ML03",)),
    "T7": Named("Model inversion", _exact("0024.001"), _nist("032"), ("ML03",)),
    "T8": Named("Membership inference", _exact("0024.000"), _nist("033", "034"), ("ML04",)),
    "T9": Named("Eavesdropping, injection, replay", (), (), ("ML09",)),
    "T10": Named("Free-riding", _near("0048.004")),
    "T11": Named(
        "A curious or malicious coordinator", _near("0035", "0044"), _nist("032", "033"), ("ML03", "ML05")
    ),
    "T12": Named("Stolen keys, rogue identities", _near("0055", "0012", "0073", "0091")),
    "T13": Named(
        "Hostile input and load",
        _near("0011.000", "0018.002", "0010", "0010.001", "0010.002", "0010.003", "0112.001", "0029", "0046", "0034"),
        _nist("05", "051", "01", "014"),
        ("ML06",),
    ),
}  # fmt: skip

# Finer than the row of the threat, by the measure that the attackers are after: one class degraded behind a good mean,
# releases that are blocked, a backdoor that hides from the rule.
_BY_MEASURE: Mapping[tuple[str, str], Named] = {
    ("T2", "class_damage"): Named("One class degraded", _near("0031"), _nist("024"), ("ML08",)),
    ("T2", "blocked"): Named("Releases blocked", _near("0029"), _nist("01")),
    ("T5", "backdoor"): Named(
        "A backdoor within normal bounds",
        (*_exact("0018.000", "0043.004"), *_near("0107")),
        _nist("026", "023"),
        ("ML10",),
    ),
}

# Finer still, by attack.
_BY_ATTACK: Mapping[str, Named] = {
    "label-flip-all": Named("Every label flipped", (*_exact("0020"), *_near("0059")), _nist("013"), ("ML02",)),
    "backdoor-clean-label": Named(
        "Backdoor with true labels", _exact("0018.000", "0043.004"), _nist("021"), ("ML10", "ML07")
    ),
}


def named(card: Card) -> Named:
    """What the taxonomies call this attack: by its name, else by what it is after, else by its threat."""
    by_measure = _BY_MEASURE.get((card.threat, card.goal.measure), THREATS[card.threat])
    return _BY_ATTACK.get(card.name, by_measure)
