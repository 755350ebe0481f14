"""redteam.json is what its schema says, and an earlier one is read as what it is or refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from phalanx.errors import ConfigError
from phalanx.redteam.report.json_file import as_json, findings_of, schema
from phalanx.redteam.report.shapes import plain, read, written
from phalanx.redteam.result import Figure, Finding, Result
from tests.redteam.report.hostile_texts import hostile
from tests.redteam.report.synthetic_result import result

PUBLISHED = Path(__file__).parents[3] / "docs/reference/redteam.schema.json"


@cache
def validator() -> Draft202012Validator:
    return Draft202012Validator(schema())


def small() -> Result:
    """All of the result but most of its cells."""
    return replace(result(rounds=2), judged=result(rounds=2).judged[:40])


def with_value(value: float) -> Result:
    """The result with one figure in its first finding."""
    given = small()
    first = given.findings[0]
    judged = replace(first.judged, figure=Figure(value, value, value, 5, "bootstrap"), harm=value)
    return replace(given, findings=(replace(first, judged=judged), *given.findings[1:]))


# -------------------------------------------------------------------------------------------------------------- schema


def test_the_published_schema_is_the_one_of_the_code() -> None:
    assert json.loads(PUBLISHED.read_text(encoding="utf-8")) == schema(), (
        "write it again: phalanx redteam --schema > docs/reference/redteam.schema.json"
    )


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("given", [result(), hostile("a\u202eb\ud800c\x00{0}"), with_value(math.inf)])
def test_the_file_is_what_the_schema_says(given: Result) -> None:
    validator().validate(json.loads(as_json(given)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema_version",), "2"),
        (("members",), "ten"),
        (("members",), 1.5),
        (("judged", 3, "verdict"), "fine"),
        (("judged", 3, "seconds"), 1.0),
        (("findings", 0, "severity"), "bad"),
        (("outcomes", 0, "counts", "class:0"), [1, 2, 3]),
        (("judged", 0, "harm"), "much"),
    ],
)
def test_the_schema_refuses_what_is_not_the_document(path: tuple[str | int, ...], value: Any) -> None:
    document = json.loads(as_json(small()))
    here = document
    for step in path[:-1]:
        here = here[step]
    here[path[-1]] = value
    assert not validator().is_valid(document)


# ---------------------------------------------------------------------------------------------------------------- bytes


def test_the_same_result_gives_the_same_bytes_in_sorted_ascii_without_nan() -> None:
    data = as_json(with_value(math.nan))
    assert data == as_json(with_value(math.nan)) and data.isascii() and data.endswith(b"}\n")
    assert b": NaN" not in data and b'"NaN"' in data
    assert list(json.loads(data)) == sorted(json.loads(data))


def test_a_plain_list_stands_on_one_line() -> None:
    assert written({"b": [1, 2.5, None], "a": [{"x": []}], "c": {}}) == (
        b'{\n  "a": [\n    {\n      "x": []\n    }\n  ],\n  "b": [1, 2.5, null],\n  "c": {}\n}\n'
    )


# ------------------------------------------------------------------------------------------------------------ read back


@pytest.mark.parametrize("given", [result(), hostile("\u202e\ud800\x00"), with_value(-math.inf)])
def test_findings_are_read_back_as_they_were(given: Result) -> None:
    assert findings_of(as_json(given)) == given.findings


def test_the_whole_result_can_be_read_back_but_for_what_was_rebuilt() -> None:
    given = result()
    document = json.loads(as_json(given))
    document.pop("schema_version")
    without = replace(given, outcomes=tuple(replace(one, rebuilt=()) for one in given.outcomes))
    assert without != given
    assert read(Result, document, "result") == without


def test_what_is_not_a_number_is_read_back_as_that() -> None:
    figure = findings_of(as_json(with_value(math.nan)))[0].judged.figure
    assert figure is not None and math.isnan(figure.value)


@pytest.mark.parametrize("version", ["0", "2", 1, True, None, ["1"]])
def test_another_schema_version_is_refused(version: Any) -> None:
    document = json.loads(as_json(small())) | {"schema_version": version}
    with pytest.raises(ConfigError, match="schema version"):
        findings_of(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "no JSON object"),
        (b"{}", "schema version"),
        (b'{"schema_version": "1"}', "findings"),
        (b'{"schema_version": "1", "findings": {}}', "findings"),
        (b'{"schema_version": "1", "findings": [1]}', r"findings\[0\]"),
        (b'{"schema_version": "1", "findings": [{"id": "x"}]}', "missing or not known"),
    ],
)
def test_what_is_no_result_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        findings_of(data)


@pytest.mark.parametrize(
    ("name", "value"),
    [("id", 3), ("severity", "bad"), ("severity", ["low"]), ("judged", None), ("waived", None), ("extra", "x")],
)
def test_a_finding_with_one_wrong_value_is_refused(name: str, value: Any) -> None:
    document = plain(result().findings[0]) | {name: value}
    with pytest.raises(ConfigError, match=r"^finding"):
        read(Finding, document, "finding")


@pytest.mark.parametrize("value", ["inf", "12", True, {}, 10**400])
def test_a_number_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="harm"):
        read(float, value, "harm")


def test_a_file_past_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phalanx.redteam.report.json_file._LARGEST", 10)
    with pytest.raises(ConfigError, match="the limit is 10"):
        findings_of(as_json(small()))
