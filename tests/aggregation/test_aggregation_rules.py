"""Every rule against worked examples, an independent reference in vector space, and the properties of its family."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phalanx.aggregation import ARC, CAF, NNM, Chain, Krum, Mean, Median, MultiKrum, NormClip, TrimmedMean, aggregate
from phalanx.rules import PreStep, Rule
from phalanx.types import F32
from tests.aggregation.vector_reference import reference

FAMILIES = (
    "mean",
    "krum",
    "multi-krum",
    "caf",
    "median",
    "trimmed-mean",
    "norm-clip >> mean",
    "arc >> mean",
    "norm-clip >> arc >> mean",
    "arc >> caf",
    "nnm >> mean",
    "nnm >> krum",
    "nnm >> median",
    "nnm >> trimmed-mean",
    "arc >> nnm >> caf",
    "arc >> nnm >> trimmed-mean",
    "nnm >> arc >> multi-krum",
    "norm-clip >> arc >> caf",
)
properties = settings(max_examples=20, deadline=None, derandomize=True)


def chain(text: str, f: int) -> Chain:
    steps: dict[str, PreStep] = {"norm-clip": NormClip(1.5), "arc": ARC(f), "nnm": NNM(f)}
    rules: dict[str, Rule] = {
        "mean": Mean(),
        "krum": Krum(f),
        "multi-krum": MultiKrum(f),
        "caf": CAF(f),
        "median": Median(f),
        "trimmed-mean": TrimmedMean(f),
    }
    *pre, last = text.split(" >> ")
    return Chain(tuple(steps[name] for name in pre), rules[last])


@dataclass(frozen=True)
class Case:
    rows: F32
    f: int
    rng: np.random.Generator


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Rows on a grid of 2**-10, so that float32 translations are exact; at random, so that no two distances tie.

    n >= f + 4, so that Krum sums over two others or more: over one, two rows that are each other's nearest always tie.
    """
    f = draw(st.integers(0, 3))
    n = draw(st.integers(max(2 * f + 3, f + 4), 2 * f + 8))
    d = draw(st.integers(4, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return Case(rng.integers(-4096, 4096, (n, d)).astype(np.float32) / np.float32(1024), f, rng)


def close(found: F32, wanted: np.typing.NDArray[np.floating], scale: float = 1.0) -> bool:
    return bool(np.allclose(found, wanted, rtol=2e-6, atol=4e-6 * scale))  # a few float32 ulp of rows of up to 4


# ------------------------------------------------------------------------------------------------- worked examples


def column(*values: float) -> F32:
    return np.array(values, dtype=np.float32)[:, None]


def test_krum_sums_over_n_minus_f_minus_2_others() -> None:
    # With one neighbour more (n-f-1, as other libraries have it), row 2 would win with 62 against 86.
    vector, report = aggregate(column(0, 1, 3, 10, 100), Krum(f=1))
    assert report.scores is not None
    assert report.scores.tolist() == [10, 5, 13, 130, 8100 + 9409]
    assert vector.tolist() == [1]
    assert report.weights.tolist() == [0, 1, 0, 0, 0]


def test_multi_krum_averages_n_minus_f_minus_2_rows() -> None:
    vector, report = aggregate(column(0, 1, 3, 10, 100), MultiKrum(f=1))
    assert vector.tolist() == [0.5]
    assert report.weights.tolist() == [0.5, 0.5, 0, 0, 0]


@pytest.mark.parametrize("rule", [Krum(f=1), MultiKrum(f=1)])
def test_of_equal_krum_scores_the_earlier_row_wins(rule: Krum | MultiKrum) -> None:
    _, report = aggregate(column(7, 7, 7, 7, 7), rule)
    assert np.flatnonzero(report.weights).tolist() == list(range(1 if isinstance(rule, Krum) else 2))


@pytest.mark.parametrize("seed", range(20))
def test_of_two_rows_that_are_each_others_nearest_the_earlier_wins(seed: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(3, 50)).astype(np.float32)
    for rule in (Krum(f=0), NormClip(5.0) >> Krum(f=0)):  # f = 0, n = 3: the score is the distance of the nearest other
        _, report = aggregate(rows, rule)
        assert report.scores is not None
        winners = np.flatnonzero(report.scores == report.scores.min())
        assert len(winners) == 2
        assert np.flatnonzero(report.weights).tolist() == [winners[0]]


def test_caf_by_hand() -> None:
    # mu = 1, lambda = 2, tau = (1, 1, 4): weights 3/4, 3/4, 0; then mu = 0, lambda = 0.
    vector, report = aggregate(column(0, 0, 3), CAF(f=1))
    assert vector.tolist() == [0]
    assert report.weights.tolist() == [0.5, 0.5, 0]
    assert report.scores is not None
    assert np.allclose(report.scores, [0.25, 0.25, 1], atol=1e-15)


@pytest.mark.parametrize(("n", "f", "cut"), [(4, 1, 1), (10, 2, 3), (12, 2, 3), (14, 4, 5), (5, 0, 0)])
def test_arc_cuts_the_k_longest_rows_to_the_next(n: int, f: int, cut: int) -> None:
    _, report = aggregate(column(*range(1, n + 1)), ARC(f) >> Mean())
    wanted = [min(1.0, (n - cut) / length) / n for length in range(1, n + 1)]
    assert np.allclose(report.weights, wanted, rtol=1e-14)


def test_median_of_an_even_count_is_the_mean_of_the_middle_two_in_float64() -> None:
    large = float(np.finfo(np.float32).max)
    vector, report = aggregate(column(large, 0, large, large), Median(f=1))
    assert vector.tolist() == [large]  # their sum does not fit in float32
    assert report.weights.tolist() == [1, 0, 1, 1]  # equal values all count


def test_trimmed_mean_reports_the_share_of_coordinates_at_which_a_row_was_kept() -> None:
    rows = np.array([[0, 9], [1, 1], [9, 0]], dtype=np.float32)
    vector, report = aggregate(rows, TrimmedMean(f=1))
    assert vector.tolist() == [1, 1]
    assert report.weights.tolist() == [0, 1, 0]


def test_shares_of_a_coordinate_rule_are_carried_back_through_the_mixing() -> None:
    # Mixed rows: (0+1)/2, (0+1)/2, (1+3)/2. The first two are equal, and both are the median.
    vector, report = aggregate(column(0, 1, 3), NNM(f=1) >> Median(f=1))
    assert vector.tolist() == [0.5]
    assert report.weights.tolist() == [1, 1, 0]


def test_nnm_counts_a_row_among_its_own_nearest_even_among_equals() -> None:
    _, report = aggregate(column(5, 5, 5), NNM(f=1) >> Mean())
    assert np.allclose(report.weights, [3 / 6, 2 / 6, 1 / 6])  # {0, 1}, {1, 0}, {2, 0}


def test_the_coordinators_weights_are_used_by_the_mean_alone() -> None:
    rows = column(1, 2, 4, 8, 16)
    weights = np.array([0.5, 0.25, 0.125, 0.125, 0.0])
    assert aggregate(rows, Mean(), weights)[0].tolist() == [2.5]
    assert aggregate(rows, NormClip(2.0) >> Mean(), weights)[0].tolist() == [1.5]
    for rule in (Krum(1), MultiKrum(1), CAF(1), Median(1), TrimmedMean(1)):
        assert aggregate(rows, rule, weights)[0].tolist() == aggregate(rows, rule)[0].tolist()


def test_the_report_repeats_rule_and_sensitivity() -> None:
    rows = column(1, 2, 4, 8, 16)
    clipped = NormClip(2.0) >> Mean()
    _, report = aggregate(rows, clipped)
    assert (report.rule, report.l2_sensitivity) == ("norm-clip(2) >> mean", 2.0 / 5)
    _, report = aggregate(rows, clipped, np.full(5, 0.2))
    assert report.l2_sensitivity == 2.0 / 5
    assert aggregate(rows, Krum(1))[1].l2_sensitivity is None
    assert aggregate(rows, Chain((), Krum(1)))[1].rule == aggregate(rows, Krum(1))[1].rule == "krum(f=1)"


def test_unequal_weights_do_not_claim_the_sensitivity_of_equal_ones() -> None:
    # A member of weight 0.6 moves the mean by up to 0.6 * clip_l2, three times what the rule states for n = 5.
    _, report = aggregate(column(1, 2, 4, 8, 16), NormClip(2.0) >> Mean(), np.array([0.6, 0.1, 0.1, 0.1, 0.1]))
    assert report.l2_sensitivity is None


# -------------------------------------------------------------------------------------------- independent reference


@pytest.mark.parametrize("text", FAMILIES)
@properties
@given(case=cases())
def test_every_rule_equals_its_formula_in_vector_space(text: str, case: Case) -> None:
    rule = chain(text, case.f)
    assert close(aggregate(case.rows, rule)[0], reference(case.rows, rule))


@pytest.mark.parametrize("text", FAMILIES)
def test_rows_longer_than_one_column_block(text: str) -> None:
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(10, 30_000)).astype(np.float32)  # blocks are 13,107 columns wide
    rule = chain(text, 2)
    assert close(aggregate(rows, rule)[0], reference(rows, rule))


@pytest.mark.parametrize("text", FAMILIES)
@properties
@given(case=cases())
def test_the_reported_weights_are_those_of_the_aggregate(text: str, case: Case) -> None:
    rule = chain(text, case.f)
    vector, report = aggregate(case.rows, rule)
    assert report.weights.shape == (len(case.rows),)
    assert (report.weights >= 0).all()
    if rule.gram:
        assert close(vector, report.weights @ case.rows.astype(np.float64))
    if not {NormClip, ARC} & {type(step) for step in rule.pre}:
        n, f = len(case.rows), case.f
        kept = {"median": 2 - n % 2, "trimmed-mean": n - 2 * f}.get(rule.rule.name, 1)
        total = report.weights.sum()  # where values are equal, more rows than are averaged
        assert np.isclose(total, kept) if rule.gram else total >= kept - 1e-9


# ------------------------------------------------------------------------------------------------------- properties


@pytest.mark.parametrize("text", FAMILIES)
@properties
@given(case=cases())
def test_permuted_rows_permute_the_weights_and_leave_the_vector(text: str, case: Case) -> None:
    rule = chain(text, case.f)
    order = case.rng.permutation(len(case.rows))
    vector, report = aggregate(case.rows, rule)
    again, permuted = aggregate(case.rows[order], rule)
    if rule.gram or not rule.pre:  # mixed rows can be equal at a coordinate: then the order says which one was kept
        assert np.allclose(permuted.weights, report.weights[order], atol=1e-9)
    if text in ("krum", "median", "trimmed-mean"):
        assert again.tobytes() == vector.tobytes()
    else:
        assert close(again, vector)  # sums in another order


@pytest.mark.parametrize("text", [text for text in FAMILIES if "arc" not in text and "clip" not in text])
@properties
@given(case=cases())
def test_translated_rows_translate_the_aggregate(text: str, case: Case) -> None:
    rule = chain(text, case.f)
    shift = case.rng.integers(-4096, 4096, case.rows.shape[1]).astype(np.float32) / np.float32(64)
    assert close(aggregate(case.rows + shift, rule)[0], aggregate(case.rows, rule)[0] + shift, scale=16)


@pytest.mark.parametrize("text", [text for text in FAMILIES if "clip" not in text])
@pytest.mark.parametrize("scale", [2.0**-100, 2.0**-20, 2.0**60, 2.0**120])
@settings(properties, max_examples=5)
@given(case=cases())
def test_scaled_rows_scale_the_aggregate(text: str, scale: float, case: Case) -> None:
    rule = chain(text, case.f)
    vector = aggregate(case.rows * np.float32(scale), rule)[0]
    assert close(vector / np.float32(scale), aggregate(case.rows, rule)[0])


@pytest.mark.parametrize("text", [text for text in FAMILIES if chain(text, 1).gram])
@properties
@given(case=cases())
def test_rotated_rows_rotate_the_aggregate_of_a_gram_rule(text: str, case: Case) -> None:
    rule = chain(text, case.f)
    d = case.rows.shape[1]
    rotation = np.linalg.qr(case.rng.normal(size=(d, d)))[0]
    rotated = (case.rows.astype(np.float64) @ rotation).astype(np.float32)
    wanted = aggregate(case.rows, rule)[0].astype(np.float64) @ rotation
    assert close(aggregate(rotated, rule)[0], wanted, scale=4)


@pytest.mark.parametrize("text", FAMILIES)
def test_same_rows_same_bytes_and_the_rows_are_left_alone(text: str) -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(9, 500)).astype(np.float32)
    rows[8] *= 1e6
    before = rows.copy()
    rows.flags.writeable = False
    (first, report), (second, again) = (aggregate(rows, chain(text, 2)) for _ in range(2))
    assert first.tobytes() == second.tobytes()
    assert report.weights.tobytes() == again.weights.tobytes()
    assert rows.tobytes() == before.tobytes()
    assert first.dtype == np.float32
    assert not np.shares_memory(first, rows)


@pytest.mark.parametrize("text", FAMILIES)
@pytest.mark.parametrize("value", [0.0, 1e-45, 0.1, 1.4e38], ids=["zero", "subnormal", "ordinary", "huge"])
def test_identical_rows_give_that_row(text: str, value: float) -> None:
    row = np.array([value, -value, value / 2, 0.0], dtype=np.float32)
    wanted = reference(np.tile(row, (7, 1)), chain(text, 2)).astype(np.float32)  # the row, shortened where clipped
    vector, report = aggregate(np.tile(row, (7, 1)), chain(text, 2))
    assert np.isfinite(report.weights).all()
    if "clip" in text and value > 1:
        assert close(vector, wanted)
    else:
        assert vector.tolist() == row.tolist()


@pytest.mark.parametrize("text", [text for text in FAMILIES if "norm-clip" not in text])
def test_subnormal_rows_are_told_apart(text: str) -> None:
    rng = np.random.default_rng(11)
    steps = rng.integers(-3000, 3000, (9, 6))
    tiny = np.float32(2.0**-149)  # the smallest subnormal: every row is a whole number of it
    vector, report = aggregate((steps * float(tiny)).astype(np.float32), chain(text, 2))
    large, wanted = aggregate(steps.astype(np.float32), chain(text, 2))
    assert np.allclose(report.weights, wanted.weights, atol=1e-9)
    assert np.abs(vector.astype(np.float64) / float(tiny) - large).max() <= 1.5  # rounded to the smallest subnormal
