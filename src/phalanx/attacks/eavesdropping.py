"""What somebody who records a wire can read out of what was recorded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from phalanx.types import F32, F64

_SEARCHED_BYTES = 1 << 17  # of each recorded message; what is sent in clear begins near its start
_COMPARED = 1 << 12  # values of each update that are looked for
_FLAT = 1e-9  # of the updates' largest value squared: what varies less has no direction


def most_alike(recorded: Sequence[bytes], updates: Sequence[F32]) -> float:
    """The largest |correlation| (0 … 1) of float32 read out of the messages with the updates (d,) that they carried.

    Every byte is tried as the first one, the same in all messages, with little-endian words as they lie from there on.
    What is no number counts as zero, and what is larger than the updates' largest value as that value: random bits are
    huge or tiny, and one huge value would be all that a correlation sees. Updates in clear give 1. So many places in
    random bytes give more than 0 by chance, the more the fewer values there are: compare with `rng.bytes`.
    """
    wanted = [update[:_COMPARED].astype(np.float64) for update in updates]
    largest = max((float(np.abs(one).max(initial=0.0)) for one in wanted), default=0.0)
    return max(
        _alike([_floats(data[first:_SEARCHED_BYTES], largest) for data in recorded], wanted, largest)
        for first in range(4)
    )


def _floats(data: bytes, largest: float) -> F64:
    with np.errstate(invalid="ignore"):  # a signalling NaN warns when it is converted
        values = np.frombuffer(data, "<f4", count=len(data) // 4).astype(np.float64)
    return np.asarray(np.nan_to_num(values, nan=0.0).clip(-largest, largest), np.float64)


def _alike(values: Sequence[F64], wanted: Sequence[F64], largest: float) -> float:
    """The largest |correlation| over all places, the same in every message, of all messages' values taken together."""
    pairs = list(zip(values, wanted, strict=True))
    places = min((len(found) - len(one) + 1 for found, one in pairs), default=0)
    total = sum(map(len, wanted))
    if places < 1 or not total:
        return 0.0
    ours = np.concatenate(wanted)
    sums, squares, products = np.zeros(places), np.zeros(places), np.zeros(places)
    for found, one in pairs:
        sums += _window_sums(found, len(one))[:places]
        squares += _window_sums(found**2, len(one))[:places]
        products += _products(found, one)[:places]
    spread = (squares - sums**2 / total) * (np.square(ours).sum() - ours.sum() ** 2 / total)
    flat = spread <= (_FLAT * largest**2) ** 2
    both = np.where(flat, 0.0, products - sums * ours.sum() / total)
    return min(1.0, float(np.abs(both / np.sqrt(np.where(flat, 1.0, spread))).max()))


def _products(values: F64, one: F64) -> F64:
    """The inner product of `one` with the values from each place on."""
    size = 1 << (len(values) + len(one)).bit_length()
    spectrum = np.fft.rfft(values, size) * np.conj(np.fft.rfft(one, size))
    return np.asarray(np.fft.irfft(spectrum, size)[: len(values) - len(one) + 1], np.float64)


def _window_sums(values: F64, size: int) -> F64:
    sums: F64 = np.concatenate([[0.0], np.cumsum(values)])
    return sums[size:] - sums[: len(sums) - size]
