"""A member that has its keys and the order, and answers with whatever it likes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest

from phalanx.canonical import model_digest
from phalanx.channel.envelope import SALT_BYTES, ballot_terms, compose, update_terms, wrap
from phalanx.channel.keys import seal
from phalanx.channel.order import TRAIN, Order, open_order
from phalanx.engine import inprocess
from phalanx.round.effects import Corridor
from phalanx.round.member import Membership, answer_order
from phalanx.types import MemberId, Tally

Answers = Callable[[Membership, Order], bytes]


def update(me: Membership, order: Order, payload: bytes | None = None, **changes: Any) -> bytes:
    """A signed and sealed update of zeros, its stated fields changed."""
    fields = {"examples": 7, "salt": "0" * 64, "tensors": me.layout.as_json(), **changes}
    data = bytes(me.layout.nbytes) if payload is None else payload
    return _send(me, update_terms(order.binding, me.layout), order, fields, data)


def ballot(me: Membership, order: Order, tally: Tally, **changes: Any) -> bytes:
    """A signed and sealed ballot, its stated fields changed."""
    fields = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(tally).items()} | changes
    judged = (
        replace(order.binding, model=model_digest(order.candidate)) if order.candidate is not None else order.binding
    )
    return _send(me, ballot_terms(judged, me.gate.classes), order, fields, bytes(SALT_BYTES))


def _send(me: Membership, terms: Any, order: Order, fields: Any, payload: bytes) -> bytes:
    plaintext = compose(terms, me.member, me.key, fields, payload)
    return wrap(terms, me.member, seal(plaintext, order.round_key, terms.header(me.member)))


def install(patch: pytest.MonkeyPatch, member: str, answer: Answers, kind: str = TRAIN) -> None:
    """From now on `member` answers orders of this kind with `answer`; everybody else is honest."""

    def answered(me: Membership, data: bytes, expected: tuple[int, int]) -> Corridor[bytes]:
        order = open_order(data, me.operator, me.layout)
        if me.member == MemberId(member) and order.kind == kind:
            return answer(me, order)
        return (yield from answer_order(me, data, expected))

    patch.setattr(inprocess, "answer_order", answered)
