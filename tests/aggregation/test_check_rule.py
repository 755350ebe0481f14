"""The battery passes over the whole family, and finds every fault that was planted."""

from __future__ import annotations

import sys
from typing import cast

import numpy as np
import pytest

from phalanx.aggregation import (
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
    MeaMed,
    Mean,
    Median,
    MoNNA,
    MultiKrum,
    NormClip,
    Traits,
    TrimmedMean,
    aggregate,
    check_rule,
)
from phalanx.errors import NotAvailable
from phalanx.rules import Rule
from phalanx.types import F32, F64

COIN = b"a coin of the tests, 32 bytes ..."
FAMILY: list[Rule | Chain] = [
    Mean(),
    Krum(2),
    MultiKrum(2),
    MultiKrum(1, m=3),
    MDA(2),
    GeometricMedian(f=2),
    CenteredClipping(1.5, f=2),
    CenteredClipping(0.5, steps=3, f=1),
    MoNNA(2),
    CAF(2),
    FLTrust(),
    FoolsGold(),
    FLAME(f=2),
    DnC(2),
    Median(2),
    TrimmedMean(2),
    MeaMed(2),
    Bulyan(1),
    NormClip(1.5) >> Mean(),
    ARC(2) >> Mean(),
    ARC(2) >> CAF(2),
    ARC(2) >> NNM(2) >> GeometricMedian(f=2),
    ARC(2) >> NNM(2) >> CAF(2),
    NormClip(1.5) >> NNM(2) >> TrimmedMean(2),
    NNM(2) >> Median(2),
    NNM(1) >> Bulyan(1),
    NNM(2) >> Krum(2),
    Bucketing(2, COIN) >> GeometricMedian(f=1),
]


@pytest.mark.parametrize("rule", FAMILY, ids=str)
def test_every_rule_passes_the_battery(rule: Rule | Chain) -> None:
    passed = check_rule(rule, examples=15)
    assert {"shape", "same bytes", "rows untouched", "finite only"} <= set(passed)
    unbounded = (Mean(), FLTrust(), FoolsGold(), DnC(2), NormClip(1.5) >> Mean(), ARC(2) >> Mean())
    assert ("hostile rows" in passed) == (rule not in unbounded)


def test_two_hostile_rows_in_two_directions_get_past_dnc() -> None:
    rows = np.random.default_rng(0).normal(size=(10, 30)).astype(np.float32)
    rows[8:, :] = 0
    rows[8, 0], rows[9, 1], rows[9, 0] = 2000, 1000, 200  # along the first direction the second one is in the middle
    assert aggregate(rows, DnC(2))[0][1] > 100
    assert abs(aggregate(rows, CAF(2))[0][1]) < 3


def a_rule_that(fault: str) -> object:
    calls = [0]

    def rule(rows: F32) -> F32:
        calls[0] += 1
        match fault:
            case "changes the rows":
                rows[0] = 0.0
            case "answers otherwise the second time":
                return np.asarray(rows.mean(axis=0) + np.float32(calls[0]))
            case "takes the first row":
                return cast(F32, rows[0].copy())
            case "hands out a view":
                return cast(F32, rows[0])
            case "answers in float64":
                return cast(F32, rows.astype(np.float64).mean(axis=0))
            case "takes what is not finite":
                return np.nan_to_num(np.median(rows, axis=0)).astype(np.float32)
            case "knows where zero is":
                return np.asarray(np.sign(rows).mean(axis=0), dtype=np.float32)
            case "has an absolute scale":
                return np.asarray(np.clip(np.median(rows, axis=0), -1, 1), dtype=np.float32)
            case "looks at coordinates":
                return aggregate(rows, Median(2))[0]
            case "takes too few":
                return aggregate(np.vstack([rows, rows]), Median(0))[0]
        return aggregate(rows, Mean())[0]

    return rule


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("changes the rows", "rows untouched"),
        ("answers otherwise the second time", "same bytes"),
        ("takes the first row", "permutation"),
        ("hands out a view", "shape"),
        ("answers in float64", "shape"),
        ("takes what is not finite", "finite only"),
        ("knows where zero is", "identical rows"),
        ("has an absolute scale", "identical rows"),
        ("looks at coordinates", "rotation"),
        ("takes too few", "too few rows"),
        ("is the mean", "hostile rows"),
    ],
)
def test_a_fault_is_found_by_the_check_that_is_for_it(fault: str, check: str) -> None:
    traits = Traits(f=2, min_rows=5, rotates=check == "rotation")
    with pytest.raises(AssertionError, match=f"fails the check '{check}'"):
        check_rule(a_rule_that(fault), traits, examples=25)  # type: ignore[arg-type]


def test_a_rule_of_ones_own_is_checked_and_composes() -> None:
    def nearest_to_the_others(G: F64) -> F64:
        squares = np.diagonal(G)
        total = (squares[:, None] + squares[None, :] - 2 * G).sum(axis=1)
        return np.asarray(np.arange(len(G)) == np.argmin(total), dtype=np.float64)

    medoid = Custom(nearest_to_the_others, "medoid")
    passed = check_rule(medoid, Traits(f=0, rotates=True, bounded=False))
    assert "rotation" in passed
    vector, report = aggregate(np.array([[0], [1], [5]], dtype=np.float32), ARC(1) >> medoid)
    assert vector.tolist() == [1.0]
    assert report.rule == "arc(f=1) >> medoid"


def test_a_function_without_traits_is_refused() -> None:
    with pytest.raises(ValueError, match="checked against its traits"):
        check_rule(lambda rows: np.asarray(rows.mean(axis=0)))


def test_without_hypothesis_the_battery_is_not_available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    with pytest.raises(NotAvailable, match="not available: check_rule"):
        check_rule(Mean())
