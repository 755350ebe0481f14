"""Ed25519 signatures (RFC 8032) over bytes that carry their purpose.

Keys and signatures travel as lower-case hexadecimal, the one form that is accepted.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from phalanx.canonical import encode, message
from phalanx.errors import BadSignature

SEED_BYTES = 32
_PUBLIC = re.compile(r"[0-9a-f]{64}")
_SIGNATURE = re.compile(r"[0-9a-f]{128}")
_SIGN_BIT = 0x80  # in an encoded point's last byte: the parity of x
# y of the points whose order divides 8, as encoded, sign bit cleared; the last two are y = p and y = p + 1, which some
# decoders take for 0 and 1. OpenSSL accepts all of them as keys.
_SMALL_ORDER = frozenset(
    (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)


@dataclass(frozen=True, slots=True, eq=False)
class SigningKey:
    """A private signing key. Hides itself in `repr`; is never logged and never in a config."""

    _key: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def from_seed(cls, seed: bytes) -> SigningKey:
        """The key of a 32-byte secret seed."""
        if len(seed) != SEED_BYTES:
            raise ValueError(f"an Ed25519 seed has {SEED_BYTES} bytes, got {len(seed)}")
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @property
    def seed(self) -> bytes:
        """The secret seed, for the store alone."""
        return self._key.private_bytes_raw()

    @property
    def public(self) -> str:
        """The public key, 64 hexadecimal characters."""
        return self._key.public_key().public_bytes_raw().hex()

    def sign(self, purpose: str, payload: bytes) -> str:
        """The signature over `payload` for `purpose`, 128 hexadecimal characters."""
        return self._key.sign(message(purpose, payload)).hex()


def is_public_key(text: str) -> bool:
    """Whether `text` is the form of a public key, and no point of small order, under which anybody can sign."""
    if not _PUBLIC.fullmatch(text):
        return False
    return f"{text[:62]}{int(text[62:], 16) & ~_SIGN_BIT:02x}" not in _SMALL_ORDER


def verify(public: str, purpose: str, payload: bytes, signature: str) -> None:
    """Returns nothing; raises BadSignature unless `signature` is `public`'s over `payload` for `purpose`."""
    if not (is_public_key(public) and _SIGNATURE.fullmatch(signature)):
        raise BadSignature(
            f"{purpose}: key or signature is not lower-case hexadecimal of the right length, or anybody can sign under "
            f"that key"
        )
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(
            bytes.fromhex(signature), message(purpose, payload)
        )
    except (InvalidSignature, ValueError):
        raise BadSignature(f"{purpose}: the signature does not verify under key {public[:16]}…") from None


def receipt_statement(binding: Mapping[str, Any], receipt: str) -> bytes:
    """What a member signs under its answer: the hash of its manifest, and `binding` (JSON) of the attempt it is for.

    The log holds receipts and no manifests: without the binding one round's receipt could stand in another round.
    """
    return encode({"binding": dict(binding), "receipt": receipt})


def fingerprint(public: str) -> str:
    """The name by which people compare a public key over another channel: `sha256:` and 64 hexadecimal characters."""
    return "sha256:" + hashlib.sha256(message("fingerprint", bytes.fromhex(public))).hexdigest()
