"""The one trainer: any `Model` on one member's data, by local steps or by the model's own training.

State, which stays at the member: its local tensors (l,), with momentum its momentum (D,), with SCAFFOLD its control
variate (d,), joined into one vector. With example-level privacy the gradient of *all* tensors is clipped and noised
before any of them moves, the local ones too: a local tensor that followed the data in clear would carry them into later
updates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field

import numpy as np

from phalanx.errors import ConfigError
from phalanx.learning.contract import ManyMembers, Model, Tensors, TrainFunction
from phalanx.learning.data import Array, Labels, MemberData
from phalanx.learning.descent import Descent, batch_of, control_after, descend
from phalanx.learning.dpsgd import private_mean
from phalanx.learning.layout import check_vector
from phalanx.learning.parts import Parts, flatten_whole, parts_of, views
from phalanx.learning.tally import paired_tally
from phalanx.types import F32, Layout, Tally, Trained, TrainTask


@dataclass(frozen=True, slots=True)
class Held:
    """A member's state, taken apart."""

    local: F32 = field(repr=False)  # (l,)
    momentum: F32 = field(repr=False)  # (D,), or (0,) without momentum
    control: F32 | None = field(repr=False)  # (d,) with SCAFFOLD

    def joined(self) -> F32:
        """As the one vector that is kept."""
        return np.concatenate([self.local, self.momentum] + ([] if self.control is None else [self.control]))


class LocalTrainer:
    """`model` on one member's `data`, stepping by `settings`; tensors that match `local` stay here. See `Trainer`.

    Raises ConfigError where model, settings and patterns do not compose.
    """

    __slots__ = ("_start", "data", "model", "parts", "settings")

    def __init__(self, model: Model, data: MemberData, settings: Descent, *, local: Sequence[str] = ()) -> None:
        start = model.initial_model()
        self.parts: Parts = parts_of(start, local)
        self.model, self.data, self.settings = model, data, settings
        self._start = flatten_whole(start, self.parts.whole)[self.parts.shared.d :].copy()
        _check_own_training(model, settings)
        if model.refresh is not None:
            self._check_refreshed(model.refresh(start, data.x_train.copy()))

    @property
    def layout(self) -> Layout:
        """The layout of what travels."""
        return self.parts.shared

    def train(self, model: F32, task: TrainTask, state: F32 | None) -> Trained:
        """See `Trainer`. Raises ConfigError where these steps cannot have the privacy that the task asks for."""
        held, start = self.unpack(state), self.start(model, state)
        self.check_task(task)
        if self.model.train is not None:
            delta, momentum = self._by_its_own(self.model.train, start, task.round), held.momentum
        else:
            deltas, momenta = descend(
                self.settings,
                start[None],
                held.momentum[None],
                lambda here, step, out: self._gradient(here[0], step, task, out[0]),
                shared=self.parts.shared.d,
                correction=self.correction(task, held),
            )
            delta, momentum = deltas[0], momenta[0]
        return self.finish(start, delta, momentum, task, held)

    def evaluate(self, candidate: F32, incumbent: F32, state: F32 | None) -> Tally:
        """See `Trainer`. A model with a non-finite parameter has every example wrong, whatever it predicts."""
        now, before = self.start(candidate, state), self.start(incumbent, state)
        truth, classes = self.data.y_held, self.data.classes
        finite = bool(np.isfinite(now).all())
        x = self.data.x_held
        return paired_tally(self._labels(now, x), self._labels(before, x), truth, classes=classes, finite=finite)

    @property
    def many(self) -> ManyMembers | None:
        """How members like this one train side by side; None: one by one."""
        return None if self.model.many is None else self.model.many(self.data.x_train)

    def accuracy(self, model: F32, state: F32 | None) -> float | None:
        """The share (0 … 1) of the held-out examples that the model has right, None where there are none."""
        if not len(self.data.y_held):
            return None
        return float((self.labels(model, state, self.data.x_held) == self.data.y_held).mean())

    def labels(self, model: F32, state: F32 | None, x: Array) -> Labels:
        """(n,): what the model, with the local tensors in `state`, says of x (n, …); -1 where it has no answer."""
        return self._labels(self.start(model, state), x)

    def with_data(self, data: MemberData) -> LocalTrainer:
        """The same trainer on other examples."""
        other = copy(self)
        other.data = data
        return other

    def with_settings(self, settings: Descent) -> LocalTrainer:
        """The same trainer with other steps. Raises ConfigError where the model does not compose with them."""
        _check_own_training(self.model, settings)
        other = copy(self)
        other.settings = settings
        return other

    # -- the pieces of a round of training, which `many` also uses for members side by side

    def unpack(self, state: F32 | None) -> Held:
        """The state taken apart; the initial one for None. Raises ValueError for another model's state."""
        d, whole = self.parts.shared.d, self.parts.whole.d
        own, moving = whole - d, whole if self.settings.momentum else 0
        if state is None:
            control = np.zeros(d, np.float32) if self.settings.scaffold else None
            return Held(self._start, np.zeros(moving, np.float32), control)
        expected = own + moving + (d if self.settings.scaffold else 0)
        if state.dtype != np.float32 or state.shape != (expected,):
            raise ValueError(f"state must be float32 of shape ({expected},), got {state.dtype} of {state.shape}")
        control = state[own + moving :] if self.settings.scaffold else None
        return Held(state[:own], state[own : own + moving], control)

    def start(self, model: F32, state: F32 | None) -> F32:
        """(D,): the shared parameters that came with the order, and the member's own local ones."""
        check_vector(model, self.parts.shared)
        return np.concatenate([model, self.unpack(state).local]) if self.parts.local else model

    def check_task(self, task: TrainTask) -> None:
        """Raises ConfigError unless this model and these settings can do what the task asks."""
        if (task.control is not None) != self.settings.scaffold:
            asks, orders = ("with", "without") if self.settings.scaffold else ("without", "with")
            raise ConfigError(f"these are steps {asks} SCAFFOLD, found an order {orders} a control variate")
        if task.control is not None:
            check_vector(task.control, self.parts.shared)
        if task.privacy is None:
            return
        if self.model.per_example_gradients is None:
            raise ConfigError(
                "example-level privacy needs per_example_gradients, and this model has none",
                hint="give the model per_example_gradients (scikit-learn: adapters.scikit_gradients), or run without "
                "example-level privacy",
            )
        if self.model.refresh is not None:
            raise ConfigError(
                "this model has tensors that follow the data without a gradient, which no clip and no noise covers",
                hint="use group norm in place of batch norm, or run without example-level privacy",
            )
        if why := self.settings.refuse_privacy():
            raise ConfigError(why, hint="use one full step a round, and more rounds")

    def correction(self, task: TrainTask, held: Held) -> F32 | None:
        """c - cᵢ as (1, d), None without SCAFFOLD."""
        if held.control is None or task.control is None:
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            return (task.control - held.control)[None]

    def finish(self, start: F32, delta: F32, momentum: F32, task: TrainTask, held: Held) -> Trained:
        """The round's result: the shared delta travels, the rest is the new state.

        A state that is not finite is not kept: the update shows what happened, the next round starts from the last
        sound state. Under privacy the claim of examples is the public normaliser: the true count is a function of the
        data that no noise covers.
        """
        d = self.parts.shared.d
        with np.errstate(over="ignore", invalid="ignore"):  # what diverged is seen below and in the delta
            own, control = start[d:] + delta[d:], held.control
            if self.model.refresh is not None:
                own = self._refreshed(start + delta)
            if control is not None and task.control is not None:
                control = control_after(self.settings, control, task.control, delta[:d])
        after = Held(own, momentum, control).joined()
        examples = task.privacy.normaliser if task.privacy else len(self.data.x_train)
        return Trained(
            delta if d == len(delta) else delta[:d].copy(),
            examples,
            after if np.isfinite(after).all() else held.joined(),
        )

    def tensors(self, vector: F32) -> Tensors:
        """The named tensors in `vector` (D,), as copies: what a user's function does to them stays with it."""
        return {name: value.copy() for name, value in views(vector, self.parts.whole).items()}

    # -- gradients

    def _gradient(self, here: F32, step: int, task: TrainTask, out: F32) -> None:
        if task.privacy is not None:
            rows = self.per_example(here, self.data.x_train, self.data.y_train)
            out[:] = private_mean(rows, task.privacy, task.noise_key, round=task.round)
            return
        chosen = batch_of(self.settings, len(self.data.x_train), task.round, step)
        x, y = self.data.x_train[chosen], self.data.y_train[chosen]
        if self.model.gradient is None:
            out[:] = self.per_example(here, x, y).mean(axis=0, dtype=np.float64).astype(np.float32)
        else:
            out[:] = 0  # what the gradient lacks stays as it is
            _write(self.model.gradient(self.tensors(here), x, y), out, self.parts.whole, "gradient", lacking=True)

    def per_example(self, here: F32, x: Array, y: Labels) -> F32:
        """(n, D): the gradient of each example's loss. Not private. All tensors: noise would move one left out."""
        if self.model.per_example_gradients is None:  # `Model` holds at least one of the two
            raise ValueError("this model has no per_example_gradients")
        rows = np.empty((len(x), self.parts.whole.d), np.float32)
        given = self.model.per_example_gradients(self.tensors(here), x.copy(), y.copy())
        _write(given, rows, self.parts.whole, "per_example_gradients")
        return rows

    def _by_its_own(self, train: TrainFunction, start: F32, round: int) -> F32:
        given = train(self.tensors(start), self.data.x_train.copy(), self.data.y_train.copy(), round=round)
        delta = np.empty_like(start)
        _write(given, delta, self.parts.whole, "train")
        return delta

    # -- tensors that no gradient moves

    def _check_refreshed(self, refreshed: Mapping[str, Array]) -> None:
        stays = {one.name for one in self.parts.local}
        travels = sorted(set(refreshed) - stays)
        if travels:
            raise ConfigError(
                f"{', '.join(travels)} follow the data without a gradient, so they cannot travel",
                hint=f"add them to learning.local, e.g. local = {travels!r}, or use group norm in place of batch norm",
            )

    def _refreshed(self, after: F32) -> F32:
        if self.model.refresh is None:
            raise ValueError("this model has nothing to refresh")
        fresh = after.copy()
        given = self.model.refresh(self.tensors(after), self.data.x_train.copy())
        _write(given, fresh, self.parts.whole, "refresh", lacking=True)
        return fresh[self.parts.shared.d :]

    def _labels(self, vector: F32, x: Array) -> Labels:
        if not np.isfinite(vector).all():
            return np.full(len(x), -1, dtype=np.int64)
        labels = np.asarray(self.model.predict(self.tensors(vector), x.copy()))
        if labels.shape != (len(x),) or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(
                f"predict must return integer labels of shape ({len(x)},), got {labels.dtype} of shape {labels.shape}"
            )
        return labels.astype(np.int64)


def _check_own_training(model: Model, settings: Descent) -> None:
    """A model with its own `train` takes no settings: what is set there and does nothing is refused."""
    if model.train is None:
        return
    if settings.prox or settings.scaffold or settings.momentum or settings.batch_size or settings.local_steps > 1:
        raise ConfigError(
            "this model trains by its own function: prox, SCAFFOLD, momentum, batch_size and local_steps do nothing "
            "there",
            hint="leave them out, or give the model a gradient",
        )


def _write(given: Mapping[str, Array], out: F32, whole: Layout, function: str, *, lacking: bool = False) -> None:
    """Named arrays (…, *shape) into `out` (…, D). Raises ValueError for other names or shapes than those of `whole`.

    Where tensors may be `lacking`, `out` keeps what it holds there. A value past float32 becomes infinite: screening
    refuses it by name, which a cast that raises would not.
    """
    inside = views(out, whole)
    if set(given) - set(inside) or not (lacking or len(given) == len(inside)):
        raise ValueError(f"{function}: expected the tensors {sorted(inside)}, got {sorted(given)}")
    with np.errstate(over="ignore"):
        for name, value in given.items():
            place, found = inside[name], np.asarray(value)
            if found.shape != place.shape:
                raise ValueError(f"{function}: tensor {name!r} must have shape {place.shape}, got {found.shape}")
            place[...] = found
