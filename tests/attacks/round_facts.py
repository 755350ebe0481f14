"""A round made by hand, for attacks on training: honest rows around a mean, hostile members among them."""

from __future__ import annotations

import numpy as np

from phalanx.attacks.aim import Aim, Seat
from phalanx.attacks.card import Knowledge
from phalanx.attacks.triggers import Turned
from phalanx.attacks.view import Round, Sight, View
from phalanx.rules import Chain, Mean, Rule
from phalanx.types import F32

D = 40
HOSTILE = 3
AIM = Aim(10, 3, 5, Turned())


def honest_rows(count: int = 7, seed: int = 0) -> F32:
    """(count, D): a common direction and noise of the same size."""
    common = np.random.default_rng(100).normal(0, 1, D)
    return (common + np.random.default_rng(seed).normal(0, 0.5, (count, D))).astype(np.float32)


def bad_direction(seed: int = 1) -> F32:
    """(D,): where training on poisoned data leads."""
    return np.random.default_rng(seed).normal(0, 1, D).astype(np.float32)


def view(
    rule: Rule | Chain | None = None,
    *,
    number: int = 5,
    rounds: int = 40,
    honest: F32 | None = None,
    hostile: int = HOSTILE,
    past: tuple[F32, ...] = (),
    seed: int = 0,
    knowledge: Knowledge = "white",
) -> View:
    """What attackers see, white-box ones by default. Poisoned training goes a tenth of `bad_direction` a round."""
    rows = honest_rows() if honest is None else honest
    own = honest_rows(hostile, 2) if honest is None else np.zeros((hostile, D), np.float32)
    chain = rule if isinstance(rule, Chain) else Chain((), Mean() if rule is None else rule)
    facts = Round(
        number=number,
        rounds=rounds,
        model=np.zeros(D, np.float32),
        past=past,
        seats=tuple(Seat(i, hostile) for i in range(hostile)),
        members=len(rows) + hostile,
        rule=chain,
        honest=rows,
        own=own,
        memory={},
        poisoned=lambda: np.tile(bad_direction(), (hostile, 1)),
        trained=lambda starts, times: np.tile(np.float32(0.1 * times) * bad_direction(), (len(starts), 1)),
    )
    return View(facts, Sight(knowledge), AIM, np.random.default_rng(seed))
