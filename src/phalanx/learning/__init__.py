"""Learning: the member's contract, its adapters and the server's step. torch and scikit-learn stay in their own files.

`learning.models` and `learning.torch_trainer` need torch, `learning.digits` scikit-learn: import them from their files.
"""

from phalanx.learning.contract import Trainer
from phalanx.learning.data import MemberData, hold_out
from phalanx.learning.descent import Descent
from phalanx.learning.dpsgd import private_mean
from phalanx.learning.function import Functions, FunctionTrainer, functions_of
from phalanx.learning.layout import flatten, layout_of, unflatten
from phalanx.learning.step import step

__all__ = [
    "Descent",
    "FunctionTrainer",
    "Functions",
    "MemberData",
    "Trainer",
    "flatten",
    "functions_of",
    "hold_out",
    "layout_of",
    "private_mean",
    "step",
    "unflatten",
]
