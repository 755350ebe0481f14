"""Every reason for which an answer is refused, and every error of ours, is what some test expects to happen.

Read from the tests' syntax trees: the name stands in an assertion, in `pytest.raises`, or in a table of cases. A name
that only goes into the code under test, as a `Refusal` that was made by hand, is not one that was reached.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from phalanx import errors
from phalanx.errors import PhalanxError
from phalanx.types import Reason

TESTS = Path(__file__).parent


def _expected(tree: ast.Module) -> Iterator[ast.AST]:
    """Whatever a test file says that it expects."""
    for node in ast.walk(tree):
        match node:
            case ast.Assert():
                yield node
            case ast.Call(func=ast.Attribute(attr="raises" | "parametrize")):
                yield from (*node.args, *(keyword.value for keyword in node.keywords))
    for statement in tree.body:
        match statement:
            case ast.Assign(value=table) | ast.AnnAssign(value=ast.AST() as table):
                yield table


def _names(node: ast.AST) -> Iterator[str]:
    """`Reason.X` as "Reason.X", and every other name as its last part; nothing inside a `Refusal(…)`."""
    match node:
        case ast.Call(func=ast.Name(id="Refusal")):
            return
        case ast.Attribute(value=ast.Name(id="Reason"), attr=member):
            yield f"Reason.{member}"
        case ast.Attribute(attr=name) | ast.Name(id=name):
            yield name
    for child in ast.iter_child_nodes(node):
        yield from _names(child)


def expected_in(source: str) -> set[str]:
    """All names that a test file expects."""
    return {name for part in _expected(ast.parse(source)) for name in _names(part)}


@pytest.fixture(scope="module")
def reached() -> set[str]:
    """All names that any test file but this one expects."""
    files = [path for path in TESTS.rglob("*.py") if path != Path(__file__)]
    return set[str]().union(*(expected_in(path.read_text(encoding="utf-8")) for path in files))


def _all(kind: type[PhalanxError]) -> Iterator[type[PhalanxError]]:
    for one in kind.__subclasses__():
        if one.__module__ == errors.__name__:
            yield one
            yield from _all(one)


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.value)
def test_every_reason_is_one_that_a_test_expects(reason: Reason, reached: set[str]) -> None:
    assert f"Reason.{reason.name}" in reached


@pytest.mark.parametrize("error", tuple(_all(PhalanxError)), ids=lambda error: error.__name__)
def test_every_error_is_one_that_a_test_expects(error: type[PhalanxError], reached: set[str]) -> None:
    assert error.__name__ in reached


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def test(): assert found == Reason.REPLAY", {"Reason.REPLAY"}),
        ("def test():\n with pytest.raises(QuorumError, match='x'): pass", {"QuorumError"}),
        ("def test():\n with pytest.raises((errors.QuorumError, ValueError)): pass", {"QuorumError"}),
        ("CASES = {'a': (b'', Reason.REPLAY)}", {"Reason.REPLAY"}),
        ("@pytest.mark.parametrize('reason', [Reason.REPLAY])\ndef test(reason): pass", {"Reason.REPLAY"}),
        ("GIVEN = [Refusal(M, Reason.REPLAY)]", set()),
        ("def test(): screen(updates, [Refusal(M, Reason.REPLAY)])", set()),
        ("from phalanx.errors import QuorumError\ndef test(): '''QuorumError'''", set()),
        ("def test():\n try: run()\n except QuorumError: pass", set()),
    ],
)
def test_what_counts_as_expected(source: str, found: set[str]) -> None:
    assert expected_in(source) & {"Reason.REPLAY", "QuorumError"} == found
