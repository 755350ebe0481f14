"""What a coordinator can read out of one unprotected update: the inputs themselves.

For z = Wx + b the gradients are ∂L/∂W_k = ∂L/∂z_k · x and ∂L/∂b_k = ∂L/∂z_k, so their ratio is the input, exactly, for
one example (Geiping et al., NeurIPS 2020, Proposition 3.1). Of several examples a row's ratio is a mixture, and a single
input where the row was active for one of them alone; so is the difference of two rows that treat all but one alike. Its
label is the only class whose bias gradient is negative (iDLG: Zhao et al., arXiv:2001.02610). The attacker sees only
what the wire carries.

Sign and step size cancel in a ratio, so updates do as well as gradients. Letters: `k` rows, `p` features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from phalanx.types import F32, F64

_PAIRS_UP_TO = 64  # rows whose differences are all tried: 2,016 pairs
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
    """Where a model's layout has a layer that reads the flattened input: its tensors' names, and which axis are rows."""

    weight: str
    bias: str
    rows_first: bool  # (k, p), as torch has it; else (p, k)

    def read(self, tensors: Mapping[str, F32]) -> tuple[F32, F32]:
        """The layer's weight (k, p) and bias (k,) among `tensors`."""
        weight = tensors[self.weight]
        return (weight if self.rows_first else weight.T), tensors[self.bias]


def find_first_layer(update: Mapping[str, F32], toy: F32) -> FirstLayer | None:
    """The layer whose ratio gives `toy` (p,) back in the update of that one example; None if there is none.

    The attacker makes both: it has the model's code. So no name is needed, and a layer that only looks like one is out.
    """
    for weight in sorted(update):
        for bias in sorted(update):
            if update[weight].ndim != 2 or update[bias].ndim != 1:
                continue
            rows = len(update[bias])
            for rows_first, shape in ((True, (rows, toy.size)), (False, (toy.size, rows))):
                layer = FirstLayer(weight, bias, rows_first)
                if update[weight].shape == shape and _gives(*layer.read(update), toy):
                    return layer
    return None


def _gives(weight: F32, bias: F32, toy: F32) -> bool:
    if not np.abs(bias).max() > 0:
        return False
    error = np.linalg.norm(reconstruct(weight, bias).x - toy)
    return bool(error <= _TOY_ERROR * np.linalg.norm(toy))


def candidates(weight: F32, bias: F32) -> F32:
    """(c, p): every input that the update of a first layer `weight` (k, p), `bias` (k,) may hold. c may be 0.

    The least-squares fit of one input to all rows, which is best under noise; each row's ratio; and, of up to 64 rows,
    the ratio of each two rows' difference. Nobody says which of them are inputs.
    """
    w, b = weight.astype(np.float64), bias.astype(np.float64)
    if not np.abs(b).max(initial=0.0) > 0:
        return np.zeros((0, w.shape[1]), np.float32)
    found = [(b @ w / (b @ b))[None], ratios(w, b)]
    if len(b) <= _PAIRS_UP_TO:
        one, other = np.triu_indices(len(b), 1)
        found.append(ratios(w[one] - w[other], b[one] - b[other], largest=float(np.abs(b).max())))
    return np.concatenate(found).astype(np.float32)


def ratios(w: F64, b: F64, *, largest: float | None = None) -> F64:
    """w_i / b_i (c, p) of the rows whose b_i is more than rounding beside the `largest` |b|."""
    top = float(np.abs(b).max(initial=0.0)) if largest is None else largest
    moved = np.abs(b) > _NOTHING * top
    return w[moved] / b[moved, None]
