"""What a released model takes for the type of each class: inputs that climb its confidence.

Whoever has the model follows the derivative (Fredrikson et al., CCS 2015, Algorithm 1: by the model's own derivative,
or by differences where there is none). Whoever can only ask it tries steps at random and keeps the directions in which
the answer gets surer; of a model that gives rounded scores, or the top class and nothing else, that is all there is
(for the second see Kahla et al., CVPR 2022, arXiv:2203.05748, whose search for a first example is not done here).

Inputs are rows (n, p) scaled to 0 … 1. Letters: `c` classes, `p` features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from phalanx.learning.data import Labels
from phalanx.types import F64

Scores = Callable[[F64], F64]  # inputs (n, p) → confidence (n, c)
Slopes = Callable[[F64], F64]  # an input for each class (c, p) → how each one's confidence rises (c, p), up to a factor
_EPS = 1e-2  # of a difference, for inputs 0 … 1 in float32 models
_TINY = 1e-30
_RADIUS = 0.5  # of random steps, in each feature


@dataclass(frozen=True, slots=True)
class Prior:
    """What is known of all inputs: images (height, width) vary little from pixel to pixel. `picture` None: nothing.

    It is worth more than the scores: with it, labels alone draw a class better than derivatives do without.
    """

    picture: tuple[int, int] | None = None
    passes: int = 4  # of the mean over 3 × 3 pixels

    def smoothed(self, rows: F64) -> F64:
        """(n, p) → (n, p)."""
        if self.picture is None:
            return rows
        images = rows.reshape(-1, *self.picture)
        for _ in range(self.passes):
            images = _averaged(images)
        return images.reshape(rows.shape)

    def steps(self, n: int, features: int, rng: np.random.Generator) -> F64:
        """(n, p): random steps of deviation 1 that such inputs differ by."""
        drawn = self.smoothed(rng.normal(size=(n, features)))
        return np.asarray(drawn / drawn.std())


def invert(slopes: Slopes, classes: int, features: int, prior: Prior, *, steps: int = 10) -> F64:
    """(c, p): from grey, for each class, `steps` steps along the smoothed slope, cut to 0 … 1.

    A step's length is a twentieth of the box's diagonal. A class without a slope stays where it is.
    """
    here = np.full((classes, features), 0.5)
    for _ in range(steps):
        slope = prior.smoothed(slopes(here))
        length = np.linalg.norm(slope, axis=1, keepdims=True)
        here = np.clip(here + 0.05 * np.sqrt(features) * slope / np.where(length > 0, length, 1.0), 0, 1)
    return here


def differences(scores: Scores) -> Slopes:
    """The slope of each class's log confidence, by central differences along every feature."""

    def slopes(here: F64) -> F64:
        found, steps = np.empty_like(here), _EPS * np.eye(here.shape[1])
        for c, row in enumerate(here):
            up, down = (np.log(scores(row + sign * steps)[:, c] + _TINY) for sign in (1, -1))
            found[c] = (up - down) / (2 * _EPS)
        return found

    return slopes


def around(slopes: Slopes, prior: Prior, *, samples: int, rng: np.random.Generator) -> Slopes:
    """The mean slope at `samples` inputs around the given ones (SmoothGrad: Smilkov et al., 2017, arXiv:1706.03825)."""

    def mean(here: F64) -> F64:
        total = np.zeros_like(here)
        for _ in range(samples):
            total += slopes(np.clip(here + _RADIUS * prior.steps(len(here), here.shape[1], rng), 0, 1))
        return total / samples

    return mean


def trials(scores: Scores, prior: Prior, *, samples: int, rng: np.random.Generator) -> Slopes:
    """The slope of each class's score, whatever jumps it has: by `samples` random steps a class.

    The mean of the steps, each weighed by how much surer the answer got than on average (evolution strategies).
    """

    def slopes(here: F64) -> F64:
        found = np.zeros_like(here)
        for c, row in enumerate(here):
            tried = prior.steps(samples, len(row), rng)
            said = scores(np.clip(row + _RADIUS * tried, 0, 1))[:, c]
            found[c] = (said - said.mean()) @ tried / samples
        return found

    return slopes


def rounded(scores: Scores, digits: int = 1) -> Scores:
    """The same predictor, its confidence rounded."""
    return lambda x: np.round(scores(x), digits)


def top_class(predict: Callable[[F64], Labels], classes: int) -> Scores:
    """A predictor of labels as one of scores: 1 for its answer; 0 everywhere where it gives none (-1)."""
    return lambda x: (predict(x)[:, None] == np.arange(classes)).astype(np.float64)


def _averaged(images: F64) -> F64:
    """(n, height, width): each pixel the mean of itself and its neighbours; the border's are repeated outside."""
    height, width = images.shape[-2:]
    wide = np.pad(images, [(0, 0), (1, 1), (1, 1)], mode="edge")
    total = np.zeros_like(images)
    for down in range(3):
        for across in range(3):
            total += wide[:, down : down + height, across : across + width]
    return total / 9
