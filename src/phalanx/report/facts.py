"""What the report on a user's own run is written from. What was not measured is absent, never a guess."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from phalanx.learning.baselines import Baselines
from phalanx.round.coordinator import RoundRecord
from phalanx.rules import Chain
from phalanx.types import ExamplePrivacy, MemberId, MemberPrivacy

State = Literal["on", "off", "no effect", "not available"]


@dataclass(frozen=True, slots=True)
class Control:
    """One control: what it does in this run, who can switch it off, and whether it is in force."""

    name: str
    value: str
    switch: str
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """One run, finished or not. Accuracies are shares (0 … 1) on each member's own held-out examples.

    `reason` says why a run that is not finished ended. `baselines` are the same members trained in other ways for all
    planned rounds, None if nobody measured them. `held_out` counts the examples behind each accuracy. `split` has each
    member's examples by class, training and held-out together; empty where the data are not in one place. `travels`
    says of each tensor whether it leaves a member (`learning.parts.in_words`), `how_trained` how members step,
    `warnings` what is wrong with the inputs. `messages` are members' last refusals to take part, in their own words.
    """

    federation: str
    run: str
    members: tuple[MemberId, ...]
    planned: int  # rounds
    finished: bool
    reason: str = ""
    rule: Chain
    privacy: ExamplePrivacy | MemberPrivacy | None
    controls: tuple[Control, ...]
    limits: tuple[str, ...]  # plain sentences: what this run does not protect against
    records: tuple[RoundRecord, ...]
    accuracy: Mapping[MemberId, float]
    baselines: Baselines | None = None
    held_out: Mapping[MemberId, int] = field(default_factory=dict)
    split: Mapping[MemberId, tuple[int, ...]] = field(default_factory=dict)
    class_names: tuple[str, ...] | None = None
    travels: tuple[str, ...] = ()
    how_trained: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    messages: Mapping[MemberId, str] = field(default_factory=dict)
    public: str  # the folder that anybody can verify
    fingerprint: str
    verify_command: str
    version: str = ""  # of Phalanx

    @property
    def epsilon(self) -> float | None:
        """ε after the last closed round, None if there is none or nothing was charged."""
        return self.records[-1].epsilon if self.records else None

    @property
    def unit(self) -> str | None:
        """What ε protects: "example" or "member"."""
        if self.privacy is None:
            return None
        return "example" if isinstance(self.privacy, ExamplePrivacy) else "member"

    @property
    def released(self) -> int:
        """Candidates that the gate let through."""
        return sum(record.verdict.passed for record in self.records)
