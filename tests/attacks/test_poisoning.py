"""Poisoning attacks reach their own goal where nothing defends, and leave out the privacy that they were ordered."""

from __future__ import annotations

import numpy as np
import pytest

from phalanx.attacks import NotANumber, SignFlip, Unprotected, flip_labels, label_flip
from phalanx.attacks.ballots import Claim, LyingBallot, false_vote
from phalanx.types import F32, ExamplePrivacy, TrainTask
from tests.attacks.conftest import Federation, honest

PLAIN = TrainTask(0, None)
PRIVATE = TrainTask(
    0, ExamplePrivacy(clip_l2=1.0, noise_multiplier=3.8, normaliser=122, epsilon=8, delta=1e-5), b"k" * 32
)


def test_flipping_labels_mirrors_the_training_classes_and_leaves_held_out_ones_true(federation: Federation) -> None:
    data = federation.data[0]
    flipped = flip_labels(data)
    assert (flipped.y_train + data.y_train == 9).all()
    assert (flipped.y_held == data.y_held).all()
    assert (flipped.x_train == data.x_train).all()


def test_four_label_flippers_of_ten_cost_twenty_points_under_a_plain_mean(
    federation: Federation, clean_model: F32
) -> None:
    poisoned = federation.run(20, {i: label_flip(federation.data[i], honest) for i in range(4)})
    assert federation.accuracy(clean_model) > 0.92
    assert federation.accuracy(poisoned) < federation.accuracy(clean_model) - 0.2
    assert federation.recall(poisoned).min() < 0.4


def test_one_sign_flipper_of_ten_brings_a_plain_mean_down_to_guessing(federation: Federation) -> None:
    assert federation.accuracy(federation.run(5, {})) > 0.85
    assert federation.accuracy(federation.run(5, {0: SignFlip(federation.trainers[0])})) < 0.2


def test_one_nan_update_ends_the_model_under_a_plain_mean(federation: Federation) -> None:
    assert not np.isfinite(federation.run(1, {0: NotANumber(federation.trainers[0])})).any()
    assert np.isfinite(federation.run(1, {})).all()


def test_a_sign_flipper_sends_its_honest_update_times_minus_its_scale(federation: Federation) -> None:
    trainer = federation.trainers[0]
    honest_delta = trainer.train(federation.start, PLAIN, None).delta
    assert (SignFlip(trainer, 4.0).train(federation.start, PLAIN, None).delta == -4 * honest_delta).all()


def test_attackers_ignore_the_order_to_clip_and_to_add_noise(federation: Federation) -> None:
    trainer = federation.trainers[0]
    plain, private = (trainer.train(federation.start, task, None).delta for task in (PLAIN, PRIVATE))
    assert not np.allclose(plain, private, atol=0.01)
    assert (Unprotected(trainer).train(federation.start, PRIVATE, None).delta == plain).all()
    assert (SignFlip(trainer, 1.0).train(federation.start, PRIVATE, None).delta == -plain).all()


@pytest.mark.parametrize("claim", Claim)
def test_a_lying_ballot_adds_up_and_claims_all_of_the_members_examples(federation: Federation, claim: Claim) -> None:
    trainer = federation.trainers[0]
    rubbish = np.full_like(federation.start, np.nan)
    truth = trainer.evaluate(rubbish, federation.start, None)
    lie = LyingBallot(trainer, claim).evaluate(rubbish, federation.start, None)
    claimed, denied = (lie.better, lie.worse) if claim is Claim.BETTER else (lie.worse, lie.better)
    assert lie.total == claimed == truth.total
    assert lie.right == lie.better
    assert sum(lie.total) == len(federation.data[0].y_held) > 0
    assert not any(denied)
    assert lie.finite
    assert not truth.finite


@pytest.mark.parametrize(("claim", "worse", "accuracy"), [(Claim.BETTER, False, 10), (Claim.WORSE, True, 0)])
def test_the_same_lie_as_a_vote_is_the_largest_that_a_vote_can_hold(claim: Claim, worse: bool, accuracy: int) -> None:
    vote = false_vote(claim, 10)
    assert (vote.worse, vote.accuracy, vote.finite) == (worse, accuracy, True)


def test_a_liar_trains_as_the_trainer_that_it_wraps(federation: Federation) -> None:
    attack = SignFlip(federation.trainers[0])
    lied = LyingBallot(attack, Claim.BETTER).train(federation.start, PLAIN, None)
    assert (lied.delta == attack.train(federation.start, PLAIN, None).delta).all()
