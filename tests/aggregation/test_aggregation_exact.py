"""Rules on exact Gram matrices: against fractions, against the float rules, and where int64 is too small."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phalanx.aggregation import exact
from phalanx.aggregation.exact import integer_weights
from phalanx.aggregation.weigh import gram_weights
from phalanx.errors import QuorumError, RuleRefused
from phalanx.rules import (
    ARC,
    CAF,
    MDA,
    NNM,
    Bucketing,
    Chain,
    FoolsGold,
    GeometricMedian,
    GramRule,
    Krum,
    Mean,
    Median,
    MultiKrum,
    Rule,
)

I64 = npt.NDArray[np.int64]
RULES = ("mean", "krum", "multi-krum", "multi-krum-m", "mda")
ALL = (*RULES, *(f"nnm >> {rule}" for rule in RULES))
properties = settings(max_examples=25, deadline=None, derandomize=True)


def chain(text: str, f: int) -> Chain:
    rules: dict[str, GramRule] = {
        "mean": Mean(),
        "krum": Krum(f),
        "multi-krum": MultiKrum(f),
        "multi-krum-m": MultiKrum(f, m=2),
        "mda": MDA(f),
    }
    *pre, last = text.split(" >> ")
    return Chain((NNM(f),) if pre else (), rules[last])


def gram(X: I64) -> I64:
    return np.asarray(X @ X.T)


# ---------------------------------------------------------------------------------- the rules once more, in fractions

Vector = list[Fraction]


def apart(x: Vector, y: Vector) -> Fraction:
    return sum(((a - b) ** 2 for a, b in zip(x, y, strict=True)), Fraction(0))


def average(vectors: list[Vector]) -> Vector:
    return [sum(column, Fraction(0)) / len(vectors) for column in zip(*vectors, strict=True)]


def in_fractions(X: I64, rule: Chain) -> Vector:
    """The aggregate by the formulas, with no rounding anywhere."""
    rows = [[Fraction(int(value)) for value in row] for row in X]
    n = len(rows)
    for step in rule.pre:
        assert isinstance(step, NNM)
        order = [sorted(range(n), key=lambda j: (j != i, apart(rows[i], rows[j]), j)) for i in range(n)]
        rows = [average([rows[j] for j in near[: n - step.f]]) for near in order]
    match rule.rule:
        case Krum(f) | MultiKrum(f):
            others = [sorted(apart(x, y) for j, y in enumerate(rows) if j != i) for i, x in enumerate(rows)]
            scores = [sum(near[: n - f - 2]) for near in others]
            count = 1 if isinstance(rule.rule, Krum) else rule.rule.m or n - f - 2
            return average([rows[i] for i in sorted(range(n), key=lambda i: (scores[i], i))[:count]])
        case MDA(f):
            subsets = combinations(range(n), n - f)

            def spread(subset: tuple[int, ...]) -> tuple[Fraction, Fraction]:
                squares = [apart(rows[i], rows[j]) for i in subset for j in subset]
                return max(squares), sum(squares, start=Fraction(0))

            best = min(subsets, key=spread)
            return average([rows[i] for i in best])
        case _:
            return average(rows)


def aggregate(X: I64, rule: Chain) -> Vector:
    weights, denominator = integer_weights(gram(X), rule)
    sums = [sum(int(w) * int(x) for w, x in zip(weights, column, strict=True)) for column in X.T]
    return [Fraction(value, denominator) for value in sums]


@dataclass(frozen=True)
class Case:
    X: I64
    f: int


@st.composite
def cases(draw: st.DrawFn, width: int) -> Case:
    """Integer rows of up to `width`; of a small one, so that many distances tie."""
    f = draw(st.integers(0, 2))
    n = draw(st.integers(2 * f + 3, 2 * f + 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return Case(rng.integers(-width, width + 1, (n, draw(st.integers(1, 4)))), f)


@pytest.mark.parametrize("text", ALL)
@pytest.mark.parametrize("width", [1, 3, 2**16, 2**29])
@properties
@given(data=st.data())
def test_every_rule_equals_its_formula_in_fractions(text: str, width: int, data: st.DataObject) -> None:
    case = data.draw(cases(width))
    assert aggregate(case.X, chain(text, case.f)) == in_fractions(case.X, chain(text, case.f))


@pytest.mark.parametrize("text", ALL)
@properties
@given(case=cases(2**20))
def test_without_ties_every_rule_equals_the_float_rule(text: str, case: Case) -> None:
    if len(case.X) - case.f - 2 < 2 or len(case.X) == 2 * case.f + 3:
        return  # over one neighbour two rows that are each other's nearest tie, and mixed rows are often the same row
    X = np.hstack([case.X, np.random.default_rng(len(case.X)).integers(-(2**20), 2**20, (len(case.X), 9))])
    weights, denominator = integer_weights(gram(X), chain(text, case.f))
    wanted = gram_weights(gram(X).astype(np.float64), chain(text, case.f))[0]
    assert np.allclose((weights / denominator) @ X, wanted @ X, rtol=1e-12, atol=1e-9 * 2**20)


@pytest.mark.parametrize("text", ALL)
@properties
@given(case=cases(2**10))
def test_the_weights_are_integers_that_sum_to_the_denominator(text: str, case: Case) -> None:
    weights, denominator = integer_weights(gram(case.X), chain(text, case.f))
    n, f = len(case.X), case.f
    kept = {"mean": n, "krum": 1, "multi-krum": n - f - 2, "multi-krum-m": 2, "mda": n - f}[text.split(" >> ")[-1]]
    assert weights.dtype == np.int64
    assert (weights >= 0).all()
    assert int(weights.sum()) == denominator == kept * (n - f if "nnm" in text else 1)


def test_by_hand() -> None:
    G = gram(np.array([[0], [1], [3], [10], [100]]))
    assert integer_weights(G, Mean())[0].tolist() == [1] * 5
    assert integer_weights(G, Krum(f=1))[0].tolist() == [0, 1, 0, 0, 0]
    assert integer_weights(G, MultiKrum(f=1))[0].tolist() == [1, 1, 0, 0, 0]
    assert integer_weights(G, MDA(f=2))[0].tolist() == [1, 1, 1, 0, 0]
    # Nearest three: {0 1 3}, {1 0 3}, {3 1 0}, {10 3 1}, {100 10 3}.
    weights, denominator = integer_weights(G, NNM(f=2) >> Mean())
    assert (weights.tolist(), denominator) == ([3, 4, 5, 2, 1], 15)
    weights, denominator = integer_weights(G, NNM(f=1) >> Krum(f=1))  # four nearest: the first four rows mix alike
    assert (weights.tolist(), denominator) == ([1, 1, 1, 1, 0], 4)


def test_of_equals_the_earlier_row_counts() -> None:
    G = np.full((5, 5), 49)
    assert integer_weights(G, Krum(f=1))[0].tolist() == [1, 0, 0, 0, 0]
    assert integer_weights(G, MDA(f=2))[0].tolist() == [1, 1, 1, 0, 0]
    assert integer_weights(G, NNM(f=2) >> Mean())[0].tolist() == [5, 5, 3, 1, 1]  # itself, then the first two others


def test_scores_that_float64_takes_for_equal_are_told_apart() -> None:
    # The first row is 2⁶⁰ + 1 from the second in squares, the third 2⁶⁰: row 1 wins, and not the first of equals.
    G = gram(np.array([[2**30, 1], [0, 0], [-(2**30), 0]]))
    assert integer_weights(G, Krum(f=0))[0].tolist() == [0, 1, 0]
    assert gram_weights(G.astype(np.float64), Krum(f=0))[0].tolist() == [1, 0, 0]


# ------------------------------------------------------------------------------------------------------- int64 limits


@pytest.mark.parametrize("text", ALL)
def test_entries_at_the_limit_of_int64_are_weighed_exactly(text: str) -> None:
    X = np.random.default_rng(0).integers(-(2**30), 2**30, (9, 8))
    X[:, 0] = 2**30 * np.where(np.arange(9) < 7, 1, -1)
    assert np.abs(gram(X)).max() > 2**61  # four times that is more than an int64
    assert aggregate(X, chain(text, 2)) == in_fractions(X, chain(text, 2))


def test_int64_alone_would_choose_a_hostile_row() -> None:
    # Sums of distances wrapped around are negative, and the farthest row looks nearest.
    X = np.zeros((7, 4), dtype=np.int64)
    X[:6] = np.random.default_rng(1).integers(-9, 9, (6, 4))
    X[6] = 2**30
    G = gram(X)
    squares = np.diagonal(G)
    wrapped = np.sort(squares[:, None] + squares - 2 * G, axis=1)[:, 1:5].sum(axis=1)
    assert wrapped.argmin() == 6
    assert wrapped[6] < 0
    assert integer_weights(G, Krum(f=1))[0][6] == 0


def test_the_halves_of_a_mixed_matrix_add_up() -> None:
    rng = np.random.default_rng(2)
    G = rng.integers(-(2**62), 2**62, (40, 40)) * 2 + rng.integers(0, 2, (40, 40))
    W = rng.integers(0, 2, (40, 40))
    wanted = W.astype(object) @ G.astype(object) @ W.T.astype(object)
    assert (exact._mixed(G, W) == wanted).all()


def test_more_rows_than_the_halves_can_add_are_refused() -> None:
    assert exact._MAX_ROWS**2 * 2**32 <= 2**63 < (exact._MAX_ROWS + 1) ** 2 * 2**32
    many = np.broadcast_to(np.int64(0), (46_341, 46_341))
    with pytest.raises(ValueError, match="at most 46340 rows, got 46341: its sums would overflow"):
        integer_weights(many, Mean())


def test_hundreds_of_rows_are_weighed_exactly() -> None:
    n, f = 300, 60
    X = np.random.default_rng(n).integers(-(2**15), 2**15, (n, 64))
    weights, denominator = integer_weights(gram(X), NNM(f) >> MultiKrum(f))
    assert int(weights.sum()) == denominator


# ----------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "rule",
    [
        CAF(1),
        GeometricMedian(),
        FoolsGold(),
        Median(1),
        ARC(1) >> Mean(),
        ARC(1) >> NNM(1) >> Krum(1),
        NNM(1) >> NNM(1) >> Krum(1),
        NNM(1) >> CAF(1),
        Bucketing(2, bytes(32)) >> Krum(1),
    ],
    ids=str,
)
def test_other_rules_are_refused_by_name(rule: Rule | Chain) -> None:
    with pytest.raises(RuleRefused) as refused:
        integer_weights(gram(np.arange(20).reshape(10, 2)), rule)
    assert str(refused.value).startswith(f"not available on an exact Gram matrix: {rule};")


@pytest.mark.parametrize(
    ("G", "message"),
    [
        (np.eye(5), r"an exact Gram matrix is \(n, n\) int64, got float64"),
        (np.eye(5, dtype=np.int32), "got int32"),
        (np.eye(5, dtype=np.uint64), "got uint64"),
        (np.zeros((5, 4), dtype=np.int64), "got int64 of shape"),
        (np.zeros(5, dtype=np.int64), "got int64 of shape"),
        ([[1]], "got list"),
        (np.arange(25).reshape(5, 5), "an exact Gram matrix is symmetric"),
        (1 - np.eye(5, dtype=np.int64), "two rows are at a negative distance"),
    ],
)
def test_what_is_no_exact_gram_matrix_is_refused(G: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        integer_weights(G, Krum(f=1))


def test_too_few_and_too_many_rows_are_refused_as_by_aggregate() -> None:
    with pytest.raises(QuorumError, match="krum needs n >= 2f \\+ 3 = 7 updates, got 6"):
        integer_weights(np.eye(6, dtype=np.int64), Krum(f=2))
    with pytest.raises(QuorumError, match="mda is exact for n <= 20 updates only, got 21"):
        integer_weights(np.eye(21, dtype=np.int64), NNM(f=1) >> MDA(f=1))


def test_the_matrix_is_left_alone() -> None:
    G = gram(np.arange(21).reshape(7, 3))
    before = G.copy()
    G.flags.writeable = False
    integer_weights(G, NNM(f=2) >> MultiKrum(f=2))
    assert (before == G).all()
