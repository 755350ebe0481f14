"""What a member's learning code must be able to do, whatever framework it is written in."""

from __future__ import annotations

from typing import Protocol

from phalanx.types import F32, Layout, Tally, Trained, TrainTask


class Trainer(Protocol):
    """A member's training and judging, on data that never leaves it. Flat float32 vectors (d,) in the `layout`.

    Pure and deterministic: the same arguments give the same bytes. No argument is modified.
    """

    @property
    def layout(self) -> Layout:
        """How tensors lie in the vectors; must equal the coordinator's."""
        ...

    def train(self, model: F32, task: TrainTask, state: F32 | None) -> Trained:
        """One round of local training. `delta` is relative to exactly `model`.

        `state` is what the last round's `Trained.state` was, None at first; (d,) for an honest trainer.
        """
        ...

    def evaluate(self, candidate: F32, incumbent: F32) -> Tally:
        """Candidate against incumbent on the member's held-out examples."""
        ...
