"""The demonstration's split: nobody trains on the test set, and a split that cannot be is refused."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from phalanx.learning.digits import Split, split_digits
from phalanx.types import member_id

MEMBERS = [member_id(f"member-{i}") for i in range(10)]


def split(seed: int, alpha: float | None = None) -> Split:
    return split_digits(MEMBERS, rng=np.random.default_rng(seed), alpha=alpha)


@pytest.mark.parametrize("alpha", [None, 1.0])
def test_every_digit_is_in_one_place(alpha: float | None) -> None:
    parts = split(1, alpha)
    everything = [parts.x_test, *(x for data in parts.members.values() for x in (data.x_train, data.x_held))]
    images = (load_digits().data / 16).astype(np.float32)
    assert sorted(x.tobytes() for x in np.concatenate(everything)) == sorted(x.tobytes() for x in images)


def test_the_test_set_is_a_fifth_of_each_class() -> None:
    parts = split(1)
    everyone = parts.counts.sum(axis=0) + np.bincount(parts.y_test)
    assert (np.abs(np.bincount(parts.y_test) - everyone / 5) <= 0.5).all()


def test_values_are_float32_from_zero_to_one_and_a_share_is_held_out() -> None:
    parts = split(1)
    for data in parts.members.values():
        assert data.x_train.dtype == np.float32
        assert (data.x_train.min(), data.x_train.max()) == (0, 1)
        assert len(data.x_held) == round(0.15 * (len(data.x_held) + len(data.x_train)))
    assert list(parts.members) == MEMBERS
    assert parts.counts.shape == (10, 10)


def test_the_smaller_alpha_the_less_even_are_the_classes() -> None:
    def spread(parts: Split) -> float:
        return float(parts.counts.std(axis=0).mean())

    assert spread(split(1)) < spread(split(1, alpha=5.0)) < spread(split(1, alpha=0.5))


@pytest.mark.parametrize("alpha", [None, 0.5])
def test_a_split_is_deterministic_from_its_generator(alpha: float | None) -> None:
    first, again, other = split(3, alpha), split(3, alpha), split(4, alpha)
    assert (first.counts == again.counts).all()
    assert (first.members[MEMBERS[0]].x_train == again.members[MEMBERS[0]].x_train).all()
    assert (first.counts != other.counts).any()


def test_each_member_of_an_uneven_split_has_its_minimum() -> None:
    assert split(1, alpha=0.3).counts.sum(axis=1).min() >= 40


def test_a_minimum_that_cannot_be_met_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no Dirichlet\(0.01\) split in 100 draws"):
        split(1, alpha=0.01)
    with pytest.raises(ValueError, match="each member needs 200 examples, an even split over 10 gives 143"):
        split_digits(MEMBERS, rng=np.random.default_rng(1), minimum=200)
