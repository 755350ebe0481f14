"""Attacks: members that misbehave, as trainers like any other; what colluders who see the honest rows send; and what an
onlooker reads out of an update.
"""

from phalanx.attacks.backdoor import Backdoor, NormMatched, backdoor, backdoor_success, plant, stamp
from phalanx.attacks.ballots import Claim, LyingBallot
from phalanx.attacks.colluding import ATTACKS, Attack, collude, every_attack, measured
from phalanx.attacks.leakage import Reconstruction, reconstruct
from phalanx.attacks.plan import Objective
from phalanx.attacks.poisoning import NotANumber, SignFlip, Unprotected, flip_labels, label_flip
from phalanx.attacks.similarity import psnr

__all__ = [
    "ATTACKS",
    "Attack",
    "Backdoor",
    "Claim",
    "LyingBallot",
    "NormMatched",
    "NotANumber",
    "Objective",
    "Reconstruction",
    "SignFlip",
    "Unprotected",
    "backdoor",
    "backdoor_success",
    "collude",
    "every_attack",
    "flip_labels",
    "label_flip",
    "measured",
    "plant",
    "psnr",
    "reconstruct",
    "stamp",
]
