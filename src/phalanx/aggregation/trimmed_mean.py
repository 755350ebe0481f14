"""Coordinate-wise trimmed mean: at each coordinate the mean without the f largest and f smallest values.

Yin et al., ICML 2018, Definition 2. Needs n > 2f.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phalanx.types import F32, F64


def trim(block: F32, f: int) -> tuple[F64, npt.NDArray[np.int64]]:
    """(n, b) columns -> (b,) means of the n-2f middle values in float64; and (n,) at how many columns a row was kept.

    Of equal values the earlier row counts as the smaller. The mean adds the values in ascending order, whatever the
    order of the rows.
    """
    n = len(block)
    kept = np.argsort(block, axis=0, kind="stable")[f : n - f]
    values = np.take_along_axis(block, kept, axis=0).astype(np.float64)
    return values.sum(axis=0) / len(kept), np.bincount(kept.ravel(), minlength=n)
