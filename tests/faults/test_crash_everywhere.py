"""A crash at every effect of every party, and at every write, loses nothing and does nothing twice.

What a crash leaves is what lies on the disk. So one undisturbed run is photographed at every event, and from every
image that differs from the others the run is resumed: crashes that leave the same bytes are the same crash.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from phalanx.audit import verify_run
from phalanx.config import parse
from phalanx.engine.driver import Watch, nobody_watches
from phalanx.errors import PhalanxError
from phalanx.learning import Trainer
from phalanx.round.effects import Effect, Keep
from phalanx.signing import fingerprint
from phalanx.store import EffectKey, RunStore, read_public
from phalanx.types import F32, MemberId, Tally
from tests.engine import tiny

EXAMPLE = {"unit": "example", "epsilon": 50.0, "clip_l2": 1.0, "normaliser": 7, "noise_multiplier": 1.0}
MEMBER = {"unit": "member", "epsilon": 50.0, "noise_multiplier": 1.0}
CLIPPED = {"rule": "mean", "pre": ["norm-clip"], "clip_l2": 1.0}
SHORT = {"rounds": 2, "max_refusals": 1}
CASES = {
    "example-privacy": tiny.tables(privacy=EXAMPLE),
    "central-privacy": tiny.tables(privacy=MEMBER, aggregation=CLIPPED),
    "gate-refuses": tiny.tables(run=SHORT),
    "each-answer-durable": tiny.tables(privacy=EXAMPLE, run={"rounds": 1}),  # so the crash may come between any two
    "all-with-memory": tiny.tables(  # at the server (Adam, a control variate), at members, and between them
        federation={"name": "tiny", "members": list(tiny.FIVE[:4])},
        selection={"policy": "uniform", "size": 3, "min_cohort": 3},
        server={"optimiser": "adam", "learning_rate": 0.1},
        learning=tiny.SCAFFOLD,
        gate={"ballot": "votes", "f": 1},
    ),
    "secret-cohorts": tiny.tables(privacy=MEMBER, aggregation=CLIPPED, selection={"policy": "poisson", "rate": 0.5}),
    "budget-stops": tiny.tables(privacy=EXAMPLE | {"epsilon": 5.0}),  # one round costs 4.4
}
ENDINGS = {"gate-refuses": "GateRefusal", "budget-stops": "BudgetExhausted"}


class Crash(BaseException):
    """The process ends here. Not an Exception: nothing on the way may catch it."""


class Refuse(tiny.Pull):
    """Finds every candidate much worse than what is there."""

    def evaluate(self, candidate: F32, incumbent: F32, state: F32 | None) -> Tally:
        return Tally((30, 0), (0, 0), (10, 10), (40, 10), True)


def _misdelivering(sender: MemberId, envelope: bytes) -> tuple[tuple[MemberId, bytes], ...]:
    """Who was heard before the crash is for the envelopes to say: m-1 must not be taken for one that has answered."""
    misled = ((tiny.MEMBERS[1], envelope),) if sender == tiny.MEMBERS[0] else ()
    return (*misled, (sender, envelope))


class Camera:
    """Keeps an image of a folder for every state in which it was seen. Without SQLite's index of its own log: a crash
    of the last process that had it open takes it along."""

    def __init__(self, place: Path) -> None:
        self.place, self.events = place, 0
        self.images: dict[tuple[tuple[str, bytes], ...], int] = {}

    def __call__(self, *_: object) -> None:
        files = (path for path in sorted(self.place.rglob("*")) if path.is_file() and not path.name.endswith("-shm"))
        image = tuple((str(path.relative_to(self.place)), path.read_bytes()) for path in files)
        self.images.setdefault(image, self.events)
        self.events += 1


def _develop(image: tuple[tuple[str, bytes], ...], place: Path) -> None:
    (place / "run" / "state").mkdir(parents=True, mode=0o700)
    for name, data in image:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)


def _around(real: Callable[..., Any], camera: Camera) -> Callable[..., Any]:
    def write(*args: Any, **kwargs: Any) -> Any:
        camera()
        result = real(*args, **kwargs)
        camera()
        return result

    return write


def _members(case: str, names: Sequence[MemberId]) -> dict[MemberId, Trainer]:
    if case == "gate-refuses":
        return {member: Refuse(pull.goal) for member, pull in tiny.pulls(names).items()}
    return tiny.corrected(names) if case == "all-with-memory" else tiny.trainers(names)


def _run(place: Path, case: str, watch: Watch = nobody_watches) -> tuple[bytes, dict[str, bytes], list[Any], str]:
    """The model, all that is published, the ledger with what opens the log, and how the run ended."""
    settings = parse(CASES[case])
    engine = tiny.engine(place / "run", settings, _members(case, settings.members))

    if case == "each-answer-durable":
        engine.courier = _misdelivering

    def watched(stage: str, key: EffectKey, effect: Effect[Any]) -> None:
        if case == "each-answer-durable":
            engine.store.commit()
        watch(stage, key, effect)

    engine.watch = watched
    ending = ""
    try:
        engine.run(tiny.INITIAL)
    except PhalanxError as error:
        ending = type(error).__name__
    model, openings = engine.model().tobytes(), engine.store.openings()
    tiny.close(engine)
    with sqlite3.connect(place / "ledger.db") as ledger:
        charges = ledger.execute("select key, reservation from charge order by key").fetchall()
    ledger.close()
    return model, read_public(place / "run"), [openings, *charges], ending


@pytest.mark.parametrize("case", CASES)
def test_a_crash_at_every_effect_and_every_write_changes_no_byte_of_what_is_published(
    case: str, memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera = Camera(memory_path / "undisturbed")
    camera.place.mkdir()
    with monkeypatch.context() as patched:
        for name in ("fsync", "replace", "unlink"):
            patched.setattr(os, name, _around(getattr(os, name), camera))
        patched.setattr(RunStore, "commit", _around(RunStore.commit, camera))
        undisturbed = _run(camera.place, case, camera)
    assert undisturbed[3] == ENDINGS.get(case, "")
    assert camera.events > 200
    assert len(camera.images) > 50
    verify_run(undisturbed[1], None, undisturbed[2][0])
    for number, (image, event) in enumerate(camera.images.items()):
        place = memory_path / f"crash-{number}"
        _develop(image, place)
        resumed = _run(place, case)
        ended = resumed[3] in (undisturbed[3], "PolicyError", "GateRefusal")  # a stopped run says so again
        assert ended, f"crash at event {event}"
        assert resumed[:3] == undisturbed[:3], f"crash at event {event}"  # each release, entry and charge once


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
