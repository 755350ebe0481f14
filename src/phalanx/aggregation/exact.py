"""Rules on an exact Gram matrix of integers, such as secret shares of fixed-point updates open.

The weights come as integers over one denominator, so that the shares of the aggregate are a sum of shares and the
division comes last. Every decision is a comparison of exact integers: whoever opens the same matrix decides the same,
and rows that tie, tie. Of equals the earlier row counts, as in the float rules.

Nothing overflows. The largest value is a Krum score after mixing, up to 4 n (n-f)² max|G|: 2⁷¹ for 50 rows of a million
16-bit values, more than an int64 holds. So the matrix is mixed in two halves of 32 bits, whose sums stay below
n² 2³² <= 2⁶³, and what is compared are Python integers, n² of them: 1 ms for 50 rows, 3 s for 1000.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from phalanx.aggregation import krum, mda
from phalanx.aggregation.weigh import check_quorum
from phalanx.errors import RuleRefused
from phalanx.rules import MDA, NNM, Chain, Krum, Mean, MultiKrum, Rule

I64 = npt.NDArray[np.int64]
Integers = npt.NDArray[np.object_]  # Python integers

_MAX_ROWS = 46_340  # n² 2³² <= 2⁶³


def integer_weights(G: I64, rule: Rule | Chain) -> tuple[I64, int]:
    """(n,) integer weights and their sum, the denominator: the aggregate is Σ weights_i x_i / denominator.

    `G` (n, n) int64 is X Xᵀ of integer rows X. `rule` is Mean, Krum, MultiKrum or MDA, alone or after one NNM. Raises
    RuleRefused for any other, QuorumError as `aggregate` does, and ValueError if G is no Gram matrix: not int64, not
    symmetric, or with two rows at a negative distance (it wrapped around, or was made up).
    """
    chain = rule if isinstance(rule, Chain) else Chain((), rule)
    _check_rule(chain)
    _check_matrix(G)
    n = len(G)
    check_quorum(chain, n)
    mixing = np.eye(n, dtype=np.int64)
    mixed = G.astype(object)
    for step in chain.pre:
        if isinstance(step, NNM):
            mixing = _nearest(_distances(mixed), n - step.f)
            mixed = _mixed(G, mixing)
    selected = _selected(chain.rule, _distances(mixed))
    weights = selected.astype(np.int64) @ mixing
    return weights, int(weights.sum())


def _check_rule(chain: Chain) -> None:
    known = isinstance(chain.rule, Mean | Krum | MultiKrum | MDA)
    if not (known and len(chain.pre) <= 1 and all(isinstance(step, NNM) for step in chain.pre)):
        raise RuleRefused(
            f"not available on an exact Gram matrix: {chain}; mean, krum, multi-krum and mda are, after nnm or alone"
        )


def _check_matrix(G: I64) -> None:
    if not (isinstance(G, np.ndarray) and G.dtype == np.int64 and G.ndim == 2 and G.shape[0] == G.shape[1]):
        found = f"{G.dtype} of shape {G.shape}" if isinstance(G, np.ndarray) else type(G).__name__
        raise ValueError(f"an exact Gram matrix is (n, n) int64, got {found}")
    if len(G) > _MAX_ROWS:
        raise ValueError(f"an exact Gram matrix has at most {_MAX_ROWS} rows, got {len(G)}: its sums would overflow")
    if not np.array_equal(G, G.T):
        raise ValueError("an exact Gram matrix is symmetric")
    if (np.diagonal(G) < 0).any():
        raise ValueError("no Gram matrix: a square is negative")


def _distances(G: Integers) -> Integers:
    """(n, n) squared distances."""
    squares = np.diagonal(G)
    distances: Integers = squares[:, None] + squares - 2 * G
    if (distances < 0).any():
        raise ValueError("no Gram matrix: two rows are at a negative distance")
    return distances


def _nearest(distances: Integers, count: int) -> I64:
    """(n, n) zeros and ones: which rows are the `count` nearest to a row, itself first."""
    order = distances.copy()
    np.fill_diagonal(order, -1)
    mixing = np.zeros(order.shape, dtype=np.int64)
    np.put_along_axis(mixing, np.argsort(order, axis=1, kind="stable")[:, :count], 1, axis=1)
    return mixing


def _mixed(G: I64, W: I64) -> Integers:
    """W G Wᵀ for W of zeros and ones."""
    high, low = G >> 32, G & 0xFFFF_FFFF
    return np.asarray((W @ high @ W.T).astype(object) * 2**32 + (W @ low @ W.T).astype(object))


def _selected(rule: Rule, distances: Integers) -> npt.NDArray[Any]:
    """(n,) whether a row is among those averaged."""
    n = len(distances)
    selected = np.zeros(n, dtype=bool)
    match rule:
        case Krum() | MultiKrum():
            scores = krum.scores(distances, n - rule.f - 2)
            selected[np.argsort(scores, kind="stable")[: krum.kept_rows(rule, n)]] = True
        case MDA(f):
            ranks = np.unique(distances, return_inverse=True)[1].reshape(n, n)
            selected[mda.tightest(distances, n - f, ranks)] = True
        case _:
            selected[:] = True
    return selected
