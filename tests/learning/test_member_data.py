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
    assert (len(data.x_train), len(data.x_held)) == (80, 20)
    assert sorted(np.concatenate([data.x_train, data.x_held])[:, 0].tolist()) == X[:, 0].tolist()
    assert (data.y_train == data.x_train[:, 0] % 3).all()
    assert (data.y_held == data.x_held[:, 0] % 3).all()


def test_the_held_out_part_depends_on_the_members_name_alone() -> None:
    assert held("clinic-a") == held("clinic-a") != held("clinic-b")


def test_rows_appended_later_leave_most_of_the_held_out_rows_where_they_were() -> None:
    assert len(held("clinic-a", rows=90) & held("clinic-a")) >= 14  # of 18; a fresh draw keeps about 4


def test_nothing_can_be_held_out_but_not_everything() -> None:
    assert held("clinic-a", fraction=0) == set()
    with pytest.raises(ValueError, match=r"in \[0, 1\), got 1"):
        held("clinic-a", fraction=1)
    with pytest.raises(ValueError, match="at least 1 training example"):
        held("clinic-a", rows=1, fraction=0.9)


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
