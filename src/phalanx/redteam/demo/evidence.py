"""The report's measurements: by round, by member, by class, by site, and the privacy that was spent."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence

from phalanx.redteam.demo.result import DemoResult, RoundResult, RunResult
from phalanx.redteam.demo.verdict import DEFENDED, names
from phalanx.report.charts import Axes, DotRow, Series, WeightRow, dot_plot, lines, mark_key, weights_map
from phalanx.report.markup import Html, data, el, join, table
from phalanx.report.page import wide_chart
from phalanx.report.spent import epsilon_in_words, spent_by_round
from phalanx.report.wording import NOT_RUN, finite, listed, percent, ranges, shortened, small
from phalanx.types import MemberId

_QUIET = ("clean", "robust", "private", "alone", "pooled")  # runs in which nobody attacks
_COMPARED = (DEFENDED, "clean", "alone", "pooled")
_MOST_ROWS = 120  # refusal rows: how many there are is up to the attackers


# ----------------------------------------------------------------------------------------------------------- by round


def by_round(result: DemoResult) -> tuple[Html, Html]:
    """Accuracy and backdoor success of every attacked run, as small multiples on the same axes."""
    why = (
        "A good run has the solid line high and the dotted line low. All charts share their axes: rounds across, per "
        "cent of the lab's test images up."
    )
    lead = el("p", why)
    shown = [name for name in names(result) if _attacked(name, result.runs.get(name))]
    last = max([one.round for name in shown if name in result.runs for one in result.runs[name].rounds], default=1)
    axes = Axes(max(last, 1), ((0, "0 %"), (0.5, "50 %"), (1, "100 %")), 1.0)
    keys = el(
        "ul",
        el("li", mark_key("ink"), "accuracy: high is good"),
        el("li", mark_key("harm"), "backdoor success: low is good"),
        class_="keys",
    )
    panels = [_panel(name, result.runs.get(name), axes) for name in shown]
    return lead, join(keys, el("div", *panels, class_="grid many"), data(_rounds_table(result, shown)))


def _attacked(name: str, run: RunResult | None) -> bool:
    return bool(run.hostile) if run is not None else name not in _QUIET


def _panel(name: str, run: RunResult | None, axes: Axes) -> Html:
    if run is None or not run.rounds:
        why = NOT_RUN if run is None else "no rounds recorded"
        return el("figure", el("figcaption", el("h3", name)), el("div", why, class_="absent"))
    hostile = listed([f"{member} {how}" for member, how in run.hostile.items()])
    chart = lines(
        f"{name}: accuracy ends at {percent(run.rounds[-1].accuracy)}, backdoor success at "
        f"{percent(run.rounds[-1].backdoor_success)}",
        (_series(run, "ink", lambda one: one.accuracy), _series(run, "harm", lambda one: one.backdoor_success)),
        axes,
    )
    return el("figure", el("figcaption", el("h3", name), hostile), chart)


def _series(run: RunResult, style: str, share: Callable[[RoundResult], float | None]) -> Series:
    values = {one.round: finite(share(one)) for one in run.rounds}
    drawn = [value for _, value in sorted(values.items()) if value is not None]
    return Series(values, style, f"{100 * drawn[-1]:.1f}" if drawn else "")


def _rounds_table(result: DemoResult, shown: Sequence[str]) -> Html:
    present = [name for name in shown if name in result.runs]
    by = {name: {one.round: one for one in result.runs[name].rounds} for name in present}
    rounds = sorted({number for rounds in by.values() for number in rounds})
    rows = [[f"{number}", *(_both(by[name].get(number)) for name in present)] for number in rounds]
    head = ("round", *(f"{name}: accuracy / backdoor" for name in present))
    return table(head, rows, numeric=range(1, len(head)))


def _both(one: RoundResult | None) -> str:
    return "–" if one is None else f"{percent(one.accuracy)} / {percent(one.backdoor_success)}"


# ------------------------------------------------------------------------------------------------------------ members


def members(result: DemoResult) -> tuple[Html, Html]:
    """Each member's weight in each round of the defended run, and every refusal, with its reason."""
    why = (
        f"The run {DEFENDED}: the stronger a cell, the more of the round's model is that member's; a line "
        "through a cell is a refusal. Below are the refusals of every run, each with its reason."
    )
    lead = el("p", why)
    run = result.runs.get(DEFENDED)
    chart = _weights(result, run) if run is not None and run.rounds else el("p", f"{DEFENDED}: {NOT_RUN}.")
    return lead, join(chart, el("h3", "Refused before aggregation"), _refusals(result), _gate_refusals(result))


def _weights(result: DemoResult, run: RunResult) -> Html:
    refused = [{member for member, _, _ in one.refused} for one in run.rounds]
    known = {member for one in run.rounds for member in one.weights} | set(result.split)
    hostile = set(run.hostile) | set(result.hostile)
    order = sorted(known, key=lambda member: (member not in hostile, member))
    rows, listing = [], []
    for member in order:
        weights = tuple(
            None if member in out else one.weights.get(member, 0.0)
            for one, out in zip(run.rounds, refused, strict=True)
        )
        remark = _remark(weights)
        rows.append(WeightRow(member, member in hostile, weights, remark))
        cells = ["refused" if weight is None else percent(weight) for weight in weights]
        listing.append([_member(member, hostile), remark, *cells])
    numbers = [one.round for one in run.rounds]
    label = f"Weight of {len(order)} members in {len(numbers)} rounds of {DEFENDED}; the table below has the numbers"
    head = ("member", "mean", *(f"{number}" for number in numbers))
    good = (
        "For the trimmed mean: the share of the model's coordinates at which a member's value was kept. "
        "Good: an even tone over the honest members, little for the hostile ones."
    )
    chart = wide_chart("Part in the model, by member and round", good, weights_map(label, rows, numbers))
    return join(chart, data(table(head, listing, numeric=range(1, len(head)))))


def _remark(weights: Sequence[float | None]) -> str:
    counted = [weight for weight in weights if weight is not None]
    out = len(weights) - len(counted)
    if not counted:
        return f"refused {out} of {len(weights)}"
    mean = percent(sum(counted) / len(counted))
    return f"{mean}, refused {out}×" if out else mean


def _member(member: str, hostile: Collection[str]) -> Html:
    return join(member, el("small", "hostile", class_="harm")) if member in hostile else join(member)


def _refusals(result: DemoResult) -> Html:
    """One row for each run, member and reason; the details are the first of each, in the member's own bad words."""
    found: dict[tuple[str, MemberId, str], tuple[list[int], str]] = {}
    for name in names(result):
        run = result.runs.get(name)
        for one in run.rounds if run is not None else ():
            for member, reason, detail in one.refused:
                found.setdefault((name, member, reason), ([], detail))[0].append(one.round)
    if not found:
        return el("p", "Nobody was refused in any run.")
    hostile = set(result.hostile)
    rows = [
        [name, _member(member, hostile), reason, f"{len(rounds)}", ranges(sorted(set(rounds))), shortened(detail, 160)]
        for (name, member, reason), (rounds, detail) in found.items()
    ]
    head = ("run", "member", "reason", "times", "rounds", "first detail")
    rest = el("p", f"{len(rows) - _MOST_ROWS} more rows are left out.") if len(rows) > _MOST_ROWS else join()
    return join(table(head, rows[:_MOST_ROWS], numeric=(3,), stacked=True), rest)


def _gate_refusals(result: DemoResult) -> Html:
    found: dict[tuple[str, str], list[RoundResult]] = {}
    for name in names(result):
        run = result.runs.get(name)
        for one in run.rounds if run is not None else ():
            if not one.gate_passed:
                found.setdefault((name, one.gate_test), []).append(one)
    title = el("h3", "Refused by the gate")
    if not found:
        return join(title, el("p", "The gate refused no candidate in any run."))
    rows = [
        [name, test, f"{len(ones)}", ranges([one.round for one in ones]), small(min(one.gate_p for one in ones))]
        for (name, test), ones in found.items()
    ]
    head = ("run", "test that decided", "times", "rounds", "smallest p-value")
    return join(title, table(head, rows, numeric=(2, 4), stacked=True))


# ------------------------------------------------------------------------------------------------------------- budget


def budget(result: DemoResult) -> tuple[Html, Html]:
    """ε by round, against the ε that the whole run states."""
    run = result.runs.get(DEFENDED)
    if run is None or run.epsilon is None or finite(run.epsilon) is None:
        return join(), el("p", f"{DEFENDED}: {NOT_RUN if run is None else 'no finite ε was stated'}.")
    spent = {one.round: one.epsilon for one in run.rounds}
    return epsilon_in_words(run.epsilon, run.unit, run.delta), spent_by_round(spent, run.epsilon, "the run's ε")


# ----------------------------------------------------------------------------------------------------------- fairness


def fairness(result: DemoResult) -> tuple[Html, Html]:
    """Recall of each class and accuracy at each site in four runs, worst first, and who holds what."""
    why = (
        "An average can hide who pays. Far right is good; the worst is on top. Sites are measured on their own "
        "held-out examples."
    )
    lead = el("p", why)
    entries = [
        el("li", mark_key(mark), name if name in result.runs else f"{name} ({NOT_RUN})")
        for mark, name in zip("●○|×", _COMPARED, strict=True)
    ]
    keys = el("ul", *entries, class_="keys")
    compared = [result.runs.get(name) for name in _COMPARED]
    classes = max([len(run.per_class) for run in compared if run is not None], default=0)
    recall = {f"class {c}": tuple(_at(run, c) for run in compared) for c in range(classes)}
    sites = sorted({site for run in compared if run is not None for site in run.per_site})
    local = {str(site): tuple(finite(run.per_site.get(site)) if run else None for run in compared) for site in sites}
    charts = el(
        "div",
        _dots("Recall of each class", "recall on the lab's test set", recall, ()),
        _dots("Accuracy at each site", "accuracy on the site's own held-out examples", local, result.hostile),
        class_="grid two",
    )
    return lead, join(keys, charts, el("h3", "Who holds what: examples of each class"), _split(result))


def _at(run: RunResult | None, index: int) -> float | None:
    return finite(run.per_class[index]) if run is not None and index < len(run.per_class) else None


def _dots(title: str, unit: str, values: Mapping[str, tuple[float | None, ...]], hostile: Collection[str]) -> Html:
    """A dot plot and its table, worst first by the first run; rows without a figure come last."""
    if not values:
        return el("figure", el("figcaption", el("h3", title)), el("div", NOT_RUN, class_="absent"))
    order = sorted(values, key=lambda name: (values[name][0] is None, values[name][0] or 0.0, name))
    rows = [DotRow(name, name in hostile, values[name]) for name in order]
    listing = [[_member(n, hostile), *("–" if v is None else percent(v) for v in values[n])] for n in order]
    chart = dot_plot(f"{title}, worst first; the table below has the numbers", unit, rows)
    head = (title.split()[-1], *_COMPARED)
    caption = el("figcaption", el("h3", title), "Good: far to the right. Worst first.")
    return el("figure", caption, chart, data(table(head, listing, numeric=(1, 2, 3, 4))))


def _split(result: DemoResult) -> Html:
    """Examples by member and class; the tone repeats the number."""
    classes = max([len(counts) for counts in result.split.values()], default=0)
    most = max([number for counts in result.split.values() for number in counts], default=0) or 1
    hostile = set(result.hostile)
    head = el("tr", *(el("th", text, scope="col") for text in ("member", *map(str, range(classes)), "all")))
    rows = []
    for member, counts in result.split.items():
        padded = (*counts, *[0] * (classes - len(counts)))
        cells = [el("td", f"{number}", class_=f"t{math.ceil(4 * number / most)}") for number in padded]
        rows.append(el("tr", el("th", _member(member, hostile), scope="row"), *cells, el("td", f"{sum(counts)}")))
    whole = el("table", el("thead", head), el("tbody", *rows), class_="split")
    return el("div", whole, class_="scroll", tabindex="0", role="region", aria_label="Examples by member and class")
