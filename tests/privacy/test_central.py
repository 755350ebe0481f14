"""Central noise fits the rule's sensitivity, and rules without one are refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from phalanx.errors import SensitivityUnknown
from phalanx.privacy import COST_AT_SMALL_N, central_noise
from phalanx.rules import ARC, CAF, NNM, Chain, Krum, Mean, Median, MultiKrum, NormClip, TrimmedMean
from phalanx.types import MemberPrivacy

PRIVACY = MemberPrivacy(noise_multiplier=2.69, epsilon=8.0, delta=1e-5)

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "central_noise.json"


def test_the_noise_is_the_multiplier_times_clip_over_invited() -> None:
    chosen = central_noise(NormClip(5.0) >> Mean(), 10, PRIVACY)
    assert chosen.l2_sensitivity == 0.5
    assert chosen.std == 2.69 * 0.5


@pytest.mark.parametrize(
    "rule",
    [
        Chain((), Mean()),
        Chain((), Krum(f=1)),
        NormClip(1.0) >> MultiKrum(f=1),
        NormClip(1.0) >> Median(f=1),
        NormClip(1.0) >> TrimmedMean(f=1),
        NormClip(1.0) >> CAF(f=1),
        NormClip(1.0) >> NNM(f=1) >> Mean(),
        ARC(f=1) >> Mean(),
        NNM(f=1) >> NormClip(1.0) >> Mean(),
    ],
    ids=str,
)
def test_a_rule_of_unknown_sensitivity_gets_no_noise_and_the_alternative_is_named(rule: Chain) -> None:
    with pytest.raises(SensitivityUnknown, match="not known") as refused:
        central_noise(rule, 10, PRIVACY)
    assert str(rule) in str(refused.value)
    assert "norm-clip(C) >> mean" in refused.value.hint and "example-level" in refused.value.hint


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf])
def test_a_noise_multiplier_that_is_none_is_refused(sigma: float) -> None:
    with pytest.raises(ValueError, match="noise multiplier"):
        central_noise(NormClip(1.0) >> Mean(), 10, MemberPrivacy(sigma, 8.0, 1e-5))


def test_noise_for_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 invited member, got 0"):
        central_noise(NormClip(1.0) >> Mean(), 0, PRIVACY)


def test_the_cost_at_small_n_is_said_with_the_figures_that_were_measured() -> None:
    runs = json.loads(RESULTS.read_text(encoding="utf-8"))["runs"]
    without, with_it = (runs[name]["mean"] for name in ("mean", "clipped mean with noise, ε = 8"))
    assert f"{without:.0%} to {with_it:.0%}".replace("%", " %") in COST_AT_SMALL_N
    assert "10 members and ε = 8" in COST_AT_SMALL_N
