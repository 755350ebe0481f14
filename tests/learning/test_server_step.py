"""The server's step makes candidates, of the model that the updates are relative to and of no other."""

from __future__ import annotations

import numpy as np
import pytest

from phalanx.canonical import model_digest
from phalanx.errors import IntegrityError
from phalanx.learning import step
from phalanx.types import F32, Aggregate, AggregationReport, Binding

MODEL = np.array([1.0, 2.0, 3.0], np.float32)


def aggregate(vector: F32, model: F32 = MODEL) -> Aggregate:
    binding = Binding("fed", "run", 1, 0, model_digest(model), "c" * 64, "0" * 32)
    return Aggregate(vector, AggregationReport("mean", np.ones(1), None, None), None, binding)


def test_a_candidate_is_the_model_plus_the_aggregate_and_names_both_hashes() -> None:
    given = aggregate(np.array([0.5, 0.0, -3.0], np.float32))
    candidate = step(given, MODEL)
    assert candidate.model.tolist() == [1.5, 2.0, 0.0]
    assert candidate.model.dtype == np.float32
    assert candidate.digest == model_digest(candidate.model)
    assert candidate.base == model_digest(MODEL)
    assert candidate.binding == given.binding
    assert MODEL.tolist() == [1.0, 2.0, 3.0]


def test_a_non_finite_aggregate_gives_a_non_finite_candidate() -> None:
    top = np.finfo(np.float32).max
    large = np.full(3, top)
    candidate = step(aggregate(np.array([np.nan, np.inf, top], np.float32), large), large)
    assert not np.isfinite(candidate.model).any()


def test_updates_relative_to_another_model_are_not_applied() -> None:
    with pytest.raises(IntegrityError, match="relative to model"):
        step(aggregate(MODEL, MODEL + 1), MODEL)


def test_an_aggregate_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(2,\) does not fit"):
        step(aggregate(np.zeros(2, np.float32)), MODEL)
