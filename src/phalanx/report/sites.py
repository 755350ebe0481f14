"""Who pays: the final model on each member's own held-out examples, beside the same members trained in other ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from phalanx.report.charts import DotRow, dot_plot, mark_key
from phalanx.report.facts import RunReport
from phalanx.report.markup import Html, data, el, join, table
from phalanx.report.wording import NOT_MEASURED, count, finite, listed, percent, points
from phalanx.types import MemberId

Shares = Mapping[MemberId, float]

_MOST = 100  # sites in the chart and its table: the worst
_WORST = 10  # in the open table
_LEGEND = (
    ("●", "with controls: this run's last released model"),
    ("○", "alone: each member by itself, for all planned rounds"),
    ("|", "without controls: plain federated averaging of all members, weighted by examples"),
    ("×", "pooled: one trainer with everybody's examples, which only a simulation has"),
)


def key_figure(report: RunReport) -> tuple[str, str]:
    """The mean over the sites, and the worst site."""
    order = _worst_first(report)
    if not order:
        return NOT_MEASURED, "No member held out any examples that this process could see."
    worst = order[0]
    alone = [] if report.baselines is None else _known(report.baselines.alone, order)
    beside = f" Each alone: {percent(sum(alone) / len(alone))}." if alone else ""
    mean = _known(report.accuracy, order)
    return percent(sum(mean) / len(mean)), f"Worst: {worst}, {percent(report.accuracy[worst])}.{beside}"


def accuracy(report: RunReport) -> tuple[Html, Html]:
    """What stands beside the title, the verdict first; then the sites' accuracies, worst first."""
    order = _worst_first(report)
    if not order:
        return join(), el("p", f"Accuracy at the sites: {NOT_MEASURED}.")
    shown = order[:_MOST]
    ways = _ways(report)
    rows = [DotRow(member, False, tuple(_at(way, member) for way in ways)) for member in shown]
    label = f"Accuracy at {len(rows)} sites, worst first; the table has the numbers"
    chart = dot_plot(label, "accuracy on the site's own held-out examples", rows)
    title = f"The {len(shown)} worst sites" if len(shown) < len(order) else "Every site"
    keys = el("ul", *(el("li", mark_key(mark), name) for mark, name in _LEGEND[: len(ways)]), class_="keys")
    figure = el("figure", el("figcaption", el("h3", title), "Good: far to the right. Worst first."), chart)
    content = join(
        el("div", el("div", keys, _about_the_controls(report)), figure, class_="grid two"),
        el("h3", "The numbers" if len(order) <= _WORST else f"The {_WORST} worst sites"),
        _table(report, order[:_WORST]),
        join() if len(order) <= _WORST else data(_table(report, shown)),
    )
    return _lead(report, order), content


def beats_training_alone(report: RunReport) -> bool | None:
    """Whether the median site gains over training alone, to a tenth of a point; None where that was not measured."""
    gains = [] if report.baselines is None else _gains(report, report.baselines.alone)
    return round(100 * median(gains), 1) > 0 if gains else None


# ----------------------------------------------------------------------------------------------------------- in words


def _lead(report: RunReport, order: Sequence[MemberId]) -> Html:
    what = "An average can hide who pays, so the worst is on top. Each site is measured on its own held-out examples."
    missing = [member for member in report.members if member not in order]
    without = f" Not measured: {listed(missing)}." if missing else ""
    return join(*_verdict(report, order), el("p", f"{what}{_one_example(report, order)}{without}"))


def _verdict(report: RunReport, order: Sequence[MemberId]) -> list[Html]:
    """The sentences that matter. Each difference is one site's own, and the median is over the sites."""
    made, worst = report.baselines, order[0]
    served = f"The worst-served site is {worst} with {percent(report.accuracy[worst])}"
    beaten = beats_training_alone(report)
    if made is None or beaten is None:
        why = "they need report.baselines = true, and every member's data in one place"
        nothing = f"Training alone, without controls and pooled: {NOT_MEASURED}; {why}."
        return [el("p", nothing), el("p", f"{served}.")]
    beside = "" if (share := _at(made.alone, worst)) is None else f"; alone it has {percent(share)}"
    lead = _against_alone(_gains(report, made.alone), beaten)
    return [el("p", el("strong", lead)), el("p", f"{_price(_gains(report, made.plain))}{served}{beside}.")]


def _against_alone(gains: Sequence[float], beaten: bool) -> str:
    better, worse = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
    sites = (
        f"{better} of {len(gains)} site{'s' * (len(gains) > 1)} {'is' if better == 1 else 'are'} better off than alone"
    )
    sites += f", {worse} worse off." if worse else "."
    change = points(0.0, median(gains))
    if beaten:
        return f"{sites} At the median site the gain is {change}."
    return f"At the median site this federation does not beat training alone: {change}. {sites}"


def _price(gains: Sequence[float]) -> str:
    """What the controls cost against plain federated averaging, where that was measured."""
    if not gains:
        return ""
    change = round(100 * median(gains), 1)
    if change < 0:
        return f"The controls cost {points(0.0, -median(gains)).removeprefix('+')} at the median site. "
    gain = f": with them it has {points(0.0, median(gains))}" if change else ""
    return f"The controls cost nothing at the median site{gain}. "


def _one_example(report: RunReport, order: Sequence[MemberId]) -> str:
    held = [(report.held_out[member], member) for member in order if report.held_out.get(member)]
    if not held:
        return ""
    fewest, member = min(held)
    examples = count(fewest, "example")
    return f" The fewest are {examples}, at {member}: a difference of one example is {100 / fewest:.1f} points there."


def _about_the_controls(report: RunReport) -> Html:
    if report.baselines is None:
        return join()
    what = (
        "What the controls cost is the difference to plain federated averaging, with whatever else this run does: who "
        "is asked in a round, the server's optimiser, FedProx or SCAFFOLD. The baselines add no noise and protect "
        "nobody."
    )
    closed = len(report.records)
    early = f" This run closed {closed} of {report.planned} rounds, the baselines train for all."
    return el("p", f"{what}{early if closed < report.planned else ''}", class_="soft")


# -------------------------------------------------------------------------------------------------------------- table


def _table(report: RunReport, order: Sequence[MemberId]) -> Html:
    made, counted = report.baselines, bool(report.held_out)
    head = ["member"] + ["held out"] * counted
    head += ["with controls"] if made is None else ["alone", "without controls", "with controls", "pooled", "gain"]
    ways: list[Shares] = [report.accuracy]
    if made is not None:
        ways = [made.alone, made.plain, report.accuracy, made.pooled]
    rows = []
    for member in order:
        row = [member] + [f"{report.held_out.get(member, 0):,}"] * counted
        row += [NOT_MEASURED if (share := _at(way, member)) is None else percent(share) for way in ways]
        if made is not None:
            alone = _at(made.alone, member)
            row.append("–" if alone is None else points(alone, report.accuracy[member]))
        rows.append(row)
    return table(head, rows, numeric=range(1, len(head)), stacked=True)


# ------------------------------------------------------------------------------------------------------------- shares


def _ways(report: RunReport) -> list[Shares]:
    """In the order of the legend."""
    made = report.baselines
    return [report.accuracy] if made is None else [report.accuracy, made.alone, made.plain, made.pooled]


def _gains(report: RunReport, baseline: Shares) -> list[float]:
    """This run less the baseline, at each site that has both."""
    return [
        report.accuracy[member] - share
        for member in _worst_first(report)
        if (share := _at(baseline, member)) is not None
    ]


def _worst_first(report: RunReport) -> list[MemberId]:
    """Sites with a finite accuracy; one that is not finite would be no figure."""
    known = [m for m in report.accuracy if _at(report.accuracy, m) is not None]
    return sorted(known, key=lambda member: (report.accuracy[member], member))


def _at(shares: Shares, member: MemberId) -> float | None:
    return finite(shares.get(member))


def _known(shares: Shares, order: Sequence[MemberId]) -> list[float]:
    return [share for share in (_at(shares, member) for member in order) if share is not None]
