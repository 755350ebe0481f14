"""What members do with the federation's statistics: the same scaling, the same labels, the same words at each.

Suppression decides what members go on to use. It takes nothing out of the vector that the round released.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError

from phalanx.canonical import encode
from phalanx.errors import ConfigError
from phalanx.learning.data import Array
from phalanx.learning.layout import unflatten
from phalanx.learning.statistics import COUNT_SCALE, Request, slots_of
from phalanx.types import F32, F64

_SMALLEST_STD = 1e-3  # in half ranges: below, the difference of two float32 shares is mostly their rounding
_ROUNDING = 1e-6  # of float32 shares


@dataclass(frozen=True, slots=True)
class Statistics:
    """The federation's statistics. `mean` and `std` (p,) are in the columns' units, over the values that are present.

    `labels`, `slots` are the indices that were kept, in order, `label_shares`, `slot_shares` the shares of examples
    that have them. `typical_examples`: a power of two near the members' sizes. `epsilon`: what each example paid at
    most, None without privacy. Raises ConfigError where the parts do not fit together.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")
    request: Request
    mean: tuple[float, ...]
    std: tuple[float, ...]
    present: tuple[float, ...]
    labels: tuple[int, ...]
    label_shares: tuple[float, ...]
    slots: tuple[int, ...]
    slot_shares: tuple[float, ...]
    typical_examples: int
    members: int
    epsilon: float | None = None

    def __post_init__(self) -> None:
        p = len(self.request.columns)
        if not len(self.mean) == len(self.std) == len(self.present) == p:
            raise ConfigError(f"statistics of {p} columns need as many means, deviations and shares")
        if not all(math.isfinite(x) for x in (*self.mean, *self.std, *self.present)) or min(self.std, default=0) < 0:
            raise ConfigError("means and deviations must be finite, and deviations at least 0")
        for what, kept, shares, n in (
            ("labels", self.labels, self.label_shares, len(self.request.labels)),
            ("slots", self.slots, self.slot_shares, self.request.slots),
        ):
            if len(kept) != len(shares) or list(kept) != sorted(set(kept)) or not set(kept) <= set(range(n)):
                raise ConfigError(f"the kept {what} must be ascending, below {n}, and have a share each")


def statistics_of(
    model: F32,
    request: Request,
    *,
    members: int,
    largest_weight: float,
    min_share: float = 0.0,
    min_members: int = 2,
    epsilon: float | None = None,
) -> Statistics:
    """The statistics in a model that started from zeros and took in the rows of `members`, rare things suppressed.

    A label or slot is dropped whose share is below `min_share`, or that fewer than `min_members` members hold. Their
    number is at least the aggregate of the rows' 0 and 1, divided by the largest weight of one row in it.

    | rule, for n rows      | largest_weight     | min_members holders are then               |
    |-----------------------|--------------------|--------------------------------------------|
    | mean, equal weights   | 1/n                | there if nobody lies                       |
    | mean, claimed weights | the largest weight | there if nobody lies                       |
    | trimmed mean of f     | 1/(n-2f)           | there and honest, if at most f members lie |
    | anything else         | 1                  | 1 is the most that can be shown            |

    Central noise adds to the shares, and then both are estimates. Raises ConfigError where so many members cannot be
    shown, ValueError for a model of another layout or one that is not finite.
    """
    if not (0 < largest_weight <= 1 and members >= 1 and min_members >= 1 and 0 <= min_share <= 1):
        raise ValueError(f"got {members} members, {largest_weight=}, {min_members=}, {min_share=}")
    if min_members * largest_weight > 1 + _ROUNDING:
        raise ConfigError(
            f"min_members = {min_members} cannot be shown: under this rule one row may weigh {largest_weight:g}",
            hint=f"set min_members to {int(1 / largest_weight + _ROUNDING)} or less, or use the mean of more members",
        )
    tensors = unflatten(model, request.layout)
    if not np.isfinite(model).all():
        raise ValueError("statistics must be finite")
    parts = {name: value.astype(np.float64) for name, value in tensors.items()}
    empty = np.zeros(0)

    def kept(what: str) -> tuple[tuple[int, ...], tuple[float, ...]]:
        shares, holds = parts.get(what, empty), parts.get(f"holds-{what}", empty)
        indices = np.flatnonzero((shares >= min_share) & (holds >= min_members * largest_weight * (1 - _ROUNDING)))
        return tuple(indices.tolist()), tuple(np.clip(shares[indices], 0, 1).tolist())

    mean, std, present = _moments(request, *(parts.get(name, empty) for name in ("present", "mean", "square")))
    labels, label_shares = kept("labels")
    slots, slot_shares = kept("words")
    return Statistics(
        request=request,
        mean=mean,
        std=std,
        present=present,
        labels=labels,
        label_shares=label_shares,
        slots=slots,
        slot_shares=slot_shares,
        typical_examples=1 << round(float(np.clip(parts["count"][0], 0, 0.75)) * COUNT_SCALE),
        members=members,
        epsilon=epsilon,
    )


def _moments(request: Request, present: F64, mean: F64, square: F64) -> tuple[tuple[float, ...], ...]:
    """Mean, deviation and present share, from the shares over all examples. A column without values: its middle, 0."""
    some = np.where(present > 0, present, 1.0)
    center = np.clip(np.where(present > 0, mean, 0.0) / some, -1, 1)
    variance = np.clip(np.where(present > 0, square, 0.0) / some - center**2, 0, 1)
    spread = np.where(variance < _SMALLEST_STD**2, 0.0, np.sqrt(variance))
    low, half = np.asarray(request.low), (np.asarray(request.high) - np.asarray(request.low)) / 2
    columns = (low + (center + 1) * half, spread * half, np.clip(present, 0, 1))
    return tuple(tuple(column.tolist()) for column in columns)


def standardise(numbers: Array, statistics: Statistics) -> F32:
    """(n, p) → (n, p): clipped into the bounds, less the federation's mean, over its deviation (1 where that is 0).

    A missing value becomes 0, the federation's mean.
    """
    request = statistics.request
    if numbers.ndim != 2 or numbers.shape[1] != len(request.columns):
        raise ValueError(f"expected numbers (n, {len(request.columns)}), got shape {numbers.shape}")
    std = np.asarray(statistics.std)
    clipped = np.clip(np.asarray(numbers, dtype=np.float64), request.low, request.high)
    scaled = (clipped - np.asarray(statistics.mean)) / np.where(std > 0, std, 1.0)
    return np.where(np.isnan(scaled), 0.0, scaled).astype(np.float32)


def vocabulary(words: Iterable[str], statistics: Statistics) -> dict[str, int]:
    """A member's own words that were kept → the column of each: the position of its slot among the kept ones.

    Words that share a bucket share its column (the hashing trick, Weinberger et al., ICML 2009).
    """
    column = {slot: i for i, slot in enumerate(statistics.slots)}
    slots = slots_of(words, statistics.request)
    return {word: column[slot] for word, slot in slots.items() if slot in column}


def as_json(statistics: Statistics) -> dict[str, Any]:
    """The statistics as a JSON value, for a file; its canonical bytes can be hashed into a configuration."""
    return asdict(statistics)


def from_json(value: Any) -> Statistics:
    """The statistics in a JSON value. Raises ConfigError for anything that `as_json` cannot have given."""
    try:
        return TypeAdapter(Statistics).validate_json(encode(value), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ConfigError(f"these are no statistics: {place}: {first['msg'].lower()}") from None
    except ValueError as error:
        raise ConfigError(f"these are no statistics: {error}") from None
