"""An attack on training: hostile members that poison their data, their updates or their votes.

What they send is a pure function of what they see (`view`); everything else here says what they trained on, when they
attack and how they vote.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from phalanx.attacks.aim import Poison, Triggered, TriggerKind
from phalanx.attacks.ballots import Claim
from phalanx.attacks.card import Card
from phalanx.attacks.view import View
from phalanx.types import F32

# What the hostile members send: a row for each (f, d), or one for all (d,).
Craft = Callable[[View], F32]

Undefended = Literal["none", "trusting-gate"]

# Whether they attack in round `number` of `rounds`, from 1; in the others they are honest members.
Active = Callable[[int, int], bool]


def always(number: int, rounds: int) -> bool:
    """In every round."""
    return True


def until_three_quarters(number: int, rounds: int) -> bool:
    """In the first three quarters of the rounds, at least one; what is left of a backdoor afterwards is its life."""
    return number <= max(1, 3 * rounds // 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingAttack:
    """`poison` makes the data of `view.poisoned`; `triggered` the inputs by which a backdoor is measured.

    `ballots` is what hostile members say of every candidate, None for the truth. `undefended` is the configuration in
    which the attack has to work for the test to be valid: no control at all, or a gate that trusts every voter.
    `fewest`: with fewer hostile members it is no other attack than one member's. `whitewash`: half-way the hostile
    members leave and come back under other names.
    """

    card: Card
    craft: Craft
    poison: Poison | None = None
    trigger: TriggerKind = "patch"
    triggered: Triggered | None = None
    active: Active = always
    ballots: Claim | None = Claim.BETTER
    undefended: Undefended = "none"
    fewest: int = 1
    whitewash: bool = False
