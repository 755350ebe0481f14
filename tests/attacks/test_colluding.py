"""Attacks by colluders: each reaches its own goal where nothing defends, and is what its paper says."""

from __future__ import annotations

import dataclasses
import math
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phalanx.aggregation import aggregate
from phalanx.attacks import ATTACKS, Attack, Objective, collude, every_attack, measured
from phalanx.attacks.alie import z_max
from phalanx.attacks.basis import Basis, Direction, observe
from phalanx.attacks.fang import lambda_bound
from phalanx.attacks.min_max import max_gamma, sum_gamma
from phalanx.attacks.response import SAMPLED_COLUMNS, sampled_columns, target
from phalanx.errors import NotAvailable, QuorumError
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
    MeaMed,
    Mean,
    Median,
    MoNNA,
    MultiKrum,
    NormClip,
    Rule,
    TrimmedMean,
)
from phalanx.types import F32, F64

properties = settings(max_examples=20, deadline=None, derandomize=True)

GRAM: tuple[Rule | Chain, ...] = (
    Mean(),
    Krum(2),
    MultiKrum(2),
    MDA(2),
    GeometricMedian(2),
    CAF(2),
    DnC(2),
    MoNNA(2),
    FLAME(2),
    CenteredClipping(5.0, steps=2),
    Custom(lambda G: np.full(len(G), 1.0 / len(G))),
    NormClip(10.0) >> Mean(),
    Bucketing(2, b"c" * 32) >> GeometricMedian(),
    ARC(2) >> CAF(2),
    ARC(2) >> NNM(2) >> CAF(2),
    NNM(2) >> GeometricMedian(2),
)
BY_COLUMN: tuple[Rule | Chain, ...] = (
    Median(2),
    TrimmedMean(2),
    MeaMed(2),
    Bulyan(2),
    ARC(2) >> TrimmedMean(2),
    NNM(2) >> Median(2),
)
H, F = 9, 2  # n = 11: enough for Bulyan


def named(rule: object) -> str:
    return str(rule).replace(" ", "")


def rows(seed: int = 0, h: int = H, d: int = 40, *, mean: float = 0.5) -> F32:
    """Honest rows that differ as much as they agree, in some coordinates more than in others."""
    rng = np.random.default_rng(seed)
    common = rng.normal(0.0, mean, d)
    return np.asarray(common + rng.normal(size=(h, d)) * rng.lognormal(0.0, 0.7, d), dtype=np.float32)


def aggregated(attack: Attack, rule: Rule | Chain, honest: F32, f: int = F, reference: F32 | None = None) -> F64:
    everyone = np.vstack([honest, *[attack.row] * f])
    return aggregate(everyone, rule, reference=reference)[0].astype(np.float64)


def mean_of(honest: F32) -> F64:
    return np.asarray(honest.mean(axis=0, dtype=np.float64))


def spread_of(honest: F32) -> float:
    return float(np.sqrt(np.square(honest - mean_of(honest)).sum(axis=1).mean()))


# -------------------------------------------------------------------------------------- without defence each succeeds


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "fang-trim"])
def test_each_attack_reaches_its_goal_against_a_plain_mean(name: str, seed: int) -> None:
    honest = rows(seed)
    attack = collude(name, Mean(), honest, F)
    mean, n = mean_of(honest), H + F
    moved = aggregated(attack, Mean(), honest) - mean
    goals: dict[str, Callable[[], bool]] = {
        # turns training around, however much honest rows agree
        "ipm": lambda: attack.progress < -100,
        "fang-directed": lambda: attack.progress < -100,
        "agr-tailored": lambda: attack.progress < -100,
        # moves against the honest mean
        "sign-flip": lambda: math.isclose(attack.progress, (H - F) / n, rel_tol=1e-6),
        "min-max": lambda: attack.relative > F / n,
        "min-sum": lambda: attack.relative > F / n,
        "fang-krum": lambda: attack.progress < H / n,  # worse than sending nothing
        "tailored": lambda: attack.progress < (H - 3 * F) / n,
        # moves away from it
        "alie": lambda: attack.relative > 100,
        "principal": lambda: attack.relative > 100,
        "alie-z-max": lambda: math.isclose(attack.relative, F / n * abs(z_max(n, F)), rel_tol=1e-6),
        "mimic": lambda: math.isclose(
            attack.deviation, F / n * float(np.linalg.norm(honest - mean, axis=1).max()), rel_tol=1e-6
        ),
    }
    assert goals[name]()
    assert np.linalg.norm(moved) == pytest.approx(attack.deviation, rel=1e-5)  # a float32 aggregate


def test_the_trim_attack_reaches_its_goal_where_fewer_are_trimmed_than_collude() -> None:
    honest = rows(mean=0.3)
    surprised = collude("fang-trim", TrimmedMean(1), honest, F, objective="progress")
    told = collude("fang-trim", TrimmedMean(2), honest, F, objective="progress")
    assert surprised.progress < -0.2
    assert surprised.progress < told.progress - 0.2


def test_a_tailored_row_gets_past_the_cosine_that_stops_the_named_attacks() -> None:
    honest = rows(d=2000)
    reference = np.asarray(mean_of(honest) + np.random.default_rng(5).normal(size=2000), dtype=np.float32)
    tailored, sign_flip = (
        collude(name, FLTrust(), honest, F, reference=reference, objective="progress")
        for name in ("tailored", "sign-flip")
    )
    assert tailored.progress < 0.5 * sign_flip.progress
    assert tailored.direction == "-mean"
    assert tailored.row @ reference > 0  # it points the way of the reference


# ---------------------------------------------------------------------------------------------- what the papers say


@pytest.mark.parametrize(
    ("n", "f", "z"), [(50, 10, 0.2533), (51, 12, 0.3612), (60, 12, 0.2641), (100, 20, 0.2858), (12, 2, 0.0)]
)
def test_z_max_of_alie(n: int, f: int, z: float) -> None:
    assert z_max(n, f) == pytest.approx(z, abs=5e-5)


@pytest.mark.parametrize(("n", "f"), [(2, 1), (4, 3), (10, 6)])
def test_z_max_is_refused_where_it_would_be_infinite(n: int, f: int) -> None:
    with pytest.raises(ValueError, match="supporters"):
        z_max(n, f)


def test_alie_sends_the_mean_plus_z_standard_deviations() -> None:
    honest = rows()
    attack = collude("alie", Krum(2), honest, F)
    wanted = mean_of(honest) + attack.parameters["z"] * honest.astype(np.float64).std(axis=0)
    assert np.allclose(attack.row, wanted, rtol=1e-6, atol=1e-6)


def test_ipm_and_sign_flip_send_multiples_of_the_mean() -> None:
    honest = rows()
    ipm = collude("ipm", Krum(2), honest, F)
    assert np.allclose(ipm.row, -ipm.parameters["epsilon"] * mean_of(honest), rtol=1e-6, atol=1e-7)
    assert (collude("sign-flip", Krum(2), honest, F).row == (-mean_of(honest)).astype(np.float32)).all()


def test_mimic_sends_an_exact_copy() -> None:
    honest = rows()
    attack = collude("mimic", MultiKrum(2), honest, F)
    assert (attack.row == honest[int(attack.parameters["row"])]).all()


DIRECTIONS: dict[str, Callable[[Basis], F64]] = {
    "-sigma": lambda basis: basis.at(sigma=-1.0),
    "-sign": lambda basis: basis.at(sign=-1.0),
    "-mean": lambda basis: basis.at(mean=-1.0 / basis.mean_length),
}


@properties
@given(seed=st.integers(0, 2**32), h=st.integers(2, 12), direction=st.sampled_from(sorted(DIRECTIONS)))
def test_min_max_and_min_sum_reach_their_bounds_exactly(seed: int, h: int, direction: str) -> None:
    honest = rows(seed, h, 6)
    basis = observe(honest, ("sigma", "sign"))
    along = DIRECTIONS[direction](basis)
    mean = mean_of(honest)
    step = {
        "-sigma": -honest.astype(np.float64).std(axis=0),
        "-sign": -np.sign(mean),
        "-mean": -mean / np.linalg.norm(mean),
    }
    distances = np.linalg.norm(honest[:, None, :].astype(np.float64) - honest, axis=2)
    to_honest = np.linalg.norm(mean + max_gamma(basis, along) * step[direction] - honest, axis=1)
    assert to_honest.max() == pytest.approx(distances.max(), rel=1e-9)
    to_honest = np.linalg.norm(mean + sum_gamma(basis, along) * step[direction] - honest, axis=1)
    assert np.square(to_honest).sum() == pytest.approx(np.square(distances).sum(axis=1).max(), rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_krum_takes_up_the_row_that_fangs_attack_sends_and_not_the_one_before(seed: int) -> None:
    honest = rows(seed)
    attack = collude("fang-krum", Krum(2), honest, F)
    tau = attack.parameters["lambda"]
    assert (aggregated(attack, Krum(2), honest) == attack.row).all()
    assert tau < lambda_bound(observe(honest, ("sign",)), F)
    before = dataclasses.replace(attack, row=2 * attack.row)
    assert (aggregated(before, Krum(2), honest) != before.row).any()


@properties
@given(seed=st.integers(0, 2**32), f=st.integers(1, 3), largest=st.sampled_from([0.1, 1.0, 10.0, 1e6]))
def test_nothing_moves_trimmed_mean_and_median_farther_than_the_trim_attack(seed: int, f: int, largest: float) -> None:
    honest = rows(seed, 7, 20)
    others = np.random.default_rng(seed + 1).normal(size=(f, 20)) * largest
    everyone = np.vstack([honest, others.astype(np.float32)])
    for rule in (TrimmedMean(f), Median(f)):
        moved = aggregate(everyone, rule)[0] - mean_of(honest)
        assert np.linalg.norm(moved) <= collude("fang-trim", rule, honest, f).deviation * (1 + 1e-6)
        turned = collude("fang-trim", rule, honest, f, objective="progress")
        mean = mean_of(honest)
        assert 1.0 + moved @ mean / (mean @ mean) >= turned.progress - 1e-6


# ------------------------------------------------------------------------------------------------------ best response


@pytest.mark.parametrize("rule", [*GRAM, *BY_COLUMN], ids=named)
@pytest.mark.parametrize("objective", ["deviation", "progress"])
def test_a_best_response_is_at_least_as_bad_as_the_fixed_attacks_of_its_family(
    rule: Rule | Chain, objective: Objective
) -> None:
    honest = rows(3)
    found = every_attack(rule, honest, F, objective=objective)
    harm: dict[tuple[str, str], float] = {}
    for attack in found:
        key = (attack.name, attack.direction if attack.name in ("min-max", "min-sum") else "")
        harm[key] = max(attack.harm(objective), harm.get(key, -math.inf))
    rounding = 1e-9 * max(map(abs, harm.values()))
    for best, fixed in (
        ("ipm", ("sign-flip", "")),
        ("ipm", ("min-max", "-mean")),
        ("ipm", ("min-sum", "-mean")),
        ("alie", ("alie-z-max", "")),
        ("alie", ("min-max", "-sigma")),
        ("alie", ("min-sum", "-sigma")),
        ("agr-tailored", ("min-max", "-sign")),
        ("agr-tailored", ("min-sum", "-sign")),
    ):
        assert harm[best, ""] >= harm[fixed] - rounding


@pytest.mark.parametrize("epsilon", [0.1, 0.5, 1.0, 100.0])
def test_ipm_is_at_least_as_bad_as_with_the_papers_parameters(epsilon: float) -> None:
    honest = rows()
    basis = observe(honest)
    for rule in (Krum(2), CAF(2), GeometricMedian(2)):
        aim = target(Chain((), rule), basis, F)
        fixed = aim.respond(basis.at(mean=-epsilon)[None, :])
        assert collude("ipm", rule, honest, F).deviation >= fixed.deviation[0] * (1 - 1e-9)


@pytest.mark.parametrize("rule", [*GRAM, *BY_COLUMN], ids=named)
@pytest.mark.parametrize("objective", ["deviation", "progress"])
def test_all_attacks_come_worst_first_and_those_named_are_what_collude_finds(
    rule: Rule | Chain, objective: Objective
) -> None:
    honest = rows(4)
    found = every_attack(rule, honest, F, objective=objective)
    harms = [attack.harm(objective) for attack in found]
    assert harms == sorted(harms, reverse=True)
    assert {attack.name for attack in found} - {"pattern-search"} <= set(ATTACKS)
    for name in ("ipm", "min-max", "mimic"):
        first = next(attack for attack in found if attack.name == name)
        alone = collude(name, rule, honest, F, objective=objective)
        assert (alone.row == first.row).all()
        assert alone.deviation == pytest.approx(first.deviation, rel=1e-9)


def test_the_pattern_search_finds_what_lies_between_the_papers_lines() -> None:
    found = every_attack(Krum(2), rows(1), F)
    assert found[0].name == "pattern-search"
    assert found[0].deviation > 1.02 * max(attack.deviation for attack in found if attack.name != "pattern-search")


# --------------------------------------------------------------------------------- Gram space says what really happens


@pytest.mark.parametrize("rule", [*GRAM, *BY_COLUMN], ids=named)
def test_the_figures_are_those_of_really_aggregating_the_rows(rule: Rule | Chain) -> None:
    honest = rows(2)
    for attack in every_attack(rule, honest, F):
        really = measured(attack, rule, honest, F)
        length = float(np.linalg.norm(mean_of(honest))) + attack.deviation
        assert attack.exact  # 40 columns are all sampled
        assert attack.deviation == pytest.approx(really.deviation, abs=1e-6 * length)
        scale = length / float(np.linalg.norm(mean_of(honest)))
        assert attack.progress == pytest.approx(really.progress, abs=1e-6 * scale)


@properties
@given(seed=st.integers(0, 2**32), h=st.integers(5, 12), f=st.integers(1, 2), far=st.sampled_from([0.0, 1.0, 1e4]))
def test_gram_space_and_vector_space_agree(seed: int, h: int, f: int, far: float) -> None:
    """Also for rows that lie far from zero and near to each other, where a raw Gram matrix would know nothing."""
    honest = rows(seed, h, 30) + np.float32(far)
    length = float(np.linalg.norm(mean_of(honest)))
    for rule in (Mean(), CAF(f), GeometricMedian(f), NNM(f) >> Mean(), ARC(f) >> MDA(f)):
        for name in ("alie", "ipm", "min-max", "tailored"):
            attack = collude(name, rule, honest, f)
            really = measured(attack, rule, honest, f)
            assert attack.deviation == pytest.approx(really.deviation, abs=1e-6 * (length + attack.deviation))


@pytest.mark.parametrize("rule", [FLTrust(), CenteredClipping(5.0), FLAME(2), NNM(2) >> FLTrust()], ids=named)
def test_the_reference_is_the_rules(rule: Rule | Chain) -> None:
    honest = rows(2)
    reference = (0.5 * mean_of(honest) + np.random.default_rng(3).normal(size=40)).astype(np.float32)
    for attack in every_attack(rule, honest, F, reference=reference):
        really = measured(attack, rule, honest, F, reference=reference)
        assert attack.deviation == pytest.approx(really.deviation, abs=1e-6 * (10 + attack.deviation))


def test_what_a_coordinate_rule_does_on_a_sample_is_about_what_it_does_on_all_columns() -> None:
    honest = rows(2, d=50_000)
    for rule in (Median(2), TrimmedMean(2), Bulyan(2), NNM(2) >> TrimmedMean(2), ARC(2) >> Bulyan(2)):
        for name in ("alie", "fang-trim", "ipm"):
            attack = collude(name, rule, honest, F)
            assert not attack.exact
            really = measured(attack, rule, honest, F)
            assert attack.deviation == pytest.approx(really.deviation, rel=0.05)
            assert attack.progress == pytest.approx(really.progress, abs=0.1)


def test_the_sample_is_spread_over_all_columns_and_falls_on_every_input_of_a_layer() -> None:
    d = 784 * 550
    where = sampled_columns(d, SAMPLED_COLUMNS)
    assert len(where) == len(set(where.tolist())) == SAMPLED_COLUMNS
    assert (np.diff(where) > 0).all()
    assert where[-1] < d
    assert np.bincount(where * 16 // d).min() > 200  # of 256
    assert np.bincount(where % 784, minlength=784).max() < 20  # of 5.2 on average; a stride of 112 would give 586
    assert (sampled_columns(100, 4096) == np.arange(100)).all()


def test_the_rows_are_never_copied_whole_to_float64() -> None:
    honest = rows(h=16, d=400_000)
    tracemalloc.start()
    try:
        observe(honest, ("sigma", "sign", "directed"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < honest.nbytes  # half of what float64 copies would take


# ------------------------------------------------------------------------------------------------- what rules hold out


@pytest.mark.parametrize("rule", [TrimmedMean(2), Median(2)], ids=named)
@pytest.mark.parametrize("objective", ["deviation", "progress"])
def test_every_attack_leaves_trimmed_mean_and_median_within_the_honest_range(rule: Rule, objective: Objective) -> None:
    honest = rows(6)
    for attack in every_attack(rule, honest, F, objective=objective):
        vector = aggregated(attack, rule, honest)
        assert (honest.min(axis=0) <= vector).all()
        assert (vector <= honest.max(axis=0)).all()


@pytest.mark.parametrize("rule", [r for r in (*GRAM, *BY_COLUMN) if str(r) not in ("mean", "custom")], ids=named)
def test_every_rule_holds_out_what_a_plain_mean_does_not(rule: Rule | Chain) -> None:
    honest = rows(6)
    assert every_attack(Mean(), honest, F)[0].relative > 100
    assert every_attack(rule, honest, F)[0].relative < 3


@pytest.mark.parametrize("objective", ["deviation", "progress"])
def test_the_same_rows_give_the_same_attacks(objective: Objective) -> None:
    honest = rows(7)
    before = honest.copy()
    first, again = (every_attack(ARC(2) >> CAF(2), honest, F, objective=objective) for _ in range(2))
    assert first == again
    assert all((one.row == other.row).all() for one, other in zip(first, again, strict=True))
    assert (honest == before).all()


# ------------------------------------------------------------------------------------------------------ odd situations


@pytest.mark.parametrize("f", [0, -1, True, 1.0])
def test_no_colluders_is_no_attack(f: int) -> None:
    with pytest.raises(ValueError, match="f >= 1"):
        every_attack(Mean(), rows(), f)


def test_what_cannot_be_attacked_is_refused() -> None:
    honest = rows()
    with pytest.raises(ValueError, match="one of sign-flip"):
        collude("nonsense", Mean(), honest, F)
    with pytest.raises(ValueError, match="objective"):
        every_attack(Mean(), honest, F, objective="nonsense")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="does not apply"):
        collude("fang-trim", Krum(2), honest, F)
    with pytest.raises(ValueError, match="does not apply"):
        collude("fang-krum", Median(2), honest, F)
    with pytest.raises(ValueError, match="reference"):
        every_attack(FLTrust(), honest, F)
    with pytest.raises(NotAvailable, match="past updates"):
        every_attack(FoolsGold(), honest, F)
    with pytest.raises(QuorumError, match="krum needs"):
        every_attack(Krum(5), honest, F)
    with pytest.raises(ValueError, match="direction 'edge'"):
        observe(honest, ("edge",))


@pytest.mark.parametrize(
    ("honest", "message"),
    [
        (np.zeros((9, 4), np.float32), "all zero"),
        (np.full((9, 4), np.nan, np.float32), "finite"),
        (np.array([[np.inf], [1.0], [2.0]], np.float32), "finite"),
        (np.zeros((9, 0), np.float32), "h, d >= 1"),
        (np.zeros((9, 4)), "float32"),
        (np.zeros(4, np.float32), "float32"),
    ],
)
def test_honest_rows_that_are_none_are_refused(honest: F32, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        every_attack(Mean(), honest, F)


def test_a_reference_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="as long as the rows"):
        every_attack(FLTrust(), rows(), F, reference=np.ones(3, np.float32))
    with pytest.raises(ValueError, match="float32"):
        every_attack(FLTrust(), rows(), F, reference=np.ones(40))  # type: ignore[arg-type]


def test_rows_whose_mean_is_zero_have_no_progress_but_can_be_moved() -> None:
    honest = np.array([[1.0, 2.0], [-1.0, -2.0], [3.0, 0.0], [-3.0, 0.0]], np.float32)
    worst = every_attack(Mean(), honest, 1)[0]
    assert math.isnan(worst.progress)
    assert worst.relative > 100
    with pytest.raises(ValueError, match="mean zero"):
        every_attack(Mean(), honest, 1, objective="progress")


@pytest.mark.parametrize("rule", [*GRAM, *BY_COLUMN], ids=named)
def test_equal_honest_rows_are_attacked_without_a_division_by_their_spread(rule: Rule | Chain) -> None:
    honest = np.repeat(rows(h=1), H, axis=0)
    for attack in every_attack(rule, honest, F):
        assert attack.spread == 0.0
        assert attack.relative in (0.0, math.inf)
        assert np.isfinite(attack.row).all()
        assert attack.deviation == pytest.approx(
            measured(attack, rule, honest, F).deviation, abs=1e-5 + 1e-5 * attack.deviation
        )


def test_a_majority_of_equal_rows_lets_nobody_move_what_selects() -> None:
    honest = np.repeat(rows(h=1), H, axis=0)
    for rule in (Krum(2), MDA(2), Median(2), TrimmedMean(2), GeometricMedian(2)):
        assert every_attack(rule, honest, F)[0].deviation < 1e-5


@pytest.mark.parametrize("h", [1, 2, 3])
@pytest.mark.parametrize("rule", [Mean(), Median(0), GeometricMedian(0), NormClip(1.0) >> Mean()], ids=named)
def test_few_honest_rows(rule: Rule | Chain, h: int) -> None:
    found = every_attack(rule, rows(h=h), F)
    assert all(np.isfinite(attack.row).all() for attack in found)
    assert found[0].deviation > 0


def test_colluders_may_be_the_majority() -> None:
    names = {attack.name for attack in every_attack(Mean(), rows(h=3), 9)}
    assert "alie-z-max" not in names  # they need no supporters
    assert "alie" in names


@pytest.mark.parametrize("size", [1e-30, 1e30, 3.4e38])
@pytest.mark.parametrize("rule", [Mean(), Krum(2), ARC(2) >> CAF(2), Median(2), NNM(2) >> TrimmedMean(2)], ids=named)
def test_rows_of_any_size_give_finite_rows_and_figures(rule: Rule | Chain, size: float) -> None:
    honest = np.asarray(rows() / np.abs(rows()).max() * size, dtype=np.float32)
    for attack in every_attack(rule, honest, F):
        assert np.isfinite(attack.row).all()
        assert math.isfinite(attack.relative)
        assert math.isfinite(attack.progress)


def test_directions_are_what_they_are_called() -> None:
    honest = rows()
    wanted: tuple[Direction, ...] = ("directed", "sign", "edge", "sigma", "reference")
    reference = np.ones(40, np.float32)
    basis = observe(honest, wanted, reference=reference, edge=lambda block: block.min(axis=0))
    mean, sigma = mean_of(honest), honest.astype(np.float64).std(axis=0)
    vectors = [
        *(honest - mean),
        mean,
        -np.sign(mean) * sigma,
        np.sign(mean),
        honest.min(axis=0) - mean,
        sigma,
        reference - mean,
    ]
    assert np.allclose(basis.products, np.array(vectors) @ np.array(vectors).T, rtol=1e-12, atol=1e-12)
    assert np.allclose(basis.row(basis.at(mean=1.0, reference=1.0)), reference, rtol=1e-6)
    assert np.allclose(basis.row(basis.at(mean=1.0, edge=1.0)), honest.min(axis=0), rtol=1e-6, atol=1e-6)
    assert basis.spread == pytest.approx(spread_of(honest))


def test_an_attack_is_one_line_for_people() -> None:
    honest = rows()
    assert str(collude("sign-flip", Mean(), honest, F)) == "sign-flip()"
    text = str(collude("min-max", Krum(2), honest, F))
    assert text.startswith("min-max(-")
    assert "gamma=" in text
