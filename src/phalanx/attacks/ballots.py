"""Members that lie to the gate about what a candidate does on their held-out examples."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from phalanx.learning.contract import Trainer
from phalanx.types import F32, Layout, Tally, Trained, TrainTask


class Claim(StrEnum):
    """What a liar says of every one of its held-out examples."""

    BETTER = "better"  # lets a poisoned candidate through
    WORSE = "worse"  # keeps a good candidate out


@dataclass(frozen=True, slots=True)
class LyingBallot:
    """Trains as `trainer` does (honest or an attack); its tally is the `claim`, whatever the candidate."""

    trainer: Trainer
    claim: Claim

    @property
    def layout(self) -> Layout:
        """The trainer's."""
        return self.trainer.layout

    def train(self, model: F32, task: TrainTask, state: F32 | None) -> Trained:
        """The trainer's update."""
        return self.trainer.train(model, task, state)

    def evaluate(self, candidate: F32, incumbent: F32) -> Tally:
        """The largest lie that adds up: every held-out example better, or every one worse; totals are true."""
        total = self.trainer.evaluate(candidate, incumbent).total
        none = (0,) * len(total)
        if self.claim is Claim.BETTER:
            return Tally(worse=none, better=total, total=total, finite=True)
        return Tally(worse=total, better=none, total=total, finite=True)
