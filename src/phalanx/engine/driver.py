"""Drives parties' corridors: each effect is answered from the journal if it was answered before, else performed.

A crash loses what was not in the journal yet, and that is performed again under the same key: effects happen at least
once, and handlers make that once. An answer enters the journal before the party goes on, so that whatever a party did
with an answer, it does again with the same one.

Several parties can be driven side by side: each goes on until it asks for training, and then all are trained together.
What each does and journals is what it would do and journal alone.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any, Generic, Protocol, TypeVar

from phalanx.errors import ReplayDiverged
from phalanx.round.effects import Corridor, Effect, Train
from phalanx.store import EffectKey

T = TypeVar("T")
Watch = Callable[[str, EffectKey, Effect[Any]], None]


class Journal(Protocol):
    """Durable answers by effect key."""

    def recall(self, key: EffectKey) -> tuple[str, bytes] | None:
        """The question's hash and the answer, or None."""
        ...

    def record(self, key: EffectKey, question: bytes, answer: bytes) -> None:
        """Makes an answer durable."""
        ...

    def question_hash(self, key: EffectKey, question: bytes) -> str:
        """What `recall` gives as the question's hash."""
        ...


class Hands(Protocol):
    """One party's access to the world."""

    def perform(self, effect: Effect[Any], key: EffectKey) -> Any:
        """Does what is asked, once for each key, and answers."""
        ...

    def replayed(self, effect: Effect[Any], answer: Any) -> None:
        """Hears of an answer that came from the journal."""
        ...


def nobody_watches(stage: str, key: EffectKey, effect: Effect[Any]) -> None:
    """The default watch. Tests hand in one that crashes at a chosen stage of a chosen effect."""


@dataclass(frozen=True, slots=True)
class Raised:
    """What an effect raised in place of an answer. Not journalled: it is performed again on every replay."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Party(Generic[T]):
    """A corridor, the key of its first effect, and the hands that perform its effects."""

    corridor: Corridor[T]
    first: EffectKey
    hands: Hands


def drive(party: Party[T], journal: Journal | None, watch: Watch = nobody_watches) -> T:
    """What the party's corridor returns; errors of effects are raised inside it.

    An error of the journal is not: a party must not take a disk that is full for its own refusal. Raises
    ReplayDiverged where the journal holds the answer to another question: other code or another config.
    """
    steps = _steps(party, journal, watch)
    try:
        key, effect = next(steps)
        while True:
            key, effect = steps.send(_performed(party.hands, effect, key))
    except StopIteration as stop:
        result: T = stop.value
        return result


Together = Callable[[Mapping[EffectKey, Train]], Mapping[EffectKey, Any]]


def drive_together(
    parties: list[Party[T]], together: Together, journal: Journal | None, watch: Watch = nobody_watches
) -> list[T]:
    """What each corridor returns, as `drive` does one by one, but training is done for all that wait for it at once.

    `together` gives for each key its `Trained`, or `Raised` for the one member whose training failed.
    """
    running = {party.first: (party, _steps(party, journal, watch)) for party in parties}
    answers: dict[EffectKey, Any] = {}
    results: dict[EffectKey, T] = {}
    while running:
        waiting: dict[EffectKey, tuple[EffectKey, Train]] = {}  # by the party's first key
        for name, (party, steps) in list(running.items()):
            asked = _to_training(party, steps, answers.pop(name, None), results)
            if asked is None:
                del running[name]
            else:
                waiting[name] = asked
        if waiting:
            trained = together(dict(waiting.values()))
            answers = {name: trained[key] for name, (key, _) in waiting.items()}
    return [results[party.first] for party in parties]


_Steps = Generator[tuple[EffectKey, Effect[Any]], Any, T]


def _to_training(
    party: Party[T], steps: _Steps[T], answer: Any, results: dict[EffectKey, T]
) -> tuple[EffectKey, Train] | None:
    """The party's next training that nobody did yet; or None and its result in `results`."""
    try:
        key, effect = steps.send(answer)  # None starts a party: an answer to training never is None
        while not isinstance(effect, Train):
            key, effect = steps.send(_performed(party.hands, effect, key))
        return key, effect
    except StopIteration as stop:
        results[party.first] = stop.value
        return None


def _performed(hands: Hands, effect: Effect[Any], key: EffectKey) -> Any:
    try:
        return hands.perform(effect, key)
    except Exception as error:  # whatever it is, it belongs to the party that asked
        return Raised(error)


def _steps(party: Party[T], journal: Journal | None, watch: Watch) -> _Steps[T]:
    """Yields each effect that has to be performed and is sent its answer; the journal's are answered in here."""
    first, index = party.first, party.first.index
    corridor = party.corridor
    try:
        effect = next(corridor)
        while True:
            key = EffectKey(first.party, first.round, first.attempt, index)
            index += 1
            answer = yield from _answer(effect, key, party.hands, journal, watch)
            effect = corridor.throw(answer.error) if isinstance(answer, Raised) else corridor.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result


def _answer(
    effect: Effect[Any], key: EffectKey, hands: Hands, journal: Journal | None, watch: Watch
) -> Generator[tuple[EffectKey, Effect[Any]], Any, Any]:
    watch("asked", key, effect)
    if journal is None or not effect.journalled:
        answer, _ = _packed(effect, (yield key, effect))
        watch("performed", key, effect)
        return answer
    question = effect.question()
    known = journal.recall(key)
    if known is not None:
        if not compare_digest(known[0], journal.question_hash(key, question)):
            raise ReplayDiverged(f"effect {key} ({type(effect).__name__}) is not the one that was journalled")
        answer = effect.unpack(known[1])
        hands.replayed(effect, answer)
        return answer
    answer, packed = _packed(effect, (yield key, effect))
    watch("performed", key, effect)
    if not isinstance(answer, Raised):
        journal.record(key, question, packed)
        watch("recorded", key, effect)
    return answer


def _packed(effect: Effect[Any], answer: Any) -> tuple[Any, bytes]:
    """The answer and its bytes. An answer that cannot be packed, from a member's own code, is an error like others."""
    if isinstance(answer, Raised):
        return answer, b""
    try:
        return answer, effect.pack(answer)
    except Exception as error:
        return Raised(error), b""
