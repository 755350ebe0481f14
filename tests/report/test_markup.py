"""The building blocks of reports: text stays text, and rounding never flatters."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phalanx.report.bars import Bar, vote_bars
from phalanx.report.markup import el, join
from phalanx.report.wording import epsilon, percent, points, ranges, short, small


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(), max_size=40))
def test_any_text_is_one_text_node(text: str) -> None:
    element = el("p", text, title=text)
    assert element.startswith('<p title="') and element.endswith("</p>")
    inside = element[len('<p title="') : -len("</p>")]
    assert "<" not in inside and inside.count('">') == 1 and inside.count(">") == 1
    element.encode("utf-8")


def test_markup_that_went_through_an_f_string_is_escaped_again() -> None:
    assert join(f"{el('b', 'x')}") == "&lt;b&gt;x&lt;/b&gt;"


def test_numbers_are_worded_without_flattery() -> None:
    assert [percent(v) for v in (0.953, None, math.nan)] == ["95.3\u00a0%", "not finite", "not finite"]
    assert [epsilon(v) for v in (7.99, 7.9901, None, math.inf)] == ["7.99", "8.00", "no bound", "no bound"]
    assert [points(0.953, v) for v in (0.947, 0.953, 0.96)] == [
        "−0.6\u00a0points",
        "0.0\u00a0points",
        "+0.7\u00a0points",
    ]
    assert [small(v) for v in (1e-5, 2.5e-6, 0.0, 0.4)] == ["10⁻⁵", "2.5 × 10⁻⁶", "0", "0.4"]
    assert ranges([1, 2, 3, 5, 7, 8]) == "1–3, 5, 7–8" and ranges([]) == ""
    assert ranges(range(1, 20, 2)) == "1, 3, 5, 7, and 6 more spans"
    assert len(short("a" * 63)) <= 16 and short("org-00") == "org-00"


# ---------------------------------------------------------------------------------------------------------------- bars


def _heights(picture: str, kind: str) -> list[float]:
    drawn = re.search(rf'<path d="([^"]*)" class="{kind}"', picture)
    assert drawn
    return [abs(float(height)) for height in re.findall(r"v(-?[0-9.]+)", drawn[1])]


def test_bars_are_as_high_as_the_square_roots_of_their_counts() -> None:
    picture = vote_bars("votes", [Bar(1, 100, 0, True), Bar(2, 25, 4, True), Bar(3, 0, 1, False)])
    won, lost = _heights(picture, "cell ink"), _heights(picture, "ring")
    unit = won[0] / 10
    assert won == pytest.approx([10 * unit, 5 * unit], abs=0.1)  # drawn to a tenth
    assert lost == pytest.approx([2 * unit, unit], abs=0.1)


def test_only_refused_rounds_are_crossed() -> None:
    bars = [Bar(1, 1, 0, True), Bar(2, 1, 9, False), Bar(3, 0, 0, False)]
    crossed = re.search(r'<path d="([^"]*)" class="struck"', vote_bars("votes", bars))
    assert crossed and crossed[1].count("M") == 2


@pytest.mark.parametrize("counts", [(0, 0), (10**9, 0), (0, 10**9), (1, 1)])
def test_bars_of_any_counts_stay_in_the_picture(counts: tuple[int, int]) -> None:
    picture = vote_bars("votes", [Bar(1, *counts, True)])
    size = re.search(r'viewBox="0 0 860 ([0-9]+)"', picture)
    assert size and "nan" not in picture and "inf" not in picture
    assert all(0 <= height <= float(size[1]) for kind in ("cell ink", "ring") for height in _heights(picture, kind))
