"""Secret randomness: where it comes from, and how one key becomes many numbers.

Production entropy is the operating system's. A key of 32 bytes is expanded by SHAKE-256 under a label, so that two
uses of one key never share a byte. Experimental randomness (splits, simulated attacks) is `numpy.random.Generator`
and never comes from here.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable

import numpy as np

from phalanx.canonical import message
from phalanx.types import F64

Entropy = Callable[[int], bytes]
KEY_BYTES = 32
_TO_UNIT = 2.0**-53


def system_entropy(size: int) -> bytes:
    """`size` bytes from the operating system. The only entropy outside the `lab` profile."""
    return secrets.token_bytes(size)


def expand(key: bytes, label: str, size: int) -> bytes:
    """`size` bytes that depend on every bit of `key` and on `label` (SHAKE-256, FIPS 202)."""
    if len(key) < KEY_BYTES:
        raise ValueError(f"a key to expand needs at least {KEY_BYTES} bytes, got {len(key)}")
    return hashlib.shake_256(message(f"expand/{label}", len(key).to_bytes(4, "big") + key)).digest(size)


def gaussian(key: bytes, label: str, size: int) -> F64:
    """(size,) standard normal float64 values from `key`: Box-Muller (1958) on 53-bit uniforms.

    Floating-point noise: its low bits are not those of a real Gaussian (Mironov, CCS 2012). `docs/sharp-edges.md`
    says what follows from that.
    """
    pairs = (size + 1) // 2
    words = np.frombuffer(expand(key, label, pairs * 16), dtype="<u8").reshape(pairs, 2) >> np.uint64(11)
    radius = np.sqrt(-2.0 * np.log((words[:, 0].astype(np.float64) + 1.0) * _TO_UNIT))  # (0, 1]: the log is finite
    angle = 2.0 * np.pi * (words[:, 1].astype(np.float64) * _TO_UNIT)
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:size]
