"""The rules once more, from their formulas: float64 vectors, plain loops, no Gram matrix. Slow and easy to check."""

from __future__ import annotations

from itertools import combinations
from math import ceil
from typing import Any

import numpy as np

from phalanx.entropy import expand
from phalanx.rules import (
    ARC,
    CAF,
    FLAME,
    MDA,
    NNM,
    Bucketing,
    Bulyan,
    CenteredClipping,
    Chain,
    Custom,
    DnC,
    FLTrust,
    FoolsGold,
    GeometricMedian,
    Krum,
    MeaMed,
    Mean,
    Median,
    MoNNA,
    MultiKrum,
    NormClip,
    PreStep,
    Rule,
    TrimmedMean,
)
from phalanx.types import F32, F64


def reference(
    rows: F32 | F64,
    rule: Rule | Chain,
    weights: F64 | None = None,
    *,
    trusted: F32 | F64 | None = None,
    past: F32 | F64 | None = None,
) -> F64:
    """(n, d) -> (d,) in float64. `trusted` (d,) is the reference vector, `past` (n, d) the history."""
    chain = rule if isinstance(rule, Chain) else Chain((), rule)
    vectors = [row.astype(np.float64) for row in rows]
    known = np.zeros(rows.shape[1]) if trusted is None else trusted.astype(np.float64)
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
        case MultiKrum(f, m):
            scores = krum_scores(vectors, f)
            best = sorted(range(n), key=lambda i: (scores[i], i))[: m or n - f - 2]
            return np.asarray(sum(vectors[i] for i in best) / len(best))
        case CAF(f):
            return caf(np.array(vectors), f)[0]
        case Median():
            return np.asarray(np.median(np.array(vectors), axis=0))
        case TrimmedMean(f):
            return np.asarray(np.sort(np.array(vectors), axis=0)[f : n - f].mean(axis=0))
        case MeaMed(f):
            return nearest_to_median(np.array(vectors), n - f)
        case Bulyan(f):
            return nearest_to_median(np.array(vectors)[bulyan_selection(vectors, f)], n - 4 * f)
        case MDA(f):
            return np.asarray(np.mean([vectors[i] for i in tightest(vectors, n - f)], axis=0))
        case GeometricMedian():
            return geometric_median(np.array(vectors))
        case CenteredClipping(clip_l2, steps):
            return centered_clipping(vectors, known, clip_l2, steps)
        case MoNNA(f, own):
            order = sorted(range(n), key=lambda j: (j != own, np.linalg.norm(vectors[own] - vectors[j]), j))
            return np.asarray(np.mean([vectors[j] for j in order[: n - f]], axis=0))
        case DnC(f, c):
            return dnc(np.array(vectors), ceil(c * f))
        case FLTrust():
            return fltrust(vectors, known)
        case FoolsGold():
            assert past is not None
            shares = foolsgold([row.astype(np.float64) for row in past])
            return np.asarray(sum(share * x for share, x in zip(shares, vectors, strict=True)))
        case FLAME():
            return flame(vectors, known)
        case Custom(function):
            return np.asarray(function(np.array(vectors) @ np.array(vectors).T) @ np.array(vectors))
    raise ValueError(f"no reference for {rule}")


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
        case Bucketing(size, coin):
            drawn = expand(coin, "bucketing", 8 * n)
            words = [int.from_bytes(drawn[8 * i : 8 * i + 8], "little") for i in range(n)]
            order = sorted(range(n), key=lambda i: (words[i], i))
            buckets = [order[start : start + size] for start in range(0, n, size)]
            return [np.asarray(np.mean([vectors[i] for i in bucket], axis=0)) for bucket in buckets]
    raise ValueError(f"no reference for {step}")


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


def nearest_to_median(X: F64, count: int) -> F64:
    """At each coordinate the mean of the `count` values nearest to the median."""
    columns = [sorted(column, key=lambda value: abs(value - np.median(column)))[:count] for column in X.T]
    return np.asarray(np.mean(columns, axis=1))


def bulyan_selection(vectors: list[F64], f: int) -> list[int]:
    """n-2f rows, each the best by Krum among those left, over m-f-2 others of m left, at least 1."""
    left = list(range(len(vectors)))
    chosen: list[int] = []
    while len(chosen) < len(vectors) - 2 * f:
        count = max(len(left) - f - 2, 1)
        scores = {i: sorted(float(((vectors[i] - vectors[j]) ** 2).sum()) for j in left if j != i) for i in left}
        best = min(left, key=lambda i: (sum(scores[i][:count]), i))
        chosen.append(best)
        left.remove(best)
    return sorted(chosen)


def tightest(vectors: list[F64], size: int) -> tuple[int, ...]:
    """Of the subsets of smallest diameter that of the smallest sum of squared distances, then the first."""
    apart = {(i, j): float(np.linalg.norm(vectors[i] - vectors[j])) for i, j in combinations(range(len(vectors)), 2)}
    subsets = combinations(range(len(vectors)), size)

    def spread(subset: tuple[int, ...]) -> tuple[float, float]:
        lengths = [apart[pair] for pair in combinations(subset, 2)]
        return max(lengths, default=0.0), sum(length**2 for length in lengths)

    return min(subsets, key=spread)


def smoothing(X: F64) -> float:
    """1e-6 of the lower median over the rows of the lower median distance to the others."""
    n = len(X)
    medians = [
        sorted(float(np.linalg.norm(x - y)) for j, y in enumerate(X) if j != i)[(n - 2) // 2] for i, x in enumerate(X)
    ]
    return 1e-6 * sorted(medians)[(n - 1) // 2]


def sum_of_distances(X: F64, z: F64, nu: float) -> float:
    return float(np.sqrt(((X - z) ** 2).sum(axis=1) + nu**2).sum())


def geometric_median(X: F64, passes: int = 50_000) -> F64:
    """By Weiszfeld's steps alone, as many as it takes."""
    nu, z = smoothing(X), np.asarray(np.median(X, axis=0))
    if nu <= 1e-20 * np.abs(X).max():  # more than half of the rows are one and the same
        return z
    for _ in range(passes):
        pull = 1.0 / np.sqrt(((X - z) ** 2).sum(axis=1) + nu**2)
        before, z = z, np.asarray(pull @ X / pull.sum())
        if np.abs(z - before).max() <= 1e-15 * np.abs(z).max():
            break
    return z


def centered_clipping(vectors: list[F64], v: F64, clip_l2: float, steps: int) -> F64:
    for _ in range(steps):
        pulls = []
        for x in vectors:
            distance = float(np.linalg.norm(x - v))
            pulls.append((x - v) * (1.0 if distance <= clip_l2 else clip_l2 / distance))
        v = v + np.mean(pulls, axis=0)
    return v


def dnc(X: F64, removed: int) -> F64:
    """By SVD of the rows about their mean, all coordinates."""
    about = X - X.mean(axis=0)
    _, _, directions = np.linalg.svd(about, full_matrices=False)
    squares = (about @ directions[0]) ** 2
    kept = sorted(range(len(X)), key=lambda i: (squares[i], i))[: len(X) - removed]
    return np.asarray(X[kept].mean(axis=0))


def cosine(x: F64, y: F64) -> float:
    lengths = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / lengths if lengths > 0 else 0.0


def fltrust(vectors: list[F64], trusted: F64) -> F64:
    trust = [max(cosine(x, trusted), 0.0) for x in vectors]
    if sum(trust) == 0:
        return np.zeros_like(trusted)
    long = [
        x * (np.linalg.norm(trusted) / np.linalg.norm(x)) if t > 0 else x for t, x in zip(trust, vectors, strict=True)
    ]
    return np.asarray(sum(t * x for t, x in zip(trust, long, strict=True)) / sum(trust))


def foolsgold(past: list[F64]) -> list[float]:
    """The weights of Algorithm 1, in the order of its lines, over their sum."""
    n = len(past)
    cs = [[max(cosine(past[i], past[j]), 0.0) if i != j else 0.0 for j in range(n)] for i in range(n)]
    v = [max(row) for row in cs]
    for i in range(n):
        for j in range(n):
            if v[j] > v[i]:
                cs[i][j] *= v[i] / v[j]
    alpha = [max(1.0 - max(row), 0.0) for row in cs]
    alpha = [0.0 if a < 1e-12 else a for a in alpha]
    if max(alpha) == 0:
        return [0.0] * n
    logits = []
    for a in (a / max(alpha) for a in alpha):
        logits.append(0.0 if a == 0 else 1.0 if a == 1 else min(max(float(np.log(a / (1 - a))) + 0.5, 0.0), 1.0))
    return [w / sum(logits) for w in logits]


def majority(distances: F64) -> list[int]:
    """Rows joined in the order of their distance, those at the same distance together, until most are in one set."""
    n = len(distances)
    sets = [{i} for i in range(n)]
    edges = sorted((float(distances[i, j]), i, j) for i, j in combinations(range(n), 2))
    for length in sorted({edge[0] for edge in edges}):
        for _, i, j in (edge for edge in edges if edge[0] == length):
            a, b = (next(s for s in sets if k in s) for k in (i, j))
            if a is not b:
                sets = [s for s in sets if s is not a and s is not b] + [a | b]
        largest = max(sets, key=len)
        if 2 * len(largest) > n:
            return sorted(largest)
    return list(range(n))


def flame(vectors: list[F64], trusted: F64) -> F64:
    models = [trusted + x for x in vectors]
    kept = majority(np.array([[1.0 - cosine(a, b) for b in models] for a in models]))
    bound = float(np.median([np.linalg.norm(x) for x in vectors]))
    lengths = [float(np.linalg.norm(x)) for x in vectors]
    cut = [vectors[i] if lengths[i] <= bound else vectors[i] * (bound / lengths[i]) for i in kept]
    return np.asarray(np.mean(cut, axis=0))
