"""LiRA, RMIA, BaVarIA and the loss threshold where the best attack is known, and where there is nothing to find."""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest
from scipy import special, stats

from phalanx.attacks.membership import (
    Shadows,
    area,
    leave_one_out,
    lira_offline,
    lira_online,
    log_likelihood,
    rmia_offline,
    rmia_online,
    student,
)
from phalanx.types import F64

Attack = Callable[[F64, Shadows], F64]
ATTACKS: dict[str, Attack] = {
    "lira": lira_online,
    "lira-offline": lira_offline,
    "rmia": rmia_online,
    "rmia-offline": rmia_offline,
    "bayesian": student,
}


def models(count: int, n: int, *, gain: F64 | float, seed: int = 0, difficulty: float = 2.0) -> Shadows:
    """φ ~ N(μ_x, 1), and N(μ_x + gain, 1) for members; the examples' μ_x differ by `difficulty`."""
    rng = np.random.default_rng(seed)
    inside = rng.random((count, n)) < 0.5
    phi = rng.normal(0, difficulty, n) + rng.normal(size=(count, n)) + np.where(inside, gain, 0.0)
    return Shadows(phi, inside)


def auc(found: Shadows, attack: Attack) -> float:
    scores = leave_one_out(found, attack)
    return area(scores[found.inside], scores[~found.inside])


def logit(p: object) -> F64:
    found: F64 = special.logit(np.asarray(p, np.float64))
    return found


OPTIMUM = NormalDist().cdf(1 / np.sqrt(2))  # of N(μ, 1) against N(μ + 1, 1)


def test_with_many_shadows_lira_is_as_good_as_knowing_the_distributions() -> None:
    found = models(65, 2000, gain=1.0)
    assert auc(found, lira_online) == pytest.approx(OPTIMUM, abs=0.01)
    assert auc(found, student) == pytest.approx(OPTIMUM, abs=0.015)  # it pays for variances that are all the same
    assert auc(found, lira_offline) == pytest.approx(OPTIMUM, abs=0.01)


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_beats_the_optimum_and_all_beat_the_loss(name: str) -> None:
    found = models(17, 4000, gain=1.0)
    loss = auc(found, lambda phi, shadows: log_likelihood(phi))
    assert loss == pytest.approx(NormalDist().cdf(1 / np.sqrt(2 * (1 + 4))), abs=0.01)  # difficulty is noise to it
    assert loss + 0.05 < auc(found, ATTACKS[name]) < OPTIMUM + 0.01


@pytest.mark.parametrize("count", [2, 3, 5, 17])
@pytest.mark.parametrize("name", ATTACKS)
def test_models_that_keep_nothing_of_an_example_tell_nothing(name: str, count: int) -> None:
    """Above all with few shadows: which of them have an example must say nothing of whether the target has it."""
    found = models(count, 60_000 // count, gain=0.0)
    assert auc(found, ATTACKS[name]) == pytest.approx(0.5, abs=0.01)  # 60,000 scores: 4 standard errors


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_works_with_one_two_or_four_shadows(name: str, count: int) -> None:
    """Some examples have no shadow on one side then."""
    found = models(count, 4000, gain=1.0)
    shadow = found.without(0)
    assert shadow.inside.all(axis=0).any()
    assert not shadow.inside.any(axis=0).all()
    assert auc(found, ATTACKS[name]) > 0.6


def test_who_knows_how_much_training_adds_to_each_example_does_better() -> None:
    """Online attacks see it, offline ones do not: for half of the examples it adds nothing."""
    gain = np.where(np.arange(3000) % 2, 2.0, 0.0)
    found = models(33, 3000, gain=gain)
    assert auc(found, lira_online) > auc(found, lira_offline) + 0.02


def test_a_prior_on_the_variances_helps_where_they_differ_as_it_says() -> None:
    """Variances from an inverse gamma distribution with ν = 4: with 16 shadows neither one for all nor their own is as
    good."""
    rng = np.random.default_rng(3)
    inside = rng.random((17, 8000)) < 0.5
    spread = 1 / np.sqrt(rng.chisquare(4, 8000) / 4)
    found = Shadows(rng.normal(size=inside.shape) * spread + np.where(inside, 1.0, 0.0), inside)
    prior = auc(found, student)
    assert prior > auc(found, lira_online) + 0.003  # the difference has a standard error of less than 0.001
    assert prior > auc(found, lambda phi, shadows: lira_online(phi, shadows, fewest=2)) + 0.003


def test_with_a_strong_prior_and_with_many_shadows_the_student_is_the_normal() -> None:
    found = models(401, 300, gain=1.0)
    phi, shadows = found.phi[0], found.without(0)
    strong = student(phi, shadows, strength=1e6)
    pooled = lira_online(phi, shadows, fewest=10_000)
    assert np.abs(strong - pooled).max() < 0.15  # (1 + 1/n) of 200 shadows at up to 5 deviations
    assert np.corrcoef(student(phi, shadows), lira_online(phi, shadows))[0, 1] > 0.99


def test_the_students_density_is_scipys() -> None:
    shadows = Shadows(np.array([[0.0, 5], [2, 6], [1, 9], [4, 7]]), np.array([[1, 0], [1, 0], [0, 1], [0, 1]]) == 1)
    pooled_in, pooled_out = (2 + 2) / 2, (4.5 + 0.5) / 2  # the squares around the means of each side
    for_in = stats.t(6, 1.0, np.sqrt((4 * pooled_in + 2) / 6 * 1.5))
    for_out = stats.t(6, 2.5, np.sqrt((4 * pooled_out + 4.5) / 6 * 1.5))
    found = student(np.array([3.0, 6.0]), shadows)
    assert found[0] == pytest.approx(for_in.logpdf(3.0) - for_out.logpdf(3.0))


def test_lira_by_hand() -> None:
    shadows = Shadows(np.array([[0.0], [2], [1], [5]]), np.array([[False], [False], [True], [True]]))
    offline = lira_offline(np.array([4.0]), shadows, fewest=2)
    assert offline == pytest.approx((4 - 1) / np.sqrt(2))
    expected = stats.norm(3, np.sqrt(8)).logpdf(4) - stats.norm(1, np.sqrt(2)).logpdf(4)
    assert lira_online(np.array([4.0]), shadows, fewest=2) == pytest.approx(expected)


def test_rmia_by_hand() -> None:
    """p = 0.9, P_out = 0.5: ½(1.3 · 0.5 + 0.7) = 0.675, ratio 4/3; for the other p = 0.2, P_out = 0.2, ratio 0.417."""
    shadows = Shadows(logit([[0.5, 0.2]]), np.zeros((1, 2), np.bool_))
    phi = logit([0.9, 0.2])
    ratios = np.array([0.9 / 0.675, 0.2 / 0.48])
    ties = ratios / (1 + ratios) / 2
    assert rmia_offline(phi, shadows) == pytest.approx([0.5 + ties[0], ties[1]])
    assert rmia_offline(phi, shadows, gamma=3.1) == pytest.approx([0.5 + ties[0], ties[1]])
    assert rmia_offline(phi, shadows, gamma=3.3) == pytest.approx(ties)


@pytest.mark.parametrize("attack", [lira_online, lira_offline, student])
def test_how_hard_an_example_is_makes_no_difference(attack: Attack) -> None:
    found = models(9, 500, gain=1.0)
    shift = np.random.default_rng(1).normal(0, 10, 500)
    harder = Shadows(found.phi + shift, found.inside)
    assert np.allclose(
        attack(found.phi[0], found.without(0)), attack(harder.phi[0], harder.without(0)), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("name", ATTACKS)
def test_the_order_of_shadows_and_examples_makes_no_difference(name: str) -> None:
    found, rng = models(9, 300, gain=1.0), np.random.default_rng(2)
    scores = ATTACKS[name](found.phi[0], found.without(0))
    shadows, order, examples = found.without(0), rng.permutation(8), rng.permutation(300)
    mixed = Shadows(shadows.phi[order][:, examples], shadows.inside[order][:, examples])
    assert np.allclose(ATTACKS[name](found.phi[0][examples], mixed), scores[examples])


def test_a_draw_that_balances_gives_membership_away_by_counting() -> None:
    """Why `Shadows` asks for fair coins: with each example in exactly half of the models, the others tell the rest."""
    rng = np.random.default_rng(0)
    inside = np.stack([rng.permutation(np.arange(4) < 2) for _ in range(3000)], axis=1)
    found = Shadows(np.zeros((4, 3000)), inside)
    counting = leave_one_out(found, lambda phi, shadows: phi - shadows.inside.sum(axis=0))
    assert area(counting[inside], counting[~inside]) == 1.0


def test_what_cannot_be_compared_is_refused() -> None:
    phi, nobody = np.zeros((2, 3)), np.zeros((2, 3), np.bool_)
    with pytest.raises(ValueError, match=r"\(s, n\)"):
        Shadows(phi, nobody[0])
    with pytest.raises(ValueError, match="not a number"):
        Shadows(phi * np.nan, nobody)
    for online in (lira_online, student):
        with pytest.raises(ValueError, match="no example is in the training"):
            online(phi[0], Shadows(phi, nobody))
        with pytest.raises(ValueError, match="no example is out of the training"):
            online(phi[0], Shadows(phi, ~nobody))
    with pytest.raises(ValueError, match="strength must be above 0"):
        student(phi[0], Shadows(phi, nobody), strength=0.0)
    with pytest.raises(ValueError, match="0 < a <= 1"):
        rmia_offline(phi[0], Shadows(phi, nobody), a=0.0)
