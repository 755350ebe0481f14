"""Counts for the gate, by class: what a candidate loses and wins against the incumbent, and what it has right."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phalanx.learning.data import Labels
from phalanx.types import Tally


def paired_tally(candidate: Labels, incumbent: Labels, truth: Labels, *, classes: int, finite: bool) -> Tally:
    """The paired comparison of two predictions (h,) with the truth (h,), labels 0 … classes-1.

    A prediction outside the classes is simply wrong: trainers write -1 where a model's output is not finite.
    """
    right_now, right_before = candidate == truth, incumbent == truth

    def count(chosen: npt.NDArray[np.bool_]) -> tuple[int, ...]:
        return tuple(np.bincount(truth[chosen], minlength=classes).tolist())

    return Tally(
        worse=count(right_before & ~right_now),
        better=count(right_now & ~right_before),
        right=count(right_now),
        total=count(np.ones(truth.shape, dtype=np.bool_)),
        finite=finite,
    )
