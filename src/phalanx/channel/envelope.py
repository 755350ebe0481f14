"""A member's answer: signed by the member, sealed to the round key, bound to one attempt, padded to one size.

    envelope  = length(4) ‖ header ‖ HPKE ciphertext                        all envelopes of a round: `Terms.size` bytes
    header    = canonical JSON: binding, kind, sender                       public; also the HPKE info
    plaintext = length(4) ‖ manifest ‖ length(4) ‖ payload ‖ signature(64) ‖ zeros
    manifest  = canonical JSON: binding, fields, kind, member, payload hash
    signature = the member's over the manifest's hash (the receipt) and the binding

What the courier learns: who answered, in which round, and when. What a changed bit costs: that answer, with a reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from phalanx.canonical import decode, digest, encode
from phalanx.channel.keys import OVERHEAD_BYTES, RoundKey
from phalanx.errors import BadSignature, IntegrityError, NotCanonical
from phalanx.signing import SigningKey, receipt_statement, verify
from phalanx.types import Binding, Layout, MemberId, Reason, Refusal, SealedUpdate, Tally, Update, Vote

UPDATE = "update"
BALLOT = "ballot"
_MAX_HEADER = 4096
_ROOM = 8192  # for header, manifest and signature, besides tensors' names and payload
_SIGNATURE_BYTES = 64
SALT_BYTES = 32  # secret: a receipt in the public log must not confirm a guess of what was sent
_SALT = re.compile(r"[0-9a-f]{64}")
_WRONG = {
    "federation": Reason.WRONG_FEDERATION,
    "run": Reason.WRONG_RUN,
    "round": Reason.WRONG_ROUND,
    "attempt": Reason.WRONG_ATTEMPT,
    "model": Reason.WRONG_MODEL,
    "config": Reason.WRONG_CONFIG,
    "nonce": Reason.WRONG_NONCE,
}


@dataclass(frozen=True, slots=True)
class Terms:
    """What an answer of this attempt must be: bound so, of this kind, of exactly this many bytes."""

    binding: Binding
    kind: str
    size: int

    def header(self, sender: MemberId) -> bytes:
        """The public header of `sender`'s envelope."""
        return _header(self, sender)


@lru_cache(maxsize=4096)
def _header(terms: Terms, sender: MemberId) -> bytes:
    """The one canonical header; member and receiver ask for it several times an envelope."""
    return encode({"binding": terms.binding.as_json(), "kind": terms.kind, "sender": sender})


@dataclass(frozen=True, slots=True)
class Directory:
    """Public keys by member, and who was revoked."""

    keys: Mapping[MemberId, str]
    revoked: frozenset[MemberId] = frozenset()


@dataclass(frozen=True, slots=True)
class Opened:
    """The inside of an envelope whose signature holds. `fields` are the member's statements, not yet checked."""

    member: MemberId
    fields: Any
    payload: bytes = field(repr=False)
    receipt: str
    signature: str


@dataclass(frozen=True, slots=True)
class Ballot:
    """What `member` says of a candidate, not yet judged. `receipt` and `signature` as in an `Update`."""

    member: MemberId
    content: Tally | Vote
    receipt: str
    signature: str


def update_terms(binding: Binding, layout: Layout) -> Terms:
    """The terms of an update: room for the layout's statement and the payload."""
    return Terms(binding, UPDATE, _ROOM + OVERHEAD_BYTES + len(encode(layout.as_json())) + layout.nbytes)


def ballot_terms(binding: Binding, classes: int) -> Terms:
    """The terms of a ballot over `classes` classes, of one length whether it holds counts or a vote.

    `binding` is the attempt's with the candidate's hash as its model: what the ballot is about.
    """
    return Terms(binding, BALLOT, _ROOM + OVERHEAD_BYTES + 64 * classes)


# ---------------------------------------------------------------------------------------------------- the member's side


def compose(terms: Terms, member: MemberId, key: SigningKey, fields: Any, payload: bytes) -> bytes:
    """The signed and padded plaintext of `member`'s answer. Raises ValueError if it does not fit `terms.size`."""
    binding = terms.binding.as_json()
    manifest = encode(
        {
            "binding": binding,
            "fields": fields,
            "kind": terms.kind,
            "member": member,
            "payload": digest("payload", payload),
        }
    )
    signature = bytes.fromhex(key.sign(terms.kind, receipt_statement(binding, receipt_of(manifest))))
    body = _framed(manifest) + _framed(payload) + signature
    room = terms.size - 4 - len(terms.header(member)) - OVERHEAD_BYTES
    if len(body) > room:
        raise ValueError(f"an answer of {len(body)} bytes does not fit the {room} bytes of this round")
    return body + bytes(room - len(body))


def wrap(terms: Terms, member: MemberId, ciphertext: bytes) -> bytes:
    """The envelope around sealed bytes."""
    return _framed(terms.header(member)) + ciphertext


def receipt_of(manifest: bytes) -> str:
    """The hash that the member signs and the log holds. Secret salt in fields or payload: no guess can be confirmed."""
    return digest("receipt", manifest)


# -------------------------------------------------------------------------------------------------- the receiver's side


def accept(terms: Terms, sender: MemberId, envelope: bytes) -> SealedUpdate | Refusal:
    """The envelope, if it has exactly this round's size. Looks at nothing else."""
    if len(envelope) != terms.size:
        found = f"{len(envelope)} bytes" if len(envelope) < terms.size else "more bytes"
        return Refusal(sender, Reason.WRONG_SIZE, f"{found}, expected {terms.size}")
    return SealedUpdate(sender, envelope)


def open_envelopes(
    sealed: Sequence[SealedUpdate], terms: Terms, key: RoundKey, directory: Directory
) -> tuple[list[Opened], list[Refusal]]:
    """Every envelope that opens, in the order given, and a refusal for each that does not or that came before."""
    opened: list[Opened] = []
    refused: list[Refusal] = []
    seen: set[SealedUpdate] = set()  # bytes with their sender: a copy under another name must not spend the original
    for envelope in sealed:
        result = (
            Refusal(envelope.sender, Reason.REPLAY, "these bytes came before in this round")
            if envelope in seen
            else _open(envelope, terms, key, directory)
        )
        seen.add(envelope)
        if isinstance(result, Refusal):
            refused.append(result)
        else:
            opened.append(result)
    return opened, refused


def open_update(opened: Opened) -> Update | Refusal:
    """The update inside an opened envelope of kind `update`: the member's statements, not yet screened."""
    match opened.fields:
        case {"examples": examples, "salt": str(salt), "tensors": tensors, **rest} if not rest and _SALT.fullmatch(
            salt
        ):
            return Update(opened.member, tensors, opened.payload, examples, opened.receipt, opened.signature)
        case _:
            return Refusal(opened.member, Reason.MALFORMED, "an update states its tensors, its examples and a salt")


def open_ballot(opened: Opened) -> Ballot | Refusal:
    """The ballot inside an opened envelope of kind `ballot`: counts or a vote, of the right types, not yet judged."""
    salted = len(opened.payload) == SALT_BYTES
    content = _tally(opened.fields) or _vote(opened.fields) if salted else None
    if content is None:
        detail = "a ballot holds four lists of counts, or a vote and a bucket of accuracy, and whether all was finite"
        return Refusal(opened.member, Reason.BAD_BALLOT, detail)
    return Ballot(opened.member, content, opened.receipt, opened.signature)


def _tally(fields: Any) -> Tally | None:
    """A hostile JSON value as a tally, or None."""
    match fields:
        case {
            "better": list(better),
            "finite": bool(finite),
            "right": list(right),
            "total": list(total),
            "worse": list(worse),
            **rest,
        } if not rest and all(map(_is_count, [*better, *right, *total, *worse])):
            return Tally(tuple(worse), tuple(better), tuple(right), tuple(total), finite)
    return None


def _vote(fields: Any) -> Vote | None:
    """A hostile JSON value as a vote, or None."""
    match fields:
        case {"accuracy": int(accuracy), "finite": bool(finite), "worse": bool(worse), **rest} if not rest and (
            accuracy == -1 or _is_count(accuracy)
        ):
            return Vote(worse, accuracy, finite)
    return None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _open(sealed: SealedUpdate, terms: Terms, key: RoundKey, directory: Directory) -> Opened | Refusal:
    """One envelope, checked from the outside in: what is cheap and public first."""
    sender = sealed.sender
    try:
        header, ciphertext = _unframed(sealed.envelope, _MAX_HEADER)
        refusal = _check_header(header, sender, terms, directory)
        if refusal is not None:
            return refusal
    except (NotCanonical, KeyError, TypeError) as error:
        return Refusal(sender, Reason.MALFORMED, f"header: {error}")
    try:
        plaintext = key.open(ciphertext, header)
    except IntegrityError as error:
        return Refusal(sender, Reason.ALTERED, str(error))
    try:
        return _open_plaintext(plaintext, sender, terms, directory.keys[sender])
    except BadSignature as error:
        return Refusal(sender, Reason.BAD_SIGNATURE, str(error))
    except (NotCanonical, KeyError, TypeError) as error:
        return Refusal(sender, Reason.MALFORMED, f"inside the seal: {error}")


def _check_header(header: bytes, sender: MemberId, terms: Terms, directory: Directory) -> Refusal | None:
    """The public header against the one that this attempt expects of `sender`; if another, why. Raises NotCanonical."""
    expected_header = header == terms.header(sender)
    stated: Any = {"sender": sender} if expected_header else decode(header)
    if stated["sender"] != sender:
        return Refusal(sender, Reason.WRONG_SENDER, "the header names another sender than the courier")
    if sender not in directory.keys:
        return Refusal(sender, Reason.UNKNOWN_MEMBER, "not on the roster")
    if sender in directory.revoked:
        return Refusal(sender, Reason.REVOKED_MEMBER, "revoked")
    if expected_header:
        return None
    expected = terms.binding.as_json()
    for name, reason in _WRONG.items():
        if stated["binding"][name] != expected[name]:
            return Refusal(sender, reason, f"{name} {str(stated['binding'][name])[:40]!r}, expected {expected[name]!r}")
    if stated["kind"] != terms.kind:
        return Refusal(sender, Reason.WRONG_KIND, f"{str(stated['kind'])[:20]!r}, expected {terms.kind!r}")
    raise NotCanonical("fields that a header does not have")


def _open_plaintext(plaintext: bytes, sender: MemberId, terms: Terms, public: str) -> Opened:
    """Manifest, payload and signature. Raises NotCanonical or BadSignature."""
    manifest, rest = _unframed(plaintext, len(plaintext))
    payload, rest = _unframed(rest, len(rest))
    signature, padding = rest[:_SIGNATURE_BYTES].hex(), rest[_SIGNATURE_BYTES:]
    receipt, binding = receipt_of(manifest), terms.binding.as_json()
    verify(public, terms.kind, receipt_statement(binding, receipt), signature)
    stated = decode(manifest)
    if not isinstance(stated, dict):
        raise NotCanonical("a manifest is an object")
    expected = {"binding": binding, "kind": terms.kind, "member": sender}
    expected["payload"] = digest("payload", payload)
    if {name: value for name, value in stated.items() if name != "fields"} != expected or padding.strip(b"\0"):
        raise NotCanonical("the signed manifest does not fit the envelope around it")
    return Opened(sender, stated["fields"], payload, receipt, signature)


def _framed(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _unframed(data: bytes, limit: int) -> tuple[bytes, bytes]:
    """The first framed part and the rest. Raises NotCanonical for a length that is not there or above `limit`."""
    size = int.from_bytes(data[:4], "big")
    if len(data) < 4 or size > limit or 4 + size > len(data):
        raise NotCanonical(f"a part says it has {size} bytes")
    return data[4 : 4 + size], data[4 + size :]
