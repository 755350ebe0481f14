"""FLTrust: rows brought to the length of a trusted update and weighed by how far they point its way.

Cao et al., NDSS 2021, Algorithm 2, lines 8 to 14: trust TS_i = ReLU(cos(x_i, r)), aggregate
Σ TS_i (|r| / |x_i|) x_i / Σ TS_i, where r is the update that the server trained on data of its own.
"""

from __future__ import annotations

import numpy as np

from phalanx.aggregation.gram import Gram
from phalanx.rules import FLTrust
from phalanx.types import F64

_ROUNDING = 1e-12  # what rounding leaves of a cosine that is zero; the trust is a ratio and would make it a whole share


def weights(rule: FLTrust, view: Gram) -> tuple[F64, F64]:
    """(n,) weights, all zero if no row points the way of the reference; and (n,) scores in [0, 2]: 1 - cosine.

    A row, or a reference, of length zero points nowhere: its cosine counts as zero.
    """
    if not view.has_reference:
        raise ValueError("fltrust needs a reference")
    n = view.n
    raw = view.raw
    norms = np.sqrt(view.squared_norms)
    length = float(np.sqrt(max(raw[n, n], 0.0)))
    lengths = norms * length
    cosines = np.zeros(n)
    np.divide(raw[:n, n], lengths, out=cosines, where=lengths > 0.0)
    cosines = np.clip(cosines, -1.0, 1.0)
    trust = np.where(cosines > _ROUNDING, cosines, 0.0)
    weights = np.zeros(n)
    if trust.any():
        np.divide(trust / trust.sum() * length, norms, out=weights, where=trust > 0.0)
    return weights, 1.0 - cosines
