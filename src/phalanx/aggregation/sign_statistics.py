"""What the signs of the rows' values say: scores for monitoring, no rule. Signs are no function of the Gram matrix.

A row whose values point the other way in many coordinates can have any length and any distance that its sender likes;
its signs then betray it. These scores only rank and flag: dropping rows by them in one round is what attacks tailored
to them wait for (Min-Max against SignGuard: Li et al., Blades, IoTDI 2024).

Letters: `n` rows, `d` values, `k` of them the largest in absolute value.
"""

from __future__ import annotations

import numpy as np

from phalanx.types import F32, F64


def sign_fractions(rows: F32) -> F64:
    """(n, 3): the shares of positive, zero and negative values of each row.  SignGuard: Xu et al., ICDCS 2022, 4.2."""
    positive = np.count_nonzero(rows > 0, axis=1)
    negative = np.count_nonzero(rows < 0, axis=1)
    d = rows.shape[1]
    return np.asarray(np.column_stack([positive, d - positive - negative, negative]) / d)


def sign_alignment(rows: F32, share: float = 0.3) -> F64:
    """(n,): at which share of its own k = share d largest values a row has the sign that most rows have there.

    AlignIns: Xu et al., CVPR 2025, 4.2, the masked principal sign alignment. `share` in (0, 1]. Low is suspicious.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be in (0, 1], got {share!r}")
    n, d = rows.shape
    k = max(1, int(share * d))
    votes = np.zeros(d, dtype=np.int32)
    for row in rows:
        votes += np.sign(row).astype(np.int32)
    principal = np.sign(votes)
    aligned = np.empty(n)
    for i, row in enumerate(rows):
        largest = np.argpartition(-np.abs(row), k - 1)[:k]
        aligned[i] = np.count_nonzero(np.sign(row[largest]) == principal[largest]) / k
    return aligned


def direction_alignment(rows: F32, model: F32) -> F64:
    """(n,): the cosine of each row to the model (d,), zero where one of them is zero.  AlignIns, 4.2.

    The temporal direction alignment; far from the others' median, either way, is suspicious.
    """
    against = model.astype(np.float64)
    length = float(np.sqrt(against @ against))
    cosines = np.zeros(len(rows))
    for i, row in enumerate(rows):
        exact = row.astype(np.float64)
        both = float(np.sqrt(exact @ exact)) * length
        cosines[i] = exact @ against / both if both > 0 else 0.0
    return cosines


def median_z_scores(values: F64) -> F64:
    """(n,): |value - median| / standard deviation; zero where all are equal.  AlignIns, 4.3."""
    spread = float(values.std())
    away = np.abs(values - np.median(values))
    return away / spread if spread > 0 else np.zeros_like(away)
