"""Verdicts: an attack that does nothing tests nothing, chance is no damage, and damage is no chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from phalanx.redteam.findings import findings_of, severity
from phalanx.redteam.judging import judge
from phalanx.redteam.known import known
from phalanx.redteam.outcome import QUIET, Cell, Outcome
from phalanx.redteam.result import Judged
from phalanx.redteam.tables import THREATS, costs_of, leaks_of, threats_of, worst_cases
from tests.redteam.made_up import EACH, SEEDS, TRUTH, bench, outcome

CARDS = {name: known(()).card(name) for name in known(()).names}
MANY = list(range(0, len(TRUTH), 4))  # a quarter of the inputs
FEW = [0, 1, 2]
OF_SOURCE = [int(i) for i in np.flatnonzero(TRUTH == 3)[: EACH // 2]]


def cells(attack: str, defence: str, wrong: Sequence[int] = (), **measures: float) -> list[Outcome]:
    return [outcome(attack, defence, wrong, measures, seed=seed) for seed in SEEDS]


def verdict(outcomes: Sequence[Outcome], attack: str, defence: str) -> Judged:
    (found,) = [one for one in judge(bench(outcomes)) if (one.attack, one.defence) == (attack, defence)]
    return found


QUIETS = [*cells(QUIET, "none"), *cells(QUIET, "yours"), *cells(QUIET, "trusting-gate")]
WORKS = cells("sign-flip", "none", MANY)


def test_an_attack_that_reaches_its_goal_undefended_works() -> None:
    found = verdict([*QUIETS, *WORKS], "sign-flip", "none")
    assert found.verdict == "works"
    assert found.figure is not None
    assert found.figure.value == pytest.approx(0.25)
    assert found.figure.low < 0.25 < found.figure.high


def test_an_attack_that_fails_undefended_is_an_invalid_test_and_no_defence_is_credited_with_it() -> None:
    outcomes = [*QUIETS, *cells("sign-flip", "none", FEW), *cells("sign-flip", "yours")]
    assert verdict(outcomes, "sign-flip", "none").verdict == "invalid test"
    assert verdict(outcomes, "sign-flip", "yours").verdict == "invalid test"


def test_a_defence_holds_where_an_attack_that_works_does_nothing_to_it() -> None:
    found = verdict([*QUIETS, *WORKS, *cells("sign-flip", "yours", FEW)], "sign-flip", "yours")
    assert found.verdict == "held"
    assert found.harm == 0


def test_off_twin_the_same_defence_does_not_hold_where_a_quarter_is_lost() -> None:
    found = verdict([*QUIETS, *WORKS, *cells("sign-flip", "yours", MANY)], "sign-flip", "yours")
    assert found.verdict == "not held"
    assert found.harm is not None
    assert found.harm > 1


def test_damage_within_chance_of_the_limit_is_unclear_and_not_held_against_the_defence() -> None:
    some = list(range(0, len(TRUTH), 42))  # 2.5 %, and the interval reaches 2 %
    found = verdict([*QUIETS, *WORKS, *cells("sign-flip", "yours", some)], "sign-flip", "yours")
    assert found.verdict == "unclear"


def test_damage_is_a_finding_even_where_the_attack_does_nothing_undefended() -> None:
    outcomes = [*QUIETS, *cells("mimic", "none", FEW), *cells("mimic", "yours", MANY)]
    assert verdict(outcomes, "mimic", "yours").verdict == "not held"


def test_damage_is_counted_on_the_same_inputs() -> None:
    quiets = [*cells(QUIET, "none", MANY), *cells(QUIET, "yours", MANY)]
    found = verdict([*quiets, *cells("sign-flip", "none", MANY)], "sign-flip", "none")
    assert found.figure is not None
    assert found.figure.value == 0


def test_an_attack_on_one_class_is_judged_by_that_class() -> None:
    outcomes = [*QUIETS, *cells("label-flip-targeted", "none", OF_SOURCE)]
    found = verdict(outcomes, "label-flip-targeted", "none")
    assert found.verdict == "works"
    assert found.figure is not None
    assert found.figure.value == pytest.approx(0.5)
    assert found.class_damage == pytest.approx(0.5)


def test_of_a_backdoor_what_the_trigger_does_by_itself_is_not_counted() -> None:
    outcomes = [
        *QUIETS,
        *cells("backdoor-patch", "none", backdoor=0.99),
        *cells("backdoor-patch", "yours", backdoor=0.12),
    ]
    assert verdict(outcomes, "backdoor-patch", "none").verdict == "works"
    held = verdict(outcomes, "backdoor-patch", "yours")
    assert held.verdict == "held"
    assert held.figure is not None
    assert held.figure.value == pytest.approx(0.02, abs=0.01)


def test_rounds_that_are_blocked_anyway_are_not_held_against_the_liars() -> None:
    quiets = [*cells(QUIET, "trusting-gate", blocked=0.4), *cells(QUIET, "yours")]
    assert verdict([*quiets, *cells("veto", "trusting-gate", blocked=0.5)], "veto", "trusting-gate").verdict != "works"
    assert verdict([*quiets, *cells("veto", "trusting-gate", blocked=1.0)], "veto", "trusting-gate").verdict == "works"


def test_what_was_planned_and_not_played_is_not_tested() -> None:
    planned = Cell("alie", "yours", 2, "natural", 0)
    (found,) = [one for one in judge(bench(QUIETS, [planned])) if one.attack == "alie"]
    assert (found.verdict, found.figure) == ("not tested", None)


def test_what_cannot_be_played_says_why() -> None:
    lost = replace(outcome("alie", "yours"), measures={}, counts={}, right="", unavailable="not available: no torch")
    found = verdict([*QUIETS, lost], "alie", "yours")
    assert (found.verdict, found.why) == ("not available", "not available: no torch")


def test_every_verdict_has_the_command_that_repeats_it() -> None:
    found = verdict([*QUIETS, *WORKS], "sign-flip", "none")
    assert "--attacks sign-flip --defences none --hostile 2 --seeds 3" in found.command


# ------------------------------------------------------------------------------------------------------------- findings


def test_findings_are_of_the_users_defences_only_and_the_worst_comes_first() -> None:
    outcomes = [
        *QUIETS,
        *cells(QUIET, "median"),
        *WORKS,
        *cells("sign-flip", "median", MANY),
        *cells("sign-flip", "yours", MANY),
        *cells("alie", "none", MANY),
        *cells("alie", "yours", list(range(0, len(TRUTH), 12))),
    ]
    found = findings_of(judge(bench(outcomes)), CARDS)
    assert [one.id for one in found] == ["yours:sign-flip:2:natural", "yours:alie:2:natural"]
    assert [one.severity for one in found] == ["high", "low"]
    assert "25.0 points" in found[0].happened


@pytest.mark.parametrize(
    ("attack", "hostile", "harm", "expected"),
    [
        ("sign-flip", 1, 1.2, "critical"),  # one insider that knows nothing
        ("sign-flip", 3, 1.2, "high"),
        ("alie", 3, 1.2, "medium"),  # needs the others' updates
        ("sign-flip", 3, 0.5, "medium"),
        ("sign-flip", 3, 0.1, "low"),
        ("alie", 3, 0.1, "low"),
    ],
)
def test_severity_is_impact_by_effort(attack: str, hostile: int, harm: float, expected: str) -> None:
    found = verdict([*QUIETS, *WORKS, *cells("sign-flip", "yours", MANY)], "sign-flip", "yours")
    assert severity(replace(found, attack=attack, hostile=hostile, harm=harm), CARDS[attack]) == expected


# --------------------------------------------------------------------------------------------------------------- tables


def everything() -> list[Outcome]:
    return [
        *QUIETS,
        *WORKS,
        *cells("sign-flip", "yours", FEW),
        *cells("alie", "none", MANY),
        *cells("alie", "yours", MANY),
        *cells("backdoor-patch", "none", backdoor=0.99),
        *cells("backdoor-patch", "yours", backdoor=0.5),
        *cells("rider-zero", "none"),
        *cells("rider-zero", "yours"),
    ]


def test_the_worst_case_of_a_defence_is_the_attack_that_hurts_it_most() -> None:
    worst = worst_cases(judge(bench(everything())), CARDS)
    assert {(one.defence, one.attack) for one in worst if one.defence == "yours"} == {
        ("yours", "alie"),
        ("yours", "backdoor-patch"),
    }


def test_cost_counts_members_and_rounds_for_what_gets_through() -> None:
    held = bench(everything())
    costs = {(one.defence, one.attack): one for one in costs_of(judge(held), CARDS, held.outcomes)}
    assert costs["yours", "alie"].per_point == pytest.approx(2 * 10 / 25)
    only_held = bench([*QUIETS, *WORKS, *cells("sign-flip", "yours", FEW)])
    through = {(o.defence, o.attack): o.per_point for o in costs_of(judge(only_held), CARDS, only_held.outcomes)}
    assert through["yours", "sign-flip"] is None


def test_a_threat_is_defended_only_if_everything_that_was_tried_was_held() -> None:
    threats = {one.id: one for one in threats_of(judge(bench(everything())), CARDS)}
    assert set(threats) == set(THREATS)
    assert threats["T2"].status == "not defended"
    assert threats["T10"].status == "not defended yet"
    assert threats["T8"].status == "not tested"
    held = [*QUIETS, *WORKS, *cells("sign-flip", "yours", FEW)]
    assert {one.id: one.status for one in threats_of(judge(bench(held)), CARDS)}["T2"] == "defended"


def test_a_threat_of_which_a_part_could_not_be_played_is_held_in_part() -> None:
    lost = [
        replace(outcome("alie", "yours", seed=seed), measures={}, counts={}, right="", unavailable="not available: no")
        for seed in SEEDS
    ]
    held = [*QUIETS, *WORKS, *cells("sign-flip", "yours", FEW), *cells("alie", "none", MANY), *lost]
    assert {one.id: one.status for one in threats_of(judge(bench(held)), CARDS)}["T2"] == "held in part"


def test_an_attack_that_ends_the_run_was_not_held() -> None:
    ended = [replace(one, ended="the gate refused 5 candidates") for one in cells("sign-flip", "yours", FEW)]
    found = verdict([*QUIETS, *WORKS, *ended], "sign-flip", "yours")
    assert (found.verdict, found.why.split(";")[0]) == ("not held", "the attack ended the run")


def test_what_one_seed_of_three_shows_is_no_certainty() -> None:
    outcomes = [*QUIETS, *cells("backdoor-patch", "none", backdoor=0.99)]
    outcomes += [
        outcome("backdoor-patch", "yours", seed=seed, measures={"backdoor": 0.1 + 0.5 * (seed == 2)}) for seed in SEEDS
    ]
    found = verdict(outcomes, "backdoor-patch", "yours")
    assert found.verdict == "unclear"
    assert found.figure is not None
    assert found.figure.high - found.figure.low > 0.5
    assert -0.1 - 1e-9 <= found.figure.low < found.figure.high <= 0.9 + 1e-9  # a share less the rate without attack


def test_without_the_run_in_which_nobody_attacks_nothing_is_said() -> None:
    assert verdict(cells("sign-flip", "none", MANY), "sign-flip", "none").verdict == "not available"


def test_the_leakage_table_says_what_was_not_tested() -> None:
    probe = Outcome(cell=Cell("lira", "none", 0, "natural", 0), measures={}, counts={"tpr_at_01": (4, 1000)})
    held = bench([probe])
    (row,) = [one for one in leaks_of(judge(held), held.known) if one.attack == "lira"]
    assert row.naive.startswith("0.004")
    assert row.phalanx == "not tested"
