"""Centred clipping: from a point v, towards the rows, each row pulling with at most the length of the bound.

Karimireddy et al., ICML 2021, section 4: v ← v + (1/n) Σ (x_i - v) min(1, clip_l2 / |x_i - v|), `steps` times, from the
reference, or from zero where none was handed in. Attacks that know the reference place their rows relative to it
(2208.09894).
"""

from __future__ import annotations

import numpy as np

from phalanx.aggregation.gram import Gram
from phalanx.aggregation.norm_clip import shorten
from phalanx.rules import CenteredClipping
from phalanx.types import F64


def weights(rule: CenteredClipping, view: Gram) -> tuple[F64, F64]:
    """(n,) weights, with that of the reference last where there is one: then they sum to 1, else to at most 1.

    Scores (n,): the distances from the point of which the last step started.
    """
    P, n = view.products, view.n
    start = np.zeros(len(P))  # where v starts, as seen from the centre c: reference - c, or 0 - c
    if view.has_reference:
        start[n] = 1.0
    else:
        start[-1] = -1.0
    own, left = np.zeros(n), 1.0  # v = Σ own_i x_i + left × (the start)
    norms = np.zeros(n)
    for _ in range(rule.steps):
        to_rows = np.eye(n, len(P)) - left * start
        to_rows[:, :n] -= own
        norms = np.sqrt(np.maximum(np.einsum("ij,ij->i", to_rows @ P, to_rows), 0.0))
        pull = shorten(norms, rule.clip_l2) / n
        stays = 1.0 - float(pull.sum())
        own, left = own * stays + pull, left * stays
    return np.append(own, left) if view.has_reference else own, norms
