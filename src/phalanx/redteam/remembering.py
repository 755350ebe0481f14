"""Training that is done once: runs that differ only in what happens on the wire train the same members alike."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from phalanx.learning import Job, LocalTrainer
from phalanx.learning.many import train_together
from phalanx.types import F32, MemberId, Trained

_MOST_BYTES = 256 << 20


@dataclass(slots=True)
class Remembering:
    """Trains all members of a round side by side; all the same jobs again get the same answers.

    All of them or none: trained beside others a member's sums are taken in another order. Keeps the answers that were
    used last, up to 256 MiB of them. `trainers` are pure, so they can play in every run.
    """

    trainers: Mapping[MemberId, LocalTrainer] = field(repr=False)
    _known: dict[bytes, list[Trained]] = field(default_factory=dict, repr=False)

    def __call__(self, jobs: Sequence[Job]) -> list[Trained]:
        name = _name(jobs)
        trained = self._known.pop(name, None) or train_together(jobs)
        self._known[name] = trained  # the last that was used
        while len(self._known) > 1 and sum(map(_size, self._known.values())) > _MOST_BYTES:
            self._known.pop(next(iter(self._known)))
        return trained


def _name(jobs: Sequence[Job]) -> bytes:
    """A hash of everything that training depends on."""
    name = hashlib.blake2b()
    for job in jobs:
        task = job.task
        name.update(repr((id(job.trainer), task.round, task.privacy, task.noise_key)).encode())
        for vector in (job.model, task.control, job.state):
            _add(name, vector)
    return name.digest()


def _add(name: hashlib.blake2b, vector: F32 | None) -> None:
    data = b"" if vector is None else vector.tobytes()
    name.update(f"{vector is None} {len(data)} ".encode() + data)


def _size(trained: Sequence[Trained]) -> int:
    return sum(one.delta.nbytes + one.state.nbytes for one in trained)
