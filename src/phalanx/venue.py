"""The open venue: one aggregator sees every update in clear, runs the rule, and adds central noise if there is any.

Who is trusted with what: the aggregator with the privacy of the updates (members protect themselves from it only by
noise of their own), the rule with integrity. This is the only file that constructs an `Aggregate`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from phalanx.canonical import digest, encode
from phalanx.entropy import gaussian
from phalanx.errors import PolicyError, SensitivityUnknown
from phalanx.rules import Chain
from phalanx.types import F32, F64, Aggregate, AggregationReport, Binding, Cohort

Combine = Callable[[F32, Chain, F64 | None], tuple[F32, AggregationReport]]


@dataclass(frozen=True, slots=True)
class Noise:
    """Central Gaussian noise for one round: deviation `std` on each coordinate, drawn from a secret key of 32 bytes."""

    std: float
    noise_multiplier: float
    key: bytes = field(repr=False)


def aggregate(cohort: Cohort, rule: Chain, combine: Combine, noise: Noise | None) -> Aggregate:
    """The cohort's one update, by `combine` (the aggregation room's function).

    With noise, the clipped rows are summed with equal weights and divided by the cohort's fixed denominator, so that
    who answers moves no other member's share, and the report says nothing that depends on the rows beyond the noised
    vector. The sum of no rows is zero: noise alone.
    Raises SensitivityUnknown or PolicyError if `noise` does not hide one member behind `rule`.
    """
    if noise is None:
        vector, report = combine(cohort.rows, rule, cohort.weights)
    else:
        total, report = _fixed_denominator(cohort, rule, combine, noise)
        vector = _add_noise(total, noise, cohort.binding)
    return Aggregate(vector, report, None if noise is None else noise.noise_multiplier, cohort.binding)


def _fixed_denominator(cohort: Cohort, rule: Chain, combine: Combine, noise: Noise) -> tuple[F64, AggregationReport]:
    """Sum of the clipped rows / denominator, float64, and a report without scores."""
    n, denominator = len(cohort.members), cohort.denominator
    sensitivity = rule.l2_sensitivity(denominator)
    if sensitivity is None:
        raise SensitivityUnknown(f"the l2 sensitivity of {rule} to one member is not known")
    # Written so that NaN refuses. The slack is for rounding in the product that made `std`.
    if not noise.std >= (1 - 1e-12) * noise.noise_multiplier * sensitivity > 0:
        raise PolicyError(
            f"noise of deviation {noise.std:g} is less than noise multiplier * sensitivity = "
            f"{noise.noise_multiplier:g} * {sensitivity:g}"
        )
    if n > cohort.invited:
        raise ValueError(f"{n} rows of {cohort.invited} invited members")
    weights = np.full(n, 1 / denominator)  # not the rule's own: after clipping these would tell each row's norm
    if n == 0:
        return np.zeros(cohort.rows.shape[1]), AggregationReport(str(rule), weights, None, sensitivity)
    mean, report = combine(cohort.rows, rule, None)
    total = mean.astype(np.float64) * (n / denominator)
    return total, replace(report, weights=weights, scores=None, l2_sensitivity=sensitivity)


def _add_noise(vector: F64, noise: Noise, binding: Binding) -> F32:
    # The label repeats the binding: should a key ever be used twice, the noise of two rounds still does not cancel.
    label = "central-noise/" + digest("central-noise", encode(binding.as_json()))
    return (vector + noise.std * gaussian(noise.key, label, vector.size)).astype(np.float32)
