"""Attacks on training through the real rounds: with the defence off they work, and everything is measured."""

from __future__ import annotations

import numpy as np
import pytest

from phalanx.attacks.aim import Aim
from phalanx.attacks.ballots import Claim
from phalanx.attacks.catalogue import TRAINING_ATTACKS
from phalanx.attacks.training_attack import TrainingAttack
from phalanx.attacks.view import View
from phalanx.errors import ConfigError, NotAvailable
from phalanx.learning.threads import use_threads
from phalanx.redteam import cells
from phalanx.redteam.cells import aim_of, hostile_of, play
from phalanx.redteam.dealing import lab_of
from phalanx.redteam.defences import NAMES, RULES, settings_of, typical_length, words
from phalanx.redteam.known import attack
from phalanx.redteam.lab import Lab
from phalanx.redteam.measuring import packed, unpacked
from phalanx.redteam.outcome import QUIET, Cell, Outcome, outcome_of
from phalanx.types import F32
from tests.redteam.small import federation


@pytest.fixture(scope="module")
def lab() -> Lab:
    use_threads(1)
    return lab_of(federation(), "natural", 0)


def played(lab: Lab, name: str, defence: str, hostile: int = 1) -> Outcome:
    one = None if name == QUIET else TRAINING_ATTACKS[name]
    cell = Cell(name, defence, hostile, lab.split, lab.seed)
    return play(lab, one, settings_of(lab, defence, hostile, {}), cell)


@pytest.fixture(scope="module")
def quiet(lab: Lab) -> dict[str, Outcome]:
    return {name: played(lab, QUIET, name, 0) for name in ("none", "yours", "trusting-gate")}


def test_where_nobody_attacks_the_federation_learns_under_every_defence(lab: Lab) -> None:
    for name in NAMES:
        if name == "bulyan":  # needs seven members for one that is hostile
            continue
        outcome = played(lab, QUIET, name)
        assert not outcome.ended
        assert outcome.measures["accuracy"] > 0.7, name


def test_a_sign_flip_ends_the_undefended_model_and_not_the_defended_one(lab: Lab, quiet: dict[str, Outcome]) -> None:
    undefended = played(lab, "sign-flip", "none")
    defended = played(lab, "sign-flip", "yours")
    assert quiet["none"].measures["accuracy"] - undefended.measures["accuracy"] > 0.5
    assert quiet["yours"].measures["accuracy"] - defended.measures["accuracy"] < 0.1


def test_a_replaced_model_holds_the_backdoor_which_accuracy_does_not_show(lab: Lab, quiet: dict[str, Outcome]) -> None:
    outcome = played(lab, "model-replacement", "none")
    assert outcome.measures["backdoor"] > 0.95
    assert outcome.measures["accuracy"] > quiet["none"].measures["accuracy"] - 0.05
    assert quiet["none"].measures["base:patch"] < 0.4
    assert len(outcome.series["backdoor"]) == 8
    assert outcome.measures["backdoor"] == outcome.series["backdoor"][5]  # the last of three quarters of the rounds
    assert 0 <= outcome.measures["lifespan"] <= 2


def test_liars_block_a_gate_that_trusts_everybody_and_not_one_that_tolerates_them(lab: Lab) -> None:
    assert played(lab, "veto", "trusting-gate").measures["blocked"] > 0.5
    assert played(lab, "veto", "yours").measures["blocked"] == 0


def test_a_run_that_the_gate_ends_says_why_and_is_measured_as_far_as_it_came(lab: Lab) -> None:
    outcome = played(lab, "veto", "trusting-gate")
    assert "the gate refused" in outcome.ended
    assert len(outcome.series["accuracy"]) < 8


def test_free_riders_are_counted_as_long_as_nobody_looks_for_them(lab: Lab) -> None:
    assert played(lab, "rider-echo", "none").measures["rode"] == 1


def test_whitewashed_members_attack_in_both_halves_under_two_names(lab: Lab) -> None:
    outcome = played(lab, "whitewash", "none")
    assert len(outcome.series["accuracy"]) == 8
    assert outcome.measures["backdoor"] > 0.9
    assert outcome.measures["rode"] == 1


def test_the_same_cell_gives_the_same_outcome(lab: Lab) -> None:
    for name in ("gaussian", "best-response"):
        assert played(lab, name, "trimmed-mean") == played(lab, name, "trimmed-mean")


def test_an_outcome_survives_json(lab: Lab) -> None:
    import json

    outcome = played(lab, "backdoor-patch", "yours")
    assert outcome_of(json.loads(json.dumps(outcome.as_json()))) == outcome


def test_who_attacks_depends_on_the_seed_and_more_attackers_are_those_and_others(lab: Lab) -> None:
    assert set(hostile_of(lab, 1)) < set(hostile_of(lab, 2))
    chosen = {hostile_of(lab_of(federation(), "natural", seed), 1) for seed in range(20)}
    assert len(chosen) > 2


def test_the_attackers_agree_on_two_classes_that_differ(lab: Lab) -> None:
    for seed in range(20):
        aim: Aim = aim_of(lab_of(federation(), "natural", seed), "patch")
        assert aim.source != aim.target


# ------------------------------------------------------------------------------------------------- attacks of strangers


def test_an_attack_that_gives_another_shape_is_refused_by_name(lab: Lab) -> None:
    @attack(name="short", title="Short", goal="damage", knowledge="black", paper="ours")
    def short(view: View) -> F32:
        return np.zeros(3, np.float32)

    with pytest.raises(ConfigError, match=r"attack short: .*shape \(650,\)"):
        run_one(lab, short)


def test_an_attack_that_raises_is_no_defence(lab: Lab) -> None:
    @attack(name="broken", title="Broken", goal="damage", knowledge="black", paper="ours")
    def broken(view: View) -> F32:
        raise KeyError("nothing here")

    with pytest.raises(ConfigError, match="attack broken raised KeyError"):
        run_one(lab, broken)


def test_an_attack_that_looks_at_what_it_may_not_see_is_stopped(lab: Lab) -> None:
    @attack(name="nosy", title="Nosy", goal="damage", knowledge="grey", paper="ours")
    def nosy(view: View) -> F32:
        mean: F32 = view.honest.mean(axis=0)
        return -mean

    with pytest.raises(ConfigError, match="do not see the honest members' updates"):
        run_one(lab, nosy)


def test_an_attack_may_send_what_is_no_number_and_screening_names_it(lab: Lab) -> None:
    @attack(name="nan", title="NaN", goal="damage", knowledge="black", paper="ours")
    def nan(view: View) -> F32:
        return np.full(view.model.size, np.nan, np.float32)

    undefended = run_one(lab, nan, "none")
    defended = run_one(lab, nan, "yours")
    assert undefended.measures["accuracy"] < 0.2
    assert defended.measures["accuracy"] > 0.8
    assert defended.notes == ("refused 8 times: not-finite (hostile)",)


def run_one(lab: Lab, one: TrainingAttack, defence: str = "yours") -> Outcome:
    return play(lab, one, settings_of(lab, defence, 1, {}), Cell(one.card.name, defence, 1, "natural", 0))


def test_liars_and_honest_voters_differ_in_what_they_say_only(lab: Lab) -> None:
    assert TRAINING_ATTACKS["veto"].ballots is Claim.WORSE
    assert TRAINING_ATTACKS["rider-zero"].ballots is None


# ------------------------------------------------------------------------------------------------------------- defences


def test_none_has_no_control_and_yours_is_changed_in_nothing(lab: Lab) -> None:
    none = settings_of(lab, "none", 1, {})
    assert none.screening.unsafe_accept_all
    assert none.gate.unsafe_accept_all
    assert none.privacy is None
    assert settings_of(lab, "yours", 1, {}) is lab.settings


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_rule_alone_is_told_how_many_are_hostile(lab: Lab, name: str) -> None:
    if name == "bulyan":
        with pytest.raises(ConfigError, match="needs 7"):
            settings_of(lab, name, 1, {})
        return
    settings = settings_of(lab, name, 1, {})
    assert settings.gate.unsafe_accept_all
    assert settings.aggregation.f == (0 if name == "norm-clip" else 1)
    assert str(settings.chain) in words(name, settings).words


def test_a_defence_of_the_scenario_replaces_the_tables_that_it_names(lab: Lab) -> None:
    settings = settings_of(lab, "strict", 1, {"strict": {"aggregation": {"rule": "median", "f": 1}}})
    assert str(settings.chain) == "median(f=1)"
    assert settings.gate == lab.settings.gate


def test_the_bound_of_a_clip_is_that_of_a_first_update(lab: Lab) -> None:
    assert 0 < typical_length(lab) < 10


# ------------------------------------------------------------------------------------------------------------ measuring


def test_bits_come_back() -> None:
    right = np.random.default_rng(0).random(77) < 0.5
    assert np.array_equal(unpacked(packed(right), 77), right)


@pytest.mark.parametrize("split", ["iid", "dirichlet:0.5", "gamma:0.33"])
def test_a_split_deals_out_the_same_examples_anew(split: str) -> None:
    natural, dealt = lab_of(federation(), "natural", 0), lab_of(federation(), split, 0)
    for lab in (natural, dealt):
        total = sum(len(data.y_train) + len(data.y_held) for data in lab.sites.values())
        assert total == 800
    again = lab_of(federation(), split, 0)
    other = lab_of(federation(), split, 1)
    member = dealt.members[0]
    assert np.array_equal(dealt.sites[member].x_train, again.sites[member].x_train)
    assert not np.array_equal(dealt.sites[member].y_train, other.sites[member].y_train)


@pytest.mark.parametrize("split", ["even", "dirichlet", "dirichlet:x", "natural:1", ""])
def test_a_split_that_there_is_not_is_refused(split: str) -> None:
    with pytest.raises(ConfigError, match="a split is"):
        lab_of(federation(), split, 0)


# ---------------------------------------------------------------------------------------- what a careless change breaks


def test_one_rider_that_is_caught_does_not_help_against_another(lab: Lab) -> None:
    @attack(name="one-caught", title="One caught", goal="riding", knowledge="black", paper="ours")
    def one_caught(view: View) -> F32:
        rows = np.zeros((view.f, view.model.size), np.float32)
        rows[0] = np.nan
        return rows

    settings = settings_of(lab, "norm-clip", 2, {})
    outcome = play(lab, one_caught, settings, Cell("one-caught", "norm-clip", 2, "natural", 0))
    assert outcome.counts["rode"] == (8, 8)
    assert outcome.measures["rode"] == 1


def test_attackers_who_know_the_rule_know_how_many_are_asked_and_remember_what_they_want(lab: Lab) -> None:
    seen: list[tuple[int, int, int, int]] = []

    @attack(name="curious", title="Curious", goal="damage", knowledge="white", paper="ours")
    def curious(view: View) -> F32:
        view.memory["rounds"] = view.memory.get("rounds", 0) + 1
        seen.append((view.members, len(view.honest), len(view.past), view.memory["rounds"]))
        return view.own

    run_one(lab, curious)
    run_one(lab, curious)
    assert seen[:8] == seen[8:]  # what one run remembers the next does not know
    assert [one[:2] for one in seen[:8]] == [(5, 4)] * 8
    assert [one[2] for one in seen[:8]] == [0, 1, 2, 3, 4, 5, 5, 5]
    assert [one[3] for one in seen[:8]] == list(range(1, 9))


def test_a_backdoor_is_measured_at_the_end_of_the_attack() -> None:
    sleeper, patch = TRAINING_ATTACKS["sleeper"], TRAINING_ATTACKS["backdoor-patch"]
    assert cells._last_active(patch, 8, 8) == 5
    assert cells._last_active(sleeper, 8, 8) == 7
    assert cells._last_active(patch, 8, 3) == 2


def test_whitewashed_members_have_other_names_in_the_second_run(lab: Lab) -> None:
    settings = settings_of(lab, "none", 1, {})
    scene = cells._hostile(lab, TRAINING_ATTACKS["whitewash"], settings, lab.trainers(), 1)
    first, second = cells._phases(settings, scene)
    assert not first.names
    assert set(second.names) == set(scene.hostile)
    assert not set(second.names.values()) & set(lab.members)
    assert second.settings.run.rounds + first.settings.run.rounds == 8


def test_an_attack_that_takes_several_is_not_played_by_one(lab: Lab) -> None:
    with pytest.raises(NotAvailable, match="2 hostile members"):
        played(lab, "sybil-noise", "none")
