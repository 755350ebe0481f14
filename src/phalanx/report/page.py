"""One self-contained page: it refers to nothing outside itself and runs nothing, and its policy says so.

Every text of a page comes through `markup`, which escapes it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256

from phalanx.report.markup import Html, el, join
from phalanx.report.style import STYLE

Section = tuple[str, tuple[Html, Html]]  # the title; then what stands beside it, and the content below


def page(title: str, opening: Html, sections: Sequence[Section], footer: Html) -> bytes:
    """The page, UTF-8: opening, contents, numbered sections, footer. Pure: the same input gives the same bytes."""
    parts, links = [], []
    for number, (name, (lead, content)) in enumerate(sections, 1):
        heading = el("h2", el("span", f"{number}", class_="no"), name)
        head = el("div", heading, el("div", lead), class_="head")
        parts.append(el("section", head, content, id=f"s{number}", aria_label=name))
        links.append(el("a", name, href=f"#s{number}"))
    top = el("header", opening, el("nav", *links, aria_label="Contents"))
    return _document(title, join(el("main", top, *parts), footer))


def key_figure(name: str, value: str, remark: str) -> Html:
    """One of the large figures of the opening; a value in words is set smaller."""
    words = None if value.lstrip("+−")[:1].isdigit() or value.startswith("ε") else "words"
    return el("div", el("dt", name), el("dd", el("b", value, class_=words), remark), class_="figure")


def wide_chart(title: str, good: str, chart: Html) -> Html:
    """A chart as wide as the page, with a title that says what is good."""
    wide = el("div", chart, class_="scroll wide", tabindex="0", role="region", aria_label=title)
    return el("figure", el("figcaption", el("h3", title), good), wide)


def _document(title: str, body: Html) -> bytes:
    """A page that may load nothing and run nothing; its one style sheet is allowed by its hash."""
    allowed = b64encode(sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{allowed}'; base-uri 'none'; form-action 'none'"
    fence: Mapping[str, str] = {"http_equiv": "Content-Security-Policy", "content": policy}
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", **fence),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="referrer", content="no-referrer"),
        el("title", title),
        el("style", Html(STYLE)),
    )
    return ("<!doctype html>\n" + el("html", head, el("body", body), lang="en") + "\n").encode()
