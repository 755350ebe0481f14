"""What the attackers see of one round, and nothing else.

Hostile members share what they know. How much that is follows from the attack's knowledge and from the venue: asking
for more raises `NotVisible`, so that an attack cannot use by accident what its attackers would not have.

| a view has                                        | black | grey | white                            |
|---------------------------------------------------|-------|------|----------------------------------|
| the model, the models before it, `own`, `trained` | yes   | yes  | yes                              |
| `rule`, `members`                                 | –     | yes  | yes                              |
| `honest`: the other updates of this round         | –     | –    | where the venue shows them       |

In the open venue the coordinator sees single updates, and members do not: a white-box attack there has the
coordinator's help, or stands for the worst that could happen. Letters: `f` hostile members asked in this round, `h`
honest ones, `d` parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from phalanx.attacks.aim import Aim, Seat
from phalanx.attacks.card import Knowledge
from phalanx.rules import Chain
from phalanx.types import F32

# Venue → whether anybody sees the single update of a member there.
SHOWS_UPDATES: Mapping[str, bool] = {"open": True} | dict.fromkeys(("masked", "split", "threshold", "enclave"), False)


class NotVisible(ValueError):
    """An attack asked for what its attackers do not see."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What the attackers of a run are given: their knowledge, in this venue."""

    knowledge: Knowledge
    venue: str = "open"

    @property
    def sees_rule(self) -> bool:
        """All but black-box attackers know what is deployed."""
        return self.knowledge != "black"

    @property
    def sees_honest(self) -> bool:
        """White-box attackers see the others' updates, where the venue shows them to anybody."""
        return self.knowledge == "white" and SHOWS_UPDATES[self.venue]

    def why_not_honest(self) -> str:
        """Why the others' updates are not seen."""
        if self.knowledge != "white":
            return f"{self.knowledge}-box attackers do not see the honest members' updates"
        return f"nobody sees a single update in the venue {self.venue!r}"


@dataclass(frozen=True, kw_only=True)
class Round:
    """The facts of one round that a view is cut from."""

    number: int
    rounds: int
    model: F32 = field(repr=False)  # (d,)
    past: Sequence[F32] = field(repr=False)  # the models of the few rounds before, the oldest first
    seats: tuple[Seat, ...]  # the hostile members asked in this round
    members: int  # all that were asked
    rule: Chain
    honest: F32 = field(repr=False)  # (h, d)
    own: F32 = field(repr=False)  # (f, d)
    memory: dict[str, Any] = field(repr=False)  # the attackers' own, from the first round of a run to its last
    poisoned: Callable[[], F32] = field(repr=False)  # (f, d)
    trained: Callable[[F32, int], F32] = field(repr=False)  # starts (f, d), rounds of training → (f, d)


class View:
    """One round as hostile members see it together. What they may not see is not in here at all.

    Arrays are copies and read-only: nothing that an attack does to them reaches the round. This guards against
    accident, not against code that looks for Python's own back doors.
    """

    def __init__(self, facts: Round, sight: Sight, aim: Aim, rng: np.random.Generator) -> None:
        self._sight = sight
        self._poisoned, self._trained = facts.poisoned, facts.trained
        self.own = _copied(facts.own)  # (f, d): what they would send if they were honest: true data, clip and noise too
        self.memory = facts.memory  # what they want to remember until the run ends, and no longer
        self._deployed = (facts.rule, facts.members) if sight.sees_rule else None
        self._honest = _copied(facts.honest) if sight.sees_honest else None
        self.round, self.rounds = facts.number, facts.rounds
        self.aim, self.rng = aim, rng  # what the attackers agreed on; chance of their own, from the seed
        self.model = _copied(facts.model)
        self.past = tuple(_copied(one) for one in facts.past)
        self.seats = facts.seats

    @property
    def f(self) -> int:
        """Hostile members asked in this round."""
        return len(self.seats)

    @property
    def last_step(self) -> F32:
        """(d,): how the model moved in the round before, zero in the first: everybody sees it."""
        return self.model - self.past[-1] if self.past else np.zeros_like(self.model)

    @cached_property
    def poisoned(self) -> F32:
        """(f, d): a round of training on their poisoned data, with momentum of its own over the rounds.

        Without the clip and the noise that the order asks for: they do not obey it.
        """
        return _copied(self._poisoned())

    def trained(self, *, rounds: int = 1, starts: F32 | None = None) -> F32:
        """(f, d): how far `rounds` rounds of training on the poisoned data lead each from its start, afresh.

        `starts` (f, d) are by default all the model.
        """
        begin = np.tile(self.model, (self.f, 1)) if starts is None else np.array(starts, np.float32)
        return _copied(self._trained(begin, rounds))

    @property
    def rule(self) -> Chain:
        """The deployed rule. Raises NotVisible for black-box attackers."""
        return self._rule_and_members()[0]

    @property
    def members(self) -> int:
        """All members asked in this round. Raises NotVisible for black-box attackers."""
        return self._rule_and_members()[1]

    @property
    def honest(self) -> F32:
        """(h, d): the honest members' updates of this round. Raises NotVisible for all but white-box attackers."""
        if self._honest is None:
            raise NotVisible(self._sight.why_not_honest())
        return self._honest

    def length(self) -> float:
        """The l2 norm that an honest update has, as far as these attackers can tell: the median over their own."""
        return float(np.median(np.linalg.norm(self.own.astype(np.float64), axis=1)))

    def _rule_and_members(self) -> tuple[Chain, int]:
        if self._deployed is None:
            raise NotVisible("black-box attackers do not know the rule or the number of members")
        return self._deployed


def _copied(array: F32) -> F32:
    copy = np.array(array, np.float32)
    copy.flags.writeable = False
    return copy
