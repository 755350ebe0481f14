"""Passes over the rows (n, d): each reads the columns once, in parts that are split over threads of our own.

What is computed does not depend on how many threads there are: the parts are those of d alone, and what is added over
parts is added in their order. A part is worked on by the best kernel that this processor runs, or by the numpy twin
where the C extension was not built; `PHALANX_KERNELS` in the environment names another (`numpy`, `any`, `avx2`,
`avx512`), to compare them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController

from phalanx.errors import NotAvailable
from phalanx.kernels import networks, twin
from phalanx.kernels.networks import Plan

try:
    from phalanx.kernels import _native
except ImportError:  # built without a C compiler: the twin does the same, slower
    _native = None  # type: ignore[assignment]  # a module or None

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
T = TypeVar("T")
N = TypeVar("N", np.float64, np.uint64)

PART = 1 << 15  # columns: long enough that a call costs nothing, short enough to share out
_THREAD_WORTH = 1 << 20  # values below which starting a thread costs more than it saves
_LIGHT = 8  # by how much less the passes do that read each value once and do next to nothing with it


@lru_cache(maxsize=1)
def machines() -> tuple[str, ...]:
    """The kernels that can run here, the best first; `numpy`, the twin, is always the last."""
    return ("numpy",) if _native is None else (*_native.machines(), "numpy")


def machine() -> str:
    """The kernel in use. Raises NotAvailable if `PHALANX_KERNELS` names one that does not run here."""
    wanted = os.environ.get("PHALANX_KERNELS") or machines()[0]
    if wanted not in machines():
        raise NotAvailable(f"not available: the kernels {wanted!r}; this machine runs {', '.join(machines())}")
    return wanted


def squared_norms(rows: F32) -> F64:
    """(n,) squared l2 norms in float64. Not finite where a row is not: no sum of finite float32 squares overflows."""
    here = machine()

    def part(start: int, stop: int) -> F64:
        squares = np.zeros(len(rows))
        if here == "numpy":
            twin.norms(rows, start, stop, squares)
        else:
            _native.norms(here, rows, start, stop, squares)
        return squares

    return _summed(_each_part(part, len(rows) // _LIGHT, rows.shape[1], here))


def products(rows: F32, centre: int, other: F32 | None = None) -> F64:
    """(m, m) inner products in float64 of the rows seen from row `centre`; in the place of that row, the row itself.

    With centre -1 they are seen from zero. m is n, or n + 1 with one more row `other` (d,), the last. An entry is
    rounded relative to the lengths of its own two vectors.
    """
    here = machine()
    m = len(rows) + (other is not None)

    def part(start: int, stop: int) -> F64:
        out = np.zeros((m, m))
        if here == "numpy":
            twin.products(rows, other, centre, start, stop, out)
        else:
            _native.products(here, rows, other, centre, start, stop, out)
        return out

    return _summed(_each_part(part, m, rows.shape[1], here))


def combine(weights: F64, rows: F32, other: F32 | None = None) -> F32:
    """(n,) or (n+1,) weights times the rows and the row `other` (d,): float64 sums in the order of the rows.

    The same bytes on every kernel. A row of weight zero is not read: it leaves no trace, however large it is.
    """
    here = machine()
    used = np.flatnonzero(weights).astype(np.int32)
    chosen = weights[used]
    vector = np.empty(rows.shape[1], dtype=np.float32)

    def part(start: int, stop: int) -> None:
        if here == "numpy":
            twin.combine(rows, other, used, chosen, start, stop, vector)
        else:
            _native.combine(here, rows, other, used, chosen, start, stop, vector)

    _each_part(part, len(used) // _LIGHT, rows.shape[1], here)
    return vector


@dataclass(frozen=True, slots=True)
class Seen:
    """What the coordinate-wise passes look at: m rows of values at each column.

    `mixing` (m, n) times the rows, or the rows as they are; of `rows` (k, d), those at `chosen` (n,), or all.
    """

    rows: F32
    chosen: npt.NDArray[np.int32] | None = None
    mixing: F64 | None = None

    @property
    def m(self) -> int:
        """How many values there are at each column."""
        if self.mixing is not None:
            return len(self.mixing)
        return len(self.rows) if self.chosen is None else len(self.chosen)


# (d,) the vector; (m,) at how many coordinates a row was among the values averaged, equal values all counted; whether
# all values are finite: if not, the rest is undefined. The same bytes on every kernel.
Selected = tuple[F32, I64, bool]


def median(seen: Seen) -> Selected:
    """The median of each column."""
    m = seen.m
    plan = networks.parting(m, m // 2, m // 2)
    if len(plan.groups) == 1:  # then all is sorted
        return _select(seen, plan, twin.MIDDLE, (m - 1) // 2, m // 2 + 1)
    return _select(seen, plan, twin.EXTREMES, m // 2, m)


def trimmed_mean(seen: Seen, f: int) -> Selected:
    """The mean of each column's values without the f largest and f smallest."""
    return _select(seen, networks.parting(seen.m, f, seen.m - f), twin.MIDDLE, f, seen.m - f)


def mean_near_median(seen: Seen, size: int) -> Selected:
    """The mean of each column's `size` values nearest to its median; at the same distance the lower."""
    return _select(seen, networks.sorting(seen.m), twin.NEAREST, 0, size)


def products_mod64(left: U64, right: U64) -> U64:
    """(n, d), (m, d) uint64 -> (n, m): left rightᵀ modulo 2^64, for values that are shares."""
    here = machine()

    def part(start: int, stop: int) -> U64:
        out = np.zeros((len(left), len(right)), dtype=np.uint64)
        if here == "numpy":
            twin.products_mod64(left, right, start, stop, out)
        else:
            _native.products_mod64(here, left, right, start, stop, out)
        return out

    return _summed(_each_part(part, len(left) * len(right), left.shape[1], here))


def _select(seen: Seen, plan: Plan, window: int, first: int, last: int) -> Selected:
    here = machine()
    d = seen.rows.shape[1]
    vector = np.empty(d, dtype=np.float32)
    mixing = None if seen.mixing is None else np.ascontiguousarray(seen.mixing)

    def part(start: int, stop: int) -> tuple[I64, bool]:
        kept = np.zeros(seen.m, dtype=np.int64)
        if here == "numpy":
            finite = twin.select(seen.rows, seen.chosen, mixing, plan, window, first, last, start, stop, vector, kept)
            return kept, finite
        arrays = (plan.groups, plan.comparators, plan.order)
        finite = _native.select(
            here, seen.rows, seen.chosen, mixing, *arrays, window, first, last, start, stop, vector, kept
        )
        return kept, finite

    parts = _each_part(part, seen.m, d, here)
    return vector, sum((kept for kept, _ in parts), start=np.zeros(seen.m, np.int64)), all(ok for _, ok in parts)


def _summed(parts: list[npt.NDArray[N]]) -> npt.NDArray[N]:
    """The sum in the order of the parts, whichever thread they came from."""
    return reduce(np.add, parts)


def _each_part(work: Callable[[int, int], T], n: int, d: int, here: str) -> list[T]:
    """`work(start, stop)` of every part of the columns, in order, on as many threads as are worth it for n values each.

    Threads are started anew for each pass: a pool would not survive a fork. numpy's BLAS is held to one thread
    meanwhile: its own would fight with ours over the cores.
    """
    parts = [(start, min(start + PART, d)) for start in range(0, d, PART)]
    results: list[T | None] = [None] * len(parts)
    failures: list[BaseException] = []
    queue: Iterator[tuple[int, tuple[int, int]]] = iter(list(enumerate(parts)))

    def run() -> None:
        try:
            for at, (start, stop) in queue:  # next() of a list's iterator is atomic
                results[at] = work(start, stop)
        except BaseException as failure:
            failures.append(failure)

    count = min(len(os.sched_getaffinity(0)), len(parts)) if n * d >= _THREAD_WORTH else 1
    threads = [threading.Thread(target=run, daemon=True) for _ in range(count)] if count > 1 else []
    with _ONE_BLAS_THREAD if here == "numpy" else nullcontext():
        _together(threads, run)
    if failures:
        raise failures[0]
    return results  # type: ignore[return-value]  # without a failure each was filled


def _together(threads: list[threading.Thread], run: Callable[[], None]) -> None:
    """On the threads while this one waits, or here.

    If it worked too, one of them would often share its processor: the system starts a thread near its parent, and moves
    neither within the milliseconds that a pass takes.
    """
    for thread in threads:
        thread.start()
    if not threads:
        run()
    for thread in threads:
        thread.join()


class _OneBlasThread:
    """Holds numpy's BLAS to one thread while ours work. The limit is the process's: the first in sets it, the last out
    puts back what was there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._limit: AbstractContextManager[object] = nullcontext()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._limit = _blas().limit(limits=1, user_api="blas")
                self._limit.__enter__()
            self._inside += 1

    def __exit__(self, *failure: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._limit.__exit__(None, None, None)


@lru_cache(maxsize=1)
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


_ONE_BLAS_THREAD = _OneBlasThread()
