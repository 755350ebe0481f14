"""What a coordinator can read out of one unprotected update: the image itself.

For z = Wx + b the gradients are ∂L/∂W_k = ∂L/∂z_k · x and ∂L/∂b_k = ∂L/∂z_k, so their ratio is the input, exactly, for
one example (Geiping et al., NeurIPS 2020, Proposition 3.1). Its label is the only class whose bias gradient is negative
(iDLG: Zhao et al., arXiv:2001.02610). The attacker sees only what the wire carries.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from phalanx.types import F32


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


def psnr(image: F32, guess: F32) -> float:
    """Peak signal-to-noise ratio in dB of values in 0 … 1; infinite if equal."""
    error = float(np.mean((image.astype(np.float64) - guess.astype(np.float64)) ** 2))
    return float("inf") if error == 0 else -10.0 * float(np.log10(error))
