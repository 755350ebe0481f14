"""Couriers that are not honest: they read, change, repeat, hold back, lose and add what members send.

A courier is called with each envelope and its sender and gives what is delivered in its place, as whose. It holds no
key: of an envelope it knows what anybody can read, `length(4) ‖ header ‖ body`.

What is done to one member's envelopes is a deed: of those that it has sent so far, the newest last, what is delivered
in place of the newest. The attacker is the network of Dolev and Yao, IEEE Transactions on Information Theory, 1983.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from phalanx.types import MemberId

Delivery = tuple[MemberId, bytes]  # as whose, and what
Courier = Callable[[MemberId, bytes], Iterable[Delivery]]
Deed = Callable[[MemberId, Sequence[bytes]], Sequence[Delivery]]
When = Callable[[int, bytes], bool]  # whether a member's envelope is meant: its index among them, from 0, and itself

_LENGTH = 4
_BALLOT = b'"kind":"ballot"'  # in the public header of a sealed ballot


# --------------------------------------------------------------------------------------------------------- the couriers


@dataclass(frozen=True, slots=True)
class Recording:
    """Keeps every envelope and passes it on."""

    kept: list[Delivery] = field(default_factory=list)

    def __call__(self, sender: MemberId, envelope: bytes) -> Iterable[Delivery]:
        self.kept.append((sender, envelope))
        return ((sender, envelope),)


@dataclass(slots=True)
class Against:
    """Does `deed` to those of one member's envelopes that `when` means; all others pass."""

    victim: MemberId
    deed: Deed
    when: When = field(default=lambda index, envelope: True)
    _sent: list[bytes] = field(default_factory=list)

    def __call__(self, sender: MemberId, envelope: bytes) -> Iterable[Delivery]:
        if sender != self.victim:
            return ((sender, envelope),)
        self._sent.append(envelope)
        if not self.when(len(self._sent) - 1, envelope):
            return ((sender, envelope),)
        return self.deed(sender, self._sent)


@dataclass(slots=True)
class Backwards:
    """Holds `members` envelopes and then delivers them, the last first."""

    members: int
    _held: list[Delivery] = field(default_factory=list)

    def __call__(self, sender: MemberId, envelope: bytes) -> Iterable[Delivery]:
        self._held.append((sender, envelope))
        if len(self._held) < self.members:
            return ()
        backwards = tuple(reversed(self._held))
        self._held.clear()
        return backwards


def one_after_the_other(*couriers: Courier) -> Courier:
    """A courier that hands what each delivers to the next."""

    def carry(sender: MemberId, envelope: bytes) -> Iterable[Delivery]:
        carried: list[Delivery] = [(sender, envelope)]
        for courier in couriers:
            carried = [one for name, data in carried for one in courier(name, data)]
        return carried

    return carry


def honest(sender: MemberId, envelope: bytes) -> Iterable[Delivery]:
    """Delivers every envelope once, as its sender's."""
    return ((sender, envelope),)


def nothing_at_all(sender: MemberId, envelope: bytes) -> Iterable[Delivery]:
    """Loses everything."""
    return ()


# ----------------------------------------------------------------------------------------------- which envelopes, where


def always(index: int, envelope: bytes) -> bool:
    """All of them."""
    return True


def updates(index: int, envelope: bytes) -> bool:
    """Those that are no ballots. What is only a name and numbers is no ballot."""
    return _BALLOT not in header_of(envelope)


def ballots(index: int, envelope: bytes) -> bool:
    """The ballots."""
    return not updates(index, envelope)


@dataclass(frozen=True, slots=True)
class Only:
    """The envelope of one index."""

    index: int

    def __call__(self, index: int, envelope: bytes) -> bool:
        return index == self.index


def header_of(envelope: bytes) -> bytes:
    """What stands before the body, without its length."""
    return envelope[_LENGTH : _header_end(envelope)]


def body_of(envelope: bytes) -> bytes:
    """What stands behind the header."""
    return envelope[_header_end(envelope) :]


def _header_end(envelope: bytes) -> int:
    return min(_LENGTH + int.from_bytes(envelope[:_LENGTH], "big"), len(envelope))


@dataclass(frozen=True, slots=True)
class Place:
    """A byte of an envelope, and which of its bits are flipped."""

    words: str
    at: Callable[[bytes], int]
    mask: int


def _in_body(share: float) -> Callable[[bytes], int]:
    """The fourth byte of one of the body's words: where the body is plain float32, the one with the exponent."""

    def at(envelope: bytes) -> int:
        start = _header_end(envelope)
        return start + 4 * int(share * ((len(envelope) - start) // 4 - 1)) + 3

    return at


PLACES = (
    Place("the length of the header", lambda envelope: _LENGTH - 1, 0x01),
    Place("the middle of the header", lambda envelope: (_LENGTH + _header_end(envelope)) // 2, 0x01),
    Place("the end of the header", lambda envelope: _header_end(envelope) - 1, 0x01),
    Place("the start of the body", _in_body(0.0), 0x40),
    Place("the middle of the body", _in_body(0.5), 0x40),
    Place("the last byte", lambda envelope: len(envelope) - 1, 0x40),
)


def flipped(envelope: bytes, at: int, mask: int) -> bytes:
    """The envelope with the bits of `mask` flipped in its byte `at`."""
    changed = bytearray(envelope)
    changed[at] ^= mask
    return bytes(changed)


# ------------------------------------------------------------------------------------------------------------ the deeds


def lost(member: MemberId, sent: Sequence[bytes]) -> Sequence[Delivery]:
    """Nothing is delivered."""
    return ()


def altered(place: Place) -> Deed:
    """The envelope with bits flipped at `place`."""
    return lambda member, sent: ((member, flipped(sent[-1], place.at(sent[-1]), place.mask)),)


def again(back: int) -> Deed:
    """The envelope, and after it once more the one that was sent `back` before it; 0 is the same one."""
    return lambda member, sent: ((member, sent[-1]), *((member, old) for old in _ago(sent, back)))


def in_this_rounds_header(back: int) -> Deed:
    """The envelope, and after it the body of the one that was sent `back` before it, under the newest header."""

    def deed(member: MemberId, sent: Sequence[bytes]) -> Sequence[Delivery]:
        newest = sent[-1]
        old = ((member, newest[: _header_end(newest)] + one[_header_end(one) :]) for one in _ago(sent, back))
        return ((member, newest), *old)

    return deed


def late(by: int) -> Deed:
    """In place of each envelope the one that was sent `by` before it: everything comes so much later."""
    return lambda member, sent: tuple((member, old) for old in _ago(sent, by))


def held_back(index: int, by: int) -> Deed:
    """The envelope `index` does not come when it is sent, but after the one that is sent `by` later."""

    def deed(member: MemberId, sent: Sequence[bytes]) -> Sequence[Delivery]:
        now = len(sent) - 1
        if now == index:
            return ()
        return ((member, sent[-1]), (member, sent[index])) if now == index + by else ((member, sent[-1]),)

    return deed


def also_as(name: MemberId) -> Deed:
    """The envelope, and the same bytes as another member's."""
    return lambda member, sent: ((member, sent[-1]), (name, sent[-1]))


def also_readdressed(name: MemberId) -> Deed:
    """The envelope, and a copy that says in its header that it is another member's."""
    return lambda member, sent: ((member, sent[-1]), (name, readdressed(sent[-1], member, name)))


def readdressed(envelope: bytes, member: MemberId, name: MemberId) -> bytes:
    """The envelope with another sender's name in its header. As long as it was, where the names are equally long."""
    end = _header_end(envelope)
    before, _, after = envelope[_LENGTH:end].rpartition(member.encode())
    header = before + name.encode() + after
    return len(header).to_bytes(_LENGTH, "big") + header + envelope[end:]


Forge = Callable[[MemberId, bytes], Sequence[Delivery]]  # of a member and its newest envelope: what is added


def with_added(forge: Forge) -> Deed:
    """The envelope, and what is forged after it."""
    return lambda member, sent: ((member, sent[-1]), *forge(member, sent[-1]))


def with_added_before(forge: Forge) -> Deed:
    """What is forged, and the envelope after it."""
    return lambda member, sent: (*forge(member, sent[-1]), (member, sent[-1]))


def replaced(forge: Forge) -> Deed:
    """What is forged, and no envelope."""
    return lambda member, sent: forge(member, sent[-1])


def _ago(sent: Sequence[bytes], back: int) -> tuple[bytes, ...]:
    """The envelope that was sent `back` before the newest, or none where there were not so many."""
    return (sent[-1 - back],) if back < len(sent) else ()
