"""A member's local steps: gradient descent, and what the literature adds to it against drift.

Letters: x the model that the round started from, y the member's own (starts at x), g the gradient of a mini-batch at y,
η the learning rate, β the momentum, K the local steps, c and cᵢ the server's and the member's control variates.

    g ← ∇f(y) + μ(y - x) + (c - cᵢ)         μ: FedProx, Li et al., MLSys 2020, section 3.2
    m ← βm + g                              heavy-ball momentum that lasts over rounds (Polyak, 1964); against hostile
    y ← y - ηm                              members: Karimireddy et al., ICML 2021, "Learning from History"
    cᵢ ← cᵢ - c + (x - y)/(Kη)              SCAFFOLD: Karimireddy et al., ICML 2020, Algorithm 1, option II

Local tensors have no μ and no c: nobody else has a value of theirs. With example-level privacy g is already noised, so
momentum and delta are post-processing: one release, one charge, whatever β is.

All members of a group step side by side: arrays are (m, D), a row a member, with the D shared and local parameters of a
model, the shared d first. One member alone is m = 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from phalanx.canonical import digest
from phalanx.entropy import expand
from phalanx.errors import ConfigError
from phalanx.types import F32

Gradient = Callable[[F32, int, F32], None]  # (models (m, D), step, out (m, D)): writes the gradients into `out`


@dataclass(frozen=True, slots=True, kw_only=True)
class Descent:
    """η > 0, 0 <= β < 1, K >= 1 steps a round, mini-batches of `batch_size` (None: all examples), μ >= 0, SCAFFOLD.

    Raises ValueError for anything else, ConfigError for parts that do nothing or do not compose.
    """

    learning_rate: float
    momentum: float = 0.0
    local_steps: int = 1
    batch_size: int | None = None
    prox: float = 0.0
    scaffold: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"learning_rate must be finite and > 0, got {self.learning_rate!r}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {self.momentum!r}")
        if not self.local_steps >= 1:
            raise ValueError(f"local_steps must be at least 1, got {self.local_steps!r}")
        if self.batch_size is not None and not self.batch_size >= 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size!r}")
        if not (math.isfinite(self.prox) and self.prox >= 0):
            raise ValueError(f"prox must be finite and >= 0, got {self.prox!r}")
        self._check_composition()

    def _check_composition(self) -> None:
        if self.prox and self.scaffold:
            raise ConfigError("FedProx and SCAFFOLD correct the same drift in two ways: choose one")
        if self.prox and self.local_steps == 1:
            raise ConfigError(
                "FedProx pulls towards the model that the round started from, where the only local step is: no effect",
                hint="set local_steps above 1, or leave prox out",
            )
        if self.scaffold and self.momentum:
            raise ConfigError(
                f"SCAFFOLD's control variates are those of plain steps, found momentum = {self.momentum:g}",
                hint="set momentum = 0; the server may have momentum",
            )

    def refuse_privacy(self) -> str:
        """Why these steps cannot be taken under example-level privacy, or ""."""
        if self.local_steps != 1:
            return f"example-level privacy charges one step a round, found local_steps = {self.local_steps}"
        if self.batch_size is not None:
            return (
                "example-level privacy uses all examples in each step and claims no amplification, found a batch_size"
            )
        if self.scaffold:
            return "one step a round has no drift to correct: SCAFFOLD would only add the noise of earlier rounds"
        return ""


def descend(
    settings: Descent, start: F32, momentum: F32, gradient: Gradient, *, shared: int, correction: F32 | None = None
) -> tuple[F32, F32]:
    """`settings.local_steps` steps from `start` (m, D): the deltas (m, D) and the momentum to go on with.

    The momentum is (m, D), or (m, 0) where the settings have none. `correction` is c - cᵢ (m, d) where there is
    SCAFFOLD. No argument is modified. What diverges becomes NaN or infinite and is returned: it must be seen, not
    stopped here.
    """
    delta, g = np.zeros_like(start), np.empty_like(start)
    here, rate, beta = start.copy(), np.float32(settings.learning_rate), np.float32(settings.momentum)
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(settings.local_steps):
            gradient(here, step, g)
            if settings.prox:
                g[:, :shared] += np.float32(settings.prox) * delta[:, :shared]
            if correction is not None:
                g[:, :shared] += correction
            momentum = beta * momentum + g if settings.momentum else g
            delta -= rate * momentum
            np.add(start, delta, out=here)
    return delta, momentum if settings.momentum else start[:, :0]


def control_after(settings: Descent, own: F32, server: F32, delta: F32) -> F32:
    """cᵢ⁺ = cᵢ - c + (x - y)/(Kη), arrays (m, d) or (d,): the member's control variate after a round that moved it."""
    scale = np.float32(1.0 / (settings.local_steps * settings.learning_rate))
    after: F32 = own - server - scale * delta
    return after


def batch_of(settings: Descent, examples: int, round: int, step: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Which of a member's `examples` are in the mini-batch of this step: (b,) indices, each once an epoch.

    The order is a permutation that depends on round, epoch and number of examples alone, so that a round that is
    told again is the same. The last batch of an epoch may be smaller.
    """
    size = examples if settings.batch_size is None else min(settings.batch_size, examples)
    if size == examples:
        return np.arange(examples)
    batches = -(-examples // size)
    epoch, place = divmod(step, batches)
    key = bytes.fromhex(digest("mini-batches", f"{round}/{epoch}".encode()))
    draws = np.frombuffer(expand(key, "mini-batches", 8 * examples), dtype="<u8")
    return np.argsort(draws, kind="stable")[place * size : (place + 1) * size]
