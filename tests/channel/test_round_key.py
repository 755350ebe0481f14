"""The round key is HPKE with X-Wing as published, and nothing that is wrong opens under it."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phalanx.channel.keys import OVERHEAD_BYTES, SEED_BYTES, RoundKey, seal
from phalanx.errors import IntegrityError
from tests.channel.hpke_reference import ENC_BYTES, key_schedule, open_single_shot, seal_single_shot

SEED = bytes(range(SEED_BYTES))
KEY = RoundKey.from_seed(SEED)
PUBLIC = bytes.fromhex(KEY.public)
PLAIN, INFO = b"an update of round 7", b"header of round 7"

# draft-connolly-cfrg-xwing-kem, appendix C: three seeds, and SHA-256 of the public key that each gives.
XWING_KEYS = [
    (
        "7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26",
        "2e816deebcd76c5c80d0cd2d174478871658e8e2ff42bc9d4a6e486372e856bb",
    ),
    (
        "badfd6dfaac359a5efbb7bcc4b59d538df9a04302e10c8bc1cbf1a0b3a5120ea",
        "c42ba5f8430d7d2c83739338203819f090e8303ce9c8b02107c272bfa5376916",
    ),
    (
        "ef58538b8d23f87732ea63b02b4fa0f4873360e2841928cd60dd4cee8cc0d4c9",
        "6b080d6b84f095342092fa7a22423e58bd681397ad0ef00eac92bd254db4fa95",
    ),
]


@pytest.mark.parametrize(("seed", "public"), XWING_KEYS)
def test_public_keys_are_those_of_the_x_wing_draft(seed: str, public: str) -> None:
    """X-Wing expands its 32 bytes by SHAKE-256 to the 96 that a round key is made of."""
    key = RoundKey.from_seed(hashlib.shake_256(bytes.fromhex(seed)).digest(SEED_BYTES))
    assert hashlib.sha256(bytes.fromhex(key.public)).hexdigest() == public


def test_the_reference_has_the_key_schedule_of_the_published_vector() -> None:
    """draft-ietf-hpke-pq, test vectors: mode 0, KEM 0x647a, KDF 1; there is none with AES-256-GCM, so AEAD 3."""
    secret = bytes.fromhex("58200ed1f137bd95a921bb47f6aaecf2395b26f7fd24efd3a5ffae4849e8dea3")
    info = bytes.fromhex("34663634363532303666366532303631323034373732363536333639363136653230353537323665")
    key, nonce = key_schedule(secret, info, aead=3)
    assert key.hex() == "131c2ebb469b909a40915914afd7ff5e638888ac7195dcaaaef8f9a84f0e4030"
    assert nonce.hex() == "2b7a68f19e6cdbd43dda3c6d"


def test_an_independent_hpke_opens_what_a_member_seals() -> None:
    assert open_single_shot(seal(PLAIN, KEY.public, INFO), SEED, INFO) == PLAIN


def test_the_round_key_opens_what_an_independent_hpke_seals() -> None:
    assert KEY.open(seal_single_shot(PLAIN, PUBLIC, INFO), INFO) == PLAIN


def test_sealing_costs_the_stated_overhead_and_never_gives_the_same_bytes() -> None:
    first, second = seal(PLAIN, KEY.public, INFO), seal(PLAIN, KEY.public, INFO)
    assert len(first) == len(PLAIN) + OVERHEAD_BYTES
    assert first[:ENC_BYTES] != second[:ENC_BYTES] and first[ENC_BYTES:] != second[ENC_BYTES:]


@pytest.mark.parametrize(
    ("key", "info"),
    [
        (KEY, b"header of round 8"),
        (KEY, b""),
        (RoundKey.from_seed(bytes(SEED_BYTES)), INFO),
        (RoundKey.from_seed(SEED[:64] + bytes(32)), INFO),  # the right ML-KEM half alone
        (RoundKey.from_seed(bytes(64) + SEED[64:]), INFO),  # the right X25519 half alone
    ],
)
def test_another_key_or_info_opens_nothing(key: RoundKey, info: bytes) -> None:
    with pytest.raises(IntegrityError, match="do not open"):
        key.open(seal(PLAIN, KEY.public, INFO), info)


def test_a_ciphertext_with_any_byte_altered_or_missing_does_not_open() -> None:
    sealed = seal(PLAIN, KEY.public, INFO)
    altered = [sealed[:i] + bytes([sealed[i] ^ 1 << i % 8]) + sealed[i + 1 :] for i in range(0, len(sealed), 3)]
    cut = [sealed[:size] for size in (0, 1, 16, ENC_BYTES, ENC_BYTES + 15, len(sealed) - 1)]
    for hostile in (*altered, *cut, sealed + b"\0", bytes(len(sealed)), b"\xff" * len(sealed)):
        with pytest.raises(IntegrityError):
            KEY.open(hostile, INFO)


def test_an_ephemeral_share_of_low_order_is_refused() -> None:
    sealed = seal(PLAIN, KEY.public, INFO)
    for point in (bytes(32), b"\1" + bytes(31)):
        with pytest.raises(IntegrityError):
            KEY.open(sealed[: ENC_BYTES - 32] + point + sealed[ENC_BYTES:], INFO)


@settings(max_examples=200, deadline=None)
@given(hostile=st.binary(max_size=1500), info=st.binary(max_size=50))
def test_any_bytes_are_refused_and_raise_nothing_else(hostile: bytes, info: bytes) -> None:
    with pytest.raises(IntegrityError):
        KEY.open(hostile, info)


@pytest.mark.parametrize(
    "public",
    [
        "",
        KEY.public[:-2],
        KEY.public + "00",
        KEY.public.upper(),
        KEY.public[:-1] + "g",
        KEY.public[:-1] + "\n",
        "00" * 1216,
        "ff" * 1216,
        (b"\xff" * 1184 + PUBLIC[1184:]).hex(),  # coefficients past the modulus
        (PUBLIC[:1184] + bytes(32)).hex(),  # a point of low order
    ],
)
def test_a_hostile_round_key_is_refused_before_anything_is_sealed_to_it(public: str) -> None:
    with pytest.raises(IntegrityError, match="round key"):
        seal(PLAIN, public, INFO)


def test_a_seed_of_another_length_is_a_programmers_error() -> None:
    with pytest.raises(ValueError, match="96 bytes, got 95"):
        RoundKey.from_seed(bytes(95))
