"""The rules that need the Gram matrix alone: by hand, against vectors, at the edges, and what gets past each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from phalanx.aggregation import (
    bucketing,
    bulyan,
    centered_clipping,
    dnc,
    flame,
    fltrust,
    foolsgold,
    geometric_median,
    krum,
    mda,
)
from phalanx.aggregation.gram import Gram, from_products, squared_distances
from phalanx.aggregation.weigh import gram_weights
from phalanx.entropy import expand
from phalanx.errors import QuorumError
from phalanx.rules import (
    ARC,
    CAF,
    FLAME,
    MDA,
    NNM,
    Bucketing,
    Bulyan,
    CenteredClipping,
    Chain,
    Custom,
    DnC,
    FLTrust,
    FoolsGold,
    GeometricMedian,
    Krum,
    Mean,
    MoNNA,
    MultiKrum,
    NormClip,
    PreStep,
)
from phalanx.rules import GramRule as AnyRule
from phalanx.types import F64
from tests.aggregation import vector_reference
from tests.aggregation.vector_reference import reference

COIN = bytes(range(32))
properties = settings(max_examples=20, deadline=None, derandomize=True)


def rows_of(*values: Any) -> F64:
    """(n, d) rows; bare numbers are rows of one coordinate."""
    X = np.array(values, dtype=np.float64)
    return X[:, None] if X.ndim == 1 else X


def products(X: F64, trusted: F64 | None = None) -> F64:
    Y = X if trusted is None else np.vstack([X, trusted])
    return np.asarray(Y @ Y.T)


def weigh(X: F64, rule: AnyRule | Chain, trusted: F64 | None = None, past: F64 | None = None) -> F64:
    """The shares of the rows, and of the reference last where it has one."""
    history = None if past is None else products(past)
    return gram_weights(products(X, trusted), rule, history=history, reference=trusted is not None)[0]


def aggregated(X: F64, rule: AnyRule | Chain, trusted: F64 | None = None, past: F64 | None = None) -> F64:
    shares = weigh(X, rule, trusted, past)
    vector = shares[: len(X)] @ X
    return np.asarray(vector if len(shares) == len(X) or trusted is None else vector + shares[-1] * trusted)


def inverse_distance(G: F64) -> F64:
    """A rule of one's own: rows count by one over their distance from the others."""
    squares = np.diagonal(G)
    spread = np.sqrt(np.maximum(squares[:, None] + squares - 2 * G, 0.0)).sum(axis=1)
    return np.asarray(1.0 / (1.0 + spread) / (1.0 / (1.0 + spread)).sum())


RULES: dict[str, Callable[[int], AnyRule]] = {
    "mean": lambda f: Mean(),
    "krum": Krum,
    "multi-krum": MultiKrum,
    "multi-krum-m": lambda f: MultiKrum(f, m=2 * f + 3),
    "caf": CAF,
    "mda": MDA,
    "geometric-median": GeometricMedian,
    "centered-clipping": lambda f: CenteredClipping(2.0, steps=3, f=f),
    "monna": lambda f: MoNNA(f, own=1),
    "dnc": lambda f: DnC(f, c=1.5),
    "fltrust": lambda f: FLTrust(),
    "foolsgold": lambda f: FoolsGold(),
    "flame": FLAME,
    "custom": lambda f: Custom(inverse_distance, "inverse-distance"),
}
STEPS: dict[str, Callable[[int], PreStep]] = {
    "norm-clip": lambda f: NormClip(3.0),
    "arc": ARC,
    "nnm": NNM,
    "bucketing": lambda f: Bucketing(2, COIN),
}
ALONE = tuple(RULES)
COMPOSED = (
    *(f"{step} >> {rule}" for step in ("norm-clip", "arc") for rule in ("geometric-median", "mda", "dnc", "foolsgold")),
    *(f"nnm >> {rule}" for rule in ("geometric-median", "centered-clipping", "dnc", "fltrust", "multi-krum-m")),
    *(f"bucketing >> {rule}" for rule in ("geometric-median", "centered-clipping", "fltrust", "flame", "custom")),
    "arc >> nnm >> geometric-median",
    "norm-clip >> bucketing >> caf",
    "bucketing >> nnm >> monna",
)
UNEQUAL = {"monna", "bucketing"}  # they look at the number of a row
FAMILY = [*ALONE, *COMPOSED]


def chain(text: str, f: int) -> Chain:
    *pre, last = text.split(" >> ")
    return Chain(tuple(STEPS[step](f) for step in pre), RULES[last](f))


@dataclass(frozen=True)
class Case:
    X: F64
    f: int
    trusted: F64
    past: F64
    rng: np.random.Generator


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Rows of a grid, so that float64 products are exact; enough of them for two rows a bucket; d > n, so that the
    aggregate determines the weights."""
    f = draw(st.integers(0, 2))
    n = draw(st.integers(4 * f + 5, 4 * f + 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    grid = rng.integers(-4096, 4096, (2 * n + 1, n + 4)) / 1024
    return Case(grid[:n] + 0.5, f, grid[n] + 0.5, grid[n + 1 :], rng)


# -------------------------------------------------------------------------------------------- against plain vectors


@pytest.mark.parametrize(
    ("text", "handed"),
    [(text, True) for text in FAMILY] + [(text, False) for text in FAMILY if "fltrust" not in text],
)
@properties
@given(case=cases())
def test_the_weights_are_those_of_the_formula_in_vector_space(text: str, handed: bool, case: Case) -> None:
    rule, trusted = chain(text, case.f), case.trusted if handed else None
    found = weigh(case.X, rule, trusted, case.past)
    wanted = reference(case.X, rule, trusted=trusted, past=case.past)
    vectors = case.X if len(found) == len(case.X) else np.vstack([case.X, case.trusted])
    assert np.allclose(found @ vectors, wanted, rtol=0, atol=1e-9)
    assert np.allclose(found, np.linalg.lstsq(vectors.T, wanted)[0], rtol=0, atol=1e-9)


@properties
@given(case=cases())
def test_bulyan_selects_the_rows_of_the_formula(case: Case) -> None:
    found = bulyan.selection(Bulyan(case.f), from_products(products(case.X)))
    assert found.tolist() == vector_reference.bulyan_selection(list(case.X), case.f)


@pytest.mark.parametrize("text", [text for text in FAMILY if not UNEQUAL & set(text.split(" >> "))])
@properties
@given(case=cases())
def test_permuted_rows_permute_the_weights(text: str, case: Case) -> None:
    rule, order = chain(text, case.f), case.rng.permutation(len(case.X))
    found = weigh(case.X, rule, case.trusted, case.past)
    again = weigh(case.X[order], rule, case.trusted, case.past[order])
    assert np.allclose(again[: len(order)], found[order], atol=1e-9)


@pytest.mark.parametrize("text", [text for text in ALONE if text not in ("centered-clipping", "custom")])
@pytest.mark.parametrize("scale", [2.0**-140, 2.0**-20, 2.0**60, 2.0**120])
@settings(properties, max_examples=3)
@given(case=cases())
def test_scaled_rows_have_the_same_weights(text: str, scale: float, case: Case) -> None:
    rule = chain(text, case.f)
    found = weigh(case.X, rule, case.trusted, case.past)
    again = weigh(scale * case.X, rule, scale * case.trusted, scale * case.past)
    assert np.allclose(again, found, rtol=1e-12, atol=0)


@pytest.mark.parametrize("text", ["geometric-median", "mda", "dnc", "monna", "krum", "caf"])
@properties
@given(case=cases())
def test_translated_rows_have_the_same_weights(text: str, case: Case) -> None:
    rule = chain(text, case.f)
    assert np.allclose(weigh(case.X + 64.0, rule), weigh(case.X, rule), atol=1e-9)


@pytest.mark.parametrize("text", [*ALONE, *COMPOSED])
def test_same_matrix_same_bytes_and_it_is_left_alone(text: str) -> None:
    X = np.random.default_rng(4).normal(size=(13, 20))
    X[12] *= 1e6
    G = products(X, X[0] + X[1])
    history = products(X)
    before, past = G.copy(), history.copy()
    first, second = (gram_weights(G, chain(text, 2), history=history, reference=True)[0] for _ in range(2))
    assert first.tobytes() == second.tobytes()
    assert (G.tobytes(), history.tobytes()) == (before.tobytes(), past.tobytes())


# ------------------------------------------------------------------------------------------------ geometric median


def test_geometric_median_of_a_right_isosceles_triangle_is_its_fermat_point() -> None:
    # Where each side is seen under 120 degrees: (3 - sqrt 3)/6 along both legs (Torricelli, 1640s).
    X = rows_of([0, 0], [1, 0], [0, 1])
    found = aggregated(X, GeometricMedian())
    assert np.allclose(found, (3 - np.sqrt(3)) / 6, atol=1e-11)  # smoothing: (1e-6)² of the sides
    to_rows = (X - found) / np.linalg.norm(X - found, axis=1)[:, None]
    assert np.allclose(to_rows @ to_rows.T, np.where(np.eye(3, dtype=bool), 1, -0.5), atol=1e-10)


def test_geometric_median_of_a_convex_quadrilateral_is_where_its_diagonals_cross() -> None:
    X = rows_of([0, 0], [4, 0], [3, 3], [0, 2])  # y = x and y = 2 - x/2
    assert np.allclose(aggregated(X, GeometricMedian()), 4 / 3, atol=1e-10)


def test_geometric_median_of_a_triangle_with_an_obtuse_corner_is_that_corner() -> None:
    X = rows_of([0, 0], [1, 0], [-1, 0.5])  # 153 degrees at the origin
    found = weigh(X, GeometricMedian())
    assert found[0] > 1 - 5e-6
    assert np.abs(found @ X).max() < 2e-6  # ν


def test_geometric_median_on_a_line_is_the_middle_row() -> None:
    found = weigh(rows_of(0, 1, 3, 10, 1000), GeometricMedian())
    assert np.allclose(found, [0, 0, 1, 0, 0], atol=5e-6)


@pytest.mark.parametrize("n", [4, 8, 50])
def test_geometric_median_between_the_middle_two_of_a_line_is_a_minimum(n: int) -> None:
    X = np.sort(np.random.default_rng(n).normal(size=(n, 1)), axis=0)
    found = aggregated(X, GeometricMedian())
    assert X[n // 2 - 1] <= found <= X[n // 2]
    least = sum(X[n - 1 - i, 0] - X[i, 0] for i in range(n // 2))
    assert abs(np.abs(X - found).sum() / least - 1) < 1e-5  # n ν


def test_geometric_median_of_more_than_half_equal_rows_is_that_row_exactly() -> None:
    X = rows_of([1, 2], [3, 4], [1, 2], [-7, 1], [1, 2])
    assert weigh(X, GeometricMedian()).tolist() == [1 / 3, 0, 1 / 3, 0, 1 / 3]


@pytest.mark.parametrize("n", [1, 2, 7])
def test_geometric_median_of_equal_rows_weighs_them_equally(n: int) -> None:
    assert np.allclose(weigh(np.full((n, 3), 0.1), GeometricMedian()), 1 / n, rtol=1e-15)


def test_geometric_median_of_two_rows_is_halfway() -> None:
    assert np.allclose(weigh(rows_of(0, 7), GeometricMedian()), 0.5)


def test_geometric_median_of_half_the_rows_at_each_of_two_points_weighs_all_alike() -> None:
    assert np.allclose(weigh(rows_of(0, 0, 0, 5, 5, 5), GeometricMedian()), 1 / 6, atol=1e-4)  # all between is a median


@pytest.mark.parametrize("seed", range(5))
def test_geometric_median_is_what_an_optimiser_finds(seed: int) -> None:
    X = np.random.default_rng(seed).normal(size=(12, 6))
    X[8:] *= 20
    nu = vector_reference.smoothing(X)

    def gradient(z: F64) -> F64:
        return np.asarray(((z - X) / np.sqrt(((X - z) ** 2).sum(axis=1) + nu**2)[:, None]).sum(axis=0))

    wanted = minimize(
        lambda z: vector_reference.sum_of_distances(X, z, nu), X.mean(axis=0), jac=gradient, method="BFGS", tol=1e-12
    ).x
    found = aggregated(X, GeometricMedian())
    assert np.allclose(found, wanted, atol=1e-6)  # what BFGS reaches; the test against Weiszfeld's steps asks for 1e-9
    assert np.abs(gradient(found)).max() < 1e-10


def spread(rng: np.random.Generator, n: int) -> F64:
    return rng.normal(size=(n, 2 * n))


def on_a_line(rng: np.random.Generator, n: int) -> F64:
    return rng.normal(size=(n, 1)) * np.ones((1, 5))


def nearly_on_a_line(rng: np.random.Generator, n: int) -> F64:
    return on_a_line(rng, n) + 1e-4 * rng.normal(size=(n, 5))


def two_clusters(rng: np.random.Generator, n: int) -> F64:
    return 0.01 * rng.normal(size=(n, 5)) + (np.arange(n) < n // 2)[:, None]


def three_points_nearly(rng: np.random.Generator, n: int) -> F64:
    return rng.normal(size=(3, 3))[rng.integers(0, 3, n)] + 1e-7 * rng.normal(size=(n, 3))


def every_length(rng: np.random.Generator, n: int) -> F64:
    return 10.0 ** rng.uniform(-8, 8, (n, 1)) * rng.normal(size=(n, 3))


def half_far(rng: np.random.Generator, n: int) -> F64:
    far = np.arange(n) >= n - (n - 1) // 2
    return np.where(far[:, None], 1e30 * (1 + 1e-6 * rng.normal(size=(n, 4))), rng.normal(size=(n, 4)))


def opposite(rng: np.random.Generator, n: int) -> F64:
    return (1e6 + rng.normal(size=(n, 4))) * np.where(np.arange(n) >= n - (n - 1) // 2, -1.0, 1.0)[:, None]


@pytest.mark.parametrize(
    ("shape", "most"),
    [
        (spread, 12),
        (two_clusters, 12),
        (half_far, 15),
        (nearly_on_a_line, 35),
        (opposite, 35),
        (every_length, 35),
        (three_points_nearly, 35),
        (on_a_line, 35),
    ],
)
@pytest.mark.parametrize("n", [3, 4, 7, 12, 25, 50])
def test_geometric_median_is_found_in_few_passes_whatever_the_rows(
    shape: Callable[[np.random.Generator, int], F64], most: int, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []
    proposals = geometric_median._proposals

    def counted(K: F64, r: F64) -> F64:
        passes.append(1)
        return proposals(K, r)

    monkeypatch.setattr(geometric_median, "_proposals", counted)
    for seed in range(10):
        X = shape(np.random.default_rng([n, seed]), n)
        passes.clear()
        found = weigh(X, GeometricMedian())
        assert len(passes) <= most
        assert (found >= 0).all()
        assert np.isclose(found.sum(), 1)


def test_newtons_equation_without_a_solution_falls_back_on_weiszfelds_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def unsolvable(M: F64, b: F64) -> F64:
        raise np.linalg.LinAlgError

    X = np.random.default_rng(0).normal(size=(9, 12))
    wanted = weigh(X, GeometricMedian())
    monkeypatch.setattr(np.linalg, "solve", unsolvable)
    assert np.allclose(weigh(X, GeometricMedian()), wanted, atol=1e-6)


def test_geometric_median_moves_as_little_for_a_row_1e30_away_as_for_one_1e6_away() -> None:
    rng = np.random.default_rng(5)
    X = rng.normal(size=(11, 30))
    far = np.where((np.arange(11) >= 6)[:, None], 1e6 * rng.choice([-1.0, 1.0], size=30), X)
    farther = np.where((np.arange(11) >= 6)[:, None], 1e24 * far, X)
    found, wanted = weigh(farther, GeometricMedian()), weigh(far, GeometricMedian())
    assert np.allclose(found[:6], wanted[:6], rtol=2e-5)  # the pull of a row is a unit vector, up to 1e-6
    assert (found[6:] < 1e-29).all()


@pytest.mark.parametrize("hostile", ["huge", "tiny", "copies of one another", "copies of an honest row"])
def test_hostile_rows_do_not_set_the_smoothing_of_the_geometric_median(hostile: str) -> None:
    rng = np.random.default_rng(6)
    X = rng.normal(size=(9, 4))
    X[5:] = {
        "huge": 1e30 * rng.normal(size=(4, 4)),
        "tiny": 1e-30 * rng.normal(size=(4, 4)),
        "copies of one another": np.full((4, 4), 3.0),
        "copies of an honest row": X[[0, 0, 0, 0]],
    }[hostile]
    distances = squared_distances(from_products(products(X)))
    from_others = geometric_median._median_of_others(distances)
    scale = np.sqrt(geometric_median._lower_median(from_others[None, :])[0])
    if hostile == "copies of an honest row":  # then five of nine rows are one, and it is the median
        assert scale == 0
        assert weigh(X, GeometricMedian()).tolist() == [0.2, 0, 0, 0, 0, 0.2, 0.2, 0.2, 0.2]
    else:
        honest = np.sqrt(distances[:5, :5][~np.eye(5, dtype=bool)])
        assert honest.min() / 2 <= scale <= honest.max()


def test_a_hostile_row_moves_the_mean_anywhere_but_not_the_geometric_median() -> None:
    X = np.vstack([np.random.default_rng(7).normal(size=(8, 5)), np.full((3, 5), 1e9)])
    assert np.linalg.norm(aggregated(X, Mean())) > 1e8
    assert np.linalg.norm(aggregated(X, GeometricMedian())) < np.linalg.norm(X[:8], axis=1).max()


# ------------------------------------------------------------------------------------------------ centred clipping


def test_centered_clipping_by_hand() -> None:
    X = rows_of(0, 1, 10)
    # From 0, cut to 2: (0 + 1 + 2)/3 = 1. From 1: (-1 + 0 + 2)/3 = 1/3 more.
    assert np.allclose(weigh(X, CenteredClipping(2.0)), [1 / 3, 1 / 3, 0.2 / 3])
    assert np.allclose(aggregated(X, CenteredClipping(2.0)), 1)
    assert np.allclose(aggregated(X, CenteredClipping(2.0, steps=2)), 4 / 3)


def test_centered_clipping_from_a_reference_by_hand() -> None:
    X, trusted = rows_of(0, 1, 10), np.array([4.0])
    # From 4, cut to 2: (-2 - 2 + 2)/3; the factors are 1/2, 2/3, 1/3.
    found = weigh(X, CenteredClipping(2.0), trusted)
    assert np.allclose(found, [1 / 6, 2 / 9, 1 / 9, 0.5])
    assert np.allclose(aggregated(X, CenteredClipping(2.0), trusted), 4 - 2 / 3)


def test_centered_clipping_within_the_bound_is_the_mean() -> None:
    X = np.random.default_rng(0).normal(size=(6, 4))
    found = weigh(X, CenteredClipping(100.0), np.zeros(4))
    assert np.allclose(found, [*[1 / 6] * 6, 0], atol=1e-15)


@pytest.mark.parametrize("clip_l2", [1e-3, 1.0, 50.0])
def test_one_member_moves_one_step_of_centered_clipping_by_no_more_than_its_sensitivity(clip_l2: float) -> None:
    rng = np.random.default_rng(1)
    rule, trusted = CenteredClipping(clip_l2), rng.normal(size=20)
    X = rng.normal(size=(10, 20))
    nobody = X.copy()
    nobody[9] = trusted  # a row at the reference pulls with zero: as if it were not among the 10 invited
    for hostile in (1e30 * rng.normal(size=20), 1e6 * rng.normal(size=20), rng.normal(size=20)):
        X[9] = hostile
        moved = np.linalg.norm(aggregated(X, rule, trusted) - aggregated(nobody, rule, trusted))
        bound = rule.l2_sensitivity(10)
        assert bound is not None
        assert moved <= bound * (1 + 1e-9)


def test_a_hostile_row_moves_the_mean_anywhere_but_not_centered_clipping() -> None:
    X = np.random.default_rng(2).normal(size=(9, 5))
    X[8] = 1e30
    assert np.linalg.norm(aggregated(X, Mean())) > 1e28
    assert np.linalg.norm(aggregated(X, CenteredClipping(3.0, steps=5))) < 5


def test_centered_clipping_is_moved_at_every_step_by_hostile_rows_that_know_the_reference() -> None:
    # f rows beyond the bound move it f/n of the bound, round after round, where the honest ones would stand still.
    X = np.zeros((10, 3))
    X[7:, 0] = 1e30
    v = np.zeros(3)
    for _ in range(20):
        before, v = v, aggregated(X + v * (np.arange(10) < 7)[:, None], CenteredClipping(1.0), v)
        assert np.isclose(v[0] - before[0], 0.3)


# ---------------------------------------------------------------------------------------------------- MoNNA and MDA


def test_monna_by_hand() -> None:
    X = rows_of(0, 1, 3, 10)
    assert np.allclose(weigh(X, MoNNA(f=1, own=0)), [1 / 3, 1 / 3, 1 / 3, 0])
    assert np.allclose(weigh(X, MoNNA(f=1, own=3)), [0, 1 / 3, 1 / 3, 1 / 3])
    assert gram_weights(products(X), MoNNA(f=1, own=3))[1] == pytest.approx([100, 81, 49, 0])


def test_monna_keeps_its_own_row_first_and_of_equals_the_earlier() -> None:
    X = rows_of(5, 5, 5, 5, 5)
    assert np.flatnonzero(weigh(X, MoNNA(f=2, own=4))).tolist() == [0, 1, 4]
    X = rows_of(1, -1, 1, 0, -1)
    assert np.flatnonzero(weigh(X, MoNNA(f=2, own=3))).tolist() == [0, 1, 3]


def test_monna_is_as_good_as_the_row_it_trusts() -> None:
    X = np.vstack([np.random.default_rng(0).normal(size=(6, 4)), 1e9 + np.zeros((2, 4))])
    assert np.linalg.norm(aggregated(X, Mean())) > 1e8
    assert np.linalg.norm(aggregated(X, MoNNA(f=2, own=0))) < 5
    assert np.linalg.norm(aggregated(X, MoNNA(f=2, own=7))) > 1e8  # a hostile row named as one's own


def test_mda_by_hand() -> None:
    X = rows_of(0, 1, 3, 10, 100)
    assert np.allclose(weigh(X, MDA(f=1)), [0.25, 0.25, 0.25, 0.25, 0])
    assert np.allclose(weigh(X, MDA(f=2)), [1 / 3, 1 / 3, 1 / 3, 0, 0])
    assert np.allclose(weigh(rows_of(0, 1, 2, 50), MDA(f=0)), 0.25)


def test_of_equal_diameters_mda_takes_the_first_subset() -> None:
    assert np.flatnonzero(weigh(rows_of(0, 1, 2, 3), MDA(f=1))).tolist() == [0, 1, 2]
    assert np.flatnonzero(weigh(rows_of(3, 2, 1, 0, 9), MDA(f=2))).tolist() == [0, 1, 2]
    assert np.flatnonzero(weigh(rows_of(9, 0, 1, 5, 2, 4), MDA(f=2))).tolist() == [1, 2, 4, 5]  # before {2, 3, 4, 5}
    assert np.flatnonzero(weigh(rows_of(7, 7, 7, 7, 7), MDA(f=2))).tolist() == [0, 1, 2]


def test_mda_of_one_row_is_that_row() -> None:
    assert weigh(rows_of(7), MDA(f=0)).tolist() == [1]


def test_mda_of_20_rows_is_exact_and_of_21_refused() -> None:
    X = np.random.default_rng(0).normal(size=(21, 3))
    found = weigh(X[:20], MDA(f=9))
    assert np.flatnonzero(found).tolist() == list(vector_reference.tightest(list(X[:20]), 11))
    with pytest.raises(QuorumError, match="mda is exact for n <= 20 updates only, got 21"):
        weigh(X, MDA(f=9))


def test_only_the_order_of_distances_decides_what_mda_takes() -> None:
    distances = squared_distances(from_products(products(np.random.default_rng(3).normal(size=(9, 4)))))
    ranks = np.unique(distances, return_inverse=True)[1].reshape(9, 9)
    assert mda.tightest(ranks, 6).tolist() == mda.tightest(np.sqrt(distances), 6).tolist()


def test_a_hostile_row_moves_the_mean_anywhere_but_not_mda() -> None:
    X = np.vstack([np.random.default_rng(1).normal(size=(7, 4)), 1e30 * np.random.default_rng(2).normal(size=(3, 4))])
    assert np.abs(aggregated(X, Mean())).max() > 1e28
    assert (weigh(X, MDA(f=3))[7:] == 0).all()


# -------------------------------------------------------------------------------------------------------------- DnC


def test_dnc_by_hand() -> None:
    # About the mean (2, 0) the rows spread most along the first axis: squared projections 4, 1, 4, 1, 36.
    X = rows_of([0, 1], [1, -1], [0, -1], [1, 1], [8, 0])
    found, scores = gram_weights(products(X), DnC(f=1))
    assert np.allclose(found, [0.25, 0.25, 0.25, 0.25, 0])
    assert np.allclose(np.asarray(scores), [4, 1, 4, 1, 36])
    assert np.flatnonzero(weigh(X, DnC(f=2, c=1.0))).tolist() == [0, 1, 3]  # of the equal rows 0 and 2, the earlier
    assert np.flatnonzero(weigh(X, DnC(f=1, c=1.5))).tolist() == [0, 1, 3]  # ceil(1.5) = 2 are dropped


def test_dnc_of_equal_rows_keeps_the_earlier() -> None:
    found, scores = gram_weights(products(rows_of(7, 7, 7, 7, 7)), DnC(f=2))
    assert found.tolist() == [1 / 3, 1 / 3, 1 / 3, 0, 0]
    assert np.asarray(scores).tolist() == [0] * 5


def test_dnc_ranks_honest_rows_beside_a_huge_one() -> None:
    # Along the axis of the huge row the others are 1e29 from the mean, all alike in float64; their order still counts.
    X = np.zeros((10, 4))
    X[:9, 0] = [3, -4, 1, 0, 2, -1, 5, -2, 4]
    X[9, 0] = 1e30
    assert np.flatnonzero(weigh(X, DnC(f=2))).tolist() == [0, 2, 3, 4, 5, 6, 7, 8]  # -4, farthest from the mean, goes
    assert np.flatnonzero(weigh(-X, DnC(f=2))).tolist() == [0, 2, 3, 4, 5, 6, 7, 8]


def test_a_hostile_row_moves_the_mean_anywhere_but_not_dnc_and_two_directions_get_past_it() -> None:
    X = np.random.default_rng(1).normal(size=(12, 6))
    X[10:, 0] = 1e6
    assert np.linalg.norm(aggregated(X, Mean())) > 1e5
    assert (weigh(X, DnC(f=2))[10:] == 0).all()
    X[10, 0], X[11, 0], X[11, 1] = 1e12, 0, 1e5  # far as well, but not along the direction that is looked at
    assert weigh(X, DnC(f=2))[11] > 0


# ---------------------------------------------------------------------------------------------------------- FLTrust


def test_fltrust_by_hand() -> None:
    X, trusted = rows_of([2, 0], [0, 5], [-1, 0], [3, 4], [0, 0]), np.array([1.0, 0.0])
    found, scores = gram_weights(products(X, trusted), FLTrust(), reference=True)
    assert np.allclose(found, [1 / 2 / 1.6, 0, 0, 0.6 / 5 / 1.6, 0])
    assert np.allclose(np.asarray(scores), [0, 1, 2, 0.4, 1])


@pytest.mark.parametrize("trusted", [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]], ids=["nobody agrees", "a zero reference"])
def test_fltrust_of_rows_that_nothing_speaks_for_is_zero(trusted: list[float]) -> None:
    X = rows_of([0, 3, 0.1], [-1, 5, 2], [0, 0, 0])
    assert weigh(X, FLTrust(), np.array(trusted)).tolist() == [0, 0, 0]


def test_a_cosine_of_rounding_does_not_become_a_whole_share_of_fltrust() -> None:
    X, trusted = rows_of([0.1, 0.3, -0.7]), np.array([0.7, 0.0, 0.1])
    X[0] += 1e-17 * trusted
    assert abs(vector_reference.cosine(X[0], trusted)) < 1e-15
    assert weigh(np.vstack([X, X, X]), FLTrust(), trusted).tolist() == [0, 0, 0]


def test_a_hostile_row_moves_the_mean_anywhere_but_fltrust_not_beyond_the_length_of_the_reference() -> None:
    rng = np.random.default_rng(3)
    trusted = rng.normal(size=8)
    X = trusted + 0.5 * rng.normal(size=(9, 8))
    X[7:] *= -1e30
    assert np.linalg.norm(aggregated(X, Mean())) > 1e28
    assert (weigh(X, FLTrust(), trusted)[7:] == 0).all()
    X[7:] *= -1
    assert np.linalg.norm(aggregated(X, FLTrust(), trusted)) <= np.linalg.norm(trusted) * (1 + 1e-12)


def test_fltrust_is_turned_by_rows_aligned_with_the_reference_but_harmful_beside_it() -> None:
    # Known limit: where honest rows hardly agree with the reference, two rows at 60 degrees to it decide the result.
    rng = np.random.default_rng(4)
    trusted = np.eye(1, 20)[0]
    honest = 0.1 * trusted + np.eye(20)[1] + 0.1 * rng.normal(size=(10, 20)) * (np.arange(20) > 1)
    hostile = np.tile(0.5 * trusted - np.sqrt(0.75) * np.eye(20)[1], (2, 1))
    without = aggregated(honest, FLTrust(), trusted)
    turned = aggregated(np.vstack([honest, hostile]), FLTrust(), trusted)
    assert without[1] > 0.9
    assert turned[1] < 0.2


# -------------------------------------------------------------------------------------------------------- FoolsGold


def clones(*past: list[float]) -> tuple[list[float], list[float]]:
    """Weights and scores for these histories."""
    found, scores = foolsgold.weights(FoolsGold(), products(rows_of(*past)))
    return found.tolist(), scores.tolist()


def test_foolsgold_by_hand() -> None:
    assert clones([1, 0], [1, 0], [0, 1]) == ([0, 0, 1], [1, 1, 0])
    # cos = 0.6 between the first two, α = (0.4, 0.4, 1): ln(0.4/0.6) + 1/2 each.
    found, scores = clones([1, 0, 0], [0.6, 0.8, 0], [0, 0, 1])
    weight = np.log(0.4 / 0.6) + 0.5
    assert np.allclose(found, np.array([weight, weight, 1]) / (1 + 2 * weight))
    assert np.allclose(scores, [0.6, 0.6, 0])


def test_foolsgold_pardons_a_row_that_is_similar_to_clones_but_no_clone() -> None:
    # Row 2 has cosine 0.8 to both clones: pardoned to 0.8², α = 0.36, the largest, so it has all the weight.
    found, scores = clones([1, 0], [1, 0], [0.8, 0.6])
    assert np.allclose(scores, [1, 1, 0.64])
    assert np.allclose(found, [0, 0, 1])


@pytest.mark.parametrize(
    ("past", "wanted"),
    [
        ([[1.0, 2.0]] * 4, [0] * 4),
        ([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]], [0] * 4),
        ([[0.1, 0.7]] * 3, [0] * 3),
        ([[0.0, 0.0]] * 4, [0.25] * 4),
        ([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]], [1, 0, 0]),
        ([[1.0, 0.0], [-1.0, 0.0]], [0.5] * 2),
        ([[5.0, 5.0]], [1]),
    ],
    ids=["all the same", "two pairs", "the same but for rounding", "none yet", "one new", "opposite", "alone"],
)
def test_the_edges_of_foolsgold(past: list[list[float]], wanted: list[float]) -> None:
    assert clones(*past)[0] == wanted


def test_foolsgold_of_huge_and_tiny_histories_sees_the_direction_alone() -> None:
    past = np.random.default_rng(0).normal(size=(6, 10))
    past[4:] = past[3]
    lengths = np.array([1e30, 1e-30, 1, 1e38, 1e-38, 1])[:, None]
    found, wanted = clones(*(lengths * past).tolist())[0], clones(*past.tolist())[0]
    assert np.allclose(found, wanted)
    assert found[3:] == [0, 0, 0]


def test_clones_count_for_nothing_in_foolsgold_and_clones_that_differ_evade_it() -> None:
    rng = np.random.default_rng(1)
    honest = rng.normal(size=(5, 200))
    poison = np.tile(rng.normal(size=200), (10, 1))
    past = np.vstack([honest, poison])
    assert (weigh(past, Mean())[5:].sum()) > 0.6
    assert weigh(past, FoolsGold(), past=past)[5:].sum() == 0
    # Known limit: with noise of its own as long as the poison, each clone looks like a member of its own.
    noise = 2.0 * rng.normal(size=(10, 200))
    assert weigh(past, FoolsGold(), past=np.vstack([honest, poison + noise]))[5:].sum() > 0.6


def test_one_hostile_row_that_differs_moves_foolsgold_anywhere() -> None:
    X = np.random.default_rng(2).normal(size=(6, 50))
    X[5] *= 1e9
    assert np.linalg.norm(aggregated(X, FoolsGold(), past=X)) > 1e8


# ------------------------------------------------------------------------------------------------------------ FLAME


def at(degrees: float, length: float = 1.0) -> list[float]:
    return [length * np.cos(np.radians(degrees)), length * np.sin(np.radians(degrees))]


def test_flame_by_hand() -> None:
    X = rows_of(at(0, 1), at(10, 5), at(20, 3), at(90, 2), at(180, 4))
    found, scores = gram_weights(products(X), FLAME())
    assert np.allclose(found, [1 / 3, 3 / 5 / 3, 1 / 3, 0, 0])  # cut to 3, the median length of all
    assert np.allclose(np.asarray(scores), [0, 0, 0, 1 - np.cos(np.radians(70)), 1 - np.cos(np.radians(160))])


def test_flame_clusters_the_models_where_there_is_a_reference() -> None:
    # As rows the first two are opposite; as models near (100, 0) they are neighbours.
    X, trusted = rows_of([0, 1], [0, -1], [0, 50]), np.array([100.0, 0.0])
    assert np.flatnonzero(weigh(X, FLAME(), trusted)).tolist() == [0, 1]
    assert np.flatnonzero(weigh(X, FLAME())).tolist() == [0, 2]


def test_flame_joins_rows_one_by_one_until_they_are_most() -> None:
    # A chain 10 degrees apart from row to row is one cluster, however far its ends are from each other.
    X = rows_of(*(at(10 * i) for i in range(5)), at(200), at(250), at(300))
    assert np.flatnonzero(weigh(X, FLAME())).tolist() == [0, 1, 2, 3, 4]


def test_flame_joins_rows_at_the_same_distance_together() -> None:
    X = np.repeat(np.eye(4), 2, axis=0)  # four pairs, at distance 1 of each other
    assert np.allclose(weigh(X, FLAME()), 1 / 8)


def test_flame_of_zero_rows_and_of_one() -> None:
    assert np.allclose(weigh(np.zeros((5, 3)), FLAME()), 1 / 5)
    assert weigh(rows_of([2, 3]), FLAME()).tolist() == [1]
    found = weigh(rows_of([0, 0], [0, 0], [0, 0], [5, 5], [-5, 5]), FLAME())
    assert np.allclose(found, [1 / 3, 1 / 3, 1 / 3, 0, 0])


@pytest.mark.parametrize("rounded", [False, True], ids=["", "ties"])
def test_the_majority_is_the_cluster_that_hdbscan_finds(rounded: bool) -> None:
    cluster = pytest.importorskip("sklearn.cluster")
    rng = np.random.default_rng(5)
    for _ in range(60):
        n = int(rng.integers(3, 25))
        X = rng.normal(size=(n, 4)) + (np.arange(n) < n // 3)[:, None]
        if rounded:
            X = np.asarray(rng.integers(-1, 2, (n, 3)), dtype=np.float64) + 1e-9
        D = flame._cosine_distances(from_products(products(X)))
        D = np.round(D, 6) if rounded else D
        found = cluster.HDBSCAN(
            min_cluster_size=n // 2 + 1, min_samples=1, allow_single_cluster=True, metric="precomputed", copy=True
        ).fit(D)
        assert np.flatnonzero(found.labels_ == 0).tolist() == np.flatnonzero(flame.majority(D)).tolist()
        assert np.flatnonzero(flame.majority(D)).tolist() == vector_reference.majority(D)


def test_models_that_differ_by_1e_minus_7_are_clustered_by_their_difference_and_not_by_rounding() -> None:
    rng = np.random.default_rng(6)
    trusted = rng.normal(size=50)
    X = 1e-7 * rng.normal(size=(9, 50))
    X[6:] *= 3
    found = flame._cosine_distances(seen(X, trusted))
    exact = np.array([[perpendicular(trusted + a, a - b) for b in X] for a in X])  # 1 - cos = sin²/2 of a small angle
    assert np.allclose(found, exact, rtol=1e-3, atol=0)  # what is left is that of float64 models, 1e-16 of 1e-7
    naive = np.array([[1 - vector_reference.cosine(trusted + a, trusted + b) for b in X] for a in X])
    assert np.abs(naive - exact).max() > 1e-3 * exact.max()


def seen(X: F64, trusted: F64) -> Gram:
    """As `gram` sees float32 rows: products of differences, not differences of products."""
    c = X[0]
    vectors = np.vstack([X - c, trusted - c, c])
    return Gram(vectors @ vectors.T, has_reference=True)


def perpendicular(model: F64, apart: F64) -> float:
    along = model / np.linalg.norm(model)
    return float(((apart - (apart @ along) * along) ** 2).sum() / (2 * (model @ model)))


def test_a_hostile_row_moves_the_mean_anywhere_but_flame_no_farther_than_the_median_length() -> None:
    rng = np.random.default_rng(7)
    X = rng.normal(size=10) + 0.5 * rng.normal(size=(9, 10))
    X[6:] *= 1e30
    assert np.linalg.norm(aggregated(X, Mean())) > 1e28
    assert np.linalg.norm(aggregated(X, FLAME())) <= np.median(np.linalg.norm(X, axis=1)) * (1 + 1e-12)
    X[6:] *= -1
    assert (weigh(X, FLAME())[6:] == 0).all()


# ----------------------------------------------------------------------------------------------------------- custom


def test_a_rule_of_ones_own_sees_the_rows_as_they_are_and_composes() -> None:
    handed: list[F64] = []

    def first_longest(G: F64) -> F64:
        handed.append(G)
        return np.asarray(np.arange(len(G)) == np.diagonal(G).argmax())

    X = rows_of([1, 2], [0, 1], [5, 5], [4, 1])
    assert weigh(X, Custom(first_longest)).tolist() == [0, 0, 1, 0]
    assert np.allclose(handed[0], X @ X.T)
    assert (handed[0] == handed[0].T).all()
    assert np.isclose(weigh(X, NormClip(6.0) >> Custom(first_longest), X[0])[2], 6 / np.sqrt(50))
    assert handed[1].shape == (4, 4)  # without the reference


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.ones(3), r"mine must give 4 weights of shape \(4,\), got float64 of shape \(3,\)"),
        (np.ones((4, 1)), r"mine must give 4 weights of shape \(4,\), got float64 of shape \(4, 1\)"),
        (None, "mine must give 4 weights"),
        (["a"] * 4, "mine must give 4 weights"),
        (np.ones(4) * 1j, "mine must give 4 weights of shape .* got complex128"),
        (np.array([1.0, np.nan, 0, 0]), r"mine must give finite weights, got \[1.0, nan, 0.0, 0.0\]"),
        (np.array([1.0, np.inf, 0, 0]), "mine must give finite weights"),
    ],
)
def test_weights_that_are_no_weights_are_refused_by_the_name_of_the_rule(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        weigh(rows_of(1, 2, 3, 4), Custom(lambda G: given, "mine"))


def test_a_rule_of_ones_own_keeps_no_hold_on_what_it_gave() -> None:
    given = np.full(4, 0.25)
    found = weigh(rows_of(1, 2, 3, 4), Custom(lambda G: given))
    given[:] = 9
    assert found.tolist() == [0.25] * 4


# -------------------------------------------------------------------------------------------------------- bucketing


@pytest.mark.parametrize(("n", "size"), [(6, 2), (7, 2), (7, 3), (5, 1), (3, 5), (1000, 7)])
def test_bucketing_puts_every_row_in_one_bucket(n: int, size: int) -> None:
    W = bucketing.mixing(Bucketing(size, COIN), from_products(np.eye(n)))
    counts = (W > 0).sum(axis=1)
    assert W.shape == (-(-n // size), n)
    assert ((W > 0).sum(axis=0) == 1).all()
    assert (counts[:-1] == size).all()
    assert np.allclose(W.sum(axis=1), 1, rtol=1e-15)
    assert np.allclose(W.max(axis=1), 1 / counts)


def test_buckets_follow_the_words_of_the_coin() -> None:
    words = np.frombuffer(expand(COIN, "bucketing", 8 * 5), dtype="<u8").tolist()
    order = sorted(range(5), key=words.__getitem__)
    W = bucketing.mixing(Bucketing(2, COIN), from_products(np.eye(5)))
    assert [np.flatnonzero(row).tolist() for row in W] == [sorted(order[:2]), sorted(order[2:4]), order[4:]]


def test_another_coin_makes_other_buckets_and_every_row_meets_every_other() -> None:
    met = np.zeros((6, 6))
    for i in range(300):
        W = bucketing.mixing(Bucketing(2, i.to_bytes(32, "big")), from_products(np.eye(6)))
        met += (W > 0).T.astype(float) @ (W > 0)
    pairs = met[~np.eye(6, dtype=bool)]
    assert abs(pairs - 300 / 5).max() < 5 * np.sqrt(300 * 0.2 * 0.8)  # each pair with probability 1/5, five sigma


def test_a_hostile_row_spoils_one_bucket() -> None:
    X = np.random.default_rng(0).normal(size=(9, 6))
    X[4] = 1e30
    assert np.linalg.norm(aggregated(X, Bucketing(3, COIN) >> Mean())) > 1e28
    assert np.linalg.norm(aggregated(X, Bucketing(3, COIN) >> GeometricMedian(f=1))) < 5


def test_who_knows_the_coin_chooses_the_bucket_to_share() -> None:
    # Known limit: rows 4 and 5, next to one honest row, cancel it and leave their own sum as that bucket.
    bucket = np.flatnonzero(bucketing.mixing(Bucketing(3, COIN), from_products(np.eye(9)))[0])
    X = np.ones((9, 2))
    X[bucket[1:]] = [-0.5, 4.0]
    W = bucketing.mixing(Bucketing(3, COIN), from_products(np.eye(9)))
    assert np.allclose((W @ X)[0], [0, 3])


# ------------------------------------------------------------------------------------------------- Krum and Bulyan


def test_multi_krum_averages_as_many_rows_as_it_is_told() -> None:
    X = rows_of(0, 1, 3, 10, 100)
    assert np.allclose(weigh(X, MultiKrum(f=1)), [0.5, 0.5, 0, 0, 0])
    assert np.allclose(weigh(X, MultiKrum(f=1, m=4)), [0.25, 0.25, 0.25, 0.25, 0])  # n-f, as ByzFL
    assert np.allclose(weigh(X, MultiKrum(f=0, m=1)), weigh(X, Krum(f=0)))
    with pytest.raises(QuorumError, match="got 5"):
        weigh(X, MultiKrum(f=1, m=6))


def test_krum_of_one_neighbour_more_chooses_another_row() -> None:
    distances = squared_distances(from_products(products(rows_of(0, 1, 3, 10, 100))))
    assert krum.scores(distances, 2).tolist() == [10, 5, 13, 130, 8100 + 9409]  # n-f-2, Blanchard
    assert krum.scores(distances, 3).argmin() == 2  # n-f-1, as other libraries: 62 against 86


def test_bulyan_selects_by_hand() -> None:
    # f = 1, neighbours 4, 3, 2, 1, 1. Of 0 1 3 6 10 15 21: 3 (9 + 4 + 9 + 49); of those left 6 (25 + 16 +
    # 36); 15 (25 + 36); of 0 and 1, each 1 from the other, the earlier; then 1 and 10, each 81: the earlier.
    X = rows_of(0, 1, 3, 6, 10, 15, 21)
    found = bulyan.selection(Bulyan(f=1), from_products(products(X)))
    assert found.tolist() == vector_reference.bulyan_selection(list(X), 1) == [0, 1, 2, 3, 5]


@pytest.mark.parametrize(("n", "f", "wanted"), [(7, 1, [0, 1, 2, 3, 4]), (3, 0, [0, 1, 2]), (11, 2, list(range(7)))])
def test_bulyan_of_equal_rows_selects_the_earlier(n: int, f: int, wanted: list[int]) -> None:
    assert bulyan.selection(Bulyan(f), from_products(np.ones((n, n)))).tolist() == wanted


def test_bulyan_never_selects_rows_that_are_far_while_honest_ones_are_left() -> None:
    X = np.random.default_rng(0).normal(size=(15, 8))
    X[12:] = 1e30 * np.random.default_rng(1).normal(size=(3, 8))
    found = bulyan.selection(Bulyan(f=3), from_products(products(X)))
    assert len(found) == 9
    assert (found < 12).all()
    near = np.where((np.arange(15) < 12)[:, None], X, 1e-24 * X)
    assert found.tolist() == vector_reference.bulyan_selection(list(near), 3)


# ------------------------------------------------------------------------------------------------ what all share


@pytest.mark.parametrize("text", [text for text in (*ALONE, *COMPOSED) if "foolsgold" not in text])
def test_identical_rows_give_that_row(text: str) -> None:
    X = np.full((13, 5), 0.25)
    assert np.allclose(aggregated(X, chain(text, 2), X[0]), 0.25, rtol=1e-14)


@pytest.mark.parametrize("text", [*ALONE, *COMPOSED])
def test_zero_rows_give_zero_and_finite_weights(text: str) -> None:
    X = np.zeros((13, 5))
    found = weigh(X, chain(text, 2), X[0], X)
    assert np.isfinite(found).all()
    assert (aggregated(X, chain(text, 2), X[0], X) == 0).all()


@pytest.mark.parametrize("factor", [1e6, 1e24])
@pytest.mark.parametrize("text", [text for text in (*ALONE, *COMPOSED) if text.split(" >> ")[-1] != "mean"])
def test_one_huge_row_leaves_the_weights_of_the_others_as_those_of_a_far_one(text: str, factor: float) -> None:
    # The same row from 1e6 away, where the float64 vectors of the others lose nothing, says what is right. The history
    # has no huge row.
    rng = np.random.default_rng(8)
    trusted = rng.normal(size=20)
    X = trusted + rng.normal(size=(13, 20))
    near, far = X.copy(), X.copy()
    near[12], far[12] = 1e6 * X[12], 1e6 * factor * X[12]
    found = weigh(far, chain(text, 2), trusted, X)
    wanted = weigh(near, chain(text, 2), trusted, X)
    assert np.isfinite(found).all()
    if text == "custom":
        return  # its distances decide, as they should
    assert np.allclose(found[:12], wanted[:12], rtol=1e-3, atol=1e-6)
    assert found[12] <= wanted[12]


def test_rows_known_by_their_products_alone_lose_nothing_to_a_huge_one() -> None:
    X = np.random.default_rng(9).normal(size=(9, 30))
    X[8] = 1e30
    distances = squared_distances(from_products(products(X)))
    exact = np.array([[((x - y) ** 2).sum() for y in X] for x in X])
    assert np.allclose(distances, exact, rtol=1e-13)


def test_hundreds_of_rows_are_weighed() -> None:
    X = np.random.default_rng(10).normal(size=(300, 50))
    G, trusted = products(X), products(X, X[0])
    rules: list[AnyRule | Chain] = [
        GeometricMedian(f=60),
        CenteredClipping(1.0, 3),
        MultiKrum(f=60, m=150),
        MoNNA(f=60),
        DnC(f=60),
        FLAME(),
        FoolsGold(),
        Bucketing(3, COIN) >> GeometricMedian(),
        NNM(f=60) >> DnC(f=60),
    ]
    for rule in rules:
        found = gram_weights(G, rule, history=G)[0]
        assert np.isclose(found.sum(), 1) or isinstance(rule, CenteredClipping | FLAME)
    gram_weights(trusted, FLTrust(), reference=True)
    bulyan.selection(Bulyan(f=60), from_products(G))


def test_fltrust_without_a_reference_and_foolsgold_without_a_history_are_refused() -> None:
    with pytest.raises(ValueError, match="fltrust needs a reference"):
        fltrust.weights(FLTrust(), from_products(np.eye(3)))
    with pytest.raises(ValueError, match="foolsgold needs the"):
        gram_weights(np.eye(3), FoolsGold())


@pytest.mark.parametrize("rule", [CenteredClipping(1.0), DnC(1), FLAME(), GeometricMedian(), MoNNA(1)])
def test_rows_that_are_trusted_less_score_higher(rule: AnyRule) -> None:
    X = np.random.default_rng(11).normal(size=12) + np.random.default_rng(12).normal(size=(9, 12))
    X[8] *= -50
    scores = gram_weights(products(X), rule)[1]
    assert scores is not None
    assert scores.shape == (9,)
    assert scores.argmax() == 8


def test_mda_and_a_rule_of_ones_own_score_no_rows() -> None:
    assert gram_weights(np.eye(5), MDA(1))[1] is None
    assert gram_weights(np.eye(5), Custom(lambda G: np.full(5, 0.2)))[1] is None


def test_the_sum_of_shares_says_how_much_was_cut() -> None:
    X = rows_of([3, 0], [0, 3], [30, 0])
    assert np.isclose(weigh(X, CenteredClipping(3.0)).sum(), (1 + 1 + 0.1) / 3)
    assert np.isclose(weigh(X, CenteredClipping(3.0), np.zeros(2)).sum(), 1)
    assert centered_clipping.weights(CenteredClipping(3.0), from_products(products(X)))[1] == pytest.approx([3, 3, 30])
    assert dnc.weights(DnC(1), from_products(products(X)))[0].sum() == pytest.approx(1)
