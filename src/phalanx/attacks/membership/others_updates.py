"""FedMIA: an onlooker who sees single updates compares one member's with the others', which surely lack the example.

Zhu et al., CVPR 2025 (arXiv:2402.06289), section 4, with the cosine as the measure. It needs no shadow model: members'
data are disjoint, so the other updates of a round are the distribution without the example. Where nobody sees a single
update there is nothing to compare. Letters: `k` members that took part, `n` examples, Δ an update, ℓ the loss.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr

from phalanx.types import F32, F64

_LEAST = 1e-12


def cosines(updates: F32, gradients: F32) -> F64:
    """(k, n): cos(Δ_j, -∇ℓ(x)) of updates (k, d) and examples' gradients (n, d). 0 where one of them is zero."""
    products = updates.astype(np.float64) @ gradients.T.astype(np.float64)
    lengths = _lengths(updates)[:, None] * _lengths(gradients)[None, :]
    found: F64 = -products / np.maximum(lengths, _LEAST)
    return found


def evidence(measured: F64, owner: npt.NDArray[np.int64]) -> F64:
    """(n,): one round's log Φ((m_j - μ) / σ), with μ and σ of the other members' m. Sum it over rounds.

    `measured` (k, n) as `cosines` gives them; `owner` (n,) is the row of the member j that each example is asked of, -1
    where it did not take part: 0 then, no evidence. At most 0: the further below the others' is the owner's measure,
    the less is the example a member. Raises ValueError for fewer than 3 members.
    """
    k, n = measured.shape
    if k < 3:
        raise ValueError(f"the others' updates need a mean and a spread: 3 members or more, got {k}")
    columns = np.arange(n)
    own = measured[owner, columns]
    mean = (measured.sum(axis=0) - own) / (k - 1)
    squares = ((measured - mean) ** 2).sum(axis=0) - (own - mean) ** 2
    deviation = np.sqrt(np.maximum(squares / (k - 1), _LEAST))
    return np.where(owner >= 0, log_ndtr((own - mean) / deviation), 0.0)


def _lengths(rows: F32) -> F64:
    found: F64 = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    return found
