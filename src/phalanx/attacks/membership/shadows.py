"""Shadow models: models like the target, which the attackers trained, so that they know on what.

Letters: `s` shadow models, `n` examples, φ a model's confidence in an example's true label, IN and OUT the shadows that
were trained on an example and those that were not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from phalanx.types import F64

Bools = npt.NDArray[np.bool_]
_LEAST_VARIANCE = 1e-12


@dataclass(frozen=True, slots=True)
class Moments:
    """Of φ over the shadows on one side, by example (n,): how many, their mean, their squared distances from it.

    `pooled`: the variance around the examples' own means, all examples together. Without any shadow a mean is 0 until
    it is `filled`.
    """

    count: F64
    mean: F64
    squares: F64
    pooled: float

    def variance(self, fewest: int) -> F64:
        """(n,): each example's own variance where it has `fewest` shadows or more (and 2), else the pooled one."""
        own = self.squares / np.maximum(self.count - 1, 1)
        trusted = self.count >= max(fewest, 2)
        return np.maximum(np.where(trusted, own, self.pooled), _LEAST_VARIANCE)

    def filled(self, mean: F64) -> Moments:
        """With `mean` where no shadow gives one."""
        return replace(self, mean=np.where(self.count == 0, mean, self.mean))


@dataclass(frozen=True, slots=True)
class Shadows:
    """What s models say of n examples: `phi` (s, n), and which model was trained on which, `inside` (s, n).

    Membership has to be drawn by a fair coin for each model and example. Draws that balance (each example in exactly
    half of the models) tell the target's own membership to whoever counts the other models'. Raises ValueError for
    other shapes, no model, or a φ that is not a number.
    """

    phi: F64 = field(repr=False)
    inside: Bools = field(repr=False)

    def __post_init__(self) -> None:
        if self.phi.ndim != 2 or self.phi.shape != self.inside.shape or not self.phi.size:
            raise ValueError(f"confidences and membership are (s, n), got {self.phi.shape} and {self.inside.shape}")
        if np.isnan(self.phi).any():
            raise ValueError("a shadow model's confidence is not a number")

    def without(self, model: int) -> Shadows:
        """All but one of the models."""
        others = np.arange(len(self.phi)) != model
        return Shadows(self.phi[others], self.inside[others])

    def sides(self) -> tuple[Moments, Moments]:
        """IN and OUT. Of an example without a shadow on one side, that mean is the other one, moved by what training
        adds to the examples that have both: where none has, what it adds on the whole.

        Raises ValueError where one side of all examples is empty.
        """
        inside, outside = _moments(self.phi, self.inside), _moments(self.phi, ~self.inside)
        for side, word in ((inside, "in"), (outside, "out of")):
            if not side.count.any():
                raise ValueError(f"no example is {word} the training of any shadow model, and that is compared")
        both = (inside.count > 0) & (outside.count > 0)
        if both.any():
            added = float((inside.mean - outside.mean)[both].mean())
        else:
            added = float(self.phi[self.inside].mean() - self.phi[~self.inside].mean())
        return inside.filled(outside.mean + added), outside.filled(inside.mean - added)

    def outside(self) -> Moments:
        """OUT alone, which needs no shadow on the other side unless an example has none on this one."""
        found = _moments(self.phi, ~self.inside)
        return found if found.count.all() else self.sides()[1]


def leave_one_out(models: Shadows, attack: Callable[[F64, Shadows], F64]) -> F64:
    """(m, n) scores: each of the m models is the target in turn, the others are the attackers' shadows.

    `attack` takes the target's φ (n,) and the shadows, and gives scores (n,), higher for members. Carlini et al.,
    S&P 2022, section VI-A.
    """
    return np.stack([attack(row, models.without(target)) for target, row in enumerate(models.phi)])


def _moments(phi: F64, side: Bools) -> Moments:
    count = side.sum(axis=0).astype(np.float64)
    mean = np.where(side, phi, 0.0).sum(axis=0) / np.maximum(count, 1)
    squares = (np.where(side, phi - mean, 0.0) ** 2).sum(axis=0)
    freedom = np.maximum(count - 1, 0).sum()
    values = phi[side]
    spread = squares.sum() / freedom if freedom else (values.var() if values.size else 1.0)  # of one shadow: all of it
    return Moments(count, mean, squares, max(float(spread), _LEAST_VARIANCE))
