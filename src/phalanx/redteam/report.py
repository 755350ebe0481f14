"""The demo's report: one self-contained page for whoever ran it, and for whoever they show it to.

The page refers to nothing outside itself and runs nothing: its policy forbids all but the one style sheet, by hash. Ids
and refusal details come from hostile members; `markup` escapes every text. A run that is absent says "not run".
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from hashlib import sha256

from phalanx.redteam import evidence, verdict
from phalanx.redteam.markup import Html, el, join
from phalanx.redteam.result import DemoResult
from phalanx.redteam.style import STYLE

Section = tuple[str, Callable[[DemoResult], tuple[Html, Html]]]

_SECTIONS: tuple[Section, ...] = (
    ("What was tried, and what held", verdict.threats),
    ("What one update gives away", verdict.leak),
    ("Accuracy and backdoor, round by round", evidence.by_round),
    ("What the protection costs", verdict.prices),
    ("Who counted, and who was refused", evidence.members),
    ("The privacy budget", evidence.budget),
    ("Who pays, by class and by organisation", evidence.fairness),
    ("What this does not protect against", verdict.limits),
    ("Check it yourself", verdict.verification),
)


def render(result: DemoResult) -> bytes:
    """`report.html`, UTF-8. Pure: the same result gives the same bytes."""
    parts = []
    for number, (title, section) in enumerate(_SECTIONS, 1):
        lead, content = section(result)
        heading = el("h2", el("span", f"{number}", class_="no"), title)
        head = el("div", heading, el("div", lead), class_="head")
        parts.append(el("section", head, content, id=f"s{number}", aria_label=title))
    links = [el("a", title, href=f"#s{number}") for number, (title, _) in enumerate(_SECTIONS, 1)]
    top = el("header", verdict.opening(result), el("nav", *links, aria_label="Contents"))
    return _document(verdict.headline(result), join(el("main", top, *parts), verdict.provenance(result)))


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
