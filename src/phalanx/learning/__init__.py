"""Learning: what a member brings, how it steps, and the server's step. Frameworks stay in `learning.adapters`.

`learning.models` needs torch, `learning.digits` scikit-learn: import them from their files.
"""

from phalanx.learning.contract import Job, Model, Trainer
from phalanx.learning.data import MemberData, hold_out
from phalanx.learning.descent import Descent
from phalanx.learning.dpsgd import private_mean
from phalanx.learning.function import Member, member_of
from phalanx.learning.layout import flatten, layout_of, unflatten
from phalanx.learning.server import Adam, Sgd, Yogi, step
from phalanx.learning.trainer import LocalTrainer

__all__ = [
    "Adam",
    "Descent",
    "Job",
    "LocalTrainer",
    "Member",
    "MemberData",
    "Model",
    "Sgd",
    "Trainer",
    "Yogi",
    "flatten",
    "hold_out",
    "layout_of",
    "member_of",
    "private_mean",
    "step",
    "unflatten",
]
