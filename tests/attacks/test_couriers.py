"""Couriers do to envelopes what they say, and what they make of an honest member's envelope is refused."""

from __future__ import annotations

import pickletools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phalanx.attacks import couriers, forged_envelopes
from phalanx.attacks.couriers import PLACES, Against, Backwards, Courier, Deed, Delivery, Only, Place, Recording
from phalanx.attacks.eavesdropping import most_alike
from phalanx.attacks.malformed import PICKLE, Malformed, cases
from phalanx.types import F32, MemberId, Reason
from tests.channel.parties import ALICE, BOB, LAYOUT, receive, sealed


def message(name: str, body: bytes) -> bytes:
    """An envelope whose header is a name."""
    return len(name).to_bytes(4, "big") + name.encode() + body


def carried(courier: Courier, *envelopes: bytes, sender: MemberId = ALICE) -> list[list[Delivery]]:
    """What is delivered for each envelope."""
    return [list(courier(sender, envelope)) for envelope in envelopes]


ONE, TWO, THREE = (message("alice", bytes([i]) * 8) for i in (1, 2, 3))


# ------------------------------------------------------------------------------------------------------------- couriers


def test_a_recording_keeps_every_envelope_and_changes_none() -> None:
    recording = Recording()
    assert carried(recording, ONE, TWO) == [[(ALICE, ONE)], [(ALICE, TWO)]]
    assert recording.kept == [(ALICE, ONE), (ALICE, TWO)]


def test_what_is_done_to_one_member_is_done_to_no_other_and_only_when_meant() -> None:
    courier = Against(ALICE, couriers.lost, Only(1))
    assert carried(courier, ONE, sender=BOB) == [[(BOB, ONE)]]
    assert carried(courier, ONE, TWO, THREE) == [[(ALICE, ONE)], [], [(ALICE, THREE)]]


def test_updates_and_ballots_are_told_apart_by_the_public_header() -> None:
    update, ballot = message('"kind":"update"', b""), message('"kind":"ballot"', b"")
    assert [couriers.updates(0, one) for one in (update, ballot, ONE)] == [True, False, True]
    assert [couriers.ballots(0, one) for one in (update, ballot, ONE)] == [False, True, False]


def test_backwards_delivers_everything_once_the_last_first() -> None:
    courier = Backwards(2)
    assert list(courier(ALICE, ONE)) == []
    assert list(courier(BOB, TWO)) == [(BOB, TWO), (ALICE, ONE)]
    assert list(courier(ALICE, THREE)) == []


def test_couriers_one_after_the_other_each_get_what_the_one_before_delivers() -> None:
    both = couriers.one_after_the_other(Against(ALICE, couriers.also_as(BOB)), Against(BOB, couriers.lost))
    assert carried(both, ONE) == [[(ALICE, ONE)]]


DEEDS: dict[str, tuple[Deed, Sequence[Sequence[bytes]]]] = {
    "lost": (couriers.lost, [[], [], []]),
    "the same again": (couriers.again(0), [[ONE, ONE], [TWO, TWO], [THREE, THREE]]),
    "the one before again": (couriers.again(1), [[ONE], [TWO, ONE], [THREE, TWO]]),
    "late": (couriers.late(1), [[], [ONE], [TWO]]),
    "held back": (couriers.held_back(0, 2), [[], [TWO], [THREE, ONE]]),
    "old bodies": (couriers.in_this_rounds_header(1), [[ONE], [TWO, ONE], [THREE, TWO]]),
}


@pytest.mark.parametrize("name", DEEDS)
def test_a_deed_delivers(name: str) -> None:
    deed, expected = DEEDS[name]
    delivered = carried(Against(ALICE, deed), ONE, TWO, THREE)
    assert delivered == [[(ALICE, envelope) for envelope in each] for each in expected]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.words)
def test_altering_flips_bits_of_one_byte(place: Place) -> None:
    envelope = sealed(ALICE)
    ((_, altered),) = couriers.altered(place)(ALICE, [envelope])
    changed = [i for i, (old, new) in enumerate(zip(envelope, altered, strict=True)) if old != new]
    assert changed == [place.at(envelope)]
    assert envelope[changed[0]] ^ altered[changed[0]] == place.mask


def test_in_a_body_of_plain_float32_the_places_are_bytes_with_an_exponent() -> None:
    envelope = message("alice", np.full(5, 1.0, "<f4").tobytes())
    for place in PLACES[3:]:
        ((_, altered),) = couriers.altered(place)(ALICE, [envelope])
        values = np.frombuffer(couriers.body_of(altered), "<f4")
        assert sorted(values != 1) == [False] * 4 + [True]
        assert not np.isclose(values.max(), 1) or not np.isclose(values.min(), 1)


def test_readdressed_replaces_the_sender_and_leaves_the_body() -> None:
    envelope = couriers.readdressed(message("ward alice alice", b"body"), ALICE, BOB)
    assert couriers.header_of(envelope) == b"ward alice bob"
    assert couriers.body_of(envelope) == b"body"


# ------------------------------------------------------------------------------------- what becomes of honest envelopes


@given(at=st.integers(min_value=0, max_value=len(sealed(ALICE)) - 1), mask=st.integers(min_value=1, max_value=255))
def test_a_flip_of_any_bits_of_any_byte_of_an_envelope_is_refused(at: int, mask: int) -> None:
    opened, refused = receive((ALICE, couriers.flipped(sealed(ALICE), at, mask)))
    assert opened == []
    assert [one.member for one in refused] == [ALICE]


FORGED: dict[str, tuple[Deed, set[Reason]]] = {
    "noise": (couriers.replaced(forged_envelopes.noise(np.random.default_rng(1))), {Reason.MALFORMED}),
    "noise behind its header": (
        couriers.replaced(forged_envelopes.noise_behind_the_header(np.random.default_rng(1))),
        {Reason.ALTERED},
    ),
    "a flood": (couriers.replaced(forged_envelopes.flood(20, np.random.default_rng(1))), {Reason.ALTERED}),
    "a flood of strangers": (
        couriers.replaced(forged_envelopes.flood_of_strangers(20, np.random.default_rng(1))),
        {Reason.UNKNOWN_MEMBER, Reason.WRONG_SIZE},
    ),
    "too large": (couriers.replaced(forged_envelopes.large(1 << 20)), {Reason.WRONG_SIZE}),
    "a byte longer": (couriers.replaced(forged_envelopes.longer), {Reason.WRONG_SIZE}),
    "another's": (lambda member, sent: ((BOB, sent[-1]),), {Reason.WRONG_SENDER}),
}


@pytest.mark.parametrize("name", FORGED)
def test_what_is_forged_without_a_key_is_refused_by_name(name: str) -> None:
    deed, reasons = FORGED[name]
    delivered = deed(ALICE, [sealed(ALICE)])
    opened, refused = receive(*delivered)
    assert opened == []
    assert len(refused) == len(delivered)
    assert {one.reason for one in refused} <= reasons


def test_copies_of_an_envelope_count_once() -> None:
    opened, refused = receive(*couriers.with_added(forged_envelopes.copies(3))(ALICE, [sealed(ALICE)]))
    assert [one.member for one in opened] == [ALICE]
    assert {one.reason for one in refused} == {Reason.REPLAY}


# ----------------------------------------------------------------------------------------------------------- malformed


MALFORMED = cases(LAYOUT.as_json(), np.random.default_rng(0))
HONEST = np.arange(9, dtype="<f4").tobytes()


def test_every_case_has_words_of_its_own_and_one_defect() -> None:
    assert len({case.words for case in MALFORMED}) == len(MALFORMED) > 40
    for case in MALFORMED:
        manifest = b'{"examples":1,"kind":"update"}'
        changed = [
            case.payload(HONEST) != HONEST,
            case.stated is not None,
            case.manifest(manifest) != manifest,
            case.envelope(HONEST) != HONEST,
        ]
        assert sum(changed) == 1, case.words


def test_a_case_in_the_numbers_is_one_for_raw_float32_too() -> None:
    numbers = {case.words for case in MALFORMED if case.numbers}
    assert {"NaN", "infinity", "a pickle", "no numbers", "float64"} <= numbers
    assert not {"a key twice", "examples: -1", "an empty envelope"} & numbers


def test_the_pickle_is_one_that_would_run_something() -> None:
    assert [opcode.name for opcode, _, _ in pickletools.genops(PICKLE)][-2:] == ["REDUCE", "STOP"]


@pytest.mark.parametrize("case", [case for case in MALFORMED if case.numbers], ids=lambda case: case.words)
def test_hostile_numbers_are_as_they_are_called(case: Malformed) -> None:
    changed = case.payload(HONEST)
    if "right length" in case.words or case.words in ("NaN", "infinity", "random bytes"):
        assert len(changed) == len(HONEST)
    if case.words in ("NaN", "one NaN"):
        assert np.isnan(np.frombuffer(changed, "<f4")).sum() == (9 if case.words == "NaN" else 1)


# -------------------------------------------------------------------------------------------------------- eavesdropping


def updates(d: int, count: int = 5) -> list[F32]:
    rng = np.random.default_rng(d)
    return [rng.normal(0.0, 0.01, d).astype(np.float32) for _ in range(count)]


@pytest.mark.parametrize("before", range(8))
def test_an_update_in_clear_is_found_wherever_it_begins(before: int) -> None:
    rng = np.random.default_rng(before)
    sent = [rng.bytes(before) + one.astype("<f4").tobytes() + rng.bytes(99) for one in updates(40)]
    assert most_alike(sent, updates(40)) == pytest.approx(1.0, abs=1e-6)


def test_half_an_update_in_clear_is_half_learned() -> None:
    """What hides every second value only leaves half of the correlation."""
    rng = np.random.default_rng(0)
    hidden = []
    for one in updates(1000):
        shown = one.copy()
        shown[::2] = rng.normal(0.0, 0.01, 500)
        hidden.append(shown.tobytes())
    assert most_alike(hidden, updates(1000)) == pytest.approx(0.5, abs=0.05)


def test_random_bytes_say_as_little_as_other_random_bytes() -> None:
    rng = np.random.default_rng(0)
    found = [most_alike([rng.bytes(4000) for _ in range(5)], updates(200)) for _ in range(4)]
    assert max(found) < 0.25
    assert max(found) - min(found) < 0.1


def test_sealed_envelopes_say_as_little_as_random_bytes() -> None:
    payloads = [one.tobytes() for one in updates(9, 40)]
    bodies = [couriers.body_of(sealed(ALICE, payload=payload)) for payload in payloads]
    rng = np.random.default_rng(1)
    found = most_alike(bodies, updates(9, 40))
    chance = most_alike([rng.bytes(len(body)) for body in bodies], updates(9, 40))
    assert abs(found - chance) < 0.15


@pytest.mark.parametrize("update", [np.zeros(9, np.float32), np.ones(9, np.float32), np.zeros(0, np.float32)])
def test_an_update_that_is_the_same_everywhere_cannot_be_found(update: F32) -> None:
    assert most_alike([update.tobytes() + bytes(50)], [update]) == 0.0
