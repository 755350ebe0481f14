"""What a model is worth, measured on the held-out examples of all members, local tensors and all.

A model with a number that is not finite has every example wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from phalanx.learning import LocalTrainer
from phalanx.learning.data import Array, Labels
from phalanx.redteam.lab import Lab
from phalanx.types import F32, MemberId

Bits = npt.NDArray[np.bool_]
States = Callable[[MemberId], F32 | None]  # a member's own state, where part of the model stays with it


@dataclass(frozen=True)
class Measuring:
    """The lab's measure of models. `trainers` are the honest ones, one a member."""

    lab: Lab = field(repr=False)
    trainers: Mapping[MemberId, LocalTrainer] = field(repr=False)

    @cached_property
    def truth(self) -> Labels:
        """(n,): labels of the lab's test inputs, member by member."""
        return self.lab.test[1]

    def right(self, model: F32, states: States) -> Bits:
        """(n,): which of the test inputs the model has right."""
        labels = self._labels(model, states, [self.lab.sites[member].x_held for member in self.lab.members])
        right: Bits = labels == self.truth
        return right

    def taken_for(self, model: F32, states: States, inputs: Array, target: int) -> tuple[int, int]:
        """How many of `inputs` (n, …) the model takes for `target`, and n. Local tensors are those of the first."""
        if not len(inputs):
            return 0, 0
        labels = self._labels(model, states, [inputs], members=self.lab.members[:1])
        return int((labels == target).sum()), len(inputs)

    def _labels(
        self, model: F32, states: States, inputs: Sequence[Array], members: Sequence[MemberId] | None = None
    ) -> Labels:
        members = self.lab.members if members is None else members
        first = self.trainers[members[0]]
        if not first.parts.local:  # one model for all
            return first.labels(model, None, np.concatenate(inputs))
        each = zip(members, inputs, strict=True)
        return np.concatenate([self.trainers[member].labels(model, states(member), x) for member, x in each])


def packed(right: Bits) -> str:
    """A bit for each input, hexadecimal; the last byte is filled up with zeros."""
    return np.packbits(right).tobytes().hex()


def unpacked(bits: str, count: int) -> Bits:
    """What `packed` was given."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(bits), np.uint8), count=count).astype(np.bool_)
