"""Whole small runs through the corridor, with couriers and members that do what they should not."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phalanx.canonical import decode, digest
from phalanx.channel.order import TRAIN, VOTE, Order, open_order
from phalanx.config import parse
from phalanx.engine import inprocess
from phalanx.engine.inprocess import Courier, Edges, InProcess
from phalanx.errors import (
    BudgetExhausted,
    ConflictError,
    FloorRefused,
    GateRefusal,
    PolicyError,
    QuorumError,
)
from phalanx.privacy import charge
from phalanx.round.coordinator import ANSWERS_A_MEMBER, ANSWERS_OF_STRANGERS
from phalanx.round.effects import Answer, Corridor, Keep
from phalanx.round.member import Floor, Membership, answer_order
from phalanx.types import F32, MemberId, Reason, Reservation, Tally, Trained, TrainTask
from tests.engine import insider, tiny

M2, M3 = tiny.FIVE[2:4]
EXAMPLE = {"unit": "example", "epsilon": 50.0, "clip_l2": 1.0, "normaliser": 7, "noise_multiplier": 1.0}
MEMBER = {"unit": "member", "epsilon": 50.0, "noise_multiplier": 1.0}
CLIPPED = {"rule": "mean", "pre": ["norm-clip"], "clip_l2": 1.0}
ONE_ROUND = 4.377  # ε of one round at σ = 1 and δ = 1e-5
Envelopes = Iterable[tuple[MemberId, bytes]]


def five(courier: Courier | None = None, **tables: Any) -> InProcess:
    """Five members in memory, of whom one may be refused or away."""
    engine = tiny.engine(None, tiny.five(**tables), tiny.trainers(tiny.FIVE))
    engine.courier = courier or engine.courier
    return engine


def finished(engine: InProcess) -> InProcess:
    """The engine after all of its rounds; its log verifies."""
    engine.run(tiny.INITIAL)
    assert tiny.verified(engine).finished
    return engine


def drop_updates(of: MemberId) -> Courier:
    """A courier that loses the updates of one member and delivers its ballots."""
    kinds = {MemberId(m): itertools.cycle([TRAIN, VOTE]) for m in tiny.FIVE}

    def courier(sender: MemberId, envelope: bytes) -> Envelopes:
        kind = next(kinds[sender])
        return () if (sender, kind) == (of, TRAIN) else ((sender, envelope),)

    return courier


@pytest.fixture(scope="module")
def honest() -> InProcess:
    """The run that hostile ones are compared with."""
    return finished(five())


@pytest.fixture(scope="module")
def without_m2() -> InProcess:
    """The run in which m-2's updates do not count."""
    return finished(five(drop_updates(M2)))


# ------------------------------------------------------------------------------------------------- the hostile courier


@dataclass(frozen=True)
class Case:
    """What a courier does with m-2's envelopes, and what the log then says of it."""

    deliver: Callable[[bytes], Envelopes]
    refused: tuple[tuple[str, Reason], ...]
    m2_counts: bool


def _altered(envelope: bytes, at: int) -> bytes:
    changed = bytearray(envelope)
    changed[at] ^= 1
    return bytes(changed)


def _readdressed(envelope: bytes, sender: MemberId) -> bytes:
    end = 4 + int.from_bytes(envelope[:4], "big")
    header = envelope[4:end].replace(b'"sender":"m-2"', f'"sender":"{sender}"'.encode())
    return (len(header).to_bytes(4, "big") + header + envelope[end:])[: len(envelope)]


STRANGER = MemberId("stranger")
HOSTILE_COURIERS = {
    "replays": Case(lambda e: [(M2, e), (M2, e)], ((M2, Reason.REPLAY),), True),
    "drops": Case(lambda e: [], ((M2, Reason.MISSING),), False),
    "alters what is sealed": Case(lambda e: [(M2, _altered(e, len(e) - 1))], ((M2, Reason.ALTERED),), False),
    "alters the header": Case(lambda e: [(M2, _altered(e, 4))], ((M2, Reason.MALFORMED),), False),
    "cuts": Case(lambda e: [(M2, e[:-1])], ((M2, Reason.WRONG_SIZE),), False),
    "extends": Case(lambda e: [(M2, e + b"\0")], ((M2, Reason.WRONG_SIZE),), False),
    "delivers as another's": Case(
        lambda e: [(M3, e)], ((M2, Reason.MISSING), (M3, Reason.WRONG_SENDER)), False
    ),
    "delivers as another's too": Case(lambda e: [(M2, e), (M3, e)], ((M3, Reason.WRONG_SENDER),), True),
    "delivers as a stranger's": Case(
        lambda e: [(M2, e), (STRANGER, e)], ((STRANGER, Reason.WRONG_SENDER),), True
    ),
    "forges a stranger's": Case(
        lambda e: [(M2, e), (STRANGER, _readdressed(e, STRANGER))],
        ((STRANGER, Reason.UNKNOWN_MEMBER),),
        True,
    ),
    "delivers what no id can be": Case(lambda e: [(M2, e), (MemberId("../m-2\n"), e), (MemberId(""), e)], (), True),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_COURIERS)
def test_what_a_hostile_courier_does_is_refused_by_name_and_the_run_goes_on(
    name: str, honest: InProcess, without_m2: InProcess
) -> None:
    case = HOSTILE_COURIERS[name]
    engine = finished(five(lambda sender, e: case.deliver(e) if sender == M2 else ((sender, e),)))
    for kind in ("cohort", "decision"):
        missing = {(M2, Reason.MISSING)} if kind == "decision" else set()  # who does not vote is not refused
        assert set(tiny.refused(engine, kind)) == set(case.refused) - missing
    same = honest if case.m2_counts else without_m2
    assert tiny.logged(engine, "cohort")[0]["accepted"] == tiny.logged(same, "cohort")[0]["accepted"]
    assert engine.model().tobytes() == same.model().tobytes()


def test_an_envelope_of_an_earlier_round_is_refused(honest: InProcess) -> None:
    kept: list[bytes] = []

    def courier(sender: MemberId, envelope: bytes) -> Envelopes:
        if sender == M2:
            kept.append(envelope)
        return ((sender, kept[0]), (sender, envelope)) if sender == M2 and len(kept) > 1 else ((sender, envelope),)

    engine = finished(five(courier))
    of_round_2 = [(row["member"], row["reason"]) for row in tiny.logged(engine, "cohort")[1]["refused"]]
    assert of_round_2 == [(M2, Reason.WRONG_ROUND)]
    assert engine.model().tobytes() == honest.model().tobytes()


@pytest.mark.parametrize("more", [0, 1, 1 << 20])
def test_of_an_envelope_that_is_too_long_no_more_is_taken_in_than_shows_it(more: int) -> None:
    kept: list[tuple[int, int]] = []  # the limit and what was taken in

    def courier(sender: MemberId, envelope: bytes) -> Envelopes:
        return ((sender, envelope + bytes(more if sender == M2 else 0)),)

    engine = five(courier)
    receive = inprocess._CoordinatorHands._receive

    def noted(hands: Any, deadline: int, limit: int) -> Answer | None:
        answer = receive(hands, deadline, limit)
        kept.append((limit, 0 if answer is None else len(answer.envelope)))
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inprocess._CoordinatorHands, "_receive", noted)
        finished(engine)
    assert {size for limit, size in kept if size > limit} == (set() if not more else {limit + 1 for limit, _ in kept})
    refused = [row["reason"] for entry in tiny.logged(engine, "cohort") for row in entry["refused"]]
    assert set(refused) == ({Reason.WRONG_SIZE} if more else set())


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_arrival_changes_no_byte_of_log_and_model(seed: int, honest: InProcess) -> None:
    held: list[tuple[MemberId, bytes]] = []
    rng = np.random.default_rng(seed)

    def courier(sender: MemberId, envelope: bytes) -> Envelopes:
        held.append((sender, envelope))
        if len(held) < len(tiny.FIVE):
            return ()
        shuffled = [held[i] for i in rng.permutation(len(held))]
        held.clear()
        return shuffled

    assert tiny.published(finished(five(courier))) == tiny.published(honest)


def test_a_flood_costs_the_flooder_and_not_the_log(honest: InProcess) -> None:
    def courier(sender: MemberId, envelope: bytes) -> Envelopes:
        strangers = [(MemberId(f"sybil-{i}"), bytes([i]) * len(envelope)) for i in range(200)]
        again = [(sender, bytes([i]) * len(envelope)) for i in range(200)]
        return ((sender, envelope), *again, *strangers)

    engine = finished(five(courier))
    rows = Counter(name if name in tiny.FIVE else "strangers" for name, _ in tiny.refused(engine))
    assert rows == dict.fromkeys(tiny.FIVE, 1) | {"strangers": ANSWERS_OF_STRANGERS}
    for member in tiny.FIVE:
        received = [receipt for number, _, receipt in engine.store.receipts(member) if number == 1]
        assert len(received) == 2 * ANSWERS_A_MEMBER  # as updates and as ballots; the rest was dropped unread
    assert engine.model().tobytes() == honest.model().tobytes()


def test_a_member_that_was_revoked_is_not_asked_and_its_update_does_not_count(
    monkeypatch: pytest.MonkeyPatch, without_m2: InProcess
) -> None:
    engine = five()
    roster = engine.plan.roster
    members = tuple(replace(one, revoked=one.id == M2) for one in roster.members)
    engine.plan = replace(engine.plan, roster=replace(roster, members=members))
    revoked = engine.members[M2].membership
    orders: list[Order] = []

    def spying(me: Membership, data: bytes, expected: tuple[int, int]) -> Corridor[bytes]:
        orders.append(open_order(data, me.operator, me.layout))
        assert me.member != M2
        return (yield from answer_order(me, data, expected))

    monkeypatch.setattr(inprocess, "answer_order", spying)

    def courier(sender: MemberId, envelope: bytes) -> Envelopes:
        if orders[-1].kind == TRAIN and sender == M3:
            return ((M2, insider.update(revoked, orders[-1])), (sender, envelope))
        return ((sender, envelope),)

    engine.courier = courier
    finished(engine)
    assert tiny.refused(engine) == [(M2, Reason.REVOKED_MEMBER)]
    assert M2 not in tiny.logged(engine, "round-open")[0]["invited"]
    assert engine.model().tobytes() == without_m2.model().tobytes()


# -------------------------------------------------------------------------------------------------- the hostile member


@dataclass(frozen=True)
class Says:
    """A trainer that says what it is told to."""

    delta: Any = None
    examples: Any = 7
    raises: Exception | None = None
    layout: Any = tiny.LAYOUT

    def train(self, model: F32, task: TrainTask, state: F32 | None) -> Trained:
        if self.raises is not None:
            raise self.raises
        delta = np.zeros(tiny.LAYOUT.d, np.float32) if self.delta is None else self.delta
        return Trained(delta, self.examples, np.zeros_like(model))

    def evaluate(self, candidate: F32, incumbent: F32, state: F32 | None) -> Tally:
        return tiny.pulls()[tiny.MEMBERS[0]].evaluate(candidate, incumbent, state)


D = tiny.LAYOUT.d
HOSTILE_MEMBERS = {
    "NaN": (Says(np.full(D, np.nan, np.float32)), Reason.NOT_FINITE),
    "one infinity": (Says(np.array([0, 0, np.inf, 0, 0], np.float32)), Reason.NOT_FINITE),
    "huge": (Says(np.full(D, 1e30, np.float32)), Reason.NORM_TOO_LARGE),
    "one element short": (Says(np.zeros(D - 1, np.float32)), Reason.WRONG_LENGTH),
    "one element long": (Says(np.zeros(D + 1, np.float32)), Reason.WRONG_LENGTH),
    "too long for the round": (Says(np.zeros(1 << 16, np.float32)), Reason.DECLINED),
    "no vector at all": (Says(delta="weights"), Reason.DECLINED),
    "a negative claim": (Says(examples=-5), Reason.BAD_CLAIM),
    "a claim of zero": (Says(examples=0), Reason.BAD_CLAIM),
    "a fractional claim": (Says(examples=7.5), Reason.BAD_CLAIM),
    "a claim that is true": (Says(examples=True), Reason.BAD_CLAIM),
    "a claim that is not a number": (Says(examples=float("nan")), Reason.DECLINED),
}
STATEMENTS: dict[str, tuple[dict[str, Any], Reason]] = {
    "other names": ({"tensors": [["bias", [1], "float32"], ["wait", [4], "float32"]]}, Reason.WRONG_NAMES),
    "a tensor less": ({"tensors": [["bias", [1], "float32"]]}, Reason.WRONG_NAMES),
    "other shapes": ({"tensors": [["bias", [1], "float32"], ["weight", [2, 2], "float32"]]}, Reason.WRONG_SHAPE),
    "another dtype": ({"tensors": [["bias", [1], "float32"], ["weight", [4], "float64"]]}, Reason.WRONG_DTYPE),
    "no tensors": ({"tensors": None}, Reason.MALFORMED),
    "more than was asked": ({"weight": 1000}, Reason.MALFORMED),
}


@pytest.mark.parametrize("name", HOSTILE_MEMBERS)
def test_a_member_that_sends_what_is_not_sound_is_quarantined_by_name_and_the_round_goes_on(
    name: str, without_m2: InProcess
) -> None:
    trainer, reason = HOSTILE_MEMBERS[name]
    engine = finished(tiny.engine(None, tiny.five(), tiny.trainers(tiny.FIVE, m_2=trainer)))
    assert tiny.refused(engine) == [(M2, reason)]
    assert engine.model().tobytes() == without_m2.model().tobytes()


def test_off_twin_without_screening_one_members_nan_is_everybodys_model() -> None:
    off = {"unsafe_accept_all": True}
    nan, _ = HOSTILE_MEMBERS["NaN"]
    settings = tiny.five(aggregation={"rule": "mean"}, screening=off, gate=off)
    engine = finished(tiny.engine(None, settings, tiny.trainers(tiny.FIVE, m_2=nan)))
    assert np.isnan(engine.model()).all()


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_member_that_states_what_was_not_asked_is_quarantined_by_name(
    name: str, monkeypatch: pytest.MonkeyPatch, without_m2: InProcess
) -> None:
    changes, reason = STATEMENTS[name]
    insider.install(monkeypatch, M2, lambda me, order: insider.update(me, order, **changes))
    engine = finished(five())
    assert tiny.refused(engine) == [(M2, reason)]
    assert engine.model().tobytes() == without_m2.model().tobytes()


def test_a_member_that_signs_two_different_updates_has_neither_counted(
    monkeypatch: pytest.MonkeyPatch, without_m2: InProcess
) -> None:
    second: list[bytes] = []

    def equivocate(me: Membership, order: Order) -> bytes:
        second[:] = [insider.update(me, order, examples=8)]
        return insider.update(me, order, examples=7)

    insider.install(monkeypatch, M2, equivocate)

    def courier(sender: MemberId, envelope: bytes) -> Envelopes:
        extra = [(sender, second.pop())] if sender == M2 and second else []
        return ((sender, envelope), *extra)

    engine = finished(five(courier))
    assert tiny.refused(engine) == [(M2, Reason.DUPLICATE)]
    assert engine.model().tobytes() == without_m2.model().tobytes()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"worse": [9, 0]}, Reason.BAD_BALLOT),
        ({"worse": "many"}, Reason.BAD_BALLOT),
        ({"total": [10]}, Reason.BAD_BALLOT),
    ],
)
def test_a_ballot_that_cannot_be_true_is_refused_by_name_and_the_vote_goes_on(
    changes: dict[str, Any], reason: Reason, monkeypatch: pytest.MonkeyPatch, honest: InProcess
) -> None:
    tally = Tally((0, 0), (3, 0), (3, 10), (10, 10), True)
    insider.install(monkeypatch, M2, lambda me, order: insider.ballot(me, order, tally, **changes), VOTE)
    engine = finished(five())
    assert tiny.refused(engine, "decision") == [(M2, reason)]
    assert engine.model().tobytes() == honest.model().tobytes()


GOOD_TALLY = Tally((0, 0), (3, 0), (3, 10), (10, 10), True)


def test_a_ballot_on_another_candidate_is_refused_by_name_and_the_vote_goes_on(
    monkeypatch: pytest.MonkeyPatch, honest: InProcess
) -> None:
    def about_another(me: Membership, order: Order) -> bytes:
        return insider.ballot(me, replace(order, candidate=order.incumbent), GOOD_TALLY)

    insider.install(monkeypatch, M2, about_another, VOTE)
    engine = finished(five())
    assert tiny.refused(engine, "decision") == [(M2, Reason.WRONG_MODEL)]
    assert M2 not in [row["member"] for row in tiny.logged(engine, "ballots")[0]["ballots"]]
    assert engine.model().tobytes() == honest.model().tobytes()


@pytest.mark.parametrize(
    ("second", "refused"),
    [
        ({}, []),  # sealed anew, and the same ballot: it counts once
        ({"better": [2, 0]}, [(M2, Reason.DUPLICATE)]),
        ({"worse": "many"}, [(M2, Reason.DUPLICATE)]),  # a malformed second takes the first with it: both are signed
    ],
)
def test_a_member_that_signs_two_ballots_is_in_the_log_once_and_counts_at_most_once(
    second: dict[str, Any], refused: list[Any], monkeypatch: pytest.MonkeyPatch, honest: InProcess
) -> None:
    kept: list[bytes] = []

    def equivocate(me: Membership, order: Order) -> bytes:
        kept[:] = [insider.ballot(me, order, GOOD_TALLY, **second)]
        return insider.ballot(me, order, GOOD_TALLY)

    insider.install(monkeypatch, M2, equivocate, VOTE)

    def courier(sender: MemberId, envelope: bytes) -> Envelopes:
        extra = [(sender, kept.pop())] if sender == M2 and kept else []
        return ((sender, envelope), *extra)

    engine = finished(five(courier))
    assert tiny.refused(engine, "decision") == refused
    assert [row["member"] for row in tiny.logged(engine, "ballots")[0]["ballots"]] == list(tiny.FIVE)
    assert tiny.logged(engine, "decision")[0]["voters"] == 5 - len(refused)
    assert engine.model().tobytes() == honest.model().tobytes()


def test_what_a_members_code_says_when_it_fails_stays_at_the_member() -> None:
    secret = "patient 4711 has no label"
    trainers = tiny.trainers(tiny.FIVE, m_2=Says(raises=LookupError(secret)))
    engine = finished(tiny.engine(None, tiny.five(), trainers))
    assert tiny.refused(engine) == [(M2, Reason.DECLINED)]
    assert not any(secret.encode() in data for data in tiny.published(engine).values())
    assert str(engine.member_errors[M2]) == secret
    assert tiny.logged(engine, "cohort")[0]["refused"][0]["detail"] == "training failed with LookupError"


def _with_floor(engine: InProcess, member: MemberId, floor: Floor) -> None:
    side = engine.members[member]
    engine.members = {**engine.members, member: replace(side, membership=replace(side.membership, floor=floor))}


def test_a_member_whose_floor_is_higher_than_the_order_declines_and_is_counted_as_such(without_m2: InProcess) -> None:
    engine = five()
    _with_floor(engine, M2, Floor(refused_rules=("trimmed-mean",)))
    finished(engine)
    assert tiny.refused(engine) == [(M2, Reason.DECLINED)]
    assert isinstance(engine.member_errors[M2], FloorRefused)
    assert engine.model().tobytes() == without_m2.model().tobytes()


def test_a_member_that_declines_is_charged_nothing() -> None:
    engine = five(privacy=EXAMPLE)
    _with_floor(engine, M2, Floor(max_epsilon=1.0))
    finished(engine)
    assert tiny.refused(engine) == [(M2, Reason.DECLINED)]
    receipt = engine.members[M2].ledger.reserve(_spent("tiny/m-2", 1.0), charge)
    assert receipt.charges == 1  # this one


# ------------------------------------------------------------------------------------------------------------- budgets


def _spent(dataset: str, sigma: float = 1.0, unit: str = "example") -> Reservation:
    return Reservation(f"another run/{dataset}", dataset, unit, sigma, 50.0, 1e-5)


def test_a_member_whose_data_other_runs_have_used_up_declines_and_the_round_goes_on() -> None:
    engine = five(privacy=EXAMPLE | {"epsilon": 10.0})
    engine.members[M2].ledger.reserve(_spent("tiny/m-2", sigma=0.55), charge)
    finished(engine)
    assert tiny.refused(engine) == [(M2, Reason.DECLINED)]
    assert isinstance(engine.member_errors[M2], BudgetExhausted)


def test_where_every_members_budget_is_used_up_the_run_ends_with_that_error() -> None:
    engine = five(privacy=EXAMPLE | {"epsilon": 10.0})
    for member, side in engine.members.items():
        side.ledger.reserve(_spent(f"tiny/{member}", sigma=0.55), charge)
    with pytest.raises(BudgetExhausted, match="every member declined") as raised:
        engine.run(tiny.INITIAL)
    assert raised.value.exit_code == 6
    assert tiny.logged(engine, "attempt-failed")
    assert tiny.verified(engine).version == 0


def test_where_every_members_floor_refuses_the_run_ends_with_that_error_and_not_with_a_missed_quorum() -> None:
    engine = five()
    for member in tiny.FIVE:
        _with_floor(engine, member, Floor(refused_rules=("trimmed-mean",)))
    with pytest.raises(FloorRefused, match="every member declined"):
        engine.run(tiny.INITIAL)


def test_it_is_those_who_were_asked_that_must_all_have_refused() -> None:
    """Three of five are drawn: their floors end the run, whatever the others' would have said."""
    three = {"policy": "uniform", "size": 3, "min_cohort": 3}
    engine = five(selection=three, run={"rounds": 2})
    for member in tiny.FIVE:
        _with_floor(engine, member, Floor(refused_rules=("trimmed-mean",)))
    with pytest.raises(FloorRefused, match="every member declined"):
        engine.run(tiny.INITIAL)


def test_where_one_member_failed_otherwise_it_is_a_missed_quorum() -> None:
    trainers = tiny.trainers(tiny.FIVE, m_2=Says(raises=OSError("disk")))
    engine = tiny.engine(None, tiny.five(), trainers)
    for member in set(tiny.FIVE) - {M2}:
        _with_floor(engine, member, Floor(max_epsilon=1.0))
    with pytest.raises(QuorumError, match="found 0"):
        engine.run(tiny.INITIAL)


@pytest.mark.parametrize("privacy", [EXAMPLE, MEMBER], ids=["example", "member"])
def test_the_round_that_would_pass_the_budget_is_refused_and_the_last_release_stands(privacy: dict[str, Any]) -> None:
    rule = CLIPPED if privacy is MEMBER else {"rule": "trimmed-mean", "f": 1}
    engine = five(privacy=privacy | {"epsilon": ONE_ROUND + 0.1}, aggregation=rule)
    with pytest.raises(BudgetExhausted):
        engine.run(tiny.INITIAL)
    result = tiny.verified(engine)
    assert (result.version, result.finished, result.rounds) == (1, False, 1)
    assert result.stopped is not None
    assert result.stopped.startswith("budget: ")
    assert result.epsilon_recorded == pytest.approx(ONE_ROUND, abs=2e-3)  # rounded up to 1e-3
    assert len(tiny.logged(engine, "charge")) == 1


def _losing(kind: str) -> Courier:
    """A courier that loses every update, or every ballot."""
    kinds = {member: itertools.cycle([TRAIN, VOTE] if kind == VOTE else [TRAIN]) for member in tiny.FIVE}
    return lambda sender, envelope: () if next(kinds[sender]) == kind else ((sender, envelope),)


@pytest.mark.parametrize(("privacy", "lost"), [(EXAMPLE, TRAIN), (EXAMPLE, VOTE), (MEMBER, VOTE)])
def test_what_a_failed_attempt_has_charged_stays_charged_and_the_run_that_it_ends_verifies(
    privacy: dict[str, Any], lost: str
) -> None:
    rule = CLIPPED if privacy is MEMBER else {"rule": "trimmed-mean", "f": 1}
    engine = five(_losing(lost), privacy=privacy | {"epsilon": ONE_ROUND + 0.1}, aggregation=rule)
    with pytest.raises(QuorumError):
        engine.run(tiny.INITIAL)
    engine.courier = inprocess.honest_courier
    with pytest.raises(BudgetExhausted, match="attempt 2 would take"):  # before anybody is asked
        engine.run(tiny.INITIAL)
    result = tiny.verified(engine)
    assert (result.version, result.rounds) == (0, 1)
    assert result.stopped is not None


def test_an_attempt_that_failed_before_central_noise_was_drawn_has_charged_nothing() -> None:
    one_round = {"rounds": 1, "missing_allowed": 1}
    privacy = MEMBER | {"epsilon": ONE_ROUND + 0.1}
    engine = five(_losing(TRAIN), privacy=privacy, aggregation=CLIPPED, run=one_round)
    with pytest.raises(QuorumError):
        engine.run(tiny.INITIAL)
    engine.courier = inprocess.honest_courier
    assert tiny.verified(finished(engine)).version == 1


def test_a_run_that_the_coordinators_own_ledger_stops_in_the_middle_of_a_round_still_verifies() -> None:
    engine = five(privacy=MEMBER | {"epsilon": 10.0}, aggregation=CLIPPED)
    engine.ledger.reserve(_spent("tiny/members", sigma=0.55, unit="member"), charge)
    with pytest.raises(BudgetExhausted, match="tiny/members"):
        engine.run(tiny.INITIAL)
    result = tiny.verified(engine)
    assert (result.version, result.epsilon_recorded) == (0, 0.0)
    assert result.stopped is not None
    assert tiny.logged(engine, "aggregate") == []  # nothing was computed that noise should have hidden


def test_a_run_with_central_noise_charges_once_a_round_before_its_aggregate() -> None:
    engine = finished(five(privacy=MEMBER, aggregation=CLIPPED))
    kinds = [decode(line)["kind"] for line in tiny.published(engine)["log.jsonl"].splitlines()]
    assert [kinds[i + 1] for i, kind in enumerate(kinds) if kind == "charge"] == ["aggregate", "aggregate"]
    receipt = engine.ledger.reserve(_spent("tiny/members", unit="member"), charge)
    assert receipt.charges == 3  # two rounds and this one
    result = tiny.verified(engine)
    assert result.unit == "member"
    assert result.epsilon is not None
    assert result.epsilon_recorded is not None
    assert result.epsilon <= result.epsilon_recorded <= result.epsilon + 0.1
    assert {entry["l2_sensitivity"] for entry in tiny.logged(engine, "aggregate")} == {0.2}  # clip 1, of 5 invited


# ---------------------------------------------------------------------------------------------------------- the gate


@dataclass(frozen=True)
class Judges(tiny.Pull):
    """Votes on the candidate of the n-th round as it was told to."""

    passes: tuple[bool, ...] = ()
    rounds: list[int] = field(default_factory=lambda: [0])

    def evaluate(self, candidate: F32, incumbent: F32, state: F32 | None) -> Tally:
        self.rounds[0] += 1
        if self.passes[self.rounds[0] - 1]:
            return Tally((0, 0), (3, 0), (3, 10), (40, 10), True)
        return Tally((30, 0), (0, 0), (10, 10), (40, 10), True)


def _judged(*passes: bool, **tables: Any) -> InProcess:
    """A run whose members all vote so, one round after the other; three refusals in a row are too many."""
    run = {"rounds": len(passes), "missing_allowed": 1, "max_refusals": 3}
    members = {m: Judges(one.goal, passes=passes) for m, one in tiny.pulls(tiny.FIVE).items()}
    return tiny.engine(None, tiny.five(run=run, **tables), members)


def test_a_gate_that_refuses_too_often_in_a_row_stops_the_run_and_the_incumbent_stays() -> None:
    engine = _judged(*[False] * 9)
    with pytest.raises(GateRefusal, match="refused 3 candidates in a row") as raised:
        engine.run(tiny.INITIAL)
    assert raised.value.exit_code == 1
    assert engine.model().tobytes() == tiny.INITIAL.tobytes()
    result = tiny.verified(engine)
    assert (result.version, result.decided, result.releases) == (0, 3, 1)
    assert tiny.logged(engine, "stopped")[0]["refusals"] == 3
    assert sorted(tiny.published(engine)) == [
        "checkpoint", "config.json", "federation.json", "log.jsonl", "releases/0000.json", "releases/0000.safetensors"
    ]  # fmt: skip


def test_off_twin_with_the_gate_off_every_one_of_those_candidates_is_released() -> None:
    engine = _judged(*[False] * 3, gate={"unsafe_accept_all": True})
    assert tiny.verified(finished(engine)).version == 3


def test_a_candidate_that_passes_ends_the_count_of_refusals_in_a_row() -> None:
    passes = [False, False, True, False, False, True, False, False]
    engine = finished(_judged(*passes))
    assert [entry["passed"] for entry in tiny.logged(engine, "decision")] == passes


# ------------------------------------------------------------------------------------------------- quorum and resuming


def test_a_missed_quorum_ends_the_attempt_and_the_next_one_has_keys_and_charges_of_its_own() -> None:
    one_round, silent = {"rounds": 1, "missing_allowed": 1}, True
    engine = five(lambda sender, envelope: () if silent else ((sender, envelope),), privacy=EXAMPLE, run=one_round)
    with pytest.raises(QuorumError, match="round 1, attempt 1: the round needs 3 sound updates, found 0"):
        engine.run(tiny.INITIAL)
    silent = False
    finished(engine)
    first, second = tiny.logged(engine, "round-open")
    assert [(entry["round"], entry["attempt"]) for entry in (first, second)] == [(1, 1), (1, 2)]
    assert first["binding"]["nonce"] != second["binding"]["nonce"]
    assert first["round_key"] != second["round_key"]
    assert len({entry["reservation"] for entry in tiny.logged(engine, "charge")}) == 2
    receipt = engine.members[M2].ledger.reserve(_spent("tiny/m-2"), charge)
    assert receipt.charges == 3  # two attempts and this one


def test_members_that_answer_after_the_deadline_are_missing() -> None:
    engine, now = five(), [tiny.TIME]
    engine.edges = Edges(clock=lambda: now[0], draw=engine.edges.draw)

    def slow(sender: MemberId, envelope: bytes) -> Envelopes:
        now[0] += 300  # of 900 seconds for the round
        return ((sender, envelope),)

    engine.courier = slow
    with pytest.raises(QuorumError):  # three updates come in time, and the last one just so; no ballots
        engine.run(tiny.INITIAL)
    assert tiny.refused(engine) == [(tiny.FIVE[4], Reason.MISSING)]
    assert tiny.verified(engine).decided == 0


def test_a_clock_that_is_set_back_makes_no_log_that_cannot_be_verified() -> None:
    engine = five()
    hours = itertools.count(tiny.TIME, -3600)
    engine.edges = Edges(clock=lambda: next(hours), draw=engine.edges.draw)
    finished(engine)


def _disk(path: Path) -> dict[str, bytes]:
    """Every file of the run but SQLite's, and the rows of its tables."""
    files = {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}
    return {name: data for name, data in files.items() if "state.db" not in name} | {
        "dump": files["run/state/state.db"],
    }


def _run_on(path: Path, **tables: Any) -> InProcess:
    return tiny.engine(path / "run", parse(tiny.tables(**tables)))


def test_a_finished_run_that_is_resumed_does_nothing_more(memory_path: Path) -> None:
    first = _run_on(memory_path)
    records = first.run(tiny.INITIAL)
    tiny.close(first)
    before, events = _disk(memory_path), []
    again = _run_on(memory_path)
    again.watch = lambda *event: events.append(event)
    assert again.run(tiny.INITIAL) == records
    tiny.close(again)
    assert events == []
    assert _disk(memory_path) == before


def test_a_stopped_run_is_not_resumed(memory_path: Path) -> None:
    settings = parse(tiny.tables(run={"rounds": 9, "max_refusals": 1}))
    members = {m: Judges(one.goal, passes=(False,)) for m, one in tiny.pulls().items()}
    first = tiny.engine(memory_path / "run", settings, members)
    with pytest.raises(GateRefusal, match="in a row"):
        first.run(tiny.INITIAL)
    tiny.close(first)
    before = _disk(memory_path)
    again = tiny.engine(memory_path / "run", settings, members)
    with pytest.raises(GateRefusal, match="has stopped: the gate refused 1 candidates in a row"):
        again.run(tiny.INITIAL)
    tiny.close(again)
    assert _disk(memory_path) == before


def test_a_run_that_its_budget_stopped_is_not_resumed_either() -> None:
    engine = five(privacy=EXAMPLE | {"epsilon": ONE_ROUND + 0.1})
    with pytest.raises(BudgetExhausted):
        engine.run(tiny.INITIAL)
    with pytest.raises(PolicyError, match="has stopped: budget"):
        engine.run(tiny.INITIAL)


@pytest.mark.parametrize(
    "tables", [{"run": {"rounds": 3}}, {"gate": {"significance": 0.01}}, {"screening": {"max_norm": 1e9}}]
)
def test_resuming_under_another_configuration_is_refused_before_anything_is_written(
    tables: dict[str, Any], memory_path: Path
) -> None:
    first = _run_on(memory_path)
    first.run(tiny.INITIAL)
    tiny.close(first)
    before = _disk(memory_path)
    with pytest.raises(ConflictError, match="another configuration or other code"):
        _run_on(memory_path, **tables)
    assert _disk(memory_path) == before


def test_resuming_with_other_code_is_refused_before_anything_is_written(memory_path: Path) -> None:
    class Stop(BaseException):
        pass

    def stop(stage: str, key: Any, effect: Any) -> None:
        if isinstance(effect, Keep) and key.round == 1:
            raise Stop

    engine = _run_on(memory_path)
    engine.watch = stop
    with pytest.raises(Stop):
        engine.run(tiny.INITIAL)
    tiny.close(engine)
    before = _disk(memory_path)
    with pytest.raises(ConflictError, match="another configuration or other code"):
        tiny.engine(memory_path / "run", code="other")
    assert _disk(memory_path) == before


# ------------------------------------------------------------------------------------------------------------ receipts


def test_every_accepted_member_holds_the_receipt_for_its_own_envelope() -> None:
    sent: dict[MemberId, list[str]] = {member: [] for member in tiny.FIVE}

    def courier(sender: MemberId, envelope: bytes) -> Envelopes:
        sent[sender].append(digest("envelope", envelope))
        return ((sender, envelope),)

    engine = finished(five(courier))
    for member in tiny.FIVE:
        held = engine.store.receipts(member)
        assert sorted(receipt for _, _, receipt in held) == sorted(sent[member])  # an update and a ballot a round
        assert Counter((r, a) for r, a, _ in held) == {(1, 1): 2, (2, 1): 2}


class Crash(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("member", tiny.MEMBERS)
def test_an_answer_whose_receipt_is_durable_survives_a_crash_even_if_its_member_never_sends_it_again(
    member: MemberId, memory_path: Path
) -> None:
    """Promise I1. The disk here writes everything at once, so that the receipt is as durable as it can be."""
    engine = tiny.engine(memory_path / "run")

    def crash(stage: str, key: Any, effect: Any) -> None:
        engine.store.commit()
        if (stage, type(effect).__name__, getattr(effect, "member", "")) == ("recorded", "Acknowledge", member):
            raise Crash

    engine.watch = crash
    with pytest.raises(Crash):
        engine.run(tiny.INITIAL)
    tiny.close(engine)
    resumed = tiny.engine(memory_path / "run")
    assert len(resumed.store.receipts(member)) == 1
    mute = drop_updates(member)
    resumed.courier = lambda sender, envelope: mute(sender, envelope) if resumed.last_entry()["round"] == 1 else (
        (sender, envelope),
    )  # fmt: skip
    finished(resumed)
    tiny.close(resumed)
    assert member in tiny.logged(resumed, "cohort")[0]["accepted"]


def test_an_update_counts_once_however_often_it_comes_and_whatever_crashes(memory_path: Path) -> None:
    """Promise I2."""
    reference = tiny.engine(None)
    reference.run(tiny.INITIAL)
    for number in range(0, 40, 4):
        place = memory_path / str(number)
        place.mkdir()
        engine, count = tiny.engine(place / "run"), itertools.count()

        def crash(stage: str, key: Any, effect: Any, count: Any = count, at: int = number, run: Any = engine) -> None:
            run.store.commit()
            if key.round == 1 and next(count) == at:
                raise Crash

        engine.watch = crash
        with pytest.raises(Crash):
            engine.run(tiny.INITIAL)
        tiny.close(engine)
        resumed = tiny.engine(place / "run")
        resumed.courier = lambda sender, envelope: ((sender, envelope), (sender, envelope))
        finished(resumed)
        for entry in tiny.logged(resumed, "updates"):
            assert Counter(row["member"] for row in entry["updates"]) == dict.fromkeys(tiny.MEMBERS, 1)
        assert resumed.model().tobytes() == reference.model().tobytes()
        tiny.close(resumed)
