"""The red team's worst case: the worst first, measured, and for the simplest rules the maximum."""

from __future__ import annotations

import numpy as np
import pytest

from phalanx.attacks import Objective, measured
from phalanx.errors import NotAvailable, QuorumError
from phalanx.redteam import worst_case
from phalanx.rules import ARC, CAF, NNM, Chain, FLTrust, FoolsGold, Krum, Mean, Median, Rule, TrimmedMean
from phalanx.types import F32


def rows(h: int = 10, d: int = 300, seed: int = 0) -> F32:
    rng = np.random.default_rng(seed)
    return np.asarray(rng.normal(0.0, 0.5, d) + rng.normal(size=(h, d)), dtype=np.float32)


@pytest.mark.parametrize("objective", ["deviation", "progress"])
@pytest.mark.parametrize("rule", [Krum(2), ARC(2) >> CAF(2), TrimmedMean(2), NNM(2) >> Median(2)], ids=str)
def test_the_worst_comes_first_and_its_figures_are_measured(rule: Rule | Chain, objective: Objective) -> None:
    honest = rows(d=20_000)
    worst, attacks = worst_case(rule, honest, 2, objective=objective)
    assert worst is attacks[0]
    assert worst.exact
    assert worst.harm(objective) == max(attack.harm(objective) for attack in attacks)
    really = measured(worst, rule, honest, 2)
    assert worst.deviation == pytest.approx(really.deviation, rel=1e-5)
    assert worst.progress == pytest.approx(really.progress, abs=1e-5)


def test_undefended_the_worst_case_is_as_bad_as_you_like_and_with_a_rule_it_is_not() -> None:
    honest = rows()
    undefended, _ = worst_case(Mean(), honest, 2, objective="progress")
    defended, _ = worst_case(ARC(2) >> CAF(2), honest, 2, objective="progress")
    assert undefended.progress < -100
    assert defended.progress > 0.4


def test_against_trimmed_mean_and_median_the_trim_attack_is_the_worst() -> None:
    for rule in (TrimmedMean(2), Median(2)):
        worst, attacks = worst_case(rule, rows(), 2)
        assert worst.name == "fang-trim"
        assert len({attack.name for attack in attacks}) > 8


def test_one_colluder_more_than_a_rule_was_told_hurts_more() -> None:
    honest = rows()
    for rule in (TrimmedMean(2), Krum(2), CAF(2)):
        told, _ = worst_case(rule, honest, 2)
        surprised, _ = worst_case(rule, honest, 3)
        assert surprised.relative > told.relative


def test_what_cannot_be_searched_is_refused() -> None:
    with pytest.raises(ValueError, match="f >= 1"):
        worst_case(Mean(), rows(), 0)
    with pytest.raises(ValueError, match="reference"):
        worst_case(FLTrust(), rows(), 2)
    with pytest.raises(NotAvailable, match="past updates"):
        worst_case(FoolsGold(), rows(), 2)
    with pytest.raises(QuorumError, match="krum needs"):
        worst_case(Krum(6), rows(), 2)
