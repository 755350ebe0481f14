"""From a Gram matrix and a chain to the share of each row: the same whatever the rows are and wherever they lie.

A pre-step is a mixing matrix W, the rule a weight for each mixed row, and the share of an original row is wᵀW.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from phalanx.aggregation import (
    arc,
    bucketing,
    caf,
    centered_clipping,
    custom,
    dnc,
    flame,
    fltrust,
    foolsgold,
    geometric_median,
    krum,
    mda,
    mean,
    monna,
    nnm,
    norm_clip,
)
from phalanx.aggregation.gram import Gram, from_products, mixed
from phalanx.errors import QuorumError
from phalanx.rules import (
    ARC,
    CAF,
    FLAME,
    MDA,
    NNM,
    Bucketing,
    CenteredClipping,
    Chain,
    Custom,
    DnC,
    FLTrust,
    FoolsGold,
    GeometricMedian,
    GramRule,
    Krum,
    Mean,
    MoNNA,
    MultiKrum,
    NormClip,
    PreStep,
    Rule,
)
from phalanx.rules.rule import Tolerant
from phalanx.types import F64

# (n,) weights, or (n+1,) with that of the reference last; and (n,) scores, lower is more trusted, or None.
Weights = tuple[F64, F64 | None]

_WEIGHTS: dict[type[GramRule], Callable[[Any, Gram], Weights]] = {
    CAF: caf.weights,
    CenteredClipping: centered_clipping.weights,
    Custom: custom.weights,
    DnC: dnc.weights,
    FLAME: flame.weights,
    FLTrust: fltrust.weights,
    GeometricMedian: geometric_median.weights,
    Krum: krum.weights,
    MDA: mda.weights,
    MoNNA: monna.weights,
    MultiKrum: krum.weights,
}
_MIXING: dict[type[PreStep], Callable[[Any, Gram], F64]] = {
    ARC: lambda step, view: np.diag(arc.scales(step, view.squared_norms)),
    Bucketing: bucketing.mixing,
    NNM: nnm.mixing,
    NormClip: lambda step, view: np.diag(norm_clip.scales(step, view.squared_norms)),
}


def gram_weights(G: F64, rule: GramRule | Chain, *, history: F64 | None = None, reference: bool = False) -> Weights:
    """The shares of rows that are known by their inner products alone, and the rule's scores of them.

    `G` (n, n) float64 is X Xᵀ; with `reference` it is (n+1, n+1), the reference last. `history` (n, n) is the Gram
    matrix of the rows' histories. The aggregate is the shares times the rows. Everything that a rule decides, and every
    what-if, costs O(n³) here and no pass over the rows.
    Raises ValueError for a coordinate-wise rule, and for what is no Gram matrix.
    """
    chain = rule if isinstance(rule, Chain) else Chain((), rule)
    if not isinstance(chain.rule, GramRule):
        raise ValueError(f"{chain} is no function of the Gram matrix: it looks at each coordinate by itself")
    G = np.asarray(G, dtype=np.float64)
    _check_gram(G, reference)
    view = from_products(G, reference, chain.rule.seen_from)
    check_quorum(chain, view.n)
    return weighed(chain, chain.rule, view, history=history)


def weighed(
    chain: Chain, rule: GramRule, view: Gram, *, given: F64 | None = None, history: F64 | None = None
) -> Weights:
    """The shares of the original rows, that of the reference last; and the scores of the mixed rows by `rule`.

    `given` (n,) are the coordinator's weights, which the mean alone uses.
    """
    mixing, view = premixed(chain, view)
    counted, scores = _weights_of(rule, mixing, view, given, history)
    m = len(mixing)
    return np.concatenate([counted[:m] @ mixing, counted[m:]]), scores


def premixed(chain: Chain, view: Gram) -> tuple[F64, Gram]:
    """The mixing matrix (m, n) of all pre-steps, and the Gram matrix of the mixed rows."""
    mixing = np.eye(view.n)
    for step in chain.pre:
        W = _MIXING[type(step)](step, view)
        mixing = W @ mixing
        view = mixed(view, W)
    return mixing, view


def _weights_of(rule: GramRule, mixing: F64, view: Gram, given: F64 | None, history: F64 | None) -> Weights:
    """Weights of the mixed rows. Their histories are mixed as they are."""
    if isinstance(rule, Mean):
        if given is not None and view.n != len(given):
            raise ValueError(f"{len(given)} weights for {view.n} mixed rows: a bucket has no weight of its own")
        return mean.weights(view.n, given), None
    if isinstance(rule, FoolsGold):
        if history is None or history.shape != (mixing.shape[1],) * 2:
            raise ValueError(f"foolsgold needs the Gram matrix of the histories of all {mixing.shape[1]} rows")
        return foolsgold.weights(rule, mixing @ history @ mixing.T)
    return _WEIGHTS[type(rule)](rule, view)


def _check_gram(G: F64, reference: bool) -> None:
    """Raises ValueError unless G is square, finite and symmetric, with no negative square."""
    if G.ndim != 2 or G.shape[0] != G.shape[1] or len(G) < 1 + reference:
        raise ValueError(f"a Gram matrix is (n, n), with a reference (n+1, n+1), got shape {G.shape}")
    if not np.isfinite(G).all():
        raise ValueError("a Gram matrix is finite, got NaN or infinity")
    squares = np.diagonal(G)
    if (squares < 0).any() or (np.abs(G - G.T) > 1e-9 * np.sqrt(np.outer(squares, squares))).any():
        raise ValueError("a Gram matrix is symmetric, with squares >= 0")


def check_quorum(chain: Chain, n: int) -> None:
    """Raises QuorumError if `n` rows are fewer than a step needs, or more than it can be computed for."""
    steps: tuple[Rule | PreStep, ...] = (*chain.pre, chain.rule)
    for step in steps:
        if n < step.min_rows:
            raise QuorumError(f"{step.name} needs n >= {_needed(step)} updates, got {n}")
        if step.max_rows is not None and n > step.max_rows:
            raise QuorumError(f"{step.name} is exact for n <= {step.max_rows} updates only, got {n}")
        n = step.rows_left(n) if isinstance(step, PreStep) else n


def _needed(step: Rule | PreStep) -> str:
    """`2f + 3 = 5`, or the number alone where it does not follow from f."""
    if isinstance(step, Tolerant) and step.min_rows == step.per_f * step.f + step.slack:
        return f"{step.per_f}f + {step.slack} = {step.min_rows}"
    return f"{step.min_rows}"
