"""Hostile members in the real rounds: the honest ones train as always, then the hostile ones decide together.

`Colluders` stands where the engine trains all members of a round side by side. It trains everybody honestly, hands the
attackers the view that is theirs, and puts what they craft in place of their honest updates. All else is the round's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from phalanx.attacks.aim import Aim, Seat
from phalanx.attacks.ballots import Claim, false_tally
from phalanx.attacks.training_attack import TrainingAttack
from phalanx.attacks.view import Round, Sight, View
from phalanx.errors import ConfigError, NotAvailable, PhalanxError
from phalanx.federation.module import line_of
from phalanx.learning import Job, LocalTrainer
from phalanx.learning.many import train_together
from phalanx.rules import Chain
from phalanx.types import F32, Layout, MemberId, Tally, Trained, TrainTask

PAST = 5  # models of earlier rounds that attackers keep


@dataclass(frozen=True, slots=True)
class HostileMember:
    """A seat at the attackers' table. It trains with the others of its kind (`Colluders`), and votes as they agreed."""

    seat: Seat
    honest: LocalTrainer
    poisoned: LocalTrainer
    ballots: Claim | None

    @property
    def layout(self) -> Layout:
        """The honest trainer's."""
        return self.honest.layout

    def train(self, model: F32, task: TrainTask, state: F32 | None) -> Trained:
        """Refused: what one of them sends depends on all of them."""
        raise RuntimeError("hostile members train together")

    def evaluate(self, candidate: F32, incumbent: F32, state: F32 | None) -> Tally:
        """What they agreed to say of every candidate, or the truth."""
        truth = self.honest.evaluate(candidate, incumbent, state)
        return truth if self.ballots is None else false_tally(self.ballots, truth.total)


def seats(
    attack: TrainingAttack, hostile: Sequence[MemberId], trainers: Mapping[MemberId, LocalTrainer], aim: Aim,
    rng: np.random.Generator,
) -> dict[MemberId, HostileMember]:  # fmt: skip
    """Each hostile member with its poisoned data. Raises ConfigError if the data cannot be poisoned in this way."""
    members = {}
    for index, member in enumerate(hostile):
        honest, seat = trainers[member], Seat(index, len(hostile))
        poisoned = honest
        if attack.poison is not None:
            poisoned = honest.with_data(attack.poison(honest.data, aim, seat, rng))
        members[member] = HostileMember(seat, honest, poisoned, attack.ballots)
    return members


@dataclass(slots=True)
class Colluders:
    """The attackers of one run. `before` are rounds of runs that they took part in earlier; `error` is the attack's.

    An engine asks each member alone where training all together failed, so the attack's error is kept for whoever
    drives the run: an attack that cannot be played is no attack that was defended against.
    """

    attack: TrainingAttack
    sight: Sight
    aim: Aim
    rule: Chain
    rounds: int
    rng: np.random.Generator
    before: int = 0
    error: Exception | None = None
    _models: dict[int, F32] = field(default_factory=dict)
    _memory: dict[str, Any] = field(default_factory=dict)
    _momenta: dict[int, F32] = field(default_factory=dict)  # by seat: the state of training on poisoned data

    def __call__(self, jobs: Sequence[Job]) -> list[Trained]:
        """What each member sends in this round, in the jobs' order."""
        trained = train_together([_as_honest(job) for job in jobs])
        at = [i for i, job in enumerate(jobs) if isinstance(job.trainer, HostileMember)]
        number = jobs[0].task.round + self.before if jobs else 0
        if jobs:
            self._models.setdefault(number, jobs[0].model)
            self._models.pop(number - PAST - 1, None)
        if not at or not self.attack.active(number, self.rounds):
            return trained
        hostile = [jobs[i] for i in at]
        rows = self._crafted(number, hostile, trained, at)
        for i, row in zip(at, rows, strict=True):
            trained[i] = replace(trained[i], delta=row)
        return trained

    def _crafted(self, number: int, hostile: Sequence[Job], trained: Sequence[Trained], at: Sequence[int]) -> F32:
        members = [job.trainer for job in hostile if isinstance(job.trainer, HostileMember)]
        task = replace(hostile[0].task, privacy=None)

        def of(which: Sequence[int]) -> F32:
            d = trained[0].delta.size
            return np.stack([trained[i].delta for i in which]) if which else np.zeros((0, d), np.float32)

        others = [i for i in range(len(trained)) if i not in set(at)]
        facts = Round(
            number=number,
            rounds=self.rounds,
            model=hostile[0].model,
            past=[self._models[n] for n in sorted(self._models) if n < number],
            memory=self._memory,
            seats=tuple(member.seat for member in members),
            members=len(trained),
            rule=self.rule,
            honest=of(others),
            own=of(at),
            poisoned=lambda: self._poisoned(members, hostile[0].model, task),
            trained=lambda starts, rounds: _trained(members, starts, task, rounds),
        )
        try:
            view = View(facts, self.sight, self.aim, self.rng)
            return _checked(self.attack.craft(view), view)
        except (Exception, SystemExit) as error:  # a stranger's attack may say quit()
            self.error = _blamed(self.attack, error)
            raise self.error from error

    def _poisoned(self, members: Sequence[HostileMember], model: F32, task: TrainTask) -> F32:
        jobs = [Job(one.poisoned, model, task, self._momenta.get(one.seat.index)) for one in members]
        done = train_together(jobs)
        self._momenta |= {one.seat.index: each.state for one, each in zip(members, done, strict=True)}
        return np.stack([each.delta for each in done])


def _as_honest(job: Job) -> Job:
    return replace(job, trainer=job.trainer.honest) if isinstance(job.trainer, HostileMember) else job


def _trained(members: Sequence[HostileMember], starts: F32, task: TrainTask, rounds: int) -> F32:
    here = np.array(starts, np.float32)
    states: list[F32 | None] = [None for _ in members]
    for _ in range(rounds):
        jobs = [Job(one.poisoned, row, task, state) for one, row, state in zip(members, here, states, strict=True)]
        done = train_together(jobs)
        with np.errstate(over="ignore", invalid="ignore"):  # what diverges is seen in what they send
            here = here + np.stack([each.delta for each in done])
        states = [each.state for each in done]
    return here - starts


def _checked(crafted: object, view: View) -> F32:
    rows = np.asarray(crafted)
    d = view.model.size
    if rows.dtype.kind != "f" or rows.shape not in ((d,), (view.f, d)):
        raise ConfigError(
            f"an attack gives floats of shape ({d},) or ({view.f}, {d}), found {rows.dtype} of shape {rows.shape}"
        )
    with np.errstate(over="ignore"):
        return np.array(np.broadcast_to(rows.astype(np.float32), (view.f, d)))


def _blamed(attack: TrainingAttack, error: BaseException) -> PhalanxError:
    """The error with the attack's name on it; of code that is not ours, with its line."""
    if isinstance(error, NotAvailable):
        return error
    if isinstance(error, PhalanxError):
        return type(error)(f"attack {attack.card.name}: {error.message}", hint=error.hint)
    return ConfigError(f"attack {attack.card.name} raised {type(error).__name__}{line_of(error)}: {error}")
