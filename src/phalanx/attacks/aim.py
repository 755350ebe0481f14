"""What the attackers of one run agree on: which class to turn into which, and what switches their backdoor on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from phalanx.learning.data import Array, Labels, MemberData

TriggerKind = Literal["patch", "blended", "edge"]


class Trigger(Protocol):
    """A change of inputs (n, …) that switches a backdoor on. Gives copies; shape and dtype stay."""

    @property
    def words(self) -> str:
        """What it is, for people: "a bright 2×2 patch in the lower right corner"."""
        ...

    def stamp(self, x: Array) -> Array:
        """The inputs with the trigger."""
        ...

    def part(self, index: int, parts: int) -> Trigger:
        """The piece of the trigger that seat `index` of `parts` plants. All pieces together are the trigger."""
        ...


@dataclass(frozen=True, slots=True)
class Aim:
    """`source` is the class that targeted attacks turn, `target` the one that they turn it into; source != target."""

    classes: int
    source: int
    target: int
    trigger: Trigger


@dataclass(frozen=True, slots=True)
class Seat:
    """One hostile member among its own: seat `index` of `seats`, from 0."""

    index: int
    seats: int


# A hostile member's own examples → what it trains on. Held-out examples stay as they are: what it says of them in a
# vote is another matter. Pure: randomness is handed in.
Poison = Callable[[MemberData, Aim, Seat, np.random.Generator], MemberData]

# Test inputs (n, …) and their labels → the inputs that the attackers want to be taken for the target class.
Triggered = Callable[[Array, Labels, Aim], Array]
