"""Writes the generated parts of the documentation anew:  python -m tests.docs.refresh

Run it after a change of a command, an error or a result file; `make check` fails while a page differs from the code.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.docs import figures, learning_figures, pictures, redteam_figures, reference, rule_figures
from tests.docs.page import ROOT, part, with_part

PARTS: dict[tuple[str, str], Callable[[], str]] = {
    ("README.md", "figures"): figures.verdicts,
    ("README.md", "prices"): figures.prices,
    ("README.md", "examples"): learning_figures.examples,
    ("docs/aggregation.md", "large-rows"): rule_figures.large_rows,
    ("docs/aggregation.md", "speed"): rule_figures.speed,
    ("docs/which-rule.md", "rules"): rule_figures.rules,
    ("docs/which-rule.md", "cells"): rule_figures.cells,
    ("docs/which-rule.md", "beyond"): rule_figures.beyond,
    ("docs/learning.md", "algorithms"): learning_figures.algorithms,
    ("docs/learning.md", "ballots"): learning_figures.ballots,
    ("docs/learning.md", "examples"): learning_figures.examples,
    ("docs/learning.md", "simulation"): learning_figures.simulation,
    ("docs/red-team.md", "undefended"): redteam_figures.undefended,
    ("docs/red-team.md", "time"): redteam_figures.time,
    ("docs/red-team.md", "worst"): redteam_figures.worst,
    ("docs/red-team.md", "costs"): redteam_figures.costs,
    ("docs/red-team.md", "leaks"): redteam_figures.leaks,
    ("docs/red-team.md", "threats"): redteam_figures.threats,
    ("docs/red-team.md", "fltrust"): redteam_figures.fltrust,
    ("docs/red-team.md", "searched"): redteam_figures.searched,
    ("docs/red-team.md", "membership"): redteam_figures.membership,
    ("docs/adr/0006-torch-by-vmap-and-the-demos-numbers.md", "figures"): figures.chosen,
    ("docs/reference/cli.md", "commands"): reference.command_line,
    ("docs/reference/cli.md", "exit-codes"): reference.exit_codes,
}
DIGIT = "docs/images/rebuilt-digit.svg"


def main() -> None:
    """Rewrites what differs, and names it."""
    for (page, name), render in PARTS.items():
        path = ROOT / page
        text = path.read_text(encoding="utf-8")
        try:
            body = render()
        except FileNotFoundError as error:
            print(f"{page} {name}: left as it is, {error.filename} is not there")
            continue
        if body != part(text, name):
            path.write_text(with_part(text, name, body), encoding="utf-8")
            print(f"{page}: {name}")
    (ROOT / DIGIT).write_text(pictures.rebuilt_digit(pictures.leak()), encoding="utf-8")


if __name__ == "__main__":
    main()
