"""The report on a user's own run: it says what was recorded, what is off and what is open, and nothing else."""

from __future__ import annotations

import math
import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256

import pytest

from phalanx.gate import BLIND_SPOTS
from phalanx.learning.baselines import Baselines
from phalanx.report import RunReport, render_run
from phalanx.report.wording import epsilon, percent
from tests.report.page_reader import Page
from tests.report.synthetic_report import hostile_report, run_report


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
    head = page.text[: page.text.index("Accuracy, site by site")]
    assert "Ten members trained one model together." in head
    assert (
        "All 40 rounds were closed. The gate passed 39 candidates and refused one. At the median site it gains" in head
    )
    assert "No control was switched off." in head
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
    assert page.elements.count("details") == 4


def test_refusals_stand_with_reason_rounds_and_the_members_words(page: Page) -> None:
    even = "2, 4, 6, 8, and 16 more spans"
    assert f"ward-001 update not-finite 20 {even} 3 of 650 values are NaN" in page.text
    assert "ward-000 ballot bad-ballot 1 1 3 of 650 values are NaN" in page.text
    assert "its last message ward-009 FloorRefused: 3 of 650 values are NaN" in page.text
    assert "3 refused class 8 31 40 3 × 10⁻⁵ 10" in page.text


def test_members_that_were_not_drawn_are_no_refusals_and_do_not_lower_their_mean() -> None:
    report = run_report(members=4, rounds=2)
    first, second = (
        replace(one, accepted=report.members[:2], weights=(0.25, 0.75), refused=()) for one in report.records
    )
    drawn = replace(report, records=(first, replace(second, accepted=report.members[1:3])))
    text = plain(Page(render_run(drawn)).text)
    assert (
        "ward-000 25.0 % 0 25.0 % not asked ward-001 50.0 % 0 75.0 % 25.0 % ward-002 75.0 % 0 not asked 75.0 %" in text
    )
    assert "ward-003 never asked 0 not asked not asked" in text


def test_a_gate_of_votes_is_described_by_votes_and_not_by_examples() -> None:
    report = run_report(rounds=2)
    voted = tuple(replace(one, verdict=replace(one.verdict, test="votes", worse=2, better=8)) for one in report.records)
    by_votes, by_counts = (Page(render_run(replace(report, records=r))).text for r in (voted, report.records))
    assert "Each member votes against a candidate or not" in by_votes and "how many are lost" not in by_votes
    assert "how many are lost" in by_counts and "votes against a candidate or not" not in by_counts


def test_a_run_that_stopped_says_so_and_why() -> None:
    report = run_report(rounds=40)
    stopped = replace(
        report, finished=False, reason="the gate refused 5 candidates in a row", records=report.records[:7]
    )
    text = Page(render_run(stopped)).text
    assert "The run ended after 7 of 40 rounds." in text
    assert "Stopped: the gate refused 5 candidates in a row. The gate passed six candidates and refused one." in text


def test_a_run_without_a_closed_round_invents_no_number() -> None:
    report = replace(
        run_report(), finished=False, reason="no quorum", records=(), accuracy={}, baselines=None, messages={}
    )
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
    written = render_run(
        replace(
            report, records=records, accuracy=shares, baselines=Baselines(alone=shares, plain=shares, pooled=shares)
        )
    )
    drawn = [text for name, text in Page(written).attributes if name in ("d", "x", "y", "cx", "cy", "width")]
    assert not any(re.search(r"nan|inf|e\+", text) for text in drawn)


def test_the_same_run_gives_the_same_bytes() -> None:
    assert render_run(run_report()) == render_run(run_report())
