"""Orders: the operator's alone and about the model that they name; whatever else arrives raises our errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phalanx.canonical import digest, encode, model_digest
from phalanx.channel.order import PURPOSE, TRAIN, VOTE, Order, open_order, sign_order
from phalanx.errors import BadSignature, IntegrityError, NotCanonical
from phalanx.signing import SigningKey
from phalanx.types import ExamplePrivacy, Layout, TensorSpec
from tests.channel.parties import BINDING, LAYOUT, ROUND_KEY, frame

OPERATOR, RIVAL = (SigningKey.from_seed(bytes([n]) * 32) for n in (1, 2))
INCUMBENT = np.linspace(-1, 1, LAYOUT.d).astype(np.float32)
CANDIDATE = INCUMBENT + np.float32(0.5)
PRIVACY = ExamplePrivacy(clip_l2=1.0, noise_multiplier=3.8, normaliser=150, epsilon=8.0, delta=1e-5)
TRAINING = Order(
    kind=TRAIN,
    binding=replace(BINDING, model=model_digest(INCUMBENT)),
    deadline=1_900_000_000,
    rule="trimmed-mean(f=3)",
    privacy=PRIVACY,
    round_key=ROUND_KEY.public,
    layout=LAYOUT,
    incumbent=INCUMBENT,
)
VOTING = replace(TRAINING, kind=VOTE, candidate=CANDIDATE)
CONTROLLED = replace(TRAINING, control=CANDIDATE, untried=True)
SIGNED = sign_order(TRAINING, OPERATOR)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-1e9, 1e9) | st.text("ab\0é", max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abk", max_size=4), inner, max_size=3),
    max_leaves=8,
)


def opened(data: bytes, operator: SigningKey = OPERATOR, layout: Layout = LAYOUT) -> Order:
    return open_order(data, operator.public, layout)


def header(**changes: Any) -> dict[str, Any]:
    """The header of the order to train, but for `changes`."""
    stated: dict[str, Any] = {"binding": TRAINING.binding.as_json(), "deadline": TRAINING.deadline, "kind": TRAIN}
    stated |= {
        "control": False,
        "layout": LAYOUT.as_json(),
        "payload": digest("payload", INCUMBENT.tobytes()),
        "privacy": asdict(PRIVACY),
    }
    return stated | {"round_key": ROUND_KEY.public, "rule": TRAINING.rule, "untried": False} | changes


def signed(stated: Any, payload: bytes = INCUMBENT.tobytes(), by: SigningKey = OPERATOR) -> bytes:
    """What a hostile operator signs."""
    text = stated if isinstance(stated, bytes) else encode(stated)
    return frame(text) + bytes.fromhex(by.sign(PURPOSE, text)) + payload


@pytest.mark.parametrize("order", [TRAINING, VOTING, CONTROLLED, replace(TRAINING, privacy=None)])
def test_an_order_opens_as_it_was_signed(order: Order) -> None:
    found = opened(sign_order(order, OPERATOR))
    assert found.incumbent.tobytes() == order.incumbent.tobytes()
    for one, other in ((found.candidate, order.candidate), (found.control, order.control)):
        assert (None if one is None else one.tobytes()) == (None if other is None else other.tobytes())
    names = ("kind", "binding", "deadline", "rule", "privacy", "round_key", "untried")
    assert [getattr(found, name) for name in names] == [getattr(order, name) for name in names]


def test_the_forger_of_these_tests_signs_the_same_bytes_where_it_changes_nothing() -> None:
    assert signed(header()) == SIGNED


def test_an_order_signed_by_another_operator_is_refused() -> None:
    with pytest.raises(BadSignature):
        opened(sign_order(TRAINING, RIVAL))


def test_a_signature_made_for_another_purpose_signs_no_order() -> None:
    """The operator signs the roster too: what it signed there must not pass for an order."""
    text = encode(header())
    with pytest.raises(BadSignature):
        opened(frame(text) + bytes.fromhex(OPERATOR.sign("federation", text)) + INCUMBENT.tobytes())


def test_a_relay_that_swaps_the_model_is_found_out() -> None:
    other = INCUMBENT.copy()
    other[0] += np.float32(1e-3)
    with pytest.raises(IntegrityError, match="not the one that was signed"):
        opened(SIGNED[: -LAYOUT.nbytes] + other.tobytes())


def test_an_operator_that_sends_another_model_than_the_round_is_bound_to_is_found_out() -> None:
    """Off twin of the binding: signature and payload hash are right, only the binding says what all others train on."""
    with pytest.raises(IntegrityError, match="bound to another model"):
        opened(sign_order(replace(TRAINING, incumbent=CANDIDATE), OPERATOR))


def test_a_vote_about_a_swapped_candidate_is_found_out() -> None:
    data = sign_order(VOTING, OPERATOR)
    with pytest.raises(IntegrityError, match="not the one that was signed"):
        opened(data[: -LAYOUT.nbytes] + INCUMBENT.tobytes())


@pytest.mark.parametrize(
    "layout",
    [
        Layout(LAYOUT.tensors[:1]),
        Layout(LAYOUT.tensors[::-1]),
        Layout((TensorSpec("weight", (3, 2), 0), TensorSpec("bias", (3,), 6))),
        Layout((TensorSpec("hidden", (2, 3), 0), TensorSpec("bias", (3,), 6))),
    ],
)
def test_an_order_about_another_layout_is_refused_before_its_payload_is_read(layout: Layout) -> None:
    with pytest.raises(IntegrityError, match="another layout"):
        opened(SIGNED, layout=layout)


def test_an_order_with_any_byte_altered_is_refused() -> None:
    for position in range(len(SIGNED)):
        altered = bytearray(SIGNED)
        altered[position] ^= 1 << position % 8
        with pytest.raises(IntegrityError):
            opened(bytes(altered))


def test_an_order_cut_short_or_prolonged_is_refused() -> None:
    for data in (*(SIGNED[:size] for size in range(0, len(SIGNED), 7)), SIGNED[:-1], SIGNED + b"\0", SIGNED + SIGNED):
        with pytest.raises(IntegrityError):
            opened(data)


def any_of(*values: Any) -> tuple[Any, ...]:
    """Hostile values of any type."""
    return values


WRONG_TYPES: list[Any] = [
    *(header(deadline=bad) for bad in any_of(None, "soon", 1.5, True)),
    *(header(kind=bad) for bad in any_of(None, 1, [], ["train"])),
    *(header(rule=bad) for bad in any_of(None, 7, ["mean"], {})),
    *(header(round_key=bad) for bad in any_of(None, 7, [])),
    *(header(payload=bad) for bad in any_of(None, 7)),
    *(header(**{name: bad}) for name in ("control", "untried") for bad in any_of(None, 0, "no", [])),
    *(header(layout=bad) for bad in any_of(None, {}, "weight")),
    *(header(binding=bad) for bad in any_of(None, [], "7", {}, BINDING.as_json() | {"more": 1})),
    *(header(binding=TRAINING.binding.as_json() | {"round": bad}) for bad in any_of("7", None, 7.5, True, [7])),
    *(header(binding=TRAINING.binding.as_json() | {name: 5}) for name in ("federation", "run", "model", "config")),
    *(header(privacy=bad) for bad in any_of([], "none", 8.0, {}, asdict(PRIVACY) | {"more": 1})),
    *(
        header(privacy=asdict(PRIVACY) | {name: bad})
        for name in asdict(PRIVACY)
        for bad in any_of(None, "8", True, [1])
    ),
    *(header(privacy=asdict(PRIVACY) | {name: bad}) for name in asdict(PRIVACY) for bad in any_of(0, -1)),
    header(privacy=asdict(PRIVACY) | {"normaliser": 1.5}),
    *(header(privacy=asdict(PRIVACY) | {"delta": bad}) for bad in any_of(1, 1.5)),
    header(more=1),
    {name: value for name, value in header().items() if name != "rule"},
    [header()],
    None,
    7,
    "train",
]


@pytest.mark.parametrize("stated", WRONG_TYPES)
def test_a_signed_order_that_misstates_a_field_is_not_canonical(stated: Any) -> None:
    with pytest.raises(NotCanonical):
        opened(signed(stated))


def test_a_signed_header_in_another_encoding_is_not_canonical() -> None:
    for text in (encode(header()) + b" ", b"{}", b"[" * 5000, b"\xff", b""):
        with pytest.raises(NotCanonical):
            opened(signed(text))


def test_a_relay_that_swaps_the_servers_control_variate_or_takes_it_away_is_found_out() -> None:
    data = sign_order(CONTROLLED, OPERATOR)
    for hostile in (data[: -LAYOUT.nbytes] + INCUMBENT.tobytes(), data[: -LAYOUT.nbytes]):
        with pytest.raises(IntegrityError, match="not the one that was signed"):
            opened(hostile)


def test_an_order_to_vote_with_a_control_variate_is_refused() -> None:
    payload = INCUMBENT.tobytes() * 2
    with pytest.raises(NotCanonical, match="no control variate"):
        opened(signed(header(kind=VOTE, control=True, payload=digest("payload", payload)), payload))


def test_an_order_to_vote_brings_two_models_and_one_to_train_brings_one() -> None:
    two, one = INCUMBENT.tobytes() + CANDIDATE.tobytes(), INCUMBENT.tobytes()
    for kind, payload in ((TRAIN, two), (VOTE, one), ("praise", two)):
        with pytest.raises(IntegrityError):
            opened(signed(header(kind=kind, payload=digest("payload", payload)), payload))


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes_raise_our_errors_alone(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        opened(data)


@settings(max_examples=300, deadline=None)
@given(
    changes=st.dictionaries(st.sampled_from(sorted(header())), _json, min_size=1, max_size=3),
    build=st.sampled_from([lambda stated: stated, lambda stated: list(stated.items()), str]),
)
def test_whatever_the_operator_signs_raises_our_errors_alone(
    changes: dict[str, Any], build: Callable[[Any], Any]
) -> None:
    try:
        found = opened(signed(build(header(**changes))))
    except IntegrityError:
        return
    assert isinstance(found.rule, str) and isinstance(found.deadline, int) and isinstance(found.binding.round, int)
