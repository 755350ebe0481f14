"""What somebody who records a wire can read out of what was recorded."""

from __future__ import annotations

import numpy as np

from phalanx.types import F32, F64

_SEARCHED_BYTES = 1 << 20  # of a recording; what is sent in clear begins near its start
_COMPARED = 1 << 14  # values of the update that are looked for
_FLAT = 1e-9  # of the update's largest value squared: a window with less variance has no direction


def most_alike(recorded: bytes, update: F32) -> float:
    """The largest |correlation| (0 … 1) of any run of float32 in the recording with the update (d,).

    Every byte is tried as the first one, in little-endian words as they lie from there on. What is no number counts as
    zero, and what is larger than the update's largest value as that value: random bits are huge or tiny, and one huge
    value would be all that a correlation sees. An update in clear gives 1; so many windows of random bytes give more
    than 0 by chance, the more the fewer parameters there are: compare with `rng.bytes(len(recorded))`.
    """
    wanted = update[:_COMPARED].astype(np.float64)
    largest = float(np.abs(wanted).max(initial=0.0))
    wanted = wanted - wanted.mean() if wanted.size else wanted
    length = float(np.linalg.norm(wanted))
    if not length > 0:
        return 0.0  # an update that is the same everywhere is nothing that could be found
    found = [
        _alike(_floats(recorded[offset:_SEARCHED_BYTES], largest), wanted / length, largest) for offset in range(4)
    ]
    return min(1.0, max(found))


def _floats(data: bytes, largest: float) -> F64:
    with np.errstate(invalid="ignore"):  # a signalling NaN warns when it is converted
        values = np.frombuffer(data, "<f4", count=len(data) // 4).astype(np.float64)
    return np.asarray(np.nan_to_num(values, nan=0.0).clip(-largest, largest), np.float64)


def _alike(values: F64, wanted: F64, largest: float) -> float:
    """The largest |correlation| of `wanted` (k,), of mean 0 and length 1, with k values that lie side by side."""
    k = wanted.size
    windows = values.size - k + 1
    if windows < 1:
        return 0.0
    size = 1 << (values.size + k).bit_length()
    products = np.fft.irfft(np.fft.rfft(values, size) * np.conj(np.fft.rfft(wanted, size)), size)[:windows]
    spread = _window_sums(values**2, k) - _window_sums(values, k) ** 2 / k
    flat = spread <= _FLAT * largest**2
    return float(np.abs(np.where(flat, 0.0, products / np.sqrt(np.where(flat, 1.0, spread)))).max())


def _window_sums(values: F64, k: int) -> F64:
    sums: F64 = np.concatenate([[0.0], np.cumsum(values)])
    return sums[k:] - sums[:-k]
