"""Members that take the model and give nothing: what they send without training. Fraboni et al., AISTATS 2021.

`echo` and `noisy_echo` are that paper's plain and disguised free-riders (section 3): the model's own last step, alone
or with noise that falls over the rounds as an honest member's updates do.
"""

from __future__ import annotations

import numpy as np

from phalanx.attacks.view import View
from phalanx.types import F32

NOISE = 0.5  # of the last step's length, in the first rounds
FALL = 1.0  # noise falls as round^-FALL


def nothing(view: View) -> F32:
    """Zero."""
    return np.zeros(view.model.size, np.float32)


def echo(view: View) -> F32:
    """How the model moved in the round before."""
    return view.last_step


def noisy_echo(view: View) -> F32:
    """The same and noise, different for each rider."""
    step = view.last_step.astype(np.float64)
    std = NOISE * np.linalg.norm(step) / np.sqrt(step.size) * view.round**-FALL
    return (step + view.rng.normal(0.0, std, (view.f, step.size))).astype(np.float32)


def copied(view: View) -> F32:
    """One of them trains, and all send its update. Alone, a rider has nobody to copy: it sends the echo."""
    return view.own[0] if view.f > 1 else echo(view)
