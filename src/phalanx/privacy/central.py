"""Central Gaussian noise at member level: what one member's whole update can change, and the noise that hides it.

Unit: one member's update, present or replaced by nothing, over a denominator fixed before the round: the members
invited, or, where the cohort is secret, the members that are invited on average. That a member was invited, and that it
answered, is outside the promise where it is public, and inside it where cohorts are secret.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from phalanx.errors import SensitivityUnknown
from phalanx.rules import Chain
from phalanx.types import MemberPrivacy

FEW_MEMBERS = 100  # below this many, central noise is explained before it is paid for
COST_AT_SMALL_N = (
    "Member-level central noise shrinks only with the number of members: its deviation on the aggregate is "
    "noise_multiplier * clip_l2 / members, so ten members feel it a hundred times as much as a thousand. With 10 "
    "members and ε = 8 the accuracy on digits fell from 96 % to 80 % (benchmarks/central_noise.py). With few members, "
    "example-level privacy at the member protects people in the data at a far lower price."
)


@dataclass(frozen=True, slots=True)
class CentralGaussian:
    """Noise for one round: `std` is the standard deviation on every coordinate of the aggregate."""

    noise_multiplier: float
    l2_sensitivity: float
    std: float


def central_noise(rule: Chain, denominator: float, privacy: MemberPrivacy) -> CentralGaussian:
    """The noise that hides one member behind `rule`, over a `denominator` that no answer moves.

    Raises SensitivityUnknown for a rule whose l2 sensitivity is not known: one member can change whom a selection rule
    selects, so noise for its own row alone would promise what it does not keep.
    """
    if not denominator >= 1:
        raise ValueError(f"central noise needs at least 1 invited member, got {denominator}")
    if not (math.isfinite(privacy.noise_multiplier) and privacy.noise_multiplier > 0):
        raise ValueError(f"a noise multiplier is finite and > 0, got {privacy.noise_multiplier!r}")
    sensitivity = rule.l2_sensitivity(denominator)
    if sensitivity is None:
        raise SensitivityUnknown(
            f"the l2 sensitivity of {rule} to one member is not known, so no central noise can be promised for it",
            hint="use norm-clip(C) >> mean, or example-level DP at the member, which composes with every rule",
        )
    return CentralGaussian(privacy.noise_multiplier, sensitivity, privacy.noise_multiplier * sensitivity)
