"""A member's local steps: gradient descent with heavy-ball momentum that lasts over rounds.

Polyak, 1964: m ← βm + g, x ← x - ηm. With example-level privacy g is already noised, so momentum and delta are
post-processing: one release, one charge, whatever β is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from phalanx.types import F32, Trained, TrainTask


@dataclass(frozen=True, slots=True, kw_only=True)
class Descent:
    """η > 0, 0 <= β < 1 and the number of steps a round (1 or more). Raises ValueError for anything else."""

    learning_rate: float
    momentum: float = 0.0
    local_steps: int = 1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"learning_rate must be finite and > 0, got {self.learning_rate!r}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {self.momentum!r}")
        if not self.local_steps >= 1:
            raise ValueError(f"local_steps must be at least 1, got {self.local_steps!r}")


def descend(
    settings: Descent, model: F32, task: TrainTask, state: F32 | None, examples: int, gradient: Callable[[F32], F32]
) -> Trained:
    """The round's training of a member with `examples` examples; `gradient` gives g (d,) at a model (d,).

    Under privacy the claim of examples is the public normaliser: the true count is a function of the data that no
    noise covers. Raises ValueError for several steps under privacy: each would be a release of its own and need a
    charge of its own, and a round charges one.
    """
    if task.privacy is not None and settings.local_steps != 1:
        raise ValueError(
            f"example-level privacy charges one step a round, so local_steps must be 1, got {settings.local_steps}"
        )
    momentum = np.zeros_like(model) if state is None else state
    if momentum.shape != model.shape:
        raise ValueError(f"state must have the model's shape {model.shape}, got {momentum.shape}")
    delta = np.zeros_like(model)
    with np.errstate(over="ignore", invalid="ignore"):  # a run that diverges must be seen, not stopped here
        for _ in range(settings.local_steps):
            momentum = np.float32(settings.momentum) * momentum + gradient(model + delta)
            delta = delta - np.float32(settings.learning_rate) * momentum
    return Trained(delta, task.privacy.normaliser if task.privacy else examples, momentum)
