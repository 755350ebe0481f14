"""The report on a user's own run: one self-contained page, from what the run recorded and nothing else.

Ids, reasons and messages come from hostile members; `markup` escapes every text.
"""

from __future__ import annotations

from phalanx.report import proof, rounds, sites
from phalanx.report.ballots import by_own_ballots
from phalanx.report.facts import RunReport, State
from phalanx.report.markup import Html, el, join, table
from phalanx.report.page import Section, key_figure, page
from phalanx.report.spent import epsilon_in_words, spent_by_round
from phalanx.report.training import training, who_holds_what
from phalanx.report.wording import NOT_MEASURED, count, epsilon, finite, listed, shortened, small, word


def render_run(report: RunReport) -> bytes:
    """`report.html`, UTF-8. Pure: the same report gives the same bytes."""
    sections: list[Section] = [
        ("Accuracy, site by site", _sites(report)),
        ("The controls in force", _controls(report)),
        ("Who holds what", who_holds_what(report)),
        ("How it was trained, and what travels", training(report)),
        ("The privacy budget", _budget(report)),
        ("Who counted, and who was refused", rounds.members(report)),
        ("What the gate decided", rounds.gate(report)),
        ("What this run does not protect against", _limits(report)),
        ("Check it yourself", proof.verification(report.verify_command, report.public, report.fingerprint)),
    ]
    return page(f"{report.federation}: {_done(report)}", _opening(report), sections, _provenance(report))


# ------------------------------------------------------------------------------------------------------------ opening


def _done(report: RunReport) -> str:
    closed = len(report.records)
    rounds_done = count(closed, "round") if closed == report.planned else f"{closed} of {report.planned} rounds"
    return f"{count(len(report.members), 'member')}, {rounds_done}"


def _opening(report: RunReport) -> Html:
    who = count(len(report.members), "member").capitalize()
    together = "trained one model together" if len(report.members) > 1 else "trained a model"
    end = "" if report.finished else f" The run ended after {len(report.records)} of {report.planned} rounds."
    return join(
        el("p", f"Phalanx run · federation {report.federation}", class_="kicker"),
        el("h1", f"{who} {together}.{end}"),
        el("p", _sentence(report), class_="verdict"),
        *(el("p", f"✕ Warning: {line}.", class_="aside") for line in report.warnings),
        el("dl", *_figures(report), class_="figures six"),
    )


def _sentence(report: RunReport) -> str:
    """How the run ended, in its own words if it was stopped; what passed the gate; the gain; what is off."""
    if report.finished:
        end = (
            "The one planned round was closed." if report.planned == 1 else f"All {report.planned} rounds were closed."
        )
    else:
        end = f"Stopped: {shortened(report.reason, 300).rstrip('.') or 'no reason was recorded'}."
    refused = len(report.records) - report.released
    gate = f"The gate passed {count(report.released, 'candidate')} and refused {word(refused) if refused else 'none'}."
    alone = sites.gain_in_words(report)
    off = [one.name for one in report.controls if one.state == "off"]
    return f"{end} {gate} {alone}{f'Not in force: {listed(off, len(off))}.' if off else 'No control was switched off.'}"


def _figures(report: RunReport) -> list[Html]:
    closed = len(report.records)
    out = sorted({(one.member, str(one.reason)) for record in report.records for one in rounds.refusals(record)})
    who = listed([f"{member}: {reason}" for member, reason in out])
    return [
        key_figure("Mean accuracy at sites", *sites.key_figure(report)),
        key_figure("Gain over training alone, points", *sites.gain_figure(report)),
        key_figure("Privacy loss, at most", _spent(report), _unit(report)),
        key_figure("Rounds closed", f"{closed} of {report.planned}", _versions(report)),
        key_figure(
            "Members ever refused", f"{len({member for member, _ in out})} of {len(report.members)}",
            f"{who}." if who else "Every answer was sound.",
        ),
        key_figure(
            "Refused by the gate", f"{closed - report.released} of {closed}",
            "Candidate models that members' own held-out data found worse.",
        ),
    ]  # fmt: skip


def _versions(report: RunReport) -> str:
    return (
        f"Version {report.records[-1].version} is the last one released." if report.records else "Nothing was closed."
    )


def _spent(report: RunReport) -> str:
    return epsilon(None) if report.epsilon is None else f"ε = {epsilon(report.epsilon)}"


def _unit(report: RunReport) -> str:
    if report.privacy is None:
        return "No noise was added, and nothing was charged."
    budget = (
        f"Budget {report.privacy.epsilon:g}, per {report.unit}, added or removed; δ = {small(report.privacy.delta)}."
    )
    return budget if report.epsilon is not None else f"No closed round recorded any. {budget}"


# ----------------------------------------------------------------------------------------------------------- controls

_SIGNS: dict[State, str] = {
    "on": "✓ on",
    "off": "✕ off",
    "no effect": "○ no effect",
    "not available": "– not available",
}


def _controls(report: RunReport) -> tuple[Html, Html]:
    why = (
        "Who can switch a control off matters as much as that it is on. ✓ was in force in this run; ✕ was not; ○ "
        "protects nothing here; – does not exist in this version."
    )
    rows = [
        [one.name, one.value, one.switch, el("span", _SIGNS[one.state], class_=_kind(one.state))]
        for one in report.controls
    ]
    head = ("control", "in this run", "who can switch it off", "in force?")
    return el("p", why), table(head, rows, stacked=True) if rows else el("p", "No control was recorded.")


def _kind(state: State) -> str:
    return {"off": "outcome harm", "not available": "outcome soft"}.get(state, "outcome")


# -------------------------------------------------------------------------------------------------------------- sites


def _sites(report: RunReport) -> tuple[Html, Html]:
    """What was measured, and under it what the voters say themselves."""
    lead, measured = sites.accuracy(report)
    return lead, join(measured, by_own_ballots(report))


# ------------------------------------------------------------------------------------------------------------- budget


def _budget(report: RunReport) -> tuple[Html, Html]:
    if report.privacy is None:
        nothing = "This run added no noise. Nothing bounds what its updates and models give away of the training data."
        return el("p", "No privacy was configured."), el("p", nothing)
    shown = rounds.shown(report.records)
    known = finite(report.epsilon)
    lead = el("p", "No ε was recorded.") if known is None else epsilon_in_words(
        known, report.unit, report.privacy.delta
    )  # fmt: skip
    here = (
        f"σ = {report.privacy.noise_multiplier:.4g} in each round. The chart is this run's alone: what earlier runs "
        "took from the same data is in the ledger, and counts against the same budget."
    )
    spent = {record.round: record.epsilon for record in shown}
    chart = (
        spent_by_round(spent, report.privacy.epsilon, "budget") if spent else el("p", f"ε by round: {NOT_MEASURED}.")
    )
    return lead, join(chart, el("p", here, class_="soft"))


# ------------------------------------------------------------------------------------------------ limits and provenance


def _limits(report: RunReport) -> tuple[Html, Html]:
    lead = el("p", "A page that only lists what works is an advertisement. These are open in this configuration.")
    items = [el("li", item) for item in report.limits]
    return lead, el("ul", *items, class_="plain") if items else el(
        "p", "No limits were stated: a defect of the report."
    )


def _provenance(report: RunReport) -> Html:
    version = f"Phalanx {report.version}" if report.version else "Phalanx, version not recorded"
    made = f"{version} · run {report.run} · {report.rule}"
    return el("footer", el("p", f"{made}. This page refers to nothing outside itself and runs no script."))
