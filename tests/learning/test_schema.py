"""A unit mistake is a clear error before the first round, and the error tells no row's values."""

from __future__ import annotations

import contextlib
import re
import tomllib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phalanx.errors import ConfigError
from phalanx.learning.schema import Column, Schema, check, numbers_of, schema_of, words_of
from phalanx.types import F64, member_id

MEMBER = member_id("hospital-a")
WEIGHT = Column("weight", "kg", 20.0, 300.0)
HEIGHT = Column("height", "m", 0.3, 2.5)
BODY = Schema((WEIGHT, HEIGHT), ("benign", "malignant"))

TOML = """
labels = ["benign", "malignant"]
[[columns]]
name = "weight"
unit = "kg"
low = 20
high = 300.0
[[columns]]
name = "ward"
kind = "category"
values = ["a", 7]
missing_allowed = true
"""


def bodies(n: int = 200) -> tuple[F64, Any]:
    rng = np.random.default_rng(3)
    x = np.stack([rng.normal(75, 10, n), rng.normal(1.7, 0.1, n)], axis=1)
    return x, rng.integers(0, 2, n)


def problem(schema: Schema, x: Any, y: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        check(schema, x, y, MEMBER)
    return caught.value


def test_data_that_fits_passes() -> None:
    check(BODY, *bodies(), MEMBER)


@pytest.mark.parametrize(
    ("factor", "column", "advice"),
    [
        (1000, 0, "multiplying by 0.001"),  # grams
        (2.2046, 0, "multiplying by 0.4536"),  # pounds, most of which are in the range of kilograms
        (100, 1, "multiplying by 0.01"),  # centimetres
        (1000, 1, "multiplying by 0.001"),  # millimetres
    ],
)
def test_a_wrong_unit_is_refused_with_the_conversion_that_would_fit(factor: float, column: int, advice: str) -> None:
    schema = Schema((Column("weight", "kg", 30.0, 130.0), HEIGHT), BODY.labels)
    x, y = bodies()
    check(schema, x, y, MEMBER)
    x[:, column] *= factor
    assert f"{advice}" in problem(schema, x, y).message.split("outside")[1].split("would fit")[0]


def test_fahrenheit_for_celsius_is_named_first() -> None:
    schema = Schema((Column("temperature", "°C", 30.0, 45.0),))
    x = np.random.default_rng(1).normal(37, 0.5, (300, 1))
    check(schema, x, None, MEMBER)
    assert "45 °C; converting Fahrenheit to Celsius" in problem(schema, x * 9 / 5 + 32, None).message
    back = Schema((Column("temperature", "°F", 90.0, 110.0),))
    assert "110 °F; converting Celsius to Fahrenheit" in problem(back, x, None).message


def test_no_conversion_is_advised_where_none_fits_or_half_of_everything_would() -> None:
    x, y = bodies()
    x[:, 0] = np.random.default_rng(1).uniform(-1e6, 1e6, len(x))
    assert "would fit" not in problem(BODY, x, y).message
    only_low = Schema((Column("weight", low=100.0), HEIGHT), BODY.labels)
    assert "outside 100 to ∞" in problem(only_low, *bodies()).message
    assert "would fit" not in problem(only_low, *bodies()).message


def test_swapped_columns_are_named_where_each_fits_the_others_bounds() -> None:
    x, y = bodies()
    message = problem(BODY, x[:, ::-1], y).message
    assert message.count("perhaps columns weight and height are swapped") == 2
    assert "would fit" not in message


def test_swapped_columns_are_named_where_one_of_them_fits_either_way() -> None:
    """Ages fit the bounds of a mass; masses do not fit those of an age."""
    schema = Schema((Column("age", "years", 18.0, 90.0), Column("mass", "kg", 10.0, 250.0)))
    x = np.stack([np.linspace(20, 85, 50), np.linspace(40, 140, 50)], axis=1)
    check(schema, x, None, MEMBER)
    message = problem(schema, x[:, ::-1], None).message
    assert "perhaps columns age and mass are swapped" in message and "(2)" not in message
    x[0, 1] = 17.0  # no age
    x[0, 0] = 9.0  # and no mass
    assert "swapped" not in problem(schema, x, None).message


def test_a_wrong_unit_is_not_called_a_swap() -> None:
    x, y = bodies()
    x[:, 1] *= 100
    message = problem(BODY, x, y).message
    assert "multiplying by 0.01 would fit" in message and "swapped" not in message


def test_one_message_lists_every_problem_the_most_serious_first() -> None:
    x, y = bodies()
    x[:, 0] *= 1000
    x[[3, 5, 8, 13], 1] = np.nan
    y[:50] = 2
    message = problem(BODY, x, y).message
    assert message.startswith("the data of hospital-a does not fit the schema: (1) labels: 25 % are none of the map")
    assert "expected integers 0 (benign) to 1 (malignant)" in message
    order = [message.index(words) for words in ("(2) height [m]: 2 % missing", "(3) weight [kg]: 100 % outside 20 to")]
    assert order == sorted(order)
    assert "(row 3, 5, 8, …)" in message
    assert "(4)" not in message


def test_the_message_tells_no_value_and_the_hint_only_percentiles() -> None:
    x, y = bodies()
    x[17, 0] = 98765.4321
    x[18, 1] = np.inf
    error = problem(BODY, x, y)
    declared = {"0", "1", "2", "20", "300", "0.3", "2.5", "18"}  # bounds, labels, the number of the problem, the row
    assert set(re.findall(r"\d+\.?\d*", error.message)) <= declared
    assert "98765" not in error.message + error.hint
    numbers = sorted(x[:, 0])
    assert f"percentiles {np.percentile(numbers, 1):.3g}, {np.percentile(numbers, 50):.3g} and" in error.hint


@pytest.mark.parametrize(
    ("x", "found"),
    [
        (np.zeros((5, 3)), r"found inputs of shape \(5, 3\), expected \(rows, 2\)"),
        (np.zeros(5), r"found inputs of shape \(5,\), expected \(rows, 2\)"),
        (np.zeros((0, 2)), "found no rows, expected at least 1"),
        (np.array([["70", "1.7"]] * 5), "weight .*found <U3 with what is not a number, expected numbers"),
        (np.full((5, 2), 70 + 1j), "weight .*found complex128 with what is not a number"),
        (np.array([[10**400, 1.7]] * 5, dtype=object), "weight .*found object with what is not a number"),
    ],
)
def test_inputs_of_another_form_are_refused(x: Any, found: str) -> None:
    with pytest.raises(ConfigError, match=found):
        check(BODY, x, np.zeros(len(x), np.int64), MEMBER)


@pytest.mark.parametrize(
    ("y", "found"),
    [
        (None, "labels: found none"),
        (np.zeros(199, np.int64), r"labels: found int64 of shape \(199,\)"),
        (np.zeros(200), r"labels: found float64 of shape \(200,\)"),
        (np.array(["benign"] * 200), "labels: found <U6"),
        (np.full(200, -1), "labels: 100 % are none of the map"),
    ],
)
def test_labels_outside_the_map_or_of_another_type_are_refused(y: Any, found: str) -> None:
    with pytest.raises(ConfigError, match=found):
        check(BODY, bodies()[0], y, MEMBER)


def test_a_share_may_lie_outside_and_may_be_missing_where_the_schema_says_so() -> None:
    strict = Schema((Column("age", "years", 0.0, 120.0),))
    lenient = Schema((Column("age", "years", 0.0, 120.0, missing_allowed=True, outside_allowed=0.02),))
    x = np.full((100, 1), 40.0)
    x[:2], x[2] = 999, np.nan
    assert "outside" in problem(strict, x, None).message
    assert "missing" in problem(strict, x, None).message
    x[3] = 40.0
    check(lenient, np.delete(x, 0, axis=0), None, MEMBER)
    assert (
        "3 % outside 0 to 120 years, at most 2 % allowed" in problem(lenient, np.vstack([x, [[999.0]]]), None).message
    )
    x[4] = np.inf
    assert "1 % missing or not finite (row 4)" in problem(lenient, x, None).message


MIXED = Schema(
    (
        Column("age", "years", 0.0, 120.0, missing_allowed=True),
        Column("ward", kind="category", values=("a", 7), missing_allowed=True),
        Column("note", kind="text", missing_allowed=True),
    )
)


def test_categories_and_texts_are_checked_and_become_words() -> None:
    x = np.array([[30, "a", "Chest pain, PAIN"], [None, 7, None], [41.5, 7.0, "no"], [2, "", ""]], dtype=object)
    check(MIXED, x, None, MEMBER)
    assert words_of(MIXED, x) == [["ward=a", "chest", "pain", "pain"], ["ward=7"], ["ward=7", "no"], []]
    assert np.array_equal(numbers_of(MIXED, x), [[30.0], [np.nan], [41.5], [2.0]], equal_nan=True)
    x[0, 1], x[1, 2] = "b", 12
    message = problem(MIXED, x, None).message
    assert "ward: 25 % is something else (row 0), expected one of the 2 declared values" in message
    assert "note: 25 % is something else (row 1), expected text" in message


def test_a_missing_category_is_refused_unless_it_is_allowed() -> None:
    x = np.array([["a"], [None], [float("nan")], [""]], dtype=object)
    check(Schema((Column("ward", kind="category", missing_allowed=True),)), x, None, MEMBER)
    message = problem(Schema((Column("ward", kind="category"),)), x, None).message
    assert "ward: 75 % missing (row 1, 2, 3)" in message


def test_a_schema_is_read_from_toml() -> None:
    expected = (WEIGHT, Column("ward", kind="category", values=("a", 7), missing_allowed=True))
    assert schema_of(tomllib.loads(TOML)) == Schema(expected, ("benign", "malignant"))


@pytest.mark.parametrize(
    ("found", "instead", "message"),
    [
        ('unit = "kg"', 'units = "kg"', "unknown key columns.0.units, did you mean 'unit'?"),
        (
            "low = 20",
            "min = 20",
            "unknown key columns.0.min, known here: name, unit, low, high, kind, values, ",
        ),
        ("labels =", "label =", "unknown key label, did you mean 'labels'?"),
        ("labels =", "map =", "unknown key map, known here: columns, labels"),
        ("low = 20", 'low = "20"', "columns.0.low: input should be a valid number"),
        ("low = 20", "low = true", "columns.0.low: input should be a valid number"),
        ("low = 20", "low = 2020-01-01", "columns.0.low: input should be a valid number"),
        ("low = 20", "low = nan", "low and high must be finite, got nan"),
        ("low = 20", "low = 300", "low must be below high, got 300.0 and 300.0"),
        ('"category"', '"categories"', "columns.1.kind: input should be 'number', 'category' or 'text'"),
        ('"category"', '"text"', "values are for categories, and its kind is 'text'"),
        ('values = ["a", 7]', "low = 1", "low and high are for numbers, and its kind is 'category'"),
        ('values = ["a", 7]', 'values = [7, "7"]', "values names a category twice"),
        ('name = "ward"', 'name = "weight"', "names a column twice: weight, weight"),
        ('name = "ward"', 'name = ""', "needs a name"),
        ('"benign", "malignant"', '"benign", "benign"', "names a label twice"),
        ("missing_allowed = true", "outside_allowed = 1.0", "outside_allowed is a share in"),
    ],
)
def test_a_mistake_in_the_schema_is_refused(found: str, instead: str, message: str) -> None:
    assert found in TOML
    with pytest.raises(ConfigError, match=re.escape(message)):
        schema_of(tomllib.loads(TOML.replace(found, instead, 1)))


def test_a_schema_of_no_columns_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one column"):
        schema_of({"columns": []})


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "columns", "x"]), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["columns", "labels", "z"]), JSONS))
def test_any_table_is_a_schema_or_a_config_error(table: dict[str, Any]) -> None:
    with contextlib.suppress(ConfigError):
        assert isinstance(schema_of(table), Schema)


ANYTHING = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)


@given(st.lists(st.tuples(ANYTHING, ANYTHING, ANYTHING), min_size=1, max_size=6))
def test_any_objects_fit_or_are_a_config_error(rows: list[tuple[object, ...]]) -> None:
    x = np.empty((len(rows), 3), dtype=object)
    x[:] = rows
    try:
        check(MIXED, x, None, MEMBER)
    except ConfigError:
        return
    numbers = numbers_of(MIXED, x)
    assert ((numbers >= 0) & (numbers <= 120) | np.isnan(numbers)).all()
    assert all(
        word.startswith("ward=") or word.islower() or not word.isalpha() for row in words_of(MIXED, x) for word in row
    )
