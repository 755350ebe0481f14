"""Who takes part: a roster of organisations, signed by the operator, one key, one vote and one capped weight for each.

Cryptography cannot create identity: what makes an organisation known is the signature of the operator, made after the
members agreed. What the roster does enforce is that one organisation is one entry, however many machines it runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from phalanx.canonical import decode, encode
from phalanx.errors import ConfigError, NotAdmitted, NotCanonical
from phalanx.signing import SigningKey, is_public_key, verify
from phalanx.types import MemberId, member_id

PURPOSE = "federation"


@dataclass(frozen=True, slots=True)
class Organisation:
    """One organisation: its Ed25519 public key (hex), the largest weight it may have, and whether it was revoked."""

    id: MemberId
    public: str
    weight_cap: float = 1.0
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class Roster:
    """The organisations of one federation, sorted by id, and the operator's public key."""

    federation: str
    operator: str
    members: tuple[Organisation, ...]
    version: int = 1

    def __post_init__(self) -> None:
        """Raises ConfigError for members, keys or caps that a roster cannot have."""
        if not (self.members and self.version >= 1):
            raise ConfigError(f"a roster has a member and a version from 1, found {len(self.members)}, {self.version}")
        ids = [member.id for member in self.members]
        if ids != sorted(set(ids)):
            raise ConfigError("a roster lists each organisation once, sorted by id")
        if len({member.public for member in self.members}) != len(ids):
            raise ConfigError("two organisations of the roster have the same key: one organisation is one entry")
        for member in self.members:
            if not is_public_key(member.public):
                raise ConfigError(f"the public key of {member.id} is none under which only one party can sign")
            if not (math.isfinite(member.weight_cap) and 0 < member.weight_cap <= 1):
                raise ConfigError(f"weight_cap of {member.id} must be above 0 and at most 1, got {member.weight_cap}")

    @property
    def directory(self) -> Mapping[MemberId, str]:
        """Public keys of all entries, the revoked ones too."""
        return MappingProxyType({member.id: member.public for member in self.members})

    @property
    def revoked(self) -> frozenset[MemberId]:
        """Organisations that may no longer take part."""
        return frozenset(member.id for member in self.members if member.revoked)

    @property
    def caps(self) -> Mapping[MemberId, float]:
        """The largest weight of each organisation in an aggregate."""
        return MappingProxyType({member.id: member.weight_cap for member in self.members})


def admit(roster: Roster, member: MemberId) -> Organisation:
    """The roster's entry for `member`. Raises NotAdmitted if there is none or it was revoked."""
    for organisation in roster.members:
        if organisation.id == member:
            if organisation.revoked:
                raise NotAdmitted(
                    f"{member} was revoked", hint="a revoked organisation needs a new key and a new entry"
                )
            return organisation
    raise NotAdmitted(f"{member} is not on the roster of {roster.federation}")


def select(roster: Roster) -> tuple[MemberId, ...]:
    """The members asked this round, sorted: every organisation that is not revoked."""
    return tuple(member.id for member in roster.members if not member.revoked)


def sign_roster(roster: Roster, operator: SigningKey) -> bytes:
    """The roster as the canonical bytes that everybody keeps, signed by the operator."""
    if operator.public != roster.operator:
        raise ConfigError("the roster names another operator key than the one that would sign it")
    body = {
        "federation": roster.federation,
        "members": [
            {"id": m.id, "public": m.public, "revoked": m.revoked, "weight_cap": m.weight_cap} for m in roster.members
        ],
        "operator": roster.operator,
        "version": roster.version,
    }
    return encode({"body": body, "signature": operator.sign(PURPOSE, encode(body))})


def open_roster(data: bytes, operator: str) -> Roster:
    """The roster in `data`. Raises BadSignature or NotCanonical unless it is `operator`'s (hex public key).

    Signed, but not what a roster can be (an organisation twice, a cap of 2, another operator's name), is NotCanonical
    too: whoever reads it has no configuration of their own to correct.
    """
    match decode(data):
        case {"body": body, "signature": str(signature), **rest} if not rest:
            verify(operator, PURPOSE, encode(body), signature)
        case _:
            raise NotCanonical("a roster is an object of body and signature")
    try:
        return _roster(body, operator)
    except (ConfigError, ValueError) as error:
        raise NotCanonical(f"signed as a roster, but none: {error}") from None


def _roster(body: Any, operator: str) -> Roster:
    """Raises ValueError or ConfigError for any JSON value that is no roster of `operator`'s."""
    match body:
        case {"federation": str(name), "members": list(members), "operator": str(by), "version": int(version), **rest}:
            if rest or by != operator or isinstance(version, bool):
                raise ValueError(f"expected four fields, a numbered version and operator {operator}, found {by}")
            return Roster(name, by, tuple(_organisation(member) for member in members), version)
        case _:
            raise ValueError("expected federation, members, operator and version")


def _organisation(stated: Any) -> Organisation:
    match stated:
        case {"id": str(name), "public": str(public), "revoked": bool(revoked), "weight_cap": cap, **rest}:
            if rest or type(cap) not in (int, float):
                raise ValueError(f"expected four fields and a number as weight_cap of {name}, found {cap!r}")
            return Organisation(member_id(name), public, cap, revoked)
        case _:
            raise ValueError("expected id, public, revoked and weight_cap of each member")
