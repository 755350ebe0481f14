"""What is skipped does not type-check, and a stage is made by passing its control: nowhere else, and by no other way.

Two readers of the package: its syntax trees say where a stage type is constructed, mypy says what skips a control.
"""

from __future__ import annotations

import ast
import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import phalanx
from phalanx import types

SOURCES = Path(phalanx.__file__).parent
STAGES = (
    *(types.SealedUpdate, types.Update, types.Cohort, types.Aggregate),
    *(types.Candidate, types.Approved, types.Release),
)
NAMES = {stage.__name__ for stage in STAGES}
FIELDS = {stage.__name__: {field.name for field in dataclasses.fields(stage)} for stage in STAGES}
MAKERS = {
    "SealedUpdate": {"channel/envelope.py:accept"},
    "Update": {"channel/envelope.py:open_update"},
    "Cohort": {"screening/screen.py:screen"},
    "Aggregate": {"venue.py:aggregate"},
    "Candidate": {"learning/server.py:step"},
    "Approved": {"gate/decide.py:approve"},
    "Release": {"release/sign.py:_sign"},
}

# -------------------------------------------------------------------------------------------------------- syntax trees


def trees() -> Iterator[tuple[str, ast.Module]]:
    """Every file of the package by its path."""
    for path in sorted(SOURCES.rglob("*.py")):
        yield path.relative_to(SOURCES).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def named(node: ast.expr) -> str:
    """The last part of a dotted name, or nothing."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Every node with the name of the outermost function or class around it."""
    for top in tree.body:
        for node in ast.walk(top):
            yield getattr(top, "name", "the module"), node


def type_hints(tree: ast.Module) -> set[ast.AST]:
    """The nodes that only say a type: annotations, what is in square brackets after a type, `isinstance`."""
    said: list[ast.AST | None] = []
    for node in ast.walk(tree):
        match node:
            case ast.arg(annotation=one) | ast.AnnAssign(annotation=one) | ast.FunctionDef(returns=one):
                said.append(one)
            case ast.Subscript(slice=one):
                said.append(one)
            case ast.Call(func=ast.Name(id="isinstance" | "cast"), args=[one, other]):
                said += [one, other] if isinstance(one, ast.Name) else [other]
    return {inner for one in said if one is not None for inner in ast.walk(one)}


def makers(path: str, tree: ast.Module) -> Iterator[tuple[str, str]]:
    """(stage, file:function) for each call of a stage type."""
    for function, node in functions(tree):
        if isinstance(node, ast.Call) and named(node.func) in NAMES:
            yield named(node.func), f"{path}:{function}"


def detours(path: str, tree: ast.Module) -> Iterator[str]:
    """Every other way to a stage: another name for its type, the type as a value, a subclass, a copy with changes."""
    if path == "types.py":
        return
    types_only, made = type_hints(tree), _made_here(tree)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    called |= {id(node.cls) for node in ast.walk(tree) if isinstance(node, ast.MatchClass)}
    for function, node in functions(tree):
        where = f"{path}:{function}"
        match node:
            case ast.alias(name=name, asname=str(other)) if name.split(".")[-1] in {*NAMES, "replace"}:
                yield f"{where} calls {name} {other}"
            case ast.Name() | ast.Attribute() if named(node) in NAMES:
                if id(node) not in called and node not in types_only:
                    yield f"{where} hands {named(node)} on as a value"
            case ast.Call(func=func, args=[one, *_], keywords=[_, *_] as keywords) if named(func) == "replace":
                changed = {keyword.arg for keyword in keywords}
                if _may_change_a_stage(changed) and (function, ast.unparse(one)) not in made and not _other_type(one):
                    yield f"{where} replaces {', '.join(sorted(map(str, changed)))} of what may be a stage"
            case ast.Attribute(attr="__new__" | "__setattr__" | "__class__" | "__replace__"):
                yield f"{where} goes around constructors with {node.attr}"


def _may_change_a_stage(changed: set[str | None]) -> bool:
    return None in changed or any(changed <= fields for fields in FIELDS.values())


def _made_here(tree: ast.Module) -> dict[tuple[str, str], str]:
    """(function, variable) → the type that it is given there, where that is plain to see and no stage."""
    found: dict[tuple[str, str], str] = {}
    for function, node in functions(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=variable)], value=ast.Call(func=func)) if named(func)[:1].isupper():
                found[function, variable] = named(func)
            case ast.arg(arg=variable, annotation=ast.Name(id=kind)):
                found[function, variable] = kind
    return {place: kind for place, kind in found.items() if kind not in NAMES}


@cache
def _attribute_types() -> dict[str, set[str]]:
    """attribute → every type that a class of the package says it has."""
    found: dict[str, set[str]] = {}
    for _, tree in trees():
        for one in (one for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for one in node.body):
            match one:
                case (
                    ast.AnnAssign(target=ast.Name(id=name), annotation=kind) | ast.FunctionDef(name=name, returns=kind)
                ):
                    found.setdefault(name, set()).add(ast.unparse(kind) if kind is not None else "Any")
    return found


def _other_type(node: ast.expr) -> bool:
    """Whether this is an attribute that is no stage in any class of the package: `x.binding`."""
    kinds = _attribute_types().get(node.attr, set()) if isinstance(node, ast.Attribute) else set()
    return bool(kinds) and not any(_may_be_a_stage(kind) for kind in kinds)


def _may_be_a_stage(kind: str) -> bool:
    """Whether a type, as written, names a stage anywhere, or is anything at all (a type variable has one letter)."""
    outermost = re.findall(r"\w+", re.sub(r"\[.*\]", "", kind))
    return any(word in NAMES for word in re.findall(r"\w+", kind)) or any(
        word in {"Any", "object"} or len(word) == 1 for word in outermost
    )


def test_each_stage_is_constructed_in_exactly_one_function() -> None:
    found: dict[str, set[str]] = {name: set() for name in NAMES}
    for path, tree in trees():
        for stage, place in makers(path, tree):
            found[stage].add(place)
    assert found == MAKERS


def test_there_is_no_other_way_to_a_stage() -> None:
    assert [detour for path, tree in trees() for detour in detours(path, tree)] == []


@pytest.mark.parametrize(
    "code",
    [
        "def f(x: Aggregate) -> object:\n    return replace(x, vector=1)",
        "def f(x) -> object:\n    return replace(x, digest='', model=m)",
        "def f(x) -> object:\n    return dataclasses.replace(x, **changes)",
        "def f() -> object:\n    x = step(a, m)\n    return replace(x, base='')",
        "def f(x: Approved) -> object:\n    return replace(x.candidate, model=m)",
        "def f(x: Sneaky) -> object:\n    return replace(x.unheard_of, model=m)",
        "def f(x: Sneaky) -> object:\n    return replace(x.release, version=v)",
        "from phalanx.types import Approved as Yes",
        "import phalanx.types.Cohort as c",
        "from dataclasses import replace as other_than",
        "make = Release",
        "def f() -> object:\n    return partial(Cohort, (), rows)",
        "def f() -> object:\n    return list(map(types.Candidate, models))",
        "class Sneaky(Approved):\n    pass",
        "def f() -> object:\n    return object.__new__(Kind)",
        "def f(x: Candidate) -> object:\n    return x.__class__(m, d, b, r)",
        "def f(x: Candidate) -> None:\n    object.__setattr__(x, 'model', m)",
    ],
)
def test_the_reader_sees_every_way_around_a_constructor(code: str) -> None:
    assert list(detours("sneaky.py", ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "def f(x: Update | Refusal) -> list[Update]:\n    y: list[Cohort] = []\n    return y",
        "def f(x: object) -> bool:\n    return isinstance(x, Update)",
        "def f(x: Order) -> Order:\n    return replace(x, candidate=c)",
        "def f() -> Order:\n    x = Order(a)\n    return replace(x, candidate=c)",
        "def f(x: Approved) -> object:\n    return replace(x.candidate.binding, model=m)",
        "def f(x) -> object:\n    return replace(x, weights=w, scores=None)",
        "def f(s: str) -> str:\n    return s.replace('a', 'b')",
        "from phalanx.types import Update",
    ],
)
def test_the_reader_lets_types_and_other_copies_pass(code: str) -> None:
    assert list(detours("honest.py", ast.parse(code))) == []


def test_the_reader_sees_a_second_maker() -> None:
    tree = ast.parse("def shortcut(c):\n    return types.Approved(c, v)\nclass A:\n    def f(self): return Cohort()")
    assert list(makers("sneaky.py", tree)) == [("Approved", "sneaky.py:shortcut"), ("Cohort", "sneaky.py:A")]


# ----------------------------------------------------------------------------------------------------------------- mypy

PREAMBLE = """
from collections.abc import Sequence
from phalanx.aggregation import aggregate as run_rule
from phalanx.channel.envelope import Directory, Opened, Terms, accept, open_ballot, open_envelopes, open_update
from phalanx.channel.keys import RoundKey
from phalanx.gate import approve, judge, GatePolicy
from phalanx.learning.server import Sgd, step
from phalanx.release import publish, release_files
from phalanx.round.aggregator import aggregate_cohort
from phalanx.round.effects import Append, Corridor, Publish
from phalanx.rules import Chain
from phalanx.screening import ScreeningPolicy, screen
from phalanx.signing import SigningKey
from phalanx.types import *
from phalanx.venue import aggregate
"""
# One control each: its good use, and the same with what one has before the control.
TRANSITIONS = {
    "the size check": (
        "def {name}(raw: Sequence[bytes], sized: Sequence[SealedUpdate], t: Terms, k: RoundKey, d: Directory) -> None:",
        "open_envelopes({it}, t, k, d)",
        "sized",
        "raw",
    ),
    "opening and the signature": (
        "def {name}(sealed: SealedUpdate, opened: Opened) -> None:",
        "open_update({it})",
        "opened",
        "sealed",
    ),
    "opening before screening": (
        "def {name}(sealed: Sequence[SealedUpdate], updates: Sequence[Update], p: ScreeningPolicy, l: Layout, "
        "b: Binding, m: tuple[MemberId, ...], caps: dict[MemberId, float]) -> None:",
        "screen({it}, (), p, l, b, m, caps)",
        "updates",
        "sealed",
    ),
    "screening": (
        "def {name}(updates: Sequence[Update], cohort: Cohort, rule: Chain) -> None:",
        "aggregate({it}, rule, run_rule, None)",
        "cohort",
        "updates",
    ),
    "screening, in the round": (
        "def {name}(updates: list[Update], cohort: Cohort, rule: Chain, p: ScreeningPolicy) -> None:",
        "aggregate_cohort({it}, rule, p, None)",
        "cohort",
        "updates",
    ),
    "the venue": (
        "def {name}(cohort: Cohort, combined: Aggregate, model: F32, memory: F32) -> None:",
        "step({it}, model, Sgd(), memory)",
        "combined",
        "cohort",
    ),
    "the server's step": (
        "def {name}(combined: Aggregate, candidate: Candidate, verdict: Verdict) -> None:",
        "approve({it}, verdict)",
        "candidate",
        "combined",
    ),
    "the verdict": (
        "def {name}(candidate: Candidate, verdict: Verdict, ballots: dict[MemberId, Tally]) -> None:",
        "approve(candidate, {it})",
        "verdict",
        "ballots",
    ),
    "the gate": (
        "def {name}(candidate: Candidate, approved: Approved, c: Checkpoint, l: Layout, k: SigningKey) -> None:",
        "publish({it}, c, version=1, previous=0, layout=l, entry=0, key=k)",
        "approved",
        "candidate",
    ),
    "the log": (
        "def {name}(a: Approved, logged: Checkpoint, unlogged: Verdict, l: Layout, k: SigningKey) -> None:",
        "publish(a, {it}, version=1, previous=0, layout=l, entry=0, key=k)",
        "logged",
        "unlogged",
    ),
    "the signature of a release": (
        "def {name}(approved: Approved, release: Release) -> None:",
        "Publish({it})",
        "release",
        "approved",
    ),
    "reading a release's files": (
        "def {name}(candidate: Candidate, release: Release) -> None:",
        "release_files({it})",
        "release",
        "candidate",
    ),
    "waiting for an effect's answer": (
        "def {name}(a: Approved, logged: Checkpoint, asked: Append, l: Layout, k: SigningKey) -> None:",
        "publish(a, {it}, version=1, previous=0, layout=l, entry=0, key=k)",
        "logged",
        "asked",
    ),
}


def snippets() -> tuple[str, dict[int, str], dict[int, str]]:
    """The file for mypy; its good and its bad lines, each with the name of what they use or skip."""
    lines = PREAMBLE.splitlines()
    good: dict[int, str] = {}
    bad: dict[int, str] = {}
    for number, (control, (head, call, right, wrong)) in enumerate(TRANSITIONS.items()):
        for marked, given in ((good, right), (bad, wrong)):
            name = f"{'good' if marked is good else 'bad'}_{number}"
            lines += [head.format(name=name), f"    {call.format(it=given)}"]
            marked[len(lines)] = control
    return "\n".join(lines) + "\n", good, bad


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory) -> dict[int, set[str]]:
    """By line the codes of mypy's errors, from one process over all snippets."""
    folder = tmp_path_factory.mktemp("stages")
    (folder / "snippets.py").write_text(snippets()[0])
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--follow-imports=silent", "--no-pretty"]
    command += ["--show-error-codes", "--no-error-summary", "--cache-dir", str(folder / "cache"), "snippets.py"]
    environment = os.environ | {"MYPYPATH": str(SOURCES.parent)}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 1 and not result.stderr, result.stdout + result.stderr
    found: dict[int, set[str]] = {}
    for line, code in re.findall(r"^snippets\.py:(\d+): error: .*\[([a-z-]+)\]$", result.stdout, re.MULTILINE):
        found.setdefault(int(line), set()).add(code)
    return found


def test_what_skips_a_control_does_not_type_check(complaints: dict[int, set[str]]) -> None:
    _, _, bad = snippets()
    passed = [control for line, control in bad.items() if complaints.get(line) != {"arg-type"}]
    assert passed == []


def test_what_passes_every_control_type_checks(complaints: dict[int, set[str]]) -> None:
    """The off twin: without it, a snippet that fails for its own mistakes would count as a control that holds."""
    _, good, bad = snippets()
    assert complaints.keys() - bad.keys() == set()
    assert len(good) == len(bad) == len(TRANSITIONS)
