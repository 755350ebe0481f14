"""The append-only log of a run: entries in, leaf bytes out, and the Merkle root over all of them.

Pure: whoever persists writes the leaf durably before anything that it tells of becomes visible. After a crash the log
is built again from the leaves that are on disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from phalanx.audit.merkle import Frontier, leaf_hash
from phalanx.canonical import MAX_JSON_BYTES, encode


class Log:
    """The state of a log: how many entries, and the roots that appending needs. Holds no entry."""

    __slots__ = ("_frontier",)

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        """A log that already has `leaves` (the lines of log.jsonl without their newlines). They are not parsed."""
        self._frontier = Frontier()
        for leaf in leaves:
            self._frontier = self._frontier.add(leaf_hash(leaf))

    @property
    def size(self) -> int:
        """Entries so far, which is also the index of the next."""
        return self._frontier.size

    @property
    def root(self) -> str:
        """The Merkle root, 64 hexadecimal characters."""
        return self._frontier.root.hex()

    def append(self, entry: Mapping[str, Any]) -> bytes:
        """The leaf of `entry` with its index, now in the log. One line of log.jsonl, without the newline.

        Raises ValueError for an entry that brings an index of its own, is not JSON, or is too long to be verified.
        """
        if "index" in entry:
            raise ValueError(f"the log gives entries their index, this one has {entry['index']!r}")
        leaf = encode({**entry, "index": self.size})
        if len(leaf) > MAX_JSON_BYTES:
            raise ValueError(f"an entry of {len(leaf)} bytes, the limit is {MAX_JSON_BYTES}")
        self._frontier = self._frontier.add(leaf_hash(leaf))
        return leaf
