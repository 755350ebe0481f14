"""When hostile members attack: slowly, late, or now and then, so that no single round stands out."""

from __future__ import annotations

import numpy as np

from phalanx.attacks.training_attack import Craft
from phalanx.attacks.view import View
from phalanx.types import F32

SLEEP = 0.6  # of the rounds a sleeper is honest
EVERY = 3  # an on-off attacker is hostile in each round whose number this divides


def ramp(craft: Craft) -> Craft:
    """From the honest update to the attack, a little more each round, until three quarters of the rounds are over."""

    def slowly(view: View) -> F32:
        share = np.float32(min(1.0, view.round / max(1, 3 * view.rounds // 4)))
        return (1 - share) * view.own + share * craft(view)

    return slowly


def sleeper(number: int, rounds: int) -> bool:
    """Honest for 60 % of the rounds, hostile ever after."""
    return number > SLEEP * rounds


def on_off(number: int, rounds: int) -> bool:
    """Hostile in every third round, honest in the two between (in the first, if there are fewer than three)."""
    return number % EVERY == 0 or rounds < EVERY
