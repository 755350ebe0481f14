"""What an attack is, in data: its source, what its attackers know and want, and what counts as getting it.

A report, the SARIF rules and the ATLAS layer are written from these, so that no page has its own words for an attack.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Family = Literal["data", "model", "time", "identity", "free-riding", "voting", "privacy", "wire"]

# black: the model that everybody is sent, and the attackers' own data. grey: also the deployed rule and how many
# members there are. white: also the honest members' updates of the round, before the attackers send theirs.
Knowledge = Literal["black", "grey", "white"]
KNOWLEDGE: tuple[Knowledge, ...] = ("black", "grey", "white")

Unit = Literal["points", "share", "dB", "ratio"]
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What an attack is after, in figures of which more is worse for the federation.

    Undefended, the attack works where `measure` is `met` or more: less, and the test is invalid. A defence holds where
    `held_measure` (the same one unless named) is `held` or less. `words` complete "the attackers want to …".
    """

    measure: str
    met: float
    held: float
    unit: Unit
    words: str
    held_measure: str = ""  # of a backdoor the lift: some triggers do without one what they do with it

    @property
    def judged(self) -> str:
        """The measure by which a defence is judged."""
        return self.held_measure or self.measure


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One attack. `threat` is the row of the threat table (T1 … T13), `does` one sentence, `paper` where it is from."""

    name: str
    title: str
    family: Family
    threat: str
    knowledge: Knowledge
    goal: Goal
    paper: str
    does: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"an attack's name is words of a-z and 0-9 joined by '-', got {self.name!r}")
        if not re.fullmatch(r"T([1-9]|1[0-3])", self.threat):
            raise ValueError(f"an attack belongs to a threat T1 … T13, got {self.threat!r}")
        if self.knowledge not in KNOWLEDGE:
            raise ValueError(f"an attack's knowledge is one of {', '.join(KNOWLEDGE)}, got {self.knowledge!r}")


# What attacks on training want. Limits: the rows T1 to T3 and T10 of the threat table.
DAMAGE = Goal(measure="damage", met=0.10, held=0.02, unit="points", words="cost the model 10 points of accuracy")
ONE_CLASS = Goal(
    measure="class_damage", met=0.10, held=0.02, unit="points", words="cost the class that they aim at 10 points"
)
BACKDOOR = Goal(
    measure="backdoor",
    met=0.95,
    held=0.05,
    held_measure="backdoor_lift",
    unit="share",
    words="have 95 % of triggered inputs taken for their class",
)
RIDING = Goal(
    measure="rode",
    met=0.9,
    held=0.1,
    unit="share",
    words="be counted, and get the model, in 9 rounds of 10 without contributing",
)
BLOCKING = Goal(
    measure="blocked", met=0.5, held=0.05, unit="share", words="keep half of the rounds from giving a new model"
)
