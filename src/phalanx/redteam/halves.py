"""Models trained again and again on random halves of the members' examples, each as one setting trains it.

Of such models it is known what they were trained on: they are the targets of membership inference and its shadow models
in turn. Members train as they do in a run and an update is aggregated by the user's rule, but there is no envelope, no
screening, no gate and no log: none of them is in an attacker's way here. Where the configuration has example-level
noise, clip and noise are the user's, and the normaliser is half of theirs, as half of the examples are there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from phalanx.aggregation import aggregate
from phalanx.attacks.membership.shadows import Bools
from phalanx.config import Settings
from phalanx.federation.module import users_code
from phalanx.learning import Job, LocalTrainer, MemberData, Sgd
from phalanx.learning.data import Array, Labels
from phalanx.learning.many import train_together
from phalanx.learning.server import Scaffold, server_control
from phalanx.privacy import central_noise
from phalanx.redteam.lab import Lab
from phalanx.redteam.probe import Setting
from phalanx.screening.weights import capped_weights
from phalanx.types import F32, F64, ExamplePrivacy, MemberId, MemberPrivacy, Trained, TrainTask

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """All members' training examples: x (n, …), y (n,), and the place of each one's member among `members` (n,)."""

    x: Array = field(repr=False)
    y: Labels = field(repr=False)
    owner: Integers = field(repr=False)
    members: tuple[MemberId, ...]
    classes: int

    def data(self, chosen: Bools) -> MemberData:
        """The chosen examples, with none held out."""
        return MemberData(self.x[chosen], self.y[chosen], self.x[:0], self.y[:0], self.classes)


@dataclass(frozen=True, slots=True)
class Seen:
    """What an onlooker of round `number` of run `run` sees: the model (d,), who took part, and their updates (k, d)."""

    run: int
    number: int
    model: F32 = field(repr=False)
    places: Integers  # (k,): the members' places
    updates: F32 = field(repr=False)


Onlooker = Callable[[Seen], None]


def pool_of(lab: Lab) -> Pool:
    """The lab's training examples, member by member."""
    sites = [lab.sites[member] for member in lab.members]
    return Pool(
        x=np.concatenate([data.x_train for data in sites]),
        y=np.concatenate([data.y_train for data in sites]),
        owner=np.repeat(np.arange(len(sites)), [len(data.x_train) for data in sites]),
        members=lab.members,
        classes=lab.classes,
    )


def refusal(lab: Lab, setting: Setting) -> str:
    """Why models of this setting cannot be trained here, or ""."""
    if lab.settings.learning.local:
        return "part of the model stays with the members, so there is no one model to ask"
    if setting == "yours" and not isinstance(lab.settings.optimiser, Sgd):
        return f"the server's optimiser is {lab.settings.server.optimiser}, and here it steps by sgd alone"
    return ""


def trained(
    lab: Lab, setting: Setting, pool: Pool, inside: Bools, rng: np.random.Generator, onlooker: Onlooker | None = None
) -> F32:
    """(m, d): m models, model i trained by `setting` on the examples `inside[i]` (m, n) of the pool.

    A member that has no example inside stays away. `onlooker` is shown every round of every federated run. Raises
    ValueError where `refusal` says why, QuorumError where so few members are left that the user's rule cannot be used.
    """
    if why := refusal(lab, setting):
        raise ValueError(why)
    trainers = lab.trainers()
    first, start = next(iter(trainers.values())), lab.start(trainers)
    with users_code("the model, in the red team's training,"):
        if setting == "central":
            return _central(first, start, lab.settings.run.rounds, pool, inside)
        return _federated(_plan(lab.settings, setting, first, pool), start, pool, inside, rng, onlooker)


# --------------------------------------------------------------------------------------------------------- in one place


def _central(first: LocalTrainer, start: F32, rounds: int, pool: Pool, inside: Bools) -> F32:
    """As in `learning.baselines`: on mini-batches as many steps as all members together take, else as many as one."""
    steps = replace(first.settings, prox=0.0, scaffold=False)
    if steps.batch_size:
        steps = replace(steps, local_steps=steps.local_steps * len(pool.members))
    models = []
    for chosen in inside:
        trainer = first.with_data(pool.data(chosen)).with_settings(steps)
        model, state = start, None
        for number in range(1, rounds + 1):
            done = trainer.train(model, TrainTask(number, None), state)
            model, state = _moved(model, done.delta), done.state
        models.append(model)
    return np.stack(models)


# ------------------------------------------------------------------------------------------------------------ federated


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """How a setting trains: the members' steps and noise, and what becomes of their updates."""

    settings: Settings
    naive: bool
    trainer: LocalTrainer
    privacy: ExamplePrivacy | None
    central: MemberPrivacy | None
    members: tuple[MemberId, ...]

    def cohort(self, rng: np.random.Generator) -> list[int]:
        """The places of those who are asked in a round."""
        table, n = self.settings.selection, len(self.members)
        if self.naive or table.policy == "all":
            return list(range(n))
        if table.policy == "poisson":
            return np.flatnonzero(rng.random(n) < (table.rate or 0.0)).tolist()
        labels = self.settings.federation.labels if table.policy == "stratified" else {}
        groups: dict[str, list[int]] = {}
        for place in rng.permutation(n).tolist():
            groups.setdefault(labels.get(self.members[place], ""), []).append(place)
        return sorted(place for group in groups.values() for place in group[: table.size or 0])

    def aggregated(self, done: Sequence[Trained], d: int, rng: np.random.Generator) -> F32:
        """(d,): the round's one update. Naively the mean, weighted by examples."""
        if self.naive or self.settings.screening.unsafe_accept_all:
            return _weighted(done)
        if self.central is not None:
            return self._noised(done, d, rng)
        if not done:
            return np.zeros(d, np.float32)
        rows, weights = np.stack([one.delta for one in done]), None
        if self.settings.screening.weighting == "claimed":
            cap = self.settings.federation.weight_cap
            weights = capped_weights([one.examples for one in done], [cap] * len(done))
        return aggregate(rows, self.settings.chain, weights)[0]

    def _noised(self, done: Sequence[Trained], d: int, rng: np.random.Generator) -> F32:
        """The clipped sum over a fixed number of members, and noise as the aggregator adds it."""
        if self.central is None:
            raise ValueError("there is no central noise here")
        denominator = self.settings.expected_cohort or float(self.settings.largest_cohort)
        noise = central_noise(self.settings.chain, denominator, self.central)
        total = np.zeros(d)
        if done:
            mean, _ = aggregate(np.stack([one.delta for one in done]), self.settings.chain)
            total = mean.astype(np.float64) * (len(done) / denominator)
        return (total + rng.normal(0.0, noise.std, d)).astype(np.float32)


def _plan(settings: Settings, setting: Setting, first: LocalTrainer, pool: Pool) -> _Plan:
    mechanism = None if setting == "none" else settings.mechanism
    privacy = mechanism if isinstance(mechanism, ExamplePrivacy) else None
    if setting == "none":
        first = first.with_settings(replace(first.settings, prox=0.0, scaffold=False))
    return _Plan(
        settings=settings,
        naive=setting == "none",
        trainer=first,
        privacy=None if privacy is None else replace(privacy, normaliser=max(1, privacy.normaliser // 2)),
        central=mechanism if isinstance(mechanism, MemberPrivacy) else None,
        members=pool.members,
    )


@dataclass(slots=True)
class _Run:
    """One model in training: its members' trainers, noise keys and states by place, and the server's memory."""

    trainers: Mapping[int, LocalTrainer]
    keys: Mapping[int, bytes]
    states: dict[int, F32 | None]
    model: F32
    momentum: F64
    control: F32 | None


def _federated(
    plan: _Plan, start: F32, pool: Pool, inside: Bools, rng: np.random.Generator, onlooker: Onlooker | None
) -> F32:
    runs = [_begun(plan, pool, chosen, start, rng) for chosen in inside]
    for number in range(1, plan.settings.run.rounds + 1):
        cohorts = [[place for place in plan.cohort(rng) if place in run.trainers] for run in runs]
        asked = [(run, place) for run, cohort in zip(runs, cohorts, strict=True) for place in cohort]
        done = train_together([_job(plan, run, place, number) for run, place in asked])
        for (run, place), one in zip(asked, done, strict=True):
            run.states[place] = one.state
        ends = np.cumsum([len(cohort) for cohort in cohorts])
        for index, (run, cohort, end) in enumerate(zip(runs, cohorts, ends, strict=True)):
            own = done[end - len(cohort) : end]
            if onlooker is not None and own:
                updates = np.stack([one.delta for one in own])
                onlooker(Seen(index, number, run.model, np.array(cohort), updates))
            _step(plan, run, own, rng)
    return np.stack([run.model for run in runs])


def _begun(plan: _Plan, pool: Pool, chosen: Bools, start: F32, rng: np.random.Generator) -> _Run:
    places = [place for place in range(len(pool.members)) if (chosen & (pool.owner == place)).any()]
    trainers = {place: plan.trainer.with_data(pool.data(chosen & (pool.owner == place))) for place in places}
    control = np.zeros_like(start) if plan.trainer.settings.scaffold else None
    keys = {place: rng.bytes(32) for place in places}
    return _Run(trainers, keys, dict.fromkeys(places), start, np.zeros(start.size), control)


def _job(plan: _Plan, run: _Run, place: int, number: int) -> Job:
    task = TrainTask(number, plan.privacy, run.keys[place], run.control)
    return Job(run.trainers[place], run.model, task, run.states[place])


def _step(plan: _Plan, run: _Run, done: Sequence[Trained], rng: np.random.Generator) -> None:
    """The server's step: by SGD, since `refusal` names the other optimisers. Naively the update is added as it is."""
    update, optimiser = plan.aggregated(done, run.model.size, rng), plan.settings.optimiser
    if run.control is not None:
        steps, share = plan.trainer.settings, len(done) / len(plan.members)
        scaffold = Scaffold(steps.local_steps, steps.learning_rate)
        run.control = server_control(scaffold, run.control, update, share=share)
    if plan.naive or not isinstance(optimiser, Sgd):
        run.model = _moved(run.model, update)
        return
    run.momentum = optimiser.momentum * run.momentum + update
    run.model = _moved(run.model, (optimiser.learning_rate * run.momentum).astype(np.float32))


def _weighted(done: Sequence[Trained]) -> F32:
    weights = np.array([one.examples for one in done], np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        mean: F32 = (weights / weights.sum()) @ np.stack([one.delta for one in done])
    return mean


def _moved(model: F32, update: F32) -> F32:
    with np.errstate(over="ignore", invalid="ignore"):  # what diverges must be seen, not stopped here
        return model + update
