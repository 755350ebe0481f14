"""A member that is asked to train on a few of its examples, and what the wire then carries: leakage attacks start here.

The first round, from the model that the federation starts with: there updates give most away. In the setting `none` it
is one plain step of the user's learning rate, as in federated SGD; in `yours` it is the round that the configuration
orders, its local steps, its clip and its noise included. What a coordinator of this version sees is that update, in
every venue that there is; central noise is added after it has seen it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps

import numpy as np

from phalanx.errors import ConfigError, NotAvailable
from phalanx.federation.module import users_code
from phalanx.learning import Descent, LocalTrainer, MemberData, Model
from phalanx.learning.data import Array, Labels
from phalanx.learning.parts import views
from phalanx.redteam.lab import Lab
from phalanx.redteam.probe import Probed, Setting
from phalanx.redteam.ranges import Range, range_of
from phalanx.types import F32, ExamplePrivacy, TrainTask

BATCH = 8
FEWEST = 10  # examples from which a member's own mean is what one would guess; else everybody's

Play = Callable[[Lab, Setting], Probed]


def guarded(play: Play) -> Play:
    """`play`, whose refusals become the reason why it cannot be played."""

    @wraps(play)
    def guard(lab: Lab, setting: Setting) -> Probed:
        try:
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # noise divided by noise
                return play(lab, setting)
        except NotAvailable as error:
            return Probed(unavailable=error.message)
        except ConfigError as error:
            return Probed(unavailable=f"not available: {error.message}")
        except ImportError:
            return Probed(unavailable="not available: this attack needs the torch extra")

    return guard


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """A member's examples that are trained on: inputs (b, …), labels (b,), and the mean of its inputs (p,), 0 … 1."""

    x: Array = field(repr=False)
    y: Labels
    mean: F32 = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposed:
    """How members train in a setting. `start` (d,) is the model that they are sent unless an attacker sends another."""

    trainer: LocalTrainer = field(repr=False)
    privacy: ExamplePrivacy | None
    start: F32 = field(repr=False)
    range: Range = field(repr=False)

    def update(self, x: Array, y: Labels, rng: np.random.Generator, model: F32 | None = None) -> dict[str, F32]:
        """The tensors of the update that a member sends who holds these examples alone. Noise keys are drawn by `rng`.

        `model` (d,) is what it was sent, by default `start`. Raises ConfigError for what the user's code raises.
        """
        data = MemberData(x, y.astype(np.int64), x[:0], y[:0].astype(np.int64), self.trainer.model.classes)
        here = self.start if model is None else model
        control = np.zeros_like(here) if self.trainer.settings.scaffold else None
        with users_code("training on a few examples"):
            trained = self.trainer.with_data(data).train(here, TrainTask(1, self.privacy, rng.bytes(32), control), None)
        return views(trained.delta, self.trainer.layout)

    def gradient(self, update: Mapping[str, F32], examples: int) -> dict[str, F32]:
        """The gradient of the examples' mean loss that an onlooker makes of an update: of several steps, their mean."""
        steps = self.trainer.settings
        moved = sum(steps.momentum**j for k in range(steps.local_steps) for j in range(k + 1))
        of_all = 1.0 if self.privacy is None else self.privacy.normaliser / examples
        factor = np.float32(-of_all / (steps.learning_rate * moved))
        return {name: factor * value for name, value in update.items()}

    @property
    def exact(self) -> bool:
        """Whether that is the gradient itself."""
        one_step = self.trainer.settings.local_steps == 1 and self.trainer.model.train is None
        return one_step and self.privacy is None

    def tensors(self) -> dict[str, F32]:
        """The model that members start from, local tensors and all."""
        return self.trainer.tensors(self.trainer.start(self.start, None))

    def flat(self, tensors: Mapping[str, F32]) -> F32:
        """(d,): the tensors that travel, as a model that can be sent. The layout is the one that members joined with.

        A member refuses any other before it reads the order's numbers (`channel.order`), so there is no way around it.
        """
        vector = np.empty(self.trainer.layout.d, np.float32)
        for name, place in views(vector, self.trainer.layout).items():
            place[...] = tensors[name]
        return vector


def exposed_of(lab: Lab, setting: Setting) -> Exposed:
    """How the lab's members train in the setting. Raises ConfigError where the model does not compose with it."""
    trainers = lab.trainers()
    trainer, mechanism, privacy = next(iter(trainers.values())), None, None
    if setting == "yours":
        mechanism = lab.settings.mechanism
        privacy = mechanism if isinstance(mechanism, ExamplePrivacy) else None
    else:
        trainer = trainer.with_settings(Descent(learning_rate=lab.settings.learning.learning_rate))
    return Exposed(trainer=trainer, privacy=privacy, start=lab.start(trainers), range=range_of(lab))


def foreign(lab: Lab, model: Model) -> Exposed:
    """Members who train whatever model they are sent, of another layout too: one plain step."""
    data = lab.sites[lab.members[0]]
    trainer = LocalTrainer(model, data, Descent(learning_rate=lab.settings.learning.learning_rate))
    start = np.concatenate([value.ravel() for _, value in sorted(model.initial_model().items())])
    return Exposed(trainer=trainer, privacy=None, start=start, range=range_of(lab))


def in_numbers(lab: Lab) -> None:
    """Raises NotAvailable unless inputs are real numbers, of which one can be nearer to the truth than another."""
    kind = lab.sites[lab.members[0]].x_train.dtype
    if not np.issubdtype(kind, np.floating):
        what = "whole numbers, such as tokens" if np.issubdtype(kind, np.integer) else f"of type {kind}"
        raise NotAvailable(f"not available: inputs are {what}, and this attack rebuilds real numbers")


def victims(lab: Lab, count: int, examples: int, rng: np.random.Generator) -> list[Victim]:
    """`count` times some `examples` of one member, the members in turn; fewer where it holds fewer."""
    scale, found = range_of(lab), []
    everybody = np.concatenate([scale.unit(lab.sites[member].x_train) for member in lab.members]).mean(axis=0)
    for member in (lab.members[i % len(lab.members)] for i in range(count)):
        data = lab.sites[member]
        rows = rng.permutation(len(data.x_train))[:examples]
        mean = scale.unit(data.x_train).mean(axis=0) if len(data.x_train) >= FEWEST else everybody
        found.append(Victim(x=data.x_train[rows], y=data.y_train[rows], mean=mean))
    return found


def how_trained(lab: Lab, exposed: Exposed, setting: Setting) -> tuple[str, ...]:
    """What of the user's configuration stands in the attack's way, for people."""
    if setting != "yours":
        return ("one plain step on the examples, from the first model, without clip or noise",)
    notes: list[str] = []
    if exposed.privacy is not None:
        sigma, clip = exposed.privacy.noise_multiplier, exposed.privacy.clip_l2
        notes.append(f"each example's gradient clipped to {clip:g}, noise of {sigma:g} times that on their sum")
    elif lab.settings.privacy is not None:
        notes.append("central noise is added after the coordinator has seen the update: it hides nothing from it")
    else:
        notes.append("no privacy in this configuration: nothing is between an update and who reads it")
    steps = exposed.trainer.settings.local_steps
    if steps > 1:
        notes.append(f"{steps} local steps blur what a single gradient says: hygiene, and no control")
    return tuple(notes)


def mean_of(updates: Sequence[Mapping[str, F32]]) -> dict[str, F32]:
    """The mean of some updates: what is left of them where nobody sees a single one."""
    return {name: np.mean(np.stack([one[name] for one in updates]), axis=0) for name in updates[0]}
