"""One battery of checks that every rule must pass: those of this package, and yours.

    >>> from phalanx.aggregation import TrimmedMean, check_rule
    >>> check_rule(TrimmedMean(f=1), examples=5)
    ('shape', 'same bytes', 'rows untouched', 'identical rows', 'permutation', 'translation', 'scale', 'hostile rows', 'finite only', 'too few rows')

A rule of your own is a `Custom` rule, or any function from rows (n, d) to a vector (d,). Each check draws rows with
hypothesis and raises AssertionError with the smallest rows that it found to fail.
"""  # noqa: E501  # the last line of an example cannot be broken

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from phalanx.aggregation.aggregate import aggregate
from phalanx.errors import NotAvailable, QuorumError
from phalanx.rules import (
    ARC,
    FLAME,
    Bucketing,
    Bulyan,
    CenteredClipping,
    Chain,
    DnC,
    FLTrust,
    FoolsGold,
    GramRule,
    Mean,
    MoNNA,
    NormClip,
    Rule,
)
from phalanx.types import F32, F64

Function = Callable[[F32], F32]

_GRID = 1024.0  # rows are whole multiples of 2^-10 of at most 4: translations of them are exact in float32
_HOSTILE = (1e3, 1e6, 1e30)  # how many times as long as the honest rows


@dataclass(frozen=True, slots=True)
class Traits:
    """What holds of a rule besides what holds of all. For rules of this package it is known: `traits_of`.

    `f`: hostile rows tolerated (0: none), among at least `min_rows`. `translates`: shifted rows shift the result.
    `scales`: longer rows lengthen it. `rotates`: turned rows turn it. `permutes`: the order of rows does not matter.
    `keeps`: identical rows give that row. `bounded`: with f hostile rows the result stays within `reach` times the
    honest rows' distance from their mean, or, if it does not translate, within `reach` times their length.
    """

    f: int = 0
    min_rows: int = 1
    max_rows: int | None = None
    permutes: bool = True
    translates: bool = True
    scales: bool = True
    rotates: bool = False
    keeps: bool = True
    bounded: bool = True
    reach: float = 10.0


def traits_of(rule: Rule | Chain) -> Traits:
    """What this package knows of a rule of its own."""
    chain = rule if isinstance(rule, Chain) else Chain((), rule)
    steps = (*chain.pre, chain.rule)
    to_a_bound = any(isinstance(step, NormClip | CenteredClipping) for step in steps)
    by_length = to_a_bound or any(isinstance(step, ARC | FLTrust | FoolsGold | FLAME) for step in steps)
    f = min((getattr(step, "f", 0) for step in steps if hasattr(step, "f")), default=0)
    return Traits(
        f=f,
        min_rows=chain.min_rows,
        max_rows=chain.max_rows,
        permutes=not any(isinstance(step, Bucketing | MoNNA | Bulyan) for step in steps),  # Bulyan's last picks tie
        translates=not by_length,
        scales=not to_a_bound,
        rotates=isinstance(chain.rule, GramRule),
        keeps=not to_a_bound and not isinstance(chain.rule, FoolsGold),  # clones weigh nothing
        bounded=f > 0 and not isinstance(chain.rule, Mean | DnC),
    )


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is checked. `run(rows, reference)` is the vector; the reference is honest, for rules that need one."""

    name: str
    run: Callable[[F32, F32], F32]
    traits: Traits


@dataclass(frozen=True, slots=True)
class _Case:
    """Rows that were drawn, of which the last `f` may be made hostile, and how to draw more."""

    rows: F32
    rng: np.random.Generator = field(repr=False)


def check_rule(rule: Rule | Chain | Function, traits: Traits | None = None, *, examples: int = 25) -> tuple[str, ...]:
    """The names of the checks that the rule passed, all that apply. Raises AssertionError at the first that fails.

    A check that does not apply is not among them: without an `f`, in rule or traits, no hostile row is tried.

    A function needs its `traits`. `examples` are drawn for each check. Raises NotAvailable without hypothesis.
    """
    try:
        import hypothesis
    except ImportError:
        raise NotAvailable(
            "not available: check_rule draws its cases with hypothesis, which is not installed",
            hint="pip install 'phalanx[check]'",
        ) from None
    subject = _subject(rule, traits)
    passed = []
    for name, check in _checks(subject.traits).items():
        settings: Any = hypothesis.settings(max_examples=examples, deadline=None, derandomize=True, database=None)
        given: Any = hypothesis.given(_cases(subject.traits))
        settings(given(_one_case(subject, name, check)))()
        passed.append(name)
    return tuple(passed)


def _subject(rule: Rule | Chain | Function, traits: Traits | None) -> _Subject:
    if isinstance(rule, Rule | Chain):
        chosen = rule  # narrowed for the function below

        def run(rows: F32, reference: F32) -> F32:
            needs = chosen.needs
            return aggregate(
                rows,
                chosen,
                reference=reference if "reference" in needs else None,
                history=rows if "history" in needs else None,
            )[0]

        return _Subject(str(rule), run, traits or traits_of(rule))
    if traits is None:
        raise ValueError("a function is checked against its traits: check_rule(function, Traits(f=1, ...))")
    return _Subject(getattr(rule, "__name__", "your rule"), lambda rows, _: rule(rows), traits)


def _one_case(subject: _Subject, name: str, check: Callable[[_Subject, _Case], None]) -> Callable[[_Case], None]:
    def run(case: _Case) -> None:
        try:
            check(subject, case)
        except AssertionError as failure:
            raise AssertionError(f"{subject.name} fails the check {name!r}: {failure}") from None

    return run


def _cases(traits: Traits) -> Any:
    from hypothesis import strategies as st

    least = max(traits.min_rows, traits.f + 4)  # of fewer, two rows that are each other's nearest may tie
    most = least + 5 if traits.max_rows is None else min(least + 5, traits.max_rows)

    def case(n: int, d: int, seed: int) -> _Case:
        rng = np.random.default_rng(seed)
        return _Case((rng.integers(-4096, 4096, (n, d)) / _GRID).astype(np.float32), rng)

    return st.builds(case, st.integers(least, most), st.integers(4, 12), st.integers(0, 2**32))


def _checks(traits: Traits) -> dict[str, Callable[[_Subject, _Case], None]]:
    chosen: dict[str, Callable[[_Subject, _Case], None]] = {
        "shape": _shape,
        "same bytes": _same_bytes,
        "rows untouched": _rows_untouched,
    }
    optional: list[tuple[bool, str, Callable[[_Subject, _Case], None]]] = [
        (traits.keeps, "identical rows", _identical_rows),
        (traits.permutes, "permutation", _permutation),
        (traits.translates, "translation", _translation),
        (traits.scales, "scale", _scale),
        (traits.rotates, "rotation", _rotation),
        (traits.bounded and traits.f > 0, "hostile rows", _hostile_rows),
        (True, "finite only", _finite_only),
        (traits.min_rows > 1, "too few rows", _too_few_rows),
    ]
    return chosen | {name: check for applies, name, check in optional if applies}


# ---------------------------------------------------------------------------------------------------------- the checks


def _run(subject: _Subject, case: _Case, rows: F32 | None = None, reference: F32 | None = None) -> F64:
    given = case.rows if rows is None else rows
    trusted = _reference(case) if reference is None else reference
    return np.asarray(subject.run(given, trusted), dtype=np.float64)


def _reference(case: _Case) -> F32:
    return np.asarray(case.rows[:3].mean(axis=0), dtype=np.float32)


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


def _equal(found: F64, wanted: F64, size: float, what: str) -> None:
    """To a few float32 roundings of values of this size."""
    error = float(np.abs(found - wanted).max())
    _require(error <= 4e-6 * size, f"{what}: off by {error:.3g}, found {found.tolist()}, wanted {wanted.tolist()}")


def _size(case: _Case) -> float:
    return max(float(np.abs(case.rows).max()), 1.0)


def _shape(subject: _Subject, case: _Case) -> None:
    vector = subject.run(case.rows, _reference(case))
    _require(isinstance(vector, np.ndarray), f"an array is wanted, got {type(vector).__name__}")
    _require(vector.shape == case.rows.shape[1:], f"shape {vector.shape} of rows {case.rows.shape}")
    _require(vector.dtype == np.float32, f"dtype {vector.dtype}, wanted float32")
    _require(bool(np.isfinite(vector).all()), "not finite")
    _require(not np.shares_memory(vector, case.rows), "the result is a view of the rows")


def _same_bytes(subject: _Subject, case: _Case) -> None:
    first, second = (subject.run(case.rows, _reference(case)).tobytes() for _ in range(2))
    _require(first == second, "twice the same rows, and other bytes")


def _rows_untouched(subject: _Subject, case: _Case) -> None:
    before = case.rows.tobytes()
    _run(subject, case)
    _require(case.rows.tobytes() == before, "the rule changed the rows that it was given")


def _identical_rows(subject: _Subject, case: _Case) -> None:
    row = case.rows[0]
    found = _run(subject, case, np.tile(row, (len(case.rows), 1)), row)
    _equal(found, row.astype(np.float64), _size(case), "identical rows do not give that row")


def _permutation(subject: _Subject, case: _Case) -> None:
    order = case.rng.permutation(len(case.rows))
    _equal(_run(subject, case, case.rows[order]), _run(subject, case), _size(case), "rows in another order")


def _translation(subject: _Subject, case: _Case) -> None:
    shift = (case.rng.integers(-4096, 4096, case.rows.shape[1]) / 64.0).astype(np.float32)
    found = _run(subject, case, case.rows + shift, _reference(case) + shift)
    _equal(found, _run(subject, case) + shift, 16 * _size(case), "translated rows")


def _scale(subject: _Subject, case: _Case) -> None:
    for power in (-100, -20, 60, 100):
        scale = np.float32(2.0**power)
        found = _run(subject, case, case.rows * scale, _reference(case) * scale) / float(scale)
        _equal(found, _run(subject, case), _size(case), f"rows scaled by 2^{power}")


def _rotation(subject: _Subject, case: _Case) -> None:
    d = case.rows.shape[1]
    turn = np.linalg.qr(case.rng.normal(size=(d, d)))[0]
    rows = (case.rows.astype(np.float64) @ turn).astype(np.float32)
    reference = (_reference(case).astype(np.float64) @ turn).astype(np.float32)
    _equal(_run(subject, case, rows, reference), _run(subject, case) @ turn, 4 * _size(case), "rotated rows")


def _hostile_rows(subject: _Subject, case: _Case) -> None:
    """f rows go far away: all one way, each its own, or opposite; honest rows lie around (1, …, 1)."""
    f, traits = subject.traits.f, subject.traits
    honest = 1.0 + case.rows[:-f].astype(np.float64) / 16.0
    mean = honest.mean(axis=0)
    limit = np.linalg.norm(honest - mean if traits.translates else honest, axis=1).max() * traits.reach
    away = case.rng.normal(size=(f, len(mean)))
    for length in _HOSTILE:
        for hostile in (np.ones_like(away), away, np.where(np.arange(f)[:, None] % 2, 1.0, -1.0) * np.ones_like(away)):
            rows = np.vstack([honest, length * hostile]).astype(np.float32)
            found = _run(subject, case, rows, mean.astype(np.float32))
            moved = float(np.linalg.norm(found - (mean if traits.translates else 0.0)))
            _require(moved <= limit, f"{f} rows {length:g} times as long moved the result by {moved:.3g} > {limit:.3g}")


def _finite_only(subject: _Subject, case: _Case) -> None:
    for bad in (np.nan, np.inf, -np.inf):
        rows = case.rows.copy()
        rows[-1, 1] = bad
        try:
            with np.errstate(all="ignore"):
                vector = subject.run(rows, _reference(case))
        except ValueError:
            continue
        raise AssertionError(f"a row with {bad} was not refused with ValueError, the result is {vector!r}")


def _too_few_rows(subject: _Subject, case: _Case) -> None:
    rows = case.rows[: subject.traits.min_rows - 1]
    try:
        subject.run(rows, _reference(case))
    except (QuorumError, ValueError):
        return
    raise AssertionError(f"{len(rows)} rows were taken, and at least {subject.traits.min_rows} are needed")
