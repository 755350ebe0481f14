"""Who takes part: sybils, impostors and the revoked stay outside; one organisation is one key and one entry."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phalanx.admission import PURPOSE, All, Organisation, Roster, admit, open_roster, select, sign_roster
from phalanx.audit.federation import open_federation
from phalanx.canonical import decode, encode
from phalanx.errors import BadSignature, ConfigError, IntegrityError, NotAdmitted, NotCanonical
from phalanx.signing import SigningKey
from phalanx.types import MemberId, member_id

OPERATOR, RIVAL = (SigningKey.from_seed(bytes([n]) * 32) for n in (1, 2))
PUBLIC = [SigningKey.from_seed(bytes([10 + n]) * 32).public for n in range(4)]
ALICE, BOB, CLOSED = (member_id(name) for name in ("alice", "bob", "closed-clinic"))
MEMBERS = (
    Organisation(ALICE, PUBLIC[0]),
    Organisation(BOB, PUBLIC[1], weight_cap=0.25, label="north"),
    Organisation(CLOSED, PUBLIC[2], revoked=True),
)
ROSTER = Roster("clinics", OPERATOR.public, MEMBERS, version=3)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-1e9, 1e9) | st.text("ab\0é", max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abk", max_size=4), inner, max_size=3),
    max_leaves=8,
)


def everybody(roster: Roster) -> tuple[MemberId, ...]:
    return select(roster, All(), b"", min_cohort=1)


def body(**changes: Any) -> dict[str, Any]:
    """What an honest operator signs, but for `changes`."""
    stated: dict[str, Any] = decode(sign_roster(ROSTER, OPERATOR))["body"]
    return stated | changes


def member(**changes: Any) -> dict[str, Any]:
    """The roster with changes to its first member."""
    first, *rest = body()["members"]
    return body(members=[first | changes, *rest])


def signed(stated: Any, by: SigningKey = OPERATOR) -> bytes:
    return encode({"body": stated, "signature": by.sign(PURPOSE, encode(stated))})


# ---------------------------------------------------------------------------------------------------- who is let in


def test_everybody_who_is_not_revoked_is_asked_in_order() -> None:
    assert everybody(ROSTER) == (ALICE, BOB)
    assert [admit(ROSTER, one).id for one in everybody(ROSTER)] == [ALICE, BOB]


def test_a_stranger_is_not_admitted() -> None:
    with pytest.raises(NotAdmitted, match="mallory is not on the roster of clinics") as caught:
        admit(ROSTER, member_id("mallory"))
    assert caught.value.exit_code == 3


def test_a_revoked_organisation_is_neither_asked_nor_admitted_and_its_key_stays_known() -> None:
    assert CLOSED not in everybody(ROSTER)
    with pytest.raises(NotAdmitted, match="closed-clinic was revoked") as caught:
        admit(ROSTER, CLOSED)
    assert "new key" in caught.value.hint
    assert ROSTER.revoked == {CLOSED} and ROSTER.directory[CLOSED] == PUBLIC[2]


def test_until_it_is_revoked_the_same_organisation_takes_part() -> None:
    """The off twin: it is the mark of revocation that keeps it out."""
    before = replace(ROSTER, members=(*MEMBERS[:2], replace(MEMBERS[2], revoked=False)))
    assert everybody(before) == (ALICE, BOB, CLOSED) and admit(before, CLOSED).public == PUBLIC[2]


def test_what_the_rooms_read_of_a_roster_cannot_be_written_to() -> None:
    assert ROSTER.caps == {ALICE: 1.0, BOB: 0.25, CLOSED: 1.0}
    for view in (ROSTER.directory, ROSTER.caps):
        with pytest.raises(TypeError):
            view[ALICE] = "mine"  # type: ignore[index]


# ---------------------------------------------------------------------------------------------- what a roster cannot be


@pytest.mark.parametrize(
    "members",
    [
        (MEMBERS[0], MEMBERS[0]),
        (MEMBERS[0], replace(MEMBERS[0], public=PUBLIC[3])),  # one organisation, two machines
        (MEMBERS[1], MEMBERS[0]),
    ],
)
def test_one_organisation_is_listed_once_and_in_order(members: tuple[Organisation, ...]) -> None:
    with pytest.raises(ConfigError, match="once, sorted by id"):
        replace(ROSTER, members=members)


def test_a_sybil_that_enters_one_key_under_two_names_is_refused() -> None:
    with pytest.raises(ConfigError, match="the same key"):
        replace(ROSTER, members=(MEMBERS[0], replace(MEMBERS[1], public=PUBLIC[0])))


@pytest.mark.parametrize("public", ["", "00" * 31, PUBLIC[0].upper(), PUBLIC[0] + "\n", "01" + "00" * 31, "00" * 32])
def test_a_key_under_which_nobody_or_anybody_can_sign_is_refused(public: str) -> None:
    with pytest.raises(ConfigError, match="public key of alice"):
        replace(ROSTER, members=(replace(MEMBERS[0], public=public), MEMBERS[1]))


@pytest.mark.parametrize("cap", [0.0, -0.1, 1.0000001, math.inf, math.nan])
def test_a_weight_cap_out_of_range_is_refused(cap: float) -> None:
    with pytest.raises(ConfigError, match="weight_cap of bob"):
        replace(ROSTER, members=(MEMBERS[0], replace(MEMBERS[1], weight_cap=cap)))


@pytest.mark.parametrize("cap", [1e-9, 0.5, 1.0])
def test_a_weight_cap_in_range_is_kept(cap: float) -> None:
    assert replace(ROSTER, members=(replace(MEMBERS[0], weight_cap=cap),)).caps == {ALICE: cap}


@pytest.mark.parametrize("label", ["North", "a" * 64, "north ", "nord/ost", "n\n", "é"])
def test_a_label_that_is_no_name_is_refused(label: str) -> None:
    with pytest.raises(ConfigError, match="the label of bob is 0 to 63 of a-z, 0-9 and -, got "):
        replace(ROSTER, members=(MEMBERS[0], replace(MEMBERS[1], label=label)))


@pytest.mark.parametrize("label", ["", "north", "a" * 63, "7-b"])
def test_a_label_that_is_a_name_is_kept_and_signed(label: str) -> None:
    roster = replace(ROSTER, members=(replace(MEMBERS[0], label=label),))
    assert open_roster(sign_roster(roster, OPERATOR), OPERATOR.public).members[0].label == label


def test_a_roster_has_a_member_and_a_version() -> None:
    for changed in ({"members": ()}, {"version": 0}):
        with pytest.raises(ConfigError, match="a member and a version"):
            replace(ROSTER, **changed)


# -------------------------------------------------------------------------------------------------------- on the wire


def test_a_roster_opens_as_it_was_signed_and_its_bytes_are_canonical() -> None:
    data = sign_roster(ROSTER, OPERATOR)
    assert open_roster(data, OPERATOR.public) == ROSTER
    assert data == encode(decode(data)) == sign_roster(open_roster(data, OPERATOR.public), OPERATOR)


def test_the_auditors_own_reader_reads_the_same_roster() -> None:
    found = open_federation(sign_roster(ROSTER, OPERATOR))
    assert (found.id, found.operator) == ("clinics", OPERATOR.public)
    assert {name: (one.public, one.weight_cap, one.revoked, one.label) for name, one in found.members.items()} == {
        one.id: (one.public, one.weight_cap, one.revoked, one.label) for one in MEMBERS
    }
    assert found.admitted == everybody(ROSTER)


def test_only_the_operator_that_it_names_signs_a_roster() -> None:
    with pytest.raises(ConfigError, match="another operator key"):
        sign_roster(ROSTER, RIVAL)


def test_a_roster_of_a_rival_operator_is_refused() -> None:
    theirs = sign_roster(replace(ROSTER, operator=RIVAL.public), RIVAL)
    assert open_roster(theirs, RIVAL.public).operator == RIVAL.public
    with pytest.raises(BadSignature):
        open_roster(theirs, OPERATOR.public)


def test_a_roster_that_names_another_operator_than_its_signer_is_refused() -> None:
    with pytest.raises(NotCanonical, match="operator"):
        open_roster(signed(body(operator=RIVAL.public)), OPERATOR.public)


def test_an_orders_signature_over_the_same_bytes_signs_no_roster() -> None:
    forged = encode({"body": body(), "signature": OPERATOR.sign("order", encode(body()))})
    with pytest.raises(BadSignature):
        open_roster(forged, OPERATOR.public)


def test_a_stranger_that_writes_itself_into_the_roster_is_found_out() -> None:
    data = sign_roster(ROSTER, OPERATOR)
    signature = decode(data)["signature"]
    entry = {"id": "mallory", "label": "", "public": PUBLIC[3], "revoked": False, "weight_cap": 1}
    forged = encode({"body": body(members=[*body()["members"], entry]), "signature": signature})
    with pytest.raises(BadSignature):
        open_roster(forged, OPERATOR.public)
    # The off twin: it is the operator's signature, and nothing else, that would have let it in.
    assert member_id("mallory") in everybody(open_roster(signed(decode(forged)["body"]), OPERATOR.public))


def test_a_roster_with_any_byte_altered_is_refused() -> None:
    data = sign_roster(ROSTER, OPERATOR)
    for position in range(len(data)):
        altered = bytearray(data)
        altered[position] ^= 1 << position % 8
        with pytest.raises(IntegrityError):
            open_roster(bytes(altered), OPERATOR.public)


def any_of(*values: Any) -> tuple[Any, ...]:
    """Hostile values of any type."""
    return values


HOSTILE: list[Any] = [
    None,
    [],
    "clinics",
    {},
    body(more=1),
    *(body(federation=bad) for bad in any_of(None, 5, [])),
    *(body(version=bad) for bad in any_of(None, "3", True, 0, -1, 1.5)),
    *(body(members=bad) for bad in any_of(None, {}, "alice", [], [None], ["alice"], [[]])),
    *(member(id=bad) for bad in any_of(None, 5, "", "Alice", "alice\n", "a" * 64, "bob", "zz")),
    *(member(public=bad) for bad in any_of(None, 5, "", PUBLIC[0].upper(), PUBLIC[1])),
    *(member(revoked=bad) for bad in any_of(None, "", "no", 0, 1)),
    *(member(label=bad) for bad in any_of(None, 5, "North", "a" * 64, [])),
    *(member(weight_cap=bad) for bad in any_of(None, "0.5", True, 0, -1, 1.5, 1e300)),
    member(more=1),
]


@pytest.mark.parametrize("stated", HOSTILE)
def test_signed_but_no_roster_is_not_canonical(stated: Any) -> None:
    """Among them what `Roster` itself refuses as ConfigError: the reader of a file has no configuration to correct."""
    with pytest.raises(NotCanonical):
        open_roster(signed(stated), OPERATOR.public)


@pytest.mark.parametrize(
    "outer",
    [
        *any_of(None, [], "x", {}, {"body": body()}, {"signature": "00" * 64}),
        *({"body": body(), "signature": bad} for bad in any_of(None, 5, [], {})),
        {"body": body(), "signature": OPERATOR.sign(PURPOSE, encode(body())), "more": 1},
    ],
)
def test_anything_but_body_and_signature_is_not_canonical(outer: Any) -> None:
    with pytest.raises(NotCanonical):
        open_roster(encode(outer), OPERATOR.public)


def test_a_body_that_cannot_be_encoded_again_is_not_canonical() -> None:
    for data in (b"", b"[" * 200_000, b'{"body":NaN,"signature":""}', b"\xff", b" " * (1 << 20 | 1)):
        with pytest.raises(NotCanonical):
            open_roster(data, OPERATOR.public)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200) | _json.map(encode) | _json.map(signed))
def test_any_bytes_raise_integrity_errors_alone(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        open_roster(data, OPERATOR.public)


@settings(max_examples=200, deadline=None)
@given(
    stated=st.dictionaries(st.sampled_from(sorted(body())), _json, min_size=1).map(lambda some: body(**some))
    | st.dictionaries(st.sampled_from(sorted(body()["members"][0])), _json, min_size=1).map(lambda some: member(**some))
)
def test_whatever_the_operator_signs_is_a_roster_or_an_integrity_error(stated: Any) -> None:
    try:
        roster = open_roster(signed(stated), OPERATOR.public)
    except IntegrityError:
        return
    assert decode(sign_roster(roster, OPERATOR))["body"] == stated
