"""The demo's report: it says what was measured, and nothing that a member writes becomes more than text."""

from __future__ import annotations

import math
import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256

import pytest

from phalanx.gate import BLIND_SPOTS
from phalanx.redteam.demo.report import render
from phalanx.redteam.demo.result import DemoResult, Threat
from phalanx.redteam.demo.verdict import RUNS
from phalanx.report.wording import epsilon, percent
from phalanx.types import MemberId
from tests.redteam.demo.synthetic_demo import demo
from tests.report.page_reader import Page


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render(demo()))


def hostile(text: str) -> DemoResult:
    """A result in which each text that comes from outside is `text`."""
    result = demo(detail=text)
    bad = MemberId(text)
    run = result.runs["private-attacked"]
    rounds = tuple(
        replace(one, weights={**one.weights, bad: 0.1}, refused=((bad, text, text), *one.refused), gate_test=text)
        for one in run.rounds
    )
    run = replace(
        run, hostile={bad: text}, controls=text, rounds=rounds, per_site={**run.per_site, bad: 0.5}, unit=text
    )
    return replace(
        result,
        runs={**result.runs, "private-attacked": run, text: replace(run, name=text)},
        threats=(*result.threats, Threat(text, text, text, text, False, text)),
        split={**result.split, bad: (1,) * 10},
        hostile=(*result.hostile, bad),
        does_not_protect=(text,),
        public=text,
        fingerprint=text,
        verify_command=text,
        version=text,
    )


# ------------------------------------------------------------------------------------------------- nothing from outside


def test_a_script_in_a_refusal_detail_stays_text() -> None:
    attack = "</td><script>alert(1)</script>"
    page = render(demo(detail=attack))
    assert b"<script" not in page
    assert attack in Page(page).text


@pytest.mark.parametrize(
    "attack",
    [
        "<script>alert(1)</script>",
        '" onload="alert(1)',
        "'><img src=x>",
        "</style><b>",
        "</svg></main>",
        "&lt;",
        "]]>",
        "-->",
    ],
)
def test_hostile_texts_add_no_element_and_no_attribute(attack: str) -> None:
    innocent, attacked = Page(render(hostile("innocent"))), Page(render(hostile(attack)))
    assert sorted(set(attacked.elements)) == sorted(set(innocent.elements))
    assert len(attacked.elements) == len(innocent.elements)
    assert [name for name, _ in attacked.attributes] == [name for name, _ in innocent.attributes]
    assert attack in attacked.text


def test_the_hostile_fixture_reaches_the_page_unless_it_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The off twin: without escaping, the same text does become an element."""
    monkeypatch.setattr("phalanx.report.markup._escaped", lambda text: text)
    assert b"<script>alert(1)</script>" in render(demo(detail="<script>alert(1)</script>"))


def test_direction_changes_and_lone_surrogates_are_shown_by_number() -> None:
    page = render(demo(detail="a\u202eb\ud800c\x00d"))
    assert "a\\u202eb\\ud800c\\u0000d" in Page(page).text


def test_a_detail_of_a_million_characters_is_cut_and_says_so() -> None:
    page = render(demo(detail="x" * 1_000_000))
    assert len(page) < 400_000
    assert "(999840 more characters)" in Page(page).text


@pytest.mark.parametrize("result", [demo(), hostile("https://evil.example/x data:text/html,x")])
def test_the_page_refers_to_nothing_outside_itself(result: DemoResult) -> None:
    page = render(result)
    assert b"://" not in page and b"<script" not in page and b"url(" not in page and b"@import" not in page
    seen = Page(page)
    assert not {"script", "link", "img", "iframe", "object", "embed", "form", "base", "use", "image"} & set(
        seen.elements
    )
    names = {name for name, _ in seen.attributes}
    assert not {"src", "srcset", "action", "xlink:href", "style"} & names
    assert not any(name.startswith("on") for name in names)
    assert all(value.startswith("#s") for name, value in seen.attributes if name == "href")


def test_the_policy_forbids_everything_but_the_one_style_sheet() -> None:
    page = render(demo()).decode()
    style = re.search(r"<style>(.*?)</style>", page, re.S)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert style and policy and page.count("<style") == 1 and policy.start() < style.start()
    digest = b64encode(sha256(style[1].encode()).digest()).decode()
    allowed = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert policy[1].replace("&#x27;", "'") == allowed


# ------------------------------------------------------------------------------------------ it says what was measured


def test_every_run_is_named_and_its_figures_are_the_data(page: Page) -> None:
    result = demo()
    for name, run in result.runs.items():
        start = page.text.index("gate refused seconds")
        row = page.text[page.text.index(f" {name} {run.controls}", start) :][:300]
        shown = f"{100 * run.accuracy:.1f} % {100 * run.backdoor_success:.1f} %"
        assert (shown if run.finite else "not finite not finite") in row, name
        assert ("7.99" in row.split("seconds")[0]) or run.epsilon is None


def test_the_verdict_counts_what_held_and_names_what_did_not(page: Page) -> None:
    assert "Phalanx stopped five of six threats. Not stopped: Norm-matched backdoor, Multi-Krum." in page.text
    assert "Shown without any claim of a defence: Coordinator that reads updates." in page.text


def test_the_key_figures_are_those_of_the_attacked_private_run(page: Page) -> None:
    head = page.text[: page.text.index("What one update gives away")]
    assert "Accuracy under attack 90.1 % Undefended: backdoor 95.1 %, sign-flip 10.0 %, nan not finite." in head
    assert "Backdoor succeeds 3.4 % Undefended: 99.4 %." in head
    assert "ε = 7.99 Per example, added or removed; δ = 10⁻⁵." in head
    assert "1 of 10 org-02: not-finite." in head and "0 of 40" in head


def test_prices_leak_limits_and_verification_are_printed(page: Page) -> None:
    result = demo()
    for text in (
        "95.3 % 94.7 % −0.6 points", "94.7 % 91.2 % −3.5 points", "PSNR 61.2 dB", "PSNR 5.9 dB", "scores 12.3 dB",
        "refused 40 of 40", "not-finite 40 1–40 3 of 650 values are NaN", "class 8 1 3 3 × 10⁻⁵",
        result.verify_command, result.fingerprint, result.public, BLIND_SPOTS, *result.does_not_protect,
        "Phalanx 0.1.0 · seed 7 · 83.4 seconds",
    ):  # fmt: skip
        assert text in page.text, text


def test_every_chart_has_its_numbers_in_a_table(page: Page) -> None:
    run = demo().runs["private-attacked"]
    for one in run.rounds:
        assert percent(one.accuracy).replace("\u00a0", " ") in page.text
        assert epsilon(one.epsilon) in page.text
        assert all(percent(weight).replace("\u00a0", " ") in page.text for weight in one.weights.values())
    assert page.elements.count("details") == 6


def test_every_picture_has_words_and_hostile_members_are_marked_by_one(page: Page) -> None:
    described = sum(name in ("aria-label", "aria-hidden") for name, _ in page.attributes)
    assert described >= page.elements.count("svg")
    assert "org-00 · hostile" in page.text and "org-03 · hostile" not in page.text


@pytest.mark.parametrize("absent", RUNS)
def test_a_run_that_is_absent_says_not_run(absent: str) -> None:
    page = Page(render(demo(without=(absent,))))
    row = page.text[page.text.index("gate refused seconds") :]
    assert f" {absent} not run – – – – –" in row


def test_a_threat_whose_run_is_absent_did_not_hold() -> None:
    page = Page(render(demo(without=("private-norm-matched",))))
    assert "Phalanx stopped four of five threats." in page.text
    assert "Not run: Norm-matched backdoor." in page.text and "○ not run" in page.text


def test_a_result_without_any_run_invents_no_number() -> None:
    result = replace(demo(without=RUNS), threats=(), prices=(), does_not_protect=(), split={}, hostile=())
    page = Page(render(result))
    assert "nothing is claimed here" in page.text
    assert "Accuracy under attack not run Undefended: backdoor not run" in page.text
    assert not re.search(r"\d %", page.text.split("What one update")[0] + page.text.split("What the protection")[-1]
                         .split("What this does not")[0])  # fmt: skip


@pytest.mark.parametrize("members", [3, 10, 40])
@pytest.mark.parametrize("rounds", [1, 2, 40, 200])
def test_any_size_of_federation_gives_a_page_under_two_megabytes(members: int, rounds: int) -> None:
    page = render(demo(members=members, rounds=rounds))
    assert len(page) < 2_000_000
    seen = Page(page)
    assert not any(
        re.search(r"\b(nan|inf)\b", value) for name, value in seen.attributes if name in ("d", "x", "y", "cx")
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300, -1.0])
def test_figures_that_are_no_shares_are_drawn_nowhere_and_crash_nothing(value: float) -> None:
    result = demo(rounds=3)
    run = result.runs["private-attacked"]
    rounds = tuple(
        replace(
            one, accuracy=value, epsilon=value, gate_p=value, gate_passed=False, weights={m: value for m in one.weights}
        )
        for one in run.rounds
    )
    run = replace(run, accuracy=value, epsilon=value, delta=value, rounds=rounds, per_class=(value,) * 3,
                  per_site={m: value for m in run.per_site})  # fmt: skip
    leak = replace(result.leak, defended=(value,) * 64, psnr_undefended=math.inf, psnr_defended=value)
    page = render(replace(result, runs={**result.runs, "private-attacked": run}, leak=leak))
    drawn = [text for name, text in Page(page).attributes if name in ("d", "x", "y", "cx", "cy", "width")]
    assert not any(re.search(r"nan|inf|e\+", text) for text in drawn)


def test_a_page_is_the_same_bytes_every_time() -> None:
    assert render(demo()) == render(demo())
