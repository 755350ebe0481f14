"""How the gate decides, as the federation agreed it, and what no gate of this kind sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BLIND_SPOTS = (
    "The gate compares predictions on the voters' held-out examples. It does not see: a backdoor whose trigger no "
    "voter's data holds; damage to groups that are absent or rare there; damage that only f voters or fewer would "
    "notice; a loss in every round that is too small for one test (a fresh incumbent is the reference each time); what "
    "the model says beyond its predicted class. If nothing else changes, a test at 0.001 refuses a loss of 10 examples "
    "and not of 9, the test of one class in ten a loss of 14 and not of 13. If a tenth of 1000 changes with no "
    "net loss, it takes 37 more lost (3.7 %), and 46 where the 1000 are of one class. With liars tolerated it is more. "
    "Where members send votes instead of counts, nothing is pooled: one member alone has to lose 8 examples, 11 of one "
    "class in ten, before it votes against, and f + k + 1 votes are needed, which is 6 of ten members with f = 3."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePolicy:
    """How the gate decides. An honest candidate that is no worse is refused with at most these probabilities.

    Votes keep that with f liars among the voters; trimmed counts only without them: see `gate.decide`.

    `ballot` says what leaves a member: its `counts` by class, or only its vote and a bucket of its accuracy (`votes`).

    Pooled counts, and the coordinator's own held-out data: `significance` is for the test over all classes;
    `class_significance` is shared out among the classes (Bonferroni), and 0 switches these tests off, as from an
    untrained incumbent, which has one class wholly right. `max_held_out` bounds the examples that one ballot may speak
    for.

    Votes: `significance` is for their number. `vote_significance` is for one member's vote, half of it for the test
    over all classes and half shared out among the classes. `accuracy_buckets` are the steps in which a member states
    its accuracy.

    `unsafe_accept_all` approves everything, for the lab.
    """

    classes: int
    f: int = 0
    ballot: Literal["counts", "votes"] = "counts"
    significance: float = 0.001
    class_significance: float = 0.001
    vote_significance: float = 0.01
    accuracy_buckets: int = 20
    max_held_out: int = 100_000
    unsafe_accept_all: bool = False

    def __post_init__(self) -> None:
        if self.ballot not in ("counts", "votes"):
            raise ValueError(f"ballot is 'counts' or 'votes', got {self}")
        if self.classes < 1 or self.f < 0 or self.max_held_out < 1 or self.accuracy_buckets < 1:
            raise ValueError(f"a gate needs classes, max_held_out, accuracy_buckets >= 1 and f >= 0, got {self}")
        if not (0 < self.significance < 1 and 0 <= self.class_significance < 1):
            raise ValueError(f"significance is in (0, 1), class_significance in [0, 1), got {self}")
        if not 0 < self.vote_significance <= 0.1:  # above it hardly any number of votes would be enough
            raise ValueError(f"vote_significance is in (0, 0.1], got {self}")
