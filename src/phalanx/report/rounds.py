"""The rounds of a run: each member's part in the model, refusals with their reasons, and the gate's decisions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from phalanx.gate import BLIND_SPOTS
from phalanx.report.bars import Bar, vote_bars
from phalanx.report.charts import WeightRow, weights_map
from phalanx.report.facts import RunReport
from phalanx.report.markup import Html, data, el, join, table
from phalanx.report.page import wide_chart
from phalanx.report.wording import finite, percent, ranges, shortened, small
from phalanx.round.coordinator import RoundRecord
from phalanx.types import MemberId, Refusal

_MOST_ROUNDS = 500  # in charts and tables: the last ones
_MOST_MEMBERS = 100
_MOST_ROWS = 120  # of refusals: how many there are is up to the attackers
_MOST_CELLS = 4000  # of the weights' table
_COMPARED = "Each candidate was compared with the model before it, on examples that never left their members"
_WHY_COUNTS = (
    f"{_COMPARED}: how many are lost, how many are won. A candidate is refused where the losses are more than chance "
    "explains."
)
_WHY_VOTES = f"{_COMPARED}. Each member votes against a candidate or not, by tests of its own; enough votes refuse it."


def shown(records: Sequence[RoundRecord]) -> Sequence[RoundRecord]:
    """The rounds that charts and tables show."""
    return records[-_MOST_ROUNDS:]


def refusals(record: RoundRecord) -> tuple[Refusal, ...]:
    """A round's refused answers: updates, then ballots."""
    return (*record.refused, *record.verdict.refused)


# ------------------------------------------------------------------------------------------------------------ members


def members(report: RunReport) -> tuple[Html, Html]:
    """Each member's part in each round, every refusal with its reason, and the last words of who declined."""
    why = (
        "The stronger a cell, the more of the round's model is that member's; a line through a cell is a refusal, and "
        "who was not asked has an empty one. Below is each refusal with its reason."
    )
    records = shown(report.records)
    chart = _map(report, records) if records else el("p", "No round was closed.")
    parts = (_left_out(report), chart, el("h3", "Refused answers"), _refusals(report), _messages(report))
    return el("p", why), join(*parts)


def _left_out(report: RunReport) -> Html:
    rest = len(report.records) - _MOST_ROUNDS
    return (
        el("p", f"Shown are the last {_MOST_ROUNDS} rounds; {rest} before them are in the log.") if rest > 0 else join()
    )


def _map(report: RunReport, records: Sequence[RoundRecord]) -> Html:
    parts = [dict(zip(record.accepted, record.weights, strict=False)) for record in records]
    out = [{one.member for one in record.refused} for record in records]
    known = sorted(set(report.members).union(*parts, *out))
    rows, listing = [], []
    cells = len(known) * len(records) <= _MOST_CELLS
    for member in known[:_MOST_MEMBERS]:
        weights = tuple(one.get(member, None if member in gone else 0.0) for one, gone in zip(parts, out, strict=True))
        refused = sum(weight is None for weight in weights)
        mean = _mean([one[member] for one in parts if member in one], refused)
        rows.append(WeightRow(member, False, weights, mean))
        each = [_cell(member, part, gone) for part, gone in zip(parts, out, strict=True)] if cells else []
        listing.append([member, mean, f"{refused}", *each])
    numbers = [record.round for record in records]
    head = ("member", "mean", "rounds refused", *(f"{number}" for number in numbers if cells))
    label = f"Part of {len(rows)} members in {len(numbers)} rounds; the table below has the numbers"
    chart = wide_chart("Part in the model, by member and round", _good(report), weights_map(label, rows, numbers))
    rest = len(known) - len(rows)
    more = el("p", f"{rest} more members are left out.") if rest > 0 else join()
    return join(chart, more, data(table(head, listing, numeric=range(1, len(head)))))


def _good(report: RunReport) -> str:
    if report.rule.gram:
        return f"Each member's weight under {report.rule}. Good: an even tone over the honest members."
    what = "the share of the model's coordinates at which a member's value was used"
    return f"Under {report.rule}: {what}. Good: an even tone over the honest members."


def _cell(member: MemberId, part: Mapping[MemberId, float], gone: Collection[MemberId]) -> str:
    """Who neither counted nor was refused was not asked."""
    return percent(part[member]) if member in part else "refused" if member in gone else "not asked"


def _mean(counted: Sequence[float], refused: int) -> str:
    """Over the rounds in which the member's update counted."""
    if not counted:
        return "always refused" if refused else "never asked"
    return f"{percent(sum(counted) / len(counted))}{f', {refused}× out' if refused else ''}"


def _refusals(report: RunReport) -> Html:
    """One row for each member, kind of answer and reason, with the first detail."""
    found: dict[tuple[MemberId, str, str], tuple[list[int], str]] = {}
    for record in report.records:
        for kind, refused in (("update", record.refused), ("ballot", record.verdict.refused)):
            for one in refused:
                found.setdefault((one.member, kind, str(one.reason)), ([], one.detail))[0].append(record.round)
    if not found:
        return el("p", "No answer of any member was refused.")
    rows = [
        [member, kind, reason, f"{len(numbers)}", ranges(sorted(set(numbers))), shortened(detail, 160)]
        for (member, kind, reason), (numbers, detail) in sorted(found.items())
    ]
    head = ("member", "answer", "reason", "times", "rounds", "first detail")
    rest = el("p", f"{len(rows) - _MOST_ROWS} more rows are left out.") if len(rows) > _MOST_ROWS else join()
    return join(table(head, rows[:_MOST_ROWS], numeric=(3,), stacked=True), rest)


def _messages(report: RunReport) -> Html:
    if not report.messages:
        return join()
    rows = [[member, shortened(text, 400)] for member, text in sorted(report.messages.items())]
    title = el("h3", "Members that took no part, in their own words")
    left = len(rows) - _MOST_MEMBERS
    rest = el("p", f"{left} more members are left out.") if left > 0 else join()
    return join(title, table(("member", "its last message"), rows[:_MOST_MEMBERS], stacked=True), rest)


# --------------------------------------------------------------------------------------------------------------- gate


def gate(report: RunReport) -> tuple[Html, Html]:
    """What the votes said of each candidate, and the evidence of each refusal."""
    votes = any(one.verdict.test == "votes" for one in report.records)
    why = _WHY_VOTES if votes else _WHY_COUNTS
    records = shown(report.records)
    aside = el("div", el("h3", "What the gate does not see"), el("p", BLIND_SPOTS), class_="aside")
    if not records:
        return el("p", why), join(el("p", "No candidate came before the gate."), aside)
    bars = [Bar(one.round, one.verdict.better, one.verdict.worse, one.verdict.passed) for one in records]
    what, up, down = ("Votes", "not against", "against") if votes else ("Held-out examples", "won", "lost")
    label = f"{what} {up} and {down} in {len(records)} rounds; the table below has the numbers"
    good = (
        f"Solid, above the line: {up}; hollow, below it: {down}, in the test that decided. Good: little below the "
        "line. A cross is a refused candidate. The scale is a square root's, so that few are still seen."
    )
    chart = wide_chart("Votes on each candidate", good, vote_bars(label, bars))
    head = ("round", "decision", "test that decided", down, up, "p-value", "voters")
    listing = data(table(head, [_decision(record) for record in records], numeric=(3, 4, 5, 6)))
    return el("p", why), join(_left_out(report), chart, listing, _refused(report, head), aside)


def _decision(record: RoundRecord) -> list[str]:
    verdict = record.verdict
    decided = "released" if verdict.passed else "refused"
    counts = (f"{verdict.worse}", f"{verdict.better}", small(finite(verdict.p_value)), f"{verdict.voters}")
    return [f"{record.round}", decided, verdict.test, *counts]


def _refused(report: RunReport, head: Sequence[str]) -> Html:
    rows = [_decision(record) for record in report.records if not record.verdict.passed]
    title = el("h3", "Refused by the gate")
    if not rows:
        return join(title, el("p", "The gate refused no candidate."))
    rest = el("p", f"{len(rows) - _MOST_ROWS} more rows are left out.") if len(rows) > _MOST_ROWS else join()
    return join(title, table(head, rows[:_MOST_ROWS], numeric=(3, 4, 5, 6), stacked=True), rest)
