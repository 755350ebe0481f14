"""Differential privacy: accounting, the ledger's arithmetic, central noise."""

from phalanx.privacy.accountant import epsilon, noise_multiplier
from phalanx.privacy.central import COST_AT_SMALL_N, FEW_MEMBERS, CentralGaussian, central_noise
from phalanx.privacy.ledger import charge

__all__ = [
    "COST_AT_SMALL_N",
    "FEW_MEMBERS",
    "CentralGaussian",
    "central_noise",
    "charge",
    "epsilon",
    "noise_multiplier",
]
