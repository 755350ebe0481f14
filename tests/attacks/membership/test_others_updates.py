"""FedMIA: a member's update beside the others'."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from phalanx.attacks.membership import area, cosines, evidence

RNG = np.random.default_rng(0)


def test_an_update_along_the_examples_descent_has_cosine_one_however_long() -> None:
    gradients = RNG.normal(size=(3, 40)).astype(np.float32)
    updates = np.stack([-1e-3 * gradients[0], 1e4 * gradients[1], np.zeros(40, np.float32)]).astype(np.float32)
    found = cosines(updates, gradients)
    assert found.shape == (3, 3)
    assert found[0, 0] == pytest.approx(1.0)
    assert found[1, 1] == pytest.approx(-1.0)
    assert found[2].tolist() == [0, 0, 0]


def test_evidence_is_the_chance_that_another_members_measure_is_lower() -> None:
    measured = RNG.normal(size=(5, 4))
    owner = np.array([0, 3, 3, -1])
    found = evidence(measured, owner)
    for x, j in enumerate(owner[:3]):
        others = np.delete(measured[:, x], j)
        assert found[x] == pytest.approx(stats.norm(others.mean(), others.std()).logcdf(measured[j, x]))
    assert found[3] == 0.0  # its member was not there


def test_over_the_rounds_members_are_told_from_examples_that_their_member_left_out() -> None:
    """Each update is minus the mean of 20 gradients; of 40 candidates of each of 6 members half are among them."""
    scores, inside, d = np.zeros(240), np.tile(np.arange(40) < 20, 6), 300
    owner = np.repeat(np.arange(6), 40)
    for _ in range(10):
        gradients = RNG.normal(size=(240, d)).astype(np.float32)
        updates = np.stack([-gradients[(owner == j) & inside].mean(axis=0) for j in range(6)])
        scores += evidence(cosines(updates, gradients), owner)
    assert area(scores[inside], scores[~inside]) > 0.99


def test_two_members_are_too_few() -> None:
    with pytest.raises(ValueError, match="3 members or more, got 2"):
        evidence(np.zeros((2, 4)), np.zeros(4, np.int64))
