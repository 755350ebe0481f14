"""Rules as values: how they compose, how many rows they need, and what they refuse to promise."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phalanx.errors import ConfigError, RuleRefused
from phalanx.rules import (
    ARC,
    CAF,
    NNM,
    CenteredClipping,
    Chain,
    GramRule,
    Krum,
    Mean,
    Median,
    MultiKrum,
    NormClip,
    PreStep,
    Rule,
    Steps,
    TrimmedMean,
)

WITH_F: list[type[Krum | MultiKrum | CAF | Median | TrimmedMean | NNM | ARC]] = [
    *(Krum, MultiKrum, CAF, Median, TrimmedMean, NNM, ARC)
]
_f = st.integers(0, 20)
_rules = st.one_of(st.builds(Mean), *(st.builds(rule, f=_f) for rule in (Krum, MultiKrum, CAF, Median, TrimmedMean)))
_steps = st.builds(NNM, f=_f) | st.builds(ARC, f=_f) | st.builds(NormClip, clip_l2=st.floats(0.01, 100))


def test_pre_steps_and_a_rule_compose_from_left_to_right() -> None:
    chain = ARC(f=2) >> NNM(f=2) >> CAF(f=2)
    assert chain == Chain((ARC(2), NNM(2)), CAF(2))
    assert str(chain) == "arc(f=2) >> nnm(f=2) >> caf(f=2)"
    assert hash(chain) == hash(ARC(2) >> NNM(2) >> CAF(2))
    assert chain != NNM(f=2) >> ARC(f=2) >> CAF(f=2)


@given(pre=st.lists(_steps, min_size=1, max_size=4), rule=_rules)
def test_any_steps_and_any_rule_compose(pre: list[PreStep], rule: Rule) -> None:
    steps = Steps((pre[0],))
    for step in pre[1:]:
        steps = steps >> step
    chain = steps >> rule
    assert chain == Chain(tuple(pre), rule)
    assert chain.min_rows == max(step.min_rows for step in (*pre, rule))
    assert chain.gram == isinstance(rule, GramRule) == (not isinstance(rule, Median | TrimmedMean))
    assert str(chain).split(" >> ") == [str(step) for step in (*pre, rule)]


def test_what_is_no_step_does_not_compose() -> None:
    nonsense: list[Any] = [NNM(1) >> CAF(1), Steps((NNM(1),)), CAF, "caf", None, 5]
    for then in nonsense:
        with pytest.raises(TypeError):
            ARC(1) >> then
    with pytest.raises(TypeError):
        CAF(1) >> Mean()  # type: ignore[operator]
    with pytest.raises(TypeError):
        (NNM(1) >> CAF(1)) >> Mean()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("rule", "rows"),
    [
        (Mean(), 1),
        (Krum(0), 3),
        (Krum(3), 9),  # n >= 2f + 3
        (MultiKrum(3), 9),
        (CAF(3), 7),  # n > 2f
        (Median(3), 7),
        (TrimmedMean(3), 7),
        (TrimmedMean(0), 1),
        (NNM(3), 7),
        (ARC(3), 7),
        (NormClip(1.0), 1),
    ],
)
def test_the_fewest_rows_are_those_of_the_papers(rule: Rule | PreStep, rows: int) -> None:
    assert rule.min_rows == rows


def test_a_chain_needs_the_rows_of_its_most_demanding_step() -> None:
    assert (ARC(4) >> Krum(2)).min_rows == 9
    assert (ARC(1) >> Krum(2)).min_rows == 7
    assert Chain((), Mean()).min_rows == 1


def test_only_clipping_then_mean_has_a_known_sensitivity() -> None:
    """Unit: one member added or removed, over a fixed denominator, so S = clip / invited."""
    assert (NormClip(2.0) >> Mean()).l2_sensitivity(10) == 0.2
    others = [Mean(), *(rule(1) for rule in (Krum, MultiKrum, CAF, Median, TrimmedMean))]
    for rule in others:
        assert rule.l2_sensitivity(10) is None
        assert Chain((), rule).l2_sensitivity(10) is None
    assert (ARC(1) >> Mean()).l2_sensitivity(10) is None
    assert CenteredClipping(2.0).l2_sensitivity(10) == 0.2
    assert CenteredClipping(2.0, steps=2).l2_sensitivity(10) is None


@given(pre=st.lists(_steps, max_size=3), rule=_rules)
def test_every_other_chain_is_refused_a_sensitivity(pre: list[PreStep], rule: Rule) -> None:
    """A step after the clip may stretch what one member moves; a clip before a clip is not analysed either."""
    analysed = len(pre) == 1 and isinstance(pre[0], NormClip) and rule == Mean()
    assert (Chain(tuple(pre), rule).l2_sensitivity(10) is not None) == analysed


@pytest.mark.parametrize("rule", WITH_F)
@pytest.mark.parametrize("f", [-1, 1.0, "1", None, True, math.nan])
def test_an_f_that_is_no_count_is_refused(rule: Any, f: Any) -> None:
    with pytest.raises(RuleRefused, match="needs an integer f >= 0, got") as caught:
        rule(f)
    assert isinstance(caught.value, ConfigError) and caught.value.exit_code == 2


@pytest.mark.parametrize("clip", [0.0, -1.0, math.inf, math.nan])
def test_a_clip_that_clips_nothing_is_refused(clip: float) -> None:
    with pytest.raises(RuleRefused, match="finite clip_l2 > 0"):
        NormClip(clip)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (Mean(), "mean"),
        (Krum(2), "krum(f=2)"),
        (MultiKrum(0), "multi-krum(f=0)"),
        (TrimmedMean(3), "trimmed-mean(f=3)"),
        (Median(1), "median(f=1)"),
        (NormClip(0.5), "norm-clip(0.5)"),
        (NormClip(1e-7), "norm-clip(1e-07)"),
    ],
)
def test_a_rule_says_its_name_and_its_numbers(rule: Rule | PreStep, text: str) -> None:
    assert str(rule) == text


def test_rules_are_values_that_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Krum(2).f = 0  # type: ignore[misc]
