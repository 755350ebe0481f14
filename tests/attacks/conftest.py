"""A federation of ten members on digits under a plain mean, without any control: where every attack has to work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from phalanx.learning.adapters.torch_module import torch_model
from phalanx.learning.contract import Trainer
from phalanx.learning.data import Labels, MemberData
from phalanx.learning.descent import Descent
from phalanx.learning.digits import Split, split_digits
from phalanx.learning.layout import flatten, unflatten
from phalanx.learning.models import softmax_regression, tensors_of
from phalanx.learning.threads import use_threads
from phalanx.learning.trainer import LocalTrainer
from phalanx.types import F32, F64, TrainTask, member_id

MODULE = softmax_regression(64, 10)
MODEL = torch_model(MODULE, 10)


def honest(data: MemberData) -> Trainer:
    return LocalTrainer(MODEL, data, Descent(learning_rate=1.0, momentum=0.9))


def thorough(data: MemberData) -> Trainer:
    """Many local steps a round: reaches what its data ask for, from whatever model it is given."""
    return LocalTrainer(MODEL, data, Descent(learning_rate=1.0, momentum=0.9, local_steps=60))


@dataclass(frozen=True, slots=True)
class Federation:
    split: Split
    data: tuple[MemberData, ...]
    trainers: tuple[Trainer, ...]
    start: F32 = field(repr=False)

    def run(self, rounds: int, attackers: Mapping[int, Trainer]) -> F32:
        """The model after some rounds under a plain mean, `attackers` taking the places of honest members."""
        trainers = [attackers.get(i, trainer) for i, trainer in enumerate(self.trainers)]
        states: list[F32 | None] = [None] * len(trainers)
        model = self.start
        for number in range(rounds):
            deltas = []
            for i, trainer in enumerate(trainers):
                trained = trainer.train(model, TrainTask(number, None), states[i])
                states[i] = trained.state
                deltas.append(trained.delta)
            model = model + mean(deltas)
        return model

    def predict(self, model: F32, x: F32) -> Labels:
        tensors = unflatten(model, self.trainers[0].layout)
        labels: Labels = (x @ tensors["weight"].T + tensors["bias"]).argmax(axis=1)
        return labels

    def accuracy(self, model: F32) -> float:
        return float((self.predict(model, self.split.x_test) == self.split.y_test).mean())

    def recall(self, model: F32) -> F64:
        right = self.predict(model, self.split.x_test) == self.split.y_test
        return np.array([right[self.split.y_test == c].mean() for c in range(10)])


def mean(deltas: Sequence[F32]) -> F32:
    average: F32 = np.mean(deltas, axis=0, dtype=np.float32)
    return average


@pytest.fixture(scope="session")
def federation() -> Federation:
    use_threads(1)
    members = [member_id(f"member-{i}") for i in range(10)]
    split = split_digits(members, rng=np.random.default_rng(20240607))
    data = tuple(split.members.values())
    trainers = tuple(honest(part) for part in data)
    return Federation(split, data, trainers, flatten(tensors_of(MODULE), trainers[0].layout))


@pytest.fixture(scope="session")
def clean_model(federation: Federation) -> F32:
    return federation.run(20, {})
