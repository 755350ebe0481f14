"""Who holds what in a simulation: each member's examples by class, as stacked bars, most uneven first.

For simulations only, where one process holds all the data and splits it. Between real parties these counts are the
members' own and must not be collected for a picture: nothing here is suppressed or protected by noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from phalanx.report.charts import svg
from phalanx.report.markup import Html, data, el, join, table
from phalanx.report.page import wide_chart
from phalanx.report.wording import count, percent, short
from phalanx.types import MemberId

_MOST_MEMBERS = 40  # in the chart and its table: the most uneven
_MOST_CELLS = 4000  # of the table; beyond, it has no column for each class
_MOST_KEYS = 12  # classes with a key of their own; beyond, the key shows the first and the last
_WIDTH, _LEFT, _RIGHT, _TOP = 860.0, 150.0, 170.0, 22.0


@dataclass(frozen=True, slots=True)
class _Row:
    """One member's examples of each class, and how unlike all members' together they are (0 … 1)."""

    member: MemberId
    counts: tuple[int, ...]
    unlike: float

    @property
    def examples(self) -> int:
        """Of all classes."""
        return sum(self.counts)

    @property
    def unlike_in_words(self) -> str:
        """Without examples there is nothing to compare."""
        return percent(self.unlike) if self.examples else "–"


def render_split(counts: Mapping[MemberId, tuple[int, ...]], names: tuple[str, ...] | None) -> Html:
    """Bars as long as the members' examples, in segments by class; the numbers in a table below.

    `counts` has each member's examples of each class, `names` the classes' names (None: 0, 1, …). Beyond 40 members
    the most uneven 40 are shown, and how many are not. Uneven is far from all members' examples together, in total
    variation distance; a member without examples is as far as can be. Raises ValueError if there is no member or no
    class, a count is negative, or numbers of classes differ.
    """
    named = _checked(counts, names)
    rows = _most_uneven_first(counts)
    shown, rest = rows[:_MOST_MEMBERS], len(rows) - _MOST_MEMBERS
    label = f"Examples of each class at {len(shown)} members, most uneven first; the table below has the numbers"
    good = (
        "A bar is as long as the member has examples. Unlike all: the share of them that would have to be of another "
        "class for the member to be like all members together; of few examples a part is chance. Most uneven first."
    )
    chart = wide_chart("Examples at each member, by class", good, _bars(label, shown, named))
    be = "is" if rest == 1 else "are"
    more = (
        el("p", f"{count(rest, 'other member').capitalize()}, none more uneven than these, {be} not shown.")
        if rest > 0
        else join()
    )
    return join(_keys(named), chart, more, data(_table(shown, rows, named)))


def split_in_words(counts: Mapping[MemberId, tuple[int, ...]]) -> str:
    """How many members, the smallest and the largest, and how uneven they are: the distance of `render_split`.

    Raises ValueError as it does.
    """
    _checked(counts, None)
    rows = _most_uneven_first(counts)
    who, whole = count(len(rows), "member").capitalize(), f"{sum(row.examples for row in rows):,}"
    if len(rows) == 1:
        return f"{who} holds all {whole} examples."
    by_size = sorted(rows, key=lambda row: (row.examples, row.member))
    small, large = by_size[0], by_size[-1]
    sizes = f"from {small.examples:,} at {small.member} to {large.examples:,} at {large.member}"
    middle = percent(median(row.unlike for row in rows))
    return (
        f"{who} hold {whole} examples, {sizes}. The median member's classes are {middle} unlike those of all together, "
        f"the most uneven one's, {rows[0].member}, {percent(rows[0].unlike)}."
    )


def _checked(counts: Mapping[MemberId, tuple[int, ...]], names: tuple[str, ...] | None) -> tuple[str, ...]:
    lengths = {len(one) for one in counts.values()}
    if len(lengths) != 1 or lengths == {0}:
        raise ValueError(f"each member needs a count for each of the same classes, got {sorted(lengths)} counts")
    if any(number < 0 for one in counts.values() for number in one):
        raise ValueError("a number of examples is 0 or more, got one below")
    named = names if names is not None else tuple(map(str, range(*lengths)))
    if {len(named)} != lengths:
        raise ValueError(f"{len(named)} names for {lengths.pop()} classes")
    return named


def _most_uneven_first(counts: Mapping[MemberId, tuple[int, ...]]) -> list[_Row]:
    whole = tuple(map(sum, zip(*counts.values(), strict=True)))
    rows = [_Row(member, own, _distance(own, whole)) for member, own in counts.items()]
    return sorted(rows, key=lambda row: (-row.unlike, row.member))


def _distance(own: Sequence[int], whole: Sequence[int]) -> float:
    """Total variation: half the sum of the differences between the two distributions over classes."""
    mine, everybodys = sum(own), sum(whole)
    if not mine:
        return 1.0
    return sum(abs(a / mine - b / everybodys) for a, b in zip(own, whole, strict=True)) / 2


# ------------------------------------------------------------------------------------------------------------- picture


def _bars(label: str, rows: Sequence[_Row], names: Sequence[str]) -> Html:
    """A bar a member, all to one scale; a segment has its class's tone, and its name where there is room."""
    high = 26.0 if len(rows) <= 20 else 18.0
    unit = (_WIDTH - _LEFT - _RIGHT) / (max(row.examples for row in rows) or 1)
    parts = [
        el("text", "examples", x=_WIDTH - 90, y=12, text_anchor="end", class_="soft"),
        el("text", "unlike all", x=_WIDTH, y=12, text_anchor="end", class_="soft"),
    ]
    for index, row in enumerate(rows):
        y = _TOP + index * high
        middle = y + high / 2 + 2.5
        parts.append(el("text", short(row.member), x=_LEFT - 10, y=middle, text_anchor="end", class_="label"))
        parts.append(_bar(row, names, (y, unit, high - 4)))
        parts.append(el("text", f"{row.examples:,}", x=_WIDTH - 90, y=middle, text_anchor="end", class_="label"))
        parts.append(el("text", row.unlike_in_words, x=_WIDTH, y=middle, text_anchor="end", class_="label"))
    return svg(_WIDTH, _TOP + len(rows) * high + 4, label, *parts)


def _bar(row: _Row, names: Sequence[str], box: tuple[float, float, float]) -> Html:
    """The segments of one member, left to right in the order of the classes; `box` is (y, width an example, height)."""
    y, unit, high = box
    x, parts = _LEFT, []
    for index, number in enumerate(row.counts):
        wide, tone, name = number * unit, _tone(index, len(names)), names[index]
        gap = 1.0 if wide > 4 else 0.0
        inside = [el("title", f"{row.member}, class {name}: {number:,}")]
        shape = f"M{x:.1f} {y:.1f}h{wide - gap:.1f}v{high:.0f}h{gap - wide:.1f}z"
        inside.append(el("path", d=shape, class_="cell", fill_opacity=tone))
        if wide > 8 + sum(7 if letter.isascii() else 12 for letter in name):
            colour = "frame" if tone > 0.5 else None  # the paper's, nearly: readable on dark tones
            middle = x + (wide - gap) / 2
            inside.append(el("text", name, x=middle, y=y + high / 2 + 4, text_anchor="middle", class_=colour))
        if number:
            parts.append(el("g", *inside))
        x += wide
    return join(*parts)


def _tone(index: int, classes: int) -> float:
    """From light to dark, in the classes' order, without the middle tones on which no text can be read."""
    half = (classes + 1) // 2
    if index < half:
        return 0.11 + 0.27 * index / max(half - 1, 1)
    return 0.66 + 0.34 * (index - half) / max(classes - half - 1, 1)


def _keys(names: Sequence[str]) -> Html:
    """Each class's tone; of many classes, the tones from the first to the last."""
    tones = [_tone(index, len(names)) for index in range(len(names))]
    if len(names) <= _MOST_KEYS:
        items = [el("li", _swatch([tone]), short(name, 24)) for tone, name in zip(tones, names, strict=True)]
    else:
        ends = (f"class {short(names[0], 24)}\u00a0\u00a0", f"class {short(names[-1], 24)}")
        items = [el("li", ends[0], _swatch(tones), f"{ends[1]}, {len(names)} in all")]
    return el("ul", *items, class_="keys")


def _swatch(tones: Sequence[float]) -> Html:
    step = 14 if len(tones) == 1 else max(240 // len(tones), 1)
    parts = [
        el("rect", x=at * step, y=1, width=step, height=12, class_="cell", fill_opacity=tone)
        for at, tone in enumerate(tones)
    ]
    width = step * len(tones)
    return el("svg", *parts, viewBox=f"0 0 {width} 14", width=width, height=14, aria_hidden="true", class_="key")


# --------------------------------------------------------------------------------------------------------------- table


def _table(shown: Sequence[_Row], rows: Sequence[_Row], names: Sequence[str]) -> Html:
    """The rows shown, then all members together."""
    cells = len(shown) * len(names) <= _MOST_CELLS
    head = ("member", "examples", "unlike all", *(short(name) for name in names if cells))
    whole = _Row(MemberId("all members"), tuple(map(sum, zip(*(row.counts for row in rows), strict=True))), 0.0)
    listing = [
        [row.member, f"{row.examples:,}", row.unlike_in_words, *(f"{number:,}" for number in row.counts if cells)]
        for row in (*shown, whole)
    ]
    return table(head, listing, numeric=range(1, len(head)))
