"""The receiver's key of one round: HPKE (RFC 9180) with X-Wing (ML-KEM-768 and X25519), HKDF-SHA256, AES-256-GCM.

Drawn fresh for every attempt and forgotten when the round closes, so that a recording cannot be opened later.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from phalanx.errors import IntegrityError

SEED_BYTES = 96  # 64 for ML-KEM-768, 32 for X25519
_MLKEM_PUBLIC_BYTES = 1184
_PUBLIC = re.compile(r"[0-9a-f]{2432}")
_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
OVERHEAD_BYTES = KEM.MLKEM768_X25519.enc_length() + 16


@dataclass(frozen=True, slots=True, eq=False)
class RoundKey:
    """The private key of one attempt of one round, with its public half as hexadecimal text."""

    _key: MLKEM768X25519PrivateKey = field(repr=False)
    public: str

    @classmethod
    def from_seed(cls, seed: bytes) -> RoundKey:
        """The key of 96 secret bytes."""
        if len(seed) != SEED_BYTES:
            raise ValueError(f"a round key needs a seed of {SEED_BYTES} bytes, got {len(seed)}")
        mlkem = MLKEM768PrivateKey.from_seed_bytes(seed[:64])
        x25519 = X25519PrivateKey.from_private_bytes(seed[64:])
        public = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
        return cls(MLKEM768X25519PrivateKey(mlkem, x25519), public.hex())

    def open(self, ciphertext: bytes, info: bytes) -> bytes:
        """The plaintext. Raises IntegrityError if a bit was changed, or it was sealed to another key or info."""
        try:
            return _SUITE.decrypt(ciphertext, self._key, info)
        except (InvalidTag, ValueError):
            raise IntegrityError("the sealed bytes do not open under this round's key") from None


def seal(plaintext: bytes, public: str, info: bytes) -> bytes:
    """`plaintext` sealed to a round key's public half, bound to `info`. Draws entropy: two calls never agree."""
    if not _PUBLIC.fullmatch(public):
        raise IntegrityError("a round key is 2432 lower-case hexadecimal characters")
    raw = bytes.fromhex(public)
    try:
        key = MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM_PUBLIC_BYTES]),
            X25519PublicKey.from_public_bytes(raw[_MLKEM_PUBLIC_BYTES:]),
        )
        return _SUITE.encrypt(plaintext, key, info)
    except ValueError:  # a key that is no key, or a low-order point
        raise IntegrityError("a round key that nothing can be sealed to") from None
