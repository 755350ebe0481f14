"""What the log says, one function for each kind of entry. `Log.append` gives an entry its index.

    log     = genesis release attempt* [finished | stopped]
    attempt = attempt-failed | opened [attempt-failed]
    opened  = round-open [charge] [updates [cohort [[charge] aggregate [ballots] [decision [release]]]]]

Rounds and attempts count from 1; genesis and the release of version 0, the initial model, carry round 0 and attempt 0.
A `release` stands exactly where the decision passed. `attempt-failed` ends an attempt before its decision; the same
round then opens again with the next attempt. It stands alone where the policy poisson drew too few members to ask.
`ballots` stands before every decision, but for a gate that was switched off and accepts all without a vote. `finished`
stands between rounds, `stopped` also inside one; both carry the round and attempt of the entry before. With a privacy
plan of unit example every attempt opens with its charge, since members charge before they train; with unit member the
charge stands before the aggregate that has the noise.

Where members are selected by chance, genesis commits to the secret seed of all draws and the last entry reveals it.

Where cohorts are secret, the seed is not revealed, and `round-open`, `updates` and `cohort` have one field `sealed` in
place of those that tell of the cohort: a salted commitment to them. All entries then carry the time of genesis, since
how long a round took would tell of its cohort too.

Hashes are 64 hexadecimal characters. `audit.grammar` checks all of this again and shares nothing with this file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phalanx.canonical import digest, encode
from phalanx.types import Binding, MemberId, Refusal, Verdict

Entry = dict[str, Any]
MAX_DETAIL = 160
SALT_BYTES = 32
_OF_THE_COHORT = {"round-open": ("invited",), "updates": ("updates",), "cohort": ("accepted", "refused", "weights")}


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyPlan:
    """What the run promises. `unit` is example (noise by each member) or member (noise by the coordinator)."""

    unit: str
    noise_multiplier: float
    delta: float
    epsilon_budget: float
    rounds: int


@dataclass(frozen=True, slots=True)
class SelectionPlan:
    """By which policy of chance members are selected, and the hash that commits to the secret seed of all draws."""

    policy: str
    commitment: str


@dataclass(frozen=True, slots=True)
class Moment:
    """When an entry was made (unix seconds), and in which attempt of which round."""

    time: int
    round: int = 0
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class LoggedAnswer:
    """A member's signed update or ballot as the log knows it: its manifest's hash, and the signature over it.

    Never its content. What is signed besides the hash is the attempt's binding, under the answer's kind.
    """

    member: MemberId
    receipt: str
    signature: str


def genesis(
    at: Moment, *, federation: str, run: str, roster: str, config: str, operator: str, model: str,
    privacy: PrivacyPlan | None, selection: SelectionPlan | None,
) -> Entry:  # fmt: skip
    """The first entry. `roster` is digest("file", federation.json), `operator` the operator's fingerprint.

    `config` is digest("config", config.json), `model` the hash of the initial parameters. `selection` is None where
    every admitted member is asked.
    """
    plan = None if privacy is None else {
        "delta": privacy.delta,
        "epsilon_budget": privacy.epsilon_budget,
        "noise_multiplier": privacy.noise_multiplier,
        "rounds": privacy.rounds,
        "unit": privacy.unit,
    }  # fmt: skip
    return _entry(
        "genesis", at, federation=federation, run=run, roster=roster, config=config, operator=operator, model=model,
        privacy=plan,
        selection=None if selection is None else {"commitment": selection.commitment, "policy": selection.policy},
    )  # fmt: skip


def round_open(time: int, *, binding: Binding, round_key: str, rule: str, invited: Iterable[MemberId]) -> Entry:
    """An attempt begins: what its messages are bound to, the hash of the round's public key, rule, who is asked."""
    at = Moment(time, binding.round, binding.attempt)
    return _entry(
        "round-open", at, binding=binding.as_json(), round_key=round_key, rule=rule, invited=sorted(invited)
    )  # fmt: skip


def updates(at: Moment, received: Iterable[LoggedAnswer]) -> Entry:
    """The signed updates that arrived, one a member."""
    return _entry("updates", at, updates=_signed_rows(received))


def cohort(
    at: Moment, *, accepted: Iterable[MemberId], refused: Iterable[Refusal], weights: Mapping[MemberId, float]
) -> Entry:
    """Who counts and how much, who does not and why. Every invited member is in one list or in the other."""
    return _entry(
        "cohort",
        at,
        accepted=sorted(accepted),
        refused=_refusals(refused),
        weights={member: float(weight) for member, weight in weights.items()},
    )


def charge(
    at: Moment, *, plan: PrivacyPlan, epsilon: float, parties: Sequence[MemberId] | None, reservation: str
) -> Entry:
    """A durable charge: `epsilon` spent so far, this one included, and its key in the ledger.

    `parties`: the members asked to charge their own ledgers, or None where the coordinator's is charged.
    """
    return _entry(
        "charge",
        at,
        unit=plan.unit,
        noise_multiplier=plan.noise_multiplier,
        delta=plan.delta,
        epsilon=epsilon,
        parties="coordinator" if parties is None else sorted(parties),
        reservation=reservation,
    )


def aggregate(at: Moment, *, rule: str, vector: str, l2_sensitivity: float | None) -> Entry:
    """The aggregate's hash, the rule that made it and its sensitivity, None where that is not analysed."""
    return _entry("aggregate", at, rule=rule, vector=vector, l2_sensitivity=l2_sensitivity)


def ballots(at: Moment, received: Iterable[LoggedAnswer], *, candidate: str) -> Entry:
    """Who voted on the candidate with this parameters hash: the signed ballots that arrived, one a member.

    Also those of members whose ballot the decision then refuses, as bad or because they signed two different ones:
    a decision's voters are exactly the members here, less those whom it refuses as bad-ballot or duplicate.
    """
    return _entry("ballots", at, ballots=_signed_rows(received), candidate=candidate)


def decision(at: Moment, *, verdict: Verdict, candidate: str) -> Entry:
    """What the gate decided about the candidate with this parameters hash, and its evidence."""
    return _entry(
        "decision",
        at,
        passed=verdict.passed,
        test=verdict.test,
        p_value=verdict.p_value,
        worse=verdict.worse,
        better=verdict.better,
        voters=verdict.voters,
        refused=_refusals(verdict.refused),
        candidate=candidate,
    )


def release(at: Moment, *, version: int, parameters: str, file: str) -> Entry:
    """A model is about to be published: hash of its parameters, and of its file (`release.file_digest`)."""
    return _entry("release", at, version=version, parameters=parameters, file=file)


def attempt_failed(at: Moment, *, reason: str) -> Entry:
    """The attempt ended before its decision, and why."""
    return _entry("attempt-failed", at, reason=reason)


def finished(at: Moment, *, selection_seed: bytes | None) -> Entry:
    """The run did all its rounds. `selection_seed` is what genesis committed to, None where it did not."""
    return _entry("finished", at, selection_seed=_hex(selection_seed))


def stopped(at: Moment, *, reason: str, refusals: int, selection_seed: bytes | None) -> Entry:
    """The run ended early, and why. `refusals` counts the candidates that the gate refused in the whole run.

    `selection_seed` as in `finished`: no draw comes after this one either.
    """
    return _entry("stopped", at, reason=reason, refusals=refusals, selection_seed=_hex(selection_seed))


def tells_of_cohort(entry: Entry) -> bool:
    """Whether the log has to hold this entry sealed where cohorts are secret."""
    return entry["kind"] in _OF_THE_COHORT


def sealed(entry: Entry, salt: bytes) -> tuple[Entry, bytes]:
    """The entry without what it tells of the cohort, committed to instead; and the opening, to be kept secret.

    The opening is canonical JSON with 32 secret bytes of `salt`, the commitment its hash: without the salt, who took
    part could be tried. It names the attempt, so that no entry opens in the place of another.
    """
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt has {SALT_BYTES} bytes, got {len(salt)}")
    names = _OF_THE_COHORT[entry["kind"]]
    place = {name: entry[name] for name in ("kind", "round", "attempt")}
    opening = encode({**place, "fields": {name: entry[name] for name in names}, "salt": salt.hex()})
    shown = {name: value for name, value in entry.items() if name not in names}
    return {**shown, "sealed": digest("sealed-entry", opening)}, opening


def _entry(kind: str, at: Moment, **fields: Any) -> Entry:
    return {"kind": kind, "time": at.time, "round": at.round, "attempt": at.attempt, **fields}


def _signed_rows(received: Iterable[LoggedAnswer]) -> list[Entry]:
    rows = sorted(received, key=lambda answer: answer.member)
    return [{"member": row.member, "receipt": row.receipt, "signature": row.signature} for row in rows]


def _hex(seed: bytes | None) -> str | None:
    return None if seed is None else seed.hex()


def _refusals(refused: Iterable[Refusal]) -> list[Entry]:
    """One row for each member and reason: nobody who can send often or at length makes the log long."""
    rows = {(r.member, r.reason): _short(r.detail) for r in sorted(refused, key=lambda r: r.detail, reverse=True)}
    return [
        {"member": member, "reason": reason.value} | ({"detail": detail} if detail else {})
        for (member, reason), detail in sorted(rows.items())
    ]


def _short(detail: str) -> str:
    """A detail may repeat hostile bytes: plain ASCII, and not much of it."""
    return detail.encode("ascii", "replace").decode()[:MAX_DETAIL]
