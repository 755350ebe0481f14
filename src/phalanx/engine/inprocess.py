"""All parties in one process: the lab's engine, and the one that every other engine is compared with.

The parties share nothing but messages. Each has its own journal entries, its own ledger and its own keys; between them
stands a courier, which tests and attacks may replace.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from phalanx.admission import sign_roster
from phalanx.audit.checkpoint import log_origin, sign_checkpoint
from phalanx.audit.log import Log
from phalanx.canonical import decode, digest, encode, model_digest
from phalanx.channel.keys import seal
from phalanx.channel.order import order_name
from phalanx.engine.driver import Party, Raised, Watch, drive, drive_together, nobody_watches
from phalanx.entropy import KEY_BYTES, expand
from phalanx.errors import (
    ConflictError,
    GateRefusal,
    IntegrityError,
    LogUnavailable,
    PhalanxError,
    PolicyError,
    QuorumError,
)
from phalanx.gate import SiteRow, SiteTable
from phalanx.learning.contract import Job, Trainer, TrainTogether
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
    Cast,
    Charge,
    Corridor,
    Draw,
    Effect,
    Evaluate,
    Keep,
    KeepOpening,
    Now,
    Publish,
    Receive,
    Seal,
    Train,
)
from phalanx.round.member import Membership, answer_order
from phalanx.store import EffectKey, LedgerStore, RunStore
from phalanx.types import F32, Checkpoint, MemberId, Reason, Refusal, Tally, Trained, Verdict, member_id

COORDINATOR = "coordinator"
_DRAWS = 1000  # cohorts that chance may make too small, one after the other, before the run says so
_EFFECTS_AN_ORDER = 256  # a member's journal has room for this many answers an order
_STOPPED, _BUDGET = "stopped: ", "budget: "  # how a state says that its run has ended, and why
Courier = Callable[[MemberId, bytes], Iterable[tuple[MemberId, bytes]]]
Observer = Callable[[RoundRecord, Standing], None]


def one_by_one(jobs: Sequence[Job]) -> list[Trained]:
    """Each member's training by itself."""
    return [job.trainer.train(job.model, job.task, job.state) for job in jobs]


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
    train_together: TrainTogether = one_by_one
    probe: Callable[[F32, F32], Tally] | None = None  # the coordinator's own held-out data, where it has any
    courier: Courier = honest_courier
    observe: Observer = lambda record, standing: None
    watch: Watch = nobody_watches
    member_errors: dict[MemberId, Exception] = field(default_factory=dict)  # each member's last, for people
    _asked: set[MemberId] = field(default_factory=set)  # in the attempt that is going on
    _declined: set[MemberId] = field(default_factory=set)  # of these
    _log: Log | None = None
    _signed_terms: Mapping[str, bytes] = field(default_factory=dict)
    _expected: tuple[int, int] = (1, 1)  # the first round and attempt that is not closed, by what is durable

    def run(self, initial: F32) -> list[RoundRecord]:
        """Records of all closed rounds. What it raises leaves a state that can be resumed, if it has not stopped.

        QuorumError ends an attempt; the next call tries the round again. GateRefusal and BudgetExhausted stop the run.
        PolicyError also where every member declined for its policy's sake. LogUnavailable: nothing was lost.
        """
        state = self._recover()
        if state is None:
            standing = self._drive(start_run(self.plan, initial), 0, 0)
            state = _State("running", standing, 1)
            self._seal(state, None)
        else:
            self.publish({})  # whatever a crash, or somebody, took from the public folder
            self._write_openings(state)
        while state.status == "running" and state.standing.round < self.plan.rounds:
            self._check_refusals(state.standing)
            state = self._one_round(state)
        if state.status == "running":
            self._check_refusals(state.standing)
            self._drive(finish_run(self.plan, state.standing, *self._last_opened()), state.standing.round + 1, 0)
            state = _State("finished", state.standing, state.attempt)
            self._seal(state, None)
        if state.status != "finished":
            budget = state.status.startswith(f"{_STOPPED}{_BUDGET}")
            message = f"run {self.plan.run} has {state.status}"
            raise (PolicyError if budget else GateRefusal)(message, hint="a stopped run is not resumed")
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

    def forget_log(self) -> None:
        """After an append that failed: the log is what is durable, and nothing else."""
        self._log = None

    # -- one round

    def _one_round(self, state: _State) -> _State:
        number = state.standing.round + 1
        self._asked.clear()
        self._declined.clear()
        try:
            standing, record = self._drive(run_round(self.plan, state.standing, state.attempt), number, state.attempt)
        except PolicyError as error:
            self._stop(state.standing, f"{_BUDGET}{error.message}")
            raise
        if isinstance(record, AttemptFailed):
            again = _State("running", standing, state.attempt + 1)
            self._seal(again, None)
            if not record.asked and record.attempt < _DRAWS:  # nobody was asked, nothing charged: draw again
                return again
            raise self._failure(record)
        after = _State("running", standing, 1)
        self._seal(after, record)
        self.observe(record, standing)
        return after

    def _check_refusals(self, standing: Standing) -> None:
        """Ends the run where the gate has refused too often. Asked of the state, so that a crash does not forget it."""
        if standing.refusals < self.max_refusals:
            return
        reason = f"the gate refused {standing.refusals} candidates in a row"
        self._stop(standing, reason)
        verdict = self.records()[-1].verdict
        raise GateRefusal(
            f"{reason}; last: {verdict.test}, p = {verdict.p_value:.2g}",
            hint=f"version {standing.version} stays released; the log has the evidence of each refusal",
        )

    def _failure(self, failed: AttemptFailed) -> PhalanxError:
        """No quorum; or, if every member that was asked declined for its policy's sake, the first one's words."""
        errors = [self.member_errors[member] for member in sorted(self._declined)]
        policies = [error for error in errors if isinstance(error, PolicyError)]
        if policies and len(policies) == len(self._asked):
            return type(policies[0])(f"every member declined; the first: {policies[0].message}")
        said: dict[str, list[str]] = {}  # equal words once, with everybody who said them
        for member, error in sorted(self.member_errors.items()):
            said.setdefault(str(error), []).append(member)
        words = [f"{', '.join(members)}: {text}" for text, members in said.items()]
        if str(Reason.NORM_TOO_LARGE) in failed.reason:
            most = self.plan.screening.max_norm
            words.append(f"scale the inputs or raise screening.max_norm = {most:g}, and begin again in another folder")
        message = f"round {failed.round}, attempt {failed.attempt}: {failed.reason}"
        return QuorumError(message, hint="; ".join([*words, "resume to try the round again as it is"]))

    def _stop(self, standing: Standing, reason: str) -> None:
        corridor = stop_run(self.plan, standing, *self._last_opened(), reason)
        self._drive(corridor, standing.round + 1, 1 << 20)
        self._seal(_State(f"{_STOPPED}{reason}", standing, 1), None)

    def _drive(self, corridor: Any, number: int, attempt: int) -> Any:
        hands = _CoordinatorHands(self, number, attempt)
        first = EffectKey(COORDINATOR, number, attempt, 0)
        return drive(Party(corridor, first, hands), self.store if self.journal else None, self.watch)

    # -- state

    def publish(self, files: Mapping[str, bytes]) -> None:
        """Makes the log public as it stands, and then `files`."""
        plan, log = self.plan, self.log()
        checkpoint = sign_checkpoint(log_origin(plan.federation, plan.run), log.size, log.root, plan.operator)
        self.store.publish({**self._terms(), **files}, checkpoint.note)

    def _terms(self) -> Mapping[str, bytes]:
        """The files that never change during a run. The roster is signed once: it would get the same signature."""
        if not self._signed_terms:
            plan = self.plan
            roster = sign_roster(plan.roster, plan.operator)
            self._signed_terms = {"federation.json": roster, "config.json": plan.config}
        return self._signed_terms

    def last_entry(self) -> dict[str, Any]:
        """The log's last entry. A log that is empty has none: time 0, round 0, attempt 0."""
        leaves = self.store.leaves(self.log().size - 1)
        return dict(decode(leaves[-1])) if leaves else {"time": 0, "round": 0, "attempt": 0}

    def _last_opened(self) -> tuple[int, int]:
        last = self.last_entry()
        return last["round"], last["attempt"]

    def _seal(self, state: _State, record: RoundRecord | None) -> None:
        vectors = {"model": model_digest(state.standing.model), "memory": model_digest(state.standing.memory)}
        standing = asdict(state.standing) | vectors
        outcome = {
            "attempt": state.attempt,
            "record": None if record is None else asdict(record),
            "standing": standing,
            "status": state.status,
        }
        self.publish({})
        # A round that the gate refused, or an attempt that failed, has not happened, for its members either: a momentum
        # or a control variate that went on from it would lead away from the incumbent.
        refused = record is not None and not record.verdict.passed
        forget = state.standing.round + int(not refused)  # of a round that has just passed, nobody trained for the next
        self.store.seal(state.standing.round, encode(outcome), keep=vectors.values(), forget=forget)
        self._expected = (state.standing.round + 1, state.attempt)
        self._write_openings(state)

    def _write_openings(self, state: _State) -> None:
        """Once a run with secret cohorts has ended: what an auditor needs to see them, in the private state."""
        plan = self.plan
        if plan.secret_rate is not None and plan.selection_seed is not None and state.status != "running":
            self.store.write_openings(encode({"run": plan.run, "selection_seed": plan.selection_seed.hex()}))

    def _recover(self) -> _State | None:
        outcome = self.store.last_sealed()
        if outcome is None:
            return None
        held = json.loads(outcome)
        standing = held["standing"]
        d = self.plan.layout.d
        memory = np.zeros((0, d), np.float32)
        if standing["memory"] != model_digest(memory):  # there is none where the server's step remembers nothing
            memory = self._vector(standing["memory"]).reshape(-1, d)
        vectors = {"model": self._vector(standing["model"]), "memory": memory}
        self._expected = (standing["round"] + 1, held["attempt"])
        return _State(held["status"], Standing(**(standing | vectors)), held["attempt"])

    def _vector(self, name: str) -> F32:
        """The kept vector of that hash."""
        data = self.store.model(name)
        if digest("model", data) != name:
            raise IntegrityError(f"the state's model {name} was changed")
        return np.frombuffer(data, dtype="<f4").astype(np.float32)

    # -- members

    def answers(self, orders: Mapping[MemberId, bytes], number: int, attempt: int) -> dict[MemberId, bytes | Exception]:
        """Each member's envelope, or what kept it from making one.

        The members train side by side where that is quicker. A member's journal goes by the order's own bytes: the same
        order again gets the same envelope.
        """
        self._asked |= orders.keys()
        hands = {member: _MemberHands(self, self.members[member], number) for member in sorted(orders)}
        parties = [self._party(member, orders[member], hands[member], attempt) for member in hands]

        def together(asked: Mapping[EffectKey, Train]) -> Mapping[EffectKey, Trained | Raised]:
            return self._train({key: (hands[MemberId(key.party)], effect) for key, effect in asked.items()})

        sent = drive_together(parties, together, self.store if self.journal else None, self.watch)
        # What the courier is given next must not be made a second time, with other noise, after a crash.
        self.store.commit()
        return dict(zip(hands, sent, strict=True))

    def _party(self, member: MemberId, order: bytes, hands: _MemberHands, attempt: int) -> Party[bytes | Exception]:
        index = int(order_name(order)[:8], 16) * _EFFECTS_AN_ORDER
        corridor = _declining(answer_order(self.members[member].membership, order, self._expected))
        return Party(corridor, EffectKey(member, hands.number, attempt, index), hands)

    def _train(self, asked: Mapping[EffectKey, tuple[_MemberHands, Train]]) -> Mapping[EffectKey, Trained | Raised]:
        """All at once; and where that fails, one by one, so that only the member whose training fails declines."""
        jobs = {key: hands.job(effect) for key, (hands, effect) in asked.items()}
        ready = {key: job for key, job in jobs.items() if isinstance(job, Job)}
        try:
            together: Sequence[Trained | Raised] = self.train_together(list(ready.values()))
        except Exception:
            together = [_alone(job) for job in ready.values()]
        results = dict(zip(ready, together, strict=True))
        return {key: asked[key][0].keep(results[key]) if isinstance(job, Job) else job for key, job in jobs.items()}

    def delivered(self, member: MemberId, answer: bytes | Exception) -> list[Answer]:
        """What the courier makes of a member's answer; a decline is delivered as a sentence."""
        if isinstance(answer, Exception):
            self.member_errors[member] = answer
            self._declined.add(member)
            return [Answer(member, b"", _sentence(answer))]
        return [Answer(sender, data) for sender, data in self.courier(member, answer) if _can_be_named(sender)]

    def member_state(self, member: MemberId) -> F32 | None:
        """What a member keeps to itself. Only the lab, which plays all members, can ask."""
        return _MemberHands(self, self.members[member], self._expected[0]).state()


def _alone(job: Job) -> Trained | Raised:
    try:
        return job.trainer.train(job.model, job.task, job.state)
    except Exception as error:
        return Raised(error)


def _declining(corridor: Corridor[bytes]) -> Corridor[bytes | Exception]:
    """The member's envelope, or what kept it from making one. A disk that is full is no member's refusal."""
    try:
        return (yield from corridor)
    except LogUnavailable:
        raise
    except Exception as error:  # a member's own code may raise anything
        return error


def _sentence(error: Exception) -> str:
    """What a member says of its own error: ours word for word; of its own code's, no text leaves the member."""
    return error.message if isinstance(error, PhalanxError) else f"training failed with {type(error).__name__[:80]}"


def _can_be_named(sender: str) -> bool:
    """Whether the log can hold the name under which something was delivered. What nobody can have sent is dropped."""
    try:
        return member_id(sender) == sender
    except (ValueError, TypeError):
        return False


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
                "sites": SiteTable(tuple(SiteRow(**row) for row in held["sites"]["rows"]), held["sites"]["hidden"]),
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
        self._asked: dict[MemberId, bytes] = {}
        self._sent: dict[MemberId, bytes | Exception] = {}  # on their way
        self._arrived: list[Answer] = []
        self._known: list[Answer] = []

    def replayed(self, effect: Effect[Any], answer: Any) -> None:
        """Whatever came before the crash does not come again; who sent it is for the envelope to say, not the courier.

        So everybody is asked again, but for those who declined: their own journals answer, with the same bytes.
        """
        if not isinstance(effect, Receive):
            return
        if answer is None:
            self._asked.clear()
        else:
            self._known.append(answer)
            if answer.declined:
                self._asked.pop(answer.sender, None)

    def perform(self, effect: Effect[Any], key: EffectKey) -> Any:
        """See `Hands`."""
        engine = self._engine
        match effect:
            case Now():  # a clock that was set back must not make a log that nobody can verify
                return max(engine.edges.clock(), engine.last_entry()["time"])
            case Draw(size=size):
                return engine.edges.draw(str(key), size)
            case Ask(member=member, order=order):
                self._asked[member] = order
            case Receive(deadline=deadline, limit=limit):
                return self._receive(deadline, limit)
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
            case KeepOpening(opening=opening):
                engine.store.keep_opening(opening)
            case Publish(release=release):
                engine.publish(release_files(release))
            case _:
                raise TypeError(f"a coordinator does not perform {type(effect).__name__}")
        return None

    def _receive(self, deadline: int, limit: int) -> Answer | None:
        while not self._arrived and (self._asked or self._sent) and self._engine.edges.clock() <= deadline:
            if self._asked:
                self._sent |= self._engine.answers(self._asked, self._number, self._attempt)
                self._asked = {}
            member = min(self._sent)
            for whole in self._engine.delivered(member, self._sent.pop(member)):
                answer = Answer(whole.sender, whole.envelope[: limit + 1], whole.declined)
                if answer in self._known:
                    self._known.remove(answer)
                else:
                    self._arrived.append(answer)
        return self._arrived.pop(0) if self._arrived else None

    def _append(self, entries: tuple[dict[str, Any], ...], key: EffectKey) -> Checkpoint:
        store, plan, log = self._engine.store, self._engine.plan, self._engine.log()
        if store.appended(key) is None:
            first = log.size
            try:
                store.append_log(key, first, [log.append(entry) for entry in entries])
            except PhalanxError:
                self._engine.forget_log()
                raise
        elif store.appended(key) != log.size:
            raise IntegrityError(f"the log went on after append {key}, which is being repeated")
        return sign_checkpoint(log_origin(plan.federation, plan.run), log.size, log.root, plan.operator)


# -------------------------------------------------------------------------------------------------------------- member


class _MemberHands:
    """A member's effects: its data, its state, its ledger and its entropy."""

    def __init__(self, engine: InProcess, side: MemberSide, number: int) -> None:
        self._engine, self._side, self.number = engine, side, number
        self._state_key = expand(side.membership.key.seed, "member-state", KEY_BYTES)

    def replayed(self, effect: Effect[Any], answer: Any) -> None:
        """Nothing to do: the state that training left was kept before its answer was."""

    def perform(self, effect: Effect[Any], key: EffectKey) -> Any:
        """See `Hands`."""
        engine = self._engine
        match effect:
            case Draw(size=size):
                # Without the order's hash, which holds a time: a lab seed gives the same numbers on any day.
                turn = replace(key, index=key.index % _EFFECTS_AN_ORDER)
                return engine.edges.draw(str(turn), size)
            case Charge(reservation=reservation):
                return self._side.ledger.reserve(reservation, charge)
            case Evaluate(candidate=candidate, incumbent=incumbent):
                return self._side.trainer.evaluate(candidate, incumbent, self._held(self.number + 1))
            case Cast(round=number, attempt=attempt, order=order):
                return engine.store.first_vote(self._side.membership.member, number, attempt, order)
            case Seal(plaintext=plaintext, recipient=recipient, info=info):
                return seal(plaintext, recipient, info)
            case _:
                raise TypeError(f"a member does not perform {type(effect).__name__}")

    def job(self, effect: Train) -> Job | Raised:
        """The training that the member was asked for, from the state that it had before this round."""
        try:
            return Job(self._side.trainer, effect.model, effect.task, self.state())
        except Exception as error:  # a state that was changed is this member's trouble and nobody else's
            return Raised(error)

    def keep(self, trained: Trained | Raised) -> Trained | Raised:
        """Keeps the state that training left, before anybody hears of the training."""
        if isinstance(trained, Raised):
            return trained
        try:
            state = np.ascontiguousarray(trained.state, dtype="<f4").tobytes()
            self._engine.store.keep_member_state(self._side.membership.member, self.number, self._state_key, state)
        except Exception as error:  # a member's own code may give anything as a state; a full disk is raised again
            return Raised(error)
        return trained

    def state(self) -> F32 | None:
        """The member's state before this round."""
        return self._held(self.number)

    def _held(self, before: int) -> F32 | None:
        held = self._engine.store.member_state(self._side.membership.member, before, self._state_key)
        return None if held is None else np.frombuffer(held, dtype="<f4").astype(np.float32)
