"""Who pays: the four ways of training side by side, the verdict in words, and the voters' own figures under it."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest

from phalanx.gate import SiteRow, SiteTable
from phalanx.learning.baselines import Baselines
from phalanx.report import RunReport, render_run
from phalanx.report.charts import DotRow, dot_plot
from phalanx.report.wording import percent
from phalanx.types import MemberId
from tests.report.page_reader import Page
from tests.report.synthetic_report import run_report

A, B, C = (MemberId(name) for name in ("ward-000", "ward-001", "ward-002"))


def shares(*values: float) -> dict[MemberId, float]:
    return dict(zip((A, B, C), values, strict=True))


def of_three(here: dict[MemberId, float], alone: dict[MemberId, float], plain: dict[MemberId, float]) -> RunReport:
    """Three members, 40, 20 and 50 held-out examples."""
    return replace(
        run_report(members=3, rounds=2),
        accuracy=here,
        held_out=dict(zip((A, B, C), (40, 20, 50), strict=True)),
        baselines=Baselines(alone=alone, plain=plain, pooled=shares(0.99, 0.98, 0.97)),
    )


GAINS = of_three(shares(0.8, 0.7, 0.9), shares(0.75, 0.74, 0.8), shares(0.81, 0.75, 0.93))
LOSES = of_three(shares(0.8, 0.7, 0.9), shares(0.81, 0.74, 0.8), shares(0.81, 0.75, 0.93))


def text_of(report: RunReport) -> str:
    return Page(render_run(report)).text.replace("\u00a0", " ")


def section(report: RunReport, title: str, after: str) -> str:
    """From the section's heading to the next one's."""
    text = text_of(report)
    return text[text.rindex(title) : text.rindex(after)]


def sites(report: RunReport) -> str:
    return section(report, "Accuracy, site by site", "The controls in force")


# ------------------------------------------------------------------------------------------------------------- verdict


def test_the_verdict_counts_sites_and_takes_the_median_of_each_sites_own_difference() -> None:
    """By hand: gains are 5, -4 and 10 points, prices 1, 5 and 3."""
    seen = sites(GAINS)
    assert "2 of 3 sites are better off than alone, 1 worse off. At the median site the gain is +5.0 points." in seen
    assert "The controls cost 3.0 points at the median site and at the worst, ward-001, 5.0 points." in seen
    assert "The worst-served site is ward-001 with 70.0 %; alone it has 74.0 %." in seen


def test_a_federation_that_does_not_beat_training_alone_says_so_first_and_in_the_opening() -> None:
    """Gains are -1, -4 and 10 points: their mean, +1.7, would hide it."""
    verdict = "At the median site this federation does not beat training alone: −1.0 points. 1 of 3 sites is better off"
    lead = sites(LOSES).removeprefix("Accuracy, site by site").strip()
    assert lead.startswith(verdict)
    said = "At the median site it does not beat training alone (−1.0 points); at the worst-off site, ward-001, it loses"
    assert said in text_of(LOSES).split("Mean accuracy at sites")[0]


def test_twin_a_federation_that_beats_it_does_not_say_the_opposite() -> None:
    assert "does not beat" not in text_of(GAINS)


@pytest.mark.parametrize(("gain", "beats"), [(0.0, False), (0.0004, False), (0.0006, True), (-0.0006, False)])
def test_less_than_a_tenth_of_a_point_at_the_median_is_no_gain(gain: float, beats: bool) -> None:
    alone = shares(0.8, 0.7, 0.9)
    report = of_three({member: share + gain for member, share in alone.items()}, alone, alone)
    assert ("does not beat" not in text_of(report)) is beats


@pytest.mark.parametrize(
    ("plain", "words"),
    [
        (shares(0.8, 0.7, 0.9), "cost nothing at the median site and nothing at any other. "),
        (shares(0.8, 0.8, 0.9), "cost nothing at the median site and at the worst, ward-001, 10.0 points. "),
        (
            shares(0.7, 0.6, 0.8),
            "cost nothing at the median site, where they gain 10.0 points, and nothing at any other. ",
        ),
        (shares(0.9, 0.8, 1.0), "cost 10.0 points at the median site and at the worst, ward-000, 10.0 points. "),
    ],
)
def test_the_price_of_the_controls_is_said_whichever_way_it_goes(plain: dict[MemberId, float], words: str) -> None:
    assert words in sites(of_three(shares(0.8, 0.7, 0.9), shares(0.1, 0.1, 0.1), plain))


def test_one_example_of_the_smallest_site_is_worth_what_it_is() -> None:
    assert "The fewest are 20 examples, at ward-001: a difference of one example is 5.0 points there." in sites(GAINS)
    assert "a difference of one example" not in sites(replace(GAINS, held_out={}))


def test_a_site_that_was_not_measured_alone_is_in_no_median() -> None:
    made = GAINS.baselines
    assert made is not None
    partial = replace(GAINS, baselines=replace(made, alone={A: 0.75, B: math.nan}))
    seen = sites(partial)
    assert "1 of 1 site is better off than alone. At the median site the gain is +5.0 points." in seen
    assert "ward-002 50 not measured 93.0 % 90.0 % 97.0 % –" in seen
    assert "ward-001 with 70.0 %." in seen, "its own figure alone is none"


def test_members_without_a_figure_are_named() -> None:
    assert "Not measured: ward-002." in sites(replace(GAINS, accuracy={A: 0.8, B: 0.7}))
    assert "Not measured" not in sites(GAINS)


def test_a_run_that_ended_early_is_not_compared_silently_with_one_that_did_not() -> None:
    early = "This run closed 1 of 2 rounds, the baselines train for all."
    assert early in sites(replace(GAINS, records=GAINS.records[:1], finished=False)) and "train for all" not in sites(
        GAINS
    )


def test_without_baselines_nothing_is_compared_and_the_reason_is_said() -> None:
    text = sites(replace(GAINS, baselines=None))
    assert (
        "Training alone, without controls and pooled: not measured; they need report.baselines = true, and every "
        "member's data in one place." in text
    )
    assert "better off" not in text and "controls cost" not in text and " gain " not in text
    assert "member held out with controls ward-001 20 70.0 %" in text


# --------------------------------------------------------------------------------------------------- table and picture


def test_the_table_has_the_four_ways_worst_first_by_this_run() -> None:
    assert (
        "member held out alone without controls with controls pooled gain "
        "ward-001 20 74.0 % 75.0 % 70.0 % 98.0 % −4.0 points within chance "
        "ward-000 40 75.0 % 81.0 % 80.0 % 99.0 % +5.0 points within chance "
        "ward-002 50 80.0 % 93.0 % 90.0 % 97.0 % +10.0 points" in sites(GAINS)
    )


@pytest.mark.parametrize(("members", "open_rows"), [(10, 10), (20, 20), (21, 20), (60, 20), (130, 20)])
def test_the_open_table_has_the_twenty_worst_and_the_folded_one_the_hundred_worst(members: int, open_rows: int) -> None:
    report = run_report(members=members, rounds=1)
    order = sorted(report.accuracy, key=lambda member: report.accuracy[member])
    seen = sites(replace(report, records=()))
    rows = re.findall(r"(ward-\d+) 27 [\d.]+ % [\d.]+ % ([\d.]+ %)", seen)
    expected = [(member, percent(report.accuracy[member]).replace("\u00a0", " ")) for member in order]
    assert rows == expected[:open_rows] + (expected[:100] if members > 20 else [])
    assert ("The 100 worst sites" in seen) is (members > 100)


def test_each_way_has_its_own_mark_in_the_picture_and_in_the_legend() -> None:
    page = render_run(GAINS).decode()
    picture = re.search(r'<svg[^>]*aria-label="Accuracy at 3 sites.*?</svg>', page, re.S)
    assert picture
    marks = {kind: picture[0].count(f'class="{kind}"') for kind in ("dot ink", "ring", "tick", "cross")}
    assert marks == dict.fromkeys(marks, 3)
    for name in ("with controls: this run", "alone: each member", "without controls: plain", "pooled: one trainer"):
        assert name in page


def test_marks_that_coincide_are_all_seen() -> None:
    """The hollow one, whose inside is the paper, lies below; the filled one, the smallest, on top."""
    picture = dot_plot("one place", "share", [DotRow("a", False, (0.5, 0.5, 0.5, 0.5))])
    at = [picture.index(f'class="{kind}"') for kind in ("ring", "cross", "tick", "dot ink")]
    assert at == sorted(at)
    ring, dot = re.search(r'r="([\d.]+)" class="ring"', picture), re.search(r'r="([\d.]+)" class="dot ink"', picture)
    assert ring and dot and float(ring[1]) - float(dot[1]) > 1


def test_a_difference_of_two_examples_is_called_chance_and_one_of_three_is_not() -> None:
    """40, 20 and 50 held out: two, three and five examples."""
    report = of_three(shares(0.8, 0.7, 0.9), shares(0.75, 0.55, 0.8), shares(0.8, 0.7, 0.9))
    seen = sites(report)
    assert "At one site the difference is at most two examples: within chance." in seen
    assert "+5.0 points within chance" in seen and "+15.0 points within" not in seen
    assert "within chance" not in text_of(replace(report, held_out={})), "of how many is not known"


def test_the_opening_names_the_gain_at_the_median_and_at_the_worst_off_site() -> None:
    opening = text_of(GAINS).split("Accuracy, site by site")[0]
    assert (
        "At the median site it gains 5.0 points over training alone; at the worst-off site, ward-001, it loses 4.0 "
        "(at most two examples: within chance)." in opening
    )
    tile = "Gain over training alone, points +5.0 At the median site. Worst-off: ward-001, −4.0, within chance."
    assert tile in opening
    assert "Gain over training alone, points not measured" in text_of(replace(GAINS, baselines=None))


def test_inputs_that_train_badly_are_said_in_the_opening() -> None:
    warned = replace(GAINS, warnings=("columns differ in scale by 3,000x",))
    assert "Warning: columns differ in scale by 3,000x." in text_of(warned).split("Mean accuracy")[0]
    assert "Warning" not in text_of(GAINS)


# -------------------------------------------------------------------------------------------------------- own ballots


def reported(table: SiteTable, *, passed: bool = True) -> RunReport:
    last = GAINS.records[-1]
    verdict = replace(last.verdict, passed=passed)
    return replace(GAINS, records=(GAINS.records[0], replace(last, sites=table, verdict=verdict)))


def test_what_voters_say_of_themselves_stands_apart_and_unchecked() -> None:
    seen = sites(reported(SiteTable((SiteRow(B, 0.4, 0.4, 20), SiteRow(A, 1.0, 1.0, 9999)))))
    own = seen[seen.index("Accuracy by the members' own ballots") :]
    assert "Nobody checks these figures: a liar's is what it likes." in own
    assert "member accuracy held out ward-001 40.0 % 20 ward-000 100.0 % 9,999" in own
    assert "round 2's candidate, which was released." in own


def test_ballots_that_say_what_was_measured_are_not_printed_again() -> None:
    rows = (SiteRow(B, 0.7, 0.7, 20), SiteRow(A, 0.8, 0.8, 40), SiteRow(C, 0.9, 0.9, 50))
    same = "Here they are the same figures as those with controls, measured above."
    agreed = sites(reported(SiteTable(rows)))
    assert same in agreed and "member accuracy held out" not in agreed
    for other in (rows[:2], (*rows[:2], SiteRow(C, 0.91, 0.91, 50)), (*rows[:2], SiteRow(C, 0.9, 0.9, 51))):
        differ = sites(reported(SiteTable(other)))
        assert same not in differ and "member accuracy held out" in differ
    assert same not in sites(reported(SiteTable(rows), passed=False))


def test_votes_are_shown_as_the_bounds_that_they_are() -> None:
    own = sites(reported(SiteTable((SiteRow(B, 0.65, 0.7, None), SiteRow(A, 1.0, 1.0, None)))))
    assert "member accuracy ward-001 65.0 % to 70.0 % ward-000 100.0 %" in own


def test_a_hidden_table_gives_its_reason_and_no_figure() -> None:
    own = sites(reported(SiteTable((), "Hidden: 3 members reported an accuracy, shown from 5 on.")))
    own = own[own.index("Accuracy by the members' own ballots") :]
    assert "Hidden: 3 members reported an accuracy, shown from 5 on." in own and "%" not in own


def test_figures_of_a_refused_candidate_are_not_the_released_models() -> None:
    own = sites(reported(SiteTable((SiteRow(B, 0.4, 0.4, 20),)), passed=False))
    assert "which was refused, so that it is not the model measured above." in own


def test_without_a_closed_round_no_voter_is_quoted() -> None:
    assert "own ballots" not in sites(replace(GAINS, records=()))


# ------------------------------------------------------------------------------------------------- split and training


def test_the_split_is_said_in_words_with_its_own_statistic() -> None:
    """By hand: all together are half and half, so the distances are 0, 1/2 and 3/8, their median 3/8."""
    report = replace(GAINS, split={A: (30, 30), B: (60, 0), C: (10, 70)}, class_names=("well", "ill"))
    seen = section(report, "Who holds what", "How it was trained")
    assert (
        "Three members hold 200 examples, from 60 at ward-000 to 80 at ward-002. The median member's classes are "
        "37.5 % unlike those of all together, the most uneven one's, ward-001, 50.0 %." in seen
    )
    assert "ward-001 60 50.0 % 60 0" in seen


def test_a_split_of_one_member_compares_it_with_nobody() -> None:
    seen = section(replace(GAINS, split={A: (3, 4)}, class_names=None), "Who holds what", "How it was trained")
    assert "One member holds all 7 examples." in seen


def test_a_split_that_is_not_known_is_not_drawn() -> None:
    seen = section(replace(GAINS, split={}), "Who holds what", "How it was trained")
    assert "Examples by class: not known." in seen and "unlike" not in seen


def test_every_tensor_is_listed_and_beyond_a_dozen_folded() -> None:
    few = section(GAINS, "How it was trained", "The privacy budget")
    assert all(line in few for line in (*GAINS.travels, *GAINS.how_trained)) and "The other" not in few
    lines = tuple(f"layer-{i} 3×3: travels, 36 bytes" for i in range(700))
    many = section(replace(GAINS, travels=lines), "How it was trained", "The privacy budget")
    assert "The other 688 tensors" in many and lines[499] in many and lines[500] not in many
    assert "200 more are left out." in many


def test_what_was_not_recorded_of_the_training_is_not_invented() -> None:
    seen = section(replace(GAINS, travels=(), how_trained=()), "How it was trained", "The privacy budget")
    assert seen.count("Not recorded.") == 2
