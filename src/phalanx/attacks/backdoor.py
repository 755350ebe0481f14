"""Backdoors: a patch of bright pixels that makes the model say what the attacker wants.

BadNets' patch (Gu et al., arXiv:1708.06733) planted by model replacement (Bagdasaryan et al., AISTATS 2020), and the
same update cut to an inconspicuous length. `n` members, of whom `m` are hostile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from phalanx.attacks.poisoning import Unprotected
from phalanx.attacks.triggers import Patch
from phalanx.learning.contract import Trainer
from phalanx.learning.data import Labels, MemberData
from phalanx.types import F32, Layout, Tally, Trained, TrainTask


def stamp(x: F32, *, size: int = 3) -> F32:
    """Square images (n, side²) with the lower right size×size pixels at full brightness, as copies."""
    return Patch(size, 1.0).stamp(x)


def plant(data: MemberData, target: int, *, size: int = 3) -> MemberData:
    """The data and, of each training image of another class, a stamped copy labelled `target`."""
    others = data.x_train[data.y_train != target]
    return replace(
        data,
        x_train=np.concatenate([data.x_train, stamp(others, size=size)]),
        y_train=np.concatenate([data.y_train, np.full(len(others), target, dtype=np.int64)]),
    )


@dataclass(frozen=True, slots=True)
class Backdoor:
    """Model replacement: sends boost·(x_bad - x), x_bad trained from the current model x on planted data.

    `planted` trains long enough to reach x_bad (many local steps). With boost = n/m under a plain mean, and honest
    updates that about cancel, the next model is x_bad.
    """

    planted: Trainer
    boost: float

    @property
    def layout(self) -> Layout:
        """The trainer's."""
        return self.planted.layout

    def train(self, model: F32, task: TrainTask, state: F32 | None) -> Trained:
        """The boosted update. Starts from the current model each round, so no momentum is carried over."""
        trained = Unprotected(self.planted).train(model, task, None)
        return replace(trained, delta=np.float32(self.boost) * trained.delta)

    def evaluate(self, candidate: F32, incumbent: F32, state: F32 | None) -> Tally:
        """The true tally: the attacker's held-out images carry no patch."""
        return self.planted.evaluate(candidate, incumbent, state)


def backdoor(
    data: MemberData, build: Callable[[MemberData], Trainer], *, target: int, boost: float, size: int = 3
) -> Trainer:
    """A member that plants the patch; `build` makes a trainer of data, with enough local steps to converge."""
    return Backdoor(build(plant(data, target, size=size)), boost)


@dataclass(frozen=True, slots=True)
class NormMatched:
    """Sends the attacker's direction at the length of the update that the same member would honestly have sent.

    The honest update obeys the task, clip and noise included, so the norm no longer tells the two apart. The attacker's
    own boost has no effect. `scale` below 1 makes it a little shorter than honest ones, which selection rules prefer.
    """

    attacker: Trainer
    honest: Trainer
    scale: float = 1.0

    @property
    def layout(self) -> Layout:
        """The honest trainer's."""
        return self.honest.layout

    def train(self, model: F32, task: TrainTask, state: F32 | None) -> Trained:
        """The attacker's delta scaled. The state is both states: the length of the attacker's, it, the honest one."""
        bad_state, good_state = _parted(state)
        bad = self.attacker.train(model, task, bad_state)
        good = self.honest.train(model, task, good_state)
        delta = np.float32(self.scale) * _at_length_of(bad.delta, good.delta)
        joined = np.concatenate([np.array([bad.state.size], np.float32), bad.state, good.state])
        return Trained(delta, good.examples, joined)

    def evaluate(self, candidate: F32, incumbent: F32, state: F32 | None) -> Tally:
        """The honest tally."""
        return self.honest.evaluate(candidate, incumbent, _parted(state)[1])


def _parted(state: F32 | None) -> tuple[F32 | None, F32 | None]:
    """The attacker's state and the honest one; a float32 holds their lengths exactly up to 2²⁴."""
    if state is None:
        return None, None
    size = int(state[0])
    return state[1 : 1 + size], state[1 + size :]


def _at_length_of(delta: F32, other: F32) -> F32:
    length = np.linalg.norm(delta.astype(np.float64))
    if not length > 0:
        return delta
    return (delta.astype(np.float64) * (np.linalg.norm(other.astype(np.float64)) / length)).astype(np.float32)


def backdoor_success(
    predict: Callable[[F32], Labels], x_test: F32, y_test: Labels, *, target: int, size: int = 3
) -> float:
    """The share (0 … 1) of test images of other classes that, stamped, are classified as `target`."""
    others = stamp(x_test[y_test != target], size=size)
    return float((predict(others) == target).mean())
