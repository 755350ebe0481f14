"""DP-SGD's private gradient: clip each example, sum, add Gaussian noise, divide by a public constant.

Abadi et al., CCS 2016, Algorithm 1, with full participation (no amplification by sampling is claimed). Unit: one
example of one member, added or removed; the sum's l2 sensitivity is `clip_l2`.
"""

from __future__ import annotations

import math

import numpy as np

from phalanx.entropy import gaussian
from phalanx.types import F32, F64, ExamplePrivacy


def private_mean(per_example: F32, privacy: ExamplePrivacy, noise_key: bytes, *, round: int) -> F32:
    """(n, d) gradients, a row an example → (d,): (Σ clip(gᵢ) + σC·N(0, I)) / normaliser. The member runs this.

    | row                     | counts as                                                             |
    |-------------------------|-----------------------------------------------------------------------|
    | norm at most C          | itself                                                                |
    | longer                  | scaled down to norm C                                                 |
    | with a NaN or infinity  | zero: it can move the sum by 0 <= C, and one bad row destroys nothing |

    `noise_key` (32 bytes or more) is secret, and a key and a round are used for one release only: the difference of two
    releases under the same noise has no noise. Only this value is private: the rows and their number are not. Memory:
    the rows are held at once, n·d floats. Raises ValueError for settings that protect nothing.
    """
    _check(privacy)
    total = clipped_sum(per_example, privacy.clip_l2)
    noise = gaussian(noise_key, f"dp-sgd/round/{round}", per_example.shape[1])
    noised = total + privacy.noise_multiplier * privacy.clip_l2 * noise
    return (noised / privacy.normaliser).astype(np.float32)


def clipped_sum(per_example: F32, clip_l2: float) -> F64:
    """(n, d) → (d,) float64: the sum of the rows, each cut to l2 norm `clip_l2`, a non-finite row to zero."""
    norms = np.sqrt(np.einsum("ij,ij->i", per_example, per_example, dtype=np.float64))  # float32² cannot overflow it
    sound = np.isfinite(norms)
    scales = np.zeros_like(norms)
    scales[sound] = clip_l2 / np.maximum(norms[sound], clip_l2)
    rows = per_example if sound.all() else np.where(sound[:, None], per_example, np.float32(0))  # 0 · NaN is NaN
    total: F64 = np.einsum("i,ij->j", scales, rows, dtype=np.float64)
    return total


def _check(privacy: ExamplePrivacy) -> None:
    for name, value in (("clip_l2", privacy.clip_l2), ("noise_multiplier", privacy.noise_multiplier)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be finite and > 0, got {value!r}")
    if not privacy.normaliser >= 1:
        raise ValueError(f"normaliser must be an integer >= 1, got {privacy.normaliser!r}")
