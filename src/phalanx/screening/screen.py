"""Which of this round's updates count, and how much. A bad member is quarantined by name; the round goes on.

This is the only file that constructs a `Cohort`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from phalanx.errors import QuorumError
from phalanx.screening.weights import capped_weights, check_claim
from phalanx.screening.wellformed import check_length, l2_norm, read, row_of
from phalanx.types import F32, F64, Binding, Cohort, Layout, MemberId, Reason, Refusal, Screening, Update


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreeningPolicy:
    """What an update has to be. `max_norm` bounds the l2 norm, `max_examples` a claimed sample count.

    `weighting`: "equal", or "claimed" for capped sample counts; both stay under the members' weight caps.
    `unsafe_accept_all` switches screening off, for undefended runs in the lab: whatever has the right length counts,
    as often as it comes, weighted by its claim as it stands.
    `expected` is that of secret cohorts (see `Cohort`): nothing then depends on how many count, not even whether the
    round goes on. There is no quorum, and nobody's weight moves another's.
    """

    max_norm: float
    max_examples: int
    min_rows: int
    weighting: Literal["equal", "claimed"] = "equal"
    unsafe_accept_all: bool = False
    expected: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.max_norm) and self.max_norm > 0):
            raise ValueError(f"max_norm is finite and > 0, got {self.max_norm!r}")
        if not 1 <= self.max_examples <= 1 << 53:
            raise ValueError(f"max_examples is in 1 to 2**53, got {self.max_examples!r}")
        if not self.min_rows >= 1:
            raise ValueError(f"min_rows is >= 1, got {self.min_rows!r}")
        if self.weighting not in ("equal", "claimed"):
            raise ValueError(f"weighting is 'equal' or 'claimed', got {self.weighting!r}")
        if self.expected is not None and not (math.isfinite(self.expected) and self.expected >= 1):
            raise ValueError(f"a secret cohort has 1 expected member or more, got {self.expected!r}")


@dataclass(frozen=True, slots=True)
class _Taken:
    """One update that counts; `claim` is capped unless screening is off."""

    member: MemberId
    row: F32
    norm: float
    claim: int | float
    capped: bool


def screen(
    updates: Sequence[Update],
    refused: Sequence[Refusal],
    policy: ScreeningPolicy,
    layout: Layout,
    binding: Binding,
    invited: tuple[MemberId, ...],
    caps: Mapping[MemberId, float],
) -> tuple[Cohort, Screening]:
    """The updates that count, as rows sorted by member, and who does not count and why.

    `refused` are the channel's refusals: answers, not members. One forged in a member's name does not cost that member
    its own sound update. `caps` has the largest weight in (0, 1] of every invited member (see `capped_weights`).

    | answers in one member's name | outcome |
    |---|---|
    | none, and none refused | MISSING |
    | from somebody not asked this round | UNKNOWN_MEMBER |
    | the same update several times (same receipt) | counts once |
    | different updates, each signed | all refused, DUPLICATE |

    The last is equivocation: an honest member answers once. To keep the first would let the order of arrival, which the
    network decides, choose between them.
    The answer does not depend on the order of `updates`. Raises QuorumError if fewer than `min_rows` are sound; never
    for a secret cohort.
    """
    if policy.unsafe_accept_all:
        taken, bad = _take_all(updates, layout)
    else:
        taken, bad = _take_sound(updates, policy, layout, frozenset(invited))
    members = tuple(one.member for one in taken)
    out = _with_missing((*refused, *bad), members, invited)
    _check_quorum(len(taken), out, policy)
    rows = np.stack([one.row for one in taken]) if taken else np.zeros((0, layout.d), np.float32)
    cohort = Cohort(members, rows, _weigh(taken, policy, caps), len(invited), binding, policy.expected)
    capped = tuple(one.member for one in taken if one.capped)
    return cohort, Screening(members, out, {one.member: one.norm for one in taken}, capped)


def _take_sound(
    updates: Sequence[Update], policy: ScreeningPolicy, layout: Layout, invited: frozenset[MemberId]
) -> tuple[list[_Taken], list[Refusal]]:
    """Sound updates and refusals, each sorted by member."""
    by_member: dict[MemberId, list[Update]] = defaultdict(list)
    for update in updates:
        by_member[update.member].append(update)
    verdicts = [_judge(by_member[member], policy, layout, invited) for member in sorted(by_member)]
    return [v for v in verdicts if isinstance(v, _Taken)], [v for v in verdicts if isinstance(v, Refusal)]


def _judge(
    answers: list[Update], policy: ScreeningPolicy, layout: Layout, invited: frozenset[MemberId]
) -> _Taken | Refusal:
    """One member's answers (at least one)."""
    update = answers[0]
    if update.member not in invited:
        return Refusal(update.member, Reason.UNKNOWN_MEMBER, "not asked this round")
    different = len({answer.receipt for answer in answers})
    if different > 1:
        return Refusal(update.member, Reason.DUPLICATE, f"{different} different updates, expected one")
    row = row_of(update, layout, policy.max_norm)
    if isinstance(row, Refusal):
        return row
    claim = update.claimed_examples
    bad_claim = check_claim(update.member, claim)
    if bad_claim:
        return bad_claim
    return _Taken(update.member, row[0], row[1], min(claim, policy.max_examples), claim > policy.max_examples)


def _with_missing(
    refused: Sequence[Refusal], accepted: Sequence[MemberId], invited: tuple[MemberId, ...]
) -> tuple[Refusal, ...]:
    answered = {*accepted, *(refusal.member for refusal in refused)}
    missing = [Refusal(member, Reason.MISSING) for member in invited if member not in answered]
    return tuple(sorted((*refused, *missing), key=lambda one: (one.member, one.reason, one.detail)))


def _check_quorum(found: int, refused: Sequence[Refusal], policy: ScreeningPolicy) -> None:
    if policy.expected is None and found < policy.min_rows:
        reasons = ", ".join(f"{one.member} {one.reason}" for one in refused[:10]) or "nobody was refused"
        raise QuorumError(f"the round needs {policy.min_rows} sound updates, found {found} ({reasons})")


def _weigh(taken: Sequence[_Taken], policy: ScreeningPolicy, caps: Mapping[MemberId, float]) -> F64:
    if policy.unsafe_accept_all:
        return _raw_weights(taken)
    if policy.expected is not None:
        return np.full(len(taken), 1 / policy.expected)
    without = [one.member for one in taken if one.member not in caps]
    if without:
        raise ValueError(f"no weight cap for {', '.join(without)}")
    shares = [one.claim if policy.weighting == "claimed" else 1 for one in taken]
    return capped_weights(shares, [caps[one.member] for one in taken])


def _take_all(updates: Sequence[Update], layout: Layout) -> tuple[list[_Taken], list[Refusal]]:
    """Screening switched off. Only what cannot be made a row and a number at all is left out."""
    taken, bad = [], []
    for update in sorted(updates, key=lambda one: (one.member, one.receipt)):
        claim = update.claimed_examples
        refusal = check_length(update, layout)
        if refusal is None and not isinstance(claim, int | float):
            refusal = check_claim(update.member, claim)
        if refusal is not None:
            bad.append(refusal)
            continue
        row = read(update)
        with np.errstate(all="ignore"):  # a signalling NaN warns when it is converted
            taken.append(_Taken(update.member, row, l2_norm(row), claim, capped=False))
    return taken, bad


def _raw_weights(taken: Sequence[_Taken]) -> F64:
    """Claims / their sum, with every claim believed: negative, zero, infinite or NaN."""
    most = 1 << 1000  # what float() can still take
    claims = np.array([float(max(min(one.claim, most), -most)) for one in taken])
    with np.errstate(all="ignore"):
        return np.asarray(claims / claims.sum(), dtype=np.float64)
