"""The member's page against a hostile coordinator: floor first, then the charge, then the noise, then the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phalanx.canonical import digest, encode, model_digest
from phalanx.channel.envelope import (
    Ballot,
    Directory,
    Terms,
    accept,
    ballot_terms,
    open_ballot,
    open_envelopes,
    open_update,
    receipt_of,
    update_terms,
)
from phalanx.channel.keys import RoundKey, seal
from phalanx.channel.order import TRAIN, VOTE, Order, sign_order
from phalanx.errors import (
    BadSignature,
    BudgetExhausted,
    FloorRefused,
    IntegrityError,
    NotCanonical,
    PhalanxError,
    RollbackError,
)
from phalanx.gate import GatePolicy
from phalanx.privacy import charge, epsilon
from phalanx.round.effects import Cast, Charge, Draw, Effect, Evaluate, Seal, Train
from phalanx.round.member import Floor, Membership, Turn, answer_order
from phalanx.signing import SigningKey
from phalanx.types import (
    Binding,
    ExamplePrivacy,
    Layout,
    Refusal,
    Reservation,
    SealedUpdate,
    Tally,
    TensorSpec,
    Trained,
    Update,
    Vote,
    member_id,
)

ALICE = member_id("alice")
KEY, OPERATOR, RIVAL = (SigningKey.from_seed(bytes([n]) * 32) for n in (1, 2, 3))
LAYOUT = Layout((TensorSpec("weight", (2, 3), 0), TensorSpec("bias", (3,), 6)))
INCUMBENT = np.linspace(-1, 1, LAYOUT.d).astype(np.float32)
CANDIDATE = INCUMBENT + np.float32(0.5)
DELTA = np.arange(LAYOUT.d, dtype=np.float32)
ROUND_KEY = RoundKey.from_seed(bytes(range(96)))
CONFIG = digest("config", b"as agreed")
BINDING = Binding("clinics", "run-1", 7, 1, model_digest(INCUMBENT), CONFIG, "ab" * 16)
PRIVACY = ExamplePrivacy(clip_l2=1.0, noise_multiplier=3.8, normaliser=150, epsilon=8.0, delta=1e-5)
CAREFUL = Floor(max_epsilon=8.0, refused_rules=("mean",))
TRAINING = Order(TRAIN, BINDING, 1_900_000_000, "trimmed-mean(f=3)", PRIVACY, ROUND_KEY.public, LAYOUT, INCUMBENT)
VOTING = replace(TRAINING, kind=VOTE, candidate=CANDIDATE)
JUDGED = replace(BINDING, model=model_digest(CANDIDATE))  # what a ballot is bound to
TALLY = Tally(worse=(0, 2), better=(1, 0), right=(3, 3), total=(5, 5), finite=True)


def member(floor: Floor = CAREFUL) -> Membership:
    return Membership(
        ALICE, KEY, "clinics", CONFIG, OPERATOR.public, LAYOUT, GatePolicy(classes=2), "clinics/alice", floor
    )


@dataclass
class World:
    """Answers effects by hand and keeps what was asked. Its ledger is a list."""

    ledger: list[Reservation] = field(default_factory=list)
    asked: list[Effect[Any]] = field(default_factory=list)
    tally: Tally | None = TALLY
    voted: dict[tuple[int, int], str] = field(default_factory=dict)
    entropy: Callable[[int], bytes] = lambda size: b"\x07" * size

    def drive(self, data: bytes, me: Membership | None = None, expected: Turn = (7, 1)) -> bytes:
        """The member's envelope."""
        corridor = answer_order(me or member(), data, expected)
        try:
            effect = next(corridor)
            while True:
                self.asked.append(effect)
                effect = corridor.send(self.answer(effect))
        except StopIteration as stop:
            envelope: bytes = stop.value
            return envelope

    def answer(self, effect: Effect[Any]) -> Any:
        match effect:
            case Charge(reservation=new):
                receipt = charge(self.ledger, new)
                self.ledger += [] if new in self.ledger else [new]
                return receipt
            case Draw(size=size):
                return self.entropy(size)
            case Train():
                return Trained(DELTA, examples=150, state=DELTA)
            case Cast(order=order):
                return self.voted.setdefault((effect.round, effect.attempt), order)
            case Evaluate():
                return self.tally
            case Seal(plaintext=plaintext, recipient=recipient, info=info):
                return seal(plaintext, recipient, info)
        raise AssertionError(f"a member asks for no {type(effect).__name__}")

    @property
    def kinds(self) -> list[type]:
        return [type(effect) for effect in self.asked]


def ask(order: Order, *, by: SigningKey = OPERATOR, floor: Floor = CAREFUL, expected: Turn = (7, 1)) -> World:
    """The world after a member answered `order`."""
    world = World()
    world.drive(sign_order(order, by), member(floor), expected)
    return world


def refuses(error: type[PhalanxError], data: bytes | Order, floor: Floor = CAREFUL, expected: Turn = (7, 1)) -> str:
    """The sentence of a refusal, where nothing was asked of the world: no charge, no noise, no data."""
    world = World()
    with pytest.raises(error) as caught:
        world.drive(sign_order(data, OPERATOR) if isinstance(data, Order) else data, member(floor), expected)
    assert type(caught.value) is error and world.asked == []
    return caught.value.message


# --------------------------------------------------------------------------------------------------- what an answer is


def received(envelope: bytes, terms: Terms) -> Any:
    """What the receiver finds in an envelope."""
    taken = accept(terms, ALICE, envelope)
    assert isinstance(taken, SealedUpdate)
    opened, refused = open_envelopes([taken], terms, ROUND_KEY, Directory({ALICE: KEY.public}))
    assert refused == []
    return opened[0]


def test_the_update_that_results_opens_at_the_receiver() -> None:
    envelope = World().drive(sign_order(TRAINING, OPERATOR))
    update = open_update(received(envelope, update_terms(BINDING, LAYOUT)))
    assert isinstance(update, Update)
    assert (update.member, update.claimed_examples, update.tensors) == (ALICE, 150, LAYOUT.as_json())
    assert update.payload == DELTA.astype("<f4").tobytes()


def test_the_ballot_that_results_opens_at_the_receiver() -> None:
    world = World()
    envelope = world.drive(sign_order(VOTING, OPERATOR))
    ballot = open_ballot(received(envelope, ballot_terms(JUDGED, 2)))
    assert isinstance(ballot, Ballot) and ballot.content == TALLY
    assert world.kinds == [Draw, Cast, Evaluate, Seal] and world.ledger == []
    assert isinstance(world.asked[2], Evaluate)
    assert world.asked[2].candidate.tobytes() == CANDIDATE.tobytes()
    assert world.asked[2].incumbent.tobytes() == INCUMBENT.tobytes()


VOTER = replace(member(), gate=GatePolicy(classes=2, ballot="votes"))
GUESSES = [Vote(worse, bucket, True) for worse in (False, True) for bucket in range(-1, 21)]


def receipt_by_guess(vote: Vote, payload: bytes) -> str:
    """The receipt that alice's vote would have: everything else in its manifest is public."""
    fields, binding = asdict(vote), JUDGED.as_json()
    stated = {"binding": binding, "fields": fields, "kind": "ballot", "member": "alice"}
    return receipt_of(encode(stated | {"payload": digest("payload", payload)}))


def vote_by(entropy: Callable[[int], bytes]) -> Ballot:
    """The vote that alice casts, as it is opened at the receiver."""
    world = World(entropy=entropy)
    ballot = open_ballot(received(world.drive(sign_order(VOTING, OPERATOR), VOTER), ballot_terms(JUDGED, 2)))
    assert isinstance(ballot, Ballot)
    return ballot


def test_what_a_member_voted_cannot_be_found_by_trying_all_votes_against_its_receipt() -> None:
    """All that a stranger lacks is the salt. The member that kept it can show what it sent."""
    salt = bytes(range(32))
    ballot = vote_by(lambda size: salt[:size])
    assert ballot.content in GUESSES and len(GUESSES) == 44
    for nothing in (b"", bytes(32)):
        assert ballot.receipt not in {receipt_by_guess(guess, nothing) for guess in GUESSES}
    assert [guess for guess in GUESSES if receipt_by_guess(guess, salt) == ballot.receipt] == [ballot.content]


def test_two_members_salts_make_two_receipts_of_one_vote() -> None:
    first, second = vote_by(lambda size: b"\x01" * size), vote_by(lambda size: b"\x02" * size)
    assert first.content == second.content and first.receipt != second.receipt


def test_off_twin_without_salt_44_guesses_find_a_vote(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phalanx.channel.envelope.SALT_BYTES", 0)
    monkeypatch.setattr("phalanx.round.member.SALT_BYTES", 0)
    ballot = vote_by(lambda size: bytes(range(size)))
    assert [guess for guess in GUESSES if receipt_by_guess(guess, b"") == ballot.receipt] == [ballot.content]


def test_a_ballot_is_bound_to_the_candidate_that_the_member_judged() -> None:
    """Not to the one that the operator would like it to be about: the header's hash is the member's own."""
    sealing = ask(VOTING).asked[-1]
    assert isinstance(sealing, Seal)
    assert sealing.info == encode({"binding": JUDGED.as_json(), "kind": "ballot", "sender": "alice"})
    other = ask(replace(VOTING, candidate=INCUMBENT)).asked[-1]
    assert isinstance(other, Seal) and other.info != sealing.info


def test_a_ballot_is_no_update_and_an_update_no_ballot() -> None:
    opened = received(World().drive(sign_order(VOTING, OPERATOR)), ballot_terms(JUDGED, 2))
    assert isinstance(open_update(opened), Refusal)
    opened = received(World().drive(sign_order(TRAINING, OPERATOR)), update_terms(BINDING, LAYOUT))
    assert isinstance(open_ballot(opened), Refusal)


def test_the_seal_goes_to_the_orders_round_key_and_is_bound_to_its_header() -> None:
    sealing = ask(TRAINING).asked[-1]
    assert isinstance(sealing, Seal)
    assert sealing.recipient == ROUND_KEY.public
    assert sealing.info == encode({"binding": BINDING.as_json(), "kind": "update", "sender": "alice"})


# -------------------------------------------------------------------------------------------------- charge, draw, train


def test_the_charge_comes_before_the_draw_and_the_draw_before_the_data() -> None:
    world = ask(TRAINING)
    assert world.kinds == [Charge, Draw, Train, Draw, Seal]
    _, draw, training, _, _ = world.asked
    assert isinstance(draw, Draw) and isinstance(training, Train)
    assert (draw.purpose, draw.size) == ("example-noise", 32)
    assert training.task.noise_key == b"\x07" * 32 and training.task.privacy == PRIVACY and training.task.round == 7
    assert training.model.tobytes() == INCUMBENT.tobytes()


def test_without_privacy_nothing_is_charged_or_drawn() -> None:
    world = ask(replace(TRAINING, privacy=None), floor=Floor())
    assert world.kinds == [Train, Draw, Seal] and world.ledger == []


def test_a_charge_says_dataset_unit_noise_and_the_smaller_of_the_two_budgets() -> None:
    for budget, floor in ((8.0, 8.0), (3.0, 8.0), (3.0, None)):
        (reservation,) = ask(replace(TRAINING, privacy=replace(PRIVACY, epsilon=budget)), floor=Floor(floor)).ledger
        assert (reservation.dataset, reservation.unit) == ("clinics/alice", "example")
        assert (reservation.noise_multiplier, reservation.delta) == (3.8, 1e-5)
        assert reservation.epsilon_budget == budget


def test_an_exhausted_budget_stops_before_noise_or_data() -> None:
    spent = [Reservation(f"run-0/{n}", "clinics/alice", "example", 1.0, 8.0, 1e-5) for n in range(2)]
    assert epsilon([1.0, 1.0], 1e-5) < 8 < epsilon([1.0, 1.0, 1.0], 1e-5)
    world = World(ledger=list(spent))
    order = replace(TRAINING, privacy=replace(PRIVACY, noise_multiplier=1.0))
    with pytest.raises(BudgetExhausted):
        world.drive(sign_order(order, OPERATOR))
    assert world.kinds == [Charge] and world.ledger == spent


def test_an_order_that_promises_a_small_epsilon_with_too_little_noise_is_stopped_by_the_ledger() -> None:
    """The floor reads what the order says; the charge computes what its noise is worth."""
    world = World()
    with pytest.raises(BudgetExhausted):
        world.drive(sign_order(replace(TRAINING, privacy=replace(PRIVACY, noise_multiplier=0.01)), OPERATOR))
    assert world.kinds == [Charge] and world.ledger == []


def test_the_same_order_again_is_one_charge() -> None:
    world, data = World(), sign_order(TRAINING, OPERATOR)
    assert world.drive(data) != world.drive(data)  # sealed afresh
    assert len(world.ledger) == 1


ANOTHER_MODEL = replace(
    TRAINING, incumbent=CANDIDATE, binding=replace(BINDING, model=model_digest(CANDIDATE), nonce="cd" * 16)
)


@pytest.mark.parametrize(
    "second",
    [
        ANOTHER_MODEL,
        replace(ANOTHER_MODEL, binding=replace(ANOTHER_MODEL.binding, nonce=BINDING.nonce)),
        replace(TRAINING, privacy=replace(PRIVACY, clip_l2=0.5)),
        replace(TRAINING, privacy=replace(PRIVACY, normaliser=1)),
        replace(TRAINING, round_key=RoundKey.from_seed(bytes(96)).public),
        replace(TRAINING, deadline=1_900_000_001),
    ],
)
def test_a_coordinator_that_asks_twice_in_one_attempt_pays_twice(second: Order) -> None:
    """Two answers over the same data are two releases. Under one charge the second would be free."""
    world = World()
    world.drive(sign_order(TRAINING, OPERATOR))
    world.drive(sign_order(second, OPERATOR))
    assert len(world.ledger) == 2
    assert all(entry.key.startswith("run-1/7/1/") for entry in world.ledger)


def test_keyed_by_the_attempt_alone_the_second_answer_would_be_free() -> None:
    """The off twin: what the ledger makes of a charge whose key leaves the order out."""
    first, second = (replace(*ask(order).ledger, key="run-1/7/1/clinics/alice") for order in (TRAINING, ANOTHER_MODEL))
    assert charge([first], second).charges == 1
    assert charge(ask(TRAINING).ledger, *ask(ANOTHER_MODEL).ledger).charges == 2


# ---------------------------------------------------------------------------------------------------------------- floor


@pytest.mark.parametrize(
    ("order", "sentence"),
    [
        (replace(TRAINING, privacy=None), "the order offers no privacy"),
        (replace(TRAINING, privacy=replace(PRIVACY, epsilon=8.001)), "offers ε = 8.001"),
        (replace(TRAINING, privacy=replace(PRIVACY, epsilon=1e300)), "offers ε = 1e+300"),
        (replace(TRAINING, privacy=replace(PRIVACY, delta=1e-4)), "at δ = 0.0001"),
        (replace(TRAINING, rule="mean"), "refuses the rule mean"),
        (replace(TRAINING, rule="norm-clip(1) >> mean"), "refuses the rule norm-clip(1) >> mean"),
        (replace(VOTING, privacy=None), "the order offers no privacy"),
        (replace(VOTING, rule="mean"), "refuses the rule mean"),
    ],
)
def test_no_coordinator_lowers_a_members_floor(order: Order, sentence: str) -> None:
    assert sentence in refuses(FloorRefused, order)
    assert ask(order, floor=Floor()).kinds[-1] is Seal  # the off twin: without a floor the member complies


def test_a_floor_is_met_exactly_by_what_it_names() -> None:
    exact = Floor(max_epsilon=8.0, refused_rules=("mean", "krum", "median"), max_delta=1e-5)
    assert ask(TRAINING, floor=exact).kinds == [Charge, Draw, Train, Draw, Seal]
    assert "ε ≤ 7.999" in refuses(FloorRefused, TRAINING, floor=replace(exact, max_epsilon=7.999))
    refuses(FloorRefused, TRAINING, floor=replace(exact, max_delta=9e-6))
    refuses(FloorRefused, replace(TRAINING, rule="arc(f=3) >> krum(f=3)"), floor=exact)


def test_at_a_large_delta_hardly_any_noise_would_pass_for_epsilon_zero() -> None:
    """Why a floor bounds δ as well: at δ = 0.99 the ledger itself finds that σ = 0.2 costs nothing."""
    naked = replace(TRAINING, privacy=replace(PRIVACY, noise_multiplier=0.2, epsilon=0.5, delta=0.99))
    assert epsilon([0.2], 0.99) == 0.0 and epsilon([0.2], 1e-5) > 30
    assert "δ = 0.99" in refuses(FloorRefused, naked, floor=Floor(max_epsilon=1.0))
    assert ask(naked, floor=Floor(max_epsilon=1.0, max_delta=0.999)).kinds[-1] is Seal  # the off twin


def test_a_member_without_held_out_data_says_so_and_casts_no_ballot() -> None:
    world = World(tally=None)
    with pytest.raises(FloorRefused, match="no held-out data"):
        world.drive(sign_order(VOTING, OPERATOR))
    assert world.kinds == [Draw, Cast, Evaluate]


# --------------------------------------------------------------------------------------------------------- whose, which


def test_an_order_of_another_operator_is_refused() -> None:
    refuses(BadSignature, sign_order(TRAINING, RIVAL))


@pytest.mark.parametrize("changes", [{"federation": "hospices"}, {"config": digest("config", b"without a floor")}])
def test_an_order_of_another_federation_or_configuration_is_refused(changes: dict[str, str]) -> None:
    order = replace(TRAINING, binding=replace(BINDING, **changes))  # type: ignore[arg-type]
    assert "another federation or configuration" in refuses(IntegrityError, order)
    me = replace(member(), **changes)  # type: ignore[arg-type]
    assert World().drive(sign_order(order, OPERATOR), me)  # the off twin: who joined that one answers


def test_an_order_of_a_round_that_was_closed_is_refused() -> None:
    for expected in ((8, 1), (9, 1), (2**40, 1), (7, TRAINING.binding.attempt + 1)):
        assert "which was already closed" in refuses(RollbackError, TRAINING, expected=expected)
    assert ask(TRAINING, expected=(7, TRAINING.binding.attempt)).kinds[-1] is Seal
    assert ask(TRAINING, expected=(1, 1)).kinds[-1] is Seal  # a member that was away takes part again


def test_an_order_about_another_model_than_its_rounds_is_refused() -> None:
    refuses(IntegrityError, replace(TRAINING, incumbent=CANDIDATE))


def test_an_order_of_an_unknown_kind_is_refused() -> None:
    assert "unknown kind 'upload-data'" in refuses(IntegrityError, replace(TRAINING, kind="upload-data"))


def test_an_order_with_any_byte_altered_reaches_nothing_of_the_member() -> None:
    data = sign_order(TRAINING, OPERATOR)
    for position in range(0, len(data), 11):
        altered = bytearray(data)
        altered[position] ^= 0x40
        world = World()
        with pytest.raises(IntegrityError):
            world.drive(bytes(altered))
        assert world.asked == []


@pytest.mark.parametrize(
    "public", ["", "round key", ROUND_KEY.public.upper(), "00" * 1216, ROUND_KEY.public[:-64] + "00" * 32]
)
def test_a_hostile_round_key_gets_an_error_of_ours_and_no_update(public: str) -> None:
    world = World()
    with pytest.raises(IntegrityError, match="round key"):
        world.drive(sign_order(replace(TRAINING, round_key=public), OPERATOR))


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 9) | st.floats(-1e9, 1e9) | st.text("ab>(", max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abk", max_size=4), inner, max_size=3),
    max_leaves=6,
)
_lies: list[Callable[[Order, Any], Order]] = [
    lambda order, lie: replace(order, rule=lie),
    lambda order, lie: replace(order, deadline=lie),
    lambda order, lie: replace(order, round_key=lie),
    lambda order, lie: replace(order, kind=lie),
    lambda order, lie: replace(order, binding=replace(order.binding, round=lie)),
    lambda order, lie: replace(order, binding=replace(order.binding, attempt=lie)),
    lambda order, lie: replace(order, binding=replace(order.binding, run=lie)),
    lambda order, lie: replace(order, binding=replace(order.binding, nonce=lie)),
    lambda order, lie: replace(order, privacy=replace(PRIVACY, epsilon=lie)),
    lambda order, lie: replace(order, privacy=replace(PRIVACY, delta=lie)),
    lambda order, lie: replace(order, privacy=replace(PRIVACY, noise_multiplier=lie)),
    lambda order, lie: replace(order, privacy=replace(PRIVACY, clip_l2=lie)),
    lambda order, lie: replace(order, privacy=replace(PRIVACY, normaliser=lie)),
]


@settings(max_examples=200, deadline=None)
@given(tell=st.sampled_from(_lies), lie=_json, order=st.sampled_from([TRAINING, VOTING]))
def test_whatever_the_operator_signs_is_answered_or_refused_with_our_errors(
    tell: Callable[[Order, Any], Order], lie: Any, order: Order
) -> None:
    world = World()
    try:
        world.drive(sign_order(tell(order, lie), OPERATOR), member(Floor()))
    except PhalanxError:
        return
    assert world.kinds[-1] is Seal


def test_a_rule_that_is_no_text_is_refused_and_does_not_crash_the_member() -> None:
    refuses(NotCanonical, replace(TRAINING, rule=["mean"]))  # type: ignore[arg-type]


def test_no_key_shows_in_a_members_repr() -> None:
    assert KEY.seed.hex() not in repr(member()) and "PrivateKey" not in repr(member())


def test_a_member_votes_once_an_attempt_since_each_further_answer_would_tell_more() -> None:
    """The attack: an operator that asks about candidate after candidate reads held-out examples out of the ballots."""
    world = World()
    first = world.drive(sign_order(VOTING, OPERATOR))
    assert (
        world.drive(sign_order(VOTING, OPERATOR)) != b"" and first != b""
    )  # the same order again is no further answer
    with pytest.raises(RollbackError, match="has voted in this attempt"):
        world.drive(sign_order(replace(VOTING, candidate=CANDIDATE + 1), OPERATOR))
    later = replace(BINDING, attempt=BINDING.attempt + 1)
    assert world.drive(sign_order(replace(VOTING, binding=later, candidate=CANDIDATE + 1), OPERATOR))


def test_the_receipt_of_an_update_without_noise_cannot_be_guessed_from_its_content() -> None:
    orders = sign_order(replace(TRAINING, privacy=None), OPERATOR)
    terms = update_terms(BINDING, LAYOUT)
    receipts = set()
    for seed in range(2):
        world = World(entropy=lambda size, seed=seed: bytes([seed]) * size)  # type: ignore[misc]
        update = open_update(received(world.drive(orders, member(Floor())), terms))
        assert isinstance(update, Update) and update.payload == DELTA.astype("<f4").tobytes()
        receipts.add(update.receipt)
    assert len(receipts) == 2  # the same update, another hash: who guesses the update has nothing to compare


def test_an_order_for_a_turn_ahead_pays_again_once_the_journal_that_held_its_noise_is_gone() -> None:
    """The attack: the same order after each round, each time with fresh noise, and all of it averaged."""
    world = World()
    ahead = sign_order(TRAINING, OPERATOR)
    world.drive(ahead, expected=(1, 1))
    world.drive(ahead, expected=(1, 1))  # told again before anything closed: the journal has the same noise
    assert len(world.ledger) == 1
    world.drive(ahead, expected=(2, 1))
    assert len(world.ledger) == 2
    without = [replace(entry, key="run-1/7/1/order/clinics/alice") for entry in world.ledger]
    assert charge(without[:1], without[1]).charges == 1  # the off twin: a key without the turn makes the second free
