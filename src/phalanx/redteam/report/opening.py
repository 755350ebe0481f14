"""The top of the page: the verdict in one line, what it means in two sentences, and five figures."""

from __future__ import annotations

import re

from phalanx.redteam.defences import YOURS
from phalanx.redteam.outcome import QUIET
from phalanx.redteam.report import lookup
from phalanx.redteam.report.figures import accuracy_in_words, change_in_words, harm_in_words
from phalanx.redteam.report.lookup import TESTED, Setting
from phalanx.redteam.report.taxonomy import THREATS
from phalanx.redteam.result import SEVERITIES, Judged, Result, Severity, Threat
from phalanx.report.markup import Html, el, join
from phalanx.report.page import key_figure
from phalanx.report.wording import count, finite, listed, shortened

_NOT_RESISTED = ("not defended", "not defended yet")
_REST = ("unclear", "held in part", "invalid test", "not tested")


def verdict_line(result: Result) -> str:
    """As in "2 of 13 threats not resisted (1 high, 1 medium) · 3 not tested"."""
    if all(threat.status == "not tested" for threat in result.threats):
        return "Nothing was tested against your configuration"
    open_ones = [threat for threat in result.threats if threat.status in _NOT_RESISTED]
    severities = [worst for threat in open_ones if (worst := _severity(result, threat)) is not None]
    counted = ", ".join(f"{severities.count(severity)} {severity}" for severity in SEVERITIES if severity in severities)
    line = f"{len(open_ones)} of {len(result.threats)} {'threat' if len(result.threats) == 1 else 'threats'}"
    rest = [
        f"{number} {status}" for status in _REST
        if (number := sum(threat.status == status for threat in result.threats))
    ]  # fmt: skip
    waived = sum(bool(finding.waived) for finding in result.findings)
    if waived:
        rest.append(f"{waived} {'finding' if waived == 1 else 'findings'} waived")
    return " · ".join([f"{line} not resisted{f' ({counted})' if counted else ''}", *rest])


def opening(result: Result) -> Html:
    """Title, sentence and key figures."""
    return join(
        el("p", f"Phalanx red team · federation {shortened(result.federation, 120)}", class_="kicker"),
        el("h1", _together(verdict_line(result))),
        el("p", _sentence(result), class_="verdict"),
        _warning(result),
        el("dl", *_figures(result), class_="figures"),
    )


def _warning(result: Result) -> Html:
    """Where the page shows what it should not be shown to everybody."""
    if not any(outcome.rebuilt for outcome in result.outcomes):
        return join()
    words = "This page holds examples of the members, as they are and as they were rebuilt. Keep it as you keep those."
    return el("p", words, class_="harm")


def _together(line: str) -> str:
    """Lines end after a point or a bracket's comma, so that no number is parted from its word."""
    first, *rest = line.split(" · ")
    return "\u00a0· ".join([re.sub(r"(\d) (?!of )", "\\1\u00a0", first), *(one.replace(" ", "\u00a0") for one in rest)])


def _severity(result: Result, threat: Threat) -> Severity | None:
    """The worst of the threat's findings."""
    known = lookup.cards(result)
    held = [one.severity for one in result.findings
            if one.judged.attack in known and known[one.judged.attack].threat == threat.id]  # fmt: skip
    return min(held, key=SEVERITIES.index, default=None)


def _sentence(result: Result) -> str:
    """What got through, by name, and how much was tried."""
    through = [_title(threat) for threat in result.threats if threat.status in _NOT_RESISTED]
    played = {one.attack for one in lookup.attacked(result) if one.verdict not in ("not tested", "not available")}
    if not played:
        return "No attack was played, so nothing is said here about any defence. Not tested is not the same as safe."
    text = f"Not resisted: {'; '.join(through)}." if through else "No attack of this test got through."
    at_most = max(result.hostile, default=0)
    who = f", by up to {at_most} of {count(result.members, 'member')}" if at_most else ""
    tried = f"{count(len(played), 'attack').capitalize()} on {count(len(lookup.defences(result)), 'configuration')}"
    return f"{text} {tried}{who}, over {count(len(result.seeds), 'seed')}."


def _title(threat: Threat) -> str:
    return shortened(threat.title or (THREATS[threat.id].title if threat.id in THREATS else threat.id), 120)


def _figures(result: Result) -> list[Html]:
    yours = [one for one in lookup.attacked(result) if one.defence == YOURS]
    return [
        key_figure("Findings", f"{len(result.findings)}", _severities(result)),
        key_figure("Worst harm to yours", *_worst(result, yours)),
        key_figure("Held by yours", *_held(yours)),
        key_figure("Attacks shown to work", *_works(result)),
        key_figure("Price of yours, points", *_price(result)),
    ]


def _severities(result: Result) -> str:
    counted = [f"{number} {severity}" for severity, number in lookup.severities(result.findings).items()]
    waived = sum(bool(finding.waived) for finding in result.findings)
    if not counted:
        return "No attack got past your configuration, of those that were tested."
    return f"{', '.join(counted)}{f'; {waived} waived' if waived else ''}."


def _worst(result: Result, yours: list[Judged]) -> tuple[str, str]:
    worst = lookup.worst_of(yours)
    if worst is None:
        return "not tested", "0 is within the limit, 1 the attackers' goal."
    known = lookup.cards(result)
    name = lookup.title(known, worst.attack)
    setting = Setting(worst.hostile, worst.split).words(result.members)
    return harm_in_words(worst.harm), f"{shortened(name, 60)}; {shortened(setting, 80)}. 1 is the attackers' goal."


def _held(yours: list[Judged]) -> tuple[str, str]:
    tested = [one for one in yours if one.verdict in TESTED]
    if not tested:
        return "not tested", "Attacks on your configuration that it held against."
    held = sum(one.verdict == "held" for one in tested)
    unclear = sum(one.verdict == "unclear" for one in tested)
    more = f" {unclear} unclear." if unclear else ""
    return f"{held} of {len(tested)}", f"Attacks on your configuration, each setting counted.{more}"


def _works(result: Result) -> tuple[str, str]:
    shown = {
        attack: any(one.verdict == "works" for one in cells.values())
        for attack in dict.fromkeys(one.attack for one in lookup.attacked(result))
        if (cells := lookup.undefended(result, attack))
    }
    if not shown:
        return "not tested", "Attacks that reach their goal where nothing defends."
    invalid = [name for name, works in shown.items() if not works]
    said = f"Undefended. Invalid test: {listed(invalid)}." if invalid else "Undefended, each in some setting."
    return f"{len(shown) - len(invalid)} of {len(shown)}", said


def _price(result: Result) -> tuple[str, str]:
    """Accuracy given up where nobody attacks, on the split where that is most."""
    quiet = {(one.defence, one.split): finite(one.accuracy) for one in result.judged if one.attack == QUIET}
    prices = [
        (without, with_it, split) for (defence, split), with_it in quiet.items()
        if defence == YOURS and with_it is not None and (without := quiet.get((QUIET, split))) is not None
    ]  # fmt: skip
    if not prices:
        return "not tested", "Accuracy given up where nobody attacks."
    without, with_it, split = min(prices, key=lambda price: price[1] - price[0])
    change = change_in_words(without, with_it).removesuffix("\u00a0points")
    said = f"Where nobody attacks: {accuracy_in_words(without)} without defence, {accuracy_in_words(with_it)} with."
    return change, f"{said} Split {shortened(split, 40)}."
