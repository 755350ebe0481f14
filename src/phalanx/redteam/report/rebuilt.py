"""What attackers rebuilt of members' inputs, beside the originals: images as pictures, rows and tokens as numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from phalanx.redteam.defences import YOURS
from phalanx.redteam.outcome import QUIET, Rebuilt
from phalanx.redteam.report import lookup
from phalanx.redteam.result import Result
from phalanx.report.charts import digit
from phalanx.report.markup import Html, el, join, table
from phalanx.report.wording import NOT_FINITE, shortened

_MOST_ATTACKS, _MOST_INPUTS = 8, 2
_LARGEST_SIDE = 32
_MOST_NUMBERS = 48
_ABSENT = "not tested"


@dataclass(frozen=True, slots=True)
class _Set:
    """One input, and what was made of it without a defence and with the user's; None where there is nothing to show."""

    attack: str
    original: Rebuilt  # either of the two
    undefended: Rebuilt | None
    yours: Rebuilt | None

    @property
    def made(self) -> tuple[tuple[str, Rebuilt | None], ...]:
        """What was made of it, with a title each."""
        return ("Rebuilt, no defence", self.undefended), ("Rebuilt, yours", self.yours)


def rebuilt(result: Result) -> tuple[Html, Html]:
    """Originals and reconstructions, side by side."""
    lead = el(
        "p",
        "The first is what should have stayed with the member. The second was rebuilt where nothing defends, the third "
        "against your configuration. All are from the first seed.",
    )
    sets = _sets(result)
    if not sets:
        return lead, el("p", "No attack that rebuilds inputs left anything to show: not tested, or not available here.")
    known = lookup.cards(result)
    parts: list[Html] = []
    for attack in dict.fromkeys(one.attack for one in sets):
        title = lookup.title(known, attack)
        held = [one for one in sets if one.attack == attack]
        pictures = [_pictures(one) for one in held if len(one.original.shape) == 2]
        rows = [one for one in held if len(one.original.shape) != 2]
        parts += [el("h3", shortened(title, 120)), *pictures, _numbers(rows) if rows else join()]
    return lead, join(*parts)


def _sets(result: Result) -> list[_Set]:
    """The first inputs of each attack, from the first cell in which there are any."""
    found: dict[tuple[str, int, str, int], dict[str, Sequence[Rebuilt]]] = {}
    for one in result.outcomes:
        if one.rebuilt:
            key = (one.cell.attack, one.cell.hostile, one.cell.split, one.cell.seed)
            found.setdefault(key, {})[one.cell.defence] = one.rebuilt
    by_attack: dict[str, list[_Set]] = {}
    for (attack, *_), by_defence in found.items():
        if attack not in by_attack and len(by_attack) < _MOST_ATTACKS:
            by_attack[attack] = _of_attack(attack, by_defence.get(QUIET, ()), by_defence.get(YOURS, ()))
    return [one for sets in by_attack.values() for one in sets]


def _of_attack(attack: str, undefended: Sequence[Rebuilt], yours: Sequence[Rebuilt]) -> list[_Set]:
    sets = []
    for without, defended in list(zip_longest(undefended, yours))[:_MOST_INPUTS]:
        sets.append(_Set(attack, without or defended, without, defended))
    return sets


# ------------------------------------------------------------------------------------------------------------ pictures


def _pictures(one: _Set) -> Html:
    original = _picture("Original", one.original.original, one.original.shape, "What should stay with the member.")
    made = [_absent(title) if held is None else _picture(title, held.rebuilt, held.shape, held.words)
            for title, held in one.made]  # fmt: skip
    return el("div", original, *made, class_="grid three")


def _absent(title: str) -> Html:
    return el("figure", el("div", _ABSENT, class_="absent square"), el("figcaption", el("h3", title)))


def _picture(title: str, values: Sequence[float], shape: Sequence[int], words: str) -> Html:
    cells = _square(values, max(shape[0], 1), max(shape[1], 1))
    drawn = digit(f"{title}: {shape[0]} by {shape[1]} pixels", cells)
    return el("figure", drawn, el("figcaption", el("h3", title), shortened(words, 200)))


def _square(values: Sequence[float], height: int, width: int) -> list[float]:
    """At most 32 by 32 pixels: larger images are thinned out, and what an oblong one lacks is left empty."""
    step = math.ceil(max(height, width) / _LARGEST_SIDE)
    places = range(0, max(height, width), step)

    def at(y: int, x: int) -> float:
        index = y * width + x
        return values[index] if y < height and x < width and index < len(values) else 0.0

    return [at(y, x) for y in places for x in places]


# ------------------------------------------------------------------------------------------------------------- numbers


def _numbers(rows: Sequence[_Set]) -> Html:
    """Rows of a table, or token ids, one below the other so that they can be compared."""
    listing = []
    for one in rows:
        listing.append(["Original", _listed(one.original.original), "What should stay with the member."])
        for title, held in one.made:
            shown = (_ABSENT, "–") if held is None else (_listed(held.rebuilt), shortened(held.words, 200))
            listing.append([title, *shown])
    return table(("input", "values", "how near"), listing, stacked=True)


def _listed(values: Sequence[float]) -> Html:
    more = f" … and {len(values) - _MOST_NUMBERS} more" if len(values) > _MOST_NUMBERS else ""
    return el("code", f"{'  '.join(_number(value) for value in values[:_MOST_NUMBERS])}{more}")


def _number(value: float) -> str:
    """A token id as it is, any other number with three digits."""
    if not math.isfinite(value):
        return NOT_FINITE
    whole = abs(value) < 1e9 and value == int(value)
    return (f"{int(value)}" if whole else f"{value:.3g}").replace("-", "−")
