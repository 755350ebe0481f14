"""The server's step: the aggregate becomes a candidate model that nobody has tried yet.

Letters: Δ the aggregate (d,), x the model, η the server's learning rate, m and v the optimiser's memory (d,).

| optimiser | step                                                       | source                                      |
|-----------|------------------------------------------------------------|---------------------------------------------|
| `Sgd`     | x ← x + ηΔ                                                 | FedAvg with η = 1: McMahan et al., 2017     |
| `Sgd`     | m ← βm + Δ, x ← x + ηm                                     | FedAvgM: Hsu et al., arXiv:1909.06335       |
| `Adam`    | m ← β₁m + (1-β₁)Δ, v ← β₂v + (1-β₂)Δ², x ← x + ηm/(√v + τ) | FedAdam: Reddi et al., ICLR 2021, Alg. 2    |
| `Yogi`    | the same with v ← v - (1-β₂)Δ² sign(v - Δ²)                | FedYogi: the same                           |

All of it is a function of aggregates alone: behind a robust rule it gives hostile members no say that the rule did not
give them, and behind differential privacy it is post-processing. The memory moves only with an approved candidate: a
direction that the gate refused does not live on in the momentum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from phalanx.canonical import model_digest
from phalanx.errors import IntegrityError
from phalanx.types import F32, F64, Aggregate, Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Sgd:
    """η > 0 and momentum 0 <= β < 1. Raises ValueError for anything else."""

    learning_rate: float = 1.0
    momentum: float = 0.0

    def __post_init__(self) -> None:
        _check_range("learning_rate", self.learning_rate, 0, math.inf)
        if self.momentum:
            _check_range("momentum", self.momentum, 0, 1)

    @property
    def memory_rows(self) -> int:
        """How many vectors (d,) it remembers."""
        return 1 if self.momentum else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Adam:
    """η > 0, 0 < β₁, β₂ < 1 and τ > 0, which bounds how much a small Δ is blown up. v starts at τ², as in the paper."""

    learning_rate: float
    momentum: float = 0.9
    second_momentum: float = 0.99
    tau: float = 1e-3

    def __post_init__(self) -> None:
        _check_range("learning_rate", self.learning_rate, 0, math.inf)
        _check_range("momentum", self.momentum, 0, 1)
        _check_range("second_momentum", self.second_momentum, 0, 1)
        _check_range("tau", self.tau, 0, math.inf)

    @property
    def memory_rows(self) -> int:
        """m and v."""
        return 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Yogi(Adam):
    """As `Adam`, with a second moment that moves by additive steps and so forgets large Δ more slowly."""


ServerOptimiser = Sgd | Adam


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low < value < high):
        raise ValueError(f"the server's {name} must be above {low:g} and below {high:g}, got {value!r}")


def first_memory(optimiser: ServerOptimiser, d: int) -> F32:
    """(rows, d): what the optimiser remembers before the first round."""
    memory = np.zeros((optimiser.memory_rows, d), np.float32)
    if isinstance(optimiser, Adam):
        memory[1] = optimiser.tau**2
    return memory


def step(aggregate: Aggregate, model: F32, optimiser: ServerOptimiser, memory: F32) -> tuple[Candidate, F32]:
    """The candidate, and the memory (rows, d) to keep if it is approved. The only function that makes a Candidate.

    In float64, rounded once. The result may be non-finite: screening and gate refuse that, and a run without them has
    to show it. Raises IntegrityError if `model` (d,) is not the one that the members' updates are relative to,
    ValueError for another length, and for a memory that is not of this optimiser.
    """
    if aggregate.vector.shape != model.shape:
        raise ValueError(f"an aggregate of shape {aggregate.vector.shape} does not fit a model of {model.shape}")
    if memory.shape != (optimiser.memory_rows, model.size):
        raise ValueError(f"memory must have shape ({optimiser.memory_rows}, {model.size}), got {memory.shape}")
    base = model_digest(model)
    if base != aggregate.binding.model:
        raise IntegrityError(f"the updates are relative to model {aggregate.binding.model}, got model {base}")
    with np.errstate(over="ignore", invalid="ignore"):
        move, after = _move(optimiser, aggregate.vector.astype(np.float64), memory.astype(np.float64))
        moved = (model.astype(np.float64) + move).astype(np.float32)
        kept = after.astype(np.float32)
    return Candidate(moved, model_digest(moved), base, aggregate.binding), kept


def _move(optimiser: ServerOptimiser, delta: F64, memory: F64) -> tuple[F64, F64]:
    """How far the model moves (d,), and the memory after it."""
    rate, beta = optimiser.learning_rate, optimiser.momentum
    if isinstance(optimiser, Sgd):
        if not optimiser.momentum:
            return rate * delta, memory
        m = beta * memory[0] + delta
        return rate * m, m[None]
    m = beta * memory[0] + (1 - beta) * delta
    square, v = delta * delta, memory[1]
    if isinstance(optimiser, Yogi):
        v = v - (1 - optimiser.second_momentum) * square * np.sign(v - square)
    else:
        v = optimiser.second_momentum * v + (1 - optimiser.second_momentum) * square
    return rate * m / (np.sqrt(v) + optimiser.tau), np.stack([m, v])


@dataclass(frozen=True, slots=True)
class Scaffold:
    """What the server's control variate needs of the members' steps: K and η."""

    steps: int
    learning_rate: float


def server_control(scaffold: Scaffold, control: F32, aggregate: F32, *, share: float) -> F32:
    """SCAFFOLD's c (d,) after a round in which the `share` S/N of all members took part, from aggregates alone.

    In Karimireddy et al., ICML 2020, Algorithm 1, members send the changes of their control variates besides their
    updates. With option II these are cᵢ⁺ - cᵢ = -c + (x - yᵢ)/(Kη) = -c - Δᵢ/(Kη), so their mean needs nothing but the
    mean update: c⁺ = c + (S/N)(-c - Δ/(Kη)). Nothing more travels, and hostile members reach c only through the rule.
    Exact where the rule is the mean with equal weights; else c follows the robust aggregate, as the model does. Like
    the optimiser's memory it moves only with an approved candidate.

    c - mean(cᵢ) never shrinks by itself. Where a member keeps the cᵢ of a round that did not count (its update or the
    candidate was refused), the difference stays and the model settles beside the optimum, however long it runs.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        target = -aggregate.astype(np.float64) / (scaffold.steps * scaffold.learning_rate)
        return ((1 - share) * control.astype(np.float64) + share * target).astype(np.float32)
