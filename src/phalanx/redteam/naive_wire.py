"""The off twin of sealed rounds: federated averaging over an open wire, as short as it can be written.

    message = length(4) ‖ the member's name ‖ its update as little-endian float32

No seal, no signature, no rule, no gate. The receiver believes the name, the last message of a name wins, and whatever
has the right length is averaged.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from phalanx.attacks.malformed import Malformed
from phalanx.federation.module import users_code
from phalanx.learning import Job, LocalTrainer
from phalanx.redteam.lab import Lab
from phalanx.redteam.remembering import Remembering
from phalanx.redteam.wire import Counting, Played, Trick
from phalanx.types import F32, MemberId, TrainTask

STEER = np.float32(1.0)  # what a forged update says of every parameter


def message(name: str, payload: bytes) -> bytes:
    """A member's message."""
    return len(name.encode()).to_bytes(4, "big") + name.encode() + payload


def averaged(messages: Iterable[bytes], d: int) -> tuple[F32, tuple[str, ...]]:
    """The mean (d,) of the last update of each name, zeros where there is none, and the names."""
    updates: dict[str, F32] = {}
    for one in messages:
        end = 4 + int.from_bytes(one[:4], "big")
        if len(one) - end == 4 * d:
            updates[one[4:end].decode(errors="replace")] = np.frombuffer(one[end:], "<f4")
    if not updates:
        return np.zeros(d, np.float32), ()
    names = tuple(sorted(updates))  # whatever the order of arrival
    with np.errstate(all="ignore"):
        mean: F32 = np.stack([updates[name] for name in names]).mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean, names


@dataclass(frozen=True, slots=True)
class NaiveForger:
    """Anybody can write anything, so no key matters."""

    d: int

    def signed(self, name: MemberId, by: MemberId | None) -> bytes:
        """See `Forger`."""
        return message(name, np.full(self.d, STEER, "<f4").tobytes())

    def sealed_anew(self, member: MemberId, envelope: bytes) -> bytes:
        """The same bytes: there is no other form of them."""
        return envelope

    def malformed(self, member: MemberId, envelope: bytes, case: Malformed) -> bytes:
        """The message with those numbers."""
        return case.envelope(message(member, case.payload(envelope[-4 * self.d :])))


@dataclass(frozen=True, slots=True)
class NaiveWire:
    """The lab's members and their steps, without noise or anything else that protects."""

    lab: Lab = field(repr=False)
    training: Remembering
    rounds: int

    @classmethod
    def of(cls, lab: Lab, rounds: int) -> NaiveWire:
        """At most `rounds` rounds of the lab's members."""
        trainers = {member: _plain(trainer) for member, trainer in lab.trainers().items()}
        return cls(lab, Remembering(trainers), min(rounds, lab.settings.run.rounds))

    def play(self, trick: Trick) -> Played:
        """See `Wire`. Ends early once the model is no number any more."""
        trainers = self.training.trainers
        model = self.lab.start(trainers)
        courier = Counting(trick(NaiveForger(model.size)))
        states: dict[MemberId, F32 | None] = dict.fromkeys(trainers)
        models, accepted, inside, kept = list[bytes](), list[tuple[MemberId, ...]](), dict[bytes, bytes](), 0
        for number in range(1, self.rounds + 1):
            task = TrainTask(number, None)
            with users_code("the model"):
                trained = self.training([Job(trainers[m], model, task, states[m]) for m in trainers])
            arrived: list[bytes] = []
            for member, one in zip(trainers, trained, strict=True):
                states[member] = one.state
                payload = one.delta.astype("<f4").tobytes()
                sent = message(member, payload)
                inside[sent] = payload
                arrived += [data for _, data in courier(member, sent)]
            kept += sum(map(len, arrived))
            move, names = averaged(arrived, model.size)
            with np.errstate(all="ignore"):
                model = model + move
            models.append(model.tobytes())
            accepted.append(tuple(map(MemberId, names)))
            if not np.isfinite(model).all():
                break
        return Played(
            models=tuple(models),
            accepted=tuple(accepted),
            refused=(),
            sent=courier.sent,
            tampered=courier.tampered,
            kept=kept,
            inside=inside,
            ended="" if np.isfinite(model).all() else "the model is no number any more",
        )


def _plain(trainer: LocalTrainer) -> LocalTrainer:
    """The same steps without what the server would have to send for them."""
    return trainer.with_settings(replace(trainer.settings, scaffold=False))
