"""HPKE base mode with X-Wing from its parts, as an independent second opinion on `phalanx.channel.keys`.

X-Wing: draft-connolly-cfrg-xwing-kem, section 5. HPKE: RFC 9180, sections 4, 5.1 and 5.2, with HKDF-SHA256.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

XWING = 0x647A
HKDF_SHA256 = 0x0001
AES_256_GCM = 0x0002
_LABEL = bytes.fromhex("5c2e2f2f5e5c")  # a small picture of an X-Wing fighter
_MLKEM_PUBLIC, _MLKEM_CIPHERTEXT = 1184, 1088
ENC_BYTES = _MLKEM_CIPHERTEXT + 32


def decapsulate(seed: bytes, enc: bytes) -> bytes:
    """The shared secret of `enc` under the 96 bytes of the two private keys."""
    mlkem, x25519 = MLKEM768PrivateKey.from_seed_bytes(seed[:64]), X25519PrivateKey.from_private_bytes(seed[64:])
    first = mlkem.decapsulate(enc[:_MLKEM_CIPHERTEXT])
    second = x25519.exchange(X25519PublicKey.from_public_bytes(enc[_MLKEM_CIPHERTEXT:]))
    return _combine(first, second, enc[_MLKEM_CIPHERTEXT:], x25519.public_key().public_bytes_raw())


def encapsulate(public: bytes) -> tuple[bytes, bytes]:
    """A fresh shared secret for the owner of `public`, and the bytes that carry it."""
    first, carrier = MLKEM768PublicKey.from_public_bytes(public[:_MLKEM_PUBLIC]).encapsulate()
    ephemeral = X25519PrivateKey.generate()
    share = ephemeral.public_key().public_bytes_raw()
    second = ephemeral.exchange(X25519PublicKey.from_public_bytes(public[_MLKEM_PUBLIC:]))
    return _combine(first, second, share, public[_MLKEM_PUBLIC:]), carrier + share


def _combine(mlkem: bytes, x25519: bytes, share: bytes, public: bytes) -> bytes:
    return hashlib.sha3_256(mlkem + x25519 + share + public + _LABEL).digest()


def key_schedule(secret: bytes, info: bytes, aead: int = AES_256_GCM) -> tuple[bytes, bytes]:
    """Key and base nonce of base mode."""
    suite = b"HPKE" + b"".join(one.to_bytes(2, "big") for one in (XWING, HKDF_SHA256, aead))
    context = b"\0" + _extract(suite, b"", b"psk_id_hash", b"") + _extract(suite, b"", b"info_hash", info)
    pseudorandom = _extract(suite, secret, b"secret", b"")
    key = _expand(suite, pseudorandom, b"key", context, 32)
    return key, _expand(suite, pseudorandom, b"base_nonce", context, 12)


def _extract(suite: bytes, salt: bytes, label: bytes, material: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + material, "sha256")


def _expand(suite: bytes, key: bytes, label: bytes, context: bytes, size: int) -> bytes:
    # One block of HKDF-Expand is enough for 32 bytes.
    labelled = size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + context
    return hmac.digest(key, labelled + b"\1", "sha256")[:size]


def open_single_shot(ciphertext: bytes, seed: bytes, info: bytes) -> bytes:
    """The plaintext of the first message of a context, without associated data."""
    key, nonce = key_schedule(decapsulate(seed, ciphertext[:ENC_BYTES]), info)
    return AESGCM(key).decrypt(nonce, ciphertext[ENC_BYTES:], b"")


def seal_single_shot(plaintext: bytes, public: bytes, info: bytes) -> bytes:
    """The counterpart of `open_single_shot`."""
    secret, enc = encapsulate(public)
    key, nonce = key_schedule(secret, info)
    return enc + AESGCM(key).encrypt(nonce, plaintext, b"")
