"""The oldest attack: who has a small loss was trained on. It needs no shadow models, and tells hard examples poorly.

Yeom et al., CSF 2018 (arXiv:1709.01604), Adversary 2.
"""

from __future__ import annotations

import numpy as np

from phalanx.types import F64


def log_likelihood(phi: F64) -> F64:
    """Of any shape: log p_y, minus the cross-entropy, of confidences φ. Higher for members."""
    found: F64 = -np.logaddexp(0.0, -phi)
    return found
