"""Signed tree heads: how long the log was and its root, in a note signed by the operator.

C2SP tlog-checkpoint in a C2SP signed-note, with one Ed25519 signature (type 0x01) whose key name is the origin. One
tree head and one key have exactly one note: whatever does not re-encode to itself is refused. That is narrower than
the standard, which also allows extension lines and signatures of others.
"""

from __future__ import annotations

import base64
import hashlib
import re

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from phalanx.errors import BadSignature, LogInconsistent, NotCanonical
from phalanx.signing import SigningKey
from phalanx.types import Checkpoint

MAX_NOTE_BYTES = 4096
_ED25519 = b"\x01"  # signature type of C2SP signed-note
_KEY_ID_BYTES = 4
_ORIGIN = re.compile(r"[a-z0-9./-]{1,200}")
_ROOT = re.compile(r"[0-9a-f]{64}")
_PUBLIC = re.compile(r"[0-9a-f]{64}")
_BASE64 = "[A-Za-z0-9+/]+={0,2}"
_NOTE = re.compile(
    rf"(?P<origin>[^\n ]+)\n(?P<size>0|[1-9][0-9]{{0,15}})\n(?P<root>{_BASE64})\n"
    rf"\n— (?P<name>[^\n ]+) (?P<signature>{_BASE64})\n"
)


def log_origin(federation: str, run: str) -> str:
    """The identity of a run's log, which also keeps its signed notes apart from every other signed message."""
    return f"phalanx/v1/log/{federation}/{run}"


def sign_checkpoint(origin: str, size: int, root: str, key: SigningKey) -> Checkpoint:
    """The operator's signed tree head: `size` entries with Merkle root `root` (hex)."""
    if not (_ORIGIN.fullmatch(origin) and _ROOT.fullmatch(root) and 0 <= size < 10**16):
        raise ValueError(f"not a tree head: origin {origin!r}, size {size!r}, root {root!r}")
    text = _text(origin, size, root)
    # The standard has the key sign the bare text. It begins with the origin, so it is no other message of ours.
    signature = Ed25519PrivateKey.from_private_bytes(key.seed).sign(text.encode())
    return Checkpoint(origin, size, root, _note(text, origin, key.public, signature))


def open_checkpoint(note: bytes, origin: str, public: str) -> Checkpoint:
    """The tree head in `note`. Raises unless it is `public`'s (hex), about the log `origin`, in its one encoding.

    NotCanonical: not a checkpoint, or not the only way to write it. LogInconsistent: of another log. BadSignature.
    """
    parts = _parse(note)
    if parts["origin"] != origin:
        raise LogInconsistent(f"checkpoint of the log {parts['origin']!r}, expected {origin!r}")
    raw_root, signed = base64.b64decode(parts["root"]), base64.b64decode(parts["signature"])
    size, root, signature = int(parts["size"]), raw_root.hex(), signed[_KEY_ID_BYTES:]
    text = _text(origin, size, root)
    if not _PUBLIC.fullmatch(public) or signed[:_KEY_ID_BYTES] != _key_id(origin, public):
        raise BadSignature(f"checkpoint is not signed under the operator's key {public[:16]}…")
    if not _ROOT.fullmatch(root) or _note(text, origin, public, signature) != note:
        raise NotCanonical("a checkpoint that is not in its one canonical form")
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(signature, text.encode())
    except (InvalidSignature, ValueError):
        raise BadSignature(f"checkpoint does not verify under the operator's key {public[:16]}…") from None
    return Checkpoint(origin, size, root, note)


def _parse(note: bytes) -> dict[str, str]:
    if len(note) > MAX_NOTE_BYTES:
        raise NotCanonical(f"a checkpoint of {len(note)} bytes, the limit is {MAX_NOTE_BYTES}")
    try:
        found = _NOTE.fullmatch(note.decode("utf-8"))
    except UnicodeDecodeError:
        found = None
    if found is None or any(len(found[part]) % 4 for part in ("root", "signature")):
        raise NotCanonical("not a checkpoint: expected origin, size, root, an empty line and one signature line")
    return found.groupdict()


def _text(origin: str, size: int, root: str) -> str:
    return f"{origin}\n{size}\n{base64.b64encode(bytes.fromhex(root)).decode()}\n"


def _note(text: str, name: str, public: str, signature: bytes) -> bytes:
    line = base64.b64encode(_key_id(name, public) + signature).decode()
    return f"{text}\n— {name} {line}\n".encode()


def _key_id(name: str, public: str) -> bytes:
    """Which key of which name signed.  C2SP signed-note, "Signatures"."""
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + bytes.fromhex(public)).digest()[:_KEY_ID_BYTES]
