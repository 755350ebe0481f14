"""Defects that were found in other libraries, each as a test of ours (and, where it is short, the defect itself).

CAF that stalls or varies from call to call, rules that change their input, and one NaN that spoils the answer stand in
`test_aggregation_attacks.py` and in the battery of `check_rule`; here are the others.
"""

from __future__ import annotations

import numpy as np
import pytest

from phalanx.aggregation import CAF, GeometricMedian, Krum, Mean, MultiKrum, aggregate, krum
from phalanx.aggregation.gram import gram, squared_distances
from phalanx.errors import QuorumError
from phalanx.types import F32, F64

D = 1_000_000


def exact_distances(rows: F32) -> F64:
    """Of differences in float64: nothing cancels."""
    n = len(rows)
    apart = np.zeros((n, n))
    for i in range(n):
        for j in range(i):
            difference = rows[i].astype(np.float64) - rows[j]
            apart[i, j] = apart[j, i] = difference @ difference
    return apart


def float32_formula(rows: F32) -> F32:
    """|x|² + |y|² - 2 xy in float32, as Flower's Krum and byzpy have it."""
    squares = (rows * rows).sum(axis=1)
    return np.asarray(squares[:, None] + squares[None, :] - 2 * rows @ rows.T)


def relative_error(found: F64 | F32, wanted: F64) -> float:
    upper = np.triu_indices(len(wanted), 1)
    return float((np.abs(found[upper] - wanted[upper]) / wanted[upper]).max())


def rows_around(norm: float, squared_distance: float, n: int = 6) -> F32:
    """Rows of that norm, about that squared distance apart."""
    rng = np.random.default_rng(3)
    base = rng.normal(size=D)
    base *= norm / np.linalg.norm(base)
    apart = rng.normal(size=(n, D)) * np.sqrt(squared_distance / 2 / D)
    return np.asarray(base + apart, dtype=np.float32)


def test_distances_of_near_rows_are_right_at_a_million_parameters() -> None:
    rows = rows_around(norm=1e3, squared_distance=2e-3)
    wanted = exact_distances(rows)
    assert 1.5e-3 < wanted[0, 1] < 2.5e-3
    assert relative_error(squared_distances(gram(rows)), wanted) < 1e-9
    assert relative_error(float32_formula(rows), wanted) > 1


@pytest.mark.parametrize("hostile", ["huge first row", "flipped", "as long as the median, elsewhere"])
def test_no_hostile_row_spoils_the_distances_of_the_others(hostile: str) -> None:
    rows = rows_around(norm=1e3, squared_distance=2e-3)
    match hostile:
        case "huge first row":
            rows[:2] = np.float32(1e30)
        case "flipped":
            rows[:2] = -rows[:2]
        case _:
            rows[:2] = np.roll(rows[:2], 1, axis=1)
    found = squared_distances(gram(rows))[2:, 2:]
    assert relative_error(found, exact_distances(rows[2:])) < 1e-6


def test_updates_a_thousandth_of_the_weights_are_told_apart() -> None:
    # Flower sends weights, not updates: its distances are off by 94 % here, in the reference's measurement.
    rng = np.random.default_rng(5)
    weights = rng.normal(size=D)
    rows = (weights + 1e-3 * rng.normal(size=(8, D))).astype(np.float32)
    wanted = exact_distances(rows)
    assert relative_error(squared_distances(gram(rows)), wanted) < 1e-6
    assert relative_error(float32_formula(rows), wanted) > 0.05


def test_krum_is_refused_where_other_libraries_still_run_it() -> None:
    rows = np.ones((4, 3), dtype=np.float32)
    with pytest.raises(QuorumError, match=r"n >= 2f \+ 3 = 5"):
        aggregate(rows, Krum(1))  # 2f < n, ByzFL's guard, holds


def test_the_number_of_neighbours_decides_and_ours_is_the_papers() -> None:
    rows = np.array([[0], [1], [3], [10], [100]], dtype=np.float32)
    distances = squared_distances(gram(rows))
    n, f = 5, 1
    assert int(np.argmin(krum.scores(distances, n - f - 2))) == 1
    assert int(np.argmin(krum.scores(distances, n - f - 1))) == 2  # ByzFL's and Flower's
    assert aggregate(rows, Krum(f))[0].tolist() == [1.0]


def test_multi_krum_of_another_library_is_had_by_its_m() -> None:
    rows = np.random.default_rng(1).normal(size=(10, 50)).astype(np.float32)
    for m, of in ((10 - 2, "ByzFL"), (10 - 2 * 2 - 3, "krum"), (None, "the paper")):
        weights = aggregate(rows, MultiKrum(2, m=m))[1].weights
        assert np.count_nonzero(weights) == (m or 6), of


def test_the_geometric_median_does_not_stop_after_three_steps() -> None:
    """One row far out: three Weiszfeld steps from zero, ByzFL's, are still on their way to the others."""
    rng = np.random.default_rng(0)
    rows = (5.0 + rng.normal(size=(11, 40))).astype(np.float32)
    rows[8:] *= np.float32(1e4)
    exact = rows.astype(np.float64)
    z = np.zeros(40)
    for _ in range(3):
        w = 1 / np.maximum(np.linalg.norm(exact - z, axis=1), 0.1)
        z = w @ exact / w.sum()
    found = aggregate(rows, GeometricMedian(f=3))[0].astype(np.float64)

    def total(point: F64) -> float:
        return float(np.linalg.norm(exact - point, axis=1).sum())

    assert total(found) < total(z)
    toward_rows = exact - found
    pull = (toward_rows / np.linalg.norm(toward_rows, axis=1)[:, None]).sum(axis=0)
    assert np.linalg.norm(pull) < 1e-4  # the gradient: found is the minimum, to float32


def test_the_scale_of_the_rows_does_not_change_the_geometric_median() -> None:
    """An absolute smoothing of 0.1, as ByzFL has it, makes a mean of rows that are smaller than it."""
    rows = np.random.default_rng(0).normal(size=(9, 30)).astype(np.float32)
    rows[0] *= 100
    usual = aggregate(rows, GeometricMedian())[1].weights
    tiny = aggregate(rows * np.float32(2.0**-30), GeometricMedian())[1].weights
    assert np.allclose(tiny, usual, rtol=1e-9)
    assert not np.allclose(usual, 1 / 9, rtol=0.1)


def test_caf_gives_the_same_bytes_in_every_call() -> None:
    rows = np.random.default_rng(2).normal(size=(12, 500)).astype(np.float32)
    assert len({aggregate(rows, CAF(2))[0].tobytes() for _ in range(6)}) == 1


def test_one_member_in_a_mean_of_rows_of_the_largest_float_does_not_overflow_it() -> None:
    rows = np.full((4, 3), np.finfo(np.float32).max, dtype=np.float32)
    assert aggregate(rows, Mean())[0].tolist() == rows[0].tolist()
    with np.errstate(over="ignore"):
        assert np.isinf(rows.sum(axis=0) / np.float32(4)).all()  # float32 sums, as others have them
