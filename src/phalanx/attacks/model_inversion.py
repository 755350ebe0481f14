"""What a released model takes for the type of each class: inputs that climb its confidence.

Whoever has the model follows the derivative (Fredrikson et al., CCS 2015, Algorithm 1: by the model's own derivative,
or by differences where there is none). Whoever can only ask it tries steps at random and keeps the directions in which
the answer gets surer; of a model that gives rounded scores, or the top class and nothing else, that is all there is
(for the second see Kahla et al., CVPR 2022, arXiv:2203.05748, whose search for a first example is not done here).

Inputs are rows (n, p) scaled to 0 … 1. Letters: `c` classes, `p` features.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from phalanx.learning.data import Labels
from phalanx.types import F64

Scores = Callable[[F64], F64]  # inputs (n, p) → confidence (n, c)
Slopes = Callable[[F64], F64]  # an input for each class (c, p) → how each one's confidence rises (c, p), up to a factor
_EPS = 1e-2  # of a difference, for inputs 0 … 1 in float32 models
_TINY = 1e-30
_AT_ONCE = 1 << 22  # numbers of made-up inputs at once


def invert(
    slopes: Slopes, classes: int, features: int, *, steps: int = 10, smooth: tuple[int, int] | None = None
) -> F64:
    """(c, p): from grey, for each class, `steps` steps along the slope, cut to 0 … 1.

    A step's length is a twentieth of the box's diagonal. `smooth` (height, width): inputs are images, which vary little
    from pixel to pixel, so each slope is averaged over 3 × 3 pixels. A class without a slope stays where it is.
    """
    here = np.full((classes, features), 0.5)
    for _ in range(steps):
        slope = slopes(here)
        if smooth is not None:
            slope = _averaged(slope.reshape(classes, -1, *smooth)).reshape(here.shape)
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


def trials(scores: Scores, *, radius: float, samples: int, rng: np.random.Generator) -> Slopes:
    """The slope of each class's score, whatever steps it has: by `samples` random steps of `radius` in each feature.

    The mean of the steps, each weighed by how much surer the answer got than on average (evolution strategies).
    """

    def slopes(here: F64) -> F64:
        found = np.zeros_like(here)
        size = max(1, _AT_ONCE // here.shape[1])
        for c, row in enumerate(here):
            tried = rng.normal(size=(min(samples, size), len(row)))
            said = scores(np.clip(row + radius * tried, 0, 1))[:, c]
            found[c] = (said - said.mean()) @ tried / len(tried)
        return found

    return slopes


def rounded(scores: Scores, digits: int = 1) -> Scores:
    """The same predictor, its confidence rounded."""
    return lambda x: np.round(scores(x), digits)


def top_class(predict: Callable[[F64], Labels], classes: int) -> Scores:
    """A predictor of labels as one of scores: 1 for its answer; 0 everywhere where it gives none (-1)."""
    return lambda x: (predict(x)[:, None] == np.arange(classes)).astype(np.float64)


def _averaged(images: F64) -> F64:
    """(…, height, width): each pixel the mean of itself and its neighbours; the border's are repeated outside."""
    height, width = images.shape[-2:]
    wide = np.pad(images, [(0, 0)] * (images.ndim - 2) + [(1, 1), (1, 1)], mode="edge")
    total = np.zeros_like(images)
    for down in range(3):
        for across in range(3):
            total += wide[..., down : down + height, across : across + width]
    return total / 9
