"""The coordinator's page: one round of the corridor, step by step. It schedules and relays; it trains nothing.

    admit → ask → receive → open, screen → charge → aggregate → step → vote → decide → log → publish

Log entries are durable before what they tell of becomes visible: the opening before members are asked, the charge
before the candidate is shown to voters, the decision before the release.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from phalanx.admission import Poisson, Policy, Roster, coin_of, commitment_of, select, sign_roster
from phalanx.audit import entries
from phalanx.audit.entries import SALT_BYTES, Entry, LoggedAnswer, Moment, PrivacyPlan, SelectionPlan
from phalanx.canonical import digest, model_digest
from phalanx.channel.envelope import Directory, ballot_terms, update_terms
from phalanx.channel.keys import RoundKey
from phalanx.channel.order import TRAIN, VOTE, Order, sign_order
from phalanx.errors import BudgetExhausted, QuorumError
from phalanx.gate import GatePolicy, SiteTable, approve, judge, site_accuracy
from phalanx.learning.server import Scaffold, ServerOptimiser, first_memory, server_control, step
from phalanx.privacy import epsilon
from phalanx.release import file_digest, initial_release, publish, to_safetensors
from phalanx.round.aggregator import Ballots, Invitation, aggregate_cohort, draw_round_key, open_ballots, screen_updates
from phalanx.round.effects import (
    Acknowledge,
    Answer,
    Append,
    Ask,
    Corridor,
    Draw,
    Evaluate,
    Keep,
    KeepOpening,
    Now,
    Publish,
    Receive,
)
from phalanx.rules import Chain
from phalanx.screening import ScreeningPolicy
from phalanx.signing import SigningKey, fingerprint
from phalanx.types import (
    F32,
    Aggregate,
    Binding,
    Candidate,
    Checkpoint,
    Cohort,
    ExamplePrivacy,
    Layout,
    MemberId,
    MemberPrivacy,
    Refusal,
    Screening,
    Update,
    Verdict,
)

NONCE_BYTES = 16
ANSWERS_A_MEMBER = 3  # more answers than this of one member in one attempt are dropped unread
ANSWERS_OF_STRANGERS = 16  # nor more than this of all others together: enough to see in the log that somebody tries


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What does not change during a run."""

    federation: str
    run: str
    config: bytes  # canonical JSON of the effective configuration
    operator: SigningKey = field(repr=False)
    roster: Roster
    layout: Layout
    classes: int
    rule: Chain
    privacy: ExamplePrivacy | MemberPrivacy | None
    optimiser: ServerOptimiser
    scaffold: Scaffold | None
    selection: Policy
    selection_seed: bytes | None = field(repr=False)  # of all draws, where there is chance; secret until the end
    min_cohort: int
    screening: ScreeningPolicy
    gate: GatePolicy
    rounds: int
    round_seconds: int

    @property
    def config_digest(self) -> str:
        """What every message of the run is bound to."""
        return digest("config", self.config)

    @property
    def admitted(self) -> tuple[MemberId, ...]:
        """Everybody who may take part; all of them vote."""
        return tuple(one.id for one in self.roster.members if not one.revoked)

    @property
    def selection_plan(self) -> SelectionPlan | None:
        """What the log says of the draws before the first; None where all are asked."""
        if self.selection_seed is None:
            return None
        return SelectionPlan(self.selection.name, commitment_of(self.selection_seed))

    @property
    def secret_rate(self) -> float | None:
        """The rate at which cohorts are drawn that nobody hears of; None where the log names who took part.

        Central noise counts on the secrecy: what the log, a release or a retry shows must not depend on the cohort.
        """
        if isinstance(self.privacy, MemberPrivacy) and isinstance(self.selection, Poisson):
            return self.selection.rate
        return None

    @property
    def revealed_seed(self) -> bytes | None:
        """What the last log entry holds: the seed of all draws, unless their cohorts stay secret."""
        return self.selection_seed if self.secret_rate is None else None

    @property
    def privacy_plan(self) -> PrivacyPlan | None:
        """The plan as the log states it."""
        if self.privacy is None:
            return None
        return PrivacyPlan(
            unit="example" if isinstance(self.privacy, ExamplePrivacy) else "member",
            noise_multiplier=self.privacy.noise_multiplier,
            delta=self.privacy.delta,
            epsilon_budget=self.privacy.epsilon,
            rounds=self.rounds,
        )


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a run stands between two attempts."""

    round: int  # the last round that was closed; 0 after the start
    model: F32 = field(repr=False)
    memory: F32 = field(repr=False)  # (rows, d): the server optimiser's, and SCAFFOLD's control variate as the last row
    version: int
    charges: int  # attempts that were charged for, failed ones too
    refusals: int  # candidates refused in a row
    refusals_in_all: int
    begun: int = 0  # the time of genesis


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """What happened in one closed round, for reports. Holds nothing that the log does not allow to be seen.

    Of a secret cohort it holds nothing: `accepted`, `refused` and `weights` are empty.
    """

    round: int
    attempt: int
    version: int
    accepted: tuple[MemberId, ...]
    refused: tuple[Refusal, ...]
    weights: tuple[float, ...]  # of the accepted, in the aggregate
    verdict: Verdict
    sites: SiteTable  # the candidate's accuracy as the voters' own words give it
    epsilon: float | None
    model: str


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """An attempt that found no quorum, and why. `asked` is False where the draw itself gave too few members."""

    round: int
    attempt: int
    reason: str
    asked: bool = True


# ---------------------------------------------------------------------------------------------------------- the start


def start_run(plan: Plan, model: F32) -> Corridor[Standing]:
    """The run's first two log entries and its version 0, the initial model."""
    now = yield from Now()
    at = Moment(now)
    name = model_digest(model)
    genesis = entries.genesis(
        at,
        federation=plan.federation,
        run=plan.run,
        roster=digest("file", sign_roster(plan.roster, plan.operator)),
        config=plan.config_digest,
        operator=fingerprint(plan.operator.public),
        model=name,
        privacy=plan.privacy_plan,
        selection=plan.selection_plan,
    )
    file = file_digest(to_safetensors(model, plan.layout))
    checkpoint = yield from Append((genesis, entries.release(at, version=0, parameters=name, file=file)))
    release = initial_release(
        model,
        checkpoint,
        federation=plan.federation,
        run=plan.run,
        config=plan.config_digest,
        layout=plan.layout,
        entry=checkpoint.size - 1,
        key=plan.operator,
    )
    yield from Keep(name, model)
    memory = first_memory(plan.optimiser, model.size)
    if plan.scaffold is not None:
        memory = np.concatenate([memory, np.zeros((1, model.size), np.float32)])
    yield from _keep_memory(memory)
    yield from Publish(release)
    return Standing(0, model, memory, 0, 0, 0, 0, now)


def _keep_memory(memory: F32) -> Corridor[None]:
    """The server's memory is as durable as the model that it belongs to."""
    if memory.size:
        yield from Keep(model_digest(memory), memory)


# ---------------------------------------------------------------------------------------------------------- one round


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What one attempt of a round holds in common."""

    binding: Binding
    key: RoundKey
    deadline: int
    invitation: Invitation
    at: Moment


def run_round(plan: Plan, standing: Standing, attempt: int) -> Corridor[tuple[Standing, RoundRecord | AttemptFailed]]:
    """One attempt of the next round. Raises BudgetExhausted; a refused candidate or a missed quorum is no error."""
    spent = check_budget(plan, standing)
    current = yield from _open_round(plan, standing, attempt, spent)
    if isinstance(current, AttemptFailed):
        return standing, current
    try:
        cohort, screening = yield from _gather(plan, current, standing)
    except QuorumError as error:
        return (yield from _fail(current, standing, error, charged=isinstance(plan.privacy, ExamplePrivacy)))
    rate = 1.0 if plan.secret_rate is None else plan.secret_rate
    aggregate = yield from aggregate_cohort(cohort, plan.rule, plan.screening, plan.privacy, rate)
    candidate, memory = _step(plan, standing, aggregate, cohort)
    yield from Keep(candidate.digest, candidate.model)
    yield from _keep_memory(memory)
    yield from _log_aggregate(plan, current, aggregate, spent)
    try:
        verdict, sites = yield from _vote(plan, current, standing, candidate)
    except QuorumError as error:
        return (yield from _fail(current, standing, error, charged=plan.privacy is not None))
    yield from _decide(plan, current, standing, candidate, verdict)
    hidden = plan.secret_rate is not None
    record = RoundRecord(
        round=current.binding.round,
        attempt=attempt,
        version=standing.version + int(verdict.passed),
        accepted=() if hidden else cohort.members,
        refused=() if hidden else screening.refused,
        weights=() if hidden else tuple(aggregate.report.weights.tolist()),
        verdict=verdict,
        sites=sites,
        epsilon=spent,
        model=candidate.digest,
    )
    moved = replace(standing, model=candidate.model, memory=memory) if verdict.passed else standing
    return _next(plan, moved, passed=verdict.passed), record


def _step(plan: Plan, standing: Standing, aggregate: Aggregate, cohort: Cohort) -> tuple[Candidate, F32]:
    """The candidate, and the server's memory to go with it. Of a secret cohort not even the size enters it."""
    rows = plan.optimiser.memory_rows
    candidate, memory = step(aggregate, standing.model, plan.optimiser, standing.memory[:rows])
    if plan.scaffold is None:
        return candidate, memory
    members = len(cohort.members) if plan.secret_rate is None else cohort.denominator
    share = members / len(plan.admitted)
    control = server_control(plan.scaffold, standing.memory[rows], aggregate.vector, share=share)
    return candidate, np.concatenate([memory, control[None]])


def check_budget(plan: Plan, standing: Standing) -> float | None:
    """The run's ε after the next attempt, None without privacy. Asked before anybody trains for nothing.

    Raises BudgetExhausted if it would pass the plan's ε. The ledgers ask again, over all runs on the same data.
    """
    if plan.privacy is None:
        return None
    charges = standing.charges + 1
    rates = None if plan.secret_rate is None else [plan.secret_rate] * charges
    spent = epsilon([plan.privacy.noise_multiplier] * charges, plan.privacy.delta, rates)
    if not spent <= plan.privacy.epsilon:
        raise BudgetExhausted(
            f"attempt {standing.charges + 1} would take ε to {spent:.3f}, past the budget of {plan.privacy.epsilon:g}",
            hint="the last released model stands; a larger budget is a new agreement with every member",
        )
    return spent


def _open_round(
    plan: Plan, standing: Standing, attempt: int, spent: float | None
) -> Corridor[_Attempt | AttemptFailed]:
    """Fresh key and nonce; the opening is in the log before anybody is asked, and so is what its training charges."""
    now = yield from Now()
    try:
        members = _draw_cohort(plan, standing.round + 1, attempt)
    except QuorumError as error:
        yield from Append((entries.attempt_failed(Moment(now, standing.round + 1, attempt), reason=error.message),))
        return AttemptFailed(standing.round + 1, attempt, error.message, asked=False)
    nonce = yield from Draw("nonce", NONCE_BYTES)
    key = yield from draw_round_key()
    binding = Binding(
        federation=plan.federation,
        run=plan.run,
        round=standing.round + 1,
        attempt=attempt,
        model=model_digest(standing.model),
        config=plan.config_digest,
        nonce=nonce.hex(),
    )
    told = now if plan.secret_rate is None else standing.begun  # how long rounds take tells of their cohorts
    at = Moment(told, binding.round, attempt)
    opening = entries.round_open(
        told, binding=binding, round_key=digest("round-key", key.public.encode()), rule=str(plan.rule), invited=members
    )
    charges = _charge_entry(plan, at, spent, members) if isinstance(plan.privacy, ExamplePrivacy) else ()
    yield from _append(plan, (opening, *charges))
    invitation = Invitation(members, Directory(plan.roster.directory, plan.roster.revoked), dict(plan.roster.caps))
    return _Attempt(binding, key, now + plan.round_seconds, invitation, at)


def _draw_cohort(plan: Plan, number: int, attempt: int) -> tuple[MemberId, ...]:
    """The members asked in this attempt. Raises QuorumError where chance drew too few, unless cohorts are secret."""
    coin = b"" if plan.selection_seed is None else coin_of(plan.selection_seed, number, attempt)
    fewest = plan.min_cohort if plan.secret_rate is None else 0
    return select(plan.roster, plan.selection, coin, min_cohort=fewest)


def _append(plan: Plan, told: Sequence[Entry]) -> Corridor[Checkpoint]:
    """Appends; what tells of a secret cohort goes into the log sealed, and what opens it is durable before."""
    shown = []
    for entry in told:
        if plan.secret_rate is not None and entries.tells_of_cohort(entry):
            salt = yield from Draw("seal-salt", SALT_BYTES)
            entry, opening = entries.sealed(entry, salt)
            yield from KeepOpening(opening)
        shown.append(entry)
    return (yield from Append(tuple(shown)))


def _charge_entry(
    plan: Plan, at: Moment, spent: float | None, parties: Sequence[MemberId] | None
) -> tuple[dict[str, Any], ...]:
    """The log's entry for one attempt's charge, or nothing without privacy.

    Where members add the noise, each charges its own ledger before it trains. The log has the charge for all that were
    asked, also for one whose update is refused later, since its data was used.
    """
    if plan.privacy_plan is None or spent is None:
        return ()
    key = f"{plan.run}/{at.round}/{at.attempt}"
    return (entries.charge(at, plan=plan.privacy_plan, epsilon=spent, parties=parties, reservation=key),)


def _order(plan: Plan, current: _Attempt, kind: str, standing: Standing, candidate: F32 | None) -> bytes:
    order = Order(
        kind=kind,
        binding=current.binding,
        deadline=current.deadline,
        rule=str(plan.rule),
        privacy=plan.privacy if isinstance(plan.privacy, ExamplePrivacy) else None,
        round_key=current.key.public,
        layout=plan.layout,
        incumbent=standing.model,
        candidate=candidate,
        control=standing.memory[-1] if plan.scaffold is not None and kind == TRAIN else None,
        untried=_untried(standing),
    )
    return sign_order(order, plan.operator)


def _untried(standing: Standing) -> bool:
    """Nobody ever tried version 0, and a model that answers one class always has that class wholly right: against it
    only the test over all classes means anything."""
    return standing.version == 0


def _collect(deadline: int, members: Sequence[MemberId], order: bytes, size: int) -> Corridor[list[Answer]]:
    """Every answer until `deadline`, cut where it is longer than `size`.

    Each is durable and receipted before the next is taken.
    """
    for member in members:
        yield from Ask(member, order)
    answers: list[Answer] = []
    asked = frozenset(members)
    count: Counter[MemberId | None] = Counter()
    while (answer := (yield from Receive(deadline, size))) is not None:
        who = answer.sender if answer.sender in asked else None  # all who were not asked are one: names cost nothing
        count[who] += 1
        if count[who] > (ANSWERS_A_MEMBER if who else ANSWERS_OF_STRANGERS):
            continue
        answers.append(answer)
        yield from Acknowledge(answer.sender, digest("envelope", answer.envelope))
    return answers


def _gather(plan: Plan, current: _Attempt, standing: Standing) -> Corridor[tuple[Cohort, Screening]]:
    """The members' updates, opened, screened and logged. Raises QuorumError."""
    order = _order(plan, current, TRAIN, standing, None)
    terms = update_terms(current.binding, plan.layout)
    answers = yield from _collect(current.deadline, current.invitation.members, order, terms.size)
    cohort, screening, updates = screen_updates(
        answers, terms, current.key, current.invitation, plan.screening, plan.layout
    )
    yield from _log_cohort(plan, current, screening, updates, cohort.weights.tolist())
    return cohort, screening


def _log_cohort(
    plan: Plan, current: _Attempt, screening: Screening, updates: Sequence[Update], weights: Sequence[float]
) -> Corridor[None]:
    """Who sent what, who counts and who does not, before anything is computed from it."""
    received = {u.member: LoggedAnswer(u.member, u.receipt, u.signature) for u in reversed(updates)}
    cohort = entries.cohort(
        current.at,
        accepted=screening.accepted,
        refused=screening.refused,
        weights=dict(zip(screening.accepted, weights, strict=True)),
    )
    yield from _append(plan, (entries.updates(current.at, received.values()), cohort))


def _log_aggregate(plan: Plan, current: _Attempt, aggregate: Aggregate, spent: float | None) -> Corridor[None]:
    """The aggregate's hash, and before it the charge for its noise where the noise is central."""
    entry = entries.aggregate(
        current.at,
        rule=aggregate.report.rule,
        vector=model_digest(aggregate.vector),
        l2_sensitivity=aggregate.report.l2_sensitivity,
    )
    charges = _charge_entry(plan, current.at, spent, None) if isinstance(plan.privacy, MemberPrivacy) else ()
    yield from Append((*charges, entry))


def _vote(
    plan: Plan, current: _Attempt, standing: Standing, candidate: Candidate
) -> Corridor[tuple[Verdict, SiteTable]]:
    """All members' sealed ballots, in the log before they are counted, and the coordinator's own probe, if any."""
    ballots = Ballots((), {}, ())
    if not plan.gate.unsafe_accept_all:
        if plan.secret_rate is not None:  # a cohort that was slow must not leave the voters less time
            now = yield from Now()
            current = replace(current, deadline=now + plan.round_seconds)
        order = _order(plan, current, VOTE, standing, candidate.model)
        terms = ballot_terms(replace(current.binding, model=candidate.digest), plan.classes)
        answers = yield from _collect(current.deadline, plan.admitted, order, terms.size)
        ballots = open_ballots(answers, terms, current.key, current.invitation.directory)
        yield from Append((entries.ballots(current.at, _logged(ballots), candidate=candidate.digest),))
    own = yield from Evaluate(candidate.model, standing.model)
    policy = replace(plan.gate, class_significance=0.0) if _untried(standing) else plan.gate
    verdict = judge(ballots.counted, own, policy)
    sites = site_accuracy(ballots.counted, plan.gate)
    return replace(verdict, refused=(*ballots.refused, *verdict.refused)), sites


def _logged(ballots: Ballots) -> list[LoggedAnswer]:
    return [LoggedAnswer(one.member, one.receipt, one.signature) for one in ballots.received]


def _decide(
    plan: Plan, current: _Attempt, standing: Standing, candidate: Candidate, verdict: Verdict
) -> Corridor[None]:
    """Logs the decision, then publishes what passed. A refused candidate is not released: the incumbent stays."""
    decision = entries.decision(current.at, verdict=verdict, candidate=candidate.digest)
    if not verdict.passed:
        yield from Append((decision,))
        return
    approved = approve(candidate, verdict)
    version = standing.version + 1
    file = file_digest(to_safetensors(candidate.model, plan.layout))
    release = entries.release(current.at, version=version, parameters=candidate.digest, file=file)
    checkpoint = yield from Append((decision, release))
    signed = publish(
        approved,
        checkpoint,
        version=version,
        previous=standing.version,
        layout=plan.layout,
        entry=checkpoint.size - 1,
        key=plan.operator,
    )
    yield from Publish(signed)


def _next(plan: Plan, standing: Standing, *, passed: bool) -> Standing:
    return replace(
        standing,
        round=standing.round + 1,
        version=standing.version + int(passed),
        charges=standing.charges + int(plan.privacy is not None),
        refusals=0 if passed else standing.refusals + 1,
        refusals_in_all=standing.refusals_in_all + int(not passed),
    )


def _fail(
    current: _Attempt, standing: Standing, error: QuorumError, *, charged: bool
) -> Corridor[tuple[Standing, AttemptFailed]]:
    """Logs that an attempt came to nothing. What it charged stays charged."""
    yield from Append((entries.attempt_failed(current.at, reason=error.message),))
    after = replace(standing, charges=standing.charges + int(charged))
    return after, AttemptFailed(current.binding.round, current.binding.attempt, error.message)


# ------------------------------------------------------------------------------------------------------------ the end


def finish_run(plan: Plan, standing: Standing, number: int, attempt: int) -> Corridor[None]:
    """Logs that all rounds are done; `number` and `attempt` were last opened."""
    at = yield from _last_moment(plan, standing, number, attempt)
    yield from Append((entries.finished(at, selection_seed=plan.revealed_seed),))


def stop_run(plan: Plan, standing: Standing, number: int, attempt: int, reason: str) -> Corridor[None]:
    """Logs that the run ended early, and why, and how many candidates were refused in all of it."""
    at = yield from _last_moment(plan, standing, number, attempt)
    refusals = standing.refusals_in_all
    yield from Append((entries.stopped(at, reason=reason, refusals=refusals, selection_seed=plan.revealed_seed),))


def _last_moment(plan: Plan, standing: Standing, number: int, attempt: int) -> Corridor[Moment]:
    now = yield from Now()
    return Moment(now if plan.secret_rate is None else standing.begun, number, attempt)
