"""Who takes part: a roster of organisations, signed by the operator, one key, one vote and one capped weight for each.

Cryptography cannot create identity: what makes an organisation known is the signature of the operator, made after the
members agreed. What the roster does enforce is that one organisation is one entry, however many machines it runs.

Who of them is asked in an attempt says a policy. Where it draws, the coins of all attempts follow from one secret seed:
the first log entry holds its hash, the last one the seed itself. So nobody can foresee a cohort, and afterwards
everybody can recompute all of them. What this does not give: the coordinator can try many seeds before it commits to
one, and can let an attempt fail whose cohort it dislikes, which the log then shows. And it amplifies no privacy
where the log names who took part: ε is then that of a member who takes part in every round. With central noise the
policy poisson keeps its cohorts secret, seed and all, and does amplify (docs/adr/0013-secret-cohorts.md).
`docs/reference/log.md` specifies the draw; the auditor has its own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from phalanx.canonical import decode, digest, encode
from phalanx.entropy import KEY_BYTES, expand
from phalanx.errors import ConfigError, NotAdmitted, NotCanonical, QuorumError
from phalanx.signing import SigningKey, is_public_key, verify
from phalanx.types import MemberId, member_id

PURPOSE = "federation"
SEED_BYTES = COIN_BYTES = KEY_BYTES
_TICKET_BYTES = 32
_LABEL = re.compile(r"[a-z0-9-]{0,63}")


@dataclass(frozen=True, slots=True)
class Organisation:
    """One organisation: its Ed25519 public key (hex), the largest weight it may have, and whether it was revoked.

    `label` puts organisations into groups, such as regions, from each of which `Stratified` asks some.
    """

    id: MemberId
    public: str
    weight_cap: float = 1.0
    revoked: bool = False
    label: str = ""


@dataclass(frozen=True, slots=True)
class Roster:
    """The organisations of one federation, sorted by id, and the operator's public key."""

    federation: str
    operator: str
    members: tuple[Organisation, ...]
    version: int = 1

    def __post_init__(self) -> None:
        """Raises ConfigError for members, keys, caps or labels that a roster cannot have."""
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
            if not _LABEL.fullmatch(member.label):
                raise ConfigError(f"the label of {member.id} is 0 to 63 of a-z, 0-9 and -, got {member.label!r}")

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


# ----------------------------------------------------------------------------------------------------------- selection


@dataclass(frozen=True, slots=True)
class All:
    """Every admitted member in every attempt. The only policy without chance: it has no seed, and no commitment."""

    name: ClassVar[str] = "all"


@dataclass(frozen=True, slots=True)
class Uniform:
    """`size` members, every set of that many equally likely; all, where fewer are admitted."""

    size: int
    name: ClassVar[str] = "uniform"

    def __post_init__(self) -> None:
        _check_size(self.name, self.size)


@dataclass(frozen=True, slots=True)
class Poisson:
    """Each member for itself with probability `rate`: the cohort's size varies, and may fall below the floor."""

    rate: float
    name: ClassVar[str] = "poisson"

    def __post_init__(self) -> None:
        if not (type(self.rate) in (int, float) and 0 < self.rate <= 1):
            raise ConfigError(f"poisson selection needs a rate above 0 and at most 1, got {self.rate!r}")


@dataclass(frozen=True, slots=True)
class Stratified:
    """`size` members of every label, as `Uniform` does within it; all of a label that has fewer."""

    size: int
    name: ClassVar[str] = "stratified"

    def __post_init__(self) -> None:
        _check_size(self.name, self.size)


Policy = All | Uniform | Poisson | Stratified


def commitment_of(seed: bytes) -> str:
    """What the log's first entry says of the run's secret `seed` (32 bytes): a hash, 64 hexadecimal characters."""
    return digest("selection-seed", _sized("seed", seed, SEED_BYTES))


def coin_of(seed: bytes, round: int, attempt: int) -> bytes:
    """The 32 bytes from which the cohort of one attempt is drawn. Secret until the run has ended, as `seed` is."""
    return expand(_sized("seed", seed, SEED_BYTES), f"selection-coin/{round}/{attempt}", COIN_BYTES)


def select(roster: Roster, policy: Policy, coin: bytes, *, min_cohort: int) -> tuple[MemberId, ...]:
    """The members asked in one attempt, sorted: those of all admitted ones that `policy` draws by `coin`.

    `coin` is `coin_of` the attempt; `All` looks at none. Same roster, policy and coin: the same members everywhere.
    Raises QuorumError if they are fewer than `min_cohort`; nobody may be asked then. 0 is for secret cohorts: an empty
    one is a draw like others.
    """
    if min_cohort < 0:
        raise ValueError(f"a cohort has no fewer than 0 members, got min_cohort = {min_cohort!r}")
    admitted = [member for member in roster.members if not member.revoked]
    chosen = tuple(sorted(member.id for member in _drawn(admitted, policy, coin)))
    if len(chosen) < min_cohort:
        raise QuorumError(
            f"{policy.name} selection drew {len(chosen)} of {len(admitted)} admitted members, "
            f"a cohort needs at least {min_cohort}"
        )
    return chosen


def _drawn(admitted: Sequence[Organisation], policy: Policy, coin: bytes) -> list[Organisation]:
    match policy:
        case All():
            return list(admitted)
        case Uniform(size):
            return _first(admitted, size, coin)
        case Poisson(rate):
            bound = math.ldexp(
                rate, 8 * _TICKET_BYTES
            )  # rate * 2**256, exactly; comparing it with an integer is exact too
            return [member for member in admitted if _ticket(coin, member) < bound]
        case Stratified(size):
            labels = {member.label for member in admitted}
            groups = [[member for member in admitted if member.label == label] for label in labels]
            return [member for group in groups for member in _first(group, size, coin)]


def _first(members: Sequence[Organisation], size: int, coin: bytes) -> list[Organisation]:
    """The `size` members with the smallest tickets. Tickets are independent, so each such set is equally likely.

    No modulo, so no bias and nothing to draw again. A tie of 256-bit tickets (never to be expected) goes by id.
    """
    return sorted(members, key=lambda member: (_ticket(coin, member), member.id))[:size]


def _ticket(coin: bytes, member: Organisation) -> int:
    """A member's own uniform integer in [0, 2**256), whoever else is on the roster."""
    data = expand(_sized("coin", coin, COIN_BYTES), f"selection-ticket/{member.id}", _TICKET_BYTES)
    return int.from_bytes(data, "big")


def _check_size(name: str, size: int) -> None:
    if not (type(size) is int and size >= 1):
        raise ConfigError(f"{name} selection needs an integer size >= 1, got {size!r}")


def _sized(what: str, data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise ValueError(f"a {what} of selection has {size} bytes, got {len(data)}")
    return data


# --------------------------------------------------------------------------------------------------------- on the wire


def sign_roster(roster: Roster, operator: SigningKey) -> bytes:
    """The roster as the canonical bytes that everybody keeps, signed by the operator."""
    if operator.public != roster.operator:
        raise ConfigError("the roster names another operator key than the one that would sign it")
    body = {
        "federation": roster.federation,
        "members": [
            {"id": m.id, "label": m.label, "public": m.public, "revoked": m.revoked, "weight_cap": m.weight_cap}
            for m in roster.members
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
        case {
            "id": str(name), "label": str(label), "public": str(public), "revoked": bool(revoked), "weight_cap": cap,
            **rest,
        }:  # fmt: skip
            if rest or type(cap) not in (int, float):
                raise ValueError(f"expected five fields and a number as weight_cap of {name}, found {cap!r}")
            return Organisation(member_id(name), public, cap, revoked, label)
        case _:
            raise ValueError("expected id, label, public, revoked and weight_cap of each member")
