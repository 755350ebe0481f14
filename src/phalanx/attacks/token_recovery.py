"""Which tokens a text had: the rows of the embedding's gradient that are not zero.

An embedding's row is read by its own token alone, so no other token moves it (Melis et al., IEEE S&P 2019). The order
of the tokens is not read here.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from phalanx.types import F32, F64

Ids = npt.NDArray[np.int64]


def find_embedding(update: Mapping[str, F32], toy: Ids) -> str | None:
    """The tensor (vocabulary, width) whose rows that moved are tokens of `toy`, a text of the attacker's own.

    None if there is none, as where low-rank layers alone travel. Padding may stay out; of the rest all must have moved.
    """
    tokens = set(np.unique(toy).tolist())
    for name in sorted(update):
        if update[name].ndim != 2 or len(update[name]) <= max(tokens):
            continue
        moved = set(np.flatnonzero(row_norms(update[name]) > 0).tolist())
        if moved and moved <= tokens and len(tokens - moved) <= 1 < len(tokens):
            return name
    return None


def row_norms(embedding: F32) -> F64:
    """(vocabulary,): how far each token's row moved."""
    rows = embedding.astype(np.float64)
    norms: F64 = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return norms


def tokens_of(embedding: F32) -> Ids:
    """The tokens whose rows moved, those that moved most first. Under noise every row did."""
    norms = row_norms(embedding)
    order = np.argsort(-norms, kind="stable")
    return order[norms[order] > 0].astype(np.int64)
