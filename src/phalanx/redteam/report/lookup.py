"""Where things are in a result: its attacks in the order of the threats, its settings, the cells of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from phalanx.attacks.card import Card
from phalanx.redteam.defences import NONE, TRUSTING_GATE, YOURS
from phalanx.redteam.outcome import QUIET
from phalanx.redteam.result import SEVERITIES, Finding, Judged, Result, Severity
from phalanx.report.wording import finite

UNDEFENDED = (NONE, TRUSTING_GATE, "central")
TESTED = ("held", "not held", "unclear")  # what a defence can be found to be; all else is no test of it


@dataclass(frozen=True, slots=True, order=True)
class Setting:
    """So many hostile members, on one split of the data."""

    hostile: int
    split: str

    def words(self, members: int) -> str:
        """As in "3 of 10 members hostile, split natural"."""
        who = f"{self.hostile} of {members} members hostile" if self.hostile else "no member hostile"
        return f"{who}, split {self.split}"


def setting(judged: Judged) -> Setting:
    """That of a cell."""
    return Setting(judged.hostile, judged.split)


def cards(result: Result) -> dict[str, Card]:
    """By name."""
    return {card.name: card for card in result.cards}


def title(known: Mapping[str, Card], attack: str) -> str:
    """What a reader calls the attack; its name if it has no card."""
    return known[attack].title if attack in known else attack


def attacked(result: Result) -> tuple[Judged, ...]:
    """The cells in which somebody attacks."""
    return tuple(one for one in result.judged if one.attack != QUIET)


def settings(result: Result) -> tuple[Setting, ...]:
    """Those in which somebody attacks, each once: the one that does the user's configuration most harm first."""
    found: dict[Setting, float] = {}
    for one in attacked(result):
        found[setting(one)] = max(found.get(setting(one), -1.0), _harm(one) if one.defence == YOURS else -1.0)
    return tuple(sorted(found, key=lambda key: -found[key]))


def by_cell(judged: Iterable[Judged]) -> dict[tuple[str, str], Judged]:
    """By (attack, defence), of cells of one setting."""
    return {(one.attack, one.defence): one for one in judged}


def by_threat(result: Result, attacks: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Attacks by threat, in the order of the threats' numbers and in each in the order of the cards.

    An attack without a card, which no run of ours gives, stands under "".
    """
    held = set(attacks)
    known = cards(result)
    groups: dict[str, list[str]] = {}
    for name in (*known, *sorted(held - set(known))):
        if name in held:
            groups.setdefault(known[name].threat if name in known else "", []).append(name)
    return {threat: tuple(groups[threat]) for threat in sorted(groups, key=number_of)}


def number_of(threat: str) -> int:
    """12 of "T12"; after all others if it is no such id."""
    digits = threat[1:]
    return int(digits) if threat.startswith("T") and digits.isascii() and digits.isdigit() else 10**6


def defences(result: Result) -> tuple[str, ...]:
    """No defence, then the user's beside it, then the others in the result's order, which a narrow screen cuts off."""
    names = dict.fromkeys([*(one.name for one in result.defences), *(one.defence for one in attacked(result))])
    places = {NONE: 0, "central": 0, YOURS: 1, TRUSTING_GATE: 3}
    return tuple(sorted(names, key=lambda name: places.get(name, 2)))


def worst_of(judged: Iterable[Judged]) -> Judged | None:
    """The cell with the most harm, None where none was measured. The first of equals."""
    measured = [one for one in judged if finite(one.harm) is not None]
    return max(measured, key=_harm, default=None)


def undefended(result: Result, attack: str) -> dict[Setting, Judged]:
    """By setting the cell that shows whether the attack works where nothing defends: that it does, or that it fails."""
    found: dict[Setting, Judged] = {}
    for one in result.judged:
        fails = one.verdict == "invalid test" and one.defence in UNDEFENDED
        if one.attack == attack and (one.verdict == "works" or (fails and setting(one) not in found)):
            found[setting(one)] = one
    return found


def severities(findings: Iterable[Finding]) -> Mapping[Severity, int]:
    """How many there are of each, the worst first, none left out that there is."""
    held = [one.severity for one in findings]
    return {severity: held.count(severity) for severity in SEVERITIES if severity in held}


def _harm(one: Judged) -> float:
    known = finite(one.harm)
    return -1.0 if known is None else known
