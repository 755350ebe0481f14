"""Driving a corridor: what was answered before is answered again, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pytest

from phalanx.engine.driver import Party, drive
from phalanx.errors import BudgetExhausted, IntegrityError, LogUnavailable, ReplayDiverged
from phalanx.round import effects
from phalanx.round.effects import (
    Acknowledge,
    Answer,
    Append,
    Ask,
    Cast,
    Charge,
    Corridor,
    Draw,
    Effect,
    Evaluate,
    Keep,
    KeepOpening,
    Now,
    Publish,
    Receive,
    Seal,
    Train,
)
from phalanx.store import EffectKey
from phalanx.types import (
    Checkpoint,
    ExamplePrivacy,
    MemberId,
    Receipt,
    Release,
    Reservation,
    Tally,
    Trained,
    TrainTask,
)

FIRST = EffectKey("coordinator", 1, 1, 0)


class Paper:
    """A journal in memory."""

    def __init__(self) -> None:
        self.entries: dict[EffectKey, tuple[str, bytes]] = {}

    def recall(self, key: EffectKey) -> tuple[str, bytes] | None:
        return self.entries.get(key)

    def record(self, key: EffectKey, question: bytes, answer: bytes) -> None:
        self.entries[key] = (self.question_hash(key, question), answer)

    def question_hash(self, key: EffectKey, question: bytes) -> str:
        return question.hex()


class Counting:
    """Hands that answer `Draw` with a number that never comes again."""

    def __init__(self, start: int = 0) -> None:
        self.next, self.performed, self.heard = start, [], []  # type: ignore[var-annotated]

    def perform(self, effect: Effect[Any], key: EffectKey) -> Any:
        self.performed.append((type(effect), key.index))
        if isinstance(effect, Charge):
            raise BudgetExhausted("no more")
        self.next += 1
        return self.next.to_bytes(2, "big") if isinstance(effect, Draw) else None

    def replayed(self, effect: Effect[Any], answer: Any) -> None:
        self.heard.append(answer)


def two_draws() -> Corridor[list[bytes]]:
    yield from Ask(MemberId("m"), b"order")
    first = yield from Draw("nonce", 2)
    second = yield from Draw("key", 2)
    return [first, second]


def test_a_replay_gives_what_was_recorded_and_draws_nothing_again() -> None:
    journal = Paper()
    first = drive(Party(two_draws(), FIRST, Counting()), journal)
    again = Counting(start=1000)
    assert drive(Party(two_draws(), FIRST, again), journal) == first
    assert again.heard == first
    assert again.performed == [(Ask, 0)]  # not journalled: it starts something, and starting it twice does no harm


def test_a_crash_between_two_effects_keeps_the_first_and_performs_the_second() -> None:
    journal = Paper()
    first = drive(Party(two_draws(), FIRST, Counting()), journal)
    del journal.entries[EffectKey("coordinator", 1, 1, 2)]
    hands = Counting(start=1000)
    resumed = drive(Party(two_draws(), FIRST, hands), journal)
    assert resumed[0] == first[0]
    assert hands.performed == [(Ask, 0), (Draw, 2)]


def test_off_twin_without_a_journal_a_replay_draws_again() -> None:
    assert drive(Party(two_draws(), FIRST, Counting()), None) != drive(
        Party(two_draws(), FIRST, Counting(start=1000)), None
    )


@pytest.mark.parametrize("other", [Draw("nonce", 3), Draw("other", 2), Now(), Receive(5, 100)])
def test_another_question_under_a_key_that_was_answered_is_divergence(other: Effect[Any]) -> None:
    def changed() -> Corridor[Any]:
        yield from Ask(MemberId("m"), b"order")
        return (yield from other)

    journal, hands = Paper(), Counting()
    drive(Party(two_draws(), FIRST, hands), journal)
    performed = len(hands.performed)
    with pytest.raises(ReplayDiverged, match="coordinator/1/1/1"):
        drive(Party(changed(), FIRST, hands), journal)
    assert len(hands.performed) == performed + 1  # the Ask before it; nothing after


def test_an_error_of_an_effect_is_raised_inside_the_corridor_and_not_journalled() -> None:
    def careful() -> Corridor[str]:
        try:
            yield from Charge(RESERVATION)
        except BudgetExhausted as error:
            yield from Draw("after", 2)
            return f"caught: {error}"
        return "charged"

    journal = Paper()
    assert drive(Party(careful(), FIRST, Counting()), journal) == "caught: no more"
    assert [key.index for key in journal.entries] == [1]  # so the charge is asked for again on every replay
    again = Counting()
    assert drive(Party(careful(), FIRST, again), journal) == "caught: no more"
    assert again.performed == [(Charge, 0)]


def test_an_error_that_nobody_in_the_corridor_catches_comes_out_of_it() -> None:
    def careless() -> Corridor[Receipt]:
        return (yield from Charge(RESERVATION))

    with pytest.raises(BudgetExhausted):
        drive(Party(careless(), FIRST, Counting()), Paper())


@pytest.mark.parametrize("error", [ValueError("text of a member's code"), StopIteration(), MemoryError()])
def test_what_a_members_own_code_raises_is_raised_inside_its_corridor(error: Exception) -> None:
    class Failing(Counting):
        def perform(self, effect: Effect[Any], key: EffectKey) -> Any:
            raise error

    def declining() -> Corridor[str]:
        try:
            yield from Draw("x", 1)
        except Exception as caught:
            return type(caught).__name__
        return "answered"

    names = {type(error).__name__, "RuntimeError"}  # PEP 479 makes a StopIteration of it
    assert drive(Party(declining(), FIRST, Failing()), Paper()) in names


def test_an_answer_that_cannot_be_packed_is_the_partys_error_and_not_ours() -> None:
    class Junk(Counting):
        def perform(self, effect: Effect[Any], key: EffectKey) -> Any:
            return Trained(delta=object(), examples=1, state=np.zeros(1, np.float32))  # type: ignore[arg-type]

    def declining() -> Corridor[str]:
        try:
            yield from Train(np.zeros(1, np.float32), TrainTask(1, None))
        except Exception:
            return "declined"
        return "answered"

    for journal in (Paper(), None):
        assert drive(Party(declining(), FIRST, Junk()), journal) == "declined"


@pytest.mark.parametrize("stage", ["recall", "record"])
def test_an_error_of_the_journal_does_not_enter_the_corridor(stage: str) -> None:
    """A party that could catch it would take a full disk for a refusal of its own, and send that."""

    class Full(Paper):
        def recall(self, key: EffectKey) -> tuple[str, bytes] | None:
            if stage == "recall":
                raise IntegrityError("changed")
            return super().recall(key)

        def record(self, key: EffectKey, question: bytes, answer: bytes) -> None:
            raise LogUnavailable("full")

    def swallowing() -> Corridor[str]:
        try:
            yield from Draw("x", 1)
        except Exception:
            return "swallowed"
        return "answered"

    with pytest.raises(IntegrityError if stage == "recall" else LogUnavailable):
        drive(Party(swallowing(), FIRST, Counting()), Full())


# ------------------------------------------------------------------------------------------------ every kind of effect

RESERVATION = Reservation("run/1/1/m", "m", "example", 1.5, 8.0, 1e-5)
A, B = np.array([1.5, -0.0, 3e38], np.float32), np.array([2.0, 1e-45, np.inf], np.float32)
PRIVACY = ExamplePrivacy(1.0, 1.1, 10, 8.0, 1e-5)
TASK = TrainTask(3, PRIVACY, bytes(range(32)))
RELEASE = Release(2, b"model", b"{}", "00" * 64)


@dataclass(frozen=True)
class Kind:
    """One kind of effect: an example, answers that it may get, and for each field another value."""

    effect: Effect[Any]
    answers: tuple[Any, ...]
    others: dict[str, Any]


ANSWERS = (None, Answer(MemberId("m"), b"\n\x00{"), Answer(MemberId("m"), b"", "no\nthanks ε"))
TALLIES = (None, Tally((1, 2), (3, 4), (5, 6), (9, 9), True), Tally((), (), (), (), False))
KINDS = (
    Kind(Now(), (0, 1_700_000_000), {}),
    Kind(Draw("nonce", 16), (b"", b"\x00" * 16), {"purpose": "key", "size": 17}),
    Kind(Ask(MemberId("m"), b"order"), (None,), {"member": MemberId("n"), "order": b"other"}),
    Kind(Receive(5, 100), ANSWERS, {"deadline": 6, "limit": 99}),
    Kind(Acknowledge(MemberId("m"), "aa"), (None,), {"member": MemberId("n"), "receipt": "bb"}),
    Kind(Charge(RESERVATION), (Receipt("k", 3, 1.25),), {"reservation": replace(RESERVATION, noise_multiplier=1.4)}),
    Kind(Train(A, TASK), (Trained(A, 7, B), Trained(B, -1, B[:0])), {"model": B, "task": replace(TASK, round=4)}),
    Kind(Cast(3, 1, "aa"), ("aa", "bb"), {"round": 4, "attempt": 2, "order": "bb"}),
    Kind(Evaluate(A, B), TALLIES, {"candidate": B, "incumbent": A}),
    Kind(Seal(b"plain", "aa", b"info"), (b"\x00sealed",), {"plaintext": b"x", "recipient": "bb", "info": b"other"}),
    Kind(Append(({"kind": "finished"},)), (Checkpoint("o", 3, "ab", b"note\n\n"),), {"entries": ({"kind": "x"},)}),
    Kind(Keep("aa", A), (None,), {"digest": "bb", "model": None}),
    Kind(KeepOpening(b"one"), (None,), {"opening": b"other"}),
    Kind(Publish(RELEASE), (None,), {"release": replace(RELEASE, version=3)}),
)


def _concrete(kind: type[Any]) -> Iterator[type[Any]]:
    """The effects that can be asked for. Generic classes make further ones when they are given a type."""
    one: type[Any]
    for one in kind.__subclasses__():
        if not one.__name__.startswith("_") and one.__module__ == effects.__name__:
            yield one
        yield from _concrete(one)


def test_no_effect_is_forgotten_here() -> None:
    assert {type(kind.effect) for kind in KINDS} == set(_concrete(Effect))
    for kind in KINDS:
        assert set(kind.others) == {field.name for field in fields(kind.effect)}  # type: ignore[arg-type]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Trained):
        vectors = (one.delta.tobytes(), one.state.tobytes(), one.examples)
        return vectors == (other.delta.tobytes(), other.state.tobytes(), other.examples)
    return type(one) is type(other) and bool(one == other)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: type(kind.effect).__name__)
def test_every_answer_comes_back_from_its_bytes_as_it_was(kind: Kind) -> None:
    for answer in kind.answers:
        packed = kind.effect.pack(answer)
        assert isinstance(packed, bytes)
        assert _same(kind.effect.unpack(packed), answer)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: type(kind.effect).__name__)
def test_questions_differ_when_any_field_differs(kind: Kind) -> None:
    questions = {kind.effect.question()}
    named = {name: value for name, value in kind.others.items() if value is not None}  # a model is named by its hash
    for name, value in named.items():
        questions.add(replace(kind.effect, **{name: value}).question())  # type: ignore[type-var]
    assert len(questions) == 1 + len(named)


def test_questions_of_two_kinds_of_effects_differ() -> None:
    assert len({kind.effect.question() for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize(
    "change",
    [{"round": 4}, {"noise_key": bytes(32)}, {"privacy": None}, {"privacy": replace(PRIVACY, noise_multiplier=0.1)}],
)
def test_the_question_of_training_covers_all_of_its_task(change: dict[str, Any]) -> None:
    assert Train(A, TASK).question() != Train(A, replace(TASK, **change)).question()


@pytest.mark.parametrize(
    "change",
    [{"version": 3}, {"model": b"other"}, {"manifest": b"[]"}, {"signature": "11" * 64}],
)
def test_the_question_of_publishing_covers_all_of_the_release(change: dict[str, Any]) -> None:
    assert Publish(RELEASE).question() != Publish(replace(RELEASE, **change)).question()


@pytest.mark.parametrize("name", ["key", "dataset", "unit", "noise_multiplier", "epsilon_budget", "delta"])
def test_the_question_of_a_charge_covers_all_of_the_reservation(name: str) -> None:
    held = getattr(RESERVATION, name)
    changed: dict[str, Any] = {name: f"{held}x" if isinstance(held, str) else held * 2}
    other = replace(RESERVATION, **changed)
    assert Charge(RESERVATION).question() != Charge(other).question()
