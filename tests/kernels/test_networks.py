"""Sorting networks: every column comes out sorted, or parted, whatever it holds."""

from __future__ import annotations

import numpy as np
import pytest

from phalanx.kernels import generate
from phalanx.kernels.networks import GROUP, Plan, odd_even_sort, parting, sorting
from phalanx.kernels.twin import F32

SIZES = [*range(1, 66), 100, 103, 130, 210]


def run(plan: Plan, values: F32) -> F32:
    values = values.copy()
    pairs, start = [], 0
    for size in plan.groups.tolist():
        pairs += [(start + a, start + b) for a, b in odd_even_sort(size)]
        start += size
    for a, b in pairs + plan.comparators.tolist():
        values[a], values[b] = np.minimum(values[a], values[b]), np.maximum(values[a], values[b])
    return values[plan.order]


def columns(n: int) -> F32:
    """Zeros and ones, on which a network that errs anywhere errs (Knuth, 5.3.4, theorem Z), and tied values."""
    rng = np.random.default_rng(n)
    ones = rng.random((n, 400)) < rng.random(400)
    return np.hstack([ones, rng.integers(0, 9, (n, 100))]).astype(np.float32)


@pytest.mark.parametrize("n", range(1, 13))
def test_every_column_of_zeros_and_ones_is_sorted(n: int) -> None:
    all_of_them = ((np.arange(2**n)[None, :] >> np.arange(n)[:, None]) & 1).astype(np.float32)
    assert (run(sorting(n), all_of_them) == np.sort(all_of_them, axis=0)).all()


@pytest.mark.parametrize("n", SIZES)
def test_sorting_sorts(n: int) -> None:
    assert (run(sorting(n), columns(n)) == np.sort(columns(n), axis=0)).all()


@pytest.mark.parametrize("n", SIZES)
def test_parting_puts_every_value_into_its_part(n: int) -> None:
    ascending = np.sort(columns(n), axis=0)
    for first, last in {(n // 2, n // 2), *((f, n - f) for f in range((n + 1) // 2))}:
        found = run(parting(n, first, last), columns(n))
        for part in (slice(0, first), slice(first, last), slice(last, n)):
            assert (np.sort(found[part], axis=0) == ascending[part]).all(), (first, last)


def test_a_network_that_lacks_one_comparator_would_be_caught() -> None:
    whole = sorting(8)
    pairs = odd_even_sort(8)
    caught = 0
    for missing in range(len(pairs)):
        values = columns(8)
        for a, b in pairs[:missing] + pairs[missing + 1 :]:
            values[a], values[b] = np.minimum(values[a], values[b]), np.maximum(values[a], values[b])
        caught += bool((values[whole.order] != np.sort(columns(8), axis=0)).any())
    assert caught == len(pairs)


def test_groups_are_no_larger_than_the_sorters_in_c() -> None:
    assert max(max(sorting(n).groups) for n in SIZES) <= GROUP


def test_sorters_h_is_what_the_description_generates() -> None:
    assert generate.PATH.read_text(encoding="utf-8") == generate.text(), "run python -m phalanx.kernels.generate"
