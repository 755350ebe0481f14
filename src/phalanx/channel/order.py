"""What the coordinator asks of a member: signed by the operator's key, with the model that it is about.

order   = length(4) ‖ header ‖ signature(64) ‖ payload
header  = canonical JSON: binding, kind, deadline, what protects the round, hash of the payload
payload = the incumbent's parameters (d,) as little-endian float32; behind them, for a vote the candidate's, and for
          training the server's control variate (d,) where the algorithm has one
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from types import NoneType
from typing import Any

import numpy as np

from phalanx.canonical import decode, digest, encode, model_digest
from phalanx.errors import IntegrityError, NotCanonical
from phalanx.signing import SigningKey, verify
from phalanx.types import F32, Binding, ExamplePrivacy, Layout

PURPOSE = "order"
TRAIN = "train"
VOTE = "vote"
_SIGNATURE_BYTES = 64
_MAX_HEADER = 1 << 20
_Types = Mapping[str, tuple[type, ...]]  # exact ones: True is no integer
_HEADER: _Types = {
    "binding": (dict,),
    "control": (bool,),
    "deadline": (int,),
    "kind": (str,),
    "layout": (list,),
    "payload": (str,),
    "privacy": (dict, NoneType),
    "round_key": (str,),
    "rule": (str,),
    "untried": (bool,),
}
_BINDING: _Types = dict.fromkeys(("config", "federation", "model", "nonce", "run"), (str,)) | dict.fromkeys(
    ("attempt", "round"), (int,)
)
_PRIVACY: _Types = {"normaliser": (int,)} | dict.fromkeys(
    ("clip_l2", "delta", "epsilon", "noise_multiplier"), (int, float)
)


@dataclass(frozen=True, slots=True)
class Order:
    """One order. `rule` and `privacy` say what protects the round, for the member to hold against its floor.

    `untried`: the incumbent is the initial model, against which only the test over all classes means anything.
    """

    kind: str
    binding: Binding
    deadline: int
    rule: str
    privacy: ExamplePrivacy | None
    round_key: str
    layout: Layout
    incumbent: F32 = field(repr=False)
    candidate: F32 | None = field(repr=False, default=None)
    control: F32 | None = field(repr=False, default=None)
    untried: bool = False


def sign_order(order: Order, operator: SigningKey) -> bytes:
    """The order as the bytes that travel."""
    second = order.candidate if order.kind == VOTE else order.control
    payload = _bytes(order.incumbent) + (b"" if second is None else _bytes(second))
    header = encode(
        {
            "binding": order.binding.as_json(),
            "control": order.control is not None,
            "deadline": order.deadline,
            "kind": order.kind,
            "layout": order.layout.as_json(),
            "payload": digest("payload", payload),
            "privacy": None if order.privacy is None else asdict(order.privacy),
            "round_key": order.round_key,
            "rule": order.rule,
            "untried": order.untried,
        }
    )
    signature = bytes.fromhex(operator.sign(PURPOSE, header))
    return len(header).to_bytes(4, "big") + header + signature + payload


@lru_cache(maxsize=2)
def order_name(data: bytes) -> str:
    """The hash by which a member knows this order again."""
    return digest("order", data)


@lru_cache(maxsize=2)  # where one process plays many members, all of them are sent the same bytes
def open_order(data: bytes, operator: str, layout: Layout) -> Order:
    """The order in `data`, its arrays read-only.

    Raises BadSignature, NotCanonical or IntegrityError unless it is `operator`'s, whole.

    The member knows the layout from joining; an order about another one is refused before its payload is read.
    """
    size = int.from_bytes(data[:4], "big")
    header, rest = data[4 : 4 + size], data[4 + size :]
    if len(header) != size or size > _MAX_HEADER:
        raise NotCanonical(f"an order says its header has {size} bytes")
    verify(operator, PURPOSE, header, rest[:_SIGNATURE_BYTES].hex())
    payload = rest[_SIGNATURE_BYTES:]
    return _read(_fields("order", decode(header), _HEADER), payload, layout)


def _read(stated: dict[str, Any], payload: bytes, layout: Layout) -> Order:
    """The order of a header whose fields have their types."""
    vote = stated["kind"] == VOTE
    if vote and stated["control"]:
        raise NotCanonical("an order to vote has no control variate")
    vectors = 2 if vote or stated["control"] else 1
    if stated["layout"] != layout.as_json():
        raise IntegrityError("the order is about a model of another layout than this member joined with")
    if len(payload) != vectors * layout.nbytes or digest("payload", payload) != stated["payload"]:
        raise IntegrityError("the model that came with the order is not the one that was signed")
    rows = np.frombuffer(payload, dtype="<f4").astype(np.float32).reshape(vectors, layout.d)
    rows.flags.writeable = False
    order = Order(
        kind=stated["kind"],
        binding=Binding(**_fields("binding", stated["binding"], _BINDING)),
        deadline=stated["deadline"],
        rule=stated["rule"],
        privacy=_privacy(stated["privacy"]),
        round_key=stated["round_key"],
        layout=layout,
        incumbent=rows[0],
        candidate=rows[1] if vote else None,
        control=rows[1] if stated["control"] else None,
        untried=stated["untried"],
    )
    if model_digest(order.incumbent) != order.binding.model:
        raise IntegrityError("the order is bound to another model than the one that came with it")
    return order


def _privacy(stated: Any) -> ExamplePrivacy | None:
    if stated is None:
        return None
    privacy = ExamplePrivacy(**_fields("privacy", stated, _PRIVACY))
    if not (min(stated.values()) > 0 and privacy.delta < 1):
        raise NotCanonical(f"an order's privacy has numbers above 0 and δ below 1, found {privacy}")
    return privacy


def _fields(what: str, stated: Any, types: _Types) -> dict[str, Any]:
    """`stated`, if it is an object of exactly these fields, each of one of its types."""
    if not (isinstance(stated, dict) and stated.keys() == types.keys()):
        raise NotCanonical(f"{what}: an object of {', '.join(types)} and nothing else")
    for name, expected in types.items():
        if type(stated[name]) not in expected:
            raise NotCanonical(f"{what}: {name} is a {type(stated[name]).__name__}")
    return stated


def _bytes(vector: F32) -> bytes:
    return np.ascontiguousarray(vector, dtype="<f4").tobytes()
