"""A configuration in words: each control's state is true of the settings, and each limit is said where it applies."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from phalanx.config import parse
from phalanx.privacy import COST_AT_SMALL_N
from phalanx.report import Control, RunReport, controls_of, limits_of, render_run
from tests.report.page_reader import Page
from tests.report.synthetic_report import run_report, table


def changed(**tables: dict[str, Any] | None) -> RunReport:
    """The report with other tables in its configuration; None takes one out, and so does a key that is None."""
    found: dict[str, Any] = deepcopy(table())
    for name, keys in tables.items():
        merged = {} if keys is None else {**found.get(name, {}), **keys}
        found[name] = {key: value for key, value in merged.items() if value is not None}
        if keys is None:
            del found[name]
    settings = parse(found)
    privacy, report = settings.mechanism, run_report()
    return replace(
        report,
        rule=settings.chain,
        privacy=privacy,
        controls=controls_of(settings, privacy),
        limits=limits_of(settings, privacy, report.held_out),
        records=tuple(replace(one, epsilon=one.epsilon if privacy else None) for one in report.records),
    )


def states(report: RunReport) -> dict[str, str]:
    return {one.name: one.state for one in report.controls}


def control(report: RunReport, name: str) -> Control:
    return next(one for one in report.controls if one.name == name)


def test_with_every_control_on_only_what_does_not_exist_is_missing() -> None:
    found = states(run_report())
    assert {name for name, state in found.items() if state == "off"} == set()
    assert {name for name, state in found.items() if state == "not available"} == {
        "Secure aggregation", "Backdoor inspection", "Witnesses of the log", "Separate machines",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("tables", "off", "limit"),
    [
        ({"run": {"lab_seed": 7}}, "Secret randomness", "Not secure: lab_seed"),
        ({"gate": {"unsafe_accept_all": True}}, "Gate", "Not secure: the gate was switched off"),
        ({"privacy": None, "floor": None}, "Differential privacy", "training examples can be rebuilt"),
        ({"aggregation": {"rule": "mean", "f": 0}}, "Robust aggregation", "a single hostile member can steer"),
        ({"floor": None}, "Members' floors", "The coordinator sees each single update."),
        ({"data": None}, "Schema check", "No schema was declared"),
        (
            {
                "screening": {"unsafe_accept_all": True},
                "privacy": None,
                "floor": None,
                "aggregation": {"rule": "mean", "f": 0},
            },
            "Screening",
            "Not secure: screening was switched off",
        ),
    ],
)
def test_a_control_that_is_switched_off_is_named_off_and_its_danger_said(
    tables: dict[str, Any], off: str, limit: str
) -> None:
    report = changed(**tables)
    assert states(run_report())[off] == "on" and states(report)[off] == "off"
    assert any(limit in sentence for sentence in report.limits)
    opening = Page(render_run(report)).text.split("Who can switch a control off")[0]
    assert off in opening.split("Not in force: ")[1]


def test_limits_that_do_not_apply_are_not_said() -> None:
    said = " ".join(run_report().limits)
    assert "Not secure" not in said and "rebuilt" not in said and "believes every voter" not in said
    assert "No schema" not in said and "seeds" not in said and "standardising" not in said and "Local" not in said


def test_a_run_without_privacy_states_no_epsilon() -> None:
    text = Page(render_run(changed(privacy=None, floor=None))).text
    assert "Privacy loss, at most no bound" in text and "Nothing bounds what its updates" in text
    assert "ε spent, by round" not in text


def test_central_noise_says_whom_it_does_not_hide_from_and_what_it_costs() -> None:
    report = changed(
        privacy={"unit": "member", "clip_l2": None, "normaliser": None},
        aggregation={"rule": "mean", "f": 0, "pre": ["norm-clip"], "clip_l2": 1.0},
        floor=None,
    )
    assert COST_AT_SMALL_N in report.limits
    assert any("before the noise" in sentence for sentence in report.limits)
    assert "per member, added or removed" in Page(render_run(report)).text


@pytest.mark.parametrize(
    ("each", "words"), [(27, "no loss of fewer than 10 of them"), (0, None), (0.5, "no loss at all")]
)
def test_few_voters_are_said_to_notice_little(each: float, words: str | None) -> None:
    settings = parse(table())
    held_out = {member: math.ceil(each) for member in settings.members[: 5 if each == 0.5 else 10]}
    said = " ".join(limits_of(settings, settings.mechanism, held_out))
    assert (words in said) if words else ("held out" not in said)


# ------------------------------------------------------------------------------------------------ selection and ballots

UNIFORM = {"selection": {"policy": "uniform", "size": 7}}


def test_where_all_are_asked_nothing_is_drawn_and_no_seed_is_spoken_of() -> None:
    found = control(run_report(), "Drawn cohorts")
    assert (found.state, found.value) == ("no effect", "nobody is drawn: all members are asked in every round")
    assert "tolerates up to three of ten members" in control(run_report(), "Robust aggregation").value


@pytest.mark.parametrize(
    ("selection", "who"),
    [
        ({"policy": "uniform", "size": 7}, "7 of 10 members; "),
        ({"policy": "uniform", "size": 99}, "10 of 10 members; "),
        ({"policy": "stratified", "size": 9}, "up to 9 members of each label; "),
        ({"policy": "poisson", "rate": 0.9, "min_cohort": 7}, "each member with probability 0.9, 7 or more; "),
    ],
)
def test_a_draw_is_committed_and_revealed_and_claims_no_amplification(selection: dict[str, Any], who: str) -> None:
    report = changed(selection=selection)
    found = control(report, "Drawn cohorts")
    assert found.state == "on" and found.value.startswith(who)
    assert "commits by a hash" in found.value and "reveals it" in found.value
    assert "no privacy amplification is claimed" in found.value
    assert any("try many seeds" in one for one in report.limits)
    assert any("ε is that of a member who takes part in every round" in one for one in report.limits)
    assert any("f = 3 is for one round" in one for one in report.limits)
    assert "three of the members asked in a round" in control(report, "Robust aggregation").value


def test_limits_of_a_draw_speak_of_no_noise_and_no_f_where_there_is_none() -> None:
    said = " ".join(changed(**UNIFORM, privacy=None, floor=None, aggregation={"rule": "mean", "f": 0}).limits)
    assert "try many seeds" in said and "takes part in every round" not in said and "is for one round" not in said


def test_counts_leave_a_member_by_class_and_say_so() -> None:
    report = run_report()
    assert control(report, "Ballots").state == "on" and control(report, "Ballots").value.startswith("counts: by class")
    said = " ".join(report.limits)
    assert "tell the coordinator how many examples of each class" in said
    assert "does not hear the f = 3 voters who lost most" in said and "more often than the significance says" in said


def test_votes_leave_a_member_without_counts_and_pool_nothing() -> None:
    """Of ten voters with f = 3, six votes refuse. A voter's overall test has half of 0.02, above 2**-7."""
    report = changed(gate={"ballot": "votes", "vote_significance": 0.02, "accuracy_buckets": 10})
    ballots, said = control(report, "Ballots").value, " ".join(report.limits)
    assert "at 0.02" in ballots and "in steps of 1/10; no counts" in ballots
    assert "6 of 10 votes against refuse a candidate" in control(report, "Gate").value
    assert "unless 6 of 10 voters each notice it" in said
    assert "held out 27 examples: its own overall test notices no loss of fewer than 7 of them" in said
    assert "how many examples of each class" not in said and "examples in all" not in said


def test_without_a_gate_no_ballot_leaves_anybody() -> None:
    report = changed(gate={"unsafe_accept_all": True})
    assert (control(report, "Ballots").state, control(report, "Ballots").value) == (
        "no effect",
        "no ballot is asked for",
    )
    assert not any("ballot" in one.lower() for one in report.limits)


@pytest.mark.parametrize(("ballot", "said"), [("counts", "believes every voter"), ("votes", "takes no vote for a lie")])
def test_a_gate_without_tolerance_says_what_a_liar_may_do(ballot: str, said: str) -> None:
    report = changed(gate={"ballot": ballot}, aggregation={"rule": "mean", "f": 0})
    assert any(said in one for one in report.limits)
    assert not any(said in one for one in changed(gate={"ballot": ballot}).limits)


# ------------------------------------------------------------------------------------------ optimiser, tensors and data


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ({}, "sgd, learning rate 1: "),
        ({"momentum": 0.5, "learning_rate": 0.3}, "sgd, learning rate 0.3, momentum 0.5: "),
        ({"optimiser": "adam"}, "adam, learning rate 0.01, momentum 0.9: "),
        ({"optimiser": "yogi", "momentum": 0.8}, "yogi, learning rate 0.01, momentum 0.8: "),
    ],
)
def test_the_servers_optimiser_is_named_and_is_no_control(server: dict[str, Any], words: str) -> None:
    found = control(changed(server=server), "Server optimiser")
    assert found.state == "no effect" and found.value.startswith(f"{words}not a control")
    assert "post-processing" in found.value


def test_local_tensors_are_named_and_nothing_of_the_coordinators_sees_them() -> None:
    report = changed(learning={"local": ["*.bn*", "head.*"]})
    found = control(report, "Local tensors")
    assert found.state == "on" and "*.bn*, head.*: never leave a member" in found.value
    assert any("Local tensors are a member's own" in one for one in report.limits)
    assert control(run_report(), "Local tensors").value == "none: every tensor of the model travels"
    assert states(run_report())["Local tensors"] == "no effect"


def test_a_schema_is_each_members_own_check() -> None:
    report = run_report()
    assert "schema.toml" in control(report, "Schema check").value
    assert any("a hostile one can leave that out" in one for one in report.limits)


def test_statistics_of_a_survey_are_outside_this_pages_epsilon() -> None:
    report = changed(data={"statistics": "survey.json"})
    assert states(report)["Standardisation"] == "on" and states(run_report())["Standardisation"] == "no effect"
    assert "survey.json" in control(report, "Standardisation").value
    assert any("was released by the survey" in one for one in report.limits)
