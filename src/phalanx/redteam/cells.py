"""One cell of the matrix: an attack on training, played through the real rounds of a federation in memory.

The engine is the one of `phalanx run`; only its store is in memory, its entropy from the seed, and the members that
attack are played by `Colluders`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import get_args

import numpy as np

from phalanx.attacks.aim import Aim, TriggerKind
from phalanx.attacks.training_attack import TrainingAttack
from phalanx.attacks.triggers import trigger_for
from phalanx.attacks.view import Sight
from phalanx.config import Settings, parse
from phalanx.engine.assemble import Stores, assemble, lab_edges
from phalanx.engine.inprocess import InProcess
from phalanx.entropy import system_entropy
from phalanx.errors import GateRefusal, NotAvailable, PolicyError, QuorumError
from phalanx.federation.module import users_code
from phalanx.learning import LocalTrainer, Trainer
from phalanx.learning.data import Array
from phalanx.redteam.lab import Lab
from phalanx.redteam.measuring import Bits, Measuring, packed
from phalanx.redteam.outcome import Cell, Outcome
from phalanx.redteam.playing import Colluders, seats
from phalanx.round.coordinator import RoundRecord, Standing
from phalanx.store import LedgerStore, RunStore
from phalanx.types import F32, MemberId, member_id

STILL_WORKS = 0.5  # a backdoor is alive while it works on more than this share of the triggered inputs
_NEW = "-anew"  # what a whitewashed member's name ends in
_LONGEST_ID = 63


def aim_of(lab: Lab, kind: TriggerKind) -> Aim:
    """What the attackers agree on: two classes by the seed, and a trigger that fits the user's inputs."""
    source, target = (int(c) for c in lab.rng("aim").permutation(lab.classes)[:2])
    inputs = np.concatenate([data.x_train for data in lab.sites.values()])
    return Aim(lab.classes, source, target, trigger_for(inputs, kind=kind, rng=lab.rng("trigger", kind)))


def hostile_of(lab: Lab, count: int) -> tuple[MemberId, ...]:
    """Which members are hostile: by the seed, sorted. More hostile members are those and others."""
    order = lab.rng("hostile").permutation(len(lab.members))[:count]
    return tuple(lab.members[i] for i in sorted(order))


def play(lab: Lab, attack: TrainingAttack | None, settings: Settings, cell: Cell) -> Outcome:
    """What comes of the attack, or of nobody attacking, on a federation with these settings.

    Raises ConfigError where the attack itself fails, NotAvailable where it cannot be played: that is no defence.
    """
    trainers = lab.trainers()
    scene = _quiet(trainers) if attack is None else _hostile(lab, attack, settings, trainers, cell.hostile)
    notes = _Notebook(lab, Measuring(lab, trainers), scene)
    model = lab.start(trainers)
    for phase in _phases(settings, scene):
        model = _run(lab, phase, scene, model, notes)
        if notes.ended:
            break
    return notes.outcome(cell, settings.run.rounds)


# ------------------------------------------------------------------------------------------------------------ the cast


@dataclass(frozen=True, slots=True)
class _Scene:
    """Who plays each member, and what the attackers are after. `triggered` are inputs that they want misread."""

    cast: Mapping[MemberId, Trainer]
    hostile: tuple[MemberId, ...] = ()
    attack: TrainingAttack | None = None
    colluders: Colluders | None = None
    aim: Aim | None = None
    triggered: Array | None = None


def _quiet(trainers: Mapping[MemberId, LocalTrainer]) -> _Scene:
    return _Scene(dict[MemberId, Trainer](trainers))


def _hostile(
    lab: Lab, attack: TrainingAttack, settings: Settings, trainers: Mapping[MemberId, LocalTrainer], count: int
) -> _Scene:
    hostile, aim, chance = hostile_of(lab, count), aim_of(lab, attack.trigger), lab.rng("attack", attack.card.name)
    if count < attack.fewest:
        raise NotAvailable(f"not available: it needs {attack.fewest} hostile members, and there is {count}")
    if attack.whitewash and settings.learning.local:
        raise NotAvailable("not available: a change of the roster where members keep local tensors")
    x, y = lab.test
    sight = Sight(attack.card.knowledge)
    return _Scene(
        cast=dict[MemberId, Trainer](trainers) | seats(attack, hostile, trainers, aim, chance),
        hostile=hostile,
        attack=attack,
        colluders=Colluders(attack, sight, aim, settings.chain, settings.run.rounds, chance),
        aim=aim,
        triggered=None if attack.triggered is None else attack.triggered(x, y, aim),
    )


# ---------------------------------------------------------------------------------------------------------- the rounds


@dataclass(frozen=True, slots=True)
class _Phase:
    """A run of the engine: `names` are what members are called in it who changed their name."""

    settings: Settings
    names: Mapping[MemberId, MemberId] = field(default_factory=dict)
    before: int = 0

    def name(self, member: MemberId) -> MemberId:
        return self.names.get(member, member)


def _phases(settings: Settings, scene: _Scene) -> list[_Phase]:
    """All rounds in one run; for whitewashing in two, with new names, keys and no history for the hostile members."""
    rounds = settings.run.rounds
    if scene.attack is None or not scene.attack.whitewash or rounds < 2:
        return [_Phase(settings)]
    names = {member: member_id(member[: _LONGEST_ID - len(_NEW)] + _NEW) for member in scene.hostile}
    half = rounds // 2
    return [_Phase(_over(settings, half, {})), _Phase(_over(settings, rounds - half, names), names, half)]


def _over(settings: Settings, rounds: int, names: Mapping[MemberId, MemberId]) -> Settings:
    """The same over fewer rounds, with the noise of all of them, among members of other names."""
    tables = settings.model_dump(mode="python", by_alias=True, exclude_unset=True)
    tables["run"]["rounds"] = rounds
    if settings.mechanism is not None:
        tables["privacy"]["noise_multiplier"] = settings.mechanism.noise_multiplier
    tables["federation"]["members"] = [names.get(member, member) for member in settings.members]
    if "labels" in tables["federation"]:
        held = settings.federation.labels
        tables["federation"]["labels"] = {names.get(member_id(m), member_id(m)): label for m, label in held.items()}
    return parse(tables)


def _run(lab: Lab, phase: _Phase, scene: _Scene, model: F32, notes: _Notebook) -> F32:
    """The model that is released in the end."""
    with closing(RunStore(None, system_entropy)) as store, closing(LedgerStore(None)) as ledger:
        engine = assemble(
            phase.settings,
            {phase.name(member): trainer for member, trainer in scene.cast.items()},
            classes=lab.classes,
            code=lab.federation.code,
            stores=Stores(store, ledger),
            edges=lab_edges(lab.seed),
            durable=False,
        )
        if scene.colluders is not None:
            scene.colluders.before = phase.before
            engine.train_together = scene.colluders
        engine.observe = lambda record, standing: notes.round_closed(record, standing, engine, phase)
        try:
            with users_code("the model"):
                engine.run(model)
        except (GateRefusal, PolicyError, QuorumError) as error:
            notes.ended = error.message
        if scene.colluders is not None and scene.colluders.error is not None:
            raise scene.colluders.error
        released = engine.model()
        notes.run_ended(released, engine, phase)
        return released


# ------------------------------------------------------------------------------------------------- what is noted of it


@dataclass(slots=True)
class _Notebook:
    """The figures of the rounds so far, and of the released model in the end."""

    lab: Lab
    measuring: Measuring
    scene: _Scene
    ended: str = ""
    accuracy: list[float] = field(default_factory=list)
    backdoor: list[tuple[int, int]] = field(default_factory=list)
    passed: list[bool] = field(default_factory=list)
    asked: Counter[MemberId] = field(default_factory=Counter)  # of the hostile: rounds in which they were asked
    accepted: Counter[MemberId] = field(default_factory=Counter)
    hostile_weight: list[float] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    base: dict[str, float] = field(default_factory=dict)
    right: Bits = field(default_factory=lambda: np.zeros(0, np.bool_))

    def round_closed(self, record: RoundRecord, standing: Standing, engine: InProcess, phase: _Phase) -> None:
        """Measures the model that stands after the round."""
        states = _StatesOf(engine, phase)
        hostile = {phase.name(member) for member in self.scene.hostile}
        self.accuracy.append(float(self.measuring.right(standing.model, states).mean()))
        if self.scene.triggered is not None and self.scene.aim is not None:
            target = self.scene.aim.target
            self.backdoor.append(self.measuring.taken_for(standing.model, states, self.scene.triggered, target))
        self.passed.append(record.verdict.passed)
        weights = dict(zip(record.accepted, record.weights, strict=True))
        self.accepted.update(hostile & weights.keys())
        self.asked.update(hostile & (weights.keys() | {one.member for one in record.refused}))
        whole = sum(weights.values()) or 1.0  # coordinate-wise rules count the coordinates at which a value was kept
        self.hostile_weight.append(sum(weights.get(member, 0.0) for member in hostile) / whole)
        for one in record.refused:
            self.refused[f"{one.reason.value} ({'hostile' if one.member in hostile else 'honest'})"] += 1

    def run_ended(self, model: F32, engine: InProcess, phase: _Phase) -> None:
        """Measures the released model; where nobody attacks, also what triggers alone do to it."""
        states = _StatesOf(engine, phase)
        self.right = self.measuring.right(model, states)
        if self.scene.attack is None:
            self.base = _base_rates(self.lab, self.measuring, model, states)

    def outcome(self, cell: Cell, rounds: int) -> Outcome:
        """Everything that was noted."""
        truth, right = self.measuring.truth, self.right
        counts = {"accuracy": (int(right.sum()), len(right))}
        for label in range(self.lab.classes):
            counts[f"class:{label}"] = (int(right[truth == label].sum()), int((truth == label).sum()))
        series: dict[str, tuple[float | None, ...]] = {"accuracy": tuple(self.accuracy)}
        measures = {f"base:{kind}": share for kind, share in self.base.items()}
        measures |= {"accuracy": float(right.mean()), "best": max([float(right.mean()), *self.accuracy])}
        measures |= {"blocked": 1 - sum(self.passed) / rounds, "planned": float(rounds)}
        if self.scene.attack is not None and self.scene.aim is not None:
            measures |= self._of_attackers(self.scene.attack, self.scene.aim, rounds)
            if self.asked:  # the rider that got furthest: that another was caught is no help against it
                best = max(self.asked, key=lambda member: (self.accepted[member] / self.asked[member], member))
                counts["rode"] = self.accepted[best], self.asked[best]
                measures["rode"] = _share(counts["rode"])
        if self.backdoor and self.scene.attack is not None:
            last = _last_active(self.scene.attack, rounds, len(self.backdoor))
            counts["backdoor"] = self.backdoor[last]
            shares = [_share(one) for one in self.backdoor]
            series["backdoor"] = tuple(shares)
            measures["backdoor"] = shares[last]
            measures["backdoor_final"] = shares[-1]
            measures["lifespan"] = float(sum(share > STILL_WORKS for share in shares[last + 1 :]))
        return Outcome(
            cell=cell,
            measures=measures,
            counts=counts,
            series=series,
            right=packed(right),
            notes=tuple(f"refused {times} times: {why}" for why, times in sorted(self.refused.items())),
            ended=self.ended,
        )

    def _of_attackers(self, attack: TrainingAttack, aim: Aim, rounds: int) -> dict[str, float]:
        active = sum(attack.active(number, rounds) for number in range(1, rounds + 1))
        return {
            "source": float(aim.source),
            "target": float(aim.target),
            "active_rounds": float(active),
            "hostile_weight": sum(self.hostile_weight) / max(1, len(self.hostile_weight)),
        }


@dataclass(frozen=True, slots=True)
class _StatesOf:
    """Members' own states, where part of the model stays with them."""

    engine: InProcess
    phase: _Phase

    def __call__(self, member: MemberId) -> F32 | None:
        return self.engine.member_state(self.phase.name(member))


def _base_rates(lab: Lab, measuring: Measuring, model: F32, states: _StatesOf) -> dict[str, float]:
    """How many triggered inputs a model without a backdoor takes for the attackers' class, by kind of trigger."""
    x, y = lab.test
    rates = {}
    for kind in get_args(TriggerKind):
        aim = aim_of(lab, kind)
        others = y == aim.source if kind == "edge" else y != aim.target
        rates[kind] = _share(measuring.taken_for(model, states, aim.trigger.stamp(x[others]), aim.target))
    return rates


def _last_active(attack: TrainingAttack, rounds: int, played: int) -> int:
    """The index of the last round that was played in which the attack was on."""
    active = [number for number in range(1, played + 1) if attack.active(number, rounds)]
    return (active[-1] if active else played) - 1


def _share(counted: tuple[int, int]) -> float:
    return counted[0] / counted[1] if counted[1] else 0.0
