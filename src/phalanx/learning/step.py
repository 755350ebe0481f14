"""The server's step: the aggregate becomes a candidate model that nobody has tried yet."""

from __future__ import annotations

import numpy as np

from phalanx.canonical import model_digest
from phalanx.errors import IntegrityError
from phalanx.types import F32, Aggregate, Candidate


def step(aggregate: Aggregate, model: F32) -> Candidate:
    """`model` (d,) plus the aggregate (d,), added in float64. The only function that makes a Candidate.

    The result may be non-finite: screening and gate refuse that, and a run without them has to show it. Raises
    IntegrityError if `model` is not the one that the members' updates are relative to, ValueError for another length.
    """
    if aggregate.vector.shape != model.shape:
        raise ValueError(f"an aggregate of shape {aggregate.vector.shape} does not fit a model of {model.shape}")
    base = model_digest(model)
    if base != aggregate.binding.model:
        raise IntegrityError(f"the updates are relative to model {aggregate.binding.model}, got model {base}")
    with np.errstate(over="ignore", invalid="ignore"):
        moved = (model.astype(np.float64) + aggregate.vector).astype(np.float32)
    return Candidate(moved, model_digest(moved), base, aggregate.binding)
