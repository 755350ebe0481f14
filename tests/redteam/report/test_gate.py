"""What fails a pipeline: severe enough, not accepted, or worse than before by more than chance."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date

import pytest

from phalanx.errors import ConfigError
from phalanx.redteam.report.gate import Waiver, compared, exit_worthy, gone, regressed, waived
from phalanx.redteam.result import SEVERITIES, Figure, Finding, Result, Severity
from tests.redteam.report.synthetic_result import result

TODAY = date(2027, 3, 1)


def only(severity: Severity, *, accepted: str = "", change: str = "", figure: Figure | None = None) -> Result:
    """A result with one finding."""
    given = result()
    first = given.findings[0]
    judged = replace(first.judged, figure=figure)
    found = replace(first, id="yours:alie:3:natural", severity=severity, waived=accepted, change=change, judged=judged)
    return replace(given, findings=(found,), notes=())


def figure(value: float, half: float = 0.02) -> Figure:
    return Figure(value, value - half, value + half, 5, "bootstrap")


# ---------------------------------------------------------------------------------------------------------------- gate


@pytest.mark.parametrize("fail_on", SEVERITIES)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_a_finding_fails_at_its_severity_and_below(severity: Severity, fail_on: Severity) -> None:
    expected = SEVERITIES.index(severity) <= SEVERITIES.index(fail_on)
    assert exit_worthy(only(severity), fail_on) is expected


def test_without_a_severity_to_fail_on_nothing_fails() -> None:
    assert not exit_worthy(only("critical"), None)


def test_a_waived_finding_fails_nothing() -> None:
    assert not exit_worthy(only("critical", accepted="Accepted until 2027-06-30: x"), "low")
    assert not regressed(only("critical", accepted="Accepted until 2027-06-30: x", change="worse"))


def test_a_finding_that_was_there_before_still_fails() -> None:
    assert exit_worthy(only("high", change="same"), "high")


@pytest.mark.parametrize(
    ("change", "fails"), [("new", True), ("worse", True), ("same", False), ("better", False), ("", False)]
)
def test_new_and_worse_are_regressions_whatever_their_severity(change: str, fails: bool) -> None:
    assert regressed(only("low", change=change)) is fails


# ------------------------------------------------------------------------------------------------------------ baseline


@pytest.mark.parametrize(
    ("now", "change"),
    [(0.30, "same"), (0.32, "same"), (0.28, "same"), (0.33, "worse"), (0.27, "better"), (math.nan, "worse"),
     (math.inf, "worse")],
)  # fmt: skip
def test_only_what_lies_beyond_the_earlier_interval_is_a_change(now: float, change: str) -> None:
    baseline = only("high", figure=figure(0.30)).findings
    (found,) = compared(only("high", figure=figure(now)).findings, baseline)
    assert found.change == change


def test_a_baseline_that_is_no_number_excuses_nothing() -> None:
    baseline = only("high", figure=figure(math.nan)).findings
    (found,) = compared(only("high", figure=figure(0.3)).findings, baseline)
    assert found.change == "worse"


@pytest.mark.parametrize(("before", "change"), [("low", "worse"), ("high", "same"), ("critical", "better")])
def test_without_figures_the_severity_decides(before: Severity, change: str) -> None:
    (found,) = compared(only("high").findings, only(before).findings)
    assert found.change == change


def test_what_the_baseline_had_not_is_new() -> None:
    (found,) = compared(only("low").findings, ())
    assert found.change == "new"


def test_what_is_no_longer_found_is_said_and_not_called_fixed() -> None:
    earlier: Finding = replace(only("low").findings[0], id="yours:ipm:1:iid")
    notes = gone(only("low").findings, (earlier, *only("low").findings))
    assert len(notes) == 1 and "yours:ipm:1:iid" in notes[0] and "held or not tested" in notes[0]


# ------------------------------------------------------------------------------------------------------------- waivers


def waiver(name: str = "yours:alie:3:natural", until: date = date(2027, 3, 1), by: str = "ops@hub") -> Waiver:
    return Waiver(name, "contracts bind the members", until, by)


def accepting(given: Result, *waivers: Waiver, today: date = TODAY) -> Result:
    """The result with its waivers, as a command puts it together."""
    findings, said = waived(given.findings, waivers, today)
    return replace(given, findings=findings, waivers=said)


def test_a_waiver_accepts_its_finding_up_to_and_including_its_last_day() -> None:
    accepted = accepting(only("high"), waiver())
    assert accepted.findings[0].waived == "Accepted by ops@hub until 2027-03-01: contracts bind the members"
    assert accepted.waivers == {"yours:alie:3:natural": accepted.findings[0].waived}
    assert not exit_worthy(accepted, "low")


def test_an_expired_waiver_accepts_nothing_and_is_said() -> None:
    late = accepting(only("high"), waiver(), today=date(2027, 3, 2))
    assert late.findings[0].waived == "" and exit_worthy(late, "high")
    assert late.waivers["yours:alie:3:natural"].startswith("Accepts nothing, since it expired on 2027-03-01")


def test_a_waiver_of_what_was_not_found_is_said() -> None:
    unknown = accepting(only("high"), waiver("yours:x:1:iid"))
    assert unknown.findings[0].waived == ""
    assert unknown.waivers == {
        "yours:x:1:iid": "Accepts nothing, since no finding of this run has this id: contracts bind the members"
    }


def test_who_accepts_need_not_be_said() -> None:
    accepted = accepting(only("high"), waiver(by=""))
    assert accepted.findings[0].waived.startswith("Accepted until 2027-03-01: ")


def test_an_earlier_acceptance_does_not_outlive_its_waiver() -> None:
    assert accepting(only("high", accepted="Accepted long ago")).findings[0].waived == ""


def test_two_waivers_of_one_finding_are_refused() -> None:
    with pytest.raises(ConfigError, match="waived twice"):
        accepting(only("high"), waiver(), waiver(until=date(2030, 1, 1)))


@pytest.mark.parametrize(("name", "reason"), [("", "because"), ("x", ""), ("x", "  ")])
def test_a_waiver_without_an_id_or_a_reason_is_refused(name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match="needs a finding's id and a reason"):
        Waiver(name, reason, TODAY)
