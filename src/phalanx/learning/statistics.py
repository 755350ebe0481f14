"""What all members need to know of the data before they train on it: statistics as a model of one round.

The model is a vector of named tensors, all zero at the start. A member's training returns its own statistics as the
delta, and the ordinary round does the rest: sealed, screened, robustly aggregated, noised, logged, released. There is
no second protocol, and every control works on it.

Every number of a member's row lies in [-1, 1], whatever the columns' units and the member's size: a number x, clipped
into the declared [low, high], counts as u = 2(x - low)/(high - low) - 1. With `p` columns, `c` labels and `s` slots:

| tensor                    | shape     | a member's value                                                         |
|---------------------------|-----------|--------------------------------------------------------------------------|
| present                   | (p,)      | the share of its examples that have a value                              |
| mean, square              | (p,)      | the mean of u and of u², over all its examples; a missing value counts 0 |
| labels, words             | (c,) (s,) | the share of its examples with that label, or with a word in that slot   |
| holds-labels, holds-words | (c,) (s,) | 1 if any of its examples has it, else 0                                  |
| count                     | (1,)      | floor(log2 n)/64 for its n examples, not n itself                        |

So rows are comparable, which a rule that works coordinate by coordinate needs. What the aggregate then is:

- Mean with claimed weights, and exact sizes claimed: the statistics of the pooled data, to float32 rounding.
- Mean with equal weights: each *member* counts alike, so a small member's data weigh more than their number. The
  difference to the pooled mean is -cov(nᵢ, meanᵢ)/mean(nᵢ) over members; the deviation still holds the spread between
  members.
- Trimmed mean, median: in addition biased towards the middle members where members differ. Mean and square are trimmed
  on their own, and label shares need not sum to 1.

A deviation under 1/1000 of half the declared range reads as 0 (float32 does not hold it): declare bounds near the data.
Hashing a word hides nothing: who sees a row can try words, and shares in steps of 1/n give n away. Where single
examples must be protected, run with example-level privacy. `learning.preprocessing` makes use of the aggregate.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import ConfigDict

from phalanx.canonical import digest
from phalanx.errors import ConfigError
from phalanx.learning.data import Array, Labels
from phalanx.learning.dpsgd import private_mean
from phalanx.learning.layout import check_vector, flatten, layout_of, unflatten
from phalanx.learning.schema import Schema, category_word
from phalanx.types import F32, F64, Layout, MemberId, Tally, Trained, TrainTask

MAX_SLOTS = 1 << 20
MIN_COMPARED = 5  # with fewer members a median deviation says nothing
COUNT_SCALE = 64
_ODD = 8.0  # for normal means of 5 members one column in twenty is further out by chance, of 20 members hardly any
_SMALLEST_SPREAD = 0.01  # in u: members that agree to half a percent of the range do not make an oddity of the next
_SEEN = 4.0  # deviations of the noise: a slot that nobody holds is called held once in 30,000
_DROWNED = 10.0  # deviations of the noise that a count of examples must have for shares of it to mean anything
_SLACK = 1.0  # beyond [-1, 1], for noise


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked, the same at every member. Raises ConfigError for what cannot be asked.

    `columns` names the numbers, `low` and `high` bound them: public, never read off the data. `words` are public, a
    slot each; every other word shares one of `buckets` slots, chosen by its SHA-256. Without buckets it is left out.
    `exact_sizes`: members claim their number of examples, not the power of two below it.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")
    columns: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    labels: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    buckets: int = 0
    exact_sizes: bool = False

    def __post_init__(self) -> None:
        if not len(self.columns) == len(self.low) == len(self.high):
            lengths = f"{len(self.columns)}, {len(self.low)} and {len(self.high)}"
            raise ConfigError(f"statistics need a low and a high bound for each column, got {lengths}")
        for name, low, high in zip(self.columns, self.low, self.high, strict=True):
            if not (low < high and math.isfinite(high - low)):
                raise ConfigError(f"statistics of {name!r} need finite bounds low < high, got {low} and {high}")
        if not 0 <= self.buckets <= MAX_SLOTS - len(self.words):
            raise ConfigError(f"buckets and words are 0 to {MAX_SLOTS} together, got {self.buckets}, {len(self.words)}")
        if len(set(self.words)) != len(self.words):
            raise ConfigError("the words of a request are named once each")
        if not (self.columns or self.labels or self.slots):
            raise ConfigError("a request for statistics of nothing: it has no columns, labels, words or buckets")

    @property
    def slots(self) -> int:
        """s: public words and buckets."""
        return len(self.words) + self.buckets

    @property
    def layout(self) -> Layout:
        """The layout of a row, and of the model. Tensors that would be empty are left out."""
        return layout_of(_tensors(self, np.zeros(1 + self.shares), np.zeros(self.shares), 0))

    @property
    def shares(self) -> int:
        """How many shares an example adds to."""
        return 3 * len(self.columns) + len(self.labels) + self.slots

    @property
    def example_l2(self) -> float:
        """The longest that an example can be: with this `clip_l2` nothing is clipped. A text holds few of the slots."""
        return math.sqrt(1 + 3 * len(self.columns) + bool(self.labels) + self.slots)

    @property
    def row_l2(self) -> float:
        """The longest that a member's row can be without example-level noise: for `norm-clip`, and the norm bound."""
        return math.sqrt(1 + 3 * len(self.columns) + 2 * len(self.labels) + 2 * self.slots)


def request_of(schema: Schema, buckets: int = 0) -> Request:
    """The request for a schema's numbers, labels, declared categories, and words in `buckets`. Raises ConfigError."""
    numbers = [column for column in schema.columns if column.kind == "number"]
    for column in numbers:
        if column.low is None or column.high is None:
            raise ConfigError(f"statistics of {column} need its low and high", hint="declare them in the schema")
    return Request(
        columns=tuple(column.name for column in numbers),
        low=tuple(float(column.low) for column in numbers if column.low is not None),
        high=tuple(float(column.high) for column in numbers if column.high is not None),
        labels=schema.labels,
        words=tuple(category_word(column, value) for column in schema.columns for value in column.values or ()),
        buckets=buckets,
    )


def slots_of(words: Iterable[str], request: Request) -> dict[str, int]:
    """The slot of each word that has one: its own if it is public, else that of its hash, the same on any machine."""
    public = {word: i for i, word in enumerate(request.words)}
    slots = {word: public[word] if word in public else _bucket(word, request) for word in sorted(set(words))}
    return {word: slot for word, slot in slots.items() if slot is not None}


def _bucket(word: str, request: Request) -> int | None:
    if not request.buckets:
        return None
    return len(request.words) + int(digest("word", word.encode("utf-8", "surrogatepass")), 16) % request.buckets


def enough_examples(noise: float) -> int:
    """How many examples a member needs, so that it declines because of the noise once in 30,000 times at most.

    `noise` is the deviation σ·clip_l2 of the noise on a sum over examples; a public number, as the answer is.
    """
    return math.floor((_DROWNED + _SEEN) * noise) + 1


# ----------------------------------------------------------------------------------------------------- a member's row


class StatisticsTrainer:
    """A member's `Trainer` for statistics: numbers (n, p), labels (n,) or None, and the words of each example.

    A NaN is a missing value; everything else, infinities too, is clipped into the bounds. Raises ValueError for shapes
    and labels that do not fit the request. Memory: n · (1 + 3p + c + s) floats while it trains.

    Without privacy a row holds the plain shares. With it, one example moves the noised sums by `clip_l2` and everything
    sent is computed from these sums alone: shares of the noised count, not of the public normaliser; "holds" where more
    than 4 deviations of noise were counted, so few examples are overlooked. An example longer than `clip_l2` counts
    less than another. The shares' bias by the noise in the count is below 1 %: a smaller count is refused.
    """

    __slots__ = ("_numbers", "_request", "_words", "_y", "layout")

    def __init__(
        self, request: Request, numbers: Array, y: Labels | None = None, words: Sequence[Collection[str]] | None = None
    ) -> None:
        n = len(numbers)
        if numbers.shape != (n, len(request.columns)) or n < 1:
            raise ValueError(f"expected numbers (n, {len(request.columns)}) with n >= 1, got shape {numbers.shape}")
        if request.labels and (y is None or y.shape != (n,) or not 0 <= y.min() <= y.max() < len(request.labels)):
            raise ValueError(f"expected {n} labels 0 … {len(request.labels) - 1}")
        if request.slots and (words is None or len(words) != n):
            raise ValueError(f"expected the words of {n} examples, got {'none' if words is None else len(words)}")
        self.layout: Layout = request.layout
        self._request = request
        self._numbers = np.asarray(numbers, dtype=np.float64)
        self._y = y
        self._words = words

    def train(self, model: F32, task: TrainTask, state: F32 | None) -> Trained:
        """See `Trainer`. The delta leads from `model` to the member's row: a second round replaces the first.

        Raises ConfigError where the noise drowns this member's examples.
        """
        check_vector(model, self.layout)
        examples = self._examples()
        if task.privacy is None:
            sums, noise, n = examples.mean(axis=0, dtype=np.float64), 0.0, len(examples)
        else:
            sums = private_mean(examples, task.privacy, task.noise_key, round=task.round).astype(np.float64)
            noise = task.privacy.noise_multiplier * task.privacy.clip_l2 / task.privacy.normaliser
            if not sums[0] > _DROWNED * noise:
                raise ConfigError(
                    "the noise of example-level privacy hides this member's statistics: it has too few examples, and "
                    "ε was spent to find that out",
                    hint="raise privacy.epsilon, lower clip_l2, ask for fewer slots, or leave this member out",
                )
            n = max(1, round(float(sums[0]) * task.privacy.normaliser))
        bits = n.bit_length() - 1
        row = flatten(_tensors(self._request, sums, sums[1:] > _SEEN * noise, bits), self.layout)
        claim = task.privacy.normaliser if task.privacy else n if self._request.exact_sizes else 1 << bits
        return Trained((row.astype(np.float64) - model).astype(np.float32), claim, np.zeros(0, dtype=np.float32))

    def evaluate(self, candidate: F32, incumbent: F32, state: F32 | None) -> Tally:
        """A ballot about no example, of one class: `finite` says whether some data could have these statistics.

        It cannot say that other statistics would be better, since members differ. It stops what a liar of 1e6 makes
        of a plain mean, and lets a lie within the range pass: against that there is the rule.
        """
        check_vector(candidate, self.layout)
        sound = bool((np.abs(candidate) <= 1 + _SLACK).all())  # False for NaN
        return Tally(worse=(0,), better=(0,), right=(0,), total=(0,), finite=sound)

    def _examples(self) -> F32:
        """(n, 1 + shares): 1, present, u, u², label, slots of each example."""
        request, n = self._request, len(self._numbers)
        missing = np.isnan(self._numbers)
        u = np.where(missing, 0.0, 2 * _unit(self._numbers, request) - 1)
        labels, slots = np.zeros((n, len(request.labels))), np.zeros((n, request.slots))
        if request.labels and self._y is not None:
            labels[np.arange(n), self._y] = 1
        every = self._words if request.slots and self._words is not None else ()
        slot = slots_of((word for words in every for word in words), request)
        for i, words in enumerate(every):
            slots[i, [slot[word] for word in words if word in slot]] = 1
        return np.concatenate([np.ones((n, 1)), ~missing, u, u**2, labels, slots], axis=1).astype(np.float32)


def _unit(x: F64, request: Request) -> F64:
    """Numbers (n, p), clipped into their bounds, as shares of the way from low to high. NaN stays NaN."""
    low, high = np.asarray(request.low), np.asarray(request.high)
    share: F64 = (np.clip(x, low, high) - low) / (high - low)
    return share


def _tensors(request: Request, sums: F64, seen: Array, bits: int) -> dict[str, F32]:
    """A row as named tensors, from the sums (1 + shares,) of examples and of what they add to, over any one number."""
    p, c = len(request.columns), len(request.labels)
    shares = sums[1:] / sums[0] if sums[0] else sums[1:]
    ends = [p, 2 * p, 3 * p, 3 * p + c]
    parts = dict(zip(("present", "mean", "square", "labels", "words"), np.split(shares, ends), strict=True))
    parts["holds-labels"], parts["holds-words"] = np.split(seen[3 * p :], [c])
    parts["count"] = np.array([bits / COUNT_SCALE])
    return {name: value.astype(np.float32) for name, value in parts.items() if value.size}


# ------------------------------------------------------------------------------------------ units that differ, in range


@dataclass(frozen=True, slots=True)
class OddMember:
    """A member whose mean of a column lies `deviations` robust deviations from the members' median."""

    member: MemberId
    column: str
    mean: float
    median: float
    deviations: float

    def __str__(self) -> str:
        return (
            f"warning: the mean of {self.column} at {self.member} is {self.mean:.3g}, the members' median is "
            f"{self.median:.3g}: check its unit and how it is measured there"
        )


def odd_members(rows: Mapping[MemberId, F32], request: Request) -> tuple[OddMember, ...]:
    """Which members' column means lie far from the others', furthest first: a unit mistake that stays within range.

    For the lab, where rows are visible. `rows` are the members' deltas from a model of zeros. Distance is from the
    median, in units of 1.4826 · MAD (median absolute deviation; Hampel, JASA 1974). A warning, not a finding: members
    may differ. Raises ValueError below MIN_COMPARED members: then nothing was tested.
    """
    if len(rows) < MIN_COMPARED:
        raise ValueError(f"an odd member is told from others by at least {MIN_COMPARED}, got {len(rows)}")
    names, found = sorted(rows), []
    tensors = {name: unflatten(rows[name], request.layout) for name in names}
    for j, column in enumerate(request.columns):
        have = [name for name in names if tensors[name]["present"][j] > 0]
        if len(have) < MIN_COMPARED:
            continue
        u = np.array([float(tensors[name]["mean"][j]) / float(tensors[name]["present"][j]) for name in have])
        median = float(np.median(u))
        spread = max(1.4826 * float(np.median(np.abs(u - median))), _SMALLEST_SPREAD)
        low, half = request.low[j], (request.high[j] - request.low[j]) / 2
        for name, value in zip(have, u.tolist(), strict=True):
            if abs(value - median) > _ODD * spread:
                natural = (low + (value + 1) * half, low + (median + 1) * half)
                found.append(OddMember(name, column, *natural, abs(value - median) / spread))
    return tuple(sorted(found, key=lambda one: (-one.deviations, one.member, one.column)))
