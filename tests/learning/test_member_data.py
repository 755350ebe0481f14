"""A member's data: labels that count, and a held-out part that nobody can choose."""

from __future__ import annotations

import numpy as np
import pytest

from phalanx.learning import MemberData, hold_out
from phalanx.learning.tally import paired_tally
from phalanx.types import member_id

X = np.arange(100, dtype=np.float32)[:, None]
Y = np.arange(100) % 3


def held(member: str, rows: int = 100, fraction: float = 0.2) -> set[float]:
    data = hold_out(X[:rows], Y[:rows], classes=3, member=member_id(member), fraction=fraction)
    return set(data.x_held[:, 0].tolist())


def test_the_held_out_part_has_its_share_and_no_example_is_in_both_or_lost() -> None:
    data = hold_out(X, Y, classes=3, member=member_id("clinic-a"), fraction=0.2)
    assert 8 <= len(data.x_held) <= 34  # 20 in the mean; outside by chance once in a thousand names
    assert sorted(np.concatenate([data.x_train, data.x_held])[:, 0].tolist()) == X[:, 0].tolist()
    assert (data.y_train == data.x_train[:, 0] % 3).all()
    assert (data.y_held == data.x_held[:, 0] % 3).all()


def test_the_held_out_part_depends_on_the_members_name_alone() -> None:
    assert held("clinic-a") == held("clinic-a") != held("clinic-b")


@pytest.mark.parametrize("gone", range(0, 100, 7))
def test_an_example_that_is_withdrawn_moves_no_other_one_between_the_parts(gone: int) -> None:
    """ε per example rests on it: else one withdrawal would change the training set by many examples."""
    rest = np.delete(X, gone, axis=0), np.delete(Y, gone)
    data = hold_out(*rest, classes=3, member=member_id("clinic-a"), fraction=0.2)
    assert set(data.x_held[:, 0].tolist()) == held("clinic-a") - {float(gone)}


def test_off_twin_a_split_by_rank_moves_many_others() -> None:
    def by_rank(rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> set[int]:
        draws = np.random.default_rng(0).random(len(rows))
        return set(rows[np.argsort(draws)[: round(0.2 * len(rows))]].tolist())

    everyone = np.arange(100)
    assert len((by_rank(everyone) ^ by_rank(np.delete(everyone, 3))) - {3}) > 1


def test_the_place_among_the_others_does_not_matter_and_scaling_does_not_either() -> None:
    order = np.random.default_rng(1).permutation(100)
    data = hold_out(X[order], Y[order], classes=3, member=member_id("clinic-a"), fraction=0.2)
    assert set(data.x_held[:, 0].tolist()) == held("clinic-a")
    scaled = hold_out(X / 3, Y, classes=3, member=member_id("clinic-a"), fraction=0.2, by=X)
    assert scaled.x_held.tobytes() == (np.array(sorted(held("clinic-a")), np.float32)[:, None] / 3).tobytes()
    table = np.array([[value, "text"] for value in X[:, 0].tolist()], dtype=object)
    assert len(hold_out(table, Y, classes=3, member=member_id("clinic-a"), fraction=0.2).x_held) > 0
    with pytest.raises(ValueError, match="expected 100 rows to decide by, got 99"):
        hold_out(X, Y, classes=3, member=member_id("clinic-a"), fraction=0.2, by=X[1:])


def test_nothing_can_be_held_out_but_not_everything() -> None:
    assert held("clinic-a", fraction=0) == set()
    with pytest.raises(ValueError, match=r"in \[0, 1\), got 1"):
        held("clinic-a", fraction=1)
    with pytest.raises(ValueError, match="at least 1 training example"):
        held("clinic-a", rows=1, fraction=1 - 2**-53)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (Y.astype(np.float32), "labels must be integers"),
        (Y[:-1], r"shape \(100,\)"),
        (Y + 1, r"must be 0 … 2, got 1 … 3"),
        (Y - 1, r"must be 0 … 2, got -1 … 1"),
    ],
)
def test_labels_that_do_not_fit_are_refused(y: np.ndarray[tuple[int], np.dtype[np.int64]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hold_out(X, y, classes=3, member=member_id("clinic-a"), fraction=0)


def test_held_out_labels_are_checked_too() -> None:
    y = Y.astype(np.int64)
    with pytest.raises(ValueError, match="held-out labels must be 0 … 2, got 9 … 9"):
        MemberData(X, y, X[:1], np.array([9], np.int64), 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_input_that_is_not_finite_is_refused_with_its_row(bad: float) -> None:
    x = X.copy()
    x[[7, 9]] = bad
    with pytest.raises(ValueError, match="2 of 100 examples hold a value that is not finite, first in row 7"):
        hold_out(x, Y, classes=3, member=member_id("clinic-a"), fraction=0)


def test_a_tally_counts_by_true_class() -> None:
    truth, before, now = (np.array(labels, np.int64) for labels in ([0, 0, 1, 1, 2], [0, 1, 1, 0, 2], [1, 0, -1, 1, 2]))
    tally = paired_tally(now, before, truth, classes=4, finite=False)
    assert tally.worse == (1, 1, 0, 0)
    assert tally.better == (1, 1, 0, 0)
    assert tally.right == (1, 1, 1, 0)
    assert tally.total == (2, 2, 1, 0)
    assert not tally.finite
