"""Inputs whose gradient is the one that was seen, found by descent. Needs the `torch` extra.

Two searches: the squared distance by L-BFGS (deep leakage from gradients: Zhu et al., NeurIPS 2019, arXiv:1906.08935),
and the angle, with a prior that images vary little from pixel to pixel, by signed Adam (inverting gradients: Geiping et
al., NeurIPS 2020, arXiv:2003.14053, section 3). Labels are known: they are read from the same gradient.

An update of one step is -η times the gradient. Of K steps it is about Kη times as much, and the angle does not depend
on the factor, nor on a clip of one example's gradient. Inputs are searched inside a box, scaled to 0 … 1 in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from phalanx.learning.data import Labels
from phalanx.types import F32

Distance = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]  # two gradients, tensor by tensor → a scalar >= 0
_SPREAD = 0.1  # of the first guess around a random grey
_MEMORY = 50  # steps that L-BFGS remembers


def squared(found: Sequence[Tensor], seen: Sequence[Tensor]) -> Tensor:
    """‖found - seen‖², over ‖seen‖²: where the gradient's length is known."""
    scale = _sum((b * b).sum() for b in seen)
    return _sum(((a - b) ** 2).sum() for a, b in zip(found, seen, strict=True)) / scale


def angle(found: Sequence[Tensor], seen: Sequence[Tensor]) -> Tensor:
    """1 - cosine, 0 … 2: whatever the lengths."""
    lengths = _sum((a * a).sum() for a in found) * _sum((b * b).sum() for b in seen)
    return 1 - _sum((a * b).sum() for a, b in zip(found, seen, strict=True)) / lengths.sqrt().clamp(min=1e-30)


def _sum(scalars: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(scalars)).sum()


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What an onlooker has: the module and its tensors, the `gradient` of some of them, and the labels (n,).

    `low` and `high` are bounds of an input, of its shape or broadcast to it. `picture`: (height, width) of the last
    axis or axes if inputs are images, for the prior. Tensors that are not in `gradient` are known and stay.
    """

    module: nn.Module = field(repr=False)
    tensors: Mapping[str, F32] = field(repr=False)
    gradient: Mapping[str, F32] = field(repr=False)
    labels: Labels
    shape: tuple[int, ...]  # of one input
    low: F32 = field(repr=False)
    high: F32 = field(repr=False)
    picture: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Matched:
    """The inputs that were found (n, …), and how far their gradient is from what was seen."""

    x: F32 = field(repr=False)
    distance: float


def deep_leakage(
    seen: Observed, *, distance: Distance = squared, iterations: int = 300, restarts: int = 4, rng: np.random.Generator
) -> Matched:
    """L-BFGS from `restarts` random guesses; the one whose gradient ends nearest. Double precision.

    Steps of length 1, without a line search: on networks of ReLUs, whose gradient jumps, a search stops at once. A run
    that diverges counts as lost. Smooth networks (sigmoid, tanh) are what the attack was made for.
    """
    search = _Search(seen, distance, torch.float64)
    best = _nothing(seen)
    for _ in range(restarts):
        guess = search.guess(rng)
        optimiser = torch.optim.LBFGS(
            [guess], max_iter=iterations, history_size=_MEMORY, tolerance_grad=0, tolerance_change=0
        )

        def closure(guess: Tensor = guess) -> Tensor:
            value = search.loss(guess)
            (guess.grad,) = torch.autograd.grad(value, guess)
            return value.detach()

        optimiser.step(closure)  # type: ignore[no-untyped-call]
        best = search.better(guess, best)
    return best


def inverting_gradients(
    seen: Observed,
    *,
    distance: Distance = angle,
    iterations: int = 1000,
    restarts: int = 1,
    variation: float = 1e-3,
    rng: np.random.Generator,
) -> Matched:
    """Adam on the sign of the derivative, steps of 0.1 that fall at 3/8, 5/8 and 7/8 of the way. Single precision.

    `variation` weighs the total variation of images; of other inputs there is none. The published attack takes 24,000
    iterations.
    """
    search = _Search(seen, distance, torch.float32)
    best = _nothing(seen)
    for _ in range(restarts):
        guess = search.guess(rng)
        optimiser = torch.optim.Adam([guess], lr=0.1 * _UNIT_STEP)
        falls = [iterations * part // 8 for part in (3, 5, 7)]
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, falls, gamma=0.1)
        for _ in range(iterations):
            value = search.loss(guess) + variation * search.variation(guess)
            guess.grad = torch.autograd.grad(value, guess)[0].sign()
            optimiser.step()
            schedule.step()
            with torch.no_grad():
                guess.clamp_(0, 1)
        best = search.better(guess, best)
    return best


_UNIT_STEP = 0.35  # a step of 0.1 was meant for images of deviation 1, which are about three wide


class _Search:
    """One search's constants as tensors."""

    def __init__(self, seen: Observed, distance: Distance, dtype: torch.dtype) -> None:
        self._seen, self._distance, self._dtype = seen, distance, dtype
        self._device = next(seen.module.parameters()).device
        constants = [*seen.module.named_parameters(), *seen.module.named_buffers()]
        self._fixed = {name: one.detach().to(dtype) for name, one in constants if one.is_floating_point()}
        self._fixed |= {name: self._put(value) for name, value in seen.tensors.items()}
        self._wanted = {name: self._put(value).requires_grad_() for name, value in _chosen(seen).items()}
        self._gradient = [self._put(seen.gradient[name]) for name in self._wanted]
        self._labels = torch.tensor(seen.labels, device=self._device)
        self._low = self._put(np.broadcast_to(seen.low, seen.shape))
        self._width = self._put(np.broadcast_to(seen.high, seen.shape)) - self._low

    def _put(self, array: F32) -> Tensor:
        return torch.tensor(np.asarray(array), dtype=self._dtype, device=self._device)

    def guess(self, rng: np.random.Generator) -> Tensor:
        """(n, …) in 0 … 1: noise around a random grey."""
        size = (len(self._seen.labels), *self._seen.shape)
        start = np.clip(rng.uniform(0.2, 0.5) + rng.normal(0.0, _SPREAD, size), 0, 1)
        return self._put(start.astype(np.float32)).requires_grad_()

    def loss(self, guess: Tensor) -> Tensor:
        """How far the guess's gradient is from the one that was seen."""
        logits = functional_call(self._seen.module, self._fixed | self._wanted, (self._low + self._width * guess,))
        loss = nn.functional.cross_entropy(logits, self._labels)
        found = torch.autograd.grad(loss, list(self._wanted.values()), create_graph=True, materialize_grads=True)
        return self._distance(found, self._gradient)

    def variation(self, guess: Tensor) -> Tensor:
        """The mean step from a pixel to the next, down and across; 0 for what is no image."""
        if self._seen.picture is None:
            return guess.new_zeros(())
        images = guess.reshape(-1, *self._seen.picture)
        return images.diff(dim=1).abs().mean() + images.diff(dim=2).abs().mean()

    def better(self, guess: Tensor, best: Matched) -> Matched:
        """The guess, cut to its box, if its gradient is nearer than that of `best`."""
        inside = guess.detach().clamp(0, 1)
        if not bool(inside.isfinite().all()):
            return best
        distance = float(self.loss(inside.requires_grad_()).detach())
        if not distance < best.distance:
            return best
        return Matched((self._low + self._width * inside.detach()).float().cpu().numpy(), distance)


def _chosen(seen: Observed) -> dict[str, F32]:
    """The tensors whose gradient was seen. Raises ValueError where one is no tensor of the module."""
    unknown = sorted(set(seen.gradient) - set(seen.tensors))
    if unknown:
        raise ValueError(f"expected gradients of {sorted(seen.tensors)}, got some of {unknown}")
    return {name: seen.tensors[name] for name in seen.gradient}


def _nothing(seen: Observed) -> Matched:
    """Grey, for a search that finds nothing."""
    grey = (np.broadcast_to(seen.low, seen.shape) + np.broadcast_to(seen.high, seen.shape)) / 2
    return Matched(np.tile(grey.astype(np.float32), (len(seen.labels), *(1 for _ in seen.shape))), math.inf)
