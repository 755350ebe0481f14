"""A small run, made as the coordinator makes one, by an operator who can also be told to cheat.

Two rounds, four members and a revoked one, central noise. Round 1 passes with one update refused; the first attempt of
round 2 fails, the second passes. All four vote, whoever was selected to train. Everything is derived from the names:
the same arguments, the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from phalanx.admission import (
    All,
    Organisation,
    Poisson,
    Policy,
    Roster,
    Stratified,
    Uniform,
    coin_of,
    commitment_of,
    select,
)
from phalanx.audit import (
    Entry,
    Log,
    LoggedAnswer,
    Moment,
    PrivacyPlan,
    SelectionPlan,
    entries,
    log_origin,
    sign_checkpoint,
)
from phalanx.canonical import digest, encode, model_digest
from phalanx.release import file_digest, initial_release, publish, release_files, to_safetensors
from phalanx.signing import SigningKey, fingerprint, receipt_statement
from phalanx.types import (
    F32,
    Approved,
    Binding,
    Candidate,
    Checkpoint,
    Layout,
    MemberId,
    Reason,
    Refusal,
    TensorSpec,
    Verdict,
)

MEMBERS = tuple(MemberId(name) for name in ("ash", "birch", "cedar", "fir"))
REVOKED = MemberId("yew")
LABELS: Mapping[str, str] = {"ash": "north", "birch": "", "cedar": "south", "fir": "south", "yew": "north"}
LAYOUT = Layout((TensorSpec("weight", (2, 2), 0), TensorSpec("bias", (2,), 4)))  # not in the order of names
RULE = "norm-clip(1) >> mean"
PLAN = PrivacyPlan(unit="member", noise_multiplier=4.0, delta=1e-5, epsilon_budget=3.0, rounds=2)
VERDICT = Verdict(passed=True, test="overall", p_value=15 / 16, worse=1, better=3, voters=4)
REFUSING = {"passed": False, "test": "overall", "p_value": 2.0**-20, "worse": 20, "better": 0}  # a decision's fields
EFFECTIVE: Mapping[str, Any] = {  # what `Settings.effective` writes
    "federation": {
        "name": "grove", "members": [*MEMBERS, REVOKED], "profile": "lab", "weight_cap": 0.5,
        "labels": {name: label for name, label in LABELS.items() if label},
    },
    "selection": {"policy": "all", "size": None, "rate": None, "min_cohort": 1},
    "run": {"rounds": 2, "missing_allowed": 1, "max_refusals": 5, "round_seconds": 900, "lab_seed": None},
    "learning": {"module": "m.py", "held_out": 0.15, "learning_rate": 0.1, "momentum": 0.0, "local_steps": 1},
    "aggregation": {"rule": "mean", "f": 0, "pre": ["norm-clip"], "clip_l2": 1.0},
    "screening": {"max_norm": 2.0, "max_examples": 1000, "weighting": "equal", "unsafe_accept_all": False},
    "privacy": {
        "unit": "member", "epsilon": 3.0, "delta": 1e-5, "noise_multiplier": 4.0, "clip_l2": None, "normaliser": None,
    },
    "gate": {
        "f": 1, "ballot": "counts", "vote_significance": 0.01, "accuracy_buckets": 20, "significance": 0.001,
        "class_significance": 0.001, "unsafe_accept_all": False,
    },
    "floor": {"max_epsilon": None, "max_delta": 1e-5, "refused_rules": []},
    "rule": RULE,
}  # fmt: skip


def key_of(name: str) -> SigningKey:
    return SigningKey.from_seed(hashlib.sha256(name.encode()).digest())


def hash_of(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def model_of(run: str, version: int) -> F32:
    return np.random.default_rng([len(run), *run.encode(), version]).normal(size=LAYOUT.d).astype(np.float32)


def independent_epsilon(charges: int, sigma: float = 4.0, delta: float = 1e-5) -> float:
    """Balle and Wang's formula by scipy, rounded up to 1e-3 as the ledger does."""
    mu = math.sqrt(charges) / sigma

    def excess(epsilon: float) -> float:
        upper = norm.logcdf(mu / 2 - epsilon / mu)
        return float(np.exp(upper) - np.exp(epsilon + norm.logcdf(-mu / 2 - epsilon / mu))) - delta

    return math.ceil(float(brentq(excess, 0.0, 500.0, xtol=1e-12)) * 1000) / 1000


def federation_file(operator: SigningKey, owner: str = "") -> bytes:
    members = [
        {
            "id": name, "label": LABELS[name], "public": key_of(owner + name).public, "revoked": name == REVOKED,
            "weight_cap": 0.5,
        }
        for name in (*MEMBERS, REVOKED)
    ]  # fmt: skip
    body = {"federation": "grove", "members": members, "operator": operator.public, "version": 1}
    return encode({"body": body, "signature": operator.sign("federation", encode(body))})


def config_file(run: str, agreed: Mapping[str, Any] | None = None) -> bytes:
    """The effective configuration of `run`; `agreed` changes fields in its tables, or replaces what is no table."""
    tables = {"code": hash_of(run), **EFFECTIVE}
    for name, value in (agreed or {}).items():
        both = isinstance(value, Mapping) and isinstance(tables[name], Mapping)
        tables[name] = {**tables[name], **value} if both else value
    return encode(tables)


def policy_of(table: Mapping[str, Any]) -> Policy:
    """What the run itself makes of the table that the auditor reads."""
    match table["policy"]:
        case "uniform":
            return Uniform(table["size"])
        case "poisson":
            return Poisson(table["rate"])
        case "stratified":
            return Stratified(table["size"])
        case _:
            return All()


class Run:
    """One run of one operator: its honest entries, and the folder that its keys sign over any entries at all."""

    def __init__(
        self,
        run: str = "run-1",
        operator: str = "operator",
        owner: str = "",
        agreed: Mapping[str, Any] | None = None,
        unit: str = "member",
    ) -> None:
        self.run, self.owner, self.key = run, owner, key_of(operator)
        self.federation, self.config = federation_file(self.key, owner), config_file(run, agreed)
        self.fingerprint = fingerprint(self.key.public)
        self.selection = json.loads(self.config)["selection"]
        self.policy = policy_of(self.selection)
        self.seed = None if isinstance(self.policy, All) else hashlib.sha256(f"seed {run}".encode()).digest()
        self.chosen: dict[tuple[int, int], tuple[MemberId, ...]] = {}  # cohorts of attempts, whatever chance says
        self.plan, self.central, self.attempts = replace(PLAN, unit=unit), unit == "member", 0

    def invited(self, round: int, attempt: int) -> tuple[MemberId, ...]:
        if (round, attempt) in self.chosen:
            return self.chosen[round, attempt]
        coin = b"" if self.seed is None else coin_of(self.seed, round, attempt)
        roster = Roster(
            "grove",
            self.key.public,
            tuple(
                Organisation(name, key_of(name).public, revoked=name == REVOKED, label=LABELS[name])
                for name in (*MEMBERS, REVOKED)
            ),
        )
        return select(roster, self.policy, coin, min_cohort=self.selection["min_cohort"])

    def binding(self, round: int, attempt: int, base: int) -> Binding:
        nonce = hash_of(f"nonce {self.run} {round} {attempt}")[:32]
        model = model_digest(model_of(self.run, base))
        return Binding("grove", self.run, round, attempt, model, digest("config", self.config), nonce)

    def answer(self, kind: str, member: MemberId, binding: Binding) -> LoggedAnswer:
        """A member's signed update or ballot, as `kind` says."""
        receipt = hash_of(f"manifest {kind} {member} {binding.as_json()}")
        signature = key_of(self.owner + member).sign(kind, receipt_statement(binding.as_json(), receipt))
        return LoggedAnswer(member, receipt, signature)

    def ballots(self, at: Moment, binding: Binding, candidate: str) -> Entry:
        """All four sign which candidate they judge."""
        judged = replace(binding, model=candidate)
        return entries.ballots(at, [self.answer("ballot", m, judged) for m in MEMBERS], candidate=candidate)

    def genesis(self, plan: PrivacyPlan | None = PLAN) -> Entry:
        self.attempts = 0
        return entries.genesis(
            Moment(1000),
            federation="grove",
            run=self.run,
            roster=digest("file", self.federation),
            config=digest("config", self.config),
            operator=self.fingerprint,
            model=model_digest(model_of(self.run, 0)),
            privacy=self.plan if plan is PLAN else plan,
            selection=None if self.seed is None else SelectionPlan(self.policy.name, commitment_of(self.seed)),
        )

    def released(self, at: Moment, version: int) -> Entry:
        model = model_of(self.run, version)
        file = file_digest(to_safetensors(model, LAYOUT))
        return entries.release(at, version=version, parameters=model_digest(model), file=file)

    def opened(self, binding: Binding) -> Entry:
        key = hash_of(f"round key {binding.nonce}")
        time = 1000 + 10 * binding.round + binding.attempt
        invited = self.invited(binding.round, binding.attempt)
        return entries.round_open(time, binding=binding, round_key=key, rule=RULE, invited=invited)

    def begun(self, binding: Binding) -> list[Entry]:
        """An attempt that opens; where members charge before they train, with their charge."""
        opened, self.attempts = self.opened(binding), self.attempts + 1
        if self.central:
            return [opened]
        at, name = Moment(opened["time"], binding.round, binding.attempt), f"{self.run}/{binding.nonce}"
        spent = independent_epsilon(self.attempts)
        return [
            opened,
            entries.charge(at, plan=self.plan, epsilon=spent, parties=opened["invited"], reservation=name),
        ]

    def attempt(self, binding: Binding, version: int) -> list[Entry]:
        """An attempt that ends in the release of `version`: fir's update is too long, the others count."""
        at = Moment(1005 + 10 * binding.round, binding.round, binding.attempt)
        invited = self.invited(binding.round, binding.attempt)
        accepted = [member for member in invited if member != "fir"]
        refused = [Refusal(fir, Reason.NORM_TOO_LARGE, "norm 9.5, the bound is 2") for fir in invited if fir == "fir"]
        candidate = model_digest(model_of(self.run, version))
        epsilon = independent_epsilon(version)
        charge = entries.charge(at, plan=PLAN, epsilon=epsilon, parties=None, reservation=f"{self.run}/{version}")
        return [
            *self.begun(binding),
            entries.updates(at, [self.answer("update", member, binding) for member in invited]),
            entries.cohort(
                at, accepted=accepted, refused=refused, weights={name: 1 / len(accepted) for name in accepted}
            ),
            *([charge] if self.central else []),
            entries.aggregate(at, rule=RULE, vector=hash_of(f"aggregate {version}"), l2_sensitivity=0.25),
            self.ballots(at, binding, candidate),
            entries.decision(at, verdict=VERDICT, candidate=candidate),
            self.released(at, version),
        ]

    def entries(self) -> list[Entry]:
        failed = self.binding(2, 1, base=1)
        return [
            self.genesis(),
            self.released(Moment(1000), 0),
            *self.attempt(self.binding(1, 1, base=0), 1),
            *self.begun(failed),
            entries.attempt_failed(Moment(1022, 2, 1), reason="1 of 4 members answered, 3 are needed"),
            *self.attempt(self.binding(2, 2, base=1), 2),
            entries.finished(Moment(1030, 2, 2), selection_seed=self.seed),
        ]

    def checkpoint(self, log: Log) -> Checkpoint:
        return sign_checkpoint(log_origin("grove", self.run), log.size, log.root, self.key)

    def folder(self, told: list[Entry] | None = None) -> dict[str, bytes]:
        """The public folder over the entries `told`, every signature in it the operator's own."""
        log, files, lines = Log(), {"federation.json": self.federation, "config.json": self.config}, []
        for entry in self.entries() if told is None else told:
            lines.append(log.append(entry) + b"\n")
            if entry["kind"] == "release":
                files |= self.publish(entry, log)
        files["log.jsonl"] = b"".join(lines)
        files["checkpoint"] = self.checkpoint(log).note
        return files

    def publish(self, entry: Entry, log: Log) -> dict[str, bytes]:
        version, head, config = entry["version"], self.checkpoint(log), digest("config", self.config)
        model = model_of(self.run, version)
        if version == 0:
            return release_files(
                initial_release(
                    model, head, federation="grove", run=self.run, config=config, layout=LAYOUT, entry=log.size - 1,
                    key=self.key,
                )
            )  # fmt: skip
        base = model_digest(model_of(self.run, version - 1))
        binding = self.binding(entry["round"], entry["attempt"], base=version - 1)
        approved = Approved(Candidate(model, model_digest(model), base, binding), VERDICT)
        return release_files(
            publish(
                approved, head, version=version, previous=version - 1, layout=LAYOUT, entry=log.size - 1, key=self.key
            )
        )


def find(told: list[Entry], kind: str, nth: int = 0) -> dict[str, Any]:
    return [entry for entry in told if entry["kind"] == kind][nth]
