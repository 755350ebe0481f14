"""Rows that do not fit in memory: encrypted to a file as they arrive, and read back a block of columns at a time.

No update lies on a disk in clear: the file holds AES-256-GCM ciphertext under a key that is drawn here, never leaves
this object and is gone with it. Whoever reads the disk learns n and d; whoever changes it is found out.

A nonce is never used twice: each attempt to write a row takes a new number, also after one that failed half way, and a
process that was forked from the one that drew the key may not use it.
"""

from __future__ import annotations

import os
import threading
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
    """(n, d) float32, `add`ed row by row, then read. Give it to `aggregate` in place of an array.

    `file` is open for reading and writing in binary, seekable, and used by nobody else; best one without a name
    (`tempfile.TemporaryFile`), which the system removes whatever happens. Memory: one block of columns of all rows.
    Threads may share the object. Once rows were read no more can be added.
    """

    def __init__(self, d: int, file: BinaryIO, *, entropy: Entropy = system_entropy) -> None:
        if d < 1:
            raise ValueError(f"rows need d >= 1 values, got {d}")
        if not all(hasattr(file, name) for name in ("seek", "read", "write")):
            raise ValueError(f"sealed rows need an open binary file, tempfile.TemporaryFile() for one, got {file!r}")
        self._d = d
        self._file = file
        self._cipher = AESGCM(entropy(KEY_BYTES))
        self._owner = os.getpid()
        self._lock = threading.RLock()
        self._attempts = 0
        self._sealed_by: list[int] = []  # for each row the attempt that wrote it
        self._squares: list[float] = []
        self._was_read = False

    def __repr__(self) -> str:
        return f"SealedRows(shape={self.shape})"

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        return len(self._squares), self._d

    @property
    def squared_norms(self) -> F64:
        """(n,) squared l2 norms, taken as the rows arrived."""
        return np.array(self._squares)

    def add(self, row: F32) -> None:
        """The next row (d,). If it fails, nothing is added, and it may be called again.

        Raises ValueError unless the row is finite float32 of that length and no row was read yet, OSError if it cannot
        be written.
        """
        if not (isinstance(row, np.ndarray) and row.dtype == np.float32 and row.shape == (self._d,)):
            found = f"{row.dtype} of shape {row.shape}" if isinstance(row, np.ndarray) else type(row).__name__
            raise ValueError(f"a row must be a float32 array of shape ({self._d},), got {found}")
        square = float(kernels.squared_norms(row[None])[0])
        if not np.isfinite(square):
            raise ValueError("a row must be finite, got NaN or infinity")
        with self._lock:
            self._check_owner()
            if self._was_read:
                raise ValueError("the rows were read already: no more can be added")
            attempt, n = self._attempts, len(self._squares)
            self._attempts += 1  # before anything is encrypted: a second try must not use these nonces again
            for block, columns in enumerate(self._columns()):
                sealed = self._cipher.encrypt(_nonce(attempt, block), row[columns].tobytes(), _PURPOSE)
                self._file.seek(self._offset(n, block))
                if self._file.write(sealed) != len(sealed):
                    raise OSError("the row was not written whole")
            self._sealed_by.append(attempt)
            self._squares.append(square)

    def blocks(self) -> Iterator[tuple[slice, F32]]:
        """Columns, and the (n, b) values there. Raises IntegrityError if the file is not what was written to it."""
        self._was_read = True
        for block, columns in enumerate(self._columns()):
            values = np.empty((len(self._squares), columns.stop - columns.start), dtype=np.float32)
            for i, attempt in enumerate(self._sealed_by):
                values[i] = self._opened(i, block, attempt, values.shape[1])
            yield columns, values

    def _opened(self, row: int, block: int, attempt: int, width: int) -> F32:
        with self._lock:
            self._check_owner()
            self._file.seek(self._offset(row, block))
            sealed = self._file.read(4 * width + _TAG_BYTES)
        try:
            return np.frombuffer(self._cipher.decrypt(_nonce(attempt, block), sealed, _PURPOSE), np.float32)
        except InvalidTag:
            raise IntegrityError(f"row {row} on disk is not what was written to it") from None

    def _check_owner(self) -> None:
        if os.getpid() != self._owner:
            raise ValueError("sealed rows belong to the process that made them, not to one forked from it")

    def _columns(self) -> Iterator[slice]:
        for start in range(0, self._d, COLUMNS):
            yield slice(start, min(start + COLUMNS, self._d))

    def _offset(self, row: int, block: int) -> int:
        whole = -(-self._d // COLUMNS) * _TAG_BYTES + 4 * self._d
        return row * whole + block * (4 * COLUMNS + _TAG_BYTES)


def _nonce(attempt: int, block: int) -> bytes:
    """12 bytes, never twice under one key."""
    return attempt.to_bytes(4, "big") + block.to_bytes(8, "big")
