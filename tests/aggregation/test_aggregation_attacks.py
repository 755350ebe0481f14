"""Hostile rows, and the defects that other libraries have under them (reference/robust-aggregation 2.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from phalanx.aggregation import (
    CAF,
    NNM,
    Bucketing,
    CenteredClipping,
    Chain,
    Custom,
    Krum,
    Mean,
    MultiKrum,
    NormClip,
    aggregate,
    columns,
    gram_weights,
    nnm,
)
from phalanx.aggregation.gram import Gram, gram, mixed, squared_distances
from phalanx.rules import PreStep
from phalanx.types import F32, F64
from tests.aggregation.test_aggregation_rules import FAMILIES, chain
from tests.aggregation.vector_reference import caf, krum_scores, prepared

SELECTING = (
    "krum",
    "multi-krum",
    "caf",
    "median",
    "trimmed-mean",
    "nnm >> krum",
    "nnm >> median",
    "nnm >> trimmed-mean",
)
ROBUST = tuple(text for text in FAMILIES if text not in ("mean", "nnm >> mean"))
LARGEST = float(np.finfo(np.float32).max)


def one_way(rng: np.random.Generator, f: int, d: int) -> F64:
    return np.full((f, d), 1e30)


def nearly_one_way(rng: np.random.Generator, f: int, d: int) -> F64:
    return 1e30 * (1 + 1e-6 * rng.normal(size=(f, d)))


def every_way(rng: np.random.Generator, f: int, d: int) -> F64:
    return 1e30 * rng.normal(size=(f, d))


def opposite(rng: np.random.Generator, f: int, d: int) -> F64:
    return np.outer(np.where(np.arange(f) % 2, 1e30, -1e30), np.ones(d))


def ladder(rng: np.random.Generator, f: int, d: int) -> F64:
    signs: F64 = rng.choice([-1.0, 1.0], size=(f, d))
    return np.logspace(30, 4, f)[:, None] * signs


def the_largest(rng: np.random.Generator, f: int, d: int) -> F64:
    return LARGEST * rng.choice([-1.0, 1.0], size=(f, d))


Attack = Callable[[np.random.Generator, int, int], F64]
ATTACKS = [one_way, nearly_one_way, every_way, opposite, ladder, the_largest]
SIZES = [(5, 1), (9, 3), (10, 1), (12, 2), (13, 5)]


def attacked(attack: Attack, n: int, f: int, d: int = 40) -> F32:
    """(n, d): n-f honest rows around (1, …, 1), then f hostile ones."""
    rng = np.random.default_rng([n, f])
    honest = 1.0 + 0.1 * rng.normal(size=(n - f, d))
    return np.vstack([honest, attack(rng, f, d)]).astype(np.float32)


@pytest.mark.parametrize("text", ROBUST)
@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize(("n", "f"), SIZES)
def test_f_huge_rows_do_not_move_the_aggregate_away_from_the_honest(text: str, attack: Attack, n: int, f: int) -> None:
    rows = attacked(attack, n, f)
    vector, report = aggregate(rows, chain(text, f))
    honest = rows[: n - f].astype(np.float64)
    if text in SELECTING:
        assert (report.weights[n - f :] <= 1e-30).all()
        assert (vector >= honest.min(axis=0)).all()
        assert (vector <= honest.max(axis=0)).all()
    else:  # clipped to the length of honest rows, so that it counts, but not for more
        longest = np.sqrt((honest**2).sum(axis=1)).max()
        assert np.linalg.norm(vector.astype(np.float64)) <= longest * (1 + 1e-6)


@pytest.mark.parametrize("text", ["caf", "krum", "multi-krum", "nnm >> krum", "nnm >> trimmed-mean"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_huge_rows_do_not_change_how_the_honest_are_weighed(text: str, attack: Attack) -> None:
    # The same attack from 1e4 away, where plain float64 vectors lose nothing, is the reference.
    n, f = 12, 2
    rows = attacked(attack, n, f)
    near = rows.copy()
    near[n - f :] = 1e4 * np.sign(rows[n - f :])
    found, wanted = aggregate(rows, chain(text, f))[1], aggregate(near, chain(text, f))[1]
    # CAF's first passes shrink honest weights by how far the hostile rows drag the mean, which differs by attack.
    assert np.allclose(found.weights, wanted.weights, atol=0.02 if text == "caf" else 1e-12)


def test_one_huge_row_moves_the_mean_anywhere() -> None:
    rows = attacked(one_way, 10, 1)
    assert (aggregate(rows, Mean())[0] > 9e28).all()


def test_rows_of_the_largest_float32_in_many_dimensions_leave_honest_distances_exact() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(9, 100_000)).astype(np.float32)
    rows[6:] = LARGEST * rng.choice([-1, 1], size=(3, 100_000))
    _, report = aggregate(rows, Krum(f=3))
    wanted = krum_scores([row.astype(np.float64) for row in rows], 3)
    assert report.scores is not None
    assert np.allclose(report.scores, wanted, rtol=1e-12)


# -------------------------------------------------------------------------------------------------- defects of peers


@pytest.mark.parametrize("factor", [1e3, 1e6, 1e30])
def test_one_scaled_member_does_not_stall_caf(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(10, 50)).astype(np.float32)
    rows[4] *= np.float32(factor)
    passes = counted_eigh(monkeypatch)
    _, report = aggregate(rows, CAF(f=1))
    assert report.weights[4] == 0
    assert len(passes) <= 10


def test_tau_max_over_removed_rows_too_would_stall_caf() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(10, 50))
    rows[4] *= 1e6
    assert caf(rows, 1, active_only=False, passes=300)[1] == 300
    assert caf(rows, 1, passes=300)[1] <= 10


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize(("n", "f"), [*SIZES, (41, 20)])
def test_caf_ends_within_n_passes(attack: Attack, n: int, f: int, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = counted_eigh(monkeypatch)
    vector, _ = aggregate(attacked(attack, n, f), CAF(f))
    assert 1 <= len(passes) <= n
    assert np.isfinite(vector).all()


def test_caf_of_identical_rows_stops_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = counted_eigh(monkeypatch)
    _, report = aggregate(np.full((9, 4), 0.1, dtype=np.float32), CAF(f=4))
    assert len(passes) == 1
    assert np.allclose(report.weights, 1 / 9)


def test_caf_of_rows_equal_but_for_hostile_copies_gives_the_honest_row() -> None:
    rows = np.full((11, 30), 0.1, dtype=np.float32)
    rows[6:] = np.float32(1e30)
    vector, _ = aggregate(rows, CAF(f=5))
    assert (vector == np.float32(0.1)).all()


def counted_eigh(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []
    eigh = np.linalg.eigh

    def count(matrix: F64) -> Any:
        calls.append(len(matrix))
        return eigh(matrix)

    monkeypatch.setattr(np.linalg, "eigh", count)
    return calls


def near_equal_rows() -> F32:
    """Ten rows of norm 1e3 in 1e5 dimensions, about 2e-3 apart in squared distance."""
    rng = np.random.default_rng(7)
    base = rng.normal(size=100_000)
    base *= 1e3 / np.linalg.norm(base)
    spread = np.sqrt(1e-3 / 100_000) * np.linspace(0.8, 1.2, 10)[:, None]
    rows: F64 = base + spread * rng.normal(size=(10, 100_000))
    return rows.astype(np.float32)


@pytest.mark.parametrize("flipped", [0, 4])
def test_near_equal_rows_are_ranked_as_in_exact_distances(flipped: int) -> None:
    rows = near_equal_rows()
    rows[:flipped] = -rows[:flipped]  # as long as the others: the centre may be a row on the far side
    f = max(1, min(flipped, 3))
    _, report = aggregate(rows, MultiKrum(f))
    wanted = np.array(krum_scores([row.astype(np.float64) for row in rows], f))
    assert report.scores is not None
    assert np.argsort(report.scores, kind="stable").tolist() == np.argsort(wanted, kind="stable").tolist()
    assert np.allclose(report.scores, wanted, rtol=1e-4)


def test_the_float32_formula_would_rank_near_equal_rows_by_noise() -> None:
    rows = near_equal_rows()
    squares = (rows * rows).sum(axis=1)
    distances = squares[:, None] + squares[None, :] - 2 * rows @ rows.T
    exact = ((rows[0].astype(np.float64) - rows[1]) ** 2).sum()
    assert 1e-3 < exact < 3e-3
    assert np.abs(distances[np.triu_indices(10, 1)] - exact).max() > 10 * exact


def test_row_0_as_a_centre_would_let_its_owner_drown_the_honest_distances() -> None:
    rows = near_equal_rows()
    rows[0] = np.float32(1e30)
    z = rows.astype(np.float64) - rows[0]
    drowned = (z[1] @ z[1]) + (z[2] @ z[2]) - 2 * (z[1] @ z[2])
    exact = ((rows[1].astype(np.float64) - rows[2]) ** 2).sum()
    assert abs(drowned - exact) > exact / 2
    _, report = aggregate(rows, Krum(f=1))
    wanted = krum_scores([row.astype(np.float64) for row in rows], 1)
    assert report.scores is not None
    assert np.allclose(report.scores[1:], wanted[1:], rtol=1e-4)


def test_mixed_rows_are_centred_anew() -> None:
    rows = near_equal_rows()
    rows[0] = np.float32(1e30)  # so is its mixture: a centre on row 0 would drown the distances of all the others
    found = squared_distances(mixed(gram(rows), nnm.mixing(NNM(f=3), gram(rows))))
    wanted = prepared(NNM(f=3), [row.astype(np.float64) for row in rows])
    exact = np.array([[((x - y) ** 2).sum() for y in wanted] for x in wanted])
    assert exact[1:, 1:].max() > 1e-5
    assert np.allclose(found[1:, 1:], exact[1:, 1:], rtol=1e-4, atol=1e-9)


def test_distances_are_never_negative() -> None:
    # Two rows whose inner product was rounded up to more than the square of either.
    products = np.array([[1.0, 1.0 + 2**-50, 0.0], [1.0 + 2**-50, 1.0, 0.0], [0.0, 0.0, 0.0]])
    assert squared_distances(Gram(products)).tolist() == [[0, 0], [0, 0]]


def test_a_clipped_huge_row_keeps_its_direction_in_the_gram_matrix() -> None:
    # From distances alone, 1e60 - 1e60 would be left of it: the filter would see a row anywhere.
    honest = attacked(every_way, 12, 2)[:10]
    rows = np.vstack([honest, honest[:2] * np.float32(1e30)])
    _, report = aggregate(rows, chain("arc >> nnm >> caf", 2))
    near = np.vstack([honest, honest[:2] * np.float32(1e3)])
    wanted = aggregate(near, chain("arc >> nnm >> caf", 2))[1].weights * np.where(np.arange(12) < 10, 1, 1e-27)
    assert np.allclose(report.weights[:10], wanted[:10], rtol=1e-6)
    assert np.allclose(report.weights[10:], wanted[10:], rtol=1e-5, atol=0)


@pytest.mark.parametrize("text", FAMILIES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused_and_never_averaged(text: str, bad: float) -> None:
    rows = attacked(one_way, 9, 2)
    rows[3, 17] = bad
    with pytest.raises(ValueError, match=r"rows must be finite, got NaN or infinity in rows \[3\]"):
        aggregate(rows, chain(text, 2))


def test_chain_of_no_pre_steps_is_the_rule() -> None:
    rows = attacked(every_way, 9, 3)
    assert aggregate(rows, Chain((), CAF(3)))[0].tobytes() == aggregate(rows, CAF(3))[0].tobytes()


@pytest.mark.parametrize("hidden", [1e3, 1e30])
def test_a_long_row_that_looks_ordinary_in_the_sampled_columns_is_no_centre(hidden: float) -> None:
    """The centre is guessed from 8 x 512 columns; the hostile row is of median norm in them, and huge elsewhere."""
    rows = np.random.default_rng(0).normal(size=(7, 100_000)).astype(np.float32)
    sampled = columns.sampled_norms(rows)
    rows[0, :4096] = rows[np.argsort(sampled)[3], :4096]
    rows[0, 5000:12_000] = hidden
    wanted = krum_scores([row.astype(np.float64) for row in rows], 2)
    _, report = aggregate(rows, Krum(f=2))
    assert report.scores is not None
    assert np.allclose(report.scores[1:], wanted[1:], rtol=1e-12)


@pytest.mark.parametrize("place", [0, 50_000, 99_999])
@pytest.mark.parametrize("text", ["mean", "krum", "nnm >> median", "arc >> mean"])
def test_a_value_that_is_not_finite_is_named_in_or_out_of_the_sample(text: str, place: int) -> None:
    rows = np.random.default_rng(0).normal(size=(7, 100_000)).astype(np.float32)
    rows[5, place] = np.nan
    rows[2, place] = np.inf
    with pytest.raises(ValueError, match=r"in rows \[2, 5\]"):
        aggregate(rows, chain(text, 2))


def test_a_row_of_weight_zero_is_refused_too_if_it_is_not_finite() -> None:
    rows = np.ones((3, 4), dtype=np.float32)
    rows[1, 2] = np.nan
    with pytest.raises(ValueError, match=r"in rows \[1\]"):
        aggregate(rows, Mean(), np.array([0.5, 0.0, 0.5]))


@pytest.mark.parametrize("text", ["norm-clip >> mean", "norm-clip >> nnm >> mean", "norm-clip >> bucketing >> mean"])
@pytest.mark.parametrize("length", [1e10, 1e30])
def test_a_clip_holds_beside_rows_of_any_length(text: str, length: float) -> None:
    """Lengths taken back from products about a long centre would call the last row zero, and not cut it."""
    rows = np.zeros((9, 4), dtype=np.float32)
    rows[:, 0] = length
    rows[8] = [0, 30, 0, 0]
    steps: dict[str, PreStep] = {"norm-clip": NormClip(1.0), "nnm": NNM(1), "bucketing": Bucketing(2, b"c" * 32)}
    rule = Chain(tuple(steps[name] for name in text.split(" >> ")[:-1]), Mean())
    assert abs(aggregate(rows, rule)[0]).max() <= 1 + 1e-6


@pytest.mark.parametrize("reference", [None, np.full(4, 1e9, dtype=np.float32)])
@pytest.mark.parametrize("length", [1e10, 1e30])
def test_one_step_of_centered_clipping_keeps_its_sensitivity(length: float, reference: F32 | None) -> None:
    rows = np.zeros((9, 4), dtype=np.float32)
    rows[:, 0] = length
    rows[8] = [0, 30, 0, 0] if reference is None else reference + np.array([0, 3000, 0, 0], dtype=np.float32)
    start = np.zeros(4) if reference is None else reference.astype(np.float64)
    _, report = aggregate(rows, CenteredClipping(1.0), reference=reference)
    pulls = report.weights * np.linalg.norm(rows.astype(np.float64) - start, axis=1)
    assert (pulls <= (1 + 1e-9) / 9).all()
    assert report.l2_sensitivity == 1 / 9


def test_weights_are_refused_where_rows_become_buckets() -> None:
    with pytest.raises(ValueError, match="4 weights for 2 mixed rows"):
        aggregate(np.ones((4, 2), dtype=np.float32), Bucketing(2, b"c" * 32) >> Mean(), np.array([1.0, 0, 0, 0]))


def test_what_is_beyond_float32_is_refused_and_not_infinite() -> None:
    with pytest.raises(ValueError, match="beyond float32"):
        aggregate(np.ones((3, 2), dtype=np.float32), Custom(lambda G: np.full(len(G), 1e300)))


@pytest.mark.parametrize(
    "G",
    [np.full((5, 5), np.nan), np.eye(5)[:4], -np.eye(5), np.eye(5) + np.eye(5, k=1), np.zeros((0, 0))],
    ids=["nan", "not square", "negative", "not symmetric", "empty"],
)
def test_what_is_no_gram_matrix_is_refused(G: F64) -> None:
    with pytest.raises(ValueError, match="a Gram matrix is"):
        gram_weights(G, Krum(1))


def test_a_masked_array_is_refused_since_its_mask_would_be_ignored() -> None:
    with pytest.raises(ValueError, match="masked"):
        aggregate(np.ma.masked_array(np.ones((3, 2), dtype=np.float32)), Mean())
