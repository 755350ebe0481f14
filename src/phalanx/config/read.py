"""One TOML file, parsed and refused at the edge: unknown keys, values out of range, controls that do not compose.

What passes here can be started: enough rows for the rule even with the members that may be missing, and central noise
only for a rule whose sensitivity is known.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from phalanx.config.refusals import refuse_what_cannot_run
from phalanx.config.tables import Settings
from phalanx.errors import ConfigError


def read_config(path: Path) -> Settings:
    """The settings in a TOML file. Raises ConfigError."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # besides its own errors tomllib lets those of int() through
        raise ConfigError(f"{path} is not TOML: {error}") from None
    return parse(table)


def parse(table: dict[str, Any]) -> Settings:
    """The settings in a parsed table, checked for what can be run. Raises ConfigError, RuleRefused, NotAvailable."""
    try:
        settings = Settings.model_validate(table)
    except ValidationError as error:
        raise ConfigError(*_explain(error)) from None
    refuse_what_cannot_run(settings)
    return settings


def _explain(error: ValidationError) -> tuple[str]:
    """Every complaint in one sentence each, with the nearest key for an unknown one."""
    sentences = []
    for complaint in error.errors(include_url=False):
        place = ".".join(str(part) for part in complaint["loc"])
        if complaint["type"] == "extra_forbidden":
            sentences.append(f"unknown key {place}{_nearest(complaint['loc'])}")
        else:
            found = "" if complaint["type"] == "missing" else f", found {_shown(complaint['input'])}"
            said = complaint["msg"].lower().replace("valid tuple", "list")
            sentences.append(f"{place}: {said}{found}{_meant(complaint)}")
    return ("; ".join(sentences),)


def _meant(complaint: ErrorDetails) -> str:
    """The nearest of the values that are allowed, for one that is not."""
    if complaint["type"] != "literal_error" or not isinstance(complaint["input"], str):
        return ""
    allowed = re.findall(r"'([^']*)'", complaint.get("ctx", {}).get("expected", ""))
    close = difflib.get_close_matches(complaint["input"].lower().replace("_", "-"), allowed, n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def _shown(value: Any) -> str:
    try:
        return f"{value!r:.60}"
    except ValueError:  # Python refuses to write out an integer of thousands of digits
        return "an integer of thousands of digits"


def _nearest(location: tuple[int | str, ...]) -> str:
    table: Any = Settings
    for part in location[:-1]:
        annotation = table.model_fields[str(part)].annotation
        table = next(one for one in (annotation, *getattr(annotation, "__args__", ())) if hasattr(one, "model_fields"))
    known = [field.alias or name for name, field in table.model_fields.items()]
    close = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f", did you mean {close[0]!r}?" if close else f"; known here: {', '.join(known)}"
