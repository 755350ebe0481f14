"""The rules once more, from their formulas: float64 vectors, plain loops, no Gram matrix. Slow and easy to check."""

from __future__ import annotations

from typing import Any

import numpy as np

from phalanx.rules import ARC, CAF, NNM, Chain, Krum, Mean, Median, MultiKrum, NormClip, PreStep, Rule, TrimmedMean
from phalanx.types import F32, F64


def reference(rows: F32, rule: Rule | Chain, weights: F64 | None = None) -> F64:
    """(n, d) -> (d,) in float64."""
    chain = rule if isinstance(rule, Chain) else Chain((), rule)
    vectors = [row.astype(np.float64) for row in rows]
    for step in chain.pre:
        vectors = prepared(step, vectors)
    n = len(vectors)
    match chain.rule:
        case Mean():
            shares = [1 / n] * n if weights is None else list(weights)
            return np.asarray(sum(share * x for share, x in zip(shares, vectors, strict=True)))
        case Krum(f):
            scores = krum_scores(vectors, f)
            return np.asarray(vectors[scores.index(min(scores))])
        case MultiKrum(f):
            scores = krum_scores(vectors, f)
            best = sorted(range(n), key=lambda i: (scores[i], i))[: n - f - 2]
            return np.asarray(sum(vectors[i] for i in best) / len(best))
        case CAF(f):
            return caf(np.array(vectors), f)[0]
        case Median():
            return np.asarray(np.median(np.array(vectors), axis=0))
        case TrimmedMean(f):
            return np.asarray(np.sort(np.array(vectors), axis=0)[f : n - f].mean(axis=0))


def prepared(step: PreStep, vectors: list[F64]) -> list[F64]:
    n = len(vectors)
    norms = [float(np.linalg.norm(x)) for x in vectors]
    match step:
        case NormClip(bound):
            return [x if norm <= bound else x * (bound / norm) for x, norm in zip(vectors, norms, strict=True)]
        case ARC(f):
            k = int(np.floor(2 * (f / n) * (n - f)))
            bound = sorted(norms, reverse=True)[k]
            return [x if norm <= bound else x * (bound / norm) for x, norm in zip(vectors, norms, strict=True)]
        case NNM(f):
            mixed = []
            for i, x in enumerate(vectors):
                order = sorted(range(n), key=lambda j: (j != i, np.linalg.norm(x - vectors[j]), j))
                mixed.append(np.asarray(sum(vectors[j] for j in order[: n - f]) / (n - f)))
            return mixed


def krum_scores(vectors: list[F64], f: int) -> list[float]:
    scores = []
    for i, x in enumerate(vectors):
        others = sorted(float(((x - y) ** 2).sum()) for j, y in enumerate(vectors) if j != i)
        scores.append(sum(others[: len(vectors) - f - 2]))
    return scores


def caf(X: F64, f: int, *, active_only: bool = True, passes: int = 1000) -> tuple[F64, int]:
    """The filter in the space of the vectors, by SVD; and in how many passes it ended (`passes`: it did not)."""
    n = len(X)
    c = np.ones(n)
    best: Any = X.mean(axis=0)
    smallest = np.inf
    for done in range(passes):
        if c.sum() <= n - 2 * f:
            return best, done
        mu = c @ X / c.sum()
        _, singular, directions = np.linalg.svd(np.sqrt(c / c.sum())[:, None] * (X - mu), full_matrices=False)
        if singular[0] ** 2 < smallest:
            smallest, best = singular[0] ** 2, mu
        if singular[0] <= 1e-7 * np.abs(X[c > 0]).max():
            return best, done
        tau = ((X - mu) @ directions[0]) ** 2
        c = np.maximum(c * (1 - tau / (tau[c > 0].max() if active_only else tau.max())), 0)
    return best, passes
