"""All parties in one process: the lab's engine, and the one that every other engine is compared with.

The parties share nothing but messages. Each has its own journal entries, its own ledger and its own keys; between them
stands a courier, which tests and attacks may replace.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from phalanx.admission import sign_roster
from phalanx.audit.checkpoint import log_origin, sign_checkpoint
from phalanx.audit.log import Log
from phalanx.canonical import encode, model_digest
from phalanx.channel.keys import seal
from phalanx.engine.driver import Watch, drive, nobody_watches
from phalanx.entropy import KEY_BYTES, expand
from phalanx.errors import ConflictError, GateRefusal, IntegrityError, PhalanxError, PolicyError, QuorumError
from phalanx.learning.contract import Trainer
from phalanx.privacy import charge
from phalanx.release import release_files
from phalanx.round.coordinator import (
    AttemptFailed,
    Plan,
    RoundRecord,
    Standing,
    finish_run,
    run_round,
    start_run,
    stop_run,
)
from phalanx.round.effects import (
    Acknowledge,
    Answer,
    Append,
    Ask,
    Charge,
    Draw,
    Effect,
    Evaluate,
    Keep,
    Now,
    Publish,
    Receive,
    Seal,
    Train,
)
from phalanx.round.member import Membership, answer_order
from phalanx.store import EffectKey, LedgerStore, RunStore
from phalanx.types import F32, Checkpoint, MemberId, Reason, Refusal, Tally, Trained, Verdict

COORDINATOR = "coordinator"
Courier = Callable[[MemberId, bytes], Iterable[tuple[MemberId, bytes]]]
Observer = Callable[[RoundRecord, Standing], None]


def honest_courier(sender: MemberId, envelope: bytes) -> Iterable[tuple[MemberId, bytes]]:
    """Delivers every envelope once, as its sender's."""
    return ((sender, envelope),)


@dataclass(frozen=True, slots=True)
class Edges:
    """Time and entropy, handed in. Only the `lab` profile hands in entropy that is not the system's."""

    clock: Callable[[], int]
    draw: Callable[[str, int], bytes]  # by the effect's key and size


@dataclass(frozen=True, slots=True)
class MemberSide:
    """One member's world: what it knows from joining, how it trains, and its own ledger."""

    membership: Membership
    trainer: Trainer
    ledger: LedgerStore


@dataclass(slots=True)
class InProcess:
    """One run of a plan over members in this process. `run` starts it, or goes on where the store stands."""

    plan: Plan
    members: Mapping[MemberId, MemberSide]
    store: RunStore
    ledger: LedgerStore  # the coordinator's, for central noise
    edges: Edges
    max_refusals: int
    journal: bool = True
    probe: Callable[[F32, F32], Tally] | None = None  # the coordinator's own held-out data, where it has any
    courier: Courier = honest_courier
    observe: Observer = lambda record, standing: None
    watch: Watch = nobody_watches
    member_errors: dict[MemberId, str] = field(default_factory=dict)
    _log: Log | None = None

    def run(self, initial: F32) -> list[RoundRecord]:
        """Records of all closed rounds. Raises GateRefusal, QuorumError, PolicyError; the state can then be resumed."""
        state = self._recover()
        if state is None:
            standing = self._drive(start_run(self.plan, initial), 0, 0)
            state = _State("running", standing, 1)
            self._seal(state, None)
        while state.status == "running" and state.standing.round < self.plan.rounds:
            state = self._one_round(state)
        if state.status == "running":
            closing = state.standing.round + 1
            self._drive(finish_run(state.standing, self._last_attempt()), closing, 0)
            state = _State("finished", state.standing, state.attempt)
            self._seal(state, None)
        if state.status != "finished":
            raise GateRefusal(f"run {self.plan.run} has stopped: {state.status}", hint="a stopped run is not resumed")
        return self.records()

    def records(self) -> list[RoundRecord]:
        """Records of all closed rounds so far."""
        outcomes = (json.loads(outcome)["record"] for outcome in self.store.outcomes())
        return [_record(record) for record in outcomes if record is not None]

    def model(self) -> F32:
        """The incumbent: the last model that passed the gate."""
        state = self._recover()
        if state is None:
            raise ConflictError("the run has not started")
        return state.standing.model

    def log(self) -> Log:
        """The run's log as far as it is durable. Built once: a run whose log cannot be written does not go on."""
        if self._log is None:
            self._log = Log(self.store.leaves())
        return self._log

    # -- one round

    def _one_round(self, state: _State) -> _State:
        number = state.standing.round + 1
        try:
            standing, record = self._drive(run_round(self.plan, state.standing, state.attempt), number, state.attempt)
        except PolicyError as error:
            self._stop(state.standing, f"budget: {error.message}")
            raise
        if isinstance(record, AttemptFailed):
            self._seal(_State("running", standing, state.attempt + 1), None)
            raise QuorumError(f"round {record.round}, attempt {record.attempt}: {record.reason}", hint=self._hint())
        after = _State("running", standing, 1)
        self._seal(after, record)
        self.observe(record, standing)
        if standing.refusals >= self.max_refusals:
            reason = f"the gate refused {standing.refusals} candidates in a row"
            self._stop(standing, reason)
            raise GateRefusal(
                f"{reason}; last: {record.verdict.test}, p = {record.verdict.p_value:.2g}",
                hint=f"version {standing.version} stays released; the log has the evidence of each refusal",
            )
        return after

    def _stop(self, standing: Standing, reason: str) -> None:
        self._drive(stop_run(standing, self._last_attempt(), reason), standing.round + 1, 1 << 20)
        self._seal(_State(f"stopped: {reason}", standing, 1), None)

    def _drive(self, corridor: Any, number: int, attempt: int) -> Any:
        hands = _CoordinatorHands(self, number, attempt)
        first = EffectKey(COORDINATOR, number, attempt, 0)
        return drive(corridor, first, hands, self.store if self.journal else None, self.watch)

    def _hint(self) -> str:
        return "; ".join(f"{member}: {error}" for member, error in sorted(self.member_errors.items()))

    # -- state

    def publish(self, files: Mapping[str, bytes]) -> None:
        """Makes the log public as it stands, and then `files`."""
        plan, log = self.plan, self.log()
        checkpoint = sign_checkpoint(log_origin(plan.federation, plan.run), log.size, log.root, plan.operator)
        terms = {"federation.json": sign_roster(plan.roster, plan.operator), "config.json": plan.config}
        self.store.publish({**terms, **files}, checkpoint.note)

    def _last_attempt(self) -> int:
        records = self.records()
        return records[-1].attempt if records else 0

    def _seal(self, state: _State, record: RoundRecord | None) -> None:
        standing = asdict(state.standing) | {"model": model_digest(state.standing.model)}
        outcome = {
            "attempt": state.attempt,
            "record": None if record is None else asdict(record),
            "standing": standing,
            "status": state.status,
        }
        self.publish({})
        self.store.seal(state.standing.round, encode(outcome), incumbent=standing["model"])

    def _recover(self) -> _State | None:
        outcome = self.store.last_sealed()
        if outcome is None:
            return None
        held = json.loads(outcome)
        standing = held["standing"]
        model = np.frombuffer(self.store.model(standing["model"]), dtype="<f4").astype(np.float32)
        if model_digest(model) != standing["model"]:
            raise IntegrityError(f"the state's model {standing['model']} was changed")
        return _State(held["status"], Standing(**(standing | {"model": model})), held["attempt"])

    # -- members

    def answer(self, member: MemberId, order: bytes, number: int, attempt: int, turn: int) -> list[Answer]:
        """What the courier delivers of a member's answer to an order; a decline is delivered as a sentence."""
        side = self.members[member]
        hands = _MemberHands(self, side, number)
        first = EffectKey(member, number, attempt, turn)
        corridor = answer_order(side.membership, order, number - 1)
        try:
            envelope = drive(corridor, first, hands, self.store if self.journal else None, self.watch)
        except PhalanxError as error:
            self.member_errors[member] = error.message
            return [Answer(member, b"", error.message)]
        except Exception as error:  # a member's own code may raise anything; its text stays at the member
            self.member_errors[member] = f"{type(error).__name__}: {error}"
            return [Answer(member, b"", f"training failed with {type(error).__name__}")]
        return [Answer(sender, delivered) for sender, delivered in self.courier(member, envelope)]


@dataclass(frozen=True, slots=True)
class _State:
    status: str
    standing: Standing
    attempt: int  # the next one


def _record(held: dict[str, Any]) -> RoundRecord:
    verdict = held["verdict"] | {"refused": _refusals(held["verdict"]["refused"])}
    return RoundRecord(
        **(
            held
            | {
                "accepted": tuple(MemberId(member) for member in held["accepted"]),
                "refused": _refusals(held["refused"]),
                "weights": tuple(held["weights"]),
                "verdict": Verdict(**verdict),
            }
        )
    )


def _refusals(held: list[dict[str, str]]) -> tuple[Refusal, ...]:
    return tuple(Refusal(MemberId(r["member"]), Reason(r["reason"]), r["detail"]) for r in held)


# --------------------------------------------------------------------------------------------------------- coordinator


class _CoordinatorHands:
    """The coordinator's effects: the courier's queue, the ledger, the log and the public folder."""

    def __init__(self, engine: InProcess, number: int, attempt: int) -> None:
        self._engine = engine
        self._number, self._attempt = number, attempt
        self._asked: dict[MemberId, tuple[bytes, int]] = {}
        self._arrived: list[Answer] = []
        self._turns = 0

    def replayed(self, effect: Effect[Any], answer: Any) -> None:
        """A member whose answer the journal holds is not asked again."""
        if isinstance(effect, Receive) and answer is not None:
            self._asked.pop(answer.sender, None)

    def perform(self, effect: Effect[Any], key: EffectKey) -> Any:
        """See `Hands`."""
        engine = self._engine
        match effect:
            case Now():
                return engine.edges.clock()
            case Draw(size=size):
                return engine.edges.draw(str(key), size)
            case Ask(member=member, order=order):
                self._asked[member] = (order, key.index << 8)
            case Receive(deadline=deadline):
                return self._receive(deadline)
            case Acknowledge(member=member, receipt=receipt):
                engine.store.keep_receipt(member, self._number, self._attempt, receipt)
            case Charge(reservation=reservation):
                return engine.ledger.reserve(reservation, charge)
            case Evaluate(candidate=candidate, incumbent=incumbent):
                return None if engine.probe is None else engine.probe(candidate, incumbent)
            case Append(entries=entries):
                return self._append(entries, key)
            case Keep(digest=name, model=model):
                engine.store.keep_model(name, np.ascontiguousarray(model, dtype="<f4").tobytes())
            case Publish(release=release):
                engine.publish(release_files(release))
            case _:
                raise TypeError(f"a coordinator does not perform {type(effect).__name__}")
        return None

    def _receive(self, deadline: int) -> Answer | None:
        while not self._arrived and self._asked and self._engine.edges.clock() <= deadline:
            member = min(self._asked)
            order, turn = self._asked.pop(member)
            self._arrived = self._engine.answer(member, order, self._number, self._attempt, turn)
        return self._arrived.pop(0) if self._arrived else None

    def _append(self, entries: tuple[dict[str, Any], ...], key: EffectKey) -> Checkpoint:
        store, plan, log = self._engine.store, self._engine.plan, self._engine.log()
        if store.appended(key) is None:
            first = log.size
            store.append_log(key, first, [log.append(entry) for entry in entries])
        elif store.appended(key) != log.size:
            raise IntegrityError(f"the log went on after append {key}, which is being repeated")
        return sign_checkpoint(log_origin(plan.federation, plan.run), log.size, log.root, plan.operator)


# -------------------------------------------------------------------------------------------------------------- member


class _MemberHands:
    """A member's effects: its data, its state, its ledger and its entropy."""

    def __init__(self, engine: InProcess, side: MemberSide, number: int) -> None:
        self._engine, self._side, self._number = engine, side, number
        self._state_key = expand(side.membership.key.seed, "member-state", KEY_BYTES)

    def replayed(self, effect: Effect[Any], answer: Any) -> None:
        """The member's state is as durable as the journal's answer, or the crash came between the two."""
        if isinstance(effect, Train):
            self._keep_state(answer)

    def perform(self, effect: Effect[Any], key: EffectKey) -> Any:
        """See `Hands`."""
        engine = self._engine
        match effect:
            case Draw(size=size):
                return engine.edges.draw(str(key), size)
            case Charge(reservation=reservation):
                return self._side.ledger.reserve(reservation, charge)
            case Train(model=model, task=task):
                member = self._side.membership.member
                held = engine.store.member_state(member, self._number, self._state_key)
                state = None if held is None else np.frombuffer(held, dtype="<f4").astype(np.float32)
                trained = self._side.trainer.train(model, task, state)
                self._keep_state(trained)
                return trained
            case Evaluate(candidate=candidate, incumbent=incumbent):
                return self._side.trainer.evaluate(candidate, incumbent)
            case Seal(plaintext=plaintext, recipient=recipient, info=info):
                return seal(plaintext, recipient, info)
            case _:
                raise TypeError(f"a member does not perform {type(effect).__name__}")

    def _keep_state(self, trained: Trained) -> None:
        state = np.ascontiguousarray(trained.state, dtype="<f4").tobytes()
        self._engine.store.keep_member_state(self._side.membership.member, self._number, self._state_key, state)
