"""What the reference pages must say, read from the code: keys, commands, errors, reasons, log entries."""

from __future__ import annotations

import json
from typing import Any

import click
import typer
from pydantic import TypeAdapter

from phalanx import errors
from phalanx.audit.schema import ALWAYS, FIELDS
from phalanx.cli.app import app
from phalanx.cli.output import BROKEN_PIPE, BUG, INTERRUPTED, TERMINATED
from phalanx.cli.verify import NOT_ESTABLISHED
from phalanx.config import Settings
from phalanx.learning.schema import Schema
from phalanx.types import Reason
from tests.docs.page import table

# ------------------------------------------------------------------------------------------------------- configuration


def config_tables() -> dict[str, list[tuple[str, str, str]]]:
    """For each table of the TOML file: its keys, the values that each may have, and its default."""
    schema = Settings.model_json_schema()
    found = {}
    for name, field in schema["properties"].items():
        definition = schema["$defs"][_reference(field)]
        required = definition.get("required", [])
        found[name] = [
            (f"`{key}`", _values(value), "required" if key in required else _default(value["default"]))
            for key, value in definition["properties"].items()
        ]
    return found


def optional_tables() -> set[str]:
    """Tables that a file may leave out."""
    schema = Settings.model_json_schema()
    return set(schema["properties"]) - set(schema["required"])


def schema_tables() -> dict[str, list[tuple[str, str, str]]]:
    """The keys of schema.toml, those of the file and those of a column, as `config_tables` has those of a table."""
    schema = TypeAdapter(Schema).json_schema()
    return {"The file": _rows(schema), "[[columns]]": _rows(schema["$defs"]["Column"])}


def _rows(definition: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [
        (f"`{key}`", _values(value), "required" if key in definition["required"] else _default(value["default"]))
        for key, value in definition["properties"].items()
    ]


def _reference(field: dict[str, Any]) -> str:
    reference = field.get("$ref") or next(one["$ref"] for one in field["anyOf"] if "$ref" in one)
    return str(reference).rsplit("/", 1)[1]


def _values(value: dict[str, Any]) -> str:
    if "anyOf" in value:
        return " or ".join(_values(one) for one in value["anyOf"] if one.get("type") != "null")
    if "$ref" in value:
        return f"table `[[{value['$ref'].rsplit('/', 1)[1].lower()}s]]`"
    if "enum" in value:
        return ", ".join(f'`"{one}"`' for one in value["enum"])
    if value["type"] == "array":
        items = _values(value["items"])
        least, most = value.get("minItems"), value.get("maxItems")
        return f"list of {items}" + ("" if most is None else f", {least} to {most} of them")
    if value["type"] == "object":
        return f"table of {_values(value['additionalProperties'])}"
    if value["type"] == "string":
        return "text" + (f" that matches `{value['pattern']}`" if "pattern" in value else "")
    return {"integer": "integer", "number": "number", "boolean": "`true` or `false`"}[value["type"]] + _bounds(value)


def _bounds(value: dict[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {value[name]}" for name, sign in signs.items() if name in value]
    return f" {', '.join(bounds)}" if bounds else ""


def _default(value: Any) -> str:
    return "none" if value is None else f"`{json.dumps(value)}`"


# -------------------------------------------------------------------------------------------------------- command line


def command_line() -> str:
    """Every command with its arguments and options, in the words of its own help."""
    return "\n".join(_command("phalanx", typer.main.get_command(app)))


def _command(path: str, command: click.Command) -> list[str]:
    inner = getattr(command, "commands", {})
    sections = []
    if path == "phalanx" or not inner:
        options = [one for one in command.params if one.name not in ("install_completion", "show_completion")]
        rows = [(_option(one), _initial(one), getattr(one, "help", None) or "") for one in options]
        words = (command.help or "").split("\n\nExample: ")
        text = " ".join(words[0].split())
        shown = f"### `{path}`\n\n{text}\n\n{table(('argument or option', 'default', 'meaning'), rows)}"
        sections.append(shown + (f"\nExample: `{words[1].strip()}`\n" if len(words) == 2 else ""))
    return sections + [text for name, one in inner.items() for text in _command(f"{path} {name}", one)]


def _option(one: click.Parameter) -> str:
    if isinstance(one, click.Argument) or one.param_type_name == "argument":
        return f"`{(one.name or '').upper()}`"
    return f"`{', '.join(one.opts)}`"


def _initial(one: click.Parameter) -> str:
    if one.required:
        return "required"
    return "none" if one.default is None or one.default is False else f"`{one.default}`"


# -------------------------------------------------------------------------------------------------- errors and reasons


def exit_codes() -> str:
    """Exit codes by number, with the `error_code` of the JSON envelope and the first line of the error's docstring."""
    own = [
        (NOT_ESTABLISHED, "OriginNotEstablished", "`audit verify` without `--trust`: self-consistent, origin unknown."),
        (1, "FindingsFailed", "`redteam` with `--fail-on` or `--baseline`: findings, or nothing that was tested."),
        (BUG, "Bug", "An exception that Phalanx does not name."),
        (INTERRUPTED, "Interrupted", "SIGINT. The same command goes on, `run` and `survey` with `--resume`."),
        (TERMINATED, "Terminated", "SIGTERM. The same command goes on, `run` and `survey` with `--resume`."),
    ]
    named = [(one.exit_code, one.__name__, (one.__doc__ or "").splitlines()[0]) for one in error_tree()]
    rows = [(str(code), f"`{name}`", words) for code, name, words in sorted(named + own)]
    silent = (str(BROKEN_PIPE), "–", "Whoever read the output has gone; nothing can be said.")
    return table(("exit code", "`error_code`", "meaning"), [("0", "–", "Done."), *rows, silent])


def error_tree() -> list[type[errors.PhalanxError]]:
    """Every error that can be raised by name."""
    found = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.PhalanxError)]
    return sorted(found, key=lambda one: one.__name__)


def reasons() -> list[str]:
    """Reason codes in the order of `types.Reason`, which is the order of the rooms."""
    return [f"`{reason.value}`" for reason in Reason]


def log_entries() -> list[tuple[str, str]]:
    """Kinds of log entries and their fields, as the auditor's own schema has them."""
    return [(f"`{kind}`", ", ".join(f"`{name}`" for name in fields) or "–") for kind, fields in FIELDS.items()]


def fields_of_every_entry() -> set[str]:
    """What each entry holds besides the fields of its kind."""
    return {*ALWAYS, "kind"}
