"""What a coordinator can read out of one unprotected update: the inputs themselves.

For z = Wx + b the gradients are ∂L/∂W_k = ∂L/∂z_k · x and ∂L/∂b_k = ∂L/∂z_k, so their ratio is the input, exactly, for
one example (Geiping et al., NeurIPS 2020, Proposition 3.1). Of several examples a row's ratio is a mixture, and a
single input where the row was active for one of them alone; so is the difference of two rows that treat all but one
alike. Its label is the only class whose bias gradient is negative (iDLG: Zhao et al., arXiv:2001.02610). The attacker
sees only what the wire carries.

Sign and step size cancel in a ratio, so updates do as well as gradients. Letters: `k` rows, `p` features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from phalanx.types import F32, F64

_ROWS_IN_PAIRS = 64  # at most so many rows: 2,016 pairs
_NUMBERS_IN_PAIRS = 1 << 24  # of their differences, in float64
_SCALES = 33
_NOTHING = 1e-6  # a bias that moved by less than this, of the one that moved most, is rounding
_TOY_ERROR = 1e-2  # relative, of the toy input that a first layer has to give back


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """The attacker's guess: the input (features,) and its label."""

    x: F32 = field(repr=False)
    label: int


def reconstruct(weight: F32, bias: F32) -> Reconstruction:
    """The input behind a first layer's update `weight` (classes, features) and `bias` (classes,).

    An update goes against the gradient, so the label's bias is the one that rose; sign and step size cancel in the
    ratio. Of several examples the result is a mixture. Raises ValueError if no bias moved: then nothing is known.
    """
    k = int(np.abs(bias).argmax())
    if not abs(bias[k]) > 0:
        raise ValueError("no bias moved, so the update holds no ratio to read")
    x = weight[k].astype(np.float64) / float(bias[k])
    return Reconstruction(x.astype(np.float32), int(bias.argmax()))


@dataclass(frozen=True, slots=True)
class FirstLayer:
    """Where a model's layout has a layer that reads the flattened input: its tensors, and which axis are its rows.

    `scales`: what a ratio has to be multiplied by, more than one value where training other than a gradient step (a
    solver with a penalty) gives an input's direction alone.
    """

    weight: str
    bias: str
    rows_first: bool  # (k, p), as torch has it; else (p, k)
    scales: tuple[float, ...] = (1.0,)

    def read(self, tensors: Mapping[str, F32]) -> tuple[F32, F32]:
        """The layer's weight (k, p) and bias (k,) among `tensors`."""
        weight = tensors[self.weight]
        return (weight if self.rows_first else weight.T), tensors[self.bias]

    def scaled(self, found: F32) -> F32:
        """Candidates (c, p) at every scale (c · scales, p)."""
        return np.concatenate([np.float32(scale) * found for scale in self.scales])


def find_first_layer(updates: Sequence[Mapping[str, F32]], toys: F32) -> FirstLayer | None:
    """The layer whose ratio gives each of `toys` (t, p) back in the update of that one example; None if there is none.

    The attacker makes both: it has the model's code. So no name is needed, and a layer that only looks like one is out.
    """
    first, features = updates[0], toys.shape[1]
    for weight in sorted(first):
        for bias in sorted(first):
            if first[weight].ndim != 2 or first[bias].ndim != 1:
                continue
            rows = len(first[bias])
            for rows_first, shape in ((True, (rows, features)), (False, (features, rows))):
                layer = FirstLayer(weight, bias, rows_first)
                if first[weight].shape != shape:
                    continue
                scales = _scales(layer, updates, toys)
                if scales:
                    return replace(layer, scales=scales)
    return None


def _scales(layer: FirstLayer, updates: Sequence[Mapping[str, F32]], toys: F32) -> tuple[float, ...]:
    """The factors from ratios to toys; none unless every ratio points at its toy."""
    found = []
    for update, toy in zip(updates, toys.astype(np.float64), strict=True):
        weight, bias = layer.read(update)
        if not np.abs(bias).max() > 0:
            return ()
        ratio = reconstruct(weight, bias).x.astype(np.float64)
        scale = float(ratio @ toy / (ratio @ ratio)) if ratio.any() else 0.0
        if not np.linalg.norm(scale * ratio - toy) <= _TOY_ERROR * np.linalg.norm(toy):
            return ()
        found.append(scale)
    if max(abs(scale - 1) for scale in found) <= _TOY_ERROR:
        return (1.0,)
    return tuple(np.linspace(min(found), max(found), _SCALES).tolist())


def candidates(weight: F32, bias: F32, examples: int | None = None) -> F32:
    """(c, p): every input that the update of a first layer `weight` (k, p), `bias` (k,) may hold. c may be 0.

    The least-squares fit of one input to all rows, first, which is best under noise; each row's ratio; and, of up to 64
    rows, the ratio of each two rows' difference. If the layer is also the last one, and these are its gradients of the
    mean loss of so many `examples`: what is left of a row without its background. Nobody says which ones are inputs.
    """
    w, b = weight.astype(np.float64), bias.astype(np.float64)
    if not np.abs(b).max(initial=0.0) > 0:
        return np.zeros((0, w.shape[1]), np.float32)
    found = [(b @ w / (b @ b))[None], ratios(w, b)]
    one, other = np.triu_indices(len(b), 1)
    if len(b) <= _ROWS_IN_PAIRS and len(one) * w.shape[1] <= _NUMBERS_IN_PAIRS:
        found.append(ratios(w[one] - w[other], b[one] - b[other], largest=float(np.abs(b).max())))
        if examples is not None:
            found.append(_without_background(w, b, examples))
    return np.concatenate(found).astype(np.float32)


def ratios(w: F64, b: F64, *, largest: float | None = None) -> F64:
    """w_i / b_i (c, p) of the rows whose b_i is more than rounding beside the `largest` |b|."""
    top = float(np.abs(b).max(initial=0.0)) if largest is None else largest
    moved = np.abs(b) > _NOTHING * top
    return w[moved] / b[moved, None]


def _without_background(w: F64, b: F64, n: int) -> F64:
    """(c, p): inputs whose label nobody else has, among n whose confidence p_c is about the same for all.

    Then w_c = p_c·m - x/n and b_c = p_c - 1/n, with m the mean input, which is the ratio of a row whose label nobody
    has: x = m + n·(b_c·m - w_c).
    """
    absent, present = np.flatnonzero(b > 0), np.flatnonzero(b < 0)
    mean = w[absent] / b[absent, None]
    found: F64 = (mean[:, None] + n * (b[present][None, :, None] * mean[:, None] - w[present][None])).reshape(
        -1, w.shape[1]
    )
    return found
