"""The curve's figures on cases done by hand, with ties, and beside scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from phalanx.attacks.membership import area, balanced_accuracy, roc, tpr_at
from phalanx.types import F64


def scores(*values: float) -> F64:
    return np.array(values, np.float64)


def test_a_curve_by_hand() -> None:
    curve = roc(scores(3, 2), scores(2.5, 1))
    assert curve.fpr.tolist() == [0, 0, 0.5, 0.5, 1]
    assert curve.tpr.tolist() == [0, 0.5, 0.5, 1, 1]
    assert area(scores(3, 2), scores(2.5, 1)) == 0.75
    assert balanced_accuracy(scores(3, 2), scores(2.5, 1)) == 0.75


def test_equal_scores_are_claimed_together_or_not_at_all() -> None:
    """A corner between them would be luck that no attacker can count on."""
    curve = roc(scores(1, 1, 1, 0), scores(1, 0, 0, 0))
    assert curve.fpr.tolist() == [0, 0.25, 1]
    assert curve.tpr.tolist() == [0, 0.75, 1]
    assert tpr_at(scores(1, 1, 1, 0), scores(1, 0, 0, 0), 0.0) == (0, 4)
    assert tpr_at(scores(1, 1, 1, 0), scores(1, 0, 0, 0), 0.24) == (0, 4)  # no interpolation on the way to 0.25
    assert tpr_at(scores(1, 1, 1, 0), scores(1, 0, 0, 0), 0.25) == (3, 4)


def test_scores_that_say_nothing_give_half_and_no_member() -> None:
    same, others = np.zeros(50), np.zeros(70)
    assert area(same, others) == 0.5
    assert balanced_accuracy(same, others) == 0.5
    assert tpr_at(same, others, 0.01) == (0, 50)
    assert tpr_at(same, others, 1.0) == (50, 50)


def test_with_fewer_than_a_thousand_others_a_thousandth_allows_no_false_alarm() -> None:
    members, others = np.arange(20.0), np.arange(999.0) - 989  # the highest of the others is 9
    assert tpr_at(members, others, 0.001) == (10, 20)
    assert tpr_at(members, np.append(others, -2000.0), 0.001) == (11, 20)  # a thousand others: one is allowed


def test_by_chance_as_many_members_are_claimed_as_others_and_one_more() -> None:
    """k is the number of heads before the (a + 1)th tail of a fair coin: mean a + 1, variance 2(a + 1)."""
    rng = np.random.default_rng(0)
    claimed = np.array([tpr_at(rng.random(3000), rng.random(3000), 0.001)[0] for _ in range(2000)])
    assert claimed.mean() == pytest.approx(4, abs=0.25)  # four standard errors
    assert claimed.var() == pytest.approx(8, rel=0.2)


def test_infinite_scores_are_the_highest_and_the_lowest() -> None:
    assert area(scores(np.inf, np.inf), scores(-np.inf, 5)) == 1.0
    assert tpr_at(scores(np.inf, 1), scores(-np.inf, 5), 0.0) == (1, 2)


def test_area_is_that_of_scikit_learn_with_many_ties() -> None:
    rng = np.random.default_rng(0)
    members, others = rng.integers(0, 6, 400).astype(float) + 0.5, rng.integers(0, 6, 300).astype(float)
    members[:200] -= 0.5
    labels = np.repeat([1, 0], [400, 300])
    assert area(members, others) == pytest.approx(roc_auc_score(labels, np.concatenate([members, others])))
    curve = roc(members, others)
    assert np.trapezoid(curve.tpr, curve.fpr) == pytest.approx(area(members, others))


@pytest.mark.parametrize("fpr", [0.0, 0.001, 0.01, 0.1, 0.5])
def test_the_share_at_few_false_alarms_is_the_highest_corner_that_allows_them(fpr: float) -> None:
    rng = np.random.default_rng(1)
    members, others = np.round(rng.normal(0.7, 1, 2500), 1), np.round(rng.normal(0, 1, 3000), 1)
    curve = roc(members, others)
    k, n = tpr_at(members, others, fpr)
    assert k / n == pytest.approx(curve.tpr[curve.fpr <= fpr + 1e-12].max())


def test_scores_that_are_no_numbers_and_empty_sides_are_refused() -> None:
    for figure in (area, balanced_accuracy, roc):
        with pytest.raises(ValueError, match="not a number"):
            figure(scores(np.nan), scores(1))
        with pytest.raises(ValueError, match="needs members and others"):
            figure(scores(), scores(1))
    with pytest.raises(ValueError, match="from 0 to 1"):
        tpr_at(scores(1), scores(0), 1.5)
