"""The user's own rounds, in memory, with a courier that is not honest and attackers who hear every order.

Orders travel in clear, so attackers know what is asked and the round key. `Tap` hears what they hear, and besides, for
the lab alone, what was inside the envelopes. Time stands still: no run depends on how long it took.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from phalanx.admission import Roster
from phalanx.attacks.couriers import Courier, Delivery, honest
from phalanx.attacks.malformed import Malformed
from phalanx.canonical import decode, digest, encode, model_digest
from phalanx.channel.envelope import SALT_BYTES, Terms, ballot_terms, receipt_of, update_terms, wrap
from phalanx.channel.keys import OVERHEAD_BYTES, seal
from phalanx.channel.order import TRAIN, Order, open_order
from phalanx.config import Settings, parse
from phalanx.engine.assemble import Stores, assemble, lab_edges
from phalanx.engine.inprocess import COORDINATOR, InProcess
from phalanx.entropy import system_entropy
from phalanx.errors import PhalanxError, QuorumError
from phalanx.redteam.lab import Lab
from phalanx.redteam.naive_wire import STEER
from phalanx.redteam.remembering import Remembering
from phalanx.redteam.wire import Counting, Played, Trick
from phalanx.round.coordinator import RoundRecord, Standing
from phalanx.round.effects import Acknowledge, Ask, Draw, Effect, Receive, Seal
from phalanx.round.member import answer_order
from phalanx.signing import SigningKey, receipt_statement
from phalanx.store import EffectKey, LedgerStore, RunStore
from phalanx.types import MemberId, Reason, Refusal, Tally, Vote

_SIGNATURE_BYTES = 64
_TIME = 1_700_000_000
_REASONS = "|".join(sorted((re.escape(reason) for reason in Reason), key=len, reverse=True))
_NAMED = re.compile(rf"([a-z0-9-]{{1,63}}) ({_REASONS})(?![a-z-])")


def shortened(settings: Settings, rounds: int) -> Settings:
    """The same configuration over `rounds` rounds at most, and without baselines. Noise is calibrated for these."""
    tables = settings.model_dump(by_alias=True)
    tables["run"] = tables["run"] | {"rounds": min(settings.run.rounds, rounds)}
    tables["report"] = tables["report"] | {"baselines": False}
    return parse(tables)


@dataclass(slots=True)
class Tap:
    """What is heard in one run: the newest order, every plaintext before it is sealed, and what the receiver takes in.

    The receiver takes a member's answers in the order in which they come, drops those beyond its limit and cuts what is
    too long: what it acknowledges are the first of each name, by the hash of what it took.
    """

    engine: InProcess
    order: Order | None = None
    orders: list[bytes] = field(default_factory=list)
    plaintexts: dict[MemberId, bytes] = field(default_factory=dict)
    kept: int = 0
    drawing: str = ""
    _limit: int = 0
    _coming: dict[str, deque[bytes]] = field(default_factory=lambda: defaultdict(deque))

    def watch(self, stage: str, key: EffectKey, effect: Effect[Any]) -> None:
        """See `phalanx.engine.driver.Watch`."""
        if stage != "asked":
            return
        match effect:
            case Ask(order=data) if not self.orders or data != self.orders[-1]:
                plan = self.engine.plan
                self.order = open_order(data, plan.operator.public, plan.layout)
                self.orders.append(data)
                self._coming.clear()
            case Draw(purpose=purpose):
                self.drawing = purpose
            case Seal(plaintext=plaintext):
                self.plaintexts[MemberId(key.party)] = plaintext
            case Receive(limit=limit):
                self._limit = limit
            case Acknowledge(member=member, receipt=receipt) if self._coming[member]:  # who declines sends nothing
                envelope = self._coming[member].popleft()
                start = envelope[: self._limit + 1]
                self.kept += len(start if digest("envelope", start) == receipt else envelope)
            case _:
                pass

    def hearing(self, courier: Courier) -> Courier:
        """The courier, its deliveries noted."""

        def carry(sender: MemberId, envelope: bytes) -> Iterable[Delivery]:
            delivered = list(courier(sender, envelope))
            for name, data in delivered:
                self._coming[name].append(data)
            return delivered

        return carry

    @property
    def asked(self) -> Order:
        """The order that is being answered."""
        if self.order is None:
            raise RuntimeError("nothing was asked yet")
        return self.order

    def parts(self, member: MemberId) -> tuple[bytes, bytes]:
        """Manifest and payload of the member's newest answer."""
        manifest, rest = _unframed(self.plaintexts[member])
        return manifest, _unframed(rest)[0]


@dataclass(frozen=True, slots=True)
class SealedForger:
    """Attackers with whatever keys they are told to use, and the newest order."""

    tap: Tap
    stranger: SigningKey = field(repr=False)

    def signed(self, name: MemberId, by: MemberId | None) -> bytes:
        """See `Forger`: an update that steers every parameter, or the worst ballot."""
        order, layout = self.tap.asked, self.tap.engine.plan.layout
        if order.kind == TRAIN:
            fields: Any = {"examples": 1, "salt": "0" * 64, "tensors": layout.as_json()}
            return self._sealed(name, by, fields, np.full(layout.d, STEER, "<f4").tobytes())
        ballot = _worst_ballot(self.tap.engine)
        fields = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(ballot).items()}
        return self._sealed(name, by, fields, bytes(SALT_BYTES))

    def sealed_anew(self, member: MemberId, envelope: bytes) -> bytes:
        """See `Forger`: the member's own plaintext, sealed once more."""
        return _wrapped(self._terms(), member, self.tap.plaintexts[member], self.tap.asked)

    def malformed(self, member: MemberId, envelope: bytes, case: Malformed) -> bytes:
        """See `Forger`: its receipt and its signature are right, whatever is in it."""
        manifest, payload = self.tap.parts(member)
        if case.payload(payload) == payload and case.stated is None and case.manifest(manifest) == manifest:
            return case.envelope(envelope)
        stated = decode(manifest)["fields"] | dict(case.stated or {})
        return case.envelope(self._sealed(member, member, stated, case.payload(payload), case))

    def _sealed(
        self, name: MemberId, by: MemberId | None, fields: Any, payload: bytes, case: Malformed | None = None
    ) -> bytes:
        """As `phalanx.channel.envelope.compose` and `wrap` do, for any bytes as manifest and payloads of any size."""
        terms = self._terms()
        binding, hashed = terms.binding.as_json(), digest("payload", payload)
        manifest = encode({"binding": binding, "fields": fields, "kind": terms.kind, "member": name, "payload": hashed})
        if case is not None:
            manifest = case.manifest(manifest)
        key = self.stranger if by is None else self.tap.engine.members[by].membership.key
        signature = bytes.fromhex(key.sign(terms.kind, receipt_statement(binding, receipt_of(manifest))))
        return _wrapped(terms, name, _framed(manifest) + _framed(payload) + signature, self.tap.asked)

    def _terms(self) -> Terms:
        order, plan = self.tap.asked, self.tap.engine.plan
        if order.candidate is None:
            return update_terms(order.binding, plan.layout)
        return ballot_terms(replace(order.binding, model=model_digest(order.candidate)), plan.classes)


def _wrapped(terms: Terms, name: MemberId, plaintext: bytes, order: Order) -> bytes:
    header = terms.header(name)
    room = terms.size - 4 - len(header) - OVERHEAD_BYTES
    return wrap(terms, name, seal(plaintext.ljust(room, b"\0"), order.round_key, header))


def _worst_ballot(engine: InProcess) -> Tally | Vote:
    """That the candidate's outputs are no numbers: more than f such ballots refuse it, whatever the others say."""
    if engine.plan.gate.ballot == "votes":
        return Vote(worse=True, accuracy=-1, finite=False)
    none = (0,) * engine.plan.classes
    return Tally(worse=none, better=none, right=none, total=none, finite=False)


@dataclass(frozen=True, slots=True)
class SealedWire:
    """The user's configuration. `settings` are theirs over fewer rounds.

    `revoked` members are so in the roster from the start. `run` names the run: another name is another run of the same
    federation, with the same keys.
    """

    lab: Lab = field(repr=False)
    training: Remembering
    settings: Settings = field(repr=False)
    revoked: frozenset[MemberId] = frozenset()
    run: str = ""

    @classmethod
    def of(cls, lab: Lab, rounds: int) -> SealedWire:
        """At most `rounds` rounds of the lab's configuration."""
        return cls(lab, Remembering(lab.trainers()), shortened(lab.settings, rounds))

    def play(self, trick: Trick) -> Played:
        """See `Wire`. Raises nothing that ends a run early."""
        return self._played(trick)[0]

    def orders_obeyed(self, tries: int) -> int:
        """How many of `tries` orders, each with one bit flipped on its way, a member answers."""
        _, engine, tap = self._played(lambda forger: honest)
        membership, order = next(iter(engine.members.values())).membership, tap.orders[-1]
        obeyed = 0
        for place in np.linspace(0, len(order) - 1, tries).astype(int):
            changed = bytearray(order)
            changed[place] ^= 1
            try:
                next(answer_order(membership, bytes(changed), (1, 1)))
            except PhalanxError:
                continue
            obeyed += 1
        return obeyed

    def _played(self, trick: Trick) -> tuple[Played, InProcess, Tap]:
        engine, tap = self._engine()
        stranger = SigningKey.from_seed(self.lab.rng("stranger").bytes(32))
        courier = Counting(tap.hearing(trick(SealedForger(tap, stranger))))
        inside: dict[bytes, bytes] = {}
        models: list[bytes] = []

        def carry(sender: MemberId, envelope: bytes) -> Iterable[Delivery]:
            if tap.asked.kind == TRAIN:
                inside[envelope] = tap.parts(sender)[1]
            return courier(sender, envelope)

        def observe(record: RoundRecord, standing: Standing) -> None:
            models.append(standing.model.tobytes())

        engine.courier, engine.observe = carry, observe
        start, ended, crashed = self.lab.start(self.training.trainers), "", False
        try:
            engine.run(start)
        except Exception as error:  # a message that raises what nobody expected is what is looked for here
            ended, crashed = f"{type(error).__name__}: {error}", not isinstance(error, PhalanxError)
        records = engine.records()
        played = Played(
            models=tuple(models),
            accepted=tuple(record.accepted for record in records),
            refused=(*(one for record in records for one in _refused(record)), *_refused_in(engine, ended)),
            sent=courier.sent,
            tampered=courier.tampered,
            kept=tap.kept,
            inside=inside,
            ended=ended,
            crashed=crashed,
        )
        return played, engine, tap

    def _engine(self) -> tuple[InProcess, Tap]:
        """The engine and what is heard of it. Its chance is that of the lab's seed.

        A draw of the coordinator's is named by what it is for, not by how many answers came before it: with one message
        more, central noise would be another, and no two runs could be compared.
        """
        lab, drawn = lab_edges(self.lab.seed), Counter[str]()

        def draw(name: str, size: int) -> bytes:
            if name.startswith(f"{COORDINATOR}/"):
                name = f"{name.rpartition('/')[0]}/{tap.drawing}"
                drawn[name] += 1
                name = f"{name}/{drawn[name]}"
            return lab.draw(f"{name}/{self.run}" if name == "run-id" else name, size)

        engine = assemble(
            self.settings,
            self.training.trainers,
            classes=self.lab.classes,
            code=self.lab.federation.code,
            stores=Stores(RunStore(None, system_entropy), LedgerStore(None)),
            edges=replace(lab, clock=lambda: _TIME, draw=draw),
            durable=False,
        )
        tap = Tap(engine)
        engine.watch, engine.train_together = tap.watch, self.training
        engine.plan = replace(engine.plan, roster=_revoking(engine.plan.roster, self.revoked))
        return engine, tap


def _revoking(roster: Roster, revoked: frozenset[MemberId]) -> Roster:
    return replace(roster, members=tuple(replace(one, revoked=one.id in revoked) for one in roster.members))


def _refused(record: RoundRecord) -> tuple[Refusal, ...]:
    return (*record.refused, *record.verdict.refused)


def _refused_in(engine: InProcess, ended: str) -> tuple[Refusal, ...]:
    """The refusals of an attempt that failed: in its log entry of the cohort, or else in what it died of."""
    if not ended.startswith(QuorumError.__name__):
        return ()
    last = engine.last_entry()
    for leaf in engine.store.leaves():
        entry = decode(leaf)
        same = (entry["kind"], entry.get("round"), entry.get("attempt")) == ("cohort", last["round"], last["attempt"])
        if same and "refused" in entry:
            return tuple(Refusal(MemberId(one["member"]), Reason(one["reason"])) for one in entry["refused"])
    return tuple(Refusal(MemberId(name), Reason(reason)) for name, reason in _NAMED.findall(ended))


def _framed(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _unframed(data: bytes) -> tuple[bytes, bytes]:
    end = 4 + int.from_bytes(data[:4], "big")
    return data[4:end], data[end:]
