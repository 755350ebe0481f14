"""Members side by side: what each would compute alone, in groups small enough to stay in the processor's cache.

For simulations, where one process plays many members. Three ways, chosen for each job:

| the job                                              | here                                                          |
|------------------------------------------------------|---------------------------------------------------------------|
| its model has `many`, and no privacy is asked        | the members of a group step together                          |
| example-level privacy, no local tensors, one start   | the gradients of all members' examples in one call; each      |
|                                                      | member clips and noises its own                               |
| anything else                                        | alone, by its own `train`                                     |

Deltas equal those of training alone up to float32 rounding: sums are taken in another order, and a plain step moves the
model itself, so that an error is a few units in the last place of the *model* (2⁻²⁴ of its values a step). The same
jobs give the same bytes. Groups do not depend on the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from phalanx.learning.contract import Batches, Batching, Job, Trainer
from phalanx.learning.descent import Gradient, batch_of, descend
from phalanx.learning.dpsgd import private_mean
from phalanx.learning.parts import views
from phalanx.learning.trainer import Held, LocalTrainer
from phalanx.types import F32, Trained, TrainTask

_GROUP_BYTES = 4 << 20  # models and mini-batches of a group: they should stay in the cache from step to step
_DELTA_BYTES = 16 << 20  # deltas that share one array, so that it can have large pages
_ROWS_BYTES = 64 << 20  # per-example gradients of a group; a single member may need more

Together = Batching | Literal["examples of all members"]
Chosen = Callable[[int, int], npt.NDArray[np.intp]]  # (examples, step) → which of them are in the mini-batch


def how_together(trainers: Sequence[Trainer], *, private: bool = False) -> Together:
    """How `train_together` treats these members, for people; `private`: with example-level privacy."""
    local = [one for one in trainers if isinstance(one, LocalTrainer)]
    models = {id(one.model): one.model for one in local}
    if len(local) < len(trainers) or len(models) != 1:
        return "loop"
    (model,) = models.values()
    if private:
        alone = model.per_example_gradients is None or local[0].parts.local
        return "loop" if alone else "examples of all members"
    many = local[0].many
    return "loop" if many is None else many.batching


def train_together(jobs: Sequence[Job]) -> list[Trained]:
    """What each job's `train` would give, in their order. Raises as `Trainer.train` does."""
    done = dict(trained_in_groups(jobs))
    return [done[place] for place in range(len(jobs))]


def trained_in_groups(jobs: Sequence[Job]) -> Iterator[tuple[int, Trained]]:
    """(index of the job, what its `train` would give), as soon as its group is done: nothing else is held."""
    alike: dict[Hashable, list[_Asked]] = {}
    starts: list[F32] = []
    for place, job in enumerate(jobs):
        trainer = job.trainer
        if isinstance(trainer, LocalTrainer) and _can_be_together(trainer, job.task):
            trainer.check_task(job.task)
            alike.setdefault(_kind(trainer, job, starts), []).append(_Asked(place, trainer, job))
        else:
            yield place, trainer.train(job.model, job.task, job.state)
    for asked in alike.values():
        yield from _privately(asked) if asked[0].job.task.privacy else _side_by_side(asked)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A job of a `LocalTrainer`, and its place in the list."""

    place: int
    trainer: LocalTrainer
    job: Job

    @property
    def examples(self) -> int:
        return len(self.trainer.data.x_train)

    def start(self) -> F32:
        return self.trainer.start(self.job.model, self.job.state)

    @property
    def held(self) -> Held:
        return self.trainer.unpack(self.job.state)


def _can_be_together(trainer: LocalTrainer, task: TrainTask) -> bool:
    if task.privacy is None:
        return trainer.many is not None
    return trainer.model.per_example_gradients is not None and not trainer.parts.local


def _kind(trainer: LocalTrainer, job: Job, starts: list[F32]) -> Hashable:
    """Equal for jobs that can be done together. Under privacy they start from one model: `starts` are those seen."""
    x, task, start = trainer.data.x_train, job.task, 0
    if task.privacy is not None:
        start = next(
            (n for n, one in enumerate(starts) if one is job.model or np.array_equal(one, job.model)), len(starts)
        )
        starts += [job.model] if start == len(starts) else []
    return id(trainer.model), trainer.settings, trainer.parts, task.round, task.privacy, x.shape[1:], x.dtype.str, start


def _groups(asked: Sequence[_Asked], size: Callable[[_Asked], int], limit: int) -> Iterator[list[_Asked]]:
    """The jobs in groups of at least one, of at most `limit` bytes together; those with alike examples side by side."""
    group: list[_Asked] = []
    for one in sorted(asked, key=lambda each: each.examples):
        if group and size(one) * (len(group) + 1) > limit:  # none before it is larger
            yield group
            group = []
        group.append(one)
    yield group


def _side_by_side(asked: Sequence[_Asked]) -> Iterator[tuple[int, Trained]]:
    """Jobs without privacy, by `ManyMembers`."""
    first = asked[0].trainer
    settings, round, width = first.settings, asked[0].job.task.round, first.data.x_train[:1].nbytes
    chosen = cache(lambda examples, step: batch_of(settings, examples, round, step))
    d = first.parts.whole.d
    _keep_freed_memory()
    for block in _groups(asked, lambda one: 4 * d, _DELTA_BYTES):
        rows = np.empty((len(block), d), np.float32)
        done = 0
        for group in _groups(block, lambda one: 4 * d + width * len(chosen(one.examples, 0)), _GROUP_BYTES):
            yield from _trained(group, _Gradients(group, chosen), rows[done : done + len(group)])
            done += len(group)


def _keep_freed_memory() -> None:
    """Tells glibc's allocator, which learns from what is freed, to keep arrays up to this size for the next ones.

    Without it a step's arrays go back to the system and are cleared anew: a third of the time of a small CNN's round.
    """
    np.empty(24 << 20, np.uint8)


def _trained(group: Sequence[_Asked], gradients: _Gradients, rows: F32) -> Iterator[tuple[int, Trained]]:
    settings = group[0].trainer.settings
    if settings.momentum or settings.prox or settings.scaffold:
        return _finished(group, *_descended(group, gradients.write))
    return _finished(group, *_stepped(group, gradients, rows))


def _privately(asked: Sequence[_Asked]) -> Iterator[tuple[int, Trained]]:
    """Jobs under example-level privacy from one start: one step each, with noise of their own."""
    first, start = asked[0].trainer, asked[0].start()
    for group in _groups(asked, lambda one: 4 * one.examples * len(start), _ROWS_BYTES):
        x = np.concatenate([one.trainer.data.x_train for one in group])
        y = np.concatenate([one.trainer.data.y_train for one in group])
        rows = np.split(first.per_example(start, x, y), np.cumsum([one.examples for one in group])[:-1])
        yield from _finished(group, *_descended(group, _noised(group, rows)))


def _noised(group: Sequence[_Asked], rows: Sequence[F32]) -> Gradient:
    """Writes each member's private mean of its own rows (n, D): the gradient of its one step."""

    def gradient(models: F32, step: int, out: F32) -> None:
        for place, (one, own) in enumerate(zip(group, rows, strict=True)):
            task = one.job.task
            if task.privacy is None:
                raise ValueError("a job without privacy is among those with it")
            out[place] = private_mean(own, task.privacy, task.noise_key, round=task.round)

    return gradient


def _descended(group: Sequence[_Asked], gradient: Gradient) -> tuple[list[F32], F32, F32]:
    """Starts, deltas and momenta by the common recurrence."""
    first = group[0].trainer
    starts, held = [one.start() for one in group], [one.held for one in group]
    corrections = [one.trainer.correction(one.job.task, own) for one, own in zip(group, held, strict=True)]
    known = [one for one in corrections if one is not None]
    deltas, momenta = descend(
        first.settings,
        np.stack(starts),
        np.stack([own.momentum for own in held]),
        gradient,
        shared=first.parts.shared.d,
        correction=np.concatenate(known) if known else None,
    )
    return starts, deltas, momenta


def _stepped(group: Sequence[_Asked], gradients: _Gradients, rows: F32) -> tuple[list[F32], F32, list[F32]]:
    """The same for plain steps, y ← y - ηg, each within the product that gives g. The deltas are in `rows` (m, D)."""
    settings, starts = group[0].trainer.settings, [one.start() for one in group]
    momenta = [one.held.momentum for one in group]  # which no step moves
    with np.errstate(over="ignore", invalid="ignore"):  # what diverges must be seen, not stopped here
        if settings.local_steps == 1:  # the delta itself, not the difference of two models
            gradients.add(np.stack(starts), 0, rows, keep=0.0, scale=-settings.learning_rate)
            return starts, rows, momenta
        np.stack(starts, out=rows)
        for step in range(settings.local_steps):
            gradients.add(rows, step, rows, keep=1.0, scale=-settings.learning_rate)
        for row, start in zip(rows, starts, strict=True):
            row -= start
    return starts, rows, momenta


def _finished(
    group: Sequence[_Asked], starts: Sequence[F32], deltas: F32, momenta: Iterable[F32]
) -> Iterator[tuple[int, Trained]]:
    for one, start, delta, momentum in zip(group, starts, deltas, momenta, strict=True):
        yield one.place, one.trainer.finish(start, delta, momentum, one.job.task, one.held)


class _Gradients:
    """A group's gradients on the mini-batch of each step, by its model's `ManyMembers`."""

    __slots__ = ("_chosen", "_data", "_fed", "_many", "_once", "_whole")

    def __init__(self, group: Sequence[_Asked], chosen: Chosen) -> None:
        first, most = group[0].trainer, max(len(chosen(one.examples, 0)) for one in group)
        many = first.many
        if many is None:
            raise ValueError("this model has no gradients of many members")
        self._many, self._whole, self._chosen = many, first.parts.whole, chosen
        self._data = [one.trainer.data for one in group]
        x, shape = first.data.x_train, (len(group), most)
        self._fed = Batches(
            np.empty((*shape, *x.shape[1:]), x.dtype), np.empty(shape, np.int64), np.empty(shape, np.float32)
        )
        self._once = all(len(chosen(one.examples, 0)) == one.examples for one in group)  # each step takes them all
        self._feed(0)

    def write(self, models: F32, step: int, out: F32) -> None:
        """The gradients at `models` (m, D) into `out` (m, D)."""
        self.add(models, step, out, keep=0.0, scale=1.0)

    def add(self, models: F32, step: int, out: F32, *, keep: float, scale: float) -> None:
        """out ← keep·out + scale·gradients; `out` may be `models`."""
        if step and not self._once:
            self._feed(step)
        here, there = views(models, self._whole), views(out, self._whole)
        self._many.gradients(here, self._fed, there, keep=keep, scale=scale)

    def _feed(self, step: int) -> None:
        """Puts the examples of this step in place; places without an example hold zeros and have weight 0."""
        x, y, weight = self._fed.x, self._fed.y, self._fed.weight
        for place, data in enumerate(self._data):
            chosen = self._chosen(len(data.x_train), step)
            used = len(chosen)
            np.take(data.x_train, chosen, axis=0, out=x[place, :used], mode="clip")  # other modes copy twice
            y[place, :used], weight[place, :used] = data.y_train[chosen], 1 / used
            x[place, used:], y[place, used:], weight[place, used:] = 0, 0, 0
