"""The member's page: floor, verify, charge, train, sign, seal.

Whatever the order says, the member's own checks come first, and its own ledger is charged before its data is touched.
An order that it cannot accept raises; the engine sends the refusal's sentence back as a decline.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import numpy as np

from phalanx.canonical import model_digest
from phalanx.channel.envelope import SALT_BYTES, Terms, ballot_terms, compose, update_terms, wrap
from phalanx.channel.order import TRAIN, VOTE, Order, open_order, order_name
from phalanx.entropy import KEY_BYTES
from phalanx.errors import FloorRefused, IntegrityError, RollbackError
from phalanx.gate import GatePolicy, vote_of
from phalanx.round.effects import Cast, Charge, Corridor, Draw, Evaluate, Seal, Train
from phalanx.signing import SigningKey
from phalanx.types import Binding, ExamplePrivacy, Layout, MemberId, Reservation, TrainTask


@dataclass(frozen=True, slots=True)
class Floor:
    """The weakest settings that a member ever accepts. No coordinator can lower it.

    `max_epsilon`: the largest ε of example-level privacy, None accepts orders without any. `max_delta`: the largest δ
    at which that ε may be stated; at δ = 0.99 hardly any noise is called ε = 0. `refused_rules`: names of rules that
    this member will not send an update to (`mean` lets one hostile member steer the model).
    """

    max_epsilon: float | None = None
    refused_rules: tuple[str, ...] = ()
    max_delta: float = 1e-5


@dataclass(frozen=True, slots=True)
class Membership:
    """What a member knows from joining: its key and the operator's, layout, gate, its data's name and its floor."""

    member: MemberId
    key: SigningKey = field(repr=False)
    federation: str
    config: str
    operator: str
    layout: Layout
    gate: GatePolicy
    dataset: str
    floor: Floor


Turn = tuple[int, int]  # round, attempt


def answer_order(me: Membership, data: bytes, expected: Turn) -> Corridor[bytes]:
    """The envelope that answers an order. `expected`: the first turn that this member has not yet seen closed.

    Raises BadSignature, IntegrityError, RollbackError, FloorRefused or BudgetExhausted; then nothing left the member.
    """
    order, name = open_order(data, me.operator, me.layout), order_name(data)
    _check_binding(me, order, expected)
    _check_floor(me.floor, order)
    if order.kind == TRAIN:
        return (yield from _train(me, order, name, expected))
    if order.kind == VOTE:
        return (yield from _vote(me, order, name))
    raise IntegrityError(f"an order of unknown kind {order.kind!r}")


def _check_binding(me: Membership, order: Order, expected: Turn) -> None:
    """A closed turn is never answered again: its journal is gone, so its noise would be drawn anew and not paid for."""
    binding = order.binding
    if (binding.federation, binding.config) != (me.federation, me.config):
        raise IntegrityError("the order is of another federation or configuration than this member joined")
    if (binding.round, binding.attempt) < expected:
        raise RollbackError(
            f"an order for round {binding.round}, attempt {binding.attempt}, which was already closed: "
            f"expected round {expected[0]}, attempt {expected[1]} or later"
        )


def _check_floor(floor: Floor, order: Order) -> None:
    last_step = order.rule.split(" >> ")[-1].split("(")[0]
    if last_step in floor.refused_rules:
        raise FloorRefused(f"this member's floor refuses the rule {order.rule}")
    if floor.max_epsilon is None:
        return
    offer = order.privacy
    if offer is None or not (offer.epsilon <= floor.max_epsilon and offer.delta <= floor.max_delta):
        offered = "no privacy" if offer is None else f"ε = {offer.epsilon:g} at δ = {offer.delta:g}"
        accepted = f"ε ≤ {floor.max_epsilon:g} at δ ≤ {floor.max_delta:g}"
        raise FloorRefused(f"this member's floor is {accepted}, the order offers {offered}")


def _train(me: Membership, order: Order, name: str, expected: Turn) -> Corridor[bytes]:
    """Charge, then draw, then train. The noise is drawn once for the reservation and bound to it by the journal."""
    noise_key = b""
    if order.privacy is not None:
        yield from Charge(reservation(me, order.binding, order.privacy, name, expected))
        noise_key = yield from Draw("example-noise", KEY_BYTES)
    task = TrainTask(order.binding.round, order.privacy, noise_key, order.control)
    trained = yield from Train(order.incumbent, task)
    # Without noise of its own an update follows from the data, and the log will hold its hash: salted, nobody can try.
    salt = yield from Draw("update-salt", SALT_BYTES)
    fields = {"examples": trained.examples, "salt": salt.hex(), "tensors": me.layout.as_json()}
    payload = np.ascontiguousarray(trained.delta, dtype="<f4").tobytes()
    return (yield from _send(me, order, update_terms(order.binding, me.layout), fields, payload))


def _vote(me: Membership, order: Order, name: str) -> Corridor[bytes]:
    """Counts on data that stays here, once an attempt. The ballot says how often candidate and incumbent differ.

    Where the federation agreed on votes, not even that: only what this member's own test makes of the counts. The
    log will hold the ballot's hash: without secret salt in it the few values that a ballot can have could be tried.
    """
    if order.candidate is None:
        raise IntegrityError("an order to vote came without a candidate")
    salt = yield from Draw("ballot-salt", SALT_BYTES)  # before the data: no place that also draws noise for training
    if (yield from Cast(order.binding.round, order.binding.attempt, name)) != name:
        raise RollbackError(
            "this member has voted in this attempt, and each further answer would tell more of its data"
        )
    tally = yield from Evaluate(order.candidate, order.incumbent)
    if tally is None:
        raise FloorRefused("this member holds no held-out data to vote with")
    ballot = tally if me.gate.ballot == "counts" else vote_of(tally, me.gate, order.untried)
    counted = {one.name: getattr(ballot, one.name) for one in fields(ballot)}
    judged = replace(order.binding, model=model_digest(order.candidate))  # it is no ballot on another candidate
    return (yield from _send(me, order, ballot_terms(judged, me.gate.classes), counted, salt))


def _send(me: Membership, order: Order, terms: Terms, fields: object, payload: bytes) -> Corridor[bytes]:
    plaintext = compose(terms, me.member, me.key, fields, payload)
    ciphertext = yield from Seal(plaintext, order.round_key, terms.header(me.member))
    return wrap(terms, me.member, ciphertext)


def reservation(me: Membership, binding: Binding, privacy: ExamplePrivacy, order: str, expected: Turn) -> Reservation:
    """The charge against this member's own data for `order`, the hash of its bytes.

    The same order again is the same charge, as long as the journal holds its noise: until the turn that is `expected`
    closes. An order for a turn ahead that comes again after that gets other noise, and pays for it. So does another
    order for the same attempt (another model, say), which is answered with another update.
    """
    since = f"{expected[0]}.{expected[1]}"
    return Reservation(
        key=f"{binding.run}/{binding.round}/{binding.attempt}/{since}/{order}/{me.dataset}",
        dataset=me.dataset,
        unit="example",
        noise_multiplier=privacy.noise_multiplier,
        epsilon_budget=min(privacy.epsilon, me.floor.max_epsilon or privacy.epsilon),
        delta=privacy.delta,
    )
