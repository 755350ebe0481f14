"""The page on schema.toml names every key that the code has, and the messages that are quoted are the code's."""

from __future__ import annotations

import tomllib

import numpy as np
import pytest

from phalanx.errors import ConfigError
from phalanx.learning.schema import check, schema_of
from phalanx.types import member_id
from tests.docs import reference
from tests.docs.page import ROOT, blocks, rows_below

PAGE = (ROOT / "docs/reference/schema.md").read_text(encoding="utf-8")
LEARNING = (ROOT / "docs/learning.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("table", reference.schema_tables())
def test_the_keys_of_a_schema_their_values_and_defaults_are_those_of_the_code(table: str) -> None:
    found = rows_below(PAGE, table)
    assert [tuple(row[:3]) for row in found] == reference.schema_tables()[table]
    assert all(row[3] for row in found), "a key without a meaning"


def test_the_messages_on_a_wrong_unit_and_an_unknown_key_are_those_that_the_page_quotes() -> None:
    (text,) = (block.body for block in blocks(LEARNING) if "save=wards/schema.toml" in block.info)
    ages, masses = np.linspace(30, 80, 50), np.linspace(50, 120, 50)
    schema, y = schema_of(tomllib.loads(text)), np.zeros(50, np.int64)
    with pytest.raises(ConfigError) as unit:
        check(schema, np.stack([ages, 1000 * masses], axis=1), y, member_id("b"))
    with pytest.raises(ConfigError) as key:
        schema_of(tomllib.loads(text.replace("low", "min", 1)))
    for error in (unit, key):
        assert f"\n{error.value.message}\n" in LEARNING
