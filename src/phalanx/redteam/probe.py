"""An attack that is not a member's: an onlooker's who reads updates or models, or a courier's.

It is played once for each way of training that it is told of, and gives its figures; the matrix adds the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from phalanx.attacks.card import Card
from phalanx.redteam.lab import Lab
from phalanx.redteam.outcome import Rebuilt

# central: one model trained on all data in one place, which is all that the attacker sees. none: federated averaging
# without any control. yours: the user's configuration as it is.
Setting = Literal["central", "none", "yours"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What a probe found, as in `Outcome`. `unavailable`: why it cannot be played here; then nothing else counts."""

    measures: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    rebuilt: tuple[Rebuilt, ...] = ()
    notes: tuple[str, ...] = ()
    unavailable: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """`play(lab, setting)` is pure: its chance comes from `lab.rng`. `settings` are those that it means anything in."""

    card: Card
    play: Callable[[Lab, Setting], Probed] = field(repr=False)
    settings: tuple[Setting, ...] = ("none", "yours")
