"""Who pays: the final model on each member's own held-out examples, beside what the member reaches alone."""

from __future__ import annotations

from collections.abc import Mapping

from phalanx.report.charts import DotRow, difference_bar, dot_plot, mark_key
from phalanx.report.facts import RunReport
from phalanx.report.markup import Html, data, el, join, table
from phalanx.report.wording import NOT_MEASURED, finite, percent, points
from phalanx.types import MemberId

_MOST = 100  # sites in the chart and its table: the worst
_WORST = 10  # in the open table


def key_figure(report: RunReport) -> tuple[str, str]:
    """The mean over the sites, and the worst site."""
    order = _worst_first(report)
    if not order:
        return NOT_MEASURED, "No member held out any examples that this process could see."
    worst = order[0]
    beside = "" if report.alone is None else f" Each alone: {percent(_mean(report.alone))}."
    return percent(_mean(report.accuracy)), f"Worst: {worst}, {percent(report.accuracy[worst])}.{beside}"


def accuracy(report: RunReport) -> tuple[Html, Html]:
    """The sites' accuracies, worst first."""
    order = _worst_first(report)
    if not order:
        return join(), el("p", f"Accuracy at the sites: {NOT_MEASURED}.")
    alone = report.alone or {}
    rows = [DotRow(m, False, (_at(report.accuracy, m), _at(alone, m))) for m in order[:_MOST]]
    label = f"Accuracy at {len(rows)} sites, worst first; the table has the numbers"
    chart = dot_plot(label, "accuracy on the site's own held-out examples", rows)
    names = [("●", "the last released model")] + ([("○", "training alone")] if report.alone is not None else [])
    keys = el("ul", *(el("li", mark_key(mark), name) for mark, name in names), class_="keys")
    left = el("figure", el("figcaption", el("h3", "Every site"), "Good: far to the right. Worst first."), chart)
    title = "The numbers" if len(order) <= _WORST else f"The {_WORST} worst sites"
    worst = el("div", el("h3", title), _table(report, order[:_WORST]))
    whole = data(_table(report, order[:_MOST])) if len(order) > _WORST else join()
    return _lead(report, order), join(keys, el("div", left, worst, class_="grid two"), whole)


def _lead(report: RunReport, order: list[MemberId]) -> Html:
    why = "An average can hide who pays, so the worst is on top. Each site is measured on its own held-out examples"
    fewest = min((report.held_out[m] for m in order if m in report.held_out), default=0)
    few = f": as few as {fewest}, where one example is {100 / fewest:.1f} points." if fewest else "."
    if report.alone is None:
        return join(el("p", why + few), el("p", f"Training alone, without the others: {NOT_MEASURED}."))
    better = sum(1 for m in order if _at(report.alone, m) is not None and report.accuracy[m] > report.alone[m])
    gain = points(_mean(report.alone), _mean(report.accuracy))
    joined = f"Together, {better} of {len(order)} sites do better than alone; on average {gain}."
    return join(el("p", why + few), el("p", joined))


def _table(report: RunReport, order: list[MemberId]) -> Html:
    counted, alone = bool(report.held_out), report.alone
    largest = max([abs(report.accuracy[m] - alone[m]) for m in order if m in alone], default=0.0) if alone else 0.0
    head = ["site", "together"] + ["alone", "loss | gain"] * (alone is not None) + ["held out"] * counted
    rows = []
    for member in order:
        row = [member, percent(report.accuracy[member])]
        if alone is not None:
            other = _at(alone, member)
            bar = "–" if other is None else difference_bar(other, report.accuracy[member], largest)
            row += [NOT_MEASURED if other is None else percent(other), bar]
        row += [f"{report.held_out.get(member, 0)}"] * counted
        rows.append(row)
    return table(head, rows, numeric=[at for at, name in enumerate(head) if at and name != "loss | gain"], stacked=True)


def _worst_first(report: RunReport) -> list[MemberId]:
    """Sites with a finite accuracy; one that is not finite would be no figure."""
    known = [m for m in report.accuracy if _at(report.accuracy, m) is not None]
    return sorted(known, key=lambda member: (report.accuracy[member], member))


def _at(shares: Mapping[MemberId, float], member: MemberId) -> float | None:
    return finite(shares.get(member))


def _mean(shares: Mapping[MemberId, float]) -> float | None:
    known = [share for share in map(finite, shares.values()) if share is not None]
    return sum(known) / len(known) if known else None
