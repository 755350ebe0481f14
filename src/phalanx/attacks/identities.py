"""One attacker with several identities. How it got them admitted is another matter: see the attacks on the wire."""

from __future__ import annotations

import numpy as np

from phalanx.attacks.training_attack import Craft
from phalanx.attacks.view import View
from phalanx.types import F32, F64

NOISE = 0.3  # of the row's length: enough to hide clones from a comparison by cosine at 0.99


def clones(craft: Craft) -> Craft:
    """All identities send the same row: the mean of what they would send apart.  Fung et al., RAID 2020."""

    def same(view: View) -> F32:
        row: F64 = _rows(craft(view), view).mean(axis=0, dtype=np.float64)
        return row.astype(np.float32)

    return same


def noisy_clones(craft: Craft) -> Craft:
    """The same row with noise across it, different for each identity, that adds up to nothing over all of them."""

    def apart(view: View) -> F32:
        row: F64 = _rows(craft(view), view).mean(axis=0, dtype=np.float64)
        noise: F64 = view.rng.normal(size=(view.f, row.size))
        noise -= noise.mean(axis=0)
        length = max(float(np.linalg.norm(noise, axis=1).mean()), 1e-30)
        rows: F64 = row + NOISE * np.linalg.norm(row) / length * noise
        return rows.astype(np.float32)

    return apart


def _rows(rows: F32, view: View) -> F32:
    return np.broadcast_to(rows, (view.f, view.model.size))
