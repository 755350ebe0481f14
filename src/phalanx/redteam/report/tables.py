"""Leakage, the attackers' cost, the threats and the price of each defence, as tables."""

from __future__ import annotations

from phalanx.redteam.defences import YOURS
from phalanx.redteam.outcome import QUIET
from phalanx.redteam.report import lookup
from phalanx.redteam.report.figures import accuracy_in_words, change_in_words, in_words
from phalanx.redteam.report.taxonomy import THREATS, Named
from phalanx.redteam.result import Judged, Result, Threat
from phalanx.report.charts import difference_bar
from phalanx.report.markup import Html, el, join, table
from phalanx.report.wording import finite, shortened

_STATUS = {
    "defended": "✓ defended",
    "not defended": "✕ not defended",
    "not defended yet": "✕ not defended yet",
    "held in part": "✓ held in part",
    "unclear": "? unclear",
    "invalid test": "∅ invalid test",
    "not tested": "○ not tested",
}


# --------------------------------------------------------------------------------------------------- leakage and cost


def leakage(result: Result) -> tuple[Html, Html]:
    """The same attacks on three ways of training on the same data."""
    lead = el(
        "p",
        "Central: one model trained on all data in one place, which is all that the attacker sees. Naive: federated "
        "averaging without any control. Phalanx: your configuration.",
    )
    known = lookup.cards(result)
    rows = [
        [join(lookup.title(known, one.attack), el("small", shortened(in_words(one.measure), 200))),
         *(shortened(text, 200) or "not tested" for text in (one.central, one.naive, one.phalanx))]
        for one in result.leaks
    ]  # fmt: skip
    head = ("attack and measure", "central", "naive federated", "Phalanx")
    return lead, table(head, rows, stacked=True) if rows else el("p", "No attack on privacy was played: not tested.")


def cost(result: Result) -> tuple[Html, Html]:
    """What a point of damage costs the attackers, by the cheapest attack."""
    lead = el(
        "p",
        "For each defence the cheapest damage to accuracy and the cheapest backdoor that were played: how many members "
        "it takes, what they have to know, and how many member-rounds go into one point of it. High is good.",
    )
    known = lookup.cards(result)
    rows = [
        [join(one.defence, el("small", "your configuration") if one.defence == YOURS else ""),
         lookup.title(known, one.attack), f"{one.members}",
         one.knowledge, f"{one.rounds}", _amount(one.points),
         "nothing got through" if one.per_point is None else _amount(one.per_point)]
        for one in result.costs
    ]  # fmt: skip
    head = ("defence", "cheapest attack", "members", "knowledge", "rounds", "points of harm", "member-rounds a point")
    numeric = (2, 4, 5, 6)
    return lead, table(head, rows, numeric=numeric, stacked=True) if rows else el("p", "No cost was found: not tested.")


def _amount(value: float) -> str:
    if finite(value) is None:
        return "not finite"
    return f"{value:.1e}" if abs(value) >= 1e6 else f"{value:.1f}".replace("-", "−")


# ------------------------------------------------------------------------------------------------------------- threats


def threats(result: Result) -> tuple[Html, Html]:
    """T1 … T13, also those that nothing was played for."""
    lead = join(
        el("p", "✓ every attack of the threat that was played was held; in part, where one was not available or does "
                "nothing undefended. ✕ one was not; not yet, where this "
                "version has no control for it. ○ nothing was played, which is not a pass."),
        el("p", "ATLAS has no word for federated learning: a technique fits exactly, or is the nearest there is."),
    )  # fmt: skip
    given = {threat.id: threat for threat in result.threats}
    absent = {name: Threat(name, known.title, "not tested", "") for name, known in THREATS.items()}
    rows = [_threat(given.get(name, absent.get(name))) for name in sorted(given | absent, key=lookup.number_of)]
    return lead, table(("threat", "what it is", "in this test", "shown by", "known as"), rows, stacked=True)


def _threat(threat: Threat | None) -> list[str]:
    if threat is None:
        return ["–"] * 5
    kind = "outcome harm" if threat.status.startswith("not defended") else "outcome"
    status = el("span", _STATUS.get(threat.status, threat.status), class_=kind)
    known = THREATS.get(threat.id, Named(""))
    return [threat.id, threat.title or known.title, status, shortened(threat.words, 600) or "–", _elsewhere(known)]


def _elsewhere(known: Named) -> Html:
    atlas = ", ".join(f"{one.id.removeprefix('AML.')} {one.relation}" for one in known.atlas) or "none"
    return join(
        el("small", f"ATLAS: {atlas}"),
        el("small", f"NIST: {', '.join(name.removeprefix('NISTAML') for name in known.nist) or 'none'}"),
        el("small", f"OWASP: {', '.join(known.owasp) or 'none'}"),
    )


# --------------------------------------------------------------------------------------------------------------- price


def prices(result: Result) -> tuple[Html, Html]:
    """What each defence costs where nobody attacks."""
    lead = el(
        "p",
        "A defence is paid for every day, attacked or not. Accuracy of the released model where nobody attacks: high "
        "is good, a minus is the price.",
    )
    quiet = [one for one in result.judged if one.attack == QUIET]
    without = {one.split: one for one in quiet if one.defence == QUIET}
    changes = [abs(change) for one in quiet if (change := _change(one, without)) is not None]
    rows = [_price(one, without, max(changes, default=0.0)) for one in sorted(quiet, key=_place)]
    head = ("defence", "split", "accuracy", "against no defence", "loss | gain")
    none = el("p", "No run without an attack: the price was not tested.")
    return lead, table(head, rows, numeric=(2, 3, 4), stacked=True) if rows else none


def _price(one: Judged, without: dict[str, Judged], largest: float) -> list[str]:
    shown = accuracy_in_words(one.accuracy)
    told = f"told that {one.hostile} are hostile" if one.hostile else ""
    name = join(one.defence, el("small", "your configuration" if one.defence == YOURS else told))
    base = without.get(one.split)
    change = _change(one, without)
    if base is None or one.defence == QUIET or change is None:
        return [name, one.split, shown, "–", ""]
    bar = difference_bar(base.accuracy or 0.0, one.accuracy or 0.0, largest)
    return [name, one.split, shown, change_in_words(base.accuracy or 0.0, one.accuracy or 0.0), bar]


def _place(one: Judged) -> tuple[str, bool, int]:
    """By split, the user's configuration last, and else in the order in which they were judged."""
    return one.split, one.defence == YOURS, one.hostile


def _change(one: Judged, without: dict[str, Judged]) -> float | None:
    base = without.get(one.split)
    before, after = finite(base.accuracy) if base else None, finite(one.accuracy)
    return None if before is None or after is None else after - before
