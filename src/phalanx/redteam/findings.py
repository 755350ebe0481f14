"""What did not hold, worst first: how bad it is, what happened, and what to do.

Severity is impact by effort. Impact: the attackers' goal is met (3), nearly half of the way (2), less (1). Effort: a
single member that knows nothing of the rule is one step worse, attackers who see the others' updates one step less.
Riding along is medium at most, and what no protocol promises, that messages arrive, is low.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from phalanx.attacks.card import Card
from phalanx.redteam.defences import CENTRAL, NONE, RULES, TRUSTING_GATE
from phalanx.redteam.result import SEVERITIES, Finding, Judged, Severity

_LEVELS: tuple[Severity, ...] = ("low", "low", "medium", "high", "critical")
NOT_A_GOAL = "silenced"  # whoever carries messages can lose them
_UNDEFENDED = (NONE, TRUSTING_GATE, CENTRAL)
_FIXES: Mapping[str, str] = {
    "T1": "a rule that bounds what one member adds (docs/which-rule.md), and a gate",
    "T2": "another rule: `phalanx redteam` with its name under --defences shows how it fares; docs/which-rule.md",
    "T3": "a rule that filters by distance together with example-level noise; backdoor inspection is not available yet",
    "T4": "admission by organisation, so that identities cost something; a rule that bounds f rows",
    "T5": "fewer hostile members by admission: no rule is sure against this many; docs/which-rule.md has the limits",
    "T6": "example-level privacy ([privacy] with unit = 'example'); secure aggregation is not available yet",
    "T7": "example-level privacy with a smaller epsilon, or a predictor that gives labels only",
    "T8": "example-level privacy with a smaller epsilon, fewer rounds, or more examples",
    "T9": "nothing more than another road for the messages: what is left is availability",
    "T10": "contracts: contribution scores and withheld releases are not available yet",
    "T11": "example-level privacy at the member; other venues than open are not available yet",
    "T12": "revoke the key (roster); rotation is not available yet",
    "T13": "lower limits under [screening]",
}  # fmt: skip


def findings_of(judged: Sequence[Judged], cards: Mapping[str, Card]) -> tuple[Finding, ...]:
    """One for each defence of the user's that did not hold, or may not have; undefended cells are no findings."""
    found = [_finding(one, cards[one.attack]) for one in judged if _is_finding(one)]
    return tuple(sorted(found, key=lambda f: (SEVERITIES.index(f.severity), -(f.judged.harm or 0.0), f.id)))


def _is_finding(one: Judged) -> bool:
    return one.verdict in ("not held", "unclear") and one.defence not in (*_UNDEFENDED, *RULES)


def _finding(one: Judged, card: Card) -> Finding:
    return Finding(
        id=f"{one.defence}:{one.attack}:{one.hostile}:{one.split}",
        severity=severity(one, card),
        judged=one,
        title=card.title,
        happened=_happened(one, card),
        fix=_FIXES[card.threat],
        change="",
        waived="",
    )


def severity(one: Judged, card: Card) -> Severity:
    """By impact and effort. What is unclear is a step lower than it would be."""
    if one.verdict not in ("not held", "unclear") or one.harm is None:
        return "none"
    level = 3 if one.harm >= 1 else 2 if one.harm >= 0.4 else 1
    if card.knowledge == "black" and one.hostile == 1:
        level += 1
    if card.knowledge == "white" and card.family != "privacy":  # in the open venue the coordinator is simply there
        level -= 1
    if card.goal.measure == "rode":  # unfair, and no harm to the model
        level = min(level, 2)
    if card.goal.measure == NOT_A_GOAL:
        level = 1
    return _LEVELS[min(max(level - int(one.verdict == "unclear"), 1), 4)]


_SAID: Mapping[str, str] = {
    "damage": "cost the model {:.1f} points of accuracy",
    "class_damage": "cost the class that they aimed at {:.1f} points of recall",
    "backdoor_lift": "had {:.0f} % more of the triggered inputs taken for their class",
    "rode": "took part and got the model in {:.0f} % of the rounds",
    "blocked": "kept {:.0f} % of the rounds from giving a model",
    "psnr_gain": "rebuilt training inputs {:.1f} dB better than by guessing their mean",
    "label_gain": "read {:.0f} % more labels than by chance",
    "token_gain": "read {:.0f} % more tokens than by chance",
    "isolation": "had one member's update be {:.0f} % of the sum of all",
    "similarity_gain": "drew inputs {:.2f} more like those that were trained on than like others",
    "tpr_at_01": "told {:.2f} % of the training examples for what they are, at 0.1 % false alarms",
    "value_learned": "read updates out of what was recorded, with a correlation of {:.0f} %",
    "changed": "changed the model, or broke the run, in {:.0f} % of the tries",
    "silenced": "kept a member's updates out of {:.0f} % of the rounds: availability",
    "kept": "made the receiver hold {:.0f} messages for one",
}


def _happened(one: Judged, card: Card) -> str:
    who = "an onlooker or courier" if not one.hostile else f"{one.hostile} hostile member{'s' * (one.hostile > 1)}"
    who = who[0].upper() + who[1:]
    figure, goal = one.figure, card.goal
    if figure is None:
        return f"{card.title}, by {who}."
    unit = 1 if goal.unit in ("dB", "ratio") else 100
    said = _SAID.get(goal.judged, f"reached {goal.judged} = {{:.3g}}").format(unit * figure.value)
    interval = f"95\u00a0% interval {unit * figure.low:.3g} to {unit * figure.high:.3g}"
    return f"{who} {said} ({interval}); the limit is {unit * goal.held:.3g}."
