"""`redteam.json`: the whole result for machines, its published schema, and the reading of an earlier one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from phalanx.errors import ConfigError
from phalanx.redteam.report.shapes import described, plain, read, written
from phalanx.redteam.result import Finding, Result

SCHEMA_VERSION = "1"
_LARGEST = 64 << 20  # bytes of an earlier file; ours are far below


def as_json(result: Result) -> bytes:
    """The result as `schema` says, without what was rebuilt. Pure: an equal result gives the same bytes.

    Pictures are for the page: this file goes through pipelines, and nobody's examples should.
    """
    shared = replace(result, outcomes=tuple(replace(one, rebuilt=()) for one in result.outcomes))
    return written({"schema_version": SCHEMA_VERSION, **plain(shared)})


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of what `as_json` writes. `docs/reference/redteam.schema.json` holds it."""
    definitions: dict[str, Any] = {}
    described(Result, definitions)
    whole = definitions.pop("Result")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Phalanx red team result",
        "description": whole["description"],
        "type": "object",
        "properties": {"schema_version": {"const": SCHEMA_VERSION}, **whole["properties"]},
        "required": ["schema_version", *whole["required"]],
        "additionalProperties": False,
        "$defs": definitions,
    }


def findings_of(data: bytes) -> tuple[Finding, ...]:
    """The findings of an earlier `redteam.json`, for a baseline. Raises ConfigError for any other file."""
    if len(data) > _LARGEST:
        raise ConfigError(f"a baseline of {len(data)} bytes, the limit is {_LARGEST}")
    try:
        held = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the baseline is not JSON: {error}") from None
    if not isinstance(held, dict):
        raise ConfigError(f"the baseline is no JSON object, found {type(held).__name__}")
    version = held.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise ConfigError(
            f"the baseline has schema version {version!r:.40}, this program reads {SCHEMA_VERSION!r}",
            hint="write a new baseline with this version",
        )
    found: tuple[Finding, ...] = read(tuple[Finding, ...], held.get("findings"), "findings")
    return found
