"""Run a rule on rows in the clear. Pure: same rows, same answer.

What a chain costs depends on what it has to know of the rows (n rows, d parameters):

| chain                                 | passes over the rows                                          |
|---------------------------------------|---------------------------------------------------------------|
| mean                                  | combine                                                       |
| clip steps >> mean                    | norms, combine                                                |
| clip steps (if any) >> median and kin | norms if there is a step; one that selects in every column    |
| anything else with a Gram rule        | Gram matrix (n²d), combine; the rest on n × n matrices        |
| anything else with a coordinate rule  | Gram matrix; one that mixes and selects in every column       |
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from phalanx import kernels
from phalanx.aggregation import bulyan, columns, mean
from phalanx.aggregation.clip import clip_factors, only_clips
from phalanx.aggregation.columns import Rows
from phalanx.aggregation.gram import gram
from phalanx.aggregation.sealed_rows import SealedRows
from phalanx.aggregation.weigh import check_quorum, premixed, weighed
from phalanx.rules import Bulyan, Chain, CoordinateRule, GramRule, MeaMed, Mean, Median, PreStep, Rule, TrimmedMean
from phalanx.types import F32, F64, AggregationReport

_SUM_TOLERANCE = 1e-9  # far below the half ulp (3e-8) by which a mean of the largest float32 could overflow


def aggregate(
    rows: Rows,
    rule: Rule | Chain,
    weights: F64 | None = None,
    *,
    reference: F32 | None = None,
    history: Rows | None = None,
) -> tuple[F32, AggregationReport]:
    """(n, d) float32 -> (d,) float32, and a report of who counted.

    `rows` are an array, which may be memory-mapped, or `SealedRows` where n rows do not fit in memory.

    `weights` (n,), the coordinator's, sum to 1 (default 1/n each). Only chains that end in `Mean` use them: every other
    rule treats rows alike, since what it tolerates is a number of hostile rows, not a weight.
    `reference` (d,) float32 is what FLTrust compares with, what centred clipping starts from and FLAME's model;
    `history` (n, d) float32 the sum of each row's past updates, for FoolsGold. Other rules ignore them.

    In the report, `weights` is each original row's share of the aggregate; they sum to less than 1 where rows were
    clipped, and where a reference has a share of its own. A small weight after a clip means that a long row was cut,
    not that it was left out: what it adds is its weight times its length. For coordinate-wise rules it is the share of
    coordinates at which the row's value was among those averaged, equal values all counted; after pre-steps, those
    shares carried back through the mixing. `scores` are those of the last rule, on mixed rows. `l2_sensitivity` is None
    under unequal weights: the bound that a rule states is for equal ones.

    Raises QuorumError if n is below what a step needs, ValueError for anything but finite float32 rows and finite,
    non-negative float64 weights, or where the rule is not handed what it needs. Inputs are not modified.
    """
    chain = rule if isinstance(rule, Chain) else Chain((), rule)
    reference = None if reference is None else np.ascontiguousarray(reference)
    _check_chain(chain)
    _check_rows("rows", rows)
    _check_handed(chain, rows, reference, history)
    check_quorum(chain, rows.shape[0])
    rows = _side_by_side(rows)
    _check_weights(weights, rows.shape[0])
    scores: F64 | None = None
    if isinstance(chain.rule, CoordinateRule):
        vector, counted = _by_coordinate(chain, chain.rule, rows)
    elif isinstance(chain.rule, GramRule):
        counted, scores = _by_weight(chain, chain.rule, rows, weights, reference, history)
        vector = columns.combine(counted, rows, reference)
        if not np.isfinite(vector).all():
            columns.squared_norms(rows)  # names the rows, if it is theirs
            raise ValueError(f"the aggregate of these rows by {rule} is beyond float32")
    else:
        raise ValueError(f"a rule is a function of the Gram matrix or coordinate-wise, and {chain.rule!r} is neither")
    equal = weights is None or bool(np.ptp(weights) <= _SUM_TOLERANCE / rows.shape[0])
    sensitivity = chain.l2_sensitivity(rows.shape[0]) if equal else None
    return vector, AggregationReport(str(rule), counted[: rows.shape[0]], scores, sensitivity)


def _by_weight(
    chain: Chain, rule: GramRule, rows: Rows, weights: F64 | None, reference: F32 | None, history: Rows | None
) -> tuple[F64, F64 | None]:
    """(n,) or (n+1,) shares of the rows and the reference, and the rule's scores."""
    if isinstance(rule, Mean) and only_clips(chain.pre):
        given = mean.weights(rows.shape[0], weights)
        if not chain.pre and given.all():  # then a value that is not finite shows in the result: see `aggregate`
            return given, None
        return given * clip_factors(chain.pre, columns.squared_norms(rows)), None
    past = None if history is None else _past(_side_by_side(history))
    view = gram(rows, reference, rule.seen_from, measured=_clips(chain))
    return weighed(chain, rule, view, given=weights, history=past)


def _past(history: Rows) -> F64:
    """The Gram matrix of the histories."""
    try:
        return gram(history, seen_from="zero").raw
    except ValueError as error:
        raise ValueError(f"history: {error}") from None


def _by_coordinate(chain: Chain, rule: CoordinateRule, rows: Rows) -> tuple[F32, F64]:
    """(d,) aggregate of the mixed rows, and (n,) the share of coordinates at which each original row was kept."""
    mixing: F64 | None = None
    chosen: npt.NDArray[np.int64] | None = None
    if isinstance(rule, Bulyan) or not only_clips(chain.pre):
        mixing, view = premixed(chain, gram(rows, measured=_clips(chain)))
        if isinstance(rule, Bulyan):
            chosen = bulyan.selection(rule, view)
            mixing = mixing[chosen] if chain.pre else None
    elif chain.pre:
        mixing = np.diag(clip_factors(chain.pre, columns.squared_norms(rows)))
    if mixing is not None:
        vector, kept = columns.select(rows, _window(rule, len(mixing)), mixing)
        return vector, kept @ mixing
    m = rows.shape[0] if chosen is None else len(chosen)
    vector, kept = columns.select(rows, _window(rule, m), None, chosen)
    if chosen is None:
        return vector, kept
    share = np.zeros(rows.shape[0])
    share[chosen] = kept
    return vector, share


def _clips(chain: Chain) -> bool:
    """Whether a clip comes before the rows are mixed: it promises a length, and so the lengths are measured."""
    return bool(chain.pre) and only_clips(chain.pre[:1])


def _window(rule: CoordinateRule, m: int) -> Callable[[kernels.Seen], kernels.Selected]:
    """What is averaged of the m sorted values of a column."""
    match rule:
        case Median():
            return kernels.median
        case TrimmedMean(f):
            return partial(kernels.trimmed_mean, f=f)
        case MeaMed(f) | Bulyan(f):  # Bulyan: of the n-2f chosen, without 2f of them
            size = m - f if isinstance(rule, MeaMed) else m - 2 * f
            return partial(kernels.mean_near_median, size=size)
        case _:
            raise ValueError(f"{rule} is no coordinate-wise rule that is known here")


def _check_chain(chain: Chain) -> None:
    for step in chain.pre:
        if not isinstance(step, PreStep):
            raise ValueError(f"a chain is pre-steps and then one rule, got {step!r} before the end")
    if not isinstance(chain.rule, Rule):
        raise ValueError(f"a chain ends in a rule, such as CAF(f=2), got {chain.rule!r}")


def _check_rows(what: str, rows: Rows) -> None:
    if isinstance(rows, SealedRows):
        return
    if isinstance(rows, np.ma.MaskedArray):
        raise ValueError(f"{what} must be a plain array, got a masked one: its mask would be ignored")
    if not (isinstance(rows, np.ndarray) and rows.dtype == np.float32):
        raise ValueError(f"{what} must be a float32 array, got {getattr(rows, 'dtype', type(rows).__name__)}")
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise ValueError(f"{what} must be (n, d) with d >= 1, got shape {rows.shape}")


def _check_handed(chain: Chain, rows: Rows, reference: F32 | None, history: Rows | None) -> None:
    for name, value in (("reference", reference), ("history", history)):
        if value is None and name in chain.needs:
            raise ValueError(f"{chain.rule.name} needs the argument `{name}`, see its docstring")
    if reference is not None:
        if not (isinstance(reference, np.ndarray) and reference.dtype == np.float32):
            raise ValueError("reference must be a float32 array")
        if not np.isfinite(reference).all():
            raise ValueError("reference must be finite, got NaN or infinity")
        if reference.shape != rows.shape[1:]:
            raise ValueError(f"reference must be as long as the rows, ({rows.shape[1]},), got shape {reference.shape}")
    if history is not None:
        _check_rows("history", history)
        if history.shape != rows.shape:
            raise ValueError(f"history must have the shape of the rows, {rows.shape}, got {history.shape}")


def _side_by_side(rows: Rows) -> Rows:
    """The rows, copied if the values of a row do not lie side by side (a transposed array, every second column)."""
    if not isinstance(rows, np.ndarray):
        return rows
    if rows.strides[1] != rows.itemsize or rows.strides[0] < 0 or rows.strides[0] % rows.itemsize:
        return np.ascontiguousarray(rows)
    return rows


def _check_weights(weights: F64 | None, n: int) -> None:
    if weights is None:
        return
    if not (isinstance(weights, np.ndarray) and weights.dtype == np.float64 and weights.shape == (n,)):
        raise ValueError(f"weights must be a float64 array of shape ({n},), got {weights!r}")
    if not (np.isfinite(weights).all() and (weights >= 0.0).all()):
        raise ValueError(f"weights must be finite and >= 0, got {weights.tolist()}")
    if not abs(weights.sum() - 1.0) <= _SUM_TOLERANCE:
        raise ValueError(f"weights must sum to 1, got {weights.sum()!r}")
