"""The user's federation as a laboratory: its model, its members' examples, and the chance that a seed gives.

Everything that the red team runs starts from here: training attacks through the real rounds, and onlookers' attacks,
which read a model or an update.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from phalanx.config import Settings
from phalanx.federation import Federation
from phalanx.federation.module import users_code
from phalanx.learning import LocalTrainer, MemberData
from phalanx.learning.data import Array, Labels
from phalanx.learning.parts import flatten_whole
from phalanx.types import F32, MemberId


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """`federation` as the user wrote it; `sites` are its members' examples as this split deals them out.

    The lab measures on the held-out examples of all members. Nobody trains on them; the members vote with them.
    """

    federation: Federation = field(repr=False)
    sites: Mapping[MemberId, MemberData] = field(repr=False)
    split: str
    seed: int

    @property
    def settings(self) -> Settings:
        """The user's configuration."""
        return self.federation.settings

    @property
    def members(self) -> tuple[MemberId, ...]:
        """Sorted."""
        return self.settings.members

    @property
    def classes(self) -> int:
        """Of the model."""
        return self.federation.model.classes

    def rng(self, *purpose: str | int) -> np.random.Generator:
        """Chance from the seed, for one purpose; another purpose gives other numbers."""
        words = "/".join(map(str, purpose)).encode()
        return np.random.default_rng([self.seed, *words])

    def trainers(self) -> dict[MemberId, LocalTrainer]:
        """An honest member for each site."""
        descent, local = self.settings.descent(), self.settings.learning.local
        model = self.federation.model
        with users_code("the model"):
            return {m: LocalTrainer(model, data, descent, local=local) for m, data in self.sites.items()}

    def start(self, trainers: Mapping[MemberId, LocalTrainer]) -> F32:
        """(d,): the shared parameters from which every run starts."""
        parts = next(iter(trainers.values())).parts
        with users_code("initial_model"):
            return flatten_whole(self.federation.model.initial_model(), parts.whole)[: parts.shared.d]

    @property
    def test(self) -> tuple[Array, Labels]:
        """Held-out examples (n, …) and labels (n,) of all members, in their order."""
        held = [self.sites[member] for member in self.members]
        return np.concatenate([data.x_held for data in held]), np.concatenate([data.y_held for data in held])
