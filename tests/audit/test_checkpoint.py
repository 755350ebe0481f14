"""Signed tree heads: the form of C2SP tlog-checkpoint, one encoding, and what a forger tries."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from phalanx.audit import log_origin, open_checkpoint, sign_checkpoint
from phalanx.errors import BadSignature, IntegrityError, LogInconsistent, NotCanonical
from phalanx.signing import SigningKey

KEY = SigningKey.from_seed(bytes(range(32)))
ORIGIN = log_origin("grove", "run-1")
ROOT = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
HEAD = sign_checkpoint(ORIGIN, 17, ROOT, KEY)


def test_a_checkpoint_is_a_signed_note_that_anybody_can_read_without_this_code() -> None:
    text, _, signatures = HEAD.note.decode().rpartition("\n\n")
    origin, size, root = text.split("\n")
    assert (origin, size, base64.b64decode(root).hex()) == ("phalanx/v1/log/grove/run-1", "17", ROOT)
    dash, name, encoded = signatures.rstrip("\n").split(" ")
    signed = base64.b64decode(encoded)
    public = bytes.fromhex(KEY.public)
    assert (dash, name) == ("\u2014", origin)
    assert signed[:4] == hashlib.sha256(name.encode() + b"\n\x01" + public).digest()[:4]
    Ed25519PublicKey.from_public_bytes(public).verify(signed[4:], (text + "\n").encode())


def test_a_checkpoint_opens_to_what_was_signed() -> None:
    assert open_checkpoint(HEAD.note, ORIGIN, KEY.public) == HEAD


def test_any_flipped_bit_of_a_checkpoint_is_refused() -> None:
    for place in range(8 * len(HEAD.note)):
        changed = bytearray(HEAD.note)
        changed[place // 8] ^= 1 << (place % 8)
        with pytest.raises(IntegrityError):
            open_checkpoint(bytes(changed), ORIGIN, KEY.public)


def test_a_checkpoint_of_another_key_or_log_is_refused() -> None:
    other = SigningKey.from_seed(b"x" * 32)
    with pytest.raises(BadSignature, match="not signed under the operator's key"):
        open_checkpoint(sign_checkpoint(ORIGIN, 17, ROOT, other).note, ORIGIN, KEY.public)
    with pytest.raises(LogInconsistent, match="expected 'phalanx/v1/log/grove/run-1'"):
        open_checkpoint(sign_checkpoint(log_origin("grove", "run-2"), 17, ROOT, KEY).note, ORIGIN, KEY.public)


def test_a_signature_moved_to_another_tree_head_does_not_verify() -> None:
    line = HEAD.note.rpartition(b"\n\n")[2]
    moved = sign_checkpoint(ORIGIN, 18, ROOT, KEY).note.rpartition(b"\n\n")[0] + b"\n\n" + line
    with pytest.raises(BadSignature, match="does not verify"):
        open_checkpoint(moved, ORIGIN, KEY.public)


def _signed_as_is(text: str) -> bytes:
    """A note over any text at all, with the operator's own valid signature."""
    key_id = hashlib.sha256(ORIGIN.encode() + b"\n\x01" + bytes.fromhex(KEY.public)).digest()[:4]
    signature = Ed25519PrivateKey.from_private_bytes(KEY.seed).sign(text.encode())
    return f"{text}\n— {ORIGIN} {base64.b64encode(key_id + signature).decode()}\n".encode()


def _root64(root: str = ROOT) -> str:
    return base64.b64encode(bytes.fromhex(root)).decode()


def test_the_notes_that_the_next_tests_change_would_be_accepted_unchanged() -> None:
    assert _signed_as_is(f"{ORIGIN}\n17\n{_root64()}\n") == HEAD.note


@pytest.mark.parametrize(
    "text",
    [
        f"{ORIGIN}\n017\n{_root64()}\n",
        f"{ORIGIN}\n+17\n{_root64()}\n",
        f"{ORIGIN}\n１７\n{_root64()}\n",
        f"{ORIGIN}\n-1\n{_root64()}\n",
        f"{ORIGIN}\n17\n{_root64('00' * 31)}\n",
        f"{ORIGIN}\n17\n{_root64('00' * 33)}\n",
        f"{ORIGIN}\n17\n{_root64()[:-2]}1=\n",  # padding bits that decode to nothing
        f"{ORIGIN}\n17\n{_root64()[:-1]}\n",
        f"{ORIGIN}\n17\n{_root64()}\nextension\n",
        f"{ORIGIN}\n17\r\n{_root64()}\n",
        f"{ORIGIN}\n17\n",
        "",
    ],
)
def test_a_tree_head_in_another_encoding_is_refused_even_when_signed_so(text: str) -> None:
    with pytest.raises(NotCanonical):
        open_checkpoint(_signed_as_is(text), ORIGIN, KEY.public)


@pytest.mark.parametrize(
    "note",
    [
        HEAD.note + b"\n",
        HEAD.note[:-1],
        HEAD.note.replace(b"\n", b"\r\n"),
        HEAD.note + HEAD.note.rpartition(b"\n\n")[2],
        HEAD.note.replace("\u2014".encode(), b"-"),
        HEAD.note + b"x" * 5000,
        b"\xff" * 10,
        b"",
    ],
)
def test_a_note_in_another_form_is_refused(note: bytes) -> None:
    with pytest.raises(NotCanonical):
        open_checkpoint(note, ORIGIN, KEY.public)


@pytest.mark.parametrize("public", ["", "zz", KEY.public.upper(), "00" * 32, "\n" + KEY.public])
def test_a_key_that_is_none_is_refused(public: str) -> None:
    with pytest.raises(BadSignature):
        open_checkpoint(HEAD.note, ORIGIN, public)


@pytest.mark.parametrize(("origin", "size", "root"), [
    ("", 1, ROOT), ("two lines\nhere", 1, ROOT), (ORIGIN, -1, ROOT), (ORIGIN, 1, ROOT.upper()), (ORIGIN, 1, "00"),
])  # fmt: skip
def test_signing_what_is_no_tree_head_is_a_programmers_error(origin: str, size: int, root: str) -> None:
    with pytest.raises(ValueError, match="not a tree head"):
        sign_checkpoint(origin, size, root, KEY)
