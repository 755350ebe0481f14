"""The matrix as a picture: attacks down, defences across, more colour where an attack does more harm.

Tone is never alone: every cell has its verdict's sign and its figure, and words stand in the table below.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from phalanx.redteam.report.figures import MEANINGS, SIGNS
from phalanx.redteam.result import Verdict
from phalanx.report.charts import svg
from phalanx.report.markup import Html, el, join
from phalanx.report.wording import finite, short

_LEVELS = 8
_DARKEST = 0.56  # of the attackers' colour: ink stays readable on it, on light paper and on dark
_LEFT, _UNIT, _HIGH, _WIDTH = 250.0, 62.0, 25.0, 860.0
_NARROWEST, _WIDEST = 46.0, 96.0
_LONGEST = 33  # characters of an attack's title
_UNPLANNED = "·"


@dataclass(frozen=True, slots=True)
class HeatCell:
    """One attack on one defence. `figure` is short, `harm` is 0 at the limit and 1 at the goal, None where unknown."""

    verdict: Verdict
    figure: str
    harm: float | None


@dataclass(frozen=True, slots=True)
class HeatRow:
    """One attack, its figures' unit, and a cell for each column; None where the plan has none."""

    label: str
    unit: str
    cells: tuple[HeatCell | None, ...]


def heat_map(label: str, columns: Sequence[str], groups: Mapping[str, Sequence[HeatRow]], marked: str) -> Html:
    """Rows in titled groups. The column called `marked` is framed; heads are turned where they would touch."""
    room = _WIDTH - _LEFT - _UNIT
    turned = any(6.4 * len(short(name)) > min(room / max(len(columns), 1), _WIDEST) - 8 for name in columns)
    step = min(max((room - (64 if turned else 0)) / max(len(columns), 1), _NARROWEST), _WIDEST)
    top = 78.0 if turned else 22.0
    start = _LEFT + _UNIT
    rows: list[Html] = []
    tones: dict[int, list[str]] = {}
    y = top
    for title, members in groups.items():
        rows.append(el("text", title, x=0, y=y + 19, class_="strong"))
        y += 27
        for row in members:
            rows.append(_labels(row, y))
            for index, cell in enumerate(row.cells):
                rows.append(_cell(cell, start + index * step, y, step, tones))
            y += _HIGH
    heads = [_head(name, start + (index + 0.5) * step, top - 6, turned) for index, name in enumerate(columns)]
    frame = join()
    if marked in columns:
        x = start + columns.index(marked) * step
        frame = el("rect", x=x, y=top + 2, width=step, height=max(y - top, 0), class_="outline")
    painted = [
        el("path", d="".join(tones[tone]), class_="cell harm" if tone else "frame", fill_opacity=_opacity(tone))
        for tone in sorted(tones)
    ]
    width = max(_WIDTH, start + step * len(columns) + (64 if turned else 0))
    return svg(width, y + 8, label, *painted, frame, *heads, *rows)


def legend() -> Html:
    """The signs and the tones, in words."""
    signs = [el("li", el("b", sign), " ", verdict, el("small", MEANINGS[verdict])) for verdict, sign in SIGNS.items()]
    unplanned = el("li", el("b", _UNPLANNED), " not in the plan", el("small", "this pair was not to be played"))
    ramp = [
        el("rect", x=14 * tone, y=1, width=13, height=12, class_="cell harm" if tone else "frame",
           fill_opacity=_opacity(tone))
        for tone in range(_LEVELS + 1)
    ]  # fmt: skip
    picture = el("svg", *ramp, viewBox="0 0 126 14", width=126, height=14, aria_hidden="true", class_="key")
    tones = el("li", picture, "harm", el("small", "from 0, within the limit, to 1, the attackers' goal"))
    return el("ul", *signs, unplanned, tones, class_="keys signs")


def harm_bar(harm: float | None) -> Html:
    """A bar from the limit that holds (left) to the attackers' goal (right); beyond either end it stops there."""
    known = finite(harm)
    share = 0.0 if known is None else min(max(known, 0.0), 1.0)
    return el(
        "svg",
        el("rect", x=0, y=4, width=120, height=8, class_="frame"),
        el("rect", x=0, y=4, width=120 * share, height=8, class_="cell harm"),
        el("path", d="M0.5 0V16M119.5 0V16", class_="axis"),
        viewBox="0 0 120 16",
        class_="bar near",
        aria_hidden="true",
    )


# --------------------------------------------------------------------------------------------------------------- parts


def _head(name: str, x: float, y: float, turned: bool) -> Html:
    if not turned:
        return el("text", short(name), x=x, y=y, text_anchor="middle")
    return el("text", short(name), x=0, y=0, transform=f"translate({x + 4:.1f} {y:.1f}) rotate(-38)")


def _labels(row: HeatRow, y: float) -> Html:
    unit = el("text", row.unit, x=_LEFT + _UNIT - 12, y=y + 17, text_anchor="end", class_="soft")
    label = row.label if len(row.label) <= _LONGEST else f"{row.label[: _LONGEST - 1].rstrip()}…"
    return join(el("text", label, x=12, y=y + 17, class_="label"), unit)


def _cell(cell: HeatCell | None, x: float, y: float, step: float, tones: dict[int, list[str]]) -> Html:
    """The cell's text; its box is added to the path of its tone, so that a map stays small."""
    wide, high = step - 2, _HIGH - 2
    middle = x + step / 2
    if cell is None:
        return el("text", _UNPLANNED, x=middle, y=y + 17, text_anchor="middle", class_="soft")
    sign = SIGNS[cell.verdict]
    if cell.verdict in ("not tested", "not available"):
        return el("text", sign, x=middle, y=y + 17, text_anchor="middle", class_="soft")
    shown = el("text", f"{sign} {cell.figure}".strip(), x=middle, y=y + 17, text_anchor="middle")
    if cell.verdict == "invalid test":
        box = el("rect", x=x + 1.5, y=y + 1.5, width=wide - 1, height=high - 1, class_="invalid")
        return join(box, shown)
    tones.setdefault(_tone(cell.harm), []).append(f"M{x + 1:.1f} {y + 1:.1f}h{wide:.1f}v{high:.0f}h{-wide:.1f}z")
    return shown


def _tone(harm: float | None) -> int:
    """0 within the limit or where harm is unknown, 1 … 8 above it, 8 at the goal and beyond."""
    known = finite(harm)
    return 0 if known is None or known <= 0 else math.ceil(_LEVELS * min(known, 1.0))


def _opacity(tone: int) -> float | None:
    return round(_DARKEST * tone / _LEVELS, 2) if tone else None
