"""From settings and the members' trainers to an engine that can run: keys, roster, plan, ledgers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from phalanx.admission import SEED_BYTES as SELECTION_SEED_BYTES
from phalanx.admission import All, Organisation, Roster, open_roster, sign_roster
from phalanx.config import Settings
from phalanx.engine.inprocess import Edges, InProcess, MemberSide
from phalanx.entropy import expand, system_entropy
from phalanx.errors import ConfigError
from phalanx.learning.contract import Trainer
from phalanx.learning.many import train_together
from phalanx.learning.server import Scaffold
from phalanx.learning.threads import use_threads
from phalanx.round.coordinator import Plan
from phalanx.round.member import Floor, Membership
from phalanx.signing import SEED_BYTES, SigningKey
from phalanx.store import LedgerStore, RunStore
from phalanx.types import MemberId

RUN_ID_BYTES = 8


@dataclass(frozen=True, slots=True)
class Stores:
    """Where a run lives: its own state, and the ledgers, which outlive it."""

    run: RunStore
    ledger: LedgerStore


def system_edges() -> Edges:
    """The system's clock and entropy."""
    return Edges(clock=lambda: int(time.time()), draw=lambda key, size: system_entropy(size))


def lab_edges(seed: int) -> Edges:
    """Entropy that anybody can repeat, from `seed` and the name of what it is for. Nothing made with it is secret."""
    key = expand(seed.to_bytes(32, "big", signed=True), "lab", 32)
    return Edges(clock=lambda: int(time.time()), draw=lambda name, size: expand(key, name, size))


def edges_of(settings: Settings) -> Edges:
    """The system's edges, unless the configuration names a lab seed."""
    return system_edges() if settings.run.lab_seed is None else lab_edges(settings.run.lab_seed)


def assemble(
    settings: Settings,
    trainers: Mapping[MemberId, Trainer],
    *,
    classes: int,
    code: str,
    stores: Stores,
    edges: Edges,
    durable: bool = True,
) -> InProcess:
    """An engine over `trainers`, one for each member of the settings. Raises ConfigError where they do not fit.

    Raises ConflictError, before it writes anything, if the run in `stores` was begun with other settings or code.
    """
    if tuple(sorted(trainers)) != settings.members:
        raise ConfigError(f"the settings name members {', '.join(settings.members)}; trainers came for others")
    use_threads(settings.run.threads)
    layouts = {trainer.layout for trainer in trainers.values()}
    if len(layouts) != 1:
        raise ConfigError("the members' models differ in names, shapes or order of their tensors")
    store, config = stores.run, settings.effective(code)
    store.adopt(config)
    operator = _key(store, "operator", edges)
    keys = {member: _key(store, f"member-{member}", edges) for member in settings.members}
    roster = Roster(settings.federation.name, operator.public, _organisations(settings, keys))
    plan = Plan(
        federation=settings.federation.name,
        run=store.secret("secrets/run-id", RUN_ID_BYTES, lambda size: edges.draw("run-id", size)).hex(),
        config=config,
        operator=operator,
        roster=open_roster(sign_roster(roster, operator), operator.public),  # what every party would read
        layout=layouts.pop(),
        classes=classes,
        rule=settings.chain,
        privacy=settings.mechanism,
        optimiser=settings.optimiser,
        scaffold=_scaffold(settings),
        selection=settings.selection_policy,
        selection_seed=_selection_seed(settings, store, edges),
        min_cohort=settings.selection.min_cohort,
        screening=settings.screening_policy(),
        gate=settings.gate_policy(classes),
        rounds=settings.run.rounds,
        round_seconds=settings.run.round_seconds,
    )
    members = {
        member: MemberSide(_membership(plan, settings, member, keys[member]), trainers[member], stores.ledger)
        for member in settings.members
    }
    return InProcess(
        plan,
        members,
        store,
        stores.ledger,
        edges,
        settings.run.max_refusals,
        journal=durable,
        train_together=train_together,
    )


def _organisations(settings: Settings, keys: Mapping[MemberId, SigningKey]) -> tuple[Organisation, ...]:
    table = settings.federation
    return tuple(
        Organisation(member, keys[member].public, table.weight_cap, label=table.labels.get(member, ""))
        for member in settings.members
    )


def _scaffold(settings: Settings) -> Scaffold | None:
    steps = settings.descent()
    return Scaffold(steps.local_steps, steps.learning_rate) if steps.scaffold else None


def _selection_seed(settings: Settings, store: RunStore, edges: Edges) -> bytes | None:
    """The run's own, kept with its secrets: a resumed run draws the cohorts that it had committed to."""
    if settings.selection_policy == All():
        return None
    draw = "selection-seed"
    return store.secret(f"secrets/{draw}", SELECTION_SEED_BYTES, lambda size: edges.draw(draw, size))


def _key(store: RunStore, name: str, edges: Edges) -> SigningKey:
    seed = store.secret(f"secrets/{name}", SEED_BYTES, lambda size: edges.draw(f"identity/{name}", size))
    return SigningKey.from_seed(seed)


def _membership(plan: Plan, settings: Settings, member: MemberId, key: SigningKey) -> Membership:
    return Membership(
        member=member,
        key=key,
        federation=plan.federation,
        config=plan.config_digest,
        operator=plan.operator.public,
        layout=plan.layout,
        gate=plan.gate,
        dataset=f"{plan.federation}/{member}",
        floor=Floor(settings.floor.max_epsilon, settings.floor.refused_rules, settings.floor.max_delta),
    )
