"""The privacy that was spent, drawn against the ε that holds for the run, and said in words."""

from __future__ import annotations

import math
from collections.abc import Mapping

from phalanx.report.charts import Axes, Series, lines
from phalanx.report.markup import Html, data, el, join, table
from phalanx.report.page import wide_chart
from phalanx.report.wording import epsilon, finite, small

_PROTECTED = {"example": "one example of one member", "member": "one member's whole contribution"}


def spent_by_round(rounds: Mapping[int, float | None], limit: float, name: str) -> Html:
    """The chart of ε after each round, and its table. `limit` is finite; `name` says what it is: "the run's ε"."""
    spent = {number: finite(value) for number, value in rounds.items()}
    known = [value for _, value in sorted(spent.items()) if value is not None]
    highest = max([limit, *known]) * 1.15 or 1.0
    half = 10 ** math.floor(math.log10(highest / 2)) if highest > 0 else 1.0
    half *= math.floor(highest / 2 / half)
    ticks = ((0.0, "ε = 0"), (half, f"{half:g}"))
    axes = Axes(max([*spent, 1]), ticks, highest, width=860, height=270, right=52)
    series = Series(spent, "ink", epsilon(known[-1]) if known else "")
    label = f"ε spent by round: {epsilon(known[-1]) if known else 'nothing recorded'} of {epsilon(limit)}"
    chart = lines(label, (series,), axes, (limit, f"{name}: {epsilon(limit)}"))
    exceeded = max(known, default=0.0) > limit
    over = el("p", "✕ A round spent more than the run states.", class_="harm") if exceeded else join()
    rows = [[f"{number}", "not recorded" if value is None else epsilon(value)] for number, value in spent.items()]
    figure = wide_chart("ε spent, by round", "Good: low, and at or below the limit at the end.", chart)
    return join(figure, over, data(table(("round", "ε spent so far"), rows, numeric=(1,))))


def epsilon_in_words(spent: float, unit: str | None, delta: float | None) -> Html:
    """A finite ε, its unit and δ in words. The factor is e^ε: an honest bound is a weak-looking one."""
    factor = f"{math.ceil(math.exp(spent)):,}" if spent < 20 else "more than 400 million"
    what = (
        f"ε bounds what the models can give away about {_PROTECTED.get(unit or '', f'one {unit}')}, added "
        "or removed. Lower is more private."
    )
    meaning = (
        "In words: whatever an observer believed before, the models multiply the odds that it was there by at most "
        f"e^ε = {factor}, up to a failure probability in the order of δ = {small(delta)}. That is a bound against "
        "the strongest observer, not a measurement of what leaks."
    )
    return join(el("p", what), el("p", meaning))
