"""A rule of the caller's own, from the Gram matrix to weights."""

from __future__ import annotations

import numpy as np

from phalanx.aggregation.gram import Gram
from phalanx.rules import Custom
from phalanx.types import F64


def weights(rule: Custom, view: Gram) -> tuple[F64, None]:
    """(n,) the weights that `rule.function` gives. Raises ValueError unless they are n finite numbers.

    The function is handed a matrix of its own, symmetric to the last bit.
    """
    n = view.n
    raw = view.raw[:n, :n]
    given = np.asarray(rule.function((raw + raw.T) / 2.0))
    if not (given.shape == (n,) and given.dtype.kind in "fiub"):
        raise ValueError(f"{rule} must give {n} weights of shape ({n},), got {given.dtype} of shape {given.shape}")
    weights = given.astype(np.float64)
    if not np.isfinite(weights).all():
        raise ValueError(f"{rule} must give finite weights, got {weights.tolist()}")
    return weights, None
