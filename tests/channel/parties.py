"""Round 7 of a federation of clinics: its members, its round key, and envelopes as honest members send them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from phalanx.canonical import digest
from phalanx.channel.envelope import Directory, Opened, Terms, accept, compose, open_envelopes, update_terms, wrap
from phalanx.channel.keys import RoundKey, seal
from phalanx.signing import SigningKey
from phalanx.types import Binding, Layout, MemberId, Refusal, SealedUpdate, TensorSpec, member_id

LAYOUT = Layout((TensorSpec("weight", (2, 3), 0), TensorSpec("bias", (3,), 6)))
BINDING = Binding(
    federation="clinics",
    run="0011223344556677",
    round=7,
    attempt=1,
    model=digest("model", b"the incumbent"),
    config=digest("config", b"as agreed"),
    nonce="ab" * 16,
)
TERMS = update_terms(BINDING, LAYOUT)
ALICE, BOB, REVOKED, LONG = (member_id(name) for name in ("alice", "bob", "closed-clinic", "z" * 63))
MALLORY = member_id("mallory")  # in no roster
KEYS = {
    name: SigningKey.from_seed(hashlib.sha256(name.encode()).digest()) for name in (ALICE, BOB, REVOKED, LONG, MALLORY)
}
DIRECTORY = Directory({name: KEYS[name].public for name in (ALICE, BOB, REVOKED, LONG)}, frozenset({REVOKED}))
ROUND_KEY = RoundKey.from_seed(bytes(range(96)))
LAST_KEY = RoundKey.from_seed(bytes(range(1, 97)))  # of round 6
FIELDS = {"examples": 150, "salt": "0" * 64, "tensors": LAYOUT.as_json()}
PAYLOAD = bytes(range(36))


def sealed(
    member: MemberId,
    *,
    terms: Terms = TERMS,
    key: SigningKey | None = None,
    fields: Any = FIELDS,
    payload: bytes = PAYLOAD,
    to: RoundKey = ROUND_KEY,
) -> bytes:
    """An honest member's envelope unless told otherwise."""
    return wrapped(member, compose(terms, member, key or KEYS[member], fields, payload), terms, to)


def wrapped(member: MemberId, plaintext: bytes, terms: Terms = TERMS, to: RoundKey = ROUND_KEY) -> bytes:
    """The envelope around a plaintext of the member's own making."""
    return wrap(terms, member, seal(plaintext, to.public, terms.header(member)))


def receive(
    *delivered: tuple[MemberId, bytes], terms: Terms = TERMS, key: RoundKey = ROUND_KEY
) -> tuple[list[Opened], list[Refusal]]:
    """What the receiver makes of what the courier delivers, each as somebody's."""
    taken = [accept(terms, sender, envelope) for sender, envelope in delivered]
    opened, refused = open_envelopes([one for one in taken if isinstance(one, SealedUpdate)], terms, key, DIRECTORY)
    return opened, [one for one in taken if isinstance(one, Refusal)] + refused


def other(**changes: Any) -> Terms:
    """The terms of another attempt: the same but for `changes` of the binding."""
    return replace(TERMS, binding=replace(BINDING, **changes))


def frame(part: bytes) -> bytes:
    """A part with its length, as on the wire."""
    return len(part).to_bytes(4, "big") + part
