"""Bucketing: rows in an order that nobody could foresee, averaged in buckets.  Karimireddy et al., ICLR 2022, Alg. 1.

The last bucket may hold fewer rows; each is averaged by what it holds.
"""

from __future__ import annotations

import numpy as np

from phalanx.aggregation.gram import Gram
from phalanx.entropy import expand
from phalanx.rules import Bucketing
from phalanx.types import F64


def mixing(step: Bucketing, view: Gram) -> F64:
    """(ceil(n/size), n) row-stochastic mixing matrix.

    The order is that of n words of 64 bits from the coin; two equal words (below n² in 2⁶⁵) keep the order of the rows.
    """
    n = view.n
    words = np.frombuffer(expand(step.coin, "bucketing", 8 * n), dtype="<u8")
    bucket = np.empty(n, dtype=np.intp)
    bucket[np.argsort(words, kind="stable")] = np.arange(n) // step.size
    mixing = np.zeros((step.rows_left(n), n))
    mixing[bucket, np.arange(n)] = 1.0
    return np.asarray(mixing / mixing.sum(axis=1, keepdims=True))
