"""Run a rule on rows in the clear. Pure: same rows, same answer.

What a chain costs depends on what it has to know of the rows (n rows, d parameters):

| chain                                | passes over the rows                                          |
|--------------------------------------|---------------------------------------------------------------|
| clip steps (if any) >> mean          | norms, combine                                                |
| anything with NNM, Krum family, CAF  | norms, Gram matrix (n²d), combine; the rest on n × n matrices |
| … >> median or trimmed mean          | as above for the pre-steps, then a sort of every mixed column |
"""

from __future__ import annotations

import numpy as np

from phalanx.aggregation import arc, caf, krum, mean, median, nnm, norm_clip
from phalanx.aggregation.columns import blocks, combine, mix, squared_norms
from phalanx.aggregation.gram import Gram, gram, mixed
from phalanx.aggregation.trimmed_mean import trim
from phalanx.errors import QuorumError
from phalanx.rules import ARC, CAF, NNM, Chain, Krum, Mean, Median, MultiKrum, NormClip, PreStep, Rule, TrimmedMean
from phalanx.types import F32, F64, AggregationReport

_SUM_TOLERANCE = 1e-9  # far below the half ulp (3e-8) by which a mean of the largest float32 could overflow


def aggregate(rows: F32, rule: Rule | Chain, weights: F64 | None = None) -> tuple[F32, AggregationReport]:
    """(n, d) float32 -> (d,) float32, and a report of who counted.

    `weights` (n,), the coordinator's, sum to 1 (default 1/n each). Only chains that end in `Mean` use them: every other
    rule treats rows alike, since what it tolerates is a number of hostile rows, not a weight.

    In the report, `weights` is each original row's share of the aggregate; they sum to less than 1 where rows were
    clipped. For median and trimmed mean it is the share of coordinates at which the row was kept; after pre-steps,
    those shares carried back through the mixing. `scores` are those of the last rule, on mixed rows. `l2_sensitivity`
    is None under unequal weights: the bound that a rule states is for equal ones.

    Raises QuorumError if n is below what a step needs, ValueError for anything but finite float32 rows and finite,
    non-negative float64 weights. Inputs are not modified.
    """
    chain = rule if isinstance(rule, Chain) else Chain((), rule)
    _check_chain(chain)
    _check_rows(rows)
    _check_quorum(chain, len(rows))
    _check_weights(weights, len(rows))
    mixing, view = _pre_steps(chain, rows)
    scores: F64 | None = None
    if isinstance(chain.rule, Median | TrimmedMean):
        vector, kept = _by_coordinate(chain.rule, mixing, rows)
        shares = kept @ mixing
    else:
        counted, scores = _row_weights(chain.rule, view, len(rows), weights)
        shares = counted @ mixing
        vector = combine(shares, rows)
    equal = weights is None or bool(np.ptp(weights) <= _SUM_TOLERANCE / len(rows))
    sensitivity = chain.l2_sensitivity(len(rows)) if equal else None
    return vector, AggregationReport(str(rule), shares, scores, sensitivity)


def _pre_steps(chain: Chain, rows: F32) -> tuple[F64, Gram | None]:
    """The mixing matrix (n, n) of all pre-steps; and the Gram matrix of the mixed rows, if a step or the rule needs it.

    Clip steps alone need the norms only. Raises ValueError if a value is not finite.
    """
    if not any(isinstance(step, NNM | Krum | MultiKrum | CAF) for step in (*chain.pre, chain.rule)):
        return np.diag(_clip_factors(chain.pre, squared_norms(rows))), None
    view = gram(rows)
    mixing = np.eye(len(rows))
    for step in chain.pre:
        W = nnm.mixing(step, view) if isinstance(step, NNM) else np.diag(_clip_factors((step,), view.squared_norms))
        mixing = W @ mixing
        view = mixed(view, W)
    return mixing, view


def _clip_factors(steps: tuple[PreStep, ...], squares: F64) -> F64:
    """(n,) factors in [0, 1] by which clip steps, in order, shorten rows of these squared norms."""
    factors = np.ones_like(squares)
    for step in steps:
        now = squares * factors**2
        match step:
            case NormClip():
                factors = factors * norm_clip.scales(step, now)
            case ARC():
                factors = factors * arc.scales(step, now)
            case NNM():
                raise ValueError("nnm mixes rows, it is not a clip step")
    return factors


def _row_weights(
    rule: Mean | Krum | MultiKrum | CAF, view: Gram | None, n: int, given: F64 | None
) -> tuple[F64, F64 | None]:
    """(n,) weights of the mixed rows, and the rule's scores."""
    if isinstance(rule, Mean):
        return mean.weights(n, given), None
    if view is None:
        raise ValueError(f"{rule} needs the Gram matrix of the rows")
    return caf.weights(rule, view) if isinstance(rule, CAF) else krum.weights(rule, view)


def _by_coordinate(rule: Median | TrimmedMean, mixing: F64, rows: F32) -> tuple[F32, F64]:
    """(d,) aggregate of the mixed rows, and (n,) the share of coordinates at which each mixed row was kept."""
    n, d = rows.shape
    vector = np.empty(d, dtype=np.float32)
    kept = np.zeros(n)
    for columns in blocks(rows):
        block = mix(mixing, rows[:, columns])
        vector[columns], counts = median.middle(block) if isinstance(rule, Median) else trim(block, rule.f)
        kept += counts
    return vector, kept / d


def _check_chain(chain: Chain) -> None:
    for step in chain.pre:
        if not isinstance(step, PreStep):
            raise ValueError(f"a chain is pre-steps and then one rule, got {step!r} before the end")
    if not isinstance(chain.rule, Rule):
        raise ValueError(f"a chain ends in a rule, got {chain.rule!r}")


def _check_rows(rows: F32) -> None:
    if not (isinstance(rows, np.ndarray) and rows.dtype == np.float32):
        raise ValueError(f"rows must be a float32 array, got {getattr(rows, 'dtype', type(rows).__name__)}")
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise ValueError(f"rows must be (n, d) with d >= 1, got shape {rows.shape}")


def _check_quorum(chain: Chain, n: int) -> None:
    for step in (*chain.pre, chain.rule):
        if n < step.min_rows:
            f = getattr(step, "f", None)
            formula = "" if f is None else f"2f + {step.min_rows - 2 * f} = "
            raise QuorumError(f"{step.name} needs n >= {formula}{step.min_rows} updates, got {n}")


def _check_weights(weights: F64 | None, n: int) -> None:
    if weights is None:
        return
    if not (isinstance(weights, np.ndarray) and weights.dtype == np.float64 and weights.shape == (n,)):
        raise ValueError(f"weights must be a float64 array of shape ({n},), got {weights!r}")
    if not (np.isfinite(weights).all() and (weights >= 0.0).all()):
        raise ValueError(f"weights must be finite and >= 0, got {weights.tolist()}")
    if not abs(weights.sum() - 1.0) <= _SUM_TOLERANCE:
        raise ValueError(f"weights must sum to 1, got {weights.sum()!r}")
