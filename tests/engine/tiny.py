"""A federation small enough to run hundreds of times: three members, five parameters, two classes, plain numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from phalanx.audit import verify_run
from phalanx.audit.verify import Verification
from phalanx.canonical import decode
from phalanx.config import Settings, parse
from phalanx.engine.assemble import Stores, assemble
from phalanx.engine.driver import Watch, nobody_watches
from phalanx.engine.inprocess import Edges, InProcess
from phalanx.entropy import expand, system_entropy
from phalanx.learning import Trainer
from phalanx.learning.dpsgd import private_mean
from phalanx.signing import fingerprint
from phalanx.store import LedgerStore, RunStore
from phalanx.types import F32, Layout, MemberId, Tally, TensorSpec, Trained, TrainTask, member_id

LAYOUT = Layout((TensorSpec("bias", (1,), 0), TensorSpec("weight", (4,), 1)))
FIVE = tuple(member_id(f"m-{i}") for i in range(5))
MEMBERS = FIVE[:3]
TIME = 1_700_000_000
INITIAL = np.zeros(LAYOUT.d, dtype=np.float32)


@dataclass(frozen=True)
class Pull:
    """Moves towards a goal of its own, with momentum; votes by which model is nearer to it."""

    goal: F32
    layout: Layout = LAYOUT

    def train(self, model: F32, task: TrainTask, state: F32 | None) -> Trained:
        momentum = np.zeros_like(model) if state is None else state
        gradient = model - self.goal
        if task.privacy is not None:
            gradient = private_mean(gradient[None], task.privacy, task.noise_key, round=task.round)
        momentum = np.float32(0.5) * momentum + gradient
        return Trained(np.float32(-0.1) * momentum, 7, momentum)

    def evaluate(self, candidate: F32, incumbent: F32, state: F32 | None) -> Tally:
        nearer = bool(np.linalg.norm(candidate - self.goal) <= np.linalg.norm(incumbent - self.goal))
        better, worse = (3, 1) if nearer else (1, 3)
        return Tally((worse, 0), (better, 0), (better, 10), (10, 10), bool(np.isfinite(candidate).all()))


@dataclass(frozen=True)
class Corrected(Pull):
    """Plain steps with SCAFFOLD's correction: its state is its control variate."""

    steps: int = 2
    rate: float = 0.1

    def train(self, model: F32, task: TrainTask, state: F32 | None) -> Trained:
        if task.control is None:
            raise ValueError("these steps need the server's control variate")
        own, delta = np.zeros_like(model) if state is None else state, np.zeros_like(model)
        for _ in range(self.steps):
            delta -= np.float32(self.rate) * (model + delta - self.goal + task.control - own)
        return Trained(delta, 7, own - task.control - delta / np.float32(self.steps * self.rate))


SCAFFOLD = {"module": "tiny", "algorithm": "scaffold", "local_steps": 2, "learning_rate": 0.1}


def tables(**changes: Mapping[str, Any]) -> dict[str, Any]:
    """A valid configuration of two rounds; `changes` replace whole tables."""
    base: dict[str, Any] = {
        "federation": {"name": "tiny", "members": list(MEMBERS)},
        "run": {"rounds": 2},
        "learning": {"module": "tiny"},
        "aggregation": {"rule": "trimmed-mean", "f": 1},
        "gate": {"f": 1},
    }
    return base | {name: dict(table) for name, table in changes.items()}


def five(**changes: Mapping[str, Any]) -> Settings:
    """Settings with five members, of whom one may be refused or away."""
    federation = changes.pop("federation", {"name": "tiny", "members": list(FIVE)})
    run = changes.pop("run", {"rounds": 2, "missing_allowed": 1})
    return parse(tables(federation=federation, run=run, **changes))


def pulls(members: Sequence[MemberId] = MEMBERS) -> dict[MemberId, Pull]:
    """Honest members whose goals differ a little."""
    return {m: Pull(np.full(LAYOUT.d, 1 + i / 10, dtype=np.float32)) for i, m in enumerate(members)}


def corrected(members: Sequence[MemberId] = FIVE) -> dict[MemberId, Trainer]:
    """The same members with SCAFFOLD's steps."""
    return {member: Corrected(pull.goal) for member, pull in pulls(members).items()}


def trainers(members: Sequence[MemberId] = MEMBERS, **others: Trainer) -> dict[MemberId, Trainer]:
    """The honest members, some of them replaced: `trainers(m_1=Hostile())`."""
    return {**pulls(members), **{member_id(name.replace("_", "-")): trainer for name, trainer in others.items()}}


def keyed_edges(seed: int = 0) -> Edges:
    """A clock that stands still and entropy by name: what is repeated under the same name is the same."""
    key = expand(seed.to_bytes(32, "big"), "tests", 32)
    return Edges(clock=lambda: TIME, draw=lambda name, size: expand(key, name, size))


def engine(
    root: Path | None,
    settings: Settings | None = None,
    members: Mapping[MemberId, Trainer] | None = None,
    watch: Watch = nobody_watches,
    seed: int = 0,
    code: str = "tiny",
    classes: int = 2,
) -> InProcess:
    """An engine on `root` (in memory where None) with a ledger beside it."""
    stores = Stores(RunStore(root, system_entropy), LedgerStore(None if root is None else root.parent / "ledger.db"))
    try:
        made = assemble(
            settings or parse(tables()),
            members or trainers(),
            classes=classes,
            code=code,
            stores=stores,
            edges=keyed_edges(seed),
            durable=root is not None,
        )
    except BaseException:  # a crash in here ends the process that holds the lock
        stores.run.close()
        stores.ledger.close()
        raise
    made.watch = watch
    return made


def published(run: InProcess) -> dict[str, bytes]:
    """All that is public, by name."""
    return {name: run.store.public.read(name) or b"" for name in run.store.public.names()}


def logged(run: InProcess, kind: str) -> list[dict[str, Any]]:
    """The entries of one kind in the public log."""
    entries = [decode(line) for line in published(run)["log.jsonl"].splitlines()]
    return [entry for entry in entries if entry["kind"] == kind]


def refused(run: InProcess, kind: str = "cohort") -> list[tuple[str, str]]:
    """Who was refused and why, by the public log's first cohort or decision."""
    return [(row["member"], row["reason"]) for row in logged(run, kind)[0]["refused"]]


def verified(run: InProcess) -> Verification:
    """The auditor's opinion of the run. Raises if it does not verify."""
    return verify_run(published(run), fingerprint(run.plan.operator.public))


def close(run: InProcess) -> None:
    """Lets go of the state, as the end of a process does: what was not committed is gone."""
    run.store.close()
    run.ledger.close()
