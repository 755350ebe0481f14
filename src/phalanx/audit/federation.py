"""The auditor's own reading of federation.json: who the operator and the members are.

Phalanx has another reader, in admission, which decides who takes part. This one shares nothing with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from phalanx.audit.blame import require
from phalanx.canonical import decode, encode
from phalanx.signing import verify

ID = re.compile(r"[a-z0-9-]{1,63}")
_LABEL = re.compile(r"[a-z0-9-]{0,63}")
_PUBLIC = re.compile(r"[0-9a-f]{64}")
_DECIMAL = re.compile(r"(0\.[0-9]{1,20}|1|1\.0{1,20})")


@dataclass(frozen=True, slots=True)
class AuditedMember:
    """One organisation: public key (hex), the largest weight it may have, whether it may not take part, its group."""

    public: str
    weight_cap: float
    revoked: bool
    label: str


@dataclass(frozen=True, slots=True)
class Federation:
    """What federation.json says, its signature verified under the operator's key that it names itself."""

    id: str
    operator: str
    members: Mapping[str, AuditedMember]

    @property
    def admitted(self) -> tuple[str, ...]:
        """Who may take part, sorted: all that are not revoked."""
        return tuple(name for name, member in self.members.items() if not member.revoked)


def open_federation(data: bytes) -> Federation:
    """The federation in `data`. Raises NotCanonical, BadSignature or LogInconsistent.

    The key is the file's own: what makes it the right one is its fingerprint, from another channel.
    """
    outer = decode(data)
    require(_object(outer, "body", "signature"), "expected an object of body and signature")
    body, signature = outer["body"], outer["signature"]
    require(_object(body, "federation", "members", "operator", "version"), "the body has other fields than it should")
    require(isinstance(body["operator"], str) and isinstance(signature, str), "operator or signature is no text")
    verify(body["operator"], "federation", encode(body), signature)
    require(type(body["version"]) is int and body["version"] >= 1, f"version is {body['version']!r}")
    require(is_id(body["federation"]), f"federation is {body['federation']!r}, no id")
    return Federation(body["federation"], body["operator"], _members(body["members"]))


def is_id(value: Any) -> bool:
    """Whether `value` is an id: 1 to 63 of a-z, 0-9 and -."""
    return isinstance(value, str) and ID.fullmatch(value) is not None


def _members(rows: Any) -> dict[str, AuditedMember]:
    require(isinstance(rows, list) and len(rows) > 0, "members is no list, or empty")
    members: dict[str, AuditedMember] = {}
    last = ""
    for row in rows:
        fields = ("id", "label", "public", "revoked", "weight_cap")
        require(_object(row, *fields), "a member has other fields than it should")
        name, public = row["id"], row["public"]
        require(is_id(name) and name > last, f"member {name!r} is no id, or out of order")
        require(isinstance(public, str) and _PUBLIC.fullmatch(public) is not None, f"the key of {name} is no key")
        require(isinstance(row["revoked"], bool), f"revoked of {name} is {row['revoked']!r}")
        label = row["label"]
        require(isinstance(label, str) and _LABEL.fullmatch(label) is not None, f"the label of {name} is {label!r}")
        members[name] = AuditedMember(public, _cap(row["weight_cap"], name), row["revoked"], label)
        last = name
    require(len({m.public for m in members.values()}) == len(members), "two members have the same key")
    return members


def _cap(value: Any, name: str) -> float:
    number = type(value) in (int, float) or (isinstance(value, str) and _DECIMAL.fullmatch(value) is not None)
    require(number and 0 < float(value) <= 1, f"weight_cap of {name} is {value!r}, expected above 0 and at most 1")
    return float(value)


def _object(value: Any, *fields: str) -> bool:
    return isinstance(value, dict) and sorted(value) == list(fields)
