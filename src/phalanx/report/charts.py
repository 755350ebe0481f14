"""A report's charts, as inline SVG. Colour is the attacker's alone, and never alone: each mark has a word or a shape.

Styles are classes of the page's one style sheet, so that the page forbids inline styles; lengths are viewBox units,
about a CSS pixel each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from phalanx.report.markup import Html, el, join
from phalanx.report.wording import NOT_FINITE, finite, percent, ranges, short

_LEVELS = 8


@dataclass(frozen=True, slots=True)
class Series:
    """A line. `values` by round, None where there is no finite one; `style` is "ink" (solid) or "harm" (dashed).

    `end` is the last value in figures, to stand beside the line's end.
    """

    values: Mapping[int, float | None]
    style: str
    end: str


@dataclass(frozen=True, slots=True)
class Axes:
    """The frame that small multiples share. `ticks` are (value, label) of the vertical axis, from 0 to `highest`."""

    last_round: int
    ticks: tuple[tuple[float, str], ...]
    highest: float
    width: float = 260
    height: float = 168
    right: float = 34

    left = 44.0
    top = 10.0
    bottom = 32.0

    def x(self, number: float) -> float:
        """Where a round is; a single one stands in the middle."""
        span = self.width - self.left - self.right
        return self.left + span * ((number - 1) / (self.last_round - 1) if self.last_round > 1 else 0.5)

    def y(self, value: float) -> float:
        """Where a value is; values outside the axis lie on its edge."""
        share = min(max(value / self.highest, 0.0), 1.0)
        return self.top + (self.height - self.top - self.bottom) * (1 - share)


def lines(label: str, series: Sequence[Series], axes: Axes, limit: tuple[float, str] | None = None) -> Html:
    """Lines by round. Rounds without a finite value are shaded and named. `limit` is a horizontal line and its name."""
    broken = sorted({number for one in series for number, value in one.values.items() if value is None})
    parts = [_frame(axes), _gaps(broken, axes), *(_line(one, axes) for one in series), _ends(series, axes)]
    if limit is not None:
        y = axes.y(limit[0])
        parts.append(el("path", d=f"M{axes.left} {y:.1f}H{axes.width - axes.right}", class_="limit"))
        parts.append(el("text", limit[1], x=axes.left + 6, y=y - 6, class_="strong"))
    return svg(axes.width, axes.height, label, *parts)


@dataclass(frozen=True, slots=True)
class WeightRow:
    """One member's weights by round: a share, None where it was refused. `remark` stands at the end of the row."""

    label: str
    hostile: bool
    weights: tuple[float | None, ...]
    remark: str


def weights_map(label: str, rows: Sequence[WeightRow], rounds: Sequence[int]) -> Html:
    """Members × rounds: the stronger the more weight; refused rounds are struck through; hostile rows say so."""
    left, width, high = 170.0, 860.0, 22.0 if len(rows) <= 20 else 14.0
    step = (width - left - 140) / max(len(rounds), 1)
    top = max([weight for row in rows for weight in row.weights if weight is not None], default=0.0) or 1.0
    parts: list[Html] = [el("text", "mean share", x=width - 130, y=12, class_="soft")]
    for index, row in enumerate(rows):
        y = 20 + index * high
        kind = "harm" if row.hostile else "ink"
        name = f"{short(row.label)} · hostile" if row.hostile else short(row.label)
        parts.append(el("text", name, x=left - 10, y=y + high / 2 + 4, text_anchor="end", class_=f"label {kind}"))
        parts.append(_cells(row.weights, kind, top, (left, y, step, high - 3)))
        parts.append(el("text", row.remark, x=width - 130, y=y + high / 2 + 4, class_="label"))
    foot = 20 + len(rows) * high + 14
    first, last = (str(rounds[0]), str(rounds[-1])) if rounds else ("", "")
    parts.append(el("text", f"round {first}", x=left, y=foot, class_="soft"))
    if len(rounds) > 1:
        parts.append(el("text", f"round {last}", x=width - 140, y=foot, text_anchor="end", class_="soft"))
    return svg(width, foot + 30, label, *parts, _scale(top, left, foot + 14))


@dataclass(frozen=True, slots=True)
class DotRow:
    """One row of a dot plot: a share for each series, None where it was not measured."""

    label: str
    hostile: bool
    values: tuple[float | None, ...]


def dot_plot(label: str, unit: str, rows: Sequence[DotRow]) -> Html:
    """Rows of up to four marks on one scale: ● the first series, ○ the second, | the third, × the fourth.

    They are drawn in an order in which each is still seen where all coincide.
    """
    left, right, width, high = 150.0, 484.0, 500.0, 24.0 if len(rows) <= 20 else 17.0
    known = [share for row in rows for value in row.values if (share := finite(value)) is not None]
    low = max(0.0, math.floor(min(known, default=0.0) * 10 - 1e-9) / 10)
    span = 1 - low or 1.0
    parts: list[Html] = []
    for index, row in enumerate(rows):
        y = 10 + (index + 0.5) * high
        kind = "harm" if row.hostile else "ink"
        name = f"{short(row.label, 12)} · hostile" if row.hostile else short(row.label)
        parts.append(el("text", name, x=left - 14, y=y + 4, text_anchor="end", class_=f"label {kind}"))
        parts.append(el("path", d=f"M{left} {y:.1f}H{right}", class_="guide"))
        for at, mark in ((1, _hollow), (3, _cross), (2, _bar), (0, _filled)):
            share = finite(row.values[at]) if at < len(row.values) else None
            if share is not None:
                parts.append(mark(left + (right - left) * (min(max(share, low), 1.0) - low) / span, y))
        if all(finite(value) is None for value in row.values):
            parts.append(el("text", "no figure", x=left + 6, y=y - 4, class_="soft"))
    foot = 10 + len(rows) * high + 14
    for share in (low, low + span / 2, 1.0):
        x = left + (right - left) * (share - low) / span
        parts.append(el("text", f"{100 * share:.0f} %", x=x, y=foot, text_anchor="middle", class_="soft"))
    parts.append(el("text", unit, x=(left + right) / 2, y=foot + 18, text_anchor="middle", class_="soft"))
    return svg(width, foot + 26, label, *parts)


def mark_key(mark: str) -> Html:
    """The small picture of a mark or line, for a legend: "●", "○", "|", "×", "ink" or "harm"."""
    if mark in ("ink", "harm"):
        drawn, width = el("path", d="M1 7H27", class_=f"line {mark}"), 28
    else:
        drawn, width = {"●": _filled, "○": _hollow, "|": _bar, "×": _cross}[mark](7, 7), 14
    return el("svg", drawn, viewBox=f"0 0 {width} 14", width=width, height=14, aria_hidden="true", class_="key")


def digit(label: str, values: Sequence[float]) -> Html:
    """A square image, ink where the value is high: cut to 0 … 1, crossed where it is not finite."""
    side = max(1, math.ceil(math.sqrt(len(values))))
    cells: dict[int, list[str]] = {}
    crossed = []
    for index, value in enumerate(values):
        y, x = divmod(index, side)
        if math.isfinite(value):
            cells.setdefault(round(16 * min(max(value, 0.0), 1.0)), []).append(f"M{x} {y}h1v1h-1z")
        else:
            crossed.append(f"M{x} {y}l1 1m-1 0l1 -1")
    parts = [el("path", d="".join(cells[tone]), fill_opacity=tone / 16) for tone in sorted(cells) if tone]
    parts.append(el("path", d="".join(crossed), class_="crossed"))
    return el("svg", *parts, viewBox=f"0 0 {side} {side}", role="img", aria_label=label, class_="digit")


def difference_bar(before: float, after: float, largest: float) -> Html:
    """The difference of two shares as a bar left (a loss) or right (a gain) of a line; `largest` is the full width."""
    difference = finite(after - before)
    length = 0.0 if difference is None or not largest else 56 * min(abs(difference) / largest, 1.0)
    start = 60 - length if (difference or 0.0) < 0 else 60
    bar = el("rect", x=start, y=4, width=max(length, 0.0), height=8, class_="cell")
    return el(
        "svg", bar, el("path", d="M60 0V16", class_="axis"), viewBox="0 0 120 16", class_="bar", aria_hidden="true"
    )


def svg(width: float, height: float, label: str, *parts: Html) -> Html:
    """A picture of so many units, said in words for those who do not see it."""
    return el("svg", *parts, viewBox=f"0 0 {width:.0f} {height:.0f}", role="img", aria_label=label)


# --------------------------------------------------------------------------------------------------------------- parts


def _frame(axes: Axes) -> Html:
    parts = []
    for value, text in axes.ticks:
        y = axes.y(value)
        parts.append(el("path", d=f"M{axes.left} {y:.1f}H{axes.width - axes.right}", class_="guide"))
        parts.append(el("text", text, x=axes.left - 6, y=y + 4, text_anchor="end", class_="soft"))
    foot = axes.height - axes.bottom + 15
    last = axes.last_round
    for number in sorted({1, (1 + last) // 2, last}):
        parts.append(el("text", str(number), x=axes.x(number), y=foot, text_anchor="middle", class_="soft"))
    middle = (axes.left + axes.width - axes.right) / 2
    return join(*parts, el("text", "round", x=middle, y=axes.height - 3, text_anchor="middle", class_="soft"))


def _gaps(broken: Sequence[int], axes: Axes) -> Html:
    """The rounds without a finite value, shaded and in words."""
    if not broken:
        return join()
    half = (axes.x(2) - axes.x(1)) / 2 if axes.last_round > 1 else 20.0
    deep = axes.height - axes.bottom - axes.top
    boxes = "".join(f"M{axes.x(n) - half:.1f} {axes.top}h{2 * half:.1f}v{deep}h{-2 * half:.1f}z" for n in broken)
    text = f"{NOT_FINITE}: round{'s' if len(broken) > 1 else ''}"
    middle, y = (axes.left + axes.width - axes.right) / 2, axes.top + deep / 2
    return join(
        el("path", d=boxes, class_="void"),
        el("text", text, x=middle, y=y - 3, text_anchor="middle", class_="strong harm"),
        el("text", ranges(broken), x=middle, y=y + 13, text_anchor="middle", class_="strong harm"),
    )


def _line(series: Series, axes: Axes) -> Html:
    """Unbroken stretches as lines; a single point as a dot."""
    parts = []
    ordered = sorted(series.values.items())
    for whole, stretch in groupby(ordered, key=lambda item: item[1] is not None):
        spots = [f"{axes.x(number):.1f} {axes.y(value):.1f}" for number, value in stretch if value is not None]
        if whole and len(spots) == 1:
            x, y = spots[0].split()
            parts.append(el("circle", cx=x, cy=y, r=3, class_=f"dot {series.style}"))
        elif whole:
            parts.append(el("path", d="M" + "L".join(spots), class_=f"line {series.style}"))
    return join(*parts)


def _ends(series: Sequence[Series], axes: Axes) -> Html:
    """The last value of each line beside its end, moved apart where they would touch."""
    ends = []
    for one in series:
        drawn = [(number, value) for number, value in sorted(one.values.items()) if value is not None]
        if drawn:
            ends.append((axes.y(drawn[-1][1]), axes.x(drawn[-1][0]), one.style, one.end))
    parts, above = [], -math.inf
    for y, x, style, text in sorted(ends):
        above = max(y, above + 13)
        parts.append(el("text", text, x=x + 5, y=above + 4, class_=f"end {style}"))
    return join(*parts)


def _cells(weights: Sequence[float | None], kind: str, top: float, box: tuple[float, float, float, float]) -> Html:
    """One path a tone, and one for the strokes through refused rounds: small, however many rounds there are."""
    left, y, step, high = box
    gap = 1.0 if step > 5 else 0.0
    tones: dict[int, list[str]] = {}
    struck = []
    levels = enumerate(None if weight is None else _tone(weight, top) for weight in weights)
    for (_, tone), cells in groupby(levels, key=lambda cell: (cell[0] if gap else 0, cell[1])):  # without gaps: as one
        stretch = list(cells)
        x, wide = left + stretch[0][0] * step, step * len(stretch)
        if tone is None:
            struck.append(f"M{x:.1f} {y + high / 2:.1f}h{wide:.1f}")
        elif tone:
            tones.setdefault(tone, []).append(f"M{x:.1f} {y:.1f}h{wide - gap:.1f}v{high:.0f}h{gap - wide:.1f}z")
    parts = [el("path", d="".join(tones[tone]), class_=f"cell {kind}", fill_opacity=tone / _LEVELS) for tone in tones]
    frame = el("rect", x=left, y=y, width=step * len(weights), height=high, class_="frame")
    return join(frame, *parts, el("path", d="".join(struck), class_="struck"))


def _tone(weight: float, top: float) -> int:
    """1 … 8 by the share of the largest weight; 0 where there is nothing to draw."""
    return math.ceil(_LEVELS * min(weight / top, 1.0)) if finite(weight) is not None and weight > 0 else 0


def _scale(top: float, x: float, y: float) -> Html:
    """The key of the weights map: tones from nothing to the largest weight, and the stroke of a refusal."""
    ramp = [
        el("rect", x=x + 62 + 14 * tone, y=y, width=13, height=11, class_="cell ink", fill_opacity=tone / _LEVELS)
        for tone in range(1, _LEVELS + 1)
    ]
    after = x + 62 + 14 * (_LEVELS + 1) + 8
    return join(
        el("text", "no weight", x=x, y=y + 10, class_="soft"),
        *ramp,
        el("text", percent(top), x=after, y=y + 10, class_="soft"),
        el("path", d=f"M{after + 80} {y + 6}h36", class_="struck"),
        el("text", "refused: no part in the model", x=after + 124, y=y + 10, class_="soft"),
    )


def _filled(x: float, y: float) -> Html:
    return el("circle", cx=x, cy=y, r=4.5, class_="dot ink")


def _hollow(x: float, y: float) -> Html:
    return el("circle", cx=x, cy=y, r=6, class_="ring")


def _bar(x: float, y: float) -> Html:
    return el("path", d=f"M{x:.1f} {y - 6:.1f}v12", class_="tick")


def _cross(x: float, y: float) -> Html:
    return el("path", d=f"M{x - 5:.1f} {y - 5:.1f}l10 10m-10 0l10 -10", class_="cross")
