"""What the coordinator asks of a member: signed by the operator's key, with the model that it is about.

order   = length(4) ‖ header ‖ signature(64) ‖ payload
header  = canonical JSON: binding, kind, deadline, what protects the round, hash of the payload
payload = the incumbent's parameters (d,) as little-endian float32, and for a vote the candidate's behind them
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
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


@dataclass(frozen=True, slots=True)
class Order:
    """One order. `rule` and `privacy` say what protects the round, for the member to hold against its floor."""

    kind: str
    binding: Binding
    deadline: int
    rule: str
    privacy: ExamplePrivacy | None
    round_key: str
    layout: Layout
    incumbent: F32 = field(repr=False)
    candidate: F32 | None = field(repr=False, default=None)


def sign_order(order: Order, operator: SigningKey) -> bytes:
    """The order as the bytes that travel."""
    payload = _bytes(order.incumbent) + (b"" if order.candidate is None else _bytes(order.candidate))
    header = encode(
        {
            "binding": order.binding.as_json(),
            "deadline": order.deadline,
            "kind": order.kind,
            "layout": order.layout.as_json(),
            "payload": digest("payload", payload),
            "privacy": None if order.privacy is None else asdict(order.privacy),
            "round_key": order.round_key,
            "rule": order.rule,
        }
    )
    signature = bytes.fromhex(operator.sign(PURPOSE, header))
    return len(header).to_bytes(4, "big") + header + signature + payload


def open_order(data: bytes, operator: str, layout: Layout) -> Order:
    """The order in `data`. Raises BadSignature, NotCanonical or IntegrityError unless it is `operator`'s, whole.

    The member knows the layout from joining; an order about another one is refused before its payload is read.
    """
    size = int.from_bytes(data[:4], "big")
    header, rest = data[4 : 4 + size], data[4 + size :]
    if len(header) != size or size > _MAX_HEADER:
        raise NotCanonical(f"an order says its header has {size} bytes")
    verify(operator, PURPOSE, header, rest[:_SIGNATURE_BYTES].hex())
    payload = rest[_SIGNATURE_BYTES:]
    try:
        return _read(decode(header), payload, layout)
    except (KeyError, TypeError) as error:
        raise NotCanonical(f"an order lacks or misstates a field: {error}") from None


def _read(stated: dict[str, Any], payload: bytes, layout: Layout) -> Order:
    models = 2 if stated["kind"] == VOTE else 1
    if stated["layout"] != layout.as_json():
        raise IntegrityError("the order is about a model of another layout than this member joined with")
    if len(payload) != models * layout.nbytes or digest("payload", payload) != stated["payload"]:
        raise IntegrityError("the model that came with the order is not the one that was signed")
    vectors = np.frombuffer(payload, dtype="<f4").astype(np.float32).reshape(models, layout.d)
    order = Order(
        kind=stated["kind"],
        binding=Binding(**stated["binding"]),
        deadline=stated["deadline"],
        rule=stated["rule"],
        privacy=None if stated["privacy"] is None else ExamplePrivacy(**stated["privacy"]),
        round_key=stated["round_key"],
        layout=layout,
        incumbent=vectors[0],
    )
    if model_digest(order.incumbent) != order.binding.model:
        raise IntegrityError("the order is bound to another model than the one that came with it")
    return replace(order, candidate=vectors[1]) if models == 2 else order


def _bytes(vector: F32) -> bytes:
    return np.ascontiguousarray(vector, dtype="<f4").tobytes()
