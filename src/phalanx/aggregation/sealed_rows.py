"""Rows that do not fit in memory: encrypted to a file as they arrive, and read back a block of columns at a time.

No update lies on a disk in clear: the file holds AES-256-GCM ciphertext under a key that is drawn here, never leaves
this object and is gone with it. Whoever reads the disk learns n and d; whoever changes it is found out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from phalanx import kernels
from phalanx.entropy import KEY_BYTES, Entropy, system_entropy
from phalanx.errors import IntegrityError
from phalanx.types import F32, F64

COLUMNS = 1 << 16  # of a block: n rows of it are in memory at a time
_TAG_BYTES = 16
_PURPOSE = b"phalanx/v1/sealed-rows"


class SealedRows:
    """(n, d) float32, `add`ed row by row. Give it to `aggregate` in place of an array.

    `file` is open for reading and writing in binary, seekable, and used by nobody else; best one without a name
    (`tempfile.TemporaryFile`), which the system removes whatever happens. Memory: one block of columns of all rows.
    """

    def __init__(self, d: int, file: BinaryIO, *, entropy: Entropy = system_entropy) -> None:
        if d < 1:
            raise ValueError(f"rows need d >= 1 values, got {d}")
        self._d = d
        self._file = file
        self._cipher = AESGCM(entropy(KEY_BYTES))
        self._squares: list[float] = []

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        return len(self._squares), self._d

    @property
    def squared_norms(self) -> F64:
        """(n,) squared l2 norms, taken as the rows arrived."""
        return np.array(self._squares)

    def add(self, row: F32) -> None:
        """The next row (d,). Raises ValueError unless it is finite float32 of that length; then nothing is added."""
        if not (isinstance(row, np.ndarray) and row.dtype == np.float32 and row.shape == (self._d,)):
            raise ValueError(f"a row must be a float32 array of shape ({self._d},)")
        square = float(kernels.squared_norms(row[None])[0])
        if not np.isfinite(square):
            raise ValueError("a row must be finite, got NaN or infinity")
        n = len(self._squares)
        for block, columns in enumerate(self._columns()):
            self._file.seek(self._offset(n, block))
            self._file.write(self._cipher.encrypt(_nonce(n, block), row[columns].tobytes(), _PURPOSE))
        self._squares.append(square)

    def blocks(self) -> Iterator[tuple[slice, F32]]:
        """Columns, and the (n, b) values there. Raises IntegrityError if the file is not what was written to it."""
        n = len(self._squares)
        for block, columns in enumerate(self._columns()):
            width = columns.stop - columns.start
            values = np.empty((n, width), dtype=np.float32)
            for i in range(n):
                self._file.seek(self._offset(i, block))
                sealed = self._file.read(4 * width + _TAG_BYTES)
                try:
                    values[i] = np.frombuffer(self._cipher.decrypt(_nonce(i, block), sealed, _PURPOSE), np.float32)
                except InvalidTag:
                    raise IntegrityError(f"row {i} on disk is not what was written to it") from None
            yield columns, values

    def _columns(self) -> Iterator[slice]:
        for start in range(0, self._d, COLUMNS):
            yield slice(start, min(start + COLUMNS, self._d))

    def _offset(self, row: int, block: int) -> int:
        whole = -(-self._d // COLUMNS) * _TAG_BYTES + 4 * self._d
        return row * whole + block * (4 * COLUMNS + _TAG_BYTES)


def _nonce(row: int, block: int) -> bytes:
    """12 bytes, never twice under one key: a block of a row is written once."""
    return row.to_bytes(4, "big") + block.to_bytes(8, "big")
