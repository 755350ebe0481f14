"""What a member's data must look like, declared by the user and checked at each member before the first round.

A column in grams where all others have kilograms is a clear error here. Without the check it is a model that is a
little worse, and nobody is told.

What leaves the member: an error's message may reach the coordinator, its hint stays at home. So a message holds what
the schema declares, shares, dtypes, conversions that would fit, and at most three row numbers; never a value. The hint
adds three percentiles of a column, rounded to 3 digits: in a short column they are values of single rows.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from phalanx.errors import ConfigError
from phalanx.learning.data import Array
from phalanx.types import F64, MemberId

_ROWS_NAMED = 3
_CONVERSIONS_NAMED = 3
_MOST_SWAPPED = 20  # columns out of their bounds; with more, something else is wrong and pairs would take long to try
_WORD = re.compile(r"\w+")
_STRUCTURE, _LABELS, _NOT_FINITE, _RANGE = range(4)  # how serious a problem is, most serious first


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the inputs. Raises ConfigError where its parts contradict each other.

    `low` and `high` bound a number, both included; `outside_allowed` is the share of the present rows that may lie
    outside. `values` are all that a category may be, None for any. A missing value is a NaN in a number and a NaN, a
    None or an empty string in a category or text.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")
    name: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    kind: Literal["number", "category", "text"] = "number"
    values: tuple[str | int, ...] | None = None
    missing_allowed: bool = False
    outside_allowed: float = 0.0

    def __post_init__(self) -> None:
        problem = _contradiction(self)
        if problem:
            raise ConfigError(f"column {self.name!r}: {problem}")

    def __str__(self) -> str:
        return f"{self.name} [{self.unit}]" if self.unit else self.name


def _contradiction(column: Column) -> str:
    bounds = [bound for bound in (column.low, column.high) if bound is not None]
    if not column.name:
        return "needs a name"
    if column.kind != "number" and bounds:
        return f"low and high are for numbers, and its kind is {column.kind!r}"
    if column.kind != "category" and column.values is not None:
        return f"values are for categories, and its kind is {column.kind!r}"
    if column.values is not None and len(set(map(str, column.values))) != len(column.values):
        return "values names a category twice"
    if not all(math.isfinite(bound) for bound in bounds):
        return f"low and high must be finite, got {column.low} and {column.high}"
    if len(bounds) == 2 and not bounds[0] < bounds[1]:
        return f"low must be below high, got {column.low} and {column.high}"
    if not 0 <= column.outside_allowed < 1:
        return f"outside_allowed is a share in [0, 1), got {column.outside_allowed}"
    return ""


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns in order, and the label map: `labels[i]` is what label i means; empty for data without labels."""

    __pydantic_config__ = ConfigDict(extra="forbid")
    columns: tuple[Column, ...]
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.columns:
            raise ConfigError("a schema needs at least one column, got none")
        names = [column.name for column in self.columns]
        for what, words in (("column", names), ("label", list(self.labels))):
            if len(set(words)) != len(words):
                raise ConfigError(f"the schema names a {what} twice: {', '.join(words)}")


def schema_of(table: dict[str, Any]) -> Schema:
    """The schema in a parsed TOML table: `labels` and [[columns]]. Raises ConfigError, also for unknown keys."""
    try:
        # In JSON's strict mode a list may become a tuple and an integer a float, and nothing else is converted.
        return TypeAdapter(Schema).validate_json(json.dumps(table, default=str), strict=True)
    except ValidationError as error:
        lines = [_complaint(one) for one in error.errors(include_url=False, include_input=False)]
        raise ConfigError(f"the schema cannot be read: {'; '.join(lines)}") from None


def _complaint(complaint: ErrorDetails) -> str:
    place = ".".join(map(str, complaint["loc"])) or "schema"
    if complaint["type"] != "unexpected_keyword_argument":
        return f"{place}: {complaint['msg'].lower()}"
    known = [field.name for field in fields(Schema if len(complaint["loc"]) == 1 else Column)]
    close = difflib.get_close_matches(str(complaint["loc"][-1]), known, n=1)
    advice = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known)}"
    return f"unknown key {place}, {advice}"


# ------------------------------------------------------------------------------------------------------ a member's data


def numbers_of(schema: Schema, x: Array) -> F64:
    """(n, p): the number columns of `x`, in order, NaN where missing. For data that passed `check`."""
    columns = [np.asarray(x[:, j], dtype=np.float64) for j, c in enumerate(schema.columns) if c.kind == "number"]
    return np.stack(columns, axis=1) if columns else np.zeros((len(x), 0))


def words_of(schema: Schema, x: Array) -> list[list[str]]:
    """Each row's words: "column=value" of each category, and the lower-case words of each text. None where missing."""
    rows: list[list[str]] = [[] for _ in x]
    for j, column in enumerate(schema.columns):
        if column.kind == "number":
            continue
        for row, value in zip(rows, x[:, j].tolist(), strict=True):
            if not _is_missing(value):
                category = column.kind == "category"
                row += [category_word(column, value)] if category else _WORD.findall(str(value).lower())
    return rows


def category_word(column: Column, value: object) -> str:
    """The word that stands for one category. 1 and 1.0 are the same category: NumPy makes one of the other."""
    whole = isinstance(value, float) and value.is_integer()
    return f"{column.name}={int(value) if isinstance(value, float) and whole else value}"


def _is_missing(value: object) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


# ------------------------------------------------------------------------------------------------------------ the check


@dataclass(frozen=True, slots=True)
class _Problem:
    """`text` may leave the member, `local` may not."""

    seriousness: int
    text: str
    share: float = 1.0
    local: str = ""


def check(schema: Schema, x: Array, y: Array | None, member: MemberId) -> None:
    """Nothing, or a ConfigError whose one message lists every problem, most serious first. The member runs this.

    `x` (n, columns) is an array of numbers, or of objects where a column is a category or text. `y` (n,) holds integer
    labels 0 … c-1; None, or anything, for a schema without labels.
    """
    problems = [*_structure(schema, x), *_labels(schema, x, y)]
    if x.ndim == 2 and x.shape[1] == len(schema.columns) and len(x):
        found = _columns(schema, x, {})
        out_of_range = any(one.seriousness == _RANGE for one in found)
        problems += _columns(schema, x, _swapped(schema, x)) if out_of_range else found
    if not problems:
        return
    problems.sort(key=lambda one: (one.seriousness, -one.share))
    listed = "; ".join(f"({i}) {one.text}" for i, one in enumerate(problems, 1))
    local = "; ".join(one.local for one in problems if one.local)
    raise ConfigError(
        f"the data of {member} does not fit the schema: {listed}",
        hint="correct the data or the schema" + (f"; only for the member's own eyes: {local}" if local else ""),
    )


def _columns(schema: Schema, x: Array, swapped: Mapping[int, str]) -> list[_Problem]:
    problems = []
    for j, column in enumerate(schema.columns):
        number = column.kind == "number"
        problems += _number(column, x[:, j], swapped.get(j, "")) if number else _words(column, x[:, j])
    return problems


def _structure(schema: Schema, x: Array) -> list[_Problem]:
    if x.ndim != 2 or x.shape[1] != len(schema.columns):
        return [_Problem(_STRUCTURE, f"found inputs of shape {x.shape}, expected (rows, {len(schema.columns)})")]
    if not len(x):
        return [_Problem(_STRUCTURE, "found no rows, expected at least 1")]
    return []


def _labels(schema: Schema, x: Array, y: Array | None) -> list[_Problem]:
    if not schema.labels:
        return []
    count = len(schema.labels)
    expected = f"expected integers 0 ({schema.labels[0]}) to {count - 1} ({schema.labels[-1]})"
    if y is None or y.shape != x.shape[:1] or not np.issubdtype(y.dtype, np.integer):
        found = "none" if y is None else f"{y.dtype} of shape {y.shape}"
        return [_Problem(_LABELS, f"labels: found {found}, {expected}, one for each of {x.shape[0]} rows")]
    outside = (y < 0) | (y >= count)
    if not outside.any():
        return []
    share = float(outside.mean())
    return [_Problem(_LABELS, f"labels: {_percent(share)} are none of the map ({_rows(outside)}), {expected}", share)]


def _number(column: Column, values: Array, swapped: str) -> list[_Problem]:
    numbers = _as_numbers(values)
    if numbers is None:
        return [_Problem(_STRUCTURE, f"{column}: found {values.dtype} with what is not a number, expected numbers")]
    bad = np.isinf(numbers) if column.missing_allowed else ~np.isfinite(numbers)
    problems = []
    if bad.any():
        share = float(bad.mean())
        text = f"{column}: {_percent(share)} missing or not finite ({_rows(bad)}), expected {_range(column)}"
        problems.append(_Problem(_NOT_FINITE, text, share))
    finite = numbers[np.isfinite(numbers)]
    share = _share_outside(column, finite)
    if share > column.outside_allowed:
        allowed = f", at most {100 * column.outside_allowed:g} % allowed" if column.outside_allowed else ""
        advice = swapped or _conversions(column, finite)
        text = f"{column}: {_percent(share)} outside {_range(column)}{allowed}{advice}"
        problems.append(_Problem(_RANGE, text, share, _percentiles(column, finite)))
    return problems


def _words(column: Column, values: Array) -> list[_Problem]:
    items = values.tolist()
    missing = np.array([_is_missing(item) for item in items])
    problems = []
    if missing.any() and not column.missing_allowed:
        share = float(missing.mean())
        problems.append(_Problem(_NOT_FINITE, f"{column}: {_percent(share)} missing ({_rows(missing)})", share))
    if column.kind == "text":
        wrong = np.array([not isinstance(item, str) for item in items]) & ~missing
        expected = "expected text"
    elif column.values is not None:
        known = {category_word(column, value) for value in column.values}
        wrong = np.array([category_word(column, item) not in known for item in items]) & ~missing
        expected = f"expected one of the {len(column.values)} declared values"
    else:
        return problems
    if wrong.any():
        share = float(wrong.mean())
        text = f"{column}: {_percent(share)} is something else ({_rows(wrong)}), {expected}"
        problems.append(_Problem(_RANGE, text, share))
    return problems


def _as_numbers(values: Array) -> F64 | None:
    """(n,) float64, NaN for None; None where a value is no real number. Text that looks like a number is text."""
    if values.dtype == object:
        if not all(item is None or isinstance(item, int | float | np.integer | np.floating) for item in values):
            return None
    elif not (np.issubdtype(values.dtype, np.integer) or np.issubdtype(values.dtype, np.floating)):
        return None
    try:
        return np.asarray(values, dtype=np.float64)
    except OverflowError:  # a Python integer past float64
        return None


def _share_outside(column: Column, finite: F64) -> float:
    if not len(finite):
        return 0.0
    low = -math.inf if column.low is None else column.low
    high = math.inf if column.high is None else column.high
    return float(((finite < low) | (finite > high)).mean())


# ------------------------------------------------------------------------------------------------- units that would fit


@dataclass(frozen=True, slots=True)
class _Conversion:
    """value ↦ value · factor + offset."""

    words: str
    factor: float
    offset: float = 0.0


_CONVERSIONS = (
    *(_Conversion(f"multiplying by {factor:g}", factor) for factor in (0.001, 0.01, 0.1, 10.0, 100.0, 1000.0)),
    *(_Conversion(f"multiplying by {factor:g}", factor) for factor in (2.54, 25.4, 0.4536, 2.2046, 60.0, 3600.0)),
    *(_Conversion(f"dividing by {factor:g}", 1 / factor) for factor in (2.54, 25.4, 60.0, 3600.0)),
    _Conversion("converting Fahrenheit to Celsius", 5 / 9, -160 / 9),
    _Conversion("converting Celsius to Fahrenheit", 9 / 5, 32.0),
)


def _conversions(column: Column, finite: F64) -> str:
    """Which conversions of all values would fit, the one that brings them nearest to the middle of the range first."""
    if column.low is None or column.high is None:  # half of everything would fit
        return ""
    middle, fitting = (column.low + column.high) / 2, []
    with np.errstate(over="ignore"):
        for one in _CONVERSIONS:
            converted = finite * one.factor + one.offset
            if _share_outside(column, converted) <= column.outside_allowed:
                fitting.append((abs(float(np.median(converted)) - middle), one.words))
    named = [words for _, words in sorted(fitting)[:_CONVERSIONS_NAMED]]
    return f"; {' or '.join(named)} would fit" if named else ""


# ------------------------------------------------------------------------------------------------------ swapped columns


def _swapped(schema: Schema, x: Array) -> dict[int, str]:
    """For each number column out of its bounds, the first other column where each fits the other's bounds, in words.

    Only columns with both bounds: half of everything would fit one bound.
    """
    numbers = {}
    for j, column in enumerate(schema.columns):
        values = _as_numbers(x[:, j]) if column.kind == "number" and None not in (column.low, column.high) else None
        if values is not None and np.isfinite(values).any():
            numbers[j] = values[np.isfinite(values)]

    def fits(j: int, k: int) -> bool:
        return _share_outside(schema.columns[k], numbers[j]) <= schema.columns[k].outside_allowed

    outside = [j for j in numbers if not fits(j, j)]
    if len(outside) > _MOST_SWAPPED:
        return {}
    words = {}
    for j in outside:
        other = next((k for k in numbers if k != j and fits(j, k) and fits(k, j)), None)
        if other is not None:
            first, second = (schema.columns[k].name for k in sorted((j, other)))
            words[j] = f"; perhaps columns {first} and {second} are swapped"
    return words


# ---------------------------------------------------------------------------------------------------------------- words


def _percent(share: float) -> str:
    return "less than 1 %" if share < 0.01 else f"{100 * share:.0f} %"


def _rows(bad: npt.NDArray[np.bool_]) -> str:
    rows: Sequence[int] = np.flatnonzero(bad).tolist()
    return f"row {', '.join(map(str, rows[:_ROWS_NAMED]))}{', …' if rows[_ROWS_NAMED:] else ''}"


def _range(column: Column) -> str:
    if column.low is None and column.high is None:
        return "finite numbers"
    low = "-∞" if column.low is None else f"{column.low:g}"
    high = "∞" if column.high is None else f"{column.high:g}"
    return f"{low} to {high}{f' {column.unit}' if column.unit else ''}"


def _percentiles(column: Column, finite: F64) -> str:
    low, middle, high = np.percentile(finite, [1, 50, 99])
    return f"{column} has 1st, 50th and 99th percentiles {low:.3g}, {middle:.3g} and {high:.3g}"
