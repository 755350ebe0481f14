"""A wire that couriers are let loose on: a run of the federation, whose messages somebody else carries.

There are two, for the same couriers: one that nothing protects (`naive_wire`) and the user's own (`sealed_wire`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from phalanx.attacks.couriers import Courier, Delivery
from phalanx.attacks.malformed import Malformed
from phalanx.types import MemberId, Refusal


class Forger(Protocol):
    """What attackers can make of what they know while a round is going on: its order, and keys that they hold."""

    def signed(self, name: MemberId, by: MemberId | None) -> bytes:
        """Another answer than the honest one in `name`'s name, made with the key of `by`, or with a stranger's."""
        ...

    def sealed_anew(self, member: MemberId, envelope: bytes) -> bytes:
        """The same answer in other bytes, made by the member itself."""
        ...

    def malformed(self, member: MemberId, envelope: bytes, case: Malformed) -> bytes:
        """The member's answer with that defect, made by the member itself."""
        ...


Trick = Callable[[Forger], Courier]


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What came of one run. Ids and bytes alone, so that two runs can be compared.

    `models` are those after each closed round, `accepted` who counted in each, empty for a cohort that is secret.
    `refused` are the reasons in the run's records, `sent` the lengths of each member's messages. `tampered` counts
    deliveries that are not what a member had sent just then, or are a second copy of it. `kept` are bytes that the
    receiver had taken in before it looked at them. `inside` has the update (little-endian float32) in each envelope
    that held one. `ended` says why the run ended early; `crashed` if by an error that is not one of ours.
    """

    models: tuple[bytes, ...]
    accepted: tuple[tuple[MemberId, ...], ...]
    refused: tuple[Refusal, ...]
    sent: Mapping[MemberId, list[int]]
    tampered: int
    kept: int
    inside: Mapping[bytes, bytes] = field(repr=False)
    ended: str
    crashed: bool = False

    def same_as(self, other: Played) -> bool:
        """Whether every model is the other's of the same round. A run that ended early has fewer."""
        return self.models == other.models[: len(self.models)]


class Wire(Protocol):
    """Plays the federation's run with a courier. The same trick twice gives the same models."""

    def play(self, trick: Trick) -> Played:
        """The run with that courier."""
        ...


@dataclass(slots=True)
class Counting:
    """Carries as `courier` does, and counts."""

    courier: Courier
    sent: dict[MemberId, list[int]] = field(default_factory=dict)
    tampered: int = 0

    def __call__(self, sender: MemberId, envelope: bytes) -> Iterable[Delivery]:
        self.sent.setdefault(sender, []).append(len(envelope))
        delivered = list(self.courier(sender, envelope))
        self.tampered += len(delivered) - int((sender, envelope) in delivered)
        return delivered
