"""A crash at every effect of every party, and at every write, loses nothing and does nothing twice."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phalanx.audit import verify_run
from phalanx.config import parse
from phalanx.errors import PhalanxError
from phalanx.round.effects import Effect, Keep
from phalanx.signing import fingerprint
from phalanx.store import EffectKey, RunStore, read_public
from phalanx.types import F32
from tests.engine import tiny

EXAMPLE = {"unit": "example", "epsilon": 50.0, "clip_l2": 1.0, "normaliser": 7, "noise_multiplier": 1.0}
MEMBER = {"unit": "member", "epsilon": 50.0, "noise_multiplier": 1.0}
CLIPPED = {"rule": "mean", "pre": ["norm-clip"], "clip_l2": 1.0}
CASES = {
    "example-privacy": tiny.tables(privacy=EXAMPLE),
    "central-privacy": tiny.tables(privacy=MEMBER, aggregation=CLIPPED),
}


class Crash(BaseException):
    """The process ends here. Not an Exception: nothing on the way may catch it."""


class CrashAt:
    """Counts events and crashes at the n-th; at none where n is None."""

    def __init__(self, n: int | None) -> None:
        self.n, self.count = n, 0

    def __call__(self, *_: object) -> None:
        self.count += 1
        if self.count - 1 == self.n:
            raise Crash


def _run(root: Path, case: str, watch: Callable[[str, EffectKey, Effect[Any]], None]) -> tuple[F32, dict[str, bytes]]:
    engine = tiny.engine(root, parse(CASES[case]), watch=watch)
    try:
        engine.run(tiny.INITIAL)
        return engine.model(), read_public(root)
    finally:
        tiny.close(engine)


def _charges(root: Path) -> int:
    import sqlite3

    with sqlite3.connect(root.parent / "ledger.db") as ledger:
        return int(ledger.execute("select count(*) from charge").fetchone()[0])


def _place(path: Path, name: str) -> Path:
    (path / name).mkdir()
    return path / name / "run"


@pytest.mark.parametrize("case", CASES)
def test_a_crash_at_every_effect_changes_no_byte_of_what_is_published(case: str, memory_path: Path) -> None:
    events = CrashAt(None)
    undisturbed = _place(memory_path, "undisturbed")
    model, public = _run(undisturbed, case, events)
    assert events.count > 100
    for n in range(events.count):
        root = _place(memory_path, f"crash-{n}")
        with pytest.raises(Crash):
            _run(root, case, CrashAt(n))
        resumed, published = _run(root, case, CrashAt(None))
        assert resumed.tobytes() == model.tobytes(), f"crash at event {n}"
        assert published == public, f"crash at event {n}"  # log, checkpoint and releases: once each, the same bytes
        assert _charges(root) == _charges(undisturbed), f"crash at event {n}"


def _writes_of(monkeypatch: pytest.MonkeyPatch, crash: CrashAt) -> None:
    """Lets `crash` see every sync, rename and commit: before it happens, and after."""

    def around(real: Callable[..., Any]) -> Callable[..., Any]:
        def write(*args: Any, **kwargs: Any) -> Any:
            crash()
            result = real(*args, **kwargs)
            crash()
            return result

        return write

    monkeypatch.setattr(os, "fsync", around(os.fsync))
    monkeypatch.setattr(os, "replace", around(os.replace))
    monkeypatch.setattr(RunStore, "commit", around(RunStore.commit))


@pytest.mark.parametrize("case", CASES)
def test_a_crash_before_and_after_every_write_changes_no_byte_of_what_is_published(
    case: str, memory_path: Path
) -> None:
    undisturbed = _place(memory_path, "undisturbed")
    model, public = _run(undisturbed, case, CrashAt(None))
    events = CrashAt(None)
    with pytest.MonkeyPatch.context() as patched:
        _writes_of(patched, events)
        _run(_place(memory_path, "counted"), case, CrashAt(None))
    assert events.count > 100
    for n in range(events.count):
        root = _place(memory_path, f"crash-{n}")
        with pytest.MonkeyPatch.context() as patched:
            _writes_of(patched, CrashAt(n))
            with pytest.raises(Crash):
                _run(root, case, CrashAt(None))
        resumed, published = _run(root, case, CrashAt(None))
        assert resumed.tobytes() == model.tobytes(), f"crash at write {n}"
        assert published == public, f"crash at write {n}"
        assert _charges(root) == _charges(undisturbed), f"crash at write {n}"


def test_the_undisturbed_run_verifies(memory_path: Path) -> None:
    engine = tiny.engine(memory_path / "run", parse(CASES["example-privacy"]))
    engine.run(tiny.INITIAL)
    result = verify_run(read_public(memory_path / "run"), fingerprint(engine.plan.operator.public))
    tiny.close(engine)
    assert result.finished
    assert (result.rounds, result.version) == (2, 2)


@pytest.mark.parametrize("journal", [True, False])
def test_without_the_journal_a_crash_leaves_a_run_that_does_not_verify(journal: bool, memory_path: Path) -> None:
    """The off twin: what was drawn before the crash is drawn again, and no longer fits what the log already says."""

    def crash(stage: str, key: EffectKey, effect: Effect[Any]) -> None:
        if (key.round, stage) == (1, "performed") and isinstance(effect, Keep):
            raise Crash

    settings = parse(CASES["example-privacy"])
    first = tiny.engine(memory_path / "run", settings, watch=crash)
    first.journal = journal
    with pytest.raises(Crash):
        first.run(tiny.INITIAL)
    tiny.close(first)
    second = tiny.engine(memory_path / "run", settings, seed=1)  # as in production: entropy does not repeat itself
    second.journal = journal
    if journal:
        second.run(tiny.INITIAL)
        verify_run(read_public(memory_path / "run"), None)
    else:
        with pytest.raises(PhalanxError):
            second.run(tiny.INITIAL)
            verify_run(read_public(memory_path / "run"), None)
    tiny.close(second)
