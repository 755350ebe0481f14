"""Envelopes that are made without any key: random bytes under somebody's name, and floods of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from phalanx.attacks.couriers import Delivery, Forge, header_of, readdressed
from phalanx.types import MemberId

LARGE_BYTES = 64 << 20


def noise_behind_the_header(rng: np.random.Generator) -> Forge:
    """The member's own header, and a random body of the same size behind it."""
    return lambda member, envelope: ((member, _behind(header_of(envelope), envelope, rng)),)


def noise(rng: np.random.Generator) -> Forge:
    """Random bytes of the same size, as the member's."""
    return lambda member, envelope: ((member, rng.bytes(len(envelope))),)


def copies(count: int) -> Forge:
    """The same envelope many times."""
    return lambda member, envelope: ((member, envelope),) * count


def flood(count: int, rng: np.random.Generator) -> Forge:
    """`count` envelopes as the member's: its header, random bodies, all different."""
    return lambda member, envelope: tuple((member, _behind(header_of(envelope), envelope, rng)) for _ in range(count))


def flood_of_strangers(count: int, rng: np.random.Generator) -> Forge:
    """`count` envelopes as `count` strangers', each with its name in the member's header and a random body."""

    def forge(member: MemberId, envelope: bytes) -> Sequence[Delivery]:
        named = ((name, header_of(readdressed(envelope, member, name))) for name in strangers(count))
        return tuple((name, _behind(header, envelope, rng)) for name, header in named)

    return forge


def strangers(count: int) -> tuple[MemberId, ...]:
    """Names that no honest federation has."""
    return tuple(MemberId(f"stranger-{i:04d}") for i in range(count))


def large(size: int, times: int = 1) -> Forge:
    """The member's header with zeros behind it, `size` bytes in all, `times` over."""
    return lambda member, envelope: ((member, _framed(header_of(envelope)).ljust(size, b"\0")),) * times


def longer(member: MemberId, envelope: bytes) -> Sequence[Delivery]:
    """The envelope and a byte behind it."""
    return ((member, envelope + b"\0"),)


def _behind(header: bytes, envelope: bytes, rng: np.random.Generator) -> bytes:
    """A random body behind `header`, as long in all as `envelope`."""
    start = _framed(header)
    return start + rng.bytes(max(0, len(envelope) - len(start)))


def _framed(header: bytes) -> bytes:
    return len(header).to_bytes(4, "big") + header
