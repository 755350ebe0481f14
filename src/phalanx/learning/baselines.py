"""What protection and federation are worth: the same members trained in three other ways.

- alone: each member by itself, with the same steps, for as many rounds;
- plain: federated averaging of the same steps, weighted by examples, with no rule, noise, gate or seal;
- pooled: one trainer with everybody's examples. Where steps are on mini-batches it takes as many as all members
  together take, so that each example is seen as often; with full batches, as many as one member takes.

All of it needs every member's data in one place: simulation only. Nothing here is private or robust.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from phalanx.learning.contract import Job, TrainTogether
from phalanx.learning.data import MemberData
from phalanx.learning.descent import Descent
from phalanx.learning.trainer import LocalTrainer
from phalanx.types import F32, MemberId, TrainTask


@dataclass(frozen=True, slots=True)
class Baselines:
    """Accuracy (0 … 1) on each member's held-out examples, for those that have some."""

    alone: Mapping[MemberId, float]
    plain: Mapping[MemberId, float]
    pooled: Mapping[MemberId, float]


def baselines_of(
    trainers: Mapping[MemberId, LocalTrainer], model: F32, rounds: int, together: TrainTogether
) -> Baselines:
    """The three baselines from the shared parameters `model` (d,) that the protected run began with."""
    plain_steps = {member: _uncorrected(trainer) for member, trainer in trainers.items()}
    return Baselines(
        alone=_alone(plain_steps, model, rounds, together),
        plain=_plain(plain_steps, model, rounds, together),
        pooled=_pooled(plain_steps, model, rounds),
    )


def _uncorrected(trainer: LocalTrainer) -> LocalTrainer:
    """The same steps without what corrects drift between members: FedAvg's."""
    return trainer.with_settings(replace(trainer.settings, prox=0.0, scaffold=False))


def _alone(
    trainers: Mapping[MemberId, LocalTrainer], model: F32, rounds: int, together: TrainTogether
) -> dict[MemberId, float]:
    models: list[F32] = [model for _ in trainers]
    states: list[F32 | None] = [None for _ in trainers]
    for number in range(1, rounds + 1):
        trained = together(_jobs(trainers, models, states, number))
        models = [_moved(here, one.delta) for here, one in zip(models, trained, strict=True)]
        states = [one.state for one in trained]
    return _accuracies(trainers, models, states)


def _plain(
    trainers: Mapping[MemberId, LocalTrainer], model: F32, rounds: int, together: TrainTogether
) -> dict[MemberId, float]:
    here = model
    states: list[F32 | None] = [None for _ in trainers]
    for number in range(1, rounds + 1):
        trained = together(_jobs(trainers, [here for _ in trainers], states, number))
        weights = np.array([one.examples for one in trained], np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            move = (weights / weights.sum()) @ np.stack([one.delta for one in trained])
        here = _moved(here, move)
        states = [one.state for one in trained]
    return _accuracies(trainers, [here for _ in trainers], states)


def _pooled(trainers: Mapping[MemberId, LocalTrainer], model: F32, rounds: int) -> dict[MemberId, float]:
    first = next(iter(trainers.values()))
    steps = first.settings
    many = replace(steps, local_steps=steps.local_steps * len(trainers)) if steps.batch_size else steps
    pooled = first.with_data(joined([trainer.data for trainer in trainers.values()])).with_settings(many)
    here = model
    state: F32 | None = None
    for number in range(1, rounds + 1):
        trained = pooled.train(here, TrainTask(number, None), state)
        here, state = _moved(here, trained.delta), trained.state
    return {
        member: share
        for member, trainer in trainers.items()
        if (share := pooled.with_data(trainer.data).accuracy(here, state)) is not None
    }


def _moved(model: F32, delta: F32) -> F32:
    with np.errstate(over="ignore", invalid="ignore"):  # steps that diverge must be seen, not stopped here
        return model + delta


def joined(parts: Sequence[MemberData]) -> MemberData:
    """Everybody's examples in one place, in the order given."""
    return MemberData(
        x_train=np.concatenate([part.x_train for part in parts]),
        y_train=np.concatenate([part.y_train for part in parts]),
        x_held=np.concatenate([part.x_held for part in parts]),
        y_held=np.concatenate([part.y_held for part in parts]),
        classes=parts[0].classes,
    )


def _jobs(
    trainers: Mapping[MemberId, LocalTrainer], models: Sequence[F32], states: Sequence[F32 | None], number: int
) -> list[Job]:
    each = zip(trainers.values(), models, states, strict=True)
    return [Job(trainer, model, TrainTask(number, None), state) for trainer, model, state in each]


def _accuracies(
    trainers: Mapping[MemberId, LocalTrainer], models: Sequence[F32], states: Sequence[F32 | None]
) -> dict[MemberId, float]:
    each = zip(trainers.items(), models, states, strict=True)
    shares = {member: trainer.accuracy(model, state) for (member, trainer), model, state in each}
    return {member: share for member, share in shares.items() if share is not None}


def settings_in_words(settings: Descent) -> str:
    """How a member steps, in one line for people."""
    batch = "all examples" if settings.batch_size is None else f"mini-batches of {settings.batch_size}"
    steps = f"{settings.local_steps} {'step' if settings.local_steps == 1 else 'steps'} a round on {batch}"
    extras = [f"rate {settings.learning_rate:g}"]
    extras += [f"momentum {settings.momentum:g}"] if settings.momentum else []
    extras += [f"FedProx μ = {settings.prox:g}"] if settings.prox else []
    extras += ["SCAFFOLD"] if settings.scaffold else []
    return f"{steps}, {', '.join(extras)}"
