"""Who the channel refuses, and for what: a recording courier, members that lie, and bytes from nowhere."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phalanx.canonical import decode, digest, encode
from phalanx.channel import envelope as module
from phalanx.channel.envelope import (
    BALLOT,
    SALT_BYTES,
    Ballot,
    Opened,
    Terms,
    ballot_terms,
    compose,
    open_ballot,
    open_envelopes,
    open_update,
    receipt_of,
    update_terms,
    wrap,
)
from phalanx.channel.keys import OVERHEAD_BYTES, RoundKey, seal
from phalanx.errors import BadSignature, IntegrityError
from phalanx.signing import receipt_statement, verify
from phalanx.types import (
    Binding,
    Layout,
    MemberId,
    Reason,
    Refusal,
    SealedUpdate,
    Tally,
    TensorSpec,
    Update,
    Vote,
    member_id,
)
from tests.channel.parties import (
    ALICE,
    BINDING,
    BOB,
    DIRECTORY,
    FIELDS,
    KEYS,
    LAST_KEY,
    LAYOUT,
    LONG,
    MALLORY,
    PAYLOAD,
    REVOKED,
    ROUND_KEY,
    TERMS,
    frame,
    other,
    receive,
    sealed,
    wrapped,
)

CHANNEL_REASONS = {
    *(Reason.WRONG_SIZE, Reason.MALFORMED, Reason.UNKNOWN_MEMBER, Reason.REVOKED_MEMBER, Reason.WRONG_SENDER),
    *(Reason.WRONG_FEDERATION, Reason.WRONG_RUN, Reason.WRONG_ROUND, Reason.WRONG_ATTEMPT, Reason.WRONG_MODEL),
    *(Reason.WRONG_CONFIG, Reason.WRONG_NONCE, Reason.WRONG_KIND, Reason.ALTERED, Reason.BAD_SIGNATURE),
    *(Reason.REPLAY, Reason.BAD_BALLOT),
}
ELSEWHERE: dict[str, Any] = {
    "federation": "hospices",
    "run": "8899aabbccddeeff",
    "round": 6,
    "attempt": 2,
    "model": digest("model", b"last month's"),
    "config": digest("config", b"without a floor"),
    "nonce": "cd" * 16,
}
OLD = {name: other(**{name: value}) for name, value in ELSEWHERE.items()}
_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(-1e9, 1e9)
    | st.text("ab\0é", max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abk", max_size=6), inner, max_size=4),
    max_leaves=12,
)


def test_an_honest_update_opens_and_its_signature_is_the_members_over_receipt_and_binding() -> None:
    opened, refused = receive((ALICE, sealed(ALICE)), (BOB, sealed(BOB)))
    assert refused == [] and [one.member for one in opened] == [ALICE, BOB]
    update = open_update(opened[0])
    assert isinstance(update, Update)
    assert (update.member, update.payload, update.claimed_examples) == (ALICE, PAYLOAD, 150)
    assert update.tensors == LAYOUT.as_json()
    verify(KEYS[ALICE].public, "update", receipt_statement(TERMS.binding.as_json(), update.receipt), update.signature)


# ------------------------------------------------------------------------------------------------------ the attackers


def only(reason: tuple[list[Opened], list[Refusal]], sender: MemberId) -> Reason:
    """The one refusal's reason, where nothing opened."""
    opened, refused = reason
    assert opened == [] and len(refused) == 1 and refused[0].member == sender
    return refused[0].reason


def replayed_from(name: str) -> Callable[[], Reason]:
    """A recording courier replays what it kept of another attempt, header and all."""
    return lambda: only(receive((ALICE, sealed(ALICE, terms=OLD[name], to=LAST_KEY))), ALICE)


def relabelled_from(name: str) -> Callable[[], Reason]:
    """The same courier, which also writes this attempt's header on it. Even the round key is still the same one."""
    kept = sealed(ALICE, terms=OLD[name])
    ciphertext = kept[len(frame(OLD[name].header(ALICE))) :]
    forged = (frame(TERMS.header(ALICE)) + ciphertext)[: TERMS.size].ljust(TERMS.size, b"\0")
    return lambda: only(receive((ALICE, forged)), ALICE)


def one_byte_short() -> Reason:
    return only(receive((ALICE, sealed(ALICE)[:-1])), ALICE)


def longer_to_be_traced() -> Reason:
    return only(receive((ALICE, sealed(ALICE) + b"\0")), ALICE)


def noise_of_the_right_size() -> Reason:
    return only(receive((ALICE, b"\xff" * TERMS.size)), ALICE)


def a_header_with_a_field_more() -> Reason:
    header = encode({"binding": BINDING.as_json(), "kind": "update", "sender": ALICE, "tracking": 1})
    return only(receive((ALICE, frame(header).ljust(TERMS.size, b"\0"))), ALICE)


def a_header_that_is_not_canonical() -> Reason:
    header = TERMS.header(ALICE).replace(b":", b": ", 1)
    return only(receive((ALICE, frame(header).ljust(TERMS.size, b"\0"))), ALICE)


def a_header_whose_round_is_true() -> Reason:
    first = other(round=1)
    header = first.header(ALICE).replace(b'"round":1', b'"round":true')
    return only(receive((ALICE, frame(header).ljust(TERMS.size, b"\0")), terms=first), ALICE)


def a_stranger_with_a_key_of_its_own() -> Reason:
    return only(receive((MALLORY, sealed(MALLORY))), MALLORY)


def a_revoked_member_whose_key_still_works() -> Reason:
    return only(receive((REVOKED, sealed(REVOKED))), REVOKED)


def anothers_envelope_as_ones_own() -> Reason:
    return only(receive((BOB, sealed(ALICE))), BOB)


def a_ballot_where_an_update_was_asked() -> Reason:
    return only(receive((ALICE, sealed(ALICE, terms=replace(TERMS, kind=BALLOT)))), ALICE)


def sealed_to_last_rounds_key() -> Reason:
    return only(receive((ALICE, sealed(ALICE, to=LAST_KEY))), ALICE)


def anothers_ciphertext_under_ones_own_header() -> Reason:
    stolen = sealed(ALICE)[len(frame(TERMS.header(ALICE))) :]
    return only(receive((BOB, (frame(TERMS.header(BOB)) + stolen)[: TERMS.size].ljust(TERMS.size, b"\0"))), BOB)


def a_member_that_seals_under_anothers_name() -> Reason:
    return only(receive((ALICE, sealed(ALICE, key=KEYS[BOB]))), ALICE)


def a_signature_made_for_a_ballot() -> Reason:
    right = compose(TERMS, ALICE, KEYS[ALICE], FIELDS, PAYLOAD)
    size = int.from_bytes(right[:4], "big")
    statement = receipt_statement(TERMS.binding.as_json(), receipt_of(right[4 : 4 + size]))
    update, ballot = (bytes.fromhex(KEYS[ALICE].sign(kind, statement)) for kind in ("update", BALLOT))
    assert update in right
    return only(receive((ALICE, wrapped(ALICE, right.replace(update, ballot)))), ALICE)


def a_signature_over_another_binding() -> Reason:
    right = compose(TERMS, ALICE, KEYS[ALICE], FIELDS, PAYLOAD)
    size = int.from_bytes(right[:4], "big")
    receipt = receipt_of(right[4 : 4 + size])
    bindings = [terms.binding.as_json() for terms in (TERMS, OLD["round"])]
    here, there = (bytes.fromhex(KEYS[ALICE].sign("update", receipt_statement(b, receipt))) for b in bindings)
    assert here in right
    return only(receive((ALICE, wrapped(ALICE, right.replace(here, there)))), ALICE)


def the_same_bytes_twice() -> Reason:
    envelope = sealed(ALICE)
    opened, refused = receive((ALICE, envelope), (ALICE, envelope))
    assert [one.member for one in opened] == [ALICE]
    return refused[0].reason


def a_ballot_of_negative_counts() -> Reason:
    terms = ballot_terms(BINDING, 2)
    fields = {"better": [0, 1], "finite": True, "right": [0, 1], "total": [5, 5], "worse": [0, -1]}
    opened, _ = receive((ALICE, sealed(ALICE, terms=terms, fields=fields, payload=SALT)), terms=terms)
    ballot = open_ballot(opened[0])
    assert isinstance(ballot, Refusal) and ballot.member == ALICE
    return ballot.reason


ATTACKS: list[tuple[Reason, Callable[[], Reason]]] = [
    (Reason.WRONG_SIZE, one_byte_short),
    (Reason.WRONG_SIZE, longer_to_be_traced),
    (Reason.MALFORMED, noise_of_the_right_size),
    (Reason.MALFORMED, a_header_with_a_field_more),
    (Reason.MALFORMED, a_header_that_is_not_canonical),
    (Reason.MALFORMED, a_header_whose_round_is_true),
    (Reason.UNKNOWN_MEMBER, a_stranger_with_a_key_of_its_own),
    (Reason.REVOKED_MEMBER, a_revoked_member_whose_key_still_works),
    (Reason.WRONG_SENDER, anothers_envelope_as_ones_own),
    *((Reason(f"wrong-{name}"), replayed_from(name)) for name in ELSEWHERE),
    *((Reason.ALTERED, relabelled_from(name)) for name in ELSEWHERE),
    (Reason.WRONG_KIND, a_ballot_where_an_update_was_asked),
    (Reason.ALTERED, sealed_to_last_rounds_key),
    (Reason.ALTERED, anothers_ciphertext_under_ones_own_header),
    (Reason.BAD_SIGNATURE, a_member_that_seals_under_anothers_name),
    (Reason.BAD_SIGNATURE, a_signature_made_for_a_ballot),
    (Reason.BAD_SIGNATURE, a_signature_over_another_binding),
    (Reason.REPLAY, the_same_bytes_twice),
    (Reason.BAD_BALLOT, a_ballot_of_negative_counts),
]


@pytest.mark.parametrize(("reason", "attack"), ATTACKS)
def test_each_attack_on_the_channel_is_refused_with_its_own_reason(
    reason: Reason, attack: Callable[[], Reason]
) -> None:
    assert attack() is reason


def test_every_reason_of_the_channel_has_its_attacker() -> None:
    assert {reason for reason, _ in ATTACKS} == CHANNEL_REASONS


def test_a_copy_of_anothers_envelope_does_not_spend_the_original() -> None:
    """An eavesdropper whose name comes first sends what it saw as its own, to have the honest one called a replay."""
    envelope = sealed(BOB)
    opened, refused = receive((ALICE, envelope), (BOB, envelope))
    assert [one.member for one in opened] == [BOB]
    assert [(one.member, one.reason) for one in refused] == [(ALICE, Reason.WRONG_SENDER)]


def test_a_refused_envelope_leaves_the_others_alone_and_in_order() -> None:
    stranger, bob, alice = sealed(MALLORY), sealed(BOB), sealed(ALICE)
    opened, refused = receive((BOB, bob), (MALLORY, stranger), (ALICE, alice), (BOB, bob), (LONG, b""))
    assert [one.member for one in opened] == [BOB, ALICE]
    assert [(one.member, one.reason) for one in refused] == [
        (LONG, Reason.WRONG_SIZE),
        (MALLORY, Reason.UNKNOWN_MEMBER),
        (BOB, Reason.REPLAY),
    ]


# ------------------------------------------------------------------------------------------------------- the off twins


def test_without_its_memory_a_receiver_counts_a_replayed_envelope_twice() -> None:
    taken = SealedUpdate(ALICE, sealed(ALICE))
    first, second = (open_envelopes([taken], TERMS, ROUND_KEY, DIRECTORY)[0][0] for _ in range(2))
    assert first == second


def test_without_the_binding_in_its_info_a_kept_envelope_opens_under_a_new_header() -> None:
    """Two attempts under one round key: what the courier kept of round 6 opens in round 7 unless the info differs."""
    old = compose(OLD["round"], ALICE, KEYS[ALICE], FIELDS, PAYLOAD)
    unbound = seal(old, ROUND_KEY.public, b"")
    assert ROUND_KEY.open(unbound, b"") == old
    bound = seal(old, ROUND_KEY.public, OLD["round"].header(ALICE))
    with pytest.raises(IntegrityError, match="do not open"):
        ROUND_KEY.open(bound, TERMS.header(ALICE))
    # And the second fence: what was signed inside is still of round 6.
    again = wrapped(ALICE, old[: TERMS.size - len(frame(TERMS.header(ALICE))) - OVERHEAD_BYTES])
    assert only(receive((ALICE, again)), ALICE) is Reason.BAD_SIGNATURE


def test_without_the_signature_a_member_speaks_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    forged = sealed(ALICE, key=KEYS[BOB], payload=bytes(36))
    assert only(receive((ALICE, forged)), ALICE) is Reason.BAD_SIGNATURE
    monkeypatch.setattr(module, "verify", lambda *arguments: None)
    opened, _ = receive((ALICE, forged))
    assert opened[0].member == ALICE and opened[0].payload == bytes(36)


def test_without_the_padding_the_length_tells_members_and_claims_apart() -> None:
    claims = [{"examples": claim, "salt": "0" * 64, "tensors": LAYOUT.as_json()} for claim in (9, 123_456)]
    bodies = [compose(TERMS, ALICE, KEYS[ALICE], fields, PAYLOAD).rstrip(b"\0") for fields in claims]
    assert len(bodies[0]) != len(bodies[1])
    assert len(sealed(ALICE, fields=claims[0])) == len(sealed(LONG, fields=claims[1])) == TERMS.size


# --------------------------------------------------------------------------------------------- what the courier can see


@settings(max_examples=40, deadline=None)
@given(
    name=st.from_regex(r"[a-z0-9-]{1,63}", fullmatch=True),
    size=st.integers(0, LAYOUT.nbytes),
    examples=st.integers(0, 2**53 - 1),
)
def test_all_envelopes_of_a_round_have_one_length(name: str, size: int, examples: int) -> None:
    fields = {"examples": examples, "salt": "0" * 64, "tensors": LAYOUT.as_json()}
    assert len(sealed(member_id(name), key=KEYS[ALICE], fields=fields, payload=bytes(size))) == TERMS.size


def test_the_longest_names_and_largest_numbers_fit() -> None:
    longest = Binding("f" * 63, "e" * 64, 2**53 - 1, 2**53 - 1, "a" * 64, "b" * 64, "c" * 32)
    layout = Layout(tuple(TensorSpec(f"läyer-{i}\n", (2, 3), 6 * i) for i in range(200)))
    fields = {"examples": 2**53 - 1, "salt": "0" * 64, "tensors": layout.as_json()}
    update = update_terms(longest, layout)
    assert len(sealed(LONG, terms=update, fields=fields, payload=bytes(layout.nbytes))) == update.size
    ballot = ballot_terms(longest, 1000)
    counts = [2**31 - 1] * 1000
    fields = {"better": counts, "finite": False, "right": counts, "total": counts, "worse": counts}
    assert len(sealed(LONG, terms=ballot, fields=fields, payload=b"")) == ballot.size


def test_what_does_not_fit_the_round_is_never_sent() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        compose(TERMS, ALICE, KEYS[ALICE], FIELDS, bytes(TERMS.size))


def test_the_courier_reads_binding_kind_and_sender_and_nothing_else() -> None:
    envelope = sealed(ALICE)
    size = int.from_bytes(envelope[:4], "big")
    assert decode(envelope[4 : 4 + size]) == {"binding": BINDING.as_json(), "kind": "update", "sender": "alice"}
    assert PAYLOAD[:8] not in envelope and b"examples" not in envelope


def test_the_same_answer_sealed_twice_shares_no_part_of_its_ciphertext() -> None:
    plain = len(frame(TERMS.header(ALICE)))
    first, second = sealed(ALICE), sealed(ALICE)
    assert first[:plain] == second[:plain]
    blocks = [{sent[i : i + 16] for i in range(plain, len(sent), 16)} for sent in (first, second)]
    assert not blocks[0] & blocks[1]


def test_two_equal_updates_of_two_rounds_have_different_receipts() -> None:
    """The nonce salts the log's hash: who knows an update cannot find it in the log of another attempt."""
    receipts = []
    for terms in (TERMS, OLD["nonce"]):
        opened, _ = receive((ALICE, sealed(ALICE, terms=terms)), terms=terms)
        receipts.append(opened[0].receipt)
    assert receipts[0] != receipts[1]


def test_no_payload_and_no_private_key_shows_in_a_repr() -> None:
    opened, _ = receive((ALICE, sealed(ALICE)))
    update = open_update(opened[0])
    assert repr(PAYLOAD)[2:-1] not in repr(opened[0]) + repr(update)
    assert "PrivateKey" not in repr(ROUND_KEY)


# ------------------------------------------------------------------------------------------------- altered and hostile


def test_an_envelope_with_any_byte_altered_is_refused() -> None:
    envelope = sealed(ALICE)
    public = len(frame(TERMS.header(ALICE)))
    positions = [*range(public + OVERHEAD_BYTES + 64), *range(public, len(envelope), 61), len(envelope) - 1]
    for position, bit in zip(positions, itertools.cycle(range(8))):
        altered = bytearray(envelope)
        altered[position] ^= 1 << bit
        opened, refused = receive((ALICE, bytes(altered)))
        assert (opened, len(refused)) == ([], 1), position
        assert position < public or refused[0].reason is Reason.ALTERED


@settings(max_examples=200, deadline=None)
@given(start=st.binary(max_size=300), fill=st.integers(0, 255))
def test_any_bytes_of_the_right_size_become_a_refusal(start: bytes, fill: int) -> None:
    only(receive((ALICE, start.ljust(TERMS.size, bytes([fill])))), ALICE)


@settings(max_examples=200, deadline=None)
@given(header=_json | st.fixed_dictionaries({"sender": st.just("alice"), "binding": _json, "kind": _json}))
def test_a_header_of_any_json_becomes_a_refusal(header: Any) -> None:
    only(receive((ALICE, frame(encode(header)).ljust(TERMS.size, b"\0"))), ALICE)


@settings(max_examples=100, deadline=None)
@given(deep=st.integers(1, 4000), opening=st.sampled_from([b"[", b'{"a":']))
def test_a_header_nested_to_exhaust_the_parser_becomes_a_refusal(deep: int, opening: bytes) -> None:
    header = (opening * deep)[:4096]
    assert only(receive((ALICE, frame(header).ljust(TERMS.size, b"\0"))), ALICE) is Reason.MALFORMED


def test_a_header_above_its_ceiling_is_refused_before_it_is_parsed() -> None:
    for size, detail in ((4096, "not canonical JSON"), (4097, "a part says it has 4097 bytes")):
        envelope = frame(b"[" * size).ljust(TERMS.size, b"\0")
        _, refused = receive((ALICE, envelope))
        assert refused[0].reason is Reason.MALFORMED and detail in refused[0].detail


def signed(manifest: bytes, payload: bytes = PAYLOAD, padding: bytes = b"", terms: Terms = TERMS) -> bytes:
    """The envelope of a member that signs whatever it likes."""
    signature = bytes.fromhex(
        KEYS[ALICE].sign(terms.kind, receipt_statement(terms.binding.as_json(), receipt_of(manifest)))
    )
    body = frame(manifest) + frame(payload) + signature + padding
    room = terms.size - len(frame(terms.header(ALICE))) - OVERHEAD_BYTES
    return wrapped(ALICE, body.ljust(room, b"\0")[:room], terms)


def manifest(**changes: Any) -> dict[str, Any]:
    """What an honest member signs, but for `changes`."""
    stated = {"binding": BINDING.as_json(), "fields": FIELDS, "kind": "update", "member": ALICE}
    return stated | {"payload": digest("payload", PAYLOAD)} | changes


def test_the_forger_of_these_tests_makes_an_honest_envelope_where_it_changes_nothing() -> None:
    opened, refused = receive((ALICE, signed(encode(manifest()))))
    assert refused == [] and opened[0].fields == FIELDS


@pytest.mark.parametrize(
    "hostile",
    [
        signed(encode([])),
        signed(encode("a manifest")),
        signed(encode(None)),
        signed(b"{}"),
        signed(b"not JSON"),
        signed(encode(manifest()) + b" "),
        signed(encode(manifest(member=BOB))),
        signed(encode(manifest(kind=BALLOT))),
        signed(encode(manifest(binding=OLD["nonce"].binding.as_json()))),
        signed(encode(manifest(payload=digest("payload", b"")))),
        signed(encode(manifest(more=1))),
        signed(encode({name: value for name, value in manifest().items() if name != "fields"})),
        signed(encode(manifest()), payload=PAYLOAD[:-1]),
        signed(encode(manifest()), padding=b"\0\0hidden"),
    ],
)
def test_a_member_that_signs_something_else_than_it_sends_is_refused(hostile: bytes) -> None:
    assert only(receive((ALICE, hostile)), ALICE) is Reason.MALFORMED


def test_a_plaintext_whose_lengths_lie_is_refused() -> None:
    room = TERMS.size - len(frame(TERMS.header(ALICE))) - OVERHEAD_BYTES
    for start in (b"\xff" * 4, b"\0\0\0\0\xff\xff\xff\xff", room.to_bytes(4, "big"), b""):
        hostile = wrapped(ALICE, start.ljust(room, b"\0"))
        assert only(receive((ALICE, hostile)), ALICE) in (Reason.MALFORMED, Reason.BAD_SIGNATURE)


@settings(max_examples=150, deadline=None)
@given(stated=_json | st.fixed_dictionaries({"fields": _json}).map(lambda some: manifest(**some)))
def test_whatever_a_member_signs_never_stops_the_round(stated: Any) -> None:
    opened, refused = receive((ALICE, signed(encode(stated))))
    assert len(opened) + len(refused) == 1
    for one in opened:
        assert isinstance(open_update(one), Update | Refusal)
        assert isinstance(open_ballot(one), Refusal)


@settings(max_examples=100, deadline=None)
@given(sealed_bytes=st.binary(max_size=2500))
def test_any_plaintext_under_a_good_seal_becomes_a_refusal(sealed_bytes: bytes) -> None:
    room = TERMS.size - len(frame(TERMS.header(ALICE))) - OVERHEAD_BYTES
    only(receive((ALICE, wrapped(ALICE, sealed_bytes.ljust(room, b"\0")))), ALICE)


# -------------------------------------------------------------------------------------------------- what is inside them


SALT = bytes(range(SALT_BYTES))


def opened_with(fields: Any, payload: bytes = SALT) -> Opened:
    return Opened(ALICE, fields, payload, "receipt", "signature")


@pytest.mark.parametrize(
    "fields",
    [
        None,
        [],
        "fields",
        {},
        {"examples": 1},
        {"tensors": []},
        {"examples": 1, "tensors": []},
        {"examples": 1, "salt": "00", "tensors": []},
    ],
)
def test_an_update_states_tensors_and_examples_and_nothing_else(fields: Any) -> None:
    update = open_update(opened_with(fields, PAYLOAD))
    assert isinstance(update, Refusal) and update.reason is Reason.MALFORMED


def any_of(*values: Any) -> tuple[Any, ...]:
    """Hostile values of any type."""
    return values


COUNTS: dict[str, Any] = {"better": [1, 0], "finite": True, "right": [4, 1], "total": [5, 5], "worse": [0, 2]}
VOTE: dict[str, Any] = {"accuracy": 17, "finite": True, "worse": False}


def cast(fields: Any) -> Ballot:
    """The ballot that an honest member sends and the receiver opens."""
    terms = ballot_terms(BINDING, 2)
    opened, _ = receive((ALICE, sealed(ALICE, terms=terms, fields=fields, payload=SALT)), terms=terms)
    ballot = open_ballot(opened[0])
    assert isinstance(ballot, Ballot)
    return ballot


def test_a_ballot_is_read_as_it_was_cast() -> None:
    assert cast(COUNTS).content == Tally(worse=(0, 2), better=(1, 0), right=(4, 1), total=(5, 5), finite=True)
    assert cast(VOTE).content == Vote(worse=False, accuracy=17, finite=True)
    assert cast(VOTE | {"accuracy": -1, "worse": True}).content == Vote(worse=True, accuracy=-1, finite=True)


@pytest.mark.parametrize("fields", [COUNTS, VOTE])
def test_a_ballots_signature_is_the_members_over_its_receipt_and_the_binding(fields: Any) -> None:
    ballot = cast(fields)
    assert ballot.member == ALICE
    verify(KEYS[ALICE].public, BALLOT, receipt_statement(BINDING.as_json(), ballot.receipt), ballot.signature)
    with pytest.raises(BadSignature):  # nor is it anybody's signature under an update
        verify(KEYS[ALICE].public, "update", receipt_statement(BINDING.as_json(), ballot.receipt), ballot.signature)


JUDGED, RIVAL = (ballot_terms(replace(BINDING, model=digest("model", name)), 2) for name in (b"A", b"B"))


@pytest.mark.parametrize("fields", [COUNTS, VOTE])
def test_a_ballot_on_one_candidate_is_refused_for_another(fields: Any) -> None:
    envelope = sealed(ALICE, terms=JUDGED, fields=fields, payload=SALT)
    assert len(receive((ALICE, envelope), terms=JUDGED)[0]) == 1
    assert only(receive((ALICE, envelope), terms=RIVAL), ALICE) is Reason.WRONG_MODEL


def test_an_operator_that_opens_a_ballot_and_seals_it_again_for_another_candidate_has_no_signature_for_it() -> None:
    plaintext = compose(JUDGED, ALICE, KEYS[ALICE], VOTE, SALT)
    assert only(receive((ALICE, wrapped(ALICE, plaintext, RIVAL)), terms=RIVAL), ALICE) is Reason.BAD_SIGNATURE


def test_off_twin_bound_to_the_attempt_alone_a_ballot_would_be_one_on_any_candidate() -> None:
    attempt = ballot_terms(BINDING, 2)  # both candidates are of this attempt
    envelope = sealed(ALICE, terms=attempt, fields=VOTE, payload=SALT)
    assert len(receive((ALICE, envelope), terms=attempt)[0]) == 1


def test_a_vote_and_a_thousand_counts_have_one_length_on_the_wire() -> None:
    """And the twin: without the padding the courier tells the vote from the counts, and small counts from large."""
    terms = ballot_terms(BINDING, 1000)
    columns = ("better", "right", "total", "worse")
    ballots = [VOTE, *({"finite": True} | dict.fromkeys(columns, [n] * 1000) for n in (0, 2**31 - 1))]
    assert {len(sealed(ALICE, terms=terms, fields=fields, payload=SALT)) for fields in ballots} == {terms.size}
    bodies = [compose(terms, ALICE, KEYS[ALICE], fields, SALT).rstrip(b"\0") for fields in ballots]
    assert len({len(body) for body in bodies}) == 3


@pytest.mark.parametrize(
    "ballot",
    [
        opened_with(None),
        opened_with({}),
        *(opened_with(good | {"note": "worse than it looks"}) for good in (COUNTS, VOTE)),
        *(opened_with(good, payload) for good in (COUNTS, VOTE) for payload in (b"", SALT[1:], SALT + b"smuggled")),
        opened_with(COUNTS | VOTE),
        opened_with(COUNTS | {"accuracy": 3}),
        *(opened_with({k: v for k, v in good.items() if k != name}) for good in (COUNTS, VOTE) for name in good),
        *(opened_with(good | {"finite": bad}) for good in (COUNTS, VOTE) for bad in any_of(1, None, "true", [])),
        *(opened_with(VOTE | {"worse": bad}) for bad in any_of(0, None, "false", [], [False])),
        *(opened_with(VOTE | {"accuracy": bad}) for bad in any_of(True, None, "3", 3.0, -1.0, -2, 2**31, [3])),
        *(
            opened_with(COUNTS | {column: bad})
            for column in ("better", "right", "total", "worse")
            for bad in any_of(
                None, 3, "12", {}, [True, 1], [1.5, 1], ["1", 1], [-1, 1], [2**31, 1], [None, 1], [[1], 1]
            )
        ),
    ],
)
def test_a_ballot_that_is_neither_counts_nor_a_vote_is_bad(ballot: Opened) -> None:
    refusal = open_ballot(ballot)
    assert isinstance(refusal, Refusal) and (refusal.member, refusal.reason) == (ALICE, Reason.BAD_BALLOT)


@settings(max_examples=150)
@given(fields=_json | st.fixed_dictionaries({"accuracy": _json, "finite": _json, "worse": _json}))
def test_whatever_json_is_in_a_ballot_is_read_or_refused(fields: Any) -> None:
    assert isinstance(open_ballot(opened_with(fields)), Ballot | Refusal)


def test_a_key_forgotten_opens_nothing_that_was_recorded() -> None:
    envelope = sealed(ALICE)
    later = RoundKey.from_seed(bytes(range(2, 98)))
    assert only(receive((ALICE, envelope), key=later), ALICE) is Reason.ALTERED


def test_wrap_puts_the_header_that_the_seal_is_bound_to_in_front() -> None:
    assert wrap(TERMS, ALICE, b"sealed") == frame(TERMS.header(ALICE)) + b"sealed"
