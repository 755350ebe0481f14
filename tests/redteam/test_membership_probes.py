"""Membership inference on a user's federation: it works where nothing protects, and not under differential privacy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from phalanx.redteam import membership_probes
from phalanx.redteam.intervals import clopper_pearson
from phalanx.redteam.lab import Lab
from phalanx.redteam.membership_probes import MEMBERSHIP, MEMBERSHIP_PROBES
from phalanx.redteam.probe import Probed, Setting
from tests.redteam.membership import PRIVATE, lab_of, network

PROBES = {probe.card.name: probe for probe in MEMBERSHIP_PROBES}
ON_MODELS = ("lira", "rmia", "bayesian-lira", "loss-threshold")


def by_heart(*, examples: int = 100, rounds: int = 40, seed: int = 0) -> Lab:
    """Ten members; ε = 8 for each example."""
    privacy, run = PRIVATE | {"normaliser": examples}, {"rounds": rounds}
    return lab_of(members=10, examples=examples, model=network(), seed=seed, privacy=privacy, run=run)


def played(lab: Lab, name: str, setting: Setting) -> Probed:
    found = PROBES[name].play(lab, setting)
    assert not found.unavailable
    return found


@pytest.fixture(scope="module")
def quick_lab() -> Lab:
    return by_heart()


@pytest.fixture
def four_shadows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership_probes, "SHADOWS", 4)
    monkeypatch.setattr(membership_probes, "_CANDIDATES", 2000)


@pytest.mark.usefixtures("four_shadows")
@pytest.mark.parametrize("setting", ["central", "none"])
def test_a_model_that_learned_by_heart_gives_its_members_away(quick_lab: Lab, setting: Setting) -> None:
    found = played(quick_lab, "rmia", setting)
    assert found.measures["auc"] > 0.65
    assert found.measures["tpr_at_01"] > MEMBERSHIP.met
    assert found.measures["tpr_at_1"] > 0.05
    assert played(quick_lab, "lira", setting).measures["auc"] > 0.6
    assert played(quick_lab, "bayesian-lira", setting).measures["auc"] > 0.6
    assert 0.52 < played(quick_lab, "loss-threshold", setting).measures["auc"] < found.measures["auc"] - 0.05


@pytest.mark.usefixtures("four_shadows")
def test_at_epsilon_8_it_does_not(quick_lab: Lab) -> None:
    for name in ON_MODELS:
        found = played(quick_lab, name, "yours")
        assert found.measures["auc"] < 0.55
        assert found.measures["tpr_at_1"] < 0.02  # twice chance; at 0.1 % these are 2 false alarms, which is no measure


@pytest.mark.usefixtures("four_shadows")
def test_single_updates_give_members_away_too(quick_lab: Lab) -> None:
    found = played(quick_lab, "others-updates", "none")
    assert found.measures["auc"] > 0.55
    assert found.counts["tpr_at_1"][1] == pytest.approx(1000, abs=100)  # half of 1000 examples, in two runs


@pytest.mark.slow
def test_with_sixteen_shadows_the_interval_is_beyond_ten_times_chance_and_at_epsilon_8_it_holds() -> None:
    lab = by_heart()
    for name in ("lira", "rmia", "bayesian-lira"):
        assert clopper_pearson(*played(lab, name, "none").counts["tpr_at_01"])[0] > MEMBERSHIP.met
        assert clopper_pearson(*played(lab, name, "yours").counts["tpr_at_01"])[0] <= MEMBERSHIP.held


@pytest.mark.usefixtures("four_shadows")
def test_figures_and_counts_are_of_the_same_trials(quick_lab: Lab) -> None:
    found = played(quick_lab, "lira", "none")
    for name in ("tpr_at_01", "tpr_at_1"):
        k, n = found.counts[name]
        assert found.measures[name] == k / n
        assert n == pytest.approx(5 * 500, abs=150)  # 5 targets, half of 1000 examples each
    assert set(found.measures) == {"tpr_at_01", "tpr_at_1", "auc", "balanced_accuracy"}
    assert any("each trained on a random half of 1000 examples" in note for note in found.notes)


@pytest.mark.usefixtures("four_shadows")
def test_the_same_lab_gives_the_same_figures_and_another_seed_others() -> None:
    def figures(seed: int) -> list[Probed]:
        lab = by_heart(examples=20, rounds=4, seed=seed)
        return [PROBES[name].play(lab, "yours") for name in ("rmia", "others-updates")]

    assert figures(0) == figures(0)
    assert figures(0) != figures(1)


@pytest.mark.usefixtures("four_shadows")
def test_under_privacy_it_says_what_no_attack_can_exceed() -> None:
    """Ours is one attack of many: ε = 8 alone does not promise what was measured."""
    lab = by_heart(examples=20, rounds=40)  # σ = 3.80: μ = 1.66
    notes = played(lab, "loss-threshold", "yours").notes
    assert any("at most 7.7% of the members at 0.1 % false alarms, AUC at most 0.88" in note for note in notes)
    assert not any("at most" in note for note in played(lab, "loss-threshold", "none").notes)


@pytest.mark.usefixtures("four_shadows")
def test_few_examples_are_said_to_allow_no_false_alarm() -> None:
    found = played(by_heart(examples=20, rounds=4), "lira", "none")
    assert any("no false alarm at all is allowed" in note for note in found.notes)


def test_a_model_that_takes_long_to_train_has_fewer_shadows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership_probes, "_WORK", 1e6)
    found = played(by_heart(examples=20, rounds=4), "lira", "none")
    assert "4 shadow models and not 16, which would take too long to train for this model" in found.notes


@pytest.mark.usefixtures("four_shadows")
def test_a_model_without_confidences_cannot_be_asked() -> None:
    mute = replace(network(), logits=None, per_example_gradients=None)
    lab = lab_of(members=3, examples=20, model=mute)
    for name in ON_MODELS:
        assert PROBES[name].play(lab, "none").unavailable.startswith("not available: the model has no logits")
    assert "no per-example gradients" in PROBES["others-updates"].play(lab, "none").unavailable


def test_two_members_have_no_others_to_compare_with() -> None:
    lab = lab_of(members=2, examples=20, model=network())
    assert "two others at least" in PROBES["others-updates"].play(lab, "none").unavailable


def test_what_cannot_be_trained_here_says_why() -> None:
    lab = lab_of(members=4, examples=20, model=network(), server={"optimiser": "yogi"})
    for probe in MEMBERSHIP_PROBES:
        assert probe.play(lab, "yours").unavailable == (
            "not available: the server's optimiser is yogi, and here it steps by sgd alone"
        )


@pytest.mark.usefixtures("four_shadows")
def test_training_that_diverges_gives_no_figure() -> None:
    lab = lab_of(members=3, examples=20, model=network(), learning={"learning_rate": 1e30, "held_out": 0.0})
    with np.errstate(all="ignore"):
        for name in ("lira", "others-updates"):
            assert "not finite" in PROBES[name].play(lab, "none").unavailable


def test_every_card_is_of_the_threat_and_goal_that_it_is_judged_by() -> None:
    assert list(PROBES) == [*ON_MODELS, "others-updates"]
    assert all(probe.card.threat == "T8" and probe.card.goal is MEMBERSHIP for probe in MEMBERSHIP_PROBES)
    assert [PROBES[name].settings for name in ON_MODELS] == [("central", "none", "yours")] * 4
    assert PROBES["others-updates"].settings == ("none", "yours")
