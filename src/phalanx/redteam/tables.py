"""The tables over all verdicts: each defence's worst case, what damage costs the attackers, leakage, the threats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from phalanx.attacks.card import Card
from phalanx.redteam.defences import CENTRAL, NONE, YOURS
from phalanx.redteam.findings import NOT_A_GOAL
from phalanx.redteam.known import Known
from phalanx.redteam.outcome import QUIET, Cell, Outcome
from phalanx.redteam.result import Cost, Judged, Leak, Threat, Worst

THREATS: Mapping[str, str] = {
    "T1": "Data poisoning",
    "T2": "Gradient manipulation, aggregation poisoning",
    "T3": "Backdoors",
    "T4": "Sybils",
    "T5": "Collusion inside normal bounds",
    "T6": "Gradient leakage",
    "T7": "Model inversion",
    "T8": "Membership inference",
    "T9": "Eavesdropping, alteration, injection, replay",
    "T10": "Free-riding",
    "T11": "Curious or malicious coordinator",
    "T12": "Stolen keys, rogue identities",
    "T13": "Hostile input and load",
}
# Threats that no control of this version is for: what later versions are measured by.
NOT_YET = frozenset({"T7", "T10", "T11"})
# The first of these verdicts that there is decides.
_STATUS = (("unclear", "unclear"), ("not tested", "not tested"), ("held", "defended"), ("invalid test", "invalid test"))
_GOALS = ("damage", "backdoor_lift")


def worst_cases(judged: Sequence[Judged], cards: Mapping[str, Card]) -> tuple[Worst, ...]:
    """For each defence, members and split: the attack on accuracy that hurts most, and the backdoor that works best."""
    worst: dict[tuple[str, int, str, str], Judged] = {}
    for one in judged:
        if one.attack == QUIET or one.harm is None or cards[one.attack].goal.judged not in _GOALS:
            continue
        key = (one.defence, one.hostile, one.split, cards[one.attack].goal.judged)
        if key not in worst or one.harm > (worst[key].harm or 0.0):
            worst[key] = one
    return tuple(_worst(one, cards[one.attack]) for _, one in sorted(worst.items()))


def _worst(one: Judged, card: Card) -> Worst:
    value = 0.0 if one.figure is None else one.figure.value
    if card.goal.judged == "damage":
        words = f"costs {100 * value:.1f} points of accuracy"
    else:
        words = f"{100 * value:.0f} % more triggered inputs misread"
    return Worst(one.defence, one.hostile, one.split, one.attack, one.harm or 0.0, words)


def costs_of(judged: Sequence[Judged], cards: Mapping[str, Card], outcomes: Mapping[Cell, Outcome]) -> tuple[Cost, ...]:
    """The cheapest damage to accuracy, and the cheapest backdoor, that each defence lets through.

    A point is 1 % of test inputs; what counts is only what lies above the limit by more than chance.
    """
    cheapest: dict[tuple[str, str], Cost] = {}
    for one in judged:
        if one.attack == QUIET or one.figure is None or cards[one.attack].goal.judged not in _GOALS:
            continue
        cost = _cost(one, cards[one.attack], outcomes)
        key = (one.defence, cards[one.attack].goal.judged)
        if key not in cheapest or _dearness(cost) < _dearness(cheapest[key]):
            cheapest[key] = cost
    return tuple(cost for _, cost in sorted(cheapest.items()))


def _cost(one: Judged, card: Card, outcomes: Mapping[Cell, Outcome]) -> Cost:
    first = outcomes.get(Cell(one.attack, one.defence, one.hostile, one.split, 0))
    rounds = 0 if first is None else round(first.measures.get("active_rounds", 0.0))
    points = 0.0 if one.figure is None else 100 * one.figure.value
    through = one.figure is not None and one.figure.low > card.goal.held
    per_point = one.hostile * rounds / points if through and points > 0 else None
    return Cost(one.defence, one.attack, one.hostile, card.knowledge, rounds, points, per_point)


def _dearness(cost: Cost) -> tuple[bool, float, float]:
    return cost.per_point is None, cost.per_point or 0.0, -cost.points


def leaks_of(judged: Sequence[Judged], known: Known) -> tuple[Leak, ...]:
    """What each onlooker's attack finds in central training, naive federated learning and the user's configuration."""
    leaks = []
    for name, probe in known.probes.items():
        found = {one.defence: one for one in judged if one.attack == name and one.split == "natural"}
        if probe.card.family != "privacy" or not found:
            continue
        said = [_leak(found.get(setting), setting, probe.settings) for setting in (CENTRAL, NONE, YOURS)]
        leaks.append(Leak(name, probe.card.goal.judged, *said))
    return tuple(leaks)


def _leak(one: Judged | None, setting: str, settings: Sequence[str]) -> str:
    if one is None:
        return "not tested" if setting in settings else "does not apply"
    if one.figure is None:
        return one.why or one.verdict
    return f"{one.figure.value:.3g} [{one.figure.low:.3g}, {one.figure.high:.3g}]"


def threats_of(judged: Sequence[Judged], cards: Mapping[str, Card]) -> tuple[Threat, ...]:
    """The threat table, by what was found in the user's configuration."""
    return tuple(_threat(number, title, judged, cards) for number, title in THREATS.items())


def _threat(number: str, title: str, judged: Sequence[Judged], cards: Mapping[str, Card]) -> Threat:
    mine = [j for j in judged if j.defence == YOURS and j.attack != QUIET and cards[j.attack].threat == number]
    by: dict[str, list[str]] = {}
    for one in mine:
        verdict = one.verdict if cards[one.attack].goal.measure != NOT_A_GOAL else "not a goal"
        by.setdefault(verdict, []).append(one.attack)
    said = "; ".join(f"{verdict}: {', '.join(sorted(set(names)))}" for verdict, names in sorted(by.items()))
    status = next((words for verdict, words in _STATUS if verdict in by), "not tested")
    if "not held" in by:
        status = "not defended yet" if number in NOT_YET else "not defended"
    elif status == "defended" and (number in NOT_YET or {"not available", "invalid test"} & by.keys()):
        status = "held in part"  # what was held is not all that there is to the threat
    return Threat(number, title, status, said)
