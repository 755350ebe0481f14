"""Round by round: the worst attacks on the user's configuration, each beside the same attack on no defence."""

from __future__ import annotations

from collections.abc import Sequence

from phalanx.redteam.defences import NONE, YOURS
from phalanx.redteam.outcome import Outcome
from phalanx.redteam.report import lookup
from phalanx.redteam.report.figures import accuracy_in_words
from phalanx.redteam.result import Judged, Result
from phalanx.report.charts import Axes, Series, lines, mark_key
from phalanx.report.markup import Html, data, el, join, table
from phalanx.report.wording import NOT_FINITE, count, finite, shortened

_MOST_ATTACKS = 4
_MOST_ROUNDS = 400  # in the tables
_MEASURES = (("accuracy", "ink"), ("backdoor", "harm"))
_FOLLOWED = ("damage", "class_damage", "backdoor", "blocked")  # goals that these lines show the way to
_Means = dict[str, dict[int, float | None]]


def by_round(result: Result) -> tuple[Html, Html]:
    """Small multiples on the same axes: undefended on the left, the user's configuration on the right."""
    lead = el(
        "p",
        "A good run has the solid line high and the dotted line low. Each pair is one attack: first without any "
        "defence, then against yours. Lines are means over the seeds.",
    )
    pairs = _pairs(result)
    if not pairs:
        return lead, el("p", "No attack on your configuration was followed round by round: not tested.")
    means = [(judged, _means(_outcomes(result, judged))) for pair in pairs for judged in pair if judged is not None]
    last = max([number for _, one in means for line in one.values() for number in line], default=1)
    axes = Axes(max(last, 1), ((0, "0 %"), (0.5, "50 %"), (1, "100 %")), 1.0, width=400, height=190, right=40)
    keys = el(
        "ul",
        el("li", mark_key("ink"), "accuracy: high is good"),
        el("li", mark_key("harm"), "backdoor success: low is good"),
        class_="keys",
    )
    drawn = {_key(judged): _panel(result, judged, lined, axes) for judged, lined in means}
    panels = [drawn[_key(judged)] if judged is not None else _absent() for pair in pairs for judged in pair]
    return lead, join(keys, el("div", *panels, class_="grid pairs"), data(_table(means)))


def _pairs(result: Result) -> list[tuple[Judged | None, Judged]]:
    """The cells of the worst attacks on the user's configuration, each after its undefended twin, None without one."""
    drawn = {(one.cell.attack, one.cell.defence, one.cell.hostile, one.cell.split)
             for one in result.outcomes if any(one.series.get(name) for name, _ in _MEASURES)}  # fmt: skip
    goals = {name: card.goal.measure for name, card in lookup.cards(result).items()}
    rest = [one for one in lookup.attacked(result)
            if one.defence == YOURS and _key(one) in drawn and goals.get(one.attack) in _FOLLOWED]  # fmt: skip
    pairs: list[tuple[Judged | None, Judged]] = []
    while rest and len(pairs) < _MOST_ATTACKS:
        worst = lookup.worst_of(rest)
        if worst is None:
            break
        rest = [one for one in rest if one.attack != worst.attack]  # each attack once, where it does most
        twin = lookup.undefended(result, worst.attack).get(lookup.setting(worst))
        pairs.append((twin if twin is not None and _key(twin) in drawn else None, worst))
    return pairs


def _key(judged: Judged) -> tuple[str, str, int, str]:
    return judged.attack, judged.defence, judged.hostile, judged.split


def _outcomes(result: Result, judged: Judged) -> list[Outcome]:
    return [one for one in result.outcomes
            if (one.cell.attack, one.cell.defence, one.cell.hostile, one.cell.split) == _key(judged)]  # fmt: skip


def _means(outcomes: Sequence[Outcome]) -> _Means:
    """Each measure by round: the mean over the seeds that got there, None where one of them has no finite value."""
    found: _Means = {}
    for name, _ in _MEASURES:
        held = [one.series[name] for one in outcomes if one.series.get(name)]
        line: dict[int, float | None] = {}
        for index in range(max(map(len, held), default=0)):
            values = [finite(series[index]) for series in held if index < len(series)]
            known = [value for value in values if value is not None]
            line[index + 1] = sum(known) / len(known) if len(known) == len(values) else None
        if line:
            found[name] = line
    return found


def _panel(result: Result, judged: Judged, means: _Means, axes: Axes) -> Html:
    known = lookup.cards(result)
    title = shortened(lookup.title(known, judged.attack), 60)
    where = {YOURS: "Yours", NONE: "No defence"}.get(judged.defence, f"No defence ({judged.defence})")
    ended = [one.ended for one in _outcomes(result, judged) if one.ended]
    stopped = f"; {count(len(ended), 'run')} ended early: {shortened(ended[0], 80)}" if ended else ""
    series = [Series(means[name], style, _end(means[name])) for name, style in _MEASURES if name in means]
    said = ", ".join(f"{name} ends at {_end(line) or 'no finite figure'}" for name, line in means.items())
    chart = lines(f"{title}, {where}: {said}", series, axes)
    setting = lookup.setting(judged).words(result.members)
    return el("figure", el("figcaption", el("h3", f"{title} · {where}"), f"{setting}{stopped}"), chart)


def _absent() -> Html:
    return el("figure", el("figcaption", el("h3", "No defence")), el("div", "not tested", class_="absent"))


def _end(line: dict[int, float | None]) -> str:
    drawn = [value for value in line.values() if value is not None]
    return f"{100 * min(max(drawn[-1], -9.99), 9.99):.1f}" if drawn else ""


def _table(means: Sequence[tuple[Judged, _Means]]) -> Html:
    columns = [(judged, name) for judged, lined in means for name in lined]
    head = ("round", *(f"{judged.attack} on {judged.defence}: {name}" for judged, name in columns))
    by_column = [lined[name] for judged, lined in means for name in lined]
    rounds = sorted({number for line in by_column for number in line})[:_MOST_ROUNDS]
    rows = [[f"{number}", *(_share(line, number) for line in by_column)] for number in rounds]
    return table(head, rows, numeric=range(1, len(head)))


def _share(line: dict[int, float | None], number: int) -> str:
    value = line.get(number)
    return "–" if number not in line else NOT_FINITE if value is None else accuracy_in_words(value)
