"""Who pays: the final model on each member's own held-out examples, beside the same members trained in other ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from phalanx.report.charts import DotRow, dot_plot, mark_key
from phalanx.report.facts import RunReport
from phalanx.report.markup import Html, data, el, join, table
from phalanx.report.wording import NOT_MEASURED, count, finite, listed, percent, points, word
from phalanx.types import MemberId

Shares = Mapping[MemberId, float]

_MOST = 100  # sites in the chart and its table: the worst
_OPEN = 20  # in the open table: the worst
_CHANCE = 2  # held-out examples: a difference of no more says nothing
_FEW_EXAMPLES = f"at most {word(_CHANCE)} examples"
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
        el("h3", "The numbers" if len(order) <= _OPEN else f"The {_OPEN} worst sites"),
        _table(report, order[:_OPEN]),
        join() if len(order) <= _OPEN else data(_table(report, shown)),
    )
    return _lead(report, order), content


def gain_figure(report: RunReport) -> tuple[str, str]:
    """The median site's gain over training alone, and the worst-off site's."""
    gains = _over_alone(report)
    if not gains:
        return NOT_MEASURED, "Nobody was trained alone for comparison."
    worst = _worst_off(gains)
    chance = ", within chance" if _by_chance(report, worst, gains[worst]) else ""
    return _signed(median(gains.values())), f"At the median site. Worst-off: {worst}, {_signed(gains[worst])}{chance}."


def gain_in_words(report: RunReport) -> str:
    """The same as a sentence with a space after it; nothing where it was not measured."""
    gains = _over_alone(report)
    if not gains:
        return ""
    middle = median(gains.values())
    worst = _worst_off(gains)
    chance = f" ({_FEW_EXAMPLES}: within chance)" if _by_chance(report, worst, gains[worst]) else ""
    lead = (
        f"At the median site it gains {_size(middle)} points over training alone"
        if _beats(middle)
        else f"At the median site it does not beat training alone ({points(0.0, middle)})"
    )
    change = f"{'loses' if gains[worst] < 0 else 'gains'} {_size(gains[worst])}{chance}"
    return f"{lead}; at the worst-off site, {worst}, it {change}. "


# ----------------------------------------------------------------------------------------------------------- in words


def _lead(report: RunReport, order: Sequence[MemberId]) -> Html:
    what = "An average can hide who pays, so the worst is on top. Each site is measured on its own held-out examples."
    missing = [member for member in report.members if member not in order]
    without = f" Not measured: {listed(missing)}." if missing else ""
    return join(*_verdict(report, order), el("p", f"{what}{_one_example(report, order)}{without}"))


def _verdict(report: RunReport, order: Sequence[MemberId]) -> list[Html]:
    """The sentences that matter. Each difference is one site's own, and the median is over the sites."""
    made, worst, gains = report.baselines, order[0], _over_alone(report)
    served = f"The worst-served site is {worst} with {percent(report.accuracy[worst])}"
    if made is None or not gains:
        why = "they need report.baselines = true, and every member's data in one place"
        nothing = f"Training alone, without controls and pooled: {NOT_MEASURED}; {why}."
        return [el("p", nothing), el("p", f"{served}.")]
    beside = "" if (share := _at(made.alone, worst)) is None else f"; alone it has {percent(share)}"
    chance = sum(_by_chance(report, member, gain) for member, gain in gains.items())
    lead = _against_alone(list(gains.values()))
    few = f" At {count(chance, 'site')} the difference is {_FEW_EXAMPLES}: within chance." if chance else ""
    return [el("p", el("strong", lead), few), el("p", f"{_price(_gains(report, made.plain))}{served}{beside}.")]


def _against_alone(gains: Sequence[float]) -> str:
    better, worse = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
    sites = (
        f"{better} of {len(gains)} site{'s' * (len(gains) > 1)} {'is' if better == 1 else 'are'} better off than alone"
    )
    sites += f", {worse} worse off." if worse else "."
    change = points(0.0, median(gains))
    if _beats(median(gains)):
        return f"{sites} At the median site the gain is {change}."
    return f"At the median site this federation does not beat training alone: {change}. {sites}"


def _price(gains: Mapping[MemberId, float]) -> str:
    """What the controls cost against plain federated averaging, where that was measured: median and worst site."""
    if not gains:
        return ""
    change = round(100 * median(gains.values()), 1)
    worst = _worst_off(gains)
    most = -gains[worst]
    at_worst = f"at the worst, {worst}, {_size(most)} points" if round(100 * most, 1) > 0 else "nothing at any other"
    if change < 0:
        return f"The controls cost {-change:.1f}\u00a0points at the median site and {at_worst}. "
    gain = f", where they gain {change:.1f}\u00a0points," if change else ""
    return f"The controls cost nothing at the median site{gain} and {at_worst}. "


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
            row.append("–" if alone is None else _gain_cell(report, member, alone))
        rows.append(row)
    return table(head, rows, numeric=range(1, len(head)), stacked=True)


def _gain_cell(report: RunReport, member: MemberId, alone: float) -> Html:
    """The difference; grey, and called chance in words, where it is of very few examples."""
    here = report.accuracy[member]
    if not _by_chance(report, member, here - alone):
        return el("span", points(alone, here))
    return el("span", points(alone, here), " ", el("small", "within chance"), class_="soft")


# ------------------------------------------------------------------------------------------------------------- shares


def _ways(report: RunReport) -> list[Shares]:
    """In the order of the legend."""
    made = report.baselines
    return [report.accuracy] if made is None else [report.accuracy, made.alone, made.plain, made.pooled]


def _gains(report: RunReport, baseline: Shares) -> dict[MemberId, float]:
    """This run less the baseline, at each site that has both."""
    return {
        member: report.accuracy[member] - share
        for member in _worst_first(report)
        if (share := _at(baseline, member)) is not None
    }


def _over_alone(report: RunReport) -> dict[MemberId, float]:
    return {} if report.baselines is None else _gains(report, report.baselines.alone)


def _worst_off(gains: Mapping[MemberId, float]) -> MemberId:
    """Of equal ones, but for rounding, the first by name."""
    return min(gains, key=lambda member: (round(gains[member], 9), member))


def _beats(gain: float) -> bool:
    """Less than a tenth of a point is no gain."""
    return round(100 * gain, 1) > 0


def _by_chance(report: RunReport, member: MemberId, difference: float) -> bool:
    """Whether so few held-out examples differ that it says nothing; False where their number is not known."""
    held = report.held_out.get(member)
    return bool(held) and round(abs(difference) * (held or 0)) <= _CHANCE


def _size(difference: float) -> str:
    return f"{abs(round(100 * difference, 1)):.1f}"


def _signed(difference: float) -> str:
    return points(0.0, difference).removesuffix("\u00a0points")


def _worst_first(report: RunReport) -> list[MemberId]:
    """Sites with a finite accuracy; one that is not finite would be no figure."""
    known = [m for m in report.accuracy if _at(report.accuracy, m) is not None]
    return sorted(known, key=lambda member: (report.accuracy[member], member))


def _at(shares: Shares, member: MemberId) -> float | None:
    return finite(shares.get(member))


def _known(shares: Shares, order: Sequence[MemberId]) -> list[float]:
    return [share for share in (_at(shares, member) for member in order) if share is not None]
