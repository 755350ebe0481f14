"""What the members trained with: who holds what, how they step, and what of a model leaves them."""

from __future__ import annotations

from collections.abc import Sequence

from phalanx.report.facts import RunReport
from phalanx.report.markup import Html, el, join
from phalanx.report.split import render_split, split_in_words

_OPEN = 12  # tensors that are listed openly
_MOST = 500


def who_holds_what(report: RunReport) -> tuple[Html, Html]:
    """The split in words, and its picture."""
    if not report.split:
        return join(), el("p", "Examples by class: not known. Between real parties these counts stay with the members.")
    words = "Drawn in the lab alone, where one process has all the data. Training and held-out examples together."
    lead = join(el("p", split_in_words(report.split)), el("p", words))
    return lead, render_split(report.split, report.class_names)


def training(report: RunReport) -> tuple[Html, Html]:
    """How members step, and each tensor: whether it travels."""
    lead = "Of its model a member sends the change of the tensors that travel, and nothing else."
    stays = "A tensor that stays is the member's own: no rule, clip or gate of the coordinator's sees it."
    steps = _lines(report.how_trained) if report.how_trained else el("p", "Not recorded.")
    shown = report.travels[:_MOST]
    tensors = _lines(shown[:_OPEN]) if shown else el("p", "Not recorded.")
    rest = len(report.travels) - len(shown)
    more = join()
    if len(shown) > _OPEN:
        left = [el("p", f"{rest} more are left out.")] if rest else []
        summary = el("summary", f"The other {len(report.travels) - _OPEN} tensors")
        more = el("details", summary, _lines(shown[_OPEN:]), *left)
    return join(el("p", lead), el("p", stays)), join(
        el("h3", "How members train"), steps, el("h3", "What travels, and what stays"), tensors, more
    )


def _lines(lines: Sequence[str]) -> Html:
    return el("ul", *(el("li", line) for line in lines), class_="plain")
