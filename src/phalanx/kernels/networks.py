"""Sorting networks: which rows to compare, in which order, so that every column of the rows is sorted alike.

One description for all that runs it: the C kernels and their numpy twin take the same lists. A network compares the
same places whatever the values are, so it works on many columns at once and no branch depends on data.

Rows are sorted in groups small enough for a processor's registers, groups are merged pairwise (Batcher, AFIPS 1968;
Knuth, TAOCP 3, 5.2.2 and 5.3.4), and the last two sorted halves are not merged but only parted: of two sorted lists the
k smallest are min(x_1, y_k), min(x_2, y_k-1), …, min(x_k, y_1).

A comparator (a, b) leaves the smaller of two values in row a, the larger in row b.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Comparators = list[tuple[int, int]]
GROUP = 26  # rows that are sorted in registers; native.c has a sorter for each size up to it, in sorters.h


@dataclass(frozen=True, slots=True)
class Plan:
    """`groups`: how many neighbouring rows are sorted together, in order; then `comparators` (k, 2).

    After that, row `order`[i] holds the i-th smallest value; where values were only parted, one of those of its part.
    """

    groups: npt.NDArray[np.int32]
    comparators: npt.NDArray[np.int32]
    order: npt.NDArray[np.int32]


@lru_cache(maxsize=256)
def sorting(n: int) -> Plan:
    """Sorts n values."""
    sizes, lists, comparators = _merged(n, until=1)
    return _plan(sizes, comparators, lists[0])


@lru_cache(maxsize=256)
def parting(n: int, first: int, last: int) -> Plan:
    """Parts n values into the `first` lowest, those between, and the highest from `last` on."""
    sizes, lists, comparators = _merged(n, until=2)
    if len(lists) == 1:
        return _plan(sizes, comparators, lists[0])
    x, y = lists
    low, high = first, n - last
    if first == last or low + high <= min(len(x), len(y)):  # else the two partings would touch the same rows
        lowest, below = _lowest(x, y, low)
        highest, above = ([], []) if first == last else _lowest(x[::-1], y[::-1], high)
        comparators += below + [(b, a) for a, b in above]
        rest = [row for row in x + y if row not in {*lowest, *highest}]
        return _plan(sizes, comparators, lowest + rest + highest)
    merging, order = merge(x, y)
    classes = {row: (i >= first) + (i >= last) for i, row in enumerate(order)}
    return _plan(sizes, comparators + _needed(merging, classes), order)


def _merged(n: int, until: int) -> tuple[list[int], list[list[int]], Comparators]:
    """The sizes of the groups; and the comparators that merge them into at most `until` sorted lists of rows."""
    count = 1
    while -(-n // count) > GROUP:
        count *= 2
    ends = [n * (g + 1) // count for g in range(count)]
    lists = [list(range(start, end)) for start, end in zip([0, *ends], ends, strict=False)]
    sizes = [len(rows) for rows in lists]
    comparators: Comparators = []
    while len(lists) > until:
        pairs = [merge(x, y) for x, y in zip(lists[::2], lists[1::2], strict=True)]
        comparators += [comparator for merging, _ in pairs for comparator in merging]
        lists = [order for _, order in pairs]
    return sizes, lists, comparators


def odd_even_sort(n: int) -> Comparators:
    """Batcher's sort of n neighbouring rows, in place: afterwards row i holds the i-th smallest value."""
    pairs: Comparators = []
    top = 1 << max((n - 1).bit_length() - 1, 0)
    p = top if n > 1 else 0
    while p > 0:
        q, r, d = top, 0, p
        while True:
            pairs += [(i, i + d) for i in range(n - d) if i & p == r]
            if q == p:
                break
            d, q, r = q - p, q >> 1, p
        p >>= 1
    return pairs


def merge(x: list[int], y: list[int]) -> tuple[Comparators, list[int]]:
    """Batcher's merge of two sorted lists of rows, of any length: the comparators, and the rows in ascending order."""
    if not x or not y:
        return [], x + y
    if len(x) == len(y) == 1:
        return [(x[0], y[0])], [x[0], y[0]]
    first, odd = merge(x[::2], y[::2])
    second, even = merge(x[1::2], y[1::2])
    comparators = first + second
    order = [odd[0]]
    for a, b in zip(even, odd[1:], strict=False):
        comparators.append((a, b))
        order += [a, b]
    rest = even[len(odd) - 1 :] + odd[len(even) + 1 :]  # at most one row has no partner
    return comparators, order + rest


def _lowest(x: list[int], y: list[int], k: int) -> tuple[list[int], Comparators]:
    """The rows that hold the k smallest values of two sorted lists, after these comparators."""
    lowest, comparators = [], []
    for i in range(k):
        j = k - 1 - i
        if i < len(x) and j < len(y):
            comparators.append((x[i], y[j]))
        lowest.append(x[i] if i < len(x) else y[j])
    return lowest, comparators


def _needed(comparators: Comparators, classes: dict[int, int]) -> Comparators:
    """The comparators without those whose two rows end in the same class: seen from the end, they change nothing.

    A row before a comparator that stays is in a class of its own: what comes there matters.
    """
    kept = []
    place: dict[int, object] = dict(classes)
    for a, b in reversed(comparators):
        if place[a] != place[b]:
            kept.append((a, b))
            place[a], place[b] = object(), object()
    return kept[::-1]


def _plan(sizes: list[int], comparators: Comparators, order: list[int]) -> Plan:
    arrays = [
        np.array(sizes, dtype=np.int32),
        np.array(comparators, dtype=np.int32).reshape(-1, 2),
        np.array(order, dtype=np.int32),
    ]
    for array in arrays:
        array.flags.writeable = False  # cached: the next caller gets the same
    return Plan(*arrays)
