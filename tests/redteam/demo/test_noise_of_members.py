"""The noise in the members' real updates, as they come out of training on digits, is the noise that was charged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from phalanx.entropy import system_entropy
from phalanx.learning.dpsgd import clipped_sum
from phalanx.redteam.demo.scenario import DELTA, EPSILON, HONEST, MEMBERS, Draw, initial_model, split, trainer
from phalanx.types import F32, F64, ExamplePrivacy, TrainTask
from tests.privacy.noise_check import NoiseCheck, check_noise

CHARGED = ExamplePrivacy(clip_l2=1.0, noise_multiplier=3.8, normaliser=129, epsilon=EPSILON, delta=DELTA)


def _sums(drawn: ExamplePrivacy, rounds: int = 3) -> tuple[F64, F64]:
    """Clipped sums of gradients without noise, and the noised ones read back out of a member's updates."""
    member = trainer(split(Draw(0)).members[MEMBERS[0]])
    model, state = initial_model(), None
    clear: list[F64] = []
    noised: list[F64] = []
    for number in range(1, rounds + 1):
        before: F32 = np.zeros_like(model) if state is None else state
        clear.append(clipped_sum(member.per_example(model, member.data.x_train, member.data.y_train), drawn.clip_l2))
        trained = member.train(model, TrainTask(number, drawn, system_entropy(32)), state)
        momentum = -trained.delta.astype(np.float64) / HONEST.learning_rate
        noised.append((momentum - HONEST.momentum * before.astype(np.float64)) * drawn.normaliser)
        model, state = model + trained.delta, trained.state
    return np.concatenate(clear), np.concatenate(noised)


def _check(drawn: ExamplePrivacy) -> NoiseCheck:
    return check_noise(*_sums(drawn), CHARGED.noise_multiplier * CHARGED.clip_l2, false_alarm=1e-6)


def test_the_noise_of_real_updates_is_the_noise_that_was_charged() -> None:
    assert _check(CHARGED).passed


@pytest.mark.parametrize("share", [2 / 3, 3 / 2])
def test_other_noise_than_was_charged_is_noticed(share: float) -> None:
    found = _check(replace(CHARGED, noise_multiplier=share * CHARGED.noise_multiplier))
    assert not found.passed
    assert found.std_found == pytest.approx(share * CHARGED.noise_multiplier, rel=0.1)


def test_an_update_that_repeats_its_noise_in_every_round_is_noticed() -> None:
    """The off twin of one draw for one charge: the difference of two such sums has no noise at all."""
    clear, noised = _sums(CHARGED, rounds=4)
    half = len(clear) // 2
    fresh = (noised - clear)[:half] - (noised - clear)[half:]
    repeated = (noised - clear)[:half] - (noised - clear)[:half]
    std = CHARGED.noise_multiplier * np.sqrt(2)
    assert check_noise(np.zeros(half), fresh, std, false_alarm=1e-6).passed
    assert not check_noise(np.zeros(half), repeated, std, false_alarm=1e-6).passed
