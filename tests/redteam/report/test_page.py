"""The red team's page: everything that was found is on it, what was not tested says so, and it stays one inert file."""

from __future__ import annotations

import math
import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256

import pytest

from phalanx.redteam.outcome import Rebuilt
from phalanx.redteam.report.figures import MEANINGS, SIGNS, brief, harm_in_words, with_interval, with_unit
from phalanx.redteam.report.opening import verdict_line
from phalanx.redteam.report.page import render
from phalanx.redteam.result import Figure, Result, Threat
from tests.redteam.report.hostile_texts import hostile
from tests.redteam.report.synthetic_result import CARDS, DEFENCES, EMPTY, judged, result
from tests.report.page_reader import Page


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render(result()))


# ------------------------------------------------------------------------------------------------ nothing from outside


@pytest.mark.parametrize("attack", ["<script>alert(1)</script>", '" onload="alert(1)', "</style><b>", "</svg></main>"])
def test_hostile_texts_add_no_element_and_no_attribute(attack: str) -> None:
    innocent, attacked = Page(render(hostile("x" * len(attack)))), Page(render(hostile(attack)))
    assert attacked.elements == innocent.elements
    assert [name for name, _ in attacked.attributes] == [name for name, _ in innocent.attributes]
    assert attack in attacked.text


def test_the_hostile_fixture_reaches_the_page_unless_it_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The off twin: without escaping, the same text does become an element."""
    monkeypatch.setattr("phalanx.report.markup._escaped", lambda text: text)
    assert b"<script>alert(1)</script>" in render(hostile("<script>alert(1)</script>"))


def test_control_characters_and_lone_surrogates_are_shown_by_number() -> None:
    page = render(hostile("a\u202eb\ud800c\x00d\x1b"))
    assert "a\\u202eb\\ud800c\\u0000d\\u001b" in Page(page).text
    assert not re.search(rb"[\x00-\x08\x0b-\x1f]", page)


@pytest.mark.parametrize("shown", [result(), EMPTY, hostile("https://evil.example/x data:text/html,x url(x)")])
def test_the_page_refers_to_nothing_outside_itself_and_runs_nothing(shown: Result) -> None:
    page = render(shown)
    seen = Page(page)
    assert b"://" not in page and b"<script" not in page and b"@import" not in page
    assert not {"script", "link", "img", "iframe", "object", "embed", "form", "base", "use", "image"} & set(
        seen.elements
    )
    names = {name for name, _ in seen.attributes}
    assert not {"src", "srcset", "action", "xlink:href", "style"} & names
    assert not any(name.startswith("on") for name in names)
    assert all(value.startswith("#s") for name, value in seen.attributes if name == "href")


def test_the_policy_forbids_everything_but_the_one_style_sheet() -> None:
    page = render(result()).decode()
    style = re.search(r"<style>(.*?)</style>", page, re.S)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert style and policy and "url(" not in style[1]
    digest = b64encode(sha256(style[1].encode()).digest()).decode()
    assert policy[1].replace("&#x27;", "'").startswith(f"default-src 'none'; style-src 'sha256-{digest}'")


# ---------------------------------------------------------------------------------------------------- what got through


def test_the_verdict_is_one_line() -> None:
    assert verdict_line(result()) == (
        "4 of 13 threats not resisted (1 critical, 1 high, 2 medium) · 1 unclear · 1 invalid test · 4 not tested "
        "· 1 finding waived"
    )
    one = replace(EMPTY, threats=(Threat("T1", "", "defended", ""),))
    assert verdict_line(one) == "0 of 1 threat not resisted"
    assert verdict_line(EMPTY) == "Nothing was tested against your configuration"


def test_every_finding_says_what_happened_who_can_do_it_and_how_to_see_it_again(page: Page) -> None:
    known = {card.name: card for card in CARDS}
    findings = result().findings
    assert len(findings) > 8
    for finding in findings:
        card = known[finding.judged.attack]
        assert finding.judged.figure is not None
        figure = with_interval(finding.judged.figure, card.goal.unit).replace("\u00a0", " ")
        for text in (finding.id, finding.title, finding.happened, figure, finding.fix, finding.judged.command,
                     f"{card.knowledge} box", f"{finding.judged.hostile} of 10 members hostile"):  # fmt: skip
            assert text in page.text, (finding.id, text)


def test_the_worst_finding_comes_first(page: Page) -> None:
    places = [page.text.index(f" {finding.id} ") for finding in result().findings]
    assert places == sorted(places)


def test_a_waived_finding_says_by_whom_until_when_and_why(page: Page) -> None:
    assert "Accepted by ops@hub until 2027-06-30: contracts bind the members" in page.text
    assert "yours:gone:1:iid Accepts nothing, since no finding of this run has this id" in page.text


def test_more_findings_than_fit_are_all_named() -> None:
    given = result()
    many = tuple(replace(given.findings[0], id=f"yours:x:{i}:natural") for i in range(150))
    page = Page(render(replace(given, findings=many)))
    assert all(f" {one.id} " in page.text for one in many)
    assert "110 more, less severe" in page.text


def test_the_change_against_the_baseline_is_said(page: Page) -> None:
    for text in ("worse than before", "better than before", "as before"):
        assert text in page.text


# ------------------------------------------------------------------------------------------------------------- matrix


def test_every_verdict_has_a_sign_of_its_own_and_its_words_in_the_legend(page: Page) -> None:
    assert len(set(SIGNS.values())) == len(SIGNS) == len(MEANINGS)
    for verdict, sign in SIGNS.items():
        assert f"{sign} {verdict} {MEANINGS[verdict]}" in page.text


def test_each_setting_has_a_map_with_its_figures_in_a_table(page: Page) -> None:
    for title in ("3 of 10 members hostile, split natural", "1 of 10 members hostile, split natural"):
        assert f"{title} Your configuration under 12 attacks" in page.text.replace("twelve", "12")
    for one in result().judged:
        if one.attack != "none" and one.figure is not None:
            unit = next(card.goal.unit for card in CARDS if card.name == one.attack)
            shown = f"{SIGNS[one.verdict]} {one.verdict}: {with_interval(one.figure, unit)}"
            assert shown.replace("\u00a0", " ") in page.text


def test_a_cell_that_was_not_tested_is_no_cell_that_held(page: Page) -> None:
    table = page.text[page.text.index("The data as a table") :]
    assert "○ not tested" in table and "– not available" in table and "· not in the plan" in table
    assert "∅ invalid test: " in table


def test_of_more_than_four_settings_the_worst_are_maps_and_the_rest_are_tables() -> None:
    splits = ("natural", "iid", "dirichlet:0.5", "gamma:0.3")
    page = Page(render(result(hostile=(1, 2, 3), splits=splits)))
    assert sum("cells of attack and defence" in value for name, value in page.attributes if name == "aria-label") == 4
    assert "2 of 10 members hostile, split gamma:0.3: Your configuration under twelve attacks" in page.text


def test_every_picture_has_words(page: Page) -> None:
    described = sum(name in ("aria-label", "aria-hidden") for name, _ in page.attributes)
    assert described >= page.elements.count("svg") > 20


# ------------------------------------------------------------------------------------------------------ other sections


def test_the_other_sections_say_what_was_measured(page: Page) -> None:
    for text in (
        "yours your configuration Best response to the deployed rule 3 of 10 members hostile, split natural 1.30",
        "Best response to the deployed rule · No defence", "Best response to the deployed rule · Yours",
        "not finite: rounds", "one run ended early",
        "PSNR 26.1 dB", "PSNR 5.2 dB, the mean image has 12.3 dB", "101 7592 1010 2088 999 102", "6 of 6 tokens",
        "Gradient inversion, analytic psnr does not apply 61.2 [58.0, 64.1] 9.8 [9.1, 10.4]",
        "yours your configuration Backdoor by data: a patch 1 black 15 3.1 nothing got through",
        "T9 Eavesdropping, alteration, injection, replay ○ not tested", "✕ not defended yet", "∅ invalid test",
        "ATLAS: T0020 exact, T0059 near", "NIST: .013, .012, .024", "OWASP: ML02", "ATLAS: none",
        "yours your configuration natural 91.2 % −4.1 points",
        "trimmed-mean told that 3 are hostile natural 94.8 % −0.5 points",
        "in 2 of 2 settings", "∅ invalid test in 0 of 2 settings", "Baruch et al., NeurIPS 2019",
        "holds up to 2.0 points, goal from 10.0 points", "95 %, by: bootstrap over seeds",
        "2,410 parameters, 10 classes", "5: 0–4", "veto on arc-caf not available no gate: nobody votes",
        "sybil-noise on multi-krum not tested 5 cells beyond the time budget", "3 hostile members are more than",
        result().command, result().config, "MITRE ATLAS 5.6.0",
    ):  # fmt: skip
        assert text in page.text, text


def test_an_attack_without_its_undefended_twin_says_that_none_was_tested() -> None:
    given = result()
    outcomes = tuple(one for one in given.outcomes if one.cell.defence != "none")
    assert "No defence not tested" in Page(render(replace(given, outcomes=outcomes))).text


def test_every_card_and_every_configuration_is_described(page: Page) -> None:
    for card in CARDS:
        assert card.does in page.text and card.paper in page.text and f"They want to {card.goal.words}." in page.text
    assert all(f" {one.name} {one.words} " in page.text for one in DEFENCES)


def test_an_empty_result_claims_nothing() -> None:
    page = Page(render(EMPTY))
    assert "No attack was played" in page.text and "Not tested is not the same as safe." in page.text
    assert page.text.count("not tested") > 10
    assert "✓ defended" not in page.text and not re.search(r"\d %", page.text.replace("95 %", ""))


# ----------------------------------------------------------------------------------------------- extremes and sameness


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300, -1e300, -1.0, 0.0])
def test_extreme_figures_are_drawn_within_the_picture_and_crash_nothing(value: float) -> None:
    given = result(rounds=3)
    figure = Figure(value, value, value, 5, "bootstrap")
    cells = tuple(replace(one, figure=figure, harm=value, accuracy=value, clean=value) for one in given.judged)
    image = Rebuilt((value,) * 9, (value,) * 4, (3, 3), "")
    outcomes = tuple(
        replace(one, series={"accuracy": (value, None, value), "backdoor": ()}, rebuilt=(image,))
        for one in given.outcomes
    )
    findings = tuple(replace(one, judged=cells[20]) for one in given.findings)
    worst = tuple(replace(one, harm=value) for one in given.worst)
    costs = tuple(replace(one, points=value, per_point=value) for one in given.costs)
    page = Page(render(replace(given, judged=cells, outcomes=outcomes, findings=findings, worst=worst, costs=costs)))
    drawn = [text for name, text in page.attributes if name in ("d", "x", "y", "cx", "cy", "width", "fill-opacity")]
    assert not any(re.search(r"nan|inf|e\+", text) for text in drawn)
    assert not re.search(r"\d{40}", page.text)


@pytest.mark.parametrize("shape", [(32, 32), (28, 28), (200, 3), (0, 0), (5,)])
def test_images_of_any_shape_are_shown_small(shape: tuple[int, ...]) -> None:
    size = math.prod(shape)
    image = Rebuilt(tuple(i / max(size, 1) for i in range(size)), (0.5,) * size, shape, "near")
    given = result(rounds=2)
    outcomes = tuple(replace(one, rebuilt=(image,) * 5) if one.rebuilt else one for one in given.outcomes)
    page = render(replace(given, outcomes=outcomes))
    assert len(page) < 400_000
    views = [value.split()[2:] for name, value in Page(page).attributes if name == "viewBox"]
    sides = [int(width) for width, height in views if width == height]
    assert all(side <= 32 for side in sides)


def test_the_largest_scenario_stays_under_two_megabytes_and_names_what_is_elsewhere() -> None:
    given = result(rounds=400, hostile=(1, 2, 3), splits=("natural", "iid", "dirichlet:0.1", "gamma:0.5"))
    more = [
        judged(f"alie-{i}", defence.name, hostile, "iid", "not held", figure=Figure(0.31, 0.2, 0.4, 5, "b"), harm=0.7)
        for i in range(120) for hostile in range(4, 9) for defence in DEFENCES
    ]  # fmt: skip
    findings = given.findings * 60
    page = render(replace(given, judged=(*given.judged, *more), findings=findings, notes=("n" * 5000,) * 500))
    assert len(page) < 2_000_000
    assert "cells is in redteam.json" in Page(page).text


def test_the_same_result_gives_the_same_bytes() -> None:
    assert render(result()) == render(result())
    assert render(hostile("x")) == render(hostile("x"))


# ------------------------------------------------------------------------------------------------------------- figures


def test_figures_in_words() -> None:
    assert with_unit(0.312, "points") == "31.2\u00a0points" and with_unit(0.97, "share") == "97.0\u00a0%"
    assert with_unit(math.inf, "dB") == "exact" and with_unit(math.nan, "share") == "not finite"
    assert with_unit(None, "share") == "not measured" and with_unit(7.31, "ratio") == "7.3"
    assert [brief(value, "share") for value in (0.0304, 0.0996, 0.31, -0.02, -0.0001, 1e300)] == [
        "3.0", "10", "31", "−2.0", "0.0", "1e+302",
    ]  # fmt: skip
    assert harm_in_words(0.999) == "1.00" and harm_in_words(None) == "not measured"
