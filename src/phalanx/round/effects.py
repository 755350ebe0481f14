"""What a party asks of the world outside: the only way that a round does anything but compute.

A round is a generator of effects. It yields what it needs and is sent the answer; who drives it decides what that
means (in-process, replay from a journal, a network, a simulator). `answer = yield from Effect(...)` is typed: the
answer has the type that the effect declares, so a skipped stage does not type-check.

Each effect says how its question is named and how its answer is stored, so that a journal can compare the first with
what it answered before, and give back the second:

- `question()` are canonical bytes of everything that was asked. The journal keeps a keyed hash of it.
- `pack` and `unpack` turn the answer to bytes and back. The journal encrypts them under the round's key.
- `journalled = False` marks an effect that is performed again on every replay: an `Ask`, whose answer is nothing.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from phalanx.canonical import digest, encode, model_digest
from phalanx.types import (
    F32,
    Checkpoint,
    MemberId,
    Receipt,
    Release,
    Reservation,
    Tally,
    Trained,
    TrainTask,
)

T = TypeVar("T")


class Effect(Generic[T]):
    """One question to the world, with an answer of type T."""

    journalled: ClassVar[bool] = True

    def __iter__(self) -> Generator[Effect[Any], Any, T]:
        answer: T = yield self
        return answer

    def question(self) -> bytes:
        """Canonical bytes of all that is asked."""
        raise NotImplementedError

    def pack(self, answer: T) -> bytes:
        """The answer as bytes."""
        raise NotImplementedError

    def unpack(self, data: bytes) -> T:
        """The answer that `pack` wrote."""
        raise NotImplementedError


Corridor = Generator[Effect[Any], Any, T]


class _Nothing(Effect[None]):
    """An effect whose answer is that it was done."""

    def pack(self, answer: None) -> bytes:
        return b""

    def unpack(self, data: bytes) -> None:
        return None


class _Bytes(Effect[bytes]):
    """An effect that answers with bytes."""

    def pack(self, answer: bytes) -> bytes:
        return answer

    def unpack(self, data: bytes) -> bytes:
        return data


@dataclass(frozen=True)
class Now(Effect[int]):
    """Unix time in whole seconds."""

    def question(self) -> bytes:
        return b"now"

    def pack(self, answer: int) -> bytes:
        return str(answer).encode()

    def unpack(self, data: bytes) -> int:
        return int(data)


@dataclass(frozen=True)
class Draw(_Bytes):
    """`size` bytes of secret entropy, for one purpose."""

    purpose: str
    size: int

    def question(self) -> bytes:
        return encode(["draw", self.purpose, self.size])


@dataclass(frozen=True)
class Ask(_Nothing):
    """Starts a request to a member. Performed again after a crash, with the same bytes: members answer by its key."""

    journalled: ClassVar[bool] = False
    member: MemberId
    order: bytes

    def question(self) -> bytes:
        return encode(["ask", self.member]) + self.order


@dataclass(frozen=True)
class Answer:
    """Bytes that the courier delivered as `sender`'s. `declined` is a sentence where the member says no."""

    sender: MemberId
    envelope: bytes
    declined: str = ""


@dataclass(frozen=True)
class Receive(Effect[Answer | None]):
    """The next answer of any asked member, or None once `deadline` (unix seconds) has passed or nobody is left.

    Of an envelope longer than `limit` bytes the first `limit` + 1 are answered: enough to be refused for its size, and
    nobody can fill memory or journal with the rest.
    """

    deadline: int
    limit: int

    def question(self) -> bytes:
        return encode(["receive", self.deadline, self.limit])

    def pack(self, answer: Answer | None) -> bytes:
        if answer is None:
            return b""
        return encode([answer.sender, answer.declined]) + b"\n" + answer.envelope

    def unpack(self, data: bytes) -> Answer | None:
        if not data:
            return None
        head, _, envelope = data.partition(b"\n")
        sender, declined = json.loads(head)
        return Answer(MemberId(sender), envelope, declined)


@dataclass(frozen=True)
class Acknowledge(_Nothing):
    """Gives a member the receipt for its durable answer. A receipted answer is not lost."""

    member: MemberId
    receipt: str

    def question(self) -> bytes:
        return encode(["acknowledge", self.member, self.receipt])


@dataclass(frozen=True)
class Charge(Effect[Receipt]):
    """Makes a privacy charge durable, once whatever is repeated. Raises BudgetExhausted."""

    reservation: Reservation

    def question(self) -> bytes:
        return encode(["charge", asdict(self.reservation)])

    def pack(self, answer: Receipt) -> bytes:
        return encode(asdict(answer))

    def unpack(self, data: bytes) -> Receipt:
        return Receipt(**json.loads(data))


@dataclass(frozen=True)
class Train(Effect[Trained]):
    """The member's own training on its own data, from its own state."""

    model: F32
    task: TrainTask

    def question(self) -> bytes:
        privacy = None if self.task.privacy is None else asdict(self.task.privacy)
        control = None if self.task.control is None else model_digest(self.task.control)
        return encode(["train", model_digest(self.model), self.task.round, privacy, control]) + self.task.noise_key

    def pack(self, answer: Trained) -> bytes:
        delta = np.ascontiguousarray(answer.delta, dtype="<f4").tobytes()
        state = np.ascontiguousarray(answer.state, dtype="<f4").tobytes()
        return encode([answer.examples, len(delta)]) + b"\n" + delta + state

    def unpack(self, data: bytes) -> Trained:
        head, _, body = data.partition(b"\n")
        examples, size = json.loads(head)
        vector = np.frombuffer(body, dtype="<f4").astype(np.float32)
        return Trained(delta=vector[: size // 4], examples=examples, state=vector[size // 4 :])


@dataclass(frozen=True)
class Cast(Effect[str]):
    """Makes durable that a member votes by this order in this attempt. The answer names the first order that it did."""

    round: int
    attempt: int
    order: str

    def question(self) -> bytes:
        return encode(["cast", self.round, self.attempt, self.order])

    def pack(self, answer: str) -> bytes:
        return answer.encode()

    def unpack(self, data: bytes) -> str:
        return data.decode()


@dataclass(frozen=True)
class Evaluate(Effect[Tally | None]):
    """Candidate beside incumbent on the party's own held-out data. None where it holds none."""

    candidate: F32
    incumbent: F32

    def question(self) -> bytes:
        return encode(["evaluate", model_digest(self.candidate), model_digest(self.incumbent)])

    def pack(self, answer: Tally | None) -> bytes:
        if answer is None:
            return b""
        return encode({one.name: getattr(answer, one.name) for one in fields(answer)})

    def unpack(self, data: bytes) -> Tally | None:
        if not data:
            return None
        held = json.loads(data)
        counts = {name: tuple(held[name]) for name in ("worse", "better", "right", "total")}
        return Tally(**counts, finite=held["finite"])


@dataclass(frozen=True)
class Seal(_Bytes):
    """Encrypts to a round key. An effect because it draws entropy that must never be drawn twice the same."""

    plaintext: bytes = field(repr=False)
    recipient: str
    info: bytes

    def question(self) -> bytes:
        return encode(["seal", self.recipient, self.info.hex()]) + self.plaintext


@dataclass(frozen=True)
class Append(Effect[Checkpoint]):
    """Makes log entries durable, and answers with the signed checkpoint over them. Raises LogUnavailable."""

    entries: tuple[dict[str, Any], ...]

    def question(self) -> bytes:
        return encode(["append", list(self.entries)])

    def pack(self, answer: Checkpoint) -> bytes:
        return encode([answer.origin, answer.size, answer.root]) + b"\n" + answer.note

    def unpack(self, data: bytes) -> Checkpoint:
        head, _, note = data.partition(b"\n")
        origin, size, root = json.loads(head)
        return Checkpoint(origin, size, root, note)


@dataclass(frozen=True)
class Keep(_Nothing):
    """Makes a model durable under its hash before anything about it is visible: it is never computed again.

    The question has the hash alone: it names the model.
    """

    digest: str
    model: F32

    def question(self) -> bytes:
        return encode(["keep", self.digest])


@dataclass(frozen=True)
class KeepOpening(_Nothing):
    """Makes durable what opens a sealed log entry, before the entry is in the log. It stays secret."""

    opening: bytes = field(repr=False)

    def question(self) -> bytes:
        return b"keep-opening" + self.opening


@dataclass(frozen=True)
class Publish(_Nothing):
    """Puts a signed release where everybody can fetch it. The same version twice has the same bytes, or is refused."""

    release: Release

    def question(self) -> bytes:
        one = self.release
        return encode(["publish", one.version, one.signature, digest("file", one.model), digest("file", one.manifest)])
