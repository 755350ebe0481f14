"""The Merkle tree of a log: its root, and short proofs that an entry is in it and that it only ever grew.

RFC 6962 section 2.1 and RFC 9162 section 2.1 with SHA-256. A leaf is hashed with a zero byte before it and an inner
node with a one, so that neither can pass for the other. Hashes are 32 bytes. Proofs are made from the leaf hashes of
the whole log; a `Frontier` keeps only the O(log n) roots that appending needs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from phalanx.errors import LogInconsistent

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """The hash of one entry's bytes."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes, straight from the definition.  RFC 9162 section 2.1.1."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    half = _split(len(leaves))
    return node_hash(root(leaves[:half]), root(leaves[half:]))


@dataclass(frozen=True, slots=True)
class Frontier:
    """What appending needs: the roots of the perfect subtrees that `size` entries are made of, largest first."""

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def add(self, leaf: bytes) -> Frontier:
        """The frontier with one more leaf hash: O(log n) hashes at worst, two on average."""
        peaks, node, size = list(self.peaks), leaf, self.size
        while size & 1:  # the two smallest subtrees are of the same size: they become one
            node = node_hash(peaks.pop(), node)
            size >>= 1
        return Frontier(self.size + 1, (*peaks, node))

    @property
    def root(self) -> bytes:
        """The root over all leaves so far."""
        if not self.peaks:
            return EMPTY_ROOT
        node = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            node = node_hash(peak, node)
        return node


def inclusion_proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """The proof that leaf `index` is under `root(leaves)`, nearest sibling first.  RFC 9162 section 2.1.3.1."""
    if not 0 <= index < len(leaves):
        raise ValueError(f"index {index} is not in a log of {len(leaves)} entries")
    if len(leaves) == 1:
        return ()
    half = _split(len(leaves))
    if index < half:
        return (*inclusion_proof(leaves[:half], index), root(leaves[half:]))
    return (*inclusion_proof(leaves[half:], index - half), root(leaves[:half]))


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], tree_root: bytes) -> None:
    """Returns nothing; raises LogInconsistent unless leaf hash `leaf` is at `index` under the root of `size` entries.

    RFC 9162 section 2.1.3.2.
    """
    if not 0 <= index < size:
        raise LogInconsistent(f"entry {index} cannot be in a log of {size} entries")
    position, last, node = index, size - 1, _nodes((leaf,))[0]
    for sibling in _nodes(proof):
        if last == 0:
            raise LogInconsistent(f"inclusion proof has {len(proof)} hashes, more than {size} entries need")
        if position & 1 or position == last:
            node = node_hash(sibling, node)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        position, last = position >> 1, last >> 1
    if last != 0 or node != tree_root:
        raise LogInconsistent(f"inclusion proof of entry {index} gives {node.hex()}, the root is {tree_root.hex()}")


def consistency_proof(leaves: Sequence[bytes], old: int) -> tuple[bytes, ...]:
    """The proof that the first `old` of `leaves` are a prefix of all of them.  RFC 9162 section 2.1.4.1."""
    if not 0 < old <= len(leaves):
        raise ValueError(f"a proof from size {old} to {len(leaves)}: the older log must be the smaller, and not empty")
    return _subproof(leaves, old, whole=True)


def _subproof(leaves: Sequence[bytes], old: int, *, whole: bool) -> tuple[bytes, ...]:
    if old == len(leaves):
        return () if whole else (root(leaves),)
    half = _split(len(leaves))
    if old <= half:
        return (*_subproof(leaves[:half], old, whole=whole), root(leaves[half:]))
    return (*_subproof(leaves[half:], old - half, whole=False), root(leaves[:half]))


def verify_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Returns nothing; raises LogInconsistent unless the log of `new` entries begins with the log of `old`.

    From an empty log everything would follow, so `old` = 0 is refused.  RFC 9162 section 2.1.4.2.
    """
    if not 0 < old <= new:
        raise LogInconsistent(f"no consistency proof leads from {old} to {new} entries")
    if old == new:
        if proof or old_root != new_root:
            raise LogInconsistent(f"two different roots of {old} entries: {old_root.hex()} and {new_root.hex()}")
        return
    path = _nodes(proof)
    if old & (old - 1) == 0:  # a power of two: the older root is itself the first node of the path
        path = (old_root, *path)
    if not path:
        raise LogInconsistent(f"an empty consistency proof from {old} to {new} entries")
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    older = newer = path[0]
    for node in path[1:]:
        if last == 0:
            raise LogInconsistent(f"consistency proof has {len(proof)} hashes, more than it needs")
        if position & 1 or position == last:
            older, newer = node_hash(node, older), node_hash(node, newer)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            newer = node_hash(newer, node)
        position, last = position >> 1, last >> 1
    if last != 0 or older != old_root or newer != new_root:
        raise LogInconsistent(f"the log of {new} entries does not begin with the log of {old} entries")


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1


def _nodes(proof: Iterable[bytes]) -> tuple[bytes, ...]:
    nodes = tuple(proof)
    for node in nodes:
        if len(node) != HASH_BYTES:
            raise LogInconsistent(f"a hash of {len(node)} bytes, expected {HASH_BYTES}")
    return nodes
