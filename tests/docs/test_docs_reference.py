"""The reference pages name every key, kind and reason that the code has, and none that it has not."""

from __future__ import annotations

import re

import pytest

from phalanx.config import Settings
from tests.docs import reference
from tests.docs.page import ROOT, rows_below

CONFIG = (ROOT / "docs/reference/config.md").read_text(encoding="utf-8")
LOG = (ROOT / "docs/reference/log.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("table", reference.config_tables())
def test_the_keys_of_a_table_their_values_and_defaults_are_those_of_the_code(table: str) -> None:
    found = rows_below(CONFIG, f"[{table}]")
    assert [tuple(row[:3]) for row in found] == reference.config_tables()[table]
    assert all(row[3] for row in found), "a key without a meaning"


def test_every_table_of_the_configuration_has_a_section_and_no_other_has() -> None:
    assert re.findall(r"^## \[(.+)\]$", CONFIG, re.MULTILINE) == list(Settings.model_fields)


@pytest.mark.parametrize("table", Settings.model_fields)
def test_a_table_is_called_optional_if_a_file_may_leave_it_out(table: str) -> None:
    section = CONFIG.split(f"## [{table}]\n")[1].split("\n| key")[0]
    assert ("Optional." in section) == (table in reference.optional_tables())


def test_the_reasons_are_those_of_the_code_in_its_order() -> None:
    found = rows_below(LOG, "Reason codes")
    assert [row[0] for row in found] == reference.reasons()
    assert all(row[1] and row[2] for row in found), "a reason without a meaning"


def test_the_log_entries_and_their_fields_are_those_of_the_auditors_schema() -> None:
    found = rows_below(LOG, "Entries")
    assert [(row[0], row[1]) for row in found] == reference.log_entries()


def test_what_every_entry_holds_is_named_before_the_table() -> None:
    sentence = re.search(r"^Every entry has (.+), and$", LOG, re.MULTILINE)
    assert sentence is not None
    assert set(re.findall(r"`(\w+)`", sentence[1])) == reference.fields_of_every_entry()


def test_every_named_error_has_a_docstring_for_the_table_of_exit_codes() -> None:
    names = [error.__name__ for error in reference.error_tree()]
    assert "PhalanxError" in names
    assert len(names) == len(set(names)) > 10
    assert all(error.__doc__ for error in reference.error_tree())
