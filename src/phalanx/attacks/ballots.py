"""Members that lie to the gate about what a candidate does on their held-out examples."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from phalanx.learning.contract import Trainer
from phalanx.types import F32, Layout, Tally, Trained, TrainTask, Vote


class Claim(StrEnum):
    """What a liar says of every one of its held-out examples."""

    BETTER = "better"  # lets a poisoned candidate through
    WORSE = "worse"  # keeps a good candidate out


@dataclass(frozen=True, slots=True)
class LyingBallot:
    """Trains as `trainer` does (honest or an attack); its tally is the `claim`, whatever the candidate.

    Where members vote, honest code makes the vote of this tally. With few held-out examples that vote is never
    "worse": a liar that writes its own ballot sends `false_vote`.
    """

    trainer: Trainer
    claim: Claim

    @property
    def layout(self) -> Layout:
        """The trainer's."""
        return self.trainer.layout

    def train(self, model: F32, task: TrainTask, state: F32 | None) -> Trained:
        """The trainer's update."""
        return self.trainer.train(model, task, state)

    def evaluate(self, candidate: F32, incumbent: F32, state: F32 | None) -> Tally:
        """The lie about as many examples as there are."""
        return false_tally(self.claim, self.trainer.evaluate(candidate, incumbent, state).total)


def false_tally(claim: Claim, total: tuple[int, ...]) -> Tally:
    """The largest lie that adds up: of `total` examples by class every one better, or every one worse."""
    none = (0,) * len(total)
    if claim is Claim.BETTER:
        return Tally(worse=none, better=total, right=total, total=total, finite=True)
    return Tally(worse=total, better=none, right=none, total=total, finite=True)


def false_vote(claim: Claim, accuracy_buckets: int) -> Vote:
    """The same lie as a vote, whatever the liar holds: the candidate is no worse and always right, or the reverse."""
    better = claim is Claim.BETTER
    return Vote(worse=not better, accuracy=accuracy_buckets if better else 0, finite=True)
