"""Members that spoil the model: flipped labels, flipped updates, updates that are no numbers.

Each is a `Trainer`: a round can tell it from an honest one only by what it sends. None obeys the order to clip
and to add noise: the honest members' privacy does not depend on that, and an attacker gains by leaving it out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from phalanx.learning.contract import Trainer
from phalanx.learning.data import MemberData
from phalanx.types import F32, Layout, Tally, Trained, TrainTask


@dataclass(frozen=True, slots=True)
class Unprotected:
    """Trains as `trainer` does, without the clip and the noise that the task orders."""

    trainer: Trainer

    @property
    def layout(self) -> Layout:
        """The trainer's."""
        return self.trainer.layout

    def train(self, model: F32, task: TrainTask, state: F32 | None) -> Trained:
        """The trainer's update for the same task without privacy."""
        return self.trainer.train(model, replace(task, privacy=None), state)

    def evaluate(self, candidate: F32, incumbent: F32, state: F32 | None) -> Tally:
        """The trainer's tally."""
        return self.trainer.evaluate(candidate, incumbent, state)


def flip_labels(data: MemberData) -> MemberData:
    """The data with each training label y replaced by C-1-y.  Fang et al., USENIX Security 2020.

    Held-out labels stay true.
    """
    return replace(data, y_train=data.classes - 1 - data.y_train)


def label_flip(data: MemberData, build: Callable[[MemberData], Trainer]) -> Trainer:
    """A member that trains honestly on flipped labels; `build` makes an honest trainer of data."""
    return Unprotected(build(flip_labels(data)))


@dataclass(frozen=True, slots=True)
class SignFlip:
    """Sends -scale times its honest update.  Li et al., AAAI 2019."""

    honest: Trainer
    scale: float = 10.0

    @property
    def layout(self) -> Layout:
        """The honest trainer's."""
        return self.honest.layout

    def train(self, model: F32, task: TrainTask, state: F32 | None) -> Trained:
        """The honest update turned around; momentum is the honest one."""
        trained = Unprotected(self.honest).train(model, task, state)
        return replace(trained, delta=np.float32(-self.scale) * trained.delta)

    def evaluate(self, candidate: F32, incumbent: F32, state: F32 | None) -> Tally:
        """The honest tally."""
        return self.honest.evaluate(candidate, incumbent, state)


@dataclass(frozen=True, slots=True)
class NotANumber:
    """Sends NaN: one such update, taken into a mean, is the end of the model."""

    honest: Trainer

    @property
    def layout(self) -> Layout:
        """The honest trainer's."""
        return self.honest.layout

    def train(self, model: F32, task: TrainTask, state: F32 | None) -> Trained:
        """(d,) NaN."""
        trained = Unprotected(self.honest).train(model, task, state)
        return replace(trained, delta=np.full_like(trained.delta, np.nan))

    def evaluate(self, candidate: F32, incumbent: F32, state: F32 | None) -> Tally:
        """The honest tally."""
        return self.honest.evaluate(candidate, incumbent, state)
