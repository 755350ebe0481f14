"""Members that train side by side: what each does and journals is what it would do and journal alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from phalanx.engine import inprocess
from phalanx.engine.driver import Party, Raised, drive, drive_together
from phalanx.engine.inprocess import InProcess, one_by_one
from phalanx.errors import IntegrityError, LogUnavailable, QuorumError
from phalanx.round.effects import Corridor, Draw, Effect, Train
from phalanx.store import EffectKey, RunStore
from phalanx.types import F32, MemberId, Reason, Trained, TrainTask
from tests.engine import tiny
from tests.engine.test_driver import Counting, Paper

M2 = tiny.FIVE[2]
START = np.zeros(2, np.float32)
Asked = Mapping[EffectKey, Train]


def member(trainings: int) -> Corridor[list[Any]]:
    """Draws, trains so often, and draws again; a training that fails is its own affair."""
    found: list[Any] = [(yield from Draw("before", 2))]
    for number in range(trainings):
        try:
            trained = yield from Train(START, TrainTask(number + 1, None))
            found.append(trained.examples)
        except ValueError as error:
            found.append(str(error))
    found.append((yield from Draw("after", 2)))
    return found


def parties(*trainings: int) -> list[Party[list[Any]]]:
    return [Party(member(count), EffectKey(f"m-{i}", 1, 1, 0), Counting(100 * i)) for i, count in enumerate(trainings)]


def trained(key: EffectKey) -> Trained:
    """A training whose result tells which it was."""
    return Trained(START, 10 * key.index + int(key.party[2:]), START)


class Room:
    """Trains all that are asked at once, and notes who they were. Raises or gives `Raised` where it is told to."""

    def __init__(self, failing: str = "") -> None:
        self.failing, self.asked = failing, list[set[str]]()

    def __call__(self, asked: Asked) -> Mapping[EffectKey, Trained | Raised]:
        self.asked.append({key.party for key in asked})
        return {key: self._one(key) for key in asked}

    def _one(self, key: EffectKey) -> Trained | Raised:
        return Raised(ValueError("no")) if key.party == self.failing else trained(key)


class Alone(Counting):
    """The hands of a member that trains by itself."""

    def perform(self, effect: Effect[Any], key: EffectKey) -> Any:
        return trained(key) if isinstance(effect, Train) else super().perform(effect, key)


def test_members_side_by_side_return_and_journal_what_they_would_alone() -> None:
    alone, together = Paper(), Paper()
    one_by_one = [
        drive(Party(member(count), EffectKey(f"m-{i}", 1, 1, 0), Alone(100 * i)), alone)
        for i, count in enumerate((1, 2, 0))
    ]
    assert drive_together(parties(1, 2, 0), Room(), together) == one_by_one
    assert together.entries == alone.entries


def test_all_trainings_that_wait_are_done_in_one_call() -> None:
    room = Room()
    drive_together(parties(1, 2, 0, 1), room, Paper())
    assert room.asked == [{"m-0", "m-1", "m-3"}, {"m-1"}]


def test_a_training_that_fails_is_raised_in_its_own_corridor_alone_and_is_not_journalled() -> None:
    journal, undisturbed = Paper(), Paper()
    expected = drive_together(parties(1, 1, 1), Room(), undisturbed)
    found = drive_together(parties(1, 1, 1), Room(failing="m-1"), journal)
    assert [found[0], found[2]] == [expected[0], expected[2]]
    assert found[1] == [expected[1][0], "no", expected[1][2]]
    (missing,) = undisturbed.entries.keys() - journal.entries.keys()
    assert missing == EffectKey("m-1", 1, 1, 1)


def test_after_a_crash_only_those_train_whose_training_is_not_in_the_journal() -> None:
    journal, room = Paper(), Room()
    first = drive_together(parties(1, 1, 1), Room(), journal)
    del journal.entries[EffectKey("m-1", 1, 1, 1)]
    assert drive_together(parties(1, 1, 1), room, journal) == first
    assert room.asked == [{"m-1"}]


@pytest.mark.parametrize("stage", ["asked", "performed", "recorded"])
def test_a_crash_at_any_members_training_loses_what_was_not_journalled_and_nothing_else(stage: str) -> None:
    class Crash(BaseException):
        pass

    def crash(at: str, key: EffectKey, effect: Effect[Any]) -> None:
        if (at, key.party) == (stage, "m-1") and isinstance(effect, Train):
            raise Crash

    expected, journal = drive_together(parties(1, 1, 1), Room(), Paper()), Paper()
    with pytest.raises(Crash):
        drive_together(parties(1, 1, 1), Room(), journal, crash)
    room = Room()
    # what was drawn and recorded before the crash is not drawn again, though these hands would draw otherwise
    resumed = [replace(party, hands=Counting(5000)) for party in parties(1, 1, 1)]
    found = drive_together(resumed, room, journal)
    held = {"asked": {"m-0", "m-1", "m-2"}, "performed": {"m-1", "m-2"}, "recorded": {"m-2"}}[stage]
    assert room.asked == [held]
    assert [one[1] for one in found] == [one[1] for one in expected]
    assert found[0][0] == expected[0][0]


def test_a_full_disk_ends_all_of_them_and_is_nobodys_own_refusal() -> None:
    class Full(Paper):
        def record(self, key: EffectKey, question: bytes, answer: bytes) -> None:
            if key.index == 1:
                raise LogUnavailable("full")
            super().record(key, question, answer)

    with pytest.raises(LogUnavailable):
        drive_together(parties(1, 1), Room(), Full())


# -------------------------------------------------------------------------------------------------- in the whole engine


class Failing(tiny.Pull):
    """Its own code does not work."""

    def train(self, model: F32, task: TrainTask, state: F32 | None) -> Trained:
        raise LookupError("patient 4711 has no label")


class Stateless(tiny.Pull):
    """Gives something as its state that cannot be kept."""

    def train(self, model: F32, task: TrainTask, state: F32 | None) -> Trained:
        return replace(super().train(model, task, None), state="none")  # type: ignore[arg-type]


def run_of(m_2: tiny.Pull | None = None, change: Callable[[InProcess], None] = lambda engine: None) -> InProcess:
    others = {} if m_2 is None else {"m_2": m_2}
    engine = tiny.engine(None, tiny.five(), tiny.trainers(tiny.FIVE, **others))
    change(engine)
    engine.run(tiny.INITIAL)
    assert tiny.verified(engine).finished
    return engine


def updates(engine: InProcess) -> list[dict[str, Any]]:
    """The signed updates of all but m-2, round by round: their receipts hash what was sent."""
    return [row for entry in tiny.logged(engine, "updates") for row in entry["updates"] if row["member"] != M2]


def changed_state(patch: pytest.MonkeyPatch) -> None:
    real = RunStore.member_state

    def member_state(store: RunStore, name: str, number: int, key: bytes) -> bytes | None:
        if name == M2:
            raise IntegrityError("the state was changed")
        return real(store, name, number, key)

    patch.setattr(RunStore, "member_state", member_state)


@pytest.fixture(scope="module")
def without_m2() -> InProcess:
    """The run in which m-2's floor keeps it from training."""

    def strict(engine: InProcess) -> None:
        side = engine.members[M2]
        floor = replace(side.membership.floor, refused_rules=("trimmed-mean",))
        mine = replace(side, membership=replace(side.membership, floor=floor))
        engine.members = {**engine.members, M2: mine}

    return run_of(change=strict)


GOAL = tiny.pulls(tiny.FIVE)[M2].goal


@pytest.mark.parametrize("way", ["its code", "the state that it gives", "the state that it had"])
def test_one_member_whose_training_fails_declines_alone_and_the_others_updates_are_unchanged(
    way: str, without_m2: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "the state that it had":
        changed_state(monkeypatch)
    engine = run_of({"its code": Failing(GOAL), "the state that it gives": Stateless(GOAL)}.get(way))
    assert tiny.refused(engine) == [(M2, Reason.DECLINED)]
    assert len(updates(engine)) == 2 * 4
    assert updates(engine) == updates(without_m2)
    assert engine.model().tobytes() == without_m2.model().tobytes()


def test_off_twin_if_what_fails_together_were_not_tried_alone_one_member_would_end_the_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inprocess, "_alone", lambda job: Raised(LookupError("some member's")))
    with pytest.raises(QuorumError, match="found 0"):
        run_of(Failing(GOAL))


def test_training_side_by_side_or_one_by_one_publishes_the_same_bytes() -> None:
    def alone(engine: InProcess) -> None:
        engine.train_together = one_by_one

    assert tiny.published(run_of()) == tiny.published(run_of(change=alone))


def test_all_members_of_a_round_are_trained_in_one_call() -> None:
    calls: list[list[MemberId]] = []

    def noting(engine: InProcess) -> None:
        names = {id(side.trainer): name for name, side in engine.members.items()}

        def together(jobs: Any) -> list[Trained]:
            calls.append([names[id(job.trainer)] for job in jobs])
            return one_by_one(jobs)

        engine.train_together = together

    run_of(change=noting)
    assert calls == [list(tiny.FIVE)] * 2
