"""The Merkle tree against published vectors, the known roots of RFC 6962, and a tree written a second time."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phalanx.audit.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root,
    verify_consistency,
    verify_inclusion,
)
from phalanx.errors import LogInconsistent

VECTORS = Path(os.environ.get("PHALANX_VECTORS", "../shared/vectors")) / "merkle"
# The eight entries, and the roots of the trees over the first 1 … 8 of them, that RFC 6962 implementations share
# (certificate-transparency `merkletree` tests; the same tree is behind the vectors above).
ENTRIES = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def vectors(kind: str) -> list[Any]:
    files = sorted((VECTORS / kind).rglob("*.json"))
    if not files:
        reason = f"no Merkle vectors in {VECTORS}: set PHALANX_VECTORS to the folder that holds merkle/"
        return [pytest.param({}, marks=pytest.mark.skip(reason=reason), id="absent")]
    return [pytest.param(json.loads(file.read_text()), id=str(file.relative_to(VECTORS))) for file in files]


def raw(text: str) -> bytes:
    return base64.b64decode(text)


@pytest.mark.parametrize("vector", vectors("inclusion"))
def test_inclusion_proofs_of_transparency_dev_are_judged_as_they_say(vector: dict[str, Any]) -> None:
    index, size, proof = vector["leafIdx"], vector["treeSize"], [raw(node) for node in vector["proof"] or []]
    if not vector["wantErr"]:
        return verify_inclusion(index, size, raw(vector["leafHash"]), proof, raw(vector["root"]))
    with pytest.raises(LogInconsistent):
        verify_inclusion(index, size, raw(vector["leafHash"]), proof, raw(vector["root"]))


@pytest.mark.parametrize("vector", vectors("consistency"))
def test_consistency_proofs_of_transparency_dev_are_judged_as_they_say(vector: dict[str, Any]) -> None:
    old, new, proof = vector["size1"], vector["size2"], [raw(node) for node in vector["proof"] or []]
    if not vector["wantErr"]:
        return verify_consistency(old, new, proof, raw(vector["root1"]), raw(vector["root2"]))
    with pytest.raises(LogInconsistent):
        verify_consistency(old, new, proof, raw(vector["root1"]), raw(vector["root2"]))


def test_the_roots_of_the_known_entries_are_the_known_ones() -> None:
    leaves = [leaf_hash(entry) for entry in ENTRIES]
    frontier = Frontier()
    assert frontier.root == root([]) == EMPTY_ROOT == hashlib.sha256().digest()
    for size, expected in enumerate(ROOTS, start=1):
        frontier = frontier.add(leaves[size - 1])
        assert frontier.root.hex() == root(leaves[:size]).hex() == expected


def test_a_leaf_that_looks_like_an_inner_node_does_not_pass_for_one() -> None:
    left, right = leaf_hash(b"left"), leaf_hash(b"right")
    assert leaf_hash(left + right) != node_hash(left, right)
    forged = hashlib.sha256(left + right).digest()  # the twin: a tree without the byte that tells them apart
    assert forged not in (leaf_hash(left + right), node_hash(left, right))


def by_levels(leaves: list[bytes]) -> bytes:
    """The same root from the bottom up, pairing neighbours and lifting the odd one: an independent formulation."""
    level = list(leaves)
    while len(level) > 1:
        pairs = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = pairs + ([level[-1]] if len(level) % 2 else [])
    return level[0] if level else EMPTY_ROOT


@given(st.lists(st.binary(max_size=4), max_size=70))
@settings(max_examples=60, deadline=None)
def test_appending_one_by_one_gives_the_root_over_all(entries: list[bytes]) -> None:
    leaves, frontier = [leaf_hash(entry) for entry in entries], Frontier()
    for leaf in leaves:
        frontier = frontier.add(leaf)
    assert frontier.root == root(leaves) == by_levels(leaves)
    assert frontier.size == len(leaves)
    assert len(frontier.peaks) == len(leaves).bit_count()


SIZES = st.integers(1, 40).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1)))


def leaves_of(size: int) -> list[bytes]:
    return [leaf_hash(bytes([i])) for i in range(size)]


@pytest.mark.parametrize("size", range(1, 34))
def test_every_honest_proof_verifies(size: int) -> None:
    leaves = leaves_of(size)
    for index in range(size):
        verify_inclusion(index, size, leaves[index], inclusion_proof(leaves, index), root(leaves))
        old = index + 1
        verify_consistency(old, size, consistency_proof(leaves, old), root(leaves[:old]), root(leaves))


@given(SIZES, st.data())
@settings(max_examples=100, deadline=None)
def test_an_inclusion_proof_holds_for_one_leaf_at_one_place_only(case: tuple[int, int], data: st.DataObject) -> None:
    size, index = case
    leaves = leaves_of(size)
    proof, head = inclusion_proof(leaves, index), root(leaves)
    other = data.draw(st.integers(0, size))
    if other != index:
        with pytest.raises(LogInconsistent):
            verify_inclusion(other, size, leaves[index], proof, head)
    with pytest.raises(LogInconsistent):
        verify_inclusion(index, size, leaf_hash(b"never logged"), proof, head)
    for wrong in ([*proof, head], [head, *proof], list(proof[:-1]) if proof else [head]):
        with pytest.raises(LogInconsistent):
            verify_inclusion(index, size, leaves[index], wrong, head)


@given(SIZES, st.data())
@settings(max_examples=100, deadline=None)
def test_a_log_that_rewrote_an_old_entry_has_no_consistency_proof(case: tuple[int, int], data: st.DataObject) -> None:
    size, index = case
    old = index + 1
    leaves = leaves_of(size)
    rewritten = list(leaves)
    rewritten[data.draw(st.integers(0, index))] = leaf_hash(b"rewritten")
    for proof in (consistency_proof(rewritten, old), consistency_proof(leaves, old)):
        with pytest.raises(LogInconsistent):
            verify_consistency(old, size, proof, root(leaves[:old]), root(rewritten))


@pytest.mark.parametrize(("size", "index"), [(0, 0), (3, 3), (3, -1)])
def test_a_proof_of_an_entry_that_is_not_there_is_a_programmers_error(size: int, index: int) -> None:
    with pytest.raises(ValueError, match="not in a log"):
        inclusion_proof(leaves_of(size), index)


@pytest.mark.parametrize("old", [0, 4, -1])
def test_a_consistency_proof_from_a_log_that_is_empty_or_longer_is_a_programmers_error(old: int) -> None:
    with pytest.raises(ValueError, match="older log"):
        consistency_proof(leaves_of(3), old)
