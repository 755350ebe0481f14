"""What `aggregate` refuses, and what it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from phalanx.aggregation import ARC, CAF, NNM, Chain, Krum, Mean, Median, MultiKrum, NormClip, TrimmedMean, aggregate
from phalanx.errors import QuorumError
from phalanx.rules import Rule
from phalanx.types import F32


def some_rows(n: int) -> F32:
    return np.arange(3 * n, dtype=np.float32).reshape(n, 3)


@pytest.mark.parametrize(
    ("rule", "found", "message"),
    [
        (Krum(f=1), 4, "krum needs n >= 2f + 3 = 5 updates, got 4"),
        (Krum(f=0), 2, "krum needs n >= 2f + 3 = 3 updates, got 2"),
        (MultiKrum(f=2), 6, "multi-krum needs n >= 2f + 3 = 7 updates, got 6"),
        (CAF(f=3), 6, "caf needs n >= 2f + 1 = 7 updates, got 6"),
        (Median(f=1), 2, "median needs n >= 2f + 1 = 3 updates, got 2"),
        (TrimmedMean(f=1), 2, "trimmed-mean needs n >= 2f + 1 = 3 updates, got 2"),
        (NNM(f=2) >> Mean(), 4, "nnm needs n >= 2f + 1 = 5 updates, got 4"),
        (ARC(f=2) >> CAF(f=1), 4, "arc needs n >= 2f + 1 = 5 updates, got 4"),
        (NormClip(1.0) >> Krum(f=1), 4, "krum needs n >= 2f + 3 = 5 updates, got 4"),
        (Mean(), 0, "mean needs n >= 1 updates, got 0"),
    ],
)
def test_too_few_rows_are_refused_and_one_more_is_enough(rule: Rule | Chain, found: int, message: str) -> None:
    with pytest.raises(QuorumError) as refused:
        aggregate(some_rows(found), rule)
    assert refused.value.message == message
    assert np.isfinite(aggregate(some_rows(found + 1), rule)[0]).all()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((5, 3)), "rows must be a float32 array, got float64"),
        (np.zeros((5, 3), dtype=">f4"), "rows must be a float32 array, got >f4"),
        ([[1.0, 2.0]], "rows must be a float32 array, got list"),
        (np.zeros(3, dtype=np.float32), r"rows must be \(n, d\) with d >= 1, got shape \(3,\)"),
        (np.zeros((2, 3, 4), dtype=np.float32), r"rows must be \(n, d\) with d >= 1, got shape \(2, 3, 4\)"),
        (np.zeros((5, 0), dtype=np.float32), r"rows must be \(n, d\) with d >= 1, got shape \(5, 0\)"),
    ],
)
def test_rows_of_another_shape_or_dtype_are_refused(rows: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        aggregate(rows, Mean())


@pytest.mark.parametrize("rule", [Mean(), CAF(f=1)])
@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.array([0.5, 0.5]), "weights must be a float64 array of shape"),
        (np.array([0.5, 0.25, 0.25], dtype=np.float32), "weights must be a float64 array of shape"),
        ([0.5, 0.25, 0.25], "weights must be a float64 array of shape"),
        (np.array([1.5, -0.25, -0.25]), "weights must be finite and >= 0"),
        (np.array([1.0, np.nan, 0.0]), "weights must be finite and >= 0"),
        (np.array([np.inf, 0.0, 0.0]), "weights must be finite and >= 0"),
        (np.array([0.5, 0.25, 0.2]), "weights must sum to 1, got"),
        (np.zeros(3), "weights must sum to 1, got"),
    ],
)
def test_weights_that_are_no_weights_are_refused_by_every_rule(rule: Rule, weights: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        aggregate(some_rows(3), rule, weights)


@pytest.mark.parametrize("layout", ["transposed", "every second column", "upside down", "fortran"])
def test_rows_are_taken_however_they_lie_in_memory(layout: str) -> None:
    wide = np.random.default_rng(0).normal(size=(40, 40)).astype(np.float32)
    rows = {
        "transposed": wide.T[:9],
        "every second column": wide[:9, ::2],
        "upside down": wide[8::-1],
        "fortran": np.asfortranarray(wide[:9]),
    }[layout]
    for rule in (Krum(1), Median(1), NNM(1) >> TrimmedMean(1), NormClip(1.0) >> Mean()):
        assert aggregate(rows, rule)[0].tobytes() == aggregate(np.ascontiguousarray(rows), rule)[0].tobytes()


def test_what_is_not_a_rule_is_refused() -> None:
    anything: Any = NNM(f=1)
    with pytest.raises(ValueError, match=r"a chain ends in a rule, such as CAF\(f=2\), got NNM\(f=1\)"):
        aggregate(some_rows(5), anything)
    with pytest.raises(ValueError, match=r"a chain ends in a rule, such as CAF\(f=2\), got 'krum'"):
        aggregate(some_rows(5), Chain((), "krum"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"got Mean\(\) before the end"):
        aggregate(some_rows(5), Chain((Mean(),), Mean()))  # type: ignore[arg-type]
