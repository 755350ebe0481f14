"""The report on a user's own run: it says what was recorded, what is off and what is open, and nothing else."""

from __future__ import annotations

import math
import re
from base64 import b64encode
from copy import deepcopy
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from phalanx.config import parse
from phalanx.gate import BLIND_SPOTS
from phalanx.privacy import COST_AT_SMALL_N
from phalanx.report import RunReport, controls_of, limits_of, render_run
from phalanx.report.wording import epsilon, percent
from tests.report.page_reader import Page
from tests.report.synthetic_report import hostile_report, run_report, table


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render_run(run_report()))


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


# ------------------------------------------------------------------------------------------------- nothing from outside


@pytest.mark.parametrize(
    "attack",
    ["<script>alert(1)</script>", '" onload="alert(1)', "'><img src=x>", "</style><b>", "</svg></main>", "&lt;", "-->"],
)
def test_hostile_texts_of_members_add_no_element_and_no_attribute(attack: str) -> None:
    innocent, attacked = Page(render_run(hostile_report("innocent"))), Page(render_run(hostile_report(attack)))
    assert sorted(attacked.elements) == sorted(innocent.elements)
    assert sorted(name for name, _ in attacked.attributes) == sorted(name for name, _ in innocent.attributes)
    assert attacked.text.count(attack) >= 10


def test_off_twin_without_escaping_a_members_message_becomes_an_element(monkeypatch: pytest.MonkeyPatch) -> None:
    report = run_report(detail="<script>alert(1)</script>")
    assert b"<script" not in render_run(report)
    monkeypatch.setattr("phalanx.report.markup._escaped", lambda text: text)
    assert b"<script>alert(1)</script>" in render_run(report)


@pytest.mark.parametrize("report", [run_report(), hostile_report("https://evil.example/x data:text/html,x")])
def test_a_runs_page_refers_to_nothing_outside_itself(report: RunReport) -> None:
    written = render_run(report)
    assert b"://" not in written and b"<script" not in written and b"url(" not in written
    seen = Page(written)
    assert not {"script", "link", "img", "iframe", "object", "embed", "form", "base", "use"} & set(seen.elements)
    assert not {"src", "srcset", "action", "style"} & {name for name, _ in seen.attributes}
    assert all(value.startswith("#s") for name, value in seen.attributes if name == "href")


def test_a_runs_page_allows_its_style_sheet_alone() -> None:
    written = render_run(run_report()).decode()
    style = re.search(r"<style>(.*?)</style>", written, re.S)
    assert style
    digest = b64encode(sha256(style[1].encode()).digest()).decode()
    assert f"default-src &#x27;none&#x27;; style-src &#x27;sha256-{digest}&#x27;;" in written


def test_messages_of_a_million_characters_are_cut() -> None:
    assert len(render_run(hostile_report("x" * 1_000_000))) < 1_000_000


# ------------------------------------------------------------------------------------------ it says what was recorded


def test_the_opening_has_the_runs_own_figures(page: Page) -> None:
    report = run_report()
    worst = min(report.accuracy, key=lambda member: report.accuracy[member])
    mean = sum(report.accuracy.values()) / 10
    head = page.text[: page.text.index("Who can switch a control off")]
    assert "Ten members trained one model together." in head
    assert "All 40 rounds were closed. The gate passed 39 candidates and refused one. No control was switched" in head
    assert plain(f"Mean accuracy at sites {percent(mean)} Worst: {worst}, {percent(report.accuracy[worst])}.") in head
    assert "ε = 7.99 Budget 8, per example, added or removed; δ = 10⁻⁵." in head
    assert "Members ever refused 2 of 10 ward-000: bad-ballot, ward-001: not-finite." in head
    assert "Refused by the gate 1 of 40" in head and "Version 39 is the last one released." in head


def test_every_weight_epsilon_and_decision_stands_in_a_table(page: Page) -> None:
    for record in run_report().records:
        assert epsilon(record.epsilon) in page.text
        assert all(plain(percent(weight)) in page.text for weight in record.weights)
        decision = "released overall" if record.verdict.passed else "refused class 8"
        assert f" {record.round} {decision} {record.verdict.worse} {record.verdict.better} " in page.text
    assert page.elements.count("details") == 3


def test_refusals_stand_with_reason_rounds_and_the_members_words(page: Page) -> None:
    even = "2, 4, 6, 8, and 16 more spans"
    assert f"ward-001 update not-finite 20 {even} 3 of 650 values are NaN" in page.text
    assert "ward-000 ballot bad-ballot 1 1 3 of 650 values are NaN" in page.text
    assert "its last message ward-009 FloorRefused: 3 of 650 values are NaN" in page.text
    assert "3 refused class 8 31 40 3 × 10⁻⁵ 10" in page.text


def test_sites_are_listed_worst_first_beside_training_alone(page: Page) -> None:
    report = run_report()
    assert report.alone is not None
    order = sorted(report.accuracy, key=lambda member: report.accuracy[member])
    section = page.text[page.text.index("The numbers") : page.text.index("ε bounds what")]
    at = [section.index(plain(f"{m} {percent(report.accuracy[m])} {percent(report.alone[m])}")) for m in order]
    assert at == sorted(at)
    better = sum(report.accuracy[m] > report.alone[m] for m in order)
    assert f"Together, {better} of 10 sites do better than alone" in page.text


def test_what_was_not_measured_is_not_measured() -> None:
    seen = Page(render_run(replace(run_report(), alone=None, held_out={})))
    assert "Training alone, without the others: not measured." in seen.text and "loss | gain" not in seen.text
    empty = Page(render_run(replace(run_report(), accuracy={}, alone=None)))
    assert "Mean accuracy at sites not measured" in empty.text and "Accuracy at the sites: not measured." in empty.text


def test_a_run_that_stopped_says_so_and_why() -> None:
    report = run_report(rounds=40)
    stopped = replace(
        report, finished=False, reason="the gate refused 5 candidates in a row", records=report.records[:7]
    )
    text = Page(render_run(stopped)).text
    assert "The run ended after 7 of 40 rounds." in text
    assert "Stopped: the gate refused 5 candidates in a row. The gate passed six candidates and refused one." in text


def test_a_run_without_a_closed_round_invents_no_number() -> None:
    report = replace(run_report(), finished=False, reason="no quorum", records=(), accuracy={}, alone=None, messages={})
    seen = Page(render_run(report))
    assert "0 of 40" in seen.text and "Nothing was closed." in seen.text and "No round was closed." in seen.text
    figures = seen.text[seen.text.index("Mean accuracy") : seen.text.index("Who can switch")]
    assert "%" not in figures and "ε =" not in figures


def test_limits_blind_spots_and_the_command_are_printed(page: Page) -> None:
    report = run_report()
    for text in (
        *report.limits,
        BLIND_SPOTS,
        report.verify_command,
        report.fingerprint,
        "Phalanx 0.1.0 · run a1b2c3d4",
    ):
        assert text in page.text, text


# ------------------------------------------------------------------------------------------------ controls and limits


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


# ---------------------------------------------------------------------------------------------------------------- sizes


@pytest.mark.parametrize("members", [1, 3, 100])
@pytest.mark.parametrize("rounds", [1, 2, 500])
def test_any_run_up_to_a_hundred_members_and_five_hundred_rounds_gives_a_page_under_three_megabytes(
    members: int, rounds: int
) -> None:
    written = render_run(run_report(members=members, rounds=rounds))
    assert len(written) < 3_000_000
    drawn = [value for name, value in Page(written).attributes if name in ("d", "x", "y", "cx")]
    assert not any(re.search(r"nan|inf|e\+", value) for value in drawn)


def test_a_line_of_five_hundred_rounds_is_drawn_to_its_end() -> None:
    paths = [v for name, v in Page(render_run(run_report(members=100, rounds=500))).attributes if name == "d"]
    assert max(map(len, paths)) > 4000, "no path is as long as the texts that are cut"
    assert all(re.fullmatch(r"[MLHVhvlmz0-9 .-]*", path) for path in paths)


def test_longer_runs_show_their_last_rounds_and_say_so() -> None:
    report = run_report(members=3, rounds=40)
    many = tuple(replace(report.records[0], round=number) for number in range(1, 1201))
    text = Page(render_run(replace(report, records=many, planned=1200))).text
    assert "Shown are the last 500 rounds; 700 before them are in the log." in text
    assert "The gate passed 1200 candidates" in text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300, -1.0])
def test_figures_of_a_run_that_are_no_shares_are_drawn_nowhere(value: float) -> None:
    report = run_report(rounds=3)
    records = tuple(
        replace(one, weights=(value,) * len(one.weights), epsilon=value, verdict=replace(one.verdict, p_value=value))
        for one in report.records
    )
    shares = dict.fromkeys(report.members, value)
    written = render_run(replace(report, records=records, accuracy=shares, alone=shares))
    drawn = [text for name, text in Page(written).attributes if name in ("d", "x", "y", "cx", "cy", "width")]
    assert not any(re.search(r"nan|inf|e\+", text) for text in drawn)


def test_the_same_run_gives_the_same_bytes() -> None:
    assert render_run(run_report()) == render_run(run_report())
