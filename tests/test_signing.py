"""Ed25519 as published, one form of keys and signatures, and no signature that serves two purposes or two signers."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from phalanx import signing
from phalanx.canonical import message
from phalanx.errors import BadSignature
from phalanx.signing import SigningKey, fingerprint, is_public_key, verify

KEY, OTHER = (SigningKey.from_seed(bytes([n]) * 32) for n in (1, 2))
ORDER = 2**252 + 27742317777372353535851937790883648493  # of the base point: RFC 8032, section 5.1

# RFC 8032, section 7.1, tests 1 to 3: seed, public key, message, signature.
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24"
        "655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aee"
        "b00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28d"
        "c027beceea1ec40a",
    ),
]
IDENTITY = "01" + "00" * 31
SMALL_ORDER = [
    "00" * 32,
    IDENTITY,
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ec" + "ff" * 30 + "7f",
    "ed" + "ff" * 30 + "7f",
    "ee" + "ff" * 30 + "7f",
]


@pytest.mark.parametrize(("seed", "public", "text", "signature"), RFC_8032)
def test_keys_and_signatures_are_those_of_rfc_8032(
    seed: str, public: str, text: str, signature: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "message", lambda purpose, payload: payload)  # the RFC signs bare messages
    key = SigningKey.from_seed(bytes.fromhex(seed))
    assert key.public == public and key.seed.hex() == seed
    assert key.sign("update", bytes.fromhex(text)) == signature
    verify(public, "update", bytes.fromhex(text), signature)


@given(payload=st.binary(max_size=64), purpose=st.sampled_from(["update", "order", "x"]))
def test_what_a_key_signed_verifies(payload: bytes, purpose: str) -> None:
    verify(KEY.public, purpose, payload, KEY.sign(purpose, payload))


def test_a_signature_for_one_purpose_is_none_for_another() -> None:
    signature = KEY.sign("update", b"receipt")
    for purpose in ("ballot", "updat", "updates", "", "UPDATE"):
        with pytest.raises(BadSignature, match="does not verify"):
            verify(KEY.public, purpose, b"receipt", signature)


def test_without_its_purpose_a_signed_update_passes_as_a_ballot(monkeypatch: pytest.MonkeyPatch) -> None:
    """The off twin."""
    monkeypatch.setattr(signing, "message", lambda purpose, payload: payload)
    verify(KEY.public, "ballot", b"receipt", KEY.sign("update", b"receipt"))


def test_another_key_another_payload_or_another_bit_do_not_verify() -> None:
    signature = KEY.sign("update", b"receipt")
    flipped = [f"{int(signature, 16) ^ 1 << bit:0128x}" for bit in range(0, 512, 7)]
    forged = [(OTHER.public, b"receipt", signature), (KEY.public, b"Receipt", signature), (KEY.public, b"", signature)]
    for public, payload, claimed in (*forged, *((KEY.public, b"receipt", one) for one in flipped)):
        with pytest.raises(BadSignature):
            verify(public, "update", payload, claimed)


def test_a_signature_with_the_group_order_added_is_refused() -> None:
    """Malleability: S + L would verify under a lax verifier, and one signature would have two names in the log."""
    signature = bytes.fromhex(KEY.sign("update", b"receipt"))
    s = int.from_bytes(signature[32:], "little") + ORDER
    with pytest.raises(BadSignature):
        verify(KEY.public, "update", b"receipt", (signature[:32] + s.to_bytes(32, "little")).hex())


@pytest.mark.parametrize("change", [str.upper, str.title, lambda text: text + "00", lambda text: text[:-2]])
@pytest.mark.parametrize("which", ["public", "signature"])
def test_only_lower_case_hexadecimal_of_the_right_length_is_read(which: str, change: type[str]) -> None:
    signature = KEY.sign("update", b"")
    public, claimed = (change(KEY.public), signature) if which == "public" else (KEY.public, change(signature))
    with pytest.raises(BadSignature, match="lower-case hexadecimal"):
        verify(public, "update", b"", claimed)


@given(public=st.text(max_size=130), signature=st.text(max_size=130))
def test_any_text_as_key_and_signature_raises_our_error_alone(public: str, signature: str) -> None:
    with pytest.raises(BadSignature):
        verify(public, "update", b"", signature)


@given(public=st.binary(min_size=32, max_size=32), signature=st.binary(min_size=64, max_size=64))
def test_any_bytes_of_the_right_length_raise_our_error_alone(public: bytes, signature: bytes) -> None:
    with pytest.raises(BadSignature):
        verify(public.hex(), "update", b"", signature.hex())


def keyless_forgery(public: str) -> bytes:
    """A payload for which R = identity, S = 0 verifies under `public`, as OpenSSL sees it. Nobody's secret is used."""
    for number in range(200):  # one in eight does where the point's order is eight
        payload = str(number).encode()
        try:
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(
                bytes.fromhex(IDENTITY) + bytes(32), message("update", payload)
            )
        except (InvalidSignature, ValueError):
            continue
        return payload
    raise AssertionError(f"{public} is no point of small order")


@pytest.mark.parametrize("public", SMALL_ORDER)
@pytest.mark.parametrize("sign", [0, 0x80])
def test_a_key_under_which_anybody_can_sign_is_no_key(public: str, sign: int) -> None:
    """The attacker enrols such a key and later disowns every update. The off twin: OpenSSL accepts the forgery."""
    public = public[:62] + f"{int(public[62:], 16) | sign:02x}"
    assert not is_public_key(public)
    if sign and public[:62] in (IDENTITY[:62], SMALL_ORDER[4][:62], SMALL_ORDER[6][:62]):
        payload = b""  # x = 0 has no odd root: some decoders refuse these, and so do we
    else:
        payload = keyless_forgery(public)
    with pytest.raises(BadSignature, match="anybody can sign"):
        verify(public, "update", payload, IDENTITY + "00" * 32)


def test_honest_keys_are_keys() -> None:
    assert all(is_public_key(SigningKey.from_seed(bytes([n]) * 32).public) for n in range(50))


def test_a_key_hides_its_seed_and_has_one_of_32_bytes() -> None:
    assert KEY.seed.hex() not in repr(KEY) and "PrivateKey" not in repr(KEY)
    for size in (0, 31, 33):
        with pytest.raises(ValueError, match=f"32 bytes, got {size}"):
            SigningKey.from_seed(bytes(size))


def test_a_fingerprint_names_one_public_key() -> None:
    expected = hashlib.sha256(b"phalanx/v1/fingerprint\0" + bytes.fromhex(KEY.public)).hexdigest()
    assert fingerprint(KEY.public) == f"sha256:{expected}" != fingerprint(OTHER.public)
