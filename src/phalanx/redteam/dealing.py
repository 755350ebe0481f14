"""How the members' examples are dealt out: as they are, or pooled and dealt again, unevenly on purpose.

| split           | the members' examples                                                                            |
|-----------------|--------------------------------------------------------------------------------------------------|
| `natural`       | their own                                                                                        |
| `iid`           | pooled, evenly at random                                                                         |
| `dirichlet:α`   | pooled, each class by Dirichlet(α) shares: the smaller α, the fewer classes has a member         |
| `gamma:γ`       | pooled, a share γ at random and the rest in order of the label (`learning.splits`)               |
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from phalanx.errors import ConfigError
from phalanx.federation import Federation
from phalanx.learning import MemberData, hold_out
from phalanx.learning.splits import dirichlet, gamma_similarity, iid
from phalanx.redteam.lab import Lab
from phalanx.types import MemberId

NATURAL = "natural"
_FEWEST = 10  # examples that a Dirichlet split leaves every member, if there are so many


def lab_of(federation: Federation, split: str, seed: int) -> Lab:
    """The federation with its examples dealt out as `split` says. Raises ConfigError for a split that there is not."""
    return Lab(federation=federation, sites=_dealt(federation, split, seed), split=split, seed=seed)


def check_split(split: str) -> None:
    """Raises ConfigError unless `split` is one of the module's table."""
    _parsed(split)


def _dealt(federation: Federation, split: str, seed: int) -> Mapping[MemberId, MemberData]:
    kind, value = _parsed(split)
    if kind == NATURAL:
        return federation.sites
    settings, held = federation.settings, list(federation.sites.values())
    x = np.concatenate([part for data in held for part in (data.x_train, data.x_held)])
    y = np.concatenate([part for data in held for part in (data.y_train, data.y_held)])
    rng = np.random.default_rng([seed, *split.encode()])
    members = settings.members
    if kind == "iid":
        parts = iid(examples=len(y), members=members, rng=rng)
    elif kind == "gamma":
        parts = gamma_similarity(labels=y, members=members, gamma=value, rng=rng)
    else:
        fewest = min(_FEWEST, len(y) // len(members))
        parts = dirichlet(labels=y, members=members, alpha=value, rng=rng, min_examples=fewest)
    fraction = settings.learning.held_out
    return {
        member: hold_out(x[rows], y[rows], classes=federation.model.classes, member=member, fraction=fraction)
        for member, rows in parts.items()
    }


def _parsed(split: str) -> tuple[str, float]:
    kind, _, number = split.partition(":")
    if kind in (NATURAL, "iid") and not number:
        return kind, 0.0
    try:
        if kind in ("dirichlet", "gamma"):
            return kind, float(number)
    except ValueError:
        pass
    raise ConfigError(
        f"a split is natural, iid, dirichlet:ALPHA or gamma:SHARE, got {split!r}",
        hint="for example dirichlet:0.5 or gamma:0.33",
    )
