"""The red team's report: one self-contained page, the worst first.

The page refers to nothing outside itself and runs nothing: its policy forbids all but the one style sheet, by hash.
Names, notes and reasons may come from a scenario or from members; `markup` escapes every text.
"""

from __future__ import annotations

from collections.abc import Callable

from phalanx.redteam.report import curves, findings, matrix, method, opening, rebuilt, tables
from phalanx.redteam.result import Result
from phalanx.report.markup import Html
from phalanx.report.page import page

_SECTIONS: tuple[tuple[str, Callable[[Result], tuple[Html, Html]]], ...] = (
    ("What got through", findings.findings),
    ("Every attack on every defence", matrix.matrix),
    ("The worst case of each defence", matrix.worst_case),
    ("Round by round", curves.by_round),
    ("What was rebuilt", rebuilt.rebuilt),
    ("What leaks: central, naive, Phalanx", tables.leakage),
    ("What it costs the attackers", tables.cost),
    ("The thirteen threats", tables.threats),
    ("The price where nobody attacks", tables.prices),
    ("The attacks that were played", method.attacks),
    ("How it was measured", method.measured),
    ("Not tested, and left out", method.left_out),
    ("Do it again", method.again),
)


def render(result: Result) -> bytes:
    """`redteam.html`, UTF-8. Pure: the same result gives the same bytes."""
    sections = [(title, section(result)) for title, section in _SECTIONS]
    return page(opening.verdict_line(result), opening.opening(result), sections, method.provenance(result))
