"""What the threats are called elsewhere, and the layer for the ATLAS Navigator."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from typing import Any

import pytest

from phalanx.redteam.report.atlas import as_atlas_layer
from phalanx.redteam.report.taxonomy import ATLAS, THREATS, named
from phalanx.redteam.result import Result
from tests.redteam.report.hostile_texts import hostile
from tests.redteam.report.synthetic_result import CARDS, EMPTY, card, result

# The identifiers of the three taxonomies as the project's reference lists them; others must not be made up.
NIST = {
    "011",
    "012",
    "013",
    "014",
    "021",
    "022",
    "023",
    "024",
    "025",
    "026",
    "031",
    "032",
    "033",
    "034",
    "05",
    "051",
    "01",
}
TECHNIQUE = re.compile(r"AML\.T\d{4}(\.\d{3})?")


def layer_of(given: Result) -> dict[str, Any]:
    held: dict[str, Any] = json.loads(as_atlas_layer(given))
    return held


def technique(given: Result, name: str) -> dict[str, Any]:
    (found,) = [one for one in layer_of(given)["techniques"] if one["techniqueID"] == name]
    return dict(found)


# ---------------------------------------------------------------------------------------------------------- taxonomies


def test_every_threat_has_a_row() -> None:
    assert list(THREATS) == [f"T{number}" for number in range(1, 14)]


@pytest.mark.parametrize("threat", THREATS)
def test_no_identifier_is_made_up(threat: str) -> None:
    row = THREATS[threat]
    assert all(one.id in ATLAS and TECHNIQUE.fullmatch(one.id) and one.name for one in row.atlas)
    assert all(name.removeprefix("NISTAML.") in NIST for name in row.nist)
    assert all(re.fullmatch(r"ML(0[1-9]|10)", name) for name in row.owasp)


def test_a_threat_that_atlas_has_no_word_for_has_none() -> None:
    assert THREATS["T9"].atlas == ()


def test_what_is_not_about_an_inference_interface_is_near_and_not_exact() -> None:
    assert [(one.id, one.relation) for one in THREATS["T6"].atlas] == [("AML.T0024.001", "near")]
    assert [(one.id, one.relation) for one in THREATS["T7"].atlas] == [("AML.T0024.001", "exact")]


def test_an_attack_is_named_finer_than_its_threat_where_there_is_a_word() -> None:
    goals = {one.name: one.goal for one in CARDS}
    backdoor = card("backdoor-tuned", "t", "T5", "white", goals["backdoor-patch"], "d", "p")
    assert [one.id for one in named(backdoor).atlas] == ["AML.T0018.000", "AML.T0043.004", "AML.T0107"]
    one_class = card("bias", "t", "T2", "white", goals["label-flip-targeted"], "d", "p")
    assert named(one_class).nist == ("NISTAML.024",) and named(one_class).owasp == ("ML08",)
    assert named(next(one for one in CARDS if one.name == "backdoor-clean-label")).nist == ("NISTAML.021",)
    assert named(next(one for one in CARDS if one.name == "sign-flip")) == THREATS["T2"]


# --------------------------------------------------------------------------------------------------------------- layer


@pytest.mark.parametrize("given", [result(), EMPTY, hostile("\ud800\x00")])
def test_the_layer_has_the_fields_of_format_4_5(given: Result) -> None:
    layer = layer_of(given)
    assert layer["versions"] == {"layer": "4.5", "navigator": "4.9.0"} and layer["domain"] == "atlas-atlas"
    assert isinstance(layer["name"], str) and layer["gradient"]["maxValue"] > layer["gradient"]["minValue"]
    ids = [one["techniqueID"] for one in layer["techniques"]]
    assert len(ids) == len(set(ids)) and set(ids) == set(ATLAS)
    for one in layer["techniques"]:
        assert set(one) <= {"techniqueID", "enabled", "comment", "metadata", "score", "color", "showSubtechniques"}
        assert all(set(pair) == {"name", "value"} and all(pair.values()) for pair in one["metadata"])
        assert ("score" in one) == ("color" in one) and 0 <= one.get("score", 0) <= 1
        assert re.fullmatch(r"#[0-9a-f]{6}", one.get("color", "#000000"))


def test_the_score_is_the_worst_harm_to_the_users_configuration() -> None:
    assert technique(result(), "AML.T0048.004")["score"] == 1.0
    poison = technique(result(), "AML.T0018.000")
    assert poison["score"] == 1.0 and poison["comment"].startswith("best-response (near): not held, harm 1.30; ")


def test_what_nothing_was_played_for_has_no_score_and_says_so() -> None:
    absent = technique(result(), "AML.T0055")
    assert absent["comment"] == "not tested" and "score" not in absent and "color" not in absent


def test_harm_that_is_no_number_gives_no_score() -> None:
    given = result()
    cells = tuple(replace(one, harm=math.nan) for one in given.judged)
    assert "score" not in technique(replace(given, judged=cells), "AML.T0018.000")


def test_the_same_result_gives_the_same_layer() -> None:
    assert as_atlas_layer(result()) == as_atlas_layer(result())
