"""Drives one party's corridor: each effect is answered from the journal if it was answered before, else performed.

A crash loses what was not in the journal yet, and that is performed again under the same key: effects happen at least
once, and handlers make that once. An answer enters the journal before the party goes on, so that whatever a party did
with an answer, it does again with the same one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any, Protocol, TypeVar

from phalanx.errors import ReplayDiverged
from phalanx.round.effects import Corridor, Effect
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


def drive(
    corridor: Corridor[T], first: EffectKey, hands: Hands, journal: Journal | None, watch: Watch = nobody_watches
) -> T:
    """What the corridor returns. `first` is the key of its first effect; errors of effects are raised inside it.

    An error of the journal is not: a party must not take a disk that is full for its own refusal. Raises
    ReplayDiverged where the journal holds the answer to another question: other code or another config.
    """
    index = first.index
    try:
        effect = next(corridor)
        while True:
            key = EffectKey(first.party, first.round, first.attempt, index)
            index += 1
            answer = _answer(effect, key, hands, journal, watch)
            effect = corridor.throw(answer.error) if isinstance(answer, _Raised) else corridor.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result


@dataclass(frozen=True, slots=True)
class _Raised:
    """What an effect raised in place of an answer. Not journalled: it is performed again on every replay."""

    error: Exception


def _answer(effect: Effect[Any], key: EffectKey, hands: Hands, journal: Journal | None, watch: Watch) -> Any:
    watch("asked", key, effect)
    if journal is None or not effect.journalled:
        answer, _ = _perform(effect, key, hands)
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
    answer, packed = _perform(effect, key, hands)
    watch("performed", key, effect)
    if not isinstance(answer, _Raised):
        journal.record(key, question, packed)
        watch("recorded", key, effect)
    return answer


def _perform(effect: Effect[Any], key: EffectKey, hands: Hands) -> tuple[Any, bytes]:
    """The answer and its bytes. An answer that cannot be packed, from a member's own code, is an error like others."""
    try:
        answer = hands.perform(effect, key)
        return answer, effect.pack(answer)
    except Exception as error:  # whatever it is, it belongs to the party that asked
        return _Raised(error), b""
