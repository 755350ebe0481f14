"""Attacks: members that misbehave, as trainers like any other, and what an onlooker reads out of an update."""

from phalanx.attacks.backdoor import Backdoor, NormMatched, backdoor, backdoor_success, plant, stamp
from phalanx.attacks.ballots import Claim, LyingBallot
from phalanx.attacks.leakage import Reconstruction, psnr, reconstruct
from phalanx.attacks.poisoning import NotANumber, SignFlip, Unprotected, flip_labels, label_flip

__all__ = [
    "Backdoor",
    "Claim",
    "LyingBallot",
    "NormMatched",
    "NotANumber",
    "Reconstruction",
    "SignFlip",
    "Unprotected",
    "backdoor",
    "backdoor_success",
    "flip_labels",
    "label_flip",
    "plant",
    "psnr",
    "reconstruct",
    "stamp",
]
