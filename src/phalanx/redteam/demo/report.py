"""The demo's report: one self-contained page for whoever ran it, and for whoever they show it to.

The page refers to nothing outside itself and runs nothing: its policy forbids all but the one style sheet, by hash. Ids
and refusal details come from hostile members; `markup` escapes every text. A run that is absent says "not run".
"""

from __future__ import annotations

from collections.abc import Callable

from phalanx.redteam.demo import evidence, verdict
from phalanx.redteam.demo.result import DemoResult
from phalanx.report.markup import Html
from phalanx.report.page import page

_SECTIONS: tuple[tuple[str, Callable[[DemoResult], tuple[Html, Html]]], ...] = (
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
    sections = [(title, section(result)) for title, section in _SECTIONS]
    return page(verdict.headline(result), verdict.opening(result), sections, verdict.provenance(result))
