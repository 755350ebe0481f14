"""The demonstration's data: handwritten digits, split over members. Needs scikit-learn (the `demo` extra).

1,797 images of 8×8 pixels in 10 classes (Alpaydin and Kaynak, UCI, 1998), from the installed package: no network.
Values are scaled from 0 … 16 to 0 … 1. A fifth of each class is the lab's test set: it measures, nobody trains
or votes with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits

from phalanx.errors import ConfigError
from phalanx.learning.data import Labels, MemberData
from phalanx.learning.splits import Parts, dirichlet, iid
from phalanx.types import F32, MemberId

CLASSES = 10
FEATURES = 64
TEST_FRACTION = 0.2


@dataclass(frozen=True, slots=True)
class Split:
    """Digits parted over members, and the lab's test set that no member holds."""

    members: Mapping[MemberId, MemberData]
    x_test: F32 = field(repr=False)
    y_test: Labels = field(repr=False)

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """(n, classes): examples of each member (in the order of `members`) and class, held-out ones included."""
        labels = [np.concatenate([data.y_train, data.y_held]) for data in self.members.values()]
        return np.stack([np.bincount(y, minlength=CLASSES) for y in labels])


def split_digits(
    members: Sequence[MemberId],
    *,
    rng: np.random.Generator,
    alpha: float | None = None,
    held_out: float = 0.15,
    minimum: int = 40,
) -> Split:
    """The digits over `members`: even and random (`alpha` None), or each class by Dirichlet(alpha) shares.

    The second is that of Yurochkin et al., ICML 2019: the smaller alpha, the fewer classes a member has. Every member
    gets at least `minimum` examples and holds `held_out` of its own out. Raises ValueError if no such split was found.
    """
    x, y = _digits()
    test = _stratified(y, TEST_FRACTION, rng)
    x_rest, y_rest = x[~test], y[~test]
    parts = _parts(y_rest, members, alpha, minimum, rng)
    data = {member: _part(x_rest[rows], y_rest[rows], held_out) for member, rows in parts.items()}
    return Split(data, x[test], y[test])


def _digits() -> tuple[F32, Labels]:
    images, labels = load_digits(return_X_y=True)
    return (images / 16.0).astype(np.float32), labels.astype(np.int64)


def _stratified(y: Labels, fraction: float, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    chosen = np.zeros(len(y), dtype=np.bool_)
    for c in range(CLASSES):
        rows = rng.permutation(np.flatnonzero(y == c))
        chosen[rows[: round(fraction * len(rows))]] = True
    return chosen


def _parts(
    y: Labels, members: Sequence[MemberId], alpha: float | None, minimum: int, rng: np.random.Generator
) -> Parts:
    """ValueError, not ConfigError: the demonstration's numbers are ours, not a user's."""
    try:
        if alpha is not None:
            return dirichlet(labels=y, members=members, alpha=alpha, rng=rng, min_examples=minimum)
        parts = iid(examples=len(y), members=members, rng=rng)
    except ConfigError as error:
        raise ValueError(error.message) from None
    smallest = min(map(len, parts.values()))
    if smallest < minimum:
        raise ValueError(f"each member needs {minimum} examples, an even split over {len(parts)} gives {smallest}")
    return parts


def _part(x: F32, y: Labels, held_out: float) -> MemberData:
    """`x` and `y` are already in random order: the first rows are the held-out ones."""
    h = round(held_out * len(y))
    return MemberData(x[h:], y[h:], x[:h], y[:h], CLASSES)
