"""The picture of a split: true to scale, most uneven first, readable without the tones, and bounded in size."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phalanx.report.markup import Html
from phalanx.report.split import render_split
from phalanx.types import MemberId
from tests.report.page_reader import Page

A, B, C = MemberId("a"), MemberId("b"), MemberId("c")
Counts = dict[MemberId, tuple[int, ...]]


def read(picture: Html) -> Page:
    return Page(picture.encode())


def bars(picture: Html) -> list[tuple[str, float, float, float]]:
    """(what it says, left, top, width) of each segment, gap not counted."""
    found = re.findall(r'<title>([^<]*)</title><path d="M([\d.]+) ([\d.]+)h([\d.]+)v', picture)
    return [(title, float(x), float(y), float(wide)) for title, x, y, wide in found]


def federation(members: int, classes: int) -> Counts:
    drawn = np.random.default_rng(1).poisson(3.0, (members, classes))
    return {MemberId(f"member-{i}"): tuple(row) for i, row in enumerate(drawn.tolist())}


COUNTS: Counts = {A: (30, 30), B: (60, 0), C: (10, 70)}


def test_the_table_has_every_count_the_distance_and_the_totals_most_uneven_first() -> None:
    """By hand: all together are half and half, so the distances are 0, 1/2 and 3/8."""
    text = read(render_split(COUNTS, ("well", "ill"))).text
    table = text[text.index("The data as a table") :]
    assert " ".join(table.split()) == (
        "The data as a table member examples unlike all well ill "
        "b 60 50.0 % 60 0 c 80 37.5 % 10 70 a 60 0.0 % 30 30 all members 200 0.0 % 100 100"
    )


def test_bars_are_to_one_scale_and_segments_follow_each_other_in_the_order_of_the_classes() -> None:
    found = bars(render_split(COUNTS, None))
    assert [title for title, *_ in found] == [
        "b, class 0: 60", "c, class 0: 10", "c, class 1: 70", "a, class 0: 30", "a, class 1: 30",
    ]  # fmt: skip
    unit = (860 - 150 - 170) / 80
    assert [wide for *_, wide in found] == [pytest.approx(n * unit - 1, abs=0.06) for n in (60, 10, 70, 30, 30)]
    assert [x for _, x, _, _ in found] == [pytest.approx(150 + n * unit, abs=0.06) for n in (0, 0, 10, 0, 30)]


def test_a_segment_says_its_class_in_words_where_there_is_room_and_always_in_its_title() -> None:
    picture = render_split({A: (60, 1), B: (60, 0)}, ("healthy", "pneumonia"))
    assert re.findall(r"<text [^>]*>(healthy|pneumonia)</text>", picture) == ["healthy", "healthy"]
    assert "<title>a, class pneumonia: 1</title>" in picture


@pytest.mark.parametrize("classes", [2, 3, 12, 13, 100])
def test_no_two_classes_have_one_tone_and_none_a_tone_on_which_nothing_can_be_read(classes: int) -> None:
    picture = render_split({A: (1,) * classes, B: (1,) * classes}, None)
    keys = picture[: picture.index("<figure")]
    tones = [float(tone) for tone in re.findall(r'fill-opacity="([\d.]+)"', keys)]
    assert len(tones) == classes and all(before <= after for before, after in pairwise(tones))
    assert not any(0.4 < tone < 0.6 for tone in tones)
    assert classes > 60 or len(set(tones)) == classes, "tones are written with two decimals"


def test_the_key_names_every_class_or_the_first_and_the_last() -> None:
    few, many = (read(render_split(federation(3, classes), None)).text for classes in (12, 13))
    assert few.split()[:12] == [str(number) for number in range(12)]
    assert " ".join(many.split()).startswith("class 0 class 12, 13 in all ")


@pytest.mark.parametrize(
    ("members", "said"),
    [
        (2, None),
        (40, None),
        (41, "One other member, none more uneven than these, is not shown."),
        (1000, "960 other members, none more uneven than these, are not shown."),
    ],
)
def test_at_most_forty_members_are_shown_and_the_rest_counted(members: int, said: str | None) -> None:
    seen = read(render_split(federation(members, 5), None))
    assert seen.elements.count("tr") == 1 + min(members, 40) + 1
    assert (said in seen.text) if said else ("not shown" not in seen.text)


def test_those_left_out_are_no_more_uneven_than_those_shown() -> None:
    counts = {**{MemberId(f"even-{i}"): (5, 5) for i in range(60)}, MemberId("zz-odd"): (9, 1), B: (1, 9)}
    text = read(render_split(counts, None)).text
    assert text.index(" b ") < text.index(" zz-odd ") < text.index(" even-0 ") and "even-9 " not in text
    assert "all members 620 0.0 % 310 310" in text, "those that are not shown are counted"


def test_a_member_without_examples_comes_first_and_gets_no_figure() -> None:
    picture = render_split({A: (5, 5), B: (0, 0)}, None)
    assert "b 0 – 0 0 a 10 0.0" in read(picture).text
    assert {title[0] for title, *_ in bars(picture)} == {"a"}


def test_a_federation_without_any_example_is_drawn_without_a_bar() -> None:
    assert bars(render_split({A: (0, 0), B: (0, 0)}, None)) == []


@given(st.lists(st.lists(st.integers(0, 10**6), min_size=3, max_size=3), min_size=1, max_size=6))
def test_no_bar_leaves_its_column_and_no_number_is_none(rows: list[list[int]]) -> None:
    picture = render_split({MemberId(f"m-{i}"): (a, b, c) for i, (a, b, c) in enumerate(rows)}, None)
    assert not [bar for bar in bars(picture) if not (bar[1] >= 150 and bar[1] + bar[3] <= 690.2)]
    drawn = [value for name, value in read(picture).attributes if name in ("d", "x", "y", "width")]
    assert not any(re.search(r"nan|inf|e[+-]|h-[\d.]+v", value) for value in drawn)


@pytest.mark.parametrize(("members", "classes"), [(2, 2), (2, 100), (1000, 2), (1000, 100)])
def test_any_federation_up_to_a_thousand_members_and_a_hundred_classes_is_under_a_megabyte(
    members: int, classes: int
) -> None:
    picture = render_split(federation(members, classes), None)
    assert len(picture) < 1_000_000 and read(picture).elements.count("svg") >= 2


def test_beyond_four_thousand_cells_the_table_has_no_column_for_each_class() -> None:
    seen = [read(render_split(federation(40, classes), None)).elements.count("th") for classes in (100, 101)]
    assert seen == [3 + 100 + 41, 3 + 41]


@pytest.mark.parametrize("attack", ["<script>alert(1)</script>", '" onload="alert(1)', "</title></svg>", "\u202eabc"])
def test_names_of_classes_and_members_stay_text(attack: str) -> None:
    def picture(text: str) -> Page:
        return read(render_split({MemberId(text): (9, 1), B: (5, 5)}, (text, "other")))

    plain, attacked = picture("x" * len(attack)), picture(attack)
    assert [e for e in attacked.elements if e != "text"] == [e for e in plain.elements if e != "text"]
    assert not {"script", "img"} & set(attacked.elements) and "\u202e" not in attacked.text
    assert {name for name, _ in attacked.attributes} == {name for name, _ in plain.attributes}
    assert not {"style", "onload"} & {name for name, _ in attacked.attributes}


def test_the_same_counts_give_the_same_picture_in_any_order() -> None:
    assert render_split(COUNTS, None) == render_split(dict(reversed(COUNTS.items())), None)


@pytest.mark.parametrize(
    ("counts", "names", "said"),
    [
        ({}, None, "each member needs a count for each of the same classes, got [] counts"),
        ({A: ()}, None, "got [0] counts"),
        ({A: (1, 2), B: (1,)}, None, "got [1, 2] counts"),
        ({A: (1, -2)}, None, "a number of examples is 0 or more"),
        ({A: (1, 2)}, ("one",), "1 names for 2 classes"),
    ],
)
def test_counts_that_are_none_are_a_programmers_error(counts: Counts, names: tuple[str, ...] | None, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        render_split(counts, names)
