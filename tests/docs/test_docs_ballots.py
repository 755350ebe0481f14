"""The two sentences on counts and votes are those of the committed measurement."""

from __future__ import annotations

import json
from typing import Any

from phalanx.config.refusals import MAX_TRIMMED_LIARS
from tests.docs.page import ROOT

RESULTS: dict[str, Any] = json.loads((ROOT / "benchmarks/results/ballots.json").read_text(encoding="utf-8"))


def loss(ballot: str, liars: int, see: int) -> str:
    """The smallest loss that is refused where `see` of ten members, with 50 held-out examples each, have it."""
    (row,) = (
        row
        for row in RESULTS["smallest_loss"]
        if (row["ballot"], row["members"], row["held_out"], row["liars"]) == (ballot, 10, 50, liars)
    )
    found = row["smallest_loss_by_members"][str(see)]
    return "never" if found is None else f"{found:.0%}".replace("%", " %")


def false(ballot: str, members: int) -> float:
    """The largest share of candidates that are no worse and were refused, with f liars who push."""
    rows = (row for row in RESULTS["false_refusals"] if (row["ballot"], row["members"]) == (ballot, members))
    return max(float(row["refused"]) for row in rows if row["liars"])


def sentences() -> tuple[str, str]:
    """What sharp-edges says, without its line breaks."""
    first = (
        f"With ten members, f = 3 and 50 held-out examples each, counts refuse what five members see from a loss of "
        f"{loss('counts', 0, 5)} at each ({loss('counts', 3, 5)} with three liars), votes never; what six see, "
        f"counts from {loss('counts', 0, 6)} ({loss('counts', 3, 6)}) and votes from {loss('votes', 0, 6)}, liars or "
        "not."
    )
    second = (
        f"But liars who push get candidates refused that are no worse: by counts up to {false('counts', 10):.1%} with "
        f"3 of ten voters and {false('counts', 31):.0%} with 10 of 31, by votes none in "
        f"{RESULTS['draws'] * 10} draws of any case."
    )
    return first, second.replace("%", " %")


def test_what_sharp_edges_says_of_counts_and_votes_was_measured() -> None:
    text = " ".join((ROOT / "docs/sharp-edges.md").read_text(encoding="utf-8").split())
    for sentence in sentences():
        assert sentence in text, "benchmarks/ballots.py was run again: write its figures into docs/sharp-edges.md"
    assert loss("votes", 3, 6) == loss("votes", 0, 6)
    assert false("votes", 10) == false("votes", 31) == 0


def test_counts_are_accepted_up_to_the_number_of_liars_that_was_measured() -> None:
    assert max(row["f"] for row in RESULTS["false_refusals"]) == MAX_TRIMMED_LIARS
