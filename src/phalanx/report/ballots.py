"""What the voters themselves reported: the accuracies in the ballots of the last closed round."""

from __future__ import annotations

from collections.abc import Sequence

from phalanx.gate import SiteRow
from phalanx.report.facts import RunReport
from phalanx.report.markup import Html, data, el, join, table
from phalanx.report.wording import percent

_MOST = 100
_ROUNDING = 1e-9  # of a share in float64
_OPEN = 20  # in the open table: the worst


def by_own_ballots(report: RunReport) -> Html:
    """The members' own figures, worst first, or why they are hidden; nothing where no round was closed."""
    if not report.records:
        return join()
    last = report.records[-1]
    what = "released" if last.verdict.passed else "refused, so that it is not the model measured above"
    about = (
        f"What each voter says of round {last.round}'s candidate, which was {what}. Nobody checks these figures: a "
        "liar's is what it likes. Between real parties there are no others."
    )
    title = el("h3", "Accuracy by the members' own ballots")
    rows = last.sites.rows
    if not rows:
        return join(title, el("p", about), el("p", last.sites.hidden))
    if last.verdict.passed and _agree(rows, report):
        return join(title, el("p", f"{about} Here they are the same figures as those with controls, measured above."))
    few = rows if len(rows) <= _OPEN else rows[:_OPEN]
    rest = join() if len(rows) <= _OPEN else data(_table(rows[:_MOST]))
    left = len(rows) - _MOST
    more = el("p", f"{left} more members, all with higher figures, are left out.") if left > 0 else join()
    beside = el("div", el("div", el("p", about)), el("div", _table(few), rest, more), class_="grid two")
    return join(title, beside)


def _agree(rows: Sequence[SiteRow], report: RunReport) -> bool:
    """Whether every member that was measured reported what was measured, in the steps in which it reports."""
    return {row.member for row in rows} == set(report.accuracy) and all(
        row.low - _ROUNDING <= report.accuracy[row.member] <= row.high + _ROUNDING
        and row.held_out in (None, report.held_out.get(row.member))
        for row in rows
    )


def _table(rows: Sequence[SiteRow]) -> Html:
    counted = any(row.held_out is not None for row in rows)
    head = ["member", "accuracy"] + ["held out"] * counted
    listing = []
    for row in rows:
        share = percent(row.low) if row.low == row.high else f"{percent(row.low)} to {percent(row.high)}"
        examples = "not said" if row.held_out is None else f"{row.held_out:,}"
        listing.append([row.member, share] + [examples] * counted)
    return table(head, listing, numeric=range(1, len(head)))
