"""HTML in which every plain string is escaped: what a member says cannot become markup.

`el` and `join` build `Html` and escape each child that is not `Html` already. An f-string of `Html` is a plain string
again, so a slip is escaped twice and visible, never the other way round.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from phalanx.report.wording import shortened

_VOID = frozenset({"br", "meta"})
_LONGEST = 4000  # characters of one text, whoever wrote it
_SPACES = "\u00a0\u202f"  # not printable by Python's count, but harmless


class Html(str):
    """Markup that is well-formed and already escaped."""

    __slots__ = ()


def el(tag: str, *children: str, **attributes: str | float | None) -> Html:
    """One element. `class_` is class, `stroke_width` is stroke-width; an attribute that is None is left out."""
    named = ((name.rstrip("_").replace("_", "-"), value) for name, value in attributes.items() if value is not None)
    opening = "".join([tag, *(f' {name}="{_attribute(name, value)}"' for name, value in named)])
    return Html(f"<{opening}>") if tag in _VOID else Html(f"<{opening}>{join(*children)}</{tag}>")


def join(*children: str) -> Html:
    """The children one after the other; plain strings are escaped."""
    return Html("".join(child if isinstance(child, Html) else _escaped(child) for child in children))


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, numeric: Iterable[int] = (), stacked: bool = False
) -> Html:
    """A table in a region of its own that scrolls; `numeric` columns are set right.

    `stacked`: on a narrow screen each row becomes a card that repeats the column's head (for tables of texts).
    """
    right = frozenset(numeric)
    kinds = ["n" if column in right else None for column in range(len(head))]
    top = el("tr", *(el("th", text, scope="col", class_=kind) for text, kind in zip(head, kinds, strict=True)))
    body = [
        el("tr", el("th", row[0], scope="row"), *(
            el("td", cell, class_=kind, data_label=text)
            for cell, text, kind in zip(row[1:], head[1:], kinds[1:], strict=True)
        ))
        for row in rows
    ]  # fmt: skip
    whole = el("table", el("thead", top), el("tbody", *body), class_="stacked" if stacked else None)
    return scrolling(whole, f"Table: {', '.join(head)}")


def scrolling(content: Html, label: str) -> Html:
    """Content that may be wider than the screen; reachable by keyboard."""
    return el("div", content, class_="scroll", tabindex="0", role="region", aria_label=label)


def data(content: Html) -> Html:
    """The numbers behind a chart, folded away."""
    return el("details", el("summary", "The data as a table"), content)


def _attribute(name: str, value: str | float) -> str:
    """Escaped. A path is a drawing of our own, as long as the run: half of it would be another drawing."""
    return html.escape(_plain(value)) if name == "d" else _escaped(_plain(value))


def _plain(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")


def _escaped(text: str) -> str:
    """Escaped; invisible and direction-changing characters are shown by number; no text is ever an address."""
    shown = "".join(c if c.isprintable() or c in _SPACES else _invisible(c) for c in shortened(text, _LONGEST))
    # Written as entities, so that a search of the file for "://" proves that it refers to nothing outside.
    return html.escape(shown).replace("://", ":&#47;&#47;")


def _invisible(character: str) -> str:
    return " " if character in "\n\r\t" else f"\\u{ord(character):04x}"
