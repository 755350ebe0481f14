"""Model inversion draws what sets the classes apart, out of labels too; out of a model of other labels it does not."""

from __future__ import annotations

import numpy as np
import pytest

from phalanx.attacks.input_slopes import slopes_of
from phalanx.attacks.model_inversion import Prior, Slopes, around, differences, invert, rounded, top_class, trials
from phalanx.attacks.similarity import correlation
from phalanx.learning.layout import unflatten
from phalanx.types import F32, F64
from tests.attacks.conftest import MODEL, MODULE, Federation

NOTHING = Prior()


class Asked:
    """A softmax regression and the ways to ask it."""

    def __init__(self, model: F32, federation: Federation) -> None:
        self.tensors = unflatten(model, federation.trainers[0].layout)

    def confidence(self, x: F64) -> F64:
        assert MODEL.logits is not None
        odds = np.exp(MODEL.logits(self.tensors, x.astype(np.float32)).astype(np.float64))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))

    def slopes(self, kind: str) -> Slopes:
        rng = np.random.default_rng(0)
        if kind == "derivative":
            return slopes_of(MODULE, self.tensors, lambda x: x.astype(np.float32), np.ones(64, np.float32))
        if kind == "differences":
            return differences(self.confidence)
        if kind == "rounded":
            return trials(rounded(self.confidence), NOTHING, samples=200, rng=rng)
        return trials(top_class(lambda x: self.confidence(x).argmax(axis=1), 10), NOTHING, samples=200, rng=rng)


def similarity(drawn: F64, federation: Federation) -> float:
    """Correlation with the classes' means, the mean of all taken from both."""
    x, y = federation.split.x_test, federation.split.y_test
    means = np.stack([x[y == c].mean(axis=0) for c in range(10)])
    centred = drawn - drawn.mean(axis=0), means - means.mean(axis=0)
    return float(np.mean([correlation(a, b) for a, b in zip(*centred, strict=True)]))


@pytest.mark.parametrize(
    ("kind", "least"), [("derivative", 0.8), ("differences", 0.8), ("rounded", 0.7), ("top class", 0.7)]
)
def test_every_class_is_drawn_whatever_the_model_tells(
    kind: str, least: float, clean_model: F32, federation: Federation
) -> None:
    drawn = invert(Asked(clean_model, federation).slopes(kind), 10, 64, NOTHING)
    assert similarity(drawn, federation) > least


def test_off_twin_a_model_that_knows_nothing_of_the_classes_draws_nothing(federation: Federation) -> None:
    other = np.random.default_rng(0).normal(size=federation.start.size).astype(np.float32)
    drawn = invert(Asked(other, federation).slopes("derivative"), 10, 64, NOTHING)
    assert abs(similarity(drawn, federation)) < 0.2


def test_differences_are_the_derivative(clean_model: F32, federation: Federation) -> None:
    asked, here = Asked(clean_model, federation), np.full((10, 64), 0.5)
    by_steps, exact = asked.slopes("differences")(here), asked.slopes("derivative")(here)
    assert by_steps == pytest.approx(exact, abs=0.02 * float(np.abs(exact).max()))


def test_a_mean_of_slopes_around_is_near_the_slope_of_a_smooth_model(clean_model: F32, federation: Federation) -> None:
    own = Asked(clean_model, federation).slopes("derivative")
    near = around(own, NOTHING, samples=20, rng=np.random.default_rng(0))(np.full((10, 64), 0.5))
    assert correlation(near, own(np.full((10, 64), 0.5))) > 0.8


def test_the_prior_leaves_what_is_smooth_and_evens_out_what_is_not() -> None:
    prior = Prior((6, 6), passes=1)
    board = (np.indices((6, 6)).sum(axis=0) % 2).astype(np.float64).reshape(1, 36)
    assert prior.smoothed(np.ones((1, 36))) == pytest.approx(np.ones((1, 36)))
    assert np.ptp(prior.smoothed(board)) < 0.4 * np.ptp(board)
    assert NOTHING.smoothed(board) is board
    assert prior.steps(50, 36, np.random.default_rng(0)).std() == pytest.approx(1.0)


def test_no_answer_is_no_score_and_a_class_without_a_slope_stays_grey() -> None:
    scores = top_class(lambda x: np.array([1, -1]), 3)(np.zeros((2, 4)))
    assert scores.tolist() == [[0, 1, 0], [0, 0, 0]]
    assert invert(lambda here: np.zeros_like(here), 3, 4, NOTHING).tolist() == [[0.5] * 4] * 3
