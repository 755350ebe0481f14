"""The auditor's own draw: which members a revealed seed names for an attempt, and whether they were the ones asked.

Written from `docs/reference/log.md`, "Selection". The code that selects has another reading of it, and shares nothing
with this one but SHAKE-256, SHA-256 and the form of what is hashed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from phalanx.audit.agreed import Selection
from phalanx.audit.blame import require
from phalanx.audit.federation import Federation
from phalanx.canonical import digest, message


@dataclass(frozen=True, slots=True)
class LoggedCohort:
    """Who entry `index` says was asked in an attempt; None where it says that too few were drawn to ask anybody."""

    index: int
    round: int
    attempt: int
    invited: tuple[str, ...] | None


def check_commitment(promised: Selection, stated: Mapping[str, Any] | None) -> None:
    """Raises LogInconsistent unless genesis commits to a seed exactly where the agreed policy draws, and for that."""
    if promised.policy == "all":
        require(stated is None, "commits to a selection, config.json has every member asked")
        return
    require(stated is not None, f"commits to no selection, config.json says {promised.policy!r}")
    found = (stated or {}).get("policy")
    require(found == promised.policy, f"selects by {found!r}, config.json says {promised.policy!r}")


def check_invited(federation: Federation, promised: Selection, invited: Iterable[str]) -> None:
    """Raises LogInconsistent for a cohort below the floor, or of less than all members where all were promised.

    That they are admitted is not looked at here, nor, before the seed is known, that chance named them.
    """
    asked = set(invited)
    require(len(asked) >= promised.min_cohort, f"{len(asked)} members invited, config.json needs {promised.min_cohort}")
    lost = [name for name in federation.admitted if name not in asked] if promised.policy == "all" else []
    require(not lost, f"not invited, though on the roster and not revoked: {lost}")


def check_seed(
    federation: Federation,
    promised: Selection,
    committed: Mapping[str, Any] | None,
    seed: str | None,
    cohorts: Iterable[LoggedCohort],
) -> None:
    """Raises LogInconsistent unless the last entry's `seed` (hex) is the committed one and gives exactly `cohorts`.

    Where cohorts are secret the log has no seed; this one is then that of the openings.
    """
    if committed is None or seed is None:
        require(committed is None and seed is None, f"reveals {_a(seed)} seed, genesis has {_a(committed)} commitment")
        return
    secret = bytes.fromhex(seed)
    found = digest("selection-seed", secret)
    require(found == committed["commitment"], "reveals another seed than genesis committed to")
    for cohort in cohorts:
        named = draw(federation, promised, secret, cohort.round, cohort.attempt)
        where = f"entry {cohort.index}"
        if cohort.invited is None:
            enough = f"{where} asks nobody, the seed names {len(named)}, enough for {promised.min_cohort}"
            require(len(named) < promised.min_cohort, enough)
        else:
            require(cohort.invited == named, f"{where} invited {list(cohort.invited)}, the seed names {list(named)}")


def draw(federation: Federation, promised: Selection, seed: bytes, round: int, attempt: int) -> tuple[str, ...]:
    """The members, sorted, that `seed` (32 bytes) names for one attempt under a policy of chance."""
    coin = _shake(f"selection-coin/{round}/{attempt}", seed)
    tickets = {name: _shake(f"selection-ticket/{name}", coin) for name in federation.admitted}
    if promised.rate is not None:
        bound = Fraction(promised.rate) * 2**256
        return tuple(name for name, ticket in tickets.items() if int.from_bytes(ticket, "big") < bound)
    strata: dict[str, list[str]] = {}
    for name in sorted(tickets, key=lambda name: (tickets[name], name)):
        stratum = federation.members[name].label if promised.policy == "stratified" else ""
        strata.setdefault(stratum, []).append(name)
    return tuple(sorted(name for queue in strata.values() for name in queue[: promised.size]))


def _shake(label: str, key: bytes) -> bytes:
    """32 bytes of SHAKE-256 over the purpose, a zero byte, the key's length in 4 bytes and the key."""
    return hashlib.shake_256(message(f"expand/{label}", len(key).to_bytes(4, "big") + key)).digest(32)


def _a(thing: object) -> str:
    return "no" if thing is None else "a"
