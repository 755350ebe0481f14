"""Canonical bytes (RFC 8785 JSON) and hashes that carry their purpose.

Everything hashed or signed goes through this file, so that two different things never have the same bytes, and one
thing never has two encodings.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import numpy.typing as npt
import rfc8785

from phalanx.errors import NotCanonical

PREFIX = b"phalanx/v1/"
MAX_JSON_BYTES = 1 << 20
_LARGEST_INTEGER = 2**53 - 1  # past it RFC 8785 knows only the nearest float64


def encode(value: Any) -> bytes:
    """The RFC 8785 bytes of a JSON value. Raises ValueError for what JSON cannot hold (NaN, integers past 2**53)."""
    try:
        return rfc8785.dumps(value)
    except rfc8785.CanonicalizationError as error:
        raise ValueError(f"not a canonical JSON value: {error}") from error


def decode(data: bytes, *, limit: int = MAX_JSON_BYTES) -> Any:
    """The value of canonical JSON bytes. Raises NotCanonical if re-encoding does not give the same bytes."""
    if len(data) > limit:
        raise NotCanonical(f"JSON of {len(data)} bytes, the limit is {limit}")
    try:
        value = json.loads(data.decode("utf-8"), parse_int=_integer)
        again = encode(value)
    except (ValueError, RecursionError) as error:
        raise NotCanonical(f"not canonical JSON: {error}") from None
    if again != data:
        raise NotCanonical("JSON that is not in its canonical (RFC 8785) form")
    return value


def _integer(digits: str) -> int | float:
    """Digits without point or exponent: the float that they write where they are past what an integer may be."""
    value = float(digits)
    return int(digits) if abs(value) <= _LARGEST_INTEGER else value


def message(purpose: str, payload: bytes) -> bytes:
    """The bytes to hash or sign: version, purpose, a zero byte, the payload. ValueError for a zero in the purpose."""
    if "\0" in purpose:
        raise ValueError(f"a zero byte ends the purpose, so none may be in it: {purpose!r}")
    return PREFIX + purpose.encode("ascii") + b"\0" + payload


def digest(purpose: str, payload: bytes) -> str:
    """SHA-256 over `message`, as 64 hexadecimal characters."""
    return hashlib.sha256(message(purpose, payload)).hexdigest()


def model_digest(vector: npt.NDArray[np.float32]) -> str:
    """The hash that names a model: over its parameters (d,) as little-endian float32 bytes, in layout order."""
    return digest("model", np.ascontiguousarray(vector, dtype="<f4").tobytes())
