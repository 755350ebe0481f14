"""Every kernel on every instruction set that this processor has, against its numpy twin and against plain numpy."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

from phalanx import kernels
from phalanx.errors import NotAvailable
from phalanx.kernels import Seen, passes
from phalanx.kernels.twin import F32, F64

MACHINES = kernels.machines()
LARGEST = float(np.finfo(np.float32).max)
properties = settings(max_examples=40, deadline=None, derandomize=True)


@contextmanager
def running(machine: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHALANX_KERNELS", machine)
        yield


def everywhere(run: Callable[[], tuple[bytes, ...]]) -> dict[str, tuple[bytes, ...]]:
    found = {}
    for machine in MACHINES:
        with running(machine):
            found[machine] = run()
    return found


@st.composite
def some_rows(draw: st.DrawFn, most: int = 60) -> F32:
    """Values that are normal, tied, of every scale that float32 has, or signed zeros."""
    n, d = draw(st.integers(1, most)), draw(st.integers(1, 200))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows: F64 = rng.normal(size=(n, d))
    match draw(st.sampled_from(["normal", "ties", "scales", "zeros"])):
        case "ties":
            rows = rng.integers(-2, 3, (n, d)).astype(np.float64)
        case "scales":
            rows = rows * 10.0 ** rng.integers(-44, 38, (n, d))
        case "zeros":
            rows = rng.choice([0.0, -0.0, 1.0], size=(n, d))
    return rows.astype(np.float32)


def test_the_c_kernels_are_built_here() -> None:
    assert MACHINES[-1] == "numpy"
    assert "any" in MACHINES, "the tests need the C extension: without it they would compare the twin with itself"


@properties
@given(rows=some_rows(), seed=st.integers(0, 2**32))
def test_combining_gives_the_same_bytes_everywhere(rows: F32, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=len(rows)) * rng.integers(0, 2, len(rows))
    found = everywhere(lambda: (kernels.combine(weights, rows).tobytes(),))
    assert len(set(found.values())) == 1
    exact = np.zeros(rows.shape[1])
    for weight, row in zip(weights, rows, strict=True):
        exact += weight * row.astype(np.float64)
    assert kernels.combine(weights, rows).tobytes() == exact.astype(np.float32).tobytes()


def windows(m: int) -> list[tuple[str, Callable[[Seen], kernels.Selected]]]:
    chosen: list[tuple[str, Callable[[Seen], kernels.Selected]]] = [("median", kernels.median)]
    for f in sorted({0, 1, m // 5, (m - 1) // 2}):
        if 2 * f < m:
            chosen.append((f"trim {f}", lambda seen, f=f: kernels.trimmed_mean(seen, f)))  # type: ignore[misc]
            chosen.append((f"near {f}", lambda seen, f=f: kernels.mean_near_median(seen, m - f)))  # type: ignore[misc]
    return chosen


@properties
@given(rows=some_rows())
def test_selecting_gives_the_same_bytes_everywhere_and_the_right_ones(rows: F32) -> None:
    n = len(rows)
    ascending = np.sort(rows, axis=0).astype(np.float64)
    for name, window in windows(n):
        found = everywhere(lambda: (window(Seen(rows))[0].tobytes(), window(Seen(rows))[1].tobytes()))  # noqa: B023
        assert len(set(found.values())) == 1, name
        vector, kept, finite = window(Seen(rows))
        assert finite
        kind, f = [*name.split(), "0"][:2]
        if kind == "median":
            wanted = (ascending[(n - 1) // 2] + ascending[n // 2]) / 2
        elif kind == "trim":
            wanted = ascending[int(f) : n - int(f)].mean(axis=0)
        else:
            wanted = nearest_to_median(ascending, n - int(f))
        with np.errstate(over="ignore"):
            assert np.allclose(vector, wanted.astype(np.float32), rtol=2e-7, atol=float(np.abs(rows).max()) * 1e-15)
        assert (kept >= 0).all() and (kept <= rows.shape[1]).all()


def nearest_to_median(ascending: F64, size: int) -> F64:
    median = (ascending[(len(ascending) - 1) // 2] + ascending[len(ascending) // 2]) / 2
    order = np.argsort(np.abs(ascending - median), axis=0, kind="stable")[:size]
    return np.asarray(np.take_along_axis(ascending, order, axis=0).mean(axis=0))


def test_kept_counts_the_columns_at_which_a_row_was_averaged() -> None:
    rows = np.random.default_rng(0).normal(size=(11, 3000)).astype(np.float32)
    order = np.argsort(rows, axis=0)
    for f in range(6):
        wanted = np.bincount(order[f : 11 - f].ravel(), minlength=11)
        for machine in MACHINES:
            with running(machine):
                assert kernels.trimmed_mean(Seen(rows), f)[1].tolist() == wanted.tolist()
                if f == 5:
                    assert kernels.median(Seen(rows))[1].tolist() == wanted.tolist()
    nearest = np.argsort(np.abs(rows - np.median(rows, axis=0)), axis=0)[:8]
    for machine in MACHINES:
        with running(machine):
            found = kernels.mean_near_median(Seen(rows), 8)[1]
            assert found.tolist() == np.bincount(nearest.ravel(), minlength=11).tolist()


@properties
@given(rows=some_rows(30), m=st.integers(1, 40), seed=st.integers(0, 2**32))
def test_mixing_in_the_pass_is_mixing_before_it(rows: F32, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mixing = rng.random((m, len(rows))) * rng.integers(0, 2, (m, len(rows))) / len(rows)
    mixed = np.vstack([kernels.combine(weights, rows) for weights in mixing])
    for _, window in windows(m):
        wanted = window(Seen(mixed))
        found = everywhere(lambda: (window(Seen(rows, mixing=mixing))[0].tobytes(),))  # noqa: B023
        assert set(found.values()) == {(wanted[0].tobytes(),)}
        assert window(Seen(rows, mixing=mixing))[1].tolist() == wanted[1].tolist()


@properties
@given(rows=some_rows(), seed=st.integers(0, 2**32))
def test_chosen_rows_are_the_only_ones_seen(rows: F32, seed: int) -> None:
    chosen = np.random.default_rng(seed).permutation(len(rows))[: max(1, len(rows) // 2)].astype(np.int32)
    for _, window in windows(len(chosen)):
        wanted = window(Seen(rows[chosen]))
        found = everywhere(lambda: (window(Seen(rows, chosen))[0].tobytes(),))  # noqa: B023
        assert set(found.values()) == {(wanted[0].tobytes(),)}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 63, 64, 130, 199])
def test_a_value_that_is_not_finite_is_seen_wherever_it_stands(machine: str, bad: float, place: int) -> None:
    rows = np.random.default_rng(1).normal(size=(7, 200)).astype(np.float32)
    mixing = np.eye(7)
    mixing[4] = 0.0  # the row counts for nothing: refused all the same
    mixing[4, 0] = 1.0
    with running(machine):
        spoiled = rows.copy()
        spoiled[4, place] = bad
        for _, window in windows(7):
            assert window(Seen(rows))[2]
            assert not window(Seen(spoiled))[2]
            assert not window(Seen(spoiled, mixing=mixing))[2]
        assert not np.isfinite(kernels.squared_norms(spoiled)[4])
        assert np.isfinite(kernels.squared_norms(spoiled)[:4]).all()


@properties
@given(rows=some_rows(), centre=st.integers(0, 59), beside=st.booleans())
def test_products_are_those_of_float64(rows: F32, centre: int, beside: bool) -> None:
    centre %= len(rows)
    other = rows[0] * np.float32(0.5) if beside else None
    vectors = rows.astype(np.float64) if other is None else np.vstack([rows, other]).astype(np.float64)
    seen = vectors - vectors[centre]
    seen[centre] = vectors[centre]
    lengths = np.sqrt((seen**2).sum(axis=1))
    for machine in MACHINES:
        with running(machine):
            found = kernels.products(rows, centre, other)
        bound = 1e-14 * np.outer(lengths, lengths)
        assert (np.abs(found - seen @ seen.T) <= bound).all()
        assert (found == found.T).all()
        with running(machine):
            assert np.allclose(kernels.squared_norms(rows), (rows.astype(np.float64) ** 2).sum(axis=1), rtol=1e-14)


@properties
@given(n=st.integers(1, 9), m=st.integers(1, 9), d=st.integers(1, 600), seed=st.integers(0, 2**32))
def test_products_modulo_two_to_the_64_are_those_of_whole_numbers(n: int, m: int, d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    left, right = (rng.integers(0, 2**64, (k, d), dtype=np.uint64) for k in (n, m))
    wanted = [[sum(int(a) * int(b) for a, b in zip(x, y, strict=True)) % 2**64 for y in right] for x in left]
    for machine in MACHINES:
        with running(machine):
            assert kernels.products_mod64(left, right).tolist() == wanted


def test_many_parts_on_threads_give_the_bytes_of_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(2).normal(size=(12, 200_001)).astype(np.float32)
    weights = np.linspace(0, 1, 12)

    def all_passes() -> list[bytes]:
        return [
            kernels.combine(weights, rows).tobytes(),
            kernels.median(Seen(rows))[0].tobytes(),
            kernels.products(rows, 3).tobytes(),
            kernels.squared_norms(rows).tobytes(),
        ]

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})  # threads, on one processor too
    for machine in MACHINES:
        with running(machine):
            threaded = all_passes()
            with monkeypatch.context() as patch:
                patch.setattr(passes, "_THREAD_WORTH", 1 << 60)
                assert all_passes() == threaded


def test_rows_that_do_not_lie_side_by_side_are_read_where_they_are() -> None:
    every_second = np.random.default_rng(3).normal(size=(20, 500)).astype(np.float32)[::2]
    packed = np.ascontiguousarray(every_second)
    for machine in MACHINES:
        with running(machine):
            for run in (kernels.squared_norms, lambda rows: kernels.products(rows, 1)):
                assert run(every_second).tobytes() == run(packed).tobytes()
            assert kernels.median(Seen(every_second))[0].tobytes() == kernels.median(Seen(packed))[0].tobytes()


def test_a_kernel_that_is_not_there_is_refused_by_name() -> None:
    with running("avx1024"), pytest.raises(NotAvailable, match="not available: the kernels 'avx1024'"):
        kernels.squared_norms(np.zeros((2, 2), dtype=np.float32))


# ------------------------------------------------------------------------------------- wrong calls of the C extension

ROWS = np.zeros((3, 8), dtype=np.float32)
I32 = np.int32


def plan_of(n: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    return np.array([n], I32), np.zeros((0, 2), I32), np.arange(n, dtype=I32)


def outputs(n: int = 3, d: int = 8) -> tuple[F32, npt.NDArray[np.int64]]:
    return np.zeros(d, np.float32), np.zeros(n, np.int64)


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.norms("any", ROWS, 0, 9, np.zeros(3)),
        lambda c: c.norms("any", ROWS, -1, 8, np.zeros(3)),
        lambda c: c.norms("any", ROWS, 5, 4, np.zeros(3)),
        lambda c: c.norms("any", ROWS, 0, 8, np.zeros(2)),
        lambda c: c.norms("any", ROWS.astype(np.float64), 0, 8, np.zeros(3)),
        lambda c: c.norms("any", ROWS[:, ::2], 0, 4, np.zeros(3)),
        lambda c: c.norms("any", ROWS[::-1], 0, 8, np.zeros(3)),
        lambda c: c.norms("any", ROWS.astype(">f4"), 0, 8, np.zeros(3)),
        lambda c: c.norms("no such machine", ROWS, 0, 8, np.zeros(3)),
        lambda c: c.combine("any", ROWS, None, np.array([3], I32), np.ones(1), 0, 8, np.zeros(8, np.float32)),
        lambda c: c.combine("any", ROWS, None, np.array([-1], I32), np.ones(1), 0, 8, np.zeros(8, np.float32)),
        lambda c: c.combine("any", ROWS, None, np.array([0], I32), np.ones(2), 0, 8, np.zeros(8, np.float32)),
        lambda c: c.combine("any", ROWS, None, np.array([0], I32), np.ones(1), 0, 8, np.zeros(7, np.float32)),
        lambda c: c.combine("any", ROWS, ROWS[0, :4], np.array([0], I32), np.ones(1), 0, 8, np.zeros(8, np.float32)),
        lambda c: c.products("any", ROWS, None, 3, 0, 8, np.zeros((3, 3))),
        lambda c: c.products("any", ROWS, None, 0, 0, 8, np.zeros((4, 4))),
        lambda c: c.products("any", ROWS, None, 0, 0, 8, np.zeros((3, 6))[:, ::2]),
        lambda c: c.select("any", ROWS, None, None, *plan_of(4), 0, 0, 3, 0, 8, *outputs()),
        lambda c: c.select("any", ROWS, None, None, *plan_of(3), 3, 0, 3, 0, 8, *outputs()),
        lambda c: c.select("any", ROWS, None, None, *plan_of(3), 0, 2, 2, 0, 8, *outputs()),
        lambda c: c.select("any", ROWS, None, None, *plan_of(3), 0, 0, 4, 0, 8, *outputs()),
        lambda c: c.select("any", ROWS, None, None, *plan_of(3), 0, 0, 3, 0, 8, *outputs(n=2)),
        lambda c: c.select("any", ROWS, np.array([0, 3, 1], I32), None, *plan_of(3), 0, 0, 3, 0, 8, *outputs()),
        lambda c: c.select("any", ROWS, None, np.zeros((3, 2)), *plan_of(3), 0, 0, 3, 0, 8, *outputs()),
        lambda c: c.select(
            "any", ROWS, None, None, np.array([3], I32), np.array([[0, 3]], I32), np.arange(3, dtype=I32), 0, 0, 3,
            0, 8, *outputs(),
        ),
        lambda c: c.select(
            "any", ROWS, None, None, np.array([27], I32), np.zeros((0, 2), I32), np.arange(27, dtype=I32), 0, 0, 3,
            0, 8, *outputs(),
        ),
        lambda c: c.select(
            "any", ROWS, None, None, np.array([3], I32), np.zeros((0, 2), I32), np.array([0, 1, 3], I32), 0, 0, 3, 0, 8,
            *outputs(),
        ),
        lambda c: c.products_mod64("any", np.zeros((2, 4), np.uint64), np.zeros((2, 3), np.uint64), 0, 3,
                                   np.zeros((2, 2), np.uint64)),
        lambda c: c.products_mod64("any", ROWS, ROWS, 0, 8, np.zeros((3, 3), np.uint64)),
    ],
)  # fmt: skip
def test_a_wrong_call_is_an_error_and_no_stray_write(call: Callable[[object], object]) -> None:
    native = pytest.importorskip("phalanx.kernels._native", reason="the C extension is not built")
    with pytest.raises(ValueError):
        call(native)


@pytest.mark.parametrize("name", ["groups", "comparators", "order", "chosen", "used"])
@pytest.mark.parametrize("machine", [machine for machine in MACHINES if machine != "numpy"])
def test_numbers_that_the_result_is_written_over_are_those_that_were_checked(name: str, machine: str) -> None:
    """The index array lies in the vector that the call writes: read again, it would point anywhere."""
    native = pytest.importorskip("phalanx.kernels._native", reason="the C extension is not built")
    rows = np.full((4, 4096), 3e38, dtype=np.float32)
    vector = np.zeros(4096, dtype=np.float32)
    arrays = {
        "groups": np.array([4], I32),
        "comparators": np.array([[0, 1]], I32),
        "order": np.arange(4, dtype=I32),
        "chosen": np.array([3, 2, 1, 0], I32),
        "used": np.array([0, 2], I32),
    }
    inside = vector.view(I32)[: arrays[name].size].reshape(arrays[name].shape)
    inside[...] = arrays[name]
    arrays[name] = inside
    if name == "used":
        native.combine(machine, rows, None, inside, np.ones(2) / 2, 0, 4096, vector)
    else:
        plan = arrays["groups"], arrays["comparators"], arrays["order"]
        native.select(machine, rows, arrays["chosen"], None, *plan, 0, 1, 3, 0, 4096, vector, np.zeros(4, np.int64))
    assert (vector == np.float32(3e38)).all()


def test_two_threads_leave_blas_as_many_threads_as_it_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHALANX_KERNELS", "numpy")
    rows = np.random.default_rng(0).normal(size=(8, 70_000)).astype(np.float32)
    before = [one["num_threads"] for one in threadpool_info()]

    def many() -> None:
        for _ in range(20):
            kernels.products(rows, 0)

    threads = [threading.Thread(target=many) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one["num_threads"] for one in threadpool_info()] == before
