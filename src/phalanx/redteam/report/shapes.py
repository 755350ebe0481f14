"""Trees of frozen dataclasses as JSON: written, described by a schema, and read back from whoever wrote them.

JSON has no NaN and no infinity: they are the strings "NaN", "Infinity" and "-Infinity", which no other number is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from phalanx.errors import ConfigError

_NOT_FINITE = ("NaN", "Infinity", "-Infinity")
NUMBER: dict[str, Any] = {
    "description": "A number; one that is not finite is written as a string.",
    "anyOf": [{"type": "number"}, {"enum": list(_NOT_FINITE)}],
}


# ------------------------------------------------------------------------------------------------------------- written


def plain(value: Any) -> Any:
    """Dicts, lists, strings, numbers, None."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(held) for name, held in value.items()}
    if isinstance(value, tuple | list):
        return [plain(held) for held in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def written(value: Any) -> bytes:
    """The one text of a plain value: keys sorted, ASCII, a line for each entry, plain lists on one line."""
    return (_text(value, "") + "\n").encode("ascii")


def _text(value: Any, margin: str) -> str:
    inner = margin + "  "
    if isinstance(value, dict) and value:
        lines = [f"{inner}{json.dumps(name)}: {_text(value[name], inner)}" for name in sorted(value)]
        return "{\n" + ",\n".join(lines) + f"\n{margin}}}"
    if isinstance(value, list) and any(isinstance(held, dict | list) for held in value):
        return "[\n" + ",\n".join(inner + _text(held, inner) for held in value) + f"\n{margin}]"
    return json.dumps(value, allow_nan=False)


# ----------------------------------------------------------------------------------------------------------- described


def described(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema of a type; that of each dataclass goes into `definitions`, with its docstring's first line."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"enum": list(inside)}
    if origin in (Union, UnionType):
        return {"anyOf": [described(one, definitions) for one in inside]}
    if origin is tuple and inside[-1] is Ellipsis:
        return {"type": "array", "items": described(inside[0], definitions)}
    if origin is tuple:
        each = [described(one, definitions) for one in inside]
        return {"type": "array", "prefixItems": each, "items": False, "minItems": len(each)}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": described(inside[1], definitions)}
    if is_dataclass(kind) and isinstance(kind, type):
        if kind.__name__ not in definitions:
            definitions[kind.__name__] = {}  # holds the place, should a type contain itself
            definitions[kind.__name__] = _object(kind, definitions)
        return {"$ref": f"#/$defs/{kind.__name__}"}
    if kind is float:
        definitions["Number"] = NUMBER
        return {"$ref": "#/$defs/Number"}
    return {"type": {str: "string", int: "integer", NoneType: "null"}[kind]}


def _object(kind: type, definitions: dict[str, Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    return {
        "description": (kind.__doc__ or "").split("\n\n")[0].strip(),
        "type": "object",
        "properties": {name: described(hints[name], definitions) for name in names},
        "required": names,
        "additionalProperties": False,
    }


# ----------------------------------------------------------------------------------------------------------- read back


def read(kind: Any, value: Any, where: str) -> Any:
    """The value that `plain` was given. Raises ConfigError, which names the place, for anything of another shape."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Literal and isinstance(value, str) and value in inside:
        return value
    if origin in (Union, UnionType):
        return _one_of(inside, value, where)
    if origin is tuple and isinstance(value, list):
        kinds = (inside[0],) * len(value) if inside[-1] is Ellipsis else inside
        if len(kinds) == len(value):
            return tuple(
                read(one, held, f"{where}[{i}]") for i, (one, held) in enumerate(zip(kinds, value, strict=True))
            )
    if origin is not None and origin is not Literal and issubclass(origin, Mapping) and isinstance(value, dict):
        return {name: read(inside[1], held, f"{where}.{name}") for name, held in value.items()}
    if is_dataclass(kind) and isinstance(kind, type) and isinstance(value, dict):
        return _built(kind, value, where)
    if kind is float and (value in _NOT_FINITE if isinstance(value, str) else _is_number(value)):
        return float(value)
    if kind in (str, int, NoneType) and type(value) is kind:
        return value
    raise ConfigError(f"{where}: found {type(value).__name__} {value!r:.40}, which does not belong there")


def _one_of(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    """None where that is allowed, else what the one other kind reads: no type here has two others."""
    if value is None and NoneType in kinds:
        return None
    return read(next(kind for kind in kinds if kind is not NoneType), value, where)


def _built(kind: type, value: dict[str, Any], where: str) -> Any:
    names = {field.name for field in fields(kind)}
    if wrong := sorted(names ^ set(value)):
        raise ConfigError(f"{where}: {', '.join(wrong[:4])} {'is' if len(wrong) == 1 else 'are'} missing or not known")
    hints = get_type_hints(kind)
    held = {name: read(hints[name], value[name], f"{where}.{name}") for name in sorted(names)}
    try:
        return kind(**held)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None


def _is_number(value: Any) -> bool:
    """True is no number. An integer that no float can hold would be an error of Python's."""
    return type(value) is float or (type(value) is int and abs(value) < 2**1023)
