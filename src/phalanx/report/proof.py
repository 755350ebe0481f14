"""How to check a run: the auditor's command and what it proves."""

from __future__ import annotations

from phalanx.report.markup import Html, el, join

_CHECKS = (
    "The signatures of the operator, of every member's update and of every release.",
    "That the log is one unbroken history: its Merkle root is the one that the operator signed.",
    "That each round follows from the one before, and that each released model is the one the gate approved.",
    "That ε, recomputed from the log alone, is no more than what was recorded.",
)


def verification(command: str, public: str, fingerprint: str) -> tuple[Html, Html]:
    """What stands beside the title, and the section."""
    channel = (
        "Take the fingerprint from the operator over another channel, not from this page: without it, a folder is at "
        "most consistent with itself."
    )
    folder = "The run left a public folder. Anybody can check it, offline, without trusting whoever ran it."
    where = el(
        "p",
        "Public folder: ",
        el("code", public),
        el("br"),
        "Operator's fingerprint: ",
        el("code", fingerprint),
    )
    return join(el("p", folder), el("p", channel)), join(
        el("pre", command, tabindex="0"),
        where,
        el("h3", "What the command checks"),
        el("ul", *(el("li", check) for check in _CHECKS), class_="plain"),
    )
