"""Small tables for a terminal and for a notebook. Every text is escaped: a name may be somebody else's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_TABLE = "border-collapse:collapse;font-variant-numeric:tabular-nums;margin:.4em 0"
_CELL = "padding:.25em .9em .25em 0;border-bottom:1px solid color-mix(in srgb,currentColor 18%,transparent)"
_BAR = "display:inline-block;height:.55em;margin-left:.6em;background:#2f6f8f;border-radius:1px;vertical-align:middle"
_BAR_EM = 5  # of a share of 1
_QUIET = "opacity:.75;margin:.3em 0;max-width:48em"


@dataclass(frozen=True, slots=True)
class Share:
    """A share (0 … 1), or None where it was not measured; in a notebook with a bar where `bar` is set."""

    value: float | None
    bar: bool = False

    def __str__(self) -> str:
        return "–" if self.value is None else f"{self.value:.1%}"


Cell = str | Share


def text_table(head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Columns as wide as what is in them; the first is set left, the others right."""
    lines = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) if place else cell.ljust(width) for place, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(line, widths, strict=True)) for line in lines)
    )


def page_table(head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """The same as HTML, in colours that fit a light and a dark page."""
    top = "".join(_cell("th", escape(word), place) for place, word in enumerate(head))
    body = "".join(
        f"<tr>{''.join(_cell('td', _shown(cell), place) for place, cell in enumerate(row))}</tr>" for row in rows
    )
    return f'<table style="{_TABLE}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'


def paragraph(text: str, *, quiet: bool = False) -> str:
    """A paragraph of HTML."""
    return f'<p style="{_QUIET}">{escape(text)}</p>' if quiet else f"<p>{escape(text)}</p>"


def _cell(tag: str, inside: str, place: int) -> str:
    side = "right" if place else "left"
    return f'<{tag} style="{_CELL};text-align:{side};white-space:nowrap">{inside}</{tag}>'


def _shown(cell: Cell) -> str:
    text = escape(str(cell))
    if not isinstance(cell, Share) or not cell.bar or cell.value is None:
        return text
    full, rest = _BAR_EM * cell.value, _BAR_EM * (1 - cell.value)
    return f'{text}<span style="{_BAR};width:{full:.2f}em;margin-right:{rest:.2f}em"></span>'
