"""The mean as plain federated averaging computes it, without any check. For the lab's undefended runs only."""

from __future__ import annotations

import numpy as np

from phalanx.errors import RuleRefused
from phalanx.rules import Chain, Mean
from phalanx.types import F32, F64, AggregationReport


def unsafe_mean(rows: F32, rule: Chain, weights: F64 | None = None) -> tuple[F32, AggregationReport]:
    """Rows (n, d) and weights (n,) to (d,), whatever they hold: one NaN gives NaN, a negative weight counts.

    Has the signature of `aggregate`. Raises RuleRefused for any rule but a bare mean.
    """
    if rule != Chain((), Mean()):
        raise RuleRefused(f"without screening only the bare mean can be run, not {rule}")
    given = np.full(len(rows), 1.0 / len(rows)) if weights is None else weights
    with np.errstate(all="ignore"):
        vector = (given[:, None] * rows.astype(np.float64)).sum(axis=0).astype(np.float32)
    return vector, AggregationReport(rule=str(rule), weights=given, scores=None, l2_sensitivity=None)
