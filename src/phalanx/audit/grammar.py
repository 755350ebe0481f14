"""The auditor's own reading of the log: is it a run that the rules allow, and what came of it?

A state machine over the entries, written from the words of the log and not from the code that writes it. An operator
who holds the signing key can sign any log; what it can't do is sign one that breaks these rules and have it verify:
a release without a passed decision, a weight above its cap, a revoked member, an ε below what the noise allows, an
update counted twice, a member that was asked and then left out without a reason, a cohort that its seed does not name,
a voter that signed no ballot, or a run that config.json does not describe.

Where cohorts are secret, the log holds commitments to them. What is said of members is then checked if the openings are
there, and not at all if not.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from phalanx.audit.agreed import Agreed, check_plan
from phalanx.audit.blame import naming, require
from phalanx.audit.epsilon import epsilon_of
from phalanx.audit.evidence import check_decision
from phalanx.audit.federation import Federation
from phalanx.audit.openings import Openings
from phalanx.audit.sampled import epsilon_above, epsilon_below
from phalanx.audit.schema import check_shape
from phalanx.audit.selection import LoggedCohort, check_commitment, check_invited, check_seed
from phalanx.canonical import decode
from phalanx.signing import fingerprint

_SLACK = 1e-9  # rounding of float64 sums; no attack gains from it

_IN_ATTEMPT = frozenset({"attempt-failed", "stopped"})
_AFTER_ROUND = frozenset({"round-open", "finished", "stopped"})
_NEXT: dict[str, frozenset[str]] = {  # what may follow, unless a rule below says otherwise
    "": frozenset({"genesis"}),
    "genesis": frozenset({"release"}),
    "release": _AFTER_ROUND,
    "round-open": _IN_ATTEMPT | {"updates"},
    "updates": _IN_ATTEMPT | {"cohort"},
    "cohort": _IN_ATTEMPT | {"aggregate"},
    "charge": _IN_ATTEMPT | {"aggregate"},
    "aggregate": _IN_ATTEMPT | {"ballots"},
    "ballots": _IN_ATTEMPT | {"decision"},
    "decision": _AFTER_ROUND,
    "attempt-failed": frozenset({"round-open", "stopped"}),
    "finished": frozenset(),
    "stopped": frozenset(),
}


@dataclass(frozen=True, slots=True)
class Folder:
    """What the log has to agree with: federation.json and its digest, config.json's promises and its digest.

    `openings` of secret cohorts, where an auditor was handed them.
    """

    federation: Federation
    roster: str
    agreed: Agreed
    config: str
    openings: Openings | None = None


@dataclass(frozen=True, slots=True)
class LoggedSignature:
    """A member's signature that entry `index` of `entry_kind` holds. Not verified by the grammar.

    It is made for the purpose `purpose`, in the attempt with this binding.
    """

    index: int
    entry_kind: str
    purpose: str
    binding: Mapping[str, Any]
    member: str
    receipt: str
    signature: str


@dataclass(frozen=True, slots=True)
class LoggedRelease:
    """A release as the log tells it. `base` is the parameters hash of the release before, None for the initial."""

    index: int
    version: int
    round: int
    parameters: str
    file: str
    base: str | None


@dataclass(slots=True)
class History:
    """What the log tells, entry by entry. `epsilon` is this file's own, `epsilon_recorded` the log's."""

    folder: Folder
    run: str = ""
    plan: Mapping[str, Any] = field(default_factory=dict)  # empty: nothing was promised
    committed: Mapping[str, Any] | None = None  # to a seed of selection
    cohorts: list[LoggedCohort] = field(default_factory=list)
    last: Mapping[str, Any] = field(default_factory=lambda: {"kind": "", "time": 0, "round": 0, "attempt": 0})
    may_follow: frozenset[str] = _NEXT[""]
    entries: int = 0
    decided: int = 0
    refused_candidates: int = 0
    opened: Mapping[str, Any] = field(default_factory=dict)
    sent: frozenset[str] = frozenset()
    accepted: tuple[str, ...] = ()
    charged: frozenset[str] = frozenset()
    charges: int = 0
    voted: frozenset[str] = frozenset()
    judged: str = ""  # the candidate that they voted on
    candidate: str = ""
    releases: list[LoggedRelease] = field(default_factory=list)
    signatures: list[LoggedSignature] = field(default_factory=list)
    refusals: Counter[tuple[str, str]] = field(default_factory=Counter)
    spent: dict[str, float] = field(default_factory=dict)  # party -> sum of 1/sigma^2
    total: float = 0.0
    epsilon: float | None = None
    epsilon_recorded: float | None = None
    once: set[str] = field(default_factory=set)  # receipts, nonces and reservations: none may come again


def walk(leaves: Sequence[bytes], folder: Folder) -> History:
    """The run that `leaves` tell. Raises NotCanonical or LogInconsistent, naming the entry, if the rules forbid it."""
    history = History(folder)
    for index, leaf in enumerate(leaves):
        with naming(f"log.jsonl entry {index}"):
            entry = decode(leaf)
            kind = check_shape(entry, index, sealed=folder.agreed.secret_rate is not None)
        with naming(f"log.jsonl entry {index} ({kind})"):
            if "sealed" in entry and folder.openings is not None:
                entry = folder.openings.open(entry)
                check_shape(entry, index)
            _order(history, entry)
            _RULES[kind](history, entry)
        history.last, history.entries = entry, index + 1
    return history


def _order(history: History, entry: Mapping[str, Any]) -> None:
    kind, last = entry["kind"], history.last
    begins = "round-open" in history.may_follow and (kind == "round-open" or _asks_nobody(history, kind))
    require(begins or kind in history.may_follow, f"may not follow {last['kind'] or 'nothing'!r}")
    require(entry["time"] >= last["time"], f"time {entry['time']} is before that of the entry before, {last['time']}")
    told = history.folder.agreed.secret_rate is not None and kind != "genesis" and entry["time"] != last["time"]
    require(
        not told, f"time {entry['time']} is another than that of genesis: how long a round took tells of its cohort"
    )
    expected = (last["round"], last["attempt"])
    if begins:
        expected = (expected[0], expected[1] + 1) if last["kind"] == "attempt-failed" else (expected[0] + 1, 1)
    found = (entry["round"], entry["attempt"])
    require(found == expected, f"is of round and attempt {found}, expected {expected}")
    rounds = history.folder.agreed.rounds
    require(entry["round"] <= rounds, f"round {entry['round']}, config.json has {rounds}")
    history.may_follow = _NEXT[kind]


def _asks_nobody(history: History, kind: str) -> bool:
    """Whether this is an attempt that failed before it opened. Only the policy poisson can draw too few.

    Where cohorts are secret there is no too few: a retry would tell of it.
    """
    agreed = history.folder.agreed
    return kind == "attempt-failed" and agreed.selection.policy == "poisson" and agreed.secret_rate is None


def _first_time(history: History, what: str, value: str) -> None:
    require(f"{what} {value}" not in history.once, f"{what} {value} was already used in this run")
    history.once.add(f"{what} {value}")


def _genesis(history: History, entry: Mapping[str, Any]) -> None:
    folder = history.folder
    federation = folder.federation.id
    require(entry["federation"] == federation, f"is of {entry['federation']!r}, federation.json of {federation!r}")
    require(entry["roster"] == folder.roster, "names another federation.json than the one that is here")
    require(entry["config"] == folder.config, "names another config.json than the one that is here")
    operator = fingerprint(folder.federation.operator)
    require(entry["operator"] == operator, f"names operator {entry['operator']!r}, federation.json {operator}")
    check_plan(folder.agreed, entry["privacy"])
    check_commitment(folder.agreed.selection, entry["selection"])
    history.committed = entry["selection"]
    history.run, history.plan, history.candidate = entry["run"], entry["privacy"] or {}, entry["model"]
    history.epsilon = history.epsilon_recorded = 0.0 if history.plan else None


def _round_open(history: History, entry: Mapping[str, Any]) -> None:
    folder = history.folder
    expected = {
        "federation": folder.federation.id, "run": history.run, "config": folder.config, "round": entry["round"],
        "attempt": entry["attempt"], "model": history.releases[-1].parameters, "nonce": entry["binding"]["nonce"],
    }  # fmt: skip
    odd = sorted(name for name, value in entry["binding"].items() if value != expected[name])
    require(not odd, f"bound to other values than the run has: {odd}")
    _first_time(history, "nonce", entry["binding"]["nonce"])
    rule = folder.agreed.rule
    require(entry["rule"] == rule, f"rule {entry['rule']!r}, config.json says {rule!r}")
    history.opened = entry
    if "sealed" not in entry:
        _may_take_part(history, entry["invited"])
        if folder.agreed.secret_rate is None:
            check_invited(folder.federation, folder.agreed.selection, entry["invited"])
        cohort = LoggedCohort(entry["index"], entry["round"], entry["attempt"], tuple(entry["invited"]))
        history.cohorts.append(cohort)
    if history.plan.get("unit") == "example":  # members charge before they train: a failed attempt has cost them too
        history.may_follow = frozenset({"charge"})


def _may_take_part(history: History, members: Sequence[str]) -> None:
    roster = history.folder.federation.members
    for name in members:
        require(name in roster, f"{name} is not in federation.json")
        require(not roster[name].revoked, f"{name} was revoked")


def _updates(history: History, entry: Mapping[str, Any]) -> None:
    if "sealed" in entry:
        return
    invited = frozenset(history.opened["invited"])
    for row in entry["updates"]:
        require(row["member"] in invited, f"{row['member']} was not invited")
    history.sent = _signers(history, entry, "update", history.opened["binding"]["model"])
    uncharged = sorted(history.sent - history.charged) if history.plan.get("unit") == "example" else []
    require(not uncharged, f"trained, but not charged: {uncharged}")


def _signers(history: History, entry: Mapping[str, Any], purpose: str, model: str) -> frozenset[str]:
    """The members whose signed answers about `model` the `entry` holds, one each; no receipt was in the log before."""
    kind, binding = entry["kind"], history.opened["binding"] | {"model": model}
    for row in entry[kind]:
        _first_time(history, "receipt", row["receipt"])
        history.signatures.append(LoggedSignature(entry["index"], kind, purpose, binding, **row))
    return frozenset(row["member"] for row in entry[kind])


def _cohort(history: History, entry: Mapping[str, Any]) -> None:
    if history.plan.get("unit") == "member":
        history.may_follow = _IN_ATTEMPT | {"charge"}
    if "sealed" in entry:
        return
    accepted, weights = entry["accepted"], entry["weights"]
    _may_take_part(history, accepted)
    unsigned = sorted(set(accepted) - history.sent)
    require(not unsigned, f"accepted without a signed update: {unsigned}")
    accounted = {row["member"] for row in entry["refused"]}.union(accepted)
    lost = sorted(set(history.opened["invited"]) - accounted)
    require(not lost, f"invited, but neither accepted nor refused: {lost}")
    require(weights.keys() == set(accepted), f"weights of {sorted(weights)}, accepted are {accepted}")
    for name, weight in weights.items():
        cap = history.folder.federation.members[name].weight_cap
        require(0 <= weight <= cap + _SLACK, f"weight of {name} is {weight!r}, its cap {cap!r}")
    _check_sum(history, weights)
    history.accepted = tuple(accepted)
    history.refusals.update((row["member"], row["reason"]) for row in entry["refused"])


def _check_sum(history: History, weights: Mapping[str, float]) -> None:
    """Weights sum to 1. In a secret cohort each is 1 / (rate * admitted): no member's presence moves another's."""
    agreed = history.folder.agreed
    if agreed.secret_rate is None:
        require(not weights or abs(math.fsum(weights.values()) - 1) <= _SLACK, "the weights do not sum to 1")
        return
    share = 1 / agreed.expected(history.folder.federation)
    odd = sorted(name for name, weight in weights.items() if abs(weight - share) > _SLACK)
    require(not odd, f"weights of {odd} are not 1 / (rate * members) = {share!r}")


def _charge(history: History, entry: Mapping[str, Any]) -> None:
    plan, parties = history.plan, entry["parties"]
    odd = [name for name in ("unit", "noise_multiplier", "delta") if entry[name] != plan[name]]
    require(not odd, f"other than the privacy plan: {odd}")
    require((parties == "coordinator") == (plan["unit"] == "member"), f"unit {plan['unit']}, but parties are {parties}")
    if parties == "coordinator":
        parties = [parties]
    else:
        history.may_follow = _IN_ATTEMPT | {"updates"}
        odd = sorted(set(parties) ^ set(history.opened["invited"]))
        require(not odd, f"charged are not those who were invited: {odd} are in one of both alone")
    _first_time(history, "reservation", entry["reservation"])
    history.total += plan["noise_multiplier"] ** -2
    for party in parties:
        history.spent[party] = history.spent.get(party, 0.0) + plan["noise_multiplier"] ** -2
    history.charges += 1
    _check_epsilon(history, plan, entry["epsilon"])
    history.charged = frozenset(parties)


def _check_epsilon(history: History, plan: Mapping[str, Any], recorded: float) -> None:
    """The recorded ε lies between the exact one of the party that spent most, and that of one who always took part.

    The record is an accountant's, rounded up: 1 % and 0.01 above the exact value are what its grid may cost. Of secret
    cohorts there are two bounds in place of the exact value, and what this file vouches for is the upper one.
    """
    delta, rate = plan["delta"], history.folder.agreed.secret_rate
    if rate is None:
        vouched = exact = epsilon_of(math.sqrt(max(history.spent.values(), default=0.0)), delta)
        ceiling = epsilon_of(math.sqrt(history.total), delta) * 1.01 + 0.01
    else:
        exact = epsilon_below(plan["noise_multiplier"], rate, history.charges, delta)
        vouched = epsilon_above(plan["noise_multiplier"], rate, history.charges, delta)
        ceiling = vouched * 1.01 + 0.01
    require(recorded >= exact - _SLACK, f"records ε {recorded!r}, the noise gives no less than {exact:.6f}")
    require(recorded <= ceiling, f"records ε {recorded!r}, the noise gives at most {ceiling:.6f}")
    budget = plan["epsilon_budget"]
    require(recorded <= budget + _SLACK, f"records ε {recorded!r}, the budget is {budget!r}")
    history.epsilon, history.epsilon_recorded = vouched, recorded


def _aggregate(history: History, entry: Mapping[str, Any]) -> None:
    agreed, found = history.folder.agreed, len(history.accepted)
    require(entry["rule"] == agreed.rule, f"made by {entry['rule']!r}, config.json says {agreed.rule!r}")
    enough = agreed.secret_rate is not None or found >= agreed.min_rows
    require(enough, f"an aggregate of {found} updates, {agreed.rule} needs {agreed.min_rows}")
    central = history.plan.get("unit") == "member"
    require(not central or entry["l2_sensitivity"] is not None, "central noise for an unknown l2 sensitivity")
    if agreed.secret_rate is not None:
        expected = (agreed.clip_l2 or math.inf) / agreed.expected(history.folder.federation)
        close = math.isclose(entry["l2_sensitivity"], expected, rel_tol=_SLACK)
        require(close, f"l2 sensitivity {entry['l2_sensitivity']!r}, clip_l2 / (rate * members) is {expected!r}")
    if agreed.accept_all:  # then nobody is asked to vote
        history.may_follow = _IN_ATTEMPT | {"decision"}


def _ballots(history: History, entry: Mapping[str, Any]) -> None:
    """Every admitted member may vote, also one that was not selected to train. It signs which candidate it judged."""
    _may_take_part(history, [row["member"] for row in entry["ballots"]])
    history.voted = _signers(history, entry, "ballot", entry["candidate"])
    history.judged = entry["candidate"]


def _decision(history: History, entry: Mapping[str, Any]) -> None:
    untried = len(history.releases) == 1
    check_decision(history.folder.agreed, entry, voted=history.voted, untried=untried)
    if history.judged:  # "" where the gate was switched off and nobody was asked
        require(entry["candidate"] == history.judged, f"of {entry['candidate']}, the ballots judge {history.judged}")
    history.decided += 1
    history.refused_candidates += not entry["passed"]
    history.candidate = entry["candidate"]
    history.may_follow = frozenset({"release"}) if entry["passed"] else _AFTER_ROUND


def _release(history: History, entry: Mapping[str, Any]) -> None:
    version = len(history.releases)
    require(entry["version"] == version, f"is version {entry['version']}, expected {version}")
    source = "genesis names" if version == 0 else "the gate passed"
    require(entry["parameters"] == history.candidate, f"of model {entry['parameters']}, {source} {history.candidate}")
    base = history.releases[-1].parameters if version else None
    history.releases.append(
        LoggedRelease(entry["index"], version, entry["round"], entry["parameters"], entry["file"], base)
    )


def _attempt_failed(history: History, entry: Mapping[str, Any]) -> None:
    counted = history.folder.agreed.secret_rate is None or history.last["kind"] == "ballots"
    require(counted, "before the votes: a retry would tell of a cohort that is secret")
    found = entry["round"], entry["attempt"]
    if found != (history.opened.get("round"), history.opened.get("attempt")):
        history.cohorts.append(LoggedCohort(entry["index"], *found, None))


def _stopped(history: History, entry: Mapping[str, Any]) -> None:
    expected = history.refused_candidates
    require(entry["refusals"] == expected, f"counts {entry['refusals']} refused candidates, the log holds {expected}")
    _reveal(history, entry)


def _finished(history: History, entry: Mapping[str, Any]) -> None:
    rounds = history.folder.agreed.rounds
    require(history.decided == rounds, f"after {history.decided} closed rounds, config.json has {rounds}")
    _reveal(history, entry)


def _reveal(history: History, entry: Mapping[str, Any]) -> None:
    folder, seed = history.folder, entry["selection_seed"]
    if folder.agreed.secret_rate is not None:
        require(seed is None, "reveals the seed of cohorts on whose secrecy ε counts")
        if folder.openings is None:
            return
        require(folder.openings.run == history.run, f"the openings are of run {folder.openings.run!r}")
        seed = folder.openings.seed
    check_seed(folder.federation, folder.agreed.selection, history.committed, seed, history.cohorts)


_RULES: dict[str, Callable[[History, Mapping[str, Any]], None]] = {
    "genesis": _genesis,
    "round-open": _round_open,
    "updates": _updates,
    "cohort": _cohort,
    "charge": _charge,
    "aggregate": _aggregate,
    "ballots": _ballots,
    "decision": _decision,
    "release": _release,
    "attempt-failed": _attempt_failed,
    "finished": _finished,
    "stopped": _stopped,
}
