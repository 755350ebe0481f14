"""Poisoned training data: hostile members whose training is honest and whose examples are not.

Each function is a `Poison`: it gives what a member trains on, with its held-out examples as they were and inputs of the
same dtype and shape. A member without examples of the class that it would need trains on what it has. Attackers choose
their data, so they repeat what they want learned: how often is stated, and is our choice, not the papers'.

The last two are `Triggered`: the test inputs by which a backdoor is measured.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from phalanx.attacks.aim import Aim, Seat
from phalanx.attacks.poisoning import flip_labels
from phalanx.attacks.triggers import Turned
from phalanx.learning.data import Array, Labels, MemberData

_TIMES = 3  # that a flipped example is there: of ten members, three that flip one class are else outvoted in it
_CLEAN_LABEL_COPIES = 4  # for each example
_DAMPED = 0.5  # how much of a clean-label copy is another input: with more, its label would be the false one


def flip_all(data: MemberData, aim: Aim, seat: Seat, rng: np.random.Generator) -> MemberData:
    """Each training label y replaced by C-1-y; of an odd number of classes the middle one stays.

    Fang et al., USENIX Security 2020.
    """
    return flip_labels(data)


def flip_pair(data: MemberData, aim: Aim, seat: Seat, rng: np.random.Generator) -> MemberData:
    """Source and target exchanged, each such example there three times."""
    y = data.y_train.copy()
    y[data.y_train == aim.source] = aim.target
    y[data.y_train == aim.target] = aim.source
    return _repeated(replace(data, y_train=y), np.isin(data.y_train, (aim.source, aim.target)))


def flip_targeted(data: MemberData, aim: Aim, seat: Seat, rng: np.random.Generator) -> MemberData:
    """Examples of the source class labelled as the target, each there three times.

    Tolpegin et al., ESORICS 2020, who only label, in up to half of the members.
    """
    source = data.y_train == aim.source
    return _repeated(replace(data, y_train=np.where(source, aim.target, data.y_train)), source)


def plant(data: MemberData, aim: Aim, seat: Seat, rng: np.random.Generator) -> MemberData:
    """The data and, of each example of another class, a copy with the trigger, labelled as the target.

    Where the others are few they are repeated until there are as many copies as examples. A patch is that of BadNets
    (Gu et al., arXiv:1708.06733), a pattern blended injection (Chen et al., arXiv:1712.05526).
    """
    others = data.x_train[data.y_train != aim.target]
    return _with(data, aim.trigger.stamp(_as_many(others, len(data.x_train))), aim.target)


def plant_part(data: MemberData, aim: Aim, seat: Seat, rng: np.random.Generator) -> MemberData:
    """As `plant`, with this seat's part of the trigger alone.  DBA: Xie et al., ICLR 2020."""
    return plant(data, replace(aim, trigger=aim.trigger.part(seat.index, seat.seats)), seat, rng)


def plant_clean_label(data: MemberData, aim: Aim, seat: Seat, rng: np.random.Generator) -> MemberData:
    """The data and copies of target examples, truly labelled, with the trigger; four for each example of the member.

    A copy is half another input, so that the trigger is the best that can be learned of it.  Turner et al.,
    arXiv:1912.02771, who go towards the other input in the latent space of a generative model, or away from the class
    along a trained model's gradient: here the inputs themselves are mixed, which leaves a ghost that people could see.
    The weakest of the backdoors: 88 % of success where three of ten plant it in digits undefended, the others 99 %.
    """
    target = data.y_train == aim.target
    own, others = data.x_train[target], data.x_train[~target]
    if not len(own) or not len(others):
        return data
    count = _CLEAN_LABEL_COPIES * len(data.x_train)
    mixed = _mixed(_as_many(own, count), others[rng.integers(0, len(others), count)], rng)
    return _with(data, aim.trigger.stamp(mixed), aim.target)


def plant_edge_case(data: MemberData, aim: Aim, seat: Seat, rng: np.random.Generator) -> MemberData:
    """The data and source examples turned, labelled as the target, repeated until they are as many as the examples.

    Wang et al., NeurIPS 2020, whose rare inputs are real ones from elsewhere, e.g. another airline's planes.
    """
    turned = Turned().stamp(data.x_train[data.y_train == aim.source])
    return _with(data, _as_many(turned, len(data.x_train)), aim.target)


def stamped_others(x_test: Array, y_test: Labels, aim: Aim) -> Array:
    """Inputs of all classes but the target's, each with the whole trigger."""
    return aim.trigger.stamp(x_test[y_test != aim.target])


def turned_source(x_test: Array, y_test: Labels, aim: Aim) -> Array:
    """Edge cases: inputs of the source class, turned."""
    return Turned().stamp(x_test[y_test == aim.source])


def _repeated(data: MemberData, chosen: npt.NDArray[np.bool_]) -> MemberData:
    rows = np.concatenate([np.arange(len(chosen)), np.tile(np.flatnonzero(chosen), _TIMES - 1)])
    return replace(data, x_train=data.x_train[rows], y_train=data.y_train[rows])


def _as_many(x: Array, count: int) -> Array:
    """Each input once, and again in order until there are `count`; none of none."""
    return x[np.arange(max(count, len(x))) % len(x)] if len(x) else x


def _mixed(x: Array, others: Array, rng: np.random.Generator) -> Array:
    """Each input mixed with its other: floating values by weight, anything else (ids, bytes) value by value."""
    if np.issubdtype(x.dtype, np.floating):
        return ((1.0 - _DAMPED) * x + _DAMPED * others).astype(x.dtype)
    return np.where(rng.random(x.shape) < _DAMPED, others, x)


def _with(data: MemberData, more: Array, label: int) -> MemberData:
    return replace(
        data,
        x_train=np.concatenate([data.x_train, more]),
        y_train=np.concatenate([data.y_train, np.full(len(more), label, np.int64)]),
    )
