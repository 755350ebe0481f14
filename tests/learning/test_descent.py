"""Local steps: momentum over steps and rounds, and one charged release a round."""

from __future__ import annotations

import numpy as np
import pytest

from phalanx.learning.descent import Descent, descend
from phalanx.types import F32, ExamplePrivacy, TrainTask

MODEL = np.array([1.0, -2.0], np.float32)
PLAIN = TrainTask(0, None)
PRIVATE = TrainTask(0, ExamplePrivacy(1.0, 3.8, 122, 8.0, 1e-5), b"k" * 32)


def gradient(model: F32) -> F32:
    return model


def test_momentum_is_heavy_ball_over_steps() -> None:
    settings = Descent(learning_rate=0.5, momentum=0.5, local_steps=2)
    trained = descend(settings, MODEL, PLAIN, None, 7, gradient)
    # m₁ = x, x₁ = x/2; m₂ = m₁/2 + x₁ = x, x₂ = x₁ - x/2 = 0
    assert trained.delta.tolist() == [-1.0, 2.0]
    assert trained.state.tolist() == [1.0, -2.0]
    assert trained.examples == 7


def test_two_rounds_of_one_step_are_one_round_of_two() -> None:
    once = Descent(learning_rate=0.5, momentum=0.25)
    first = descend(once, MODEL, PLAIN, None, 7, gradient)
    second = descend(once, MODEL + first.delta, PLAIN, first.state, 7, gradient)
    both = descend(Descent(learning_rate=0.5, momentum=0.25, local_steps=2), MODEL, PLAIN, None, 7, gradient)
    assert (first.delta + second.delta == both.delta).all()
    assert (second.state == both.state).all()


def test_inputs_are_not_modified() -> None:
    model, state = MODEL.copy(), np.ones(2, np.float32)
    descend(Descent(learning_rate=0.5, momentum=0.5, local_steps=3), model, PLAIN, state, 7, gradient)
    assert (model == MODEL).all()
    assert (state == 1).all()


def test_several_steps_under_privacy_are_refused_since_a_round_charges_one() -> None:
    with pytest.raises(ValueError, match="local_steps must be 1, got 2"):
        descend(Descent(learning_rate=0.5, local_steps=2), MODEL, PRIVATE, None, 7, gradient)


def test_under_privacy_the_claimed_examples_are_the_public_constant() -> None:
    assert descend(Descent(learning_rate=0.5), MODEL, PRIVATE, None, 7, gradient).examples == 122


def test_a_state_of_another_model_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(2,\), got \(3,\)"):
        descend(Descent(learning_rate=0.5), MODEL, PLAIN, np.zeros(3, np.float32), 7, gradient)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_learning_rate_that_does_not_learn_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="learning_rate"):
        Descent(learning_rate=rate)


@pytest.mark.parametrize("momentum", [-0.1, 1.0, float("nan")])
def test_a_momentum_that_does_not_fade_is_refused(momentum: float) -> None:
    with pytest.raises(ValueError, match="momentum"):
        Descent(learning_rate=1.0, momentum=momentum)


def test_no_local_step_is_refused() -> None:
    with pytest.raises(ValueError, match="local_steps must be at least 1, got 0"):
        Descent(learning_rate=1.0, local_steps=0)
