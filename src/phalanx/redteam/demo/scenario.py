"""The demo's scenario: ten organisations train on handwritten digits, three of them attack.

Every run goes through the same rounds; what differs is the configuration and who the members are. One configuration for
all: softmax regression, one full-batch step a round, learning rate 0.4 with heavy-ball momentum 0.9 (the same as rate 4
on averaged gradients). The attackers know the rules and lie in every vote.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from phalanx.attacks import Claim, LyingBallot, NormMatched, NotANumber, SignFlip, backdoor, backdoor_success
from phalanx.config import Settings, parse
from phalanx.engine.assemble import Stores, assemble, lab_edges, system_edges
from phalanx.engine.inprocess import Edges
from phalanx.entropy import system_entropy
from phalanx.learning import Descent, LocalTrainer, MemberData, Trainer, flatten, layout_of, unflatten
from phalanx.learning.adapters.torch_module import torch_model
from phalanx.learning.baselines import joined
from phalanx.learning.digits import CLASSES, FEATURES, Split, split_digits
from phalanx.learning.models import softmax_regression, tensors_of
from phalanx.redteam.demo.result import RoundResult, RunResult
from phalanx.round.coordinator import RoundRecord, Standing
from phalanx.store import LedgerStore, RunStore
from phalanx.types import F32, ExamplePrivacy, MemberId, TrainTask, member_id

MEMBERS = tuple(member_id(f"org-{i:02d}") for i in range(1, 11))
BACKDOOR, FLIPPER, NAN = MEMBERS[-3:]
HOSTILE = (BACKDOOR, FLIPPER, NAN)
ROUNDS = 40
HELD_OUT = 0.1  # of each organisation's examples: they vote and do not train
EPSILON, DELTA = 8.0, 1e-5
TARGET, PATCH = 0, 2  # the backdoor: a 2×2 bright patch in the lower right corner means class 0
HONEST = Descent(learning_rate=0.4, momentum=0.9)
REPLACING = Descent(learning_rate=0.5, local_steps=10)  # more steps cost accuracy, which would give the attack away
MATCHING = Descent(learning_rate=0.5, local_steps=20)  # scaled down anyway: the direction is what counts
MATCHED_SCALE = 0.8  # a little under the honest length is what hurts Multi-Krum most (of 0.6 … 1.0)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the scenario: its configuration, who attacks and how, and what both are in words."""

    name: str
    controls: str
    tables: Mapping[str, Any]
    hostile: Mapping[MemberId, str] = field(default_factory=dict)


def _plain() -> dict[str, Any]:
    return {
        "federation": {"name": "digits", "members": list(MEMBERS), "weight_cap": 0.2},
        "run": {"rounds": ROUNDS, "missing_allowed": 0},
        "learning": {
            "module": "phalanx demo",
            "held_out": HELD_OUT,
            "learning_rate": HONEST.learning_rate,
            "momentum": HONEST.momentum,
        },
        "aggregation": {"rule": "mean"},
        "screening": {"unsafe_accept_all": True},
        "gate": {"unsafe_accept_all": True},
    }


def _robust(rule: str = "trimmed-mean") -> dict[str, Any]:
    away = 1 if rule == "multi-krum" else len(HOSTILE)  # Multi-Krum needs 9 of the 10
    return _plain() | {
        "run": {"rounds": ROUNDS, "missing_allowed": away},
        "aggregation": {"rule": rule, "f": 3},
        "screening": {"max_norm": 1e4},
        "gate": {"f": 3},
    }


def _private(rule: str = "trimmed-mean", *, normaliser: int = 129) -> dict[str, Any]:
    return _robust(rule) | {
        "privacy": {"unit": "example", "epsilon": EPSILON, "delta": DELTA, "clip_l2": 1.0, "normaliser": normaliser},
        "floor": {"max_epsilon": EPSILON, "refused_rules": ["mean"]},
    }


def _private_mean() -> dict[str, Any]:
    """The same noise behind a plain mean: what the norm-matched backdoor does when no rule stops it."""
    tables = _private("mean")
    return tables | {"aggregation": {"rule": "mean"}, "floor": {"max_epsilon": EPSILON}}


def protected_privacy() -> ExamplePrivacy:
    """The mechanism of the private runs, its noise calibrated to ε, δ and the rounds."""
    mechanism = parse(_private()).mechanism
    if not isinstance(mechanism, ExamplePrivacy):
        raise TypeError("the private runs add their noise at the members")
    return mechanism


BOOSTED = {BACKDOOR: "backdoor, boosted ×10"}
FLIPPED = {FLIPPER: "sign flip ×10"}
NOT_FINITE = {NAN: "sends NaN"}
MATCHED = {BACKDOOR: "backdoor at the honest norm"}
COLLUDING = {member: "backdoor at the honest norm" for member in HOSTILE}
_NONE = "none: plain federated averaging"
_ROBUST = "sealed, screened, trimmed mean (f = 3), gate"
_PRIVATE = f"{_ROBUST}, DP-SGD at each member (ε = {EPSILON:g}, δ = {DELTA:g})"

RUNS = (
    Run("private-attacked", _PRIVATE, _private(), BOOSTED | FLIPPED | NOT_FINITE),
    Run("private", _PRIVATE, _private()),
    Run("private-norm-matched", _PRIVATE, _private(), MATCHED | FLIPPED | NOT_FINITE),
    Run(
        "private-multi-krum-norm-matched",
        _PRIVATE.replace("trimmed mean", "Multi-Krum"),
        _private("multi-krum"),
        MATCHED | FLIPPED | NOT_FINITE,
    ),
    Run("private-three-norm-matched", _PRIVATE, _private(), COLLUDING),
    Run("private-mean-norm-matched", _PRIVATE.replace("trimmed mean (f = 3)", "mean"), _private_mean(), MATCHED),
    Run(
        "private-mean-three-norm-matched", _PRIVATE.replace("trimmed mean (f = 3)", "mean"), _private_mean(), COLLUDING
    ),
    Run("clean", _NONE, _plain()),
    Run("undefended-backdoor", _NONE, _plain(), BOOSTED),
    Run("undefended-sign-flip", _NONE, _plain(), FLIPPED),
    Run("undefended-nan", _NONE, _plain(), NOT_FINITE),
    Run("robust", _ROBUST, _robust()),
    Run("robust-attacked", _ROBUST, _robust(), BOOSTED | FLIPPED | NOT_FINITE),
    Run("robust-norm-matched", _ROBUST, _robust(), MATCHED | FLIPPED | NOT_FINITE),
)
PROTECTED = "private-attacked"  # the run whose log, model and ledger are kept on disk
ALONE, POOLED = "alone", "pooled"


# ------------------------------------------------------------------------------------------------------------- members


@dataclass(frozen=True, slots=True)
class Draw:
    """How the digits come to the organisations: by chance from `seed`, evenly, or by Dirichlet(`alpha`) shares."""

    seed: int
    alpha: float | None = None


def split(draw: Draw) -> Split:
    """The digits over the ten organisations."""
    return split_digits(MEMBERS, rng=np.random.default_rng(draw.seed), alpha=draw.alpha, held_out=HELD_OUT)


MODEL = torch_model(softmax_regression(FEATURES, CLASSES), CLASSES)


def trainer(data: MemberData, descent: Descent = HONEST) -> LocalTrainer:
    """An honest member on `data`."""
    return LocalTrainer(MODEL, data, descent)


def initial_model() -> F32:
    """Where every run starts: all zero."""
    tensors = tensors_of(softmax_regression(FEATURES, CLASSES))
    return flatten(tensors, layout_of(tensors))


def cast(run: Run, digits: Split) -> dict[MemberId, Trainer]:
    """Who plays each member. Hostile ones also lie to the gate: whatever helps them is better."""
    players: dict[MemberId, Trainer] = {}
    for member in MEMBERS:
        honest: Trainer = trainer(digits.members[member])
        if member in run.hostile:
            attacker = _attacker(run.hostile[member], honest, digits.members[member])
            players[member] = LyingBallot(attacker, Claim.BETTER)
        else:
            players[member] = honest
    return players


def _attacker(how: str, honest: Trainer, data: MemberData) -> Trainer:
    if how in FLIPPED.values():
        return SignFlip(honest, scale=10.0)
    if how in NOT_FINITE.values():
        return NotANumber(honest)
    if how in BOOSTED.values():
        boost = float(len(MEMBERS))
        return backdoor(data, lambda d: trainer(d, REPLACING), target=TARGET, boost=boost, size=PATCH)
    planted = backdoor(data, lambda d: trainer(d, MATCHING), target=TARGET, boost=1.0, size=PATCH)
    return NormMatched(planted, honest, scale=MATCHED_SCALE)


# ----------------------------------------------------------------------------------------------------------- measuring


@dataclass(frozen=True, slots=True)
class Measure:
    """The lab's own measuring on data that nobody trains or votes with."""

    digits: Split

    def labels(self, model: F32, x: F32) -> npt.NDArray[np.int64]:
        """(n,) predictions of the softmax model, -1 where an output is not finite."""
        tensors = unflatten(model, layout_of(tensors_of(softmax_regression(FEATURES, CLASSES))))
        with np.errstate(all="ignore"):
            logits = x @ tensors["weight"].T + tensors["bias"]
        return np.where(np.isfinite(logits).all(axis=1), logits.argmax(axis=1), -1)

    def accuracy(self, model: F32) -> float:
        """Share of the lab's test images that are classified right."""
        return float((self.labels(model, self.digits.x_test) == self.digits.y_test).mean())

    def backdoor(self, model: F32) -> float:
        """Share of stamped test images of other classes that are taken for the attacker's."""
        return backdoor_success(
            lambda x: self.labels(model, x), self.digits.x_test, self.digits.y_test, target=TARGET, size=PATCH
        )

    def per_class(self, model: F32) -> tuple[float, ...]:
        """Recall of each class."""
        right = self.labels(model, self.digits.x_test) == self.digits.y_test
        return tuple(float(right[self.digits.y_test == c].mean()) for c in range(CLASSES))

    def per_site(self, model: F32) -> dict[MemberId, float]:
        """Accuracy on each member's held-out examples."""
        return {m: self.at_site(m, model) for m in self.digits.members}

    def at_site(self, member: MemberId, model: F32) -> float:
        """Accuracy on one member's held-out examples."""
        data = self.digits.members[member]
        return float((self.labels(model, data.x_held) == data.y_held).mean())


# ---------------------------------------------------------------------------------------------------------------- runs

Progress = Callable[[str, RoundResult], None]


def play(run: Run, draw: Draw, root: Path | None, progress: Progress) -> tuple[RunResult, str, str]:
    """One run and its fingerprint and run id; on disk under `root`, else in memory.

    Comparison runs use entropy derived from the seed, so that they can be repeated; the run on disk uses the system's.
    """
    started = time.perf_counter()
    digits = split(draw)
    measure = Measure(digits)
    edges: Edges = lab_edges(draw.seed) if root is None else system_edges()
    settings: Settings = parse(dict(run.tables))
    ledger = LedgerStore(None if root is None else root / "ledger.db")
    store = RunStore(root, system_entropy)
    engine = assemble(
        settings,
        cast(run, digits),
        classes=CLASSES,
        code="phalanx demo",
        stores=Stores(store, ledger),
        edges=edges,
        durable=root is not None,
    )
    rounds: list[RoundResult] = []

    def observe(record: RoundRecord, standing: Standing) -> None:
        rounds.append(_round_result(record, standing.model, measure))
        progress(run.name, rounds[-1])

    engine.observe = observe
    engine.run(initial_model())
    model = engine.model()
    store.close()
    ledger.close()
    privacy = settings.mechanism
    result = RunResult(
        name=run.name,
        controls=run.controls,
        hostile=run.hostile,
        accuracy=measure.accuracy(model),
        backdoor_success=measure.backdoor(model),
        finite=bool(np.isfinite(model).all()),
        epsilon=rounds[-1].epsilon,
        delta=None if privacy is None else privacy.delta,
        unit=None if privacy is None else "example",
        seconds=time.perf_counter() - started,
        rounds=tuple(rounds),
        per_class=measure.per_class(model),
        per_site=measure.per_site(model),
    )
    return result, engine.plan.operator.public, engine.plan.run


def _round_result(record: RoundRecord, model: F32, measure: Measure) -> RoundResult:
    finite = bool(np.isfinite(model).all())
    return RoundResult(
        round=record.round,
        accuracy=measure.accuracy(model) if finite else None,
        backdoor_success=measure.backdoor(model) if finite else None,
        epsilon=record.epsilon,
        weights=dict(zip(record.accepted, record.weights, strict=True)),
        refused=tuple((one.member, one.reason.value, one.detail) for one in record.refused),
        gate_passed=record.verdict.passed,
        gate_test=record.verdict.test,
        gate_p=record.verdict.p_value,
    )


def play_alone(draw: Draw) -> RunResult:
    """Each organisation by itself, for as many steps: what taking part has to beat. Means over the organisations."""
    started = time.perf_counter()
    digits = split(draw)
    measure = Measure(digits)
    models = {member: _train_alone(trainer(digits.members[member])) for member in MEMBERS}
    recalls = np.array([measure.per_class(model) for model in models.values()])
    return RunResult(
        name=ALONE,
        controls="none: each organisation trains by itself, without privacy",
        hostile={},
        accuracy=float(np.mean([measure.accuracy(model) for model in models.values()])),
        backdoor_success=float(np.mean([measure.backdoor(model) for model in models.values()])),
        finite=True,
        epsilon=None,
        delta=None,
        unit=None,
        seconds=time.perf_counter() - started,
        rounds=(),
        per_class=tuple(recalls.mean(axis=0).tolist()),
        per_site={member: measure.at_site(member, model) for member, model in models.items()},
    )


def play_pooled(draw: Draw) -> RunResult:
    """All examples in one place, for as many steps: what nobody could have, and what federation is held against."""
    started = time.perf_counter()
    digits = split(draw)
    measure = Measure(digits)
    model = _train_alone(trainer(joined([digits.members[member] for member in MEMBERS])))
    return RunResult(
        name=POOLED,
        controls="none: all data in one place, without privacy",
        hostile={},
        accuracy=measure.accuracy(model),
        backdoor_success=measure.backdoor(model),
        finite=True,
        epsilon=None,
        delta=None,
        unit=None,
        seconds=time.perf_counter() - started,
        rounds=(),
        per_class=measure.per_class(model),
        per_site=measure.per_site(model),
    )


def _train_alone(member: Trainer) -> F32:
    model, state = initial_model(), None
    for number in range(1, ROUNDS + 1):
        trained = member.train(model, TrainTask(number, None), state)
        model, state = model + trained.delta, trained.state
    return model


def quiet(name: str, one: RoundResult) -> None:
    """No progress."""


def shortened(run: Run, rounds: int) -> Run:
    """The same run over fewer rounds, for tests."""
    tables = dict(run.tables)
    tables["run"] = dict(tables["run"]) | {"rounds": rounds}
    return replace(run, tables=tables)
