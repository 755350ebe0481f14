"""Links inside the repository lead somewhere, and the threat model names tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.docs.page import ROOT, anchors, links, pages

PAGES = [str(path.relative_to(ROOT)) for path in pages()]


def _dead(page: Path, text: str) -> list[str]:
    """Targets inside the repository that are not there."""
    dead = []
    for link in links(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve()
        if path and not (target.is_relative_to(ROOT) and target.exists()):
            dead.append(link)
            continue
        there = target.read_text(encoding="utf-8") if path and anchor else text
        if anchor and anchor not in anchors(there):
            dead.append(link)
    return dead


@pytest.mark.parametrize("page", PAGES)
def test_no_relative_link_is_dead(page: str) -> None:
    path = ROOT / page
    assert _dead(path, path.read_text(encoding="utf-8")) == []


def test_a_dead_link_a_missing_heading_and_a_way_out_are_found() -> None:
    page = ROOT / "README.md"
    text = '# Here\n[a](no-such.md) [b](#there) [c](#here) [d](../../etc/passwd) <img src="gone.svg">\n'
    assert _dead(page, f"{text}```\n[e](in-a-block.md)\n```\n") == [
        "no-such.md",
        "#there",
        "../../etc/passwd",
        "gone.svg",
    ]


@cache
def _tests() -> dict[str, set[str]]:
    """Names of test functions by file."""
    found = {}
    for path in ROOT.glob("tests/**/test_*.py"):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        found[str(path.relative_to(ROOT))] = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_a_page_names_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    tests = _tests()
    files = set(re.findall(r"\btests/[\w/]+\.py\b", text))
    assert {file for file in files if not (ROOT / file).is_file()} == set()
    if page == "CONTRIBUTING.md":  # whose names are examples of how to name
        return
    named = set(re.findall(r"\btest_\w+\b(?!\.py)", text))
    assert named - set().union(*tests.values()) == set()


def test_each_row_of_the_threat_model_names_its_tests_before_their_file() -> None:
    text = (ROOT / "docs/threat-model.md").read_text(encoding="utf-8")
    tests = _tests()
    groups = re.findall(r"((?:`test_\w+`(?:, | and its off twin )?)+) \((tests/[\w/]+\.py)\)", text)
    assert len(groups) > 20
    for names, file in groups:
        assert set(re.findall(r"test_\w+", names)) <= tests[file], file


def test_the_threat_model_has_all_thirteen_threats() -> None:
    text = (ROOT / "docs/threat-model.md").read_text(encoding="utf-8")
    headings = " ".join(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert re.findall(r"\bT\d+\b", headings) == [f"T{number}" for number in range(1, 14)]
