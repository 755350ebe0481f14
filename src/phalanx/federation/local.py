"""A whole federation on this machine: every member in this process, through the real rounds.

    from phalanx.federation import Federation
    result = Federation.local(model, sites, run={"rounds": 20}, aggregation={"rule": "trimmed-mean", "f": 1}).run()

The tables are those of phalanx.toml, so that what was tried in a notebook can be written down as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from phalanx.canonical import digest, model_digest
from phalanx.config import Settings, parse, read_config
from phalanx.engine.assemble import assemble, edges_of
from phalanx.engine.inprocess import InProcess
from phalanx.errors import BudgetExhausted, ConfigError, GateRefusal, PolicyError, QuorumError
from phalanx.federation.callbacks import Callback, Started
from phalanx.federation.folders import LEDGER, beside, check_folder, opened
from phalanx.federation.module import load_module, users_code
from phalanx.federation.prepare import preparation_of
from phalanx.federation.result import Result
from phalanx.federation.sites import Examples, check_alike, check_names, scales_in_words, site_of
from phalanx.federation.split import Split
from phalanx.federation.words import how_trained, spent_in_words
from phalanx.learning import LocalTrainer, MemberData, Model, member_of, unflatten
from phalanx.learning.baselines import Baselines, baselines_of
from phalanx.learning.data import Array
from phalanx.learning.many import train_together
from phalanx.learning.parts import flatten_whole, in_words
from phalanx.round.coordinator import RoundRecord, Standing
from phalanx.signing import fingerprint
from phalanx.types import F32, ExamplePrivacy, MemberId, Reason, TrainTask

_FEW = 4  # examples on which a member's functions are tried
_ANY_KEY = bytes(32)  # of the noise in that trial, which nobody sees


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Federation:
    """A model, the members' examples and a configuration. Made by `local` or `from_config`; changed by nothing.

    `code` is a hash of the members' code, `ledger` the file in which privacy charges outlive a run. None: beside the
    run's folder, and with a run that is kept in memory the charges end when it does.
    """

    settings: Settings
    model: Model
    sites: Mapping[MemberId, MemberData] = field(repr=False)
    code: str
    ledger: Path | None
    root: Path | None  # where a run lies unless `run` is told another place

    @classmethod
    def local(cls, model: Model, sites: Mapping[str, Examples], **tables: Mapping[str, Any]) -> Self:
        """A federation of `sites`: for each member's name its inputs (n, …) and integer labels (n,).

        `tables` are those of phalanx.toml: `run={"rounds": 20}`, `aggregation={"rule": "trimmed-mean", "f": 1}`,
        `privacy={…}`. The federation's name is "local" unless its table says otherwise. Raises ConfigError.
        """
        _check_tables(model, tables)
        check_names(sites, tables.get("federation", {}).get("members"))
        settings = parse(
            {
                **tables,
                "federation": {"name": "local", "members": list(sites)} | dict(tables.get("federation", {})),
                "learning": {"module": "notebook"} | dict(tables.get("learning", {})),
            }
        )
        return cls._of(settings, model, lambda member: sites[member], "", folder=None)

    @classmethod
    def from_config(cls, path: Path | str) -> Self:
        """The federation that a phalanx.toml and the module that it names describe. Raises ConfigError."""
        file = Path(path)
        settings = read_config(file)
        module, code = load_module(file.parent / settings.learning.module)
        with users_code("learning.module"):
            member = member_of(module)
        made = cls._of(settings, member.model, member.load, code, folder=file.parent)
        return replace(made, ledger=file.with_name(LEDGER), root=file.with_name(f"{file.stem}-run"))

    @classmethod
    def _of(
        cls, settings: Settings, model: Model, load: Callable[[str], object], code: str, *, folder: Path | None
    ) -> Self:
        prepare = preparation_of(settings, folder)
        sites = {}
        for member in settings.members:
            with users_code(f"load({member!r})"):
                found = load(member)
            sites[member] = site_of(found, settings, model.classes, prepare, member)
        check_alike(sites)
        made = cls(settings=settings, model=model, sites=sites, code=code, ledger=None, root=None)
        if not code:  # of what is written in a notebook only the initial parameters can be named
            trainers = made.trainers()
            code = f"notebook/{model_digest(made.initial(trainers))}"
        return replace(made, code=digest("code", f"{code}/{prepare.digest}".encode()) if prepare.digest else code)

    def run(self, out: Path | str | None = None, *, resume: bool = False, callbacks: Sequence[Callback] = ()) -> Result:
        """Trains, and says how each site fares. The run lies under `out`; without it, in memory.

        Raises GateRefusal or PolicyError where the run was stopped (callbacks hear of its result first), QuorumError
        where an attempt failed and the run can be resumed, ConflictError where `out` holds a run already.
        """
        root = self.root if out is None else Path(out)
        ledger = self.ledger if self.ledger is not None or root is None else beside(root)
        check_folder(root, resume)
        trainers = self.trainers()
        start = self.initial(trainers)
        self._rehearse(trainers, start)
        with opened(root, ledger) as stores:
            engine = assemble(
                self.settings,
                trainers,
                classes=self.model.classes,
                code=self.code,
                stores=stores,
                edges=edges_of(self.settings),
                durable=root is not None,
            )
            return _Session(self, engine, trainers, start, root, ledger, callbacks).run()

    def trainers(self) -> dict[MemberId, LocalTrainer]:
        """Each member's trainer on its own examples."""
        descent, local = self.settings.descent(), self.settings.learning.local
        with users_code("initial_model"):
            tensors = self.model.initial_model()
        if not isinstance(tensors, Mapping):
            raise ConfigError(f"initial_model must give arrays by name, found a {type(tensors).__name__}")
        with users_code("the model"):
            return {m: LocalTrainer(self.model, data, descent, local=local) for m, data in self.sites.items()}

    def initial(self, trainers: Mapping[MemberId, LocalTrainer]) -> F32:
        """(d,): the shared parameters that every run starts from."""
        parts = next(iter(trainers.values())).parts
        with users_code("initial_model"):
            return flatten_whole(self.model.initial_model(), parts.whole)[: parts.shared.d]

    def baselines(self) -> Baselines:
        """Each member alone, all without controls, all data pooled: what the protected run has to be held against."""
        trainers = self.trainers()
        return self._baselines(trainers, self.initial(trainers))

    def _baselines(self, trainers: Mapping[MemberId, LocalTrainer], start: F32) -> Baselines:
        with users_code("the model, in the baselines,"):
            return baselines_of(trainers, start, self.settings.run.rounds, train_together)

    @property
    def split(self) -> Split:
        """Which member holds how many examples of which class."""
        by_class = {member: _by_class(data) for member, data in self.sites.items()}
        return Split(by_class, _held_out(self.sites), scales_in_words(self.sites))

    def __repr__(self) -> str:
        table, privacy = self.settings, self.settings.privacy
        noise = "no privacy" if privacy is None else f"ε ≤ {privacy.epsilon:g} for each {privacy.unit}"
        return (
            f"Federation({table.federation.name}: {len(table.members)} members, {table.run.rounds} rounds, "
            f"{table.chain}, {noise})"
        )

    def _rehearse(self, trainers: Mapping[MemberId, LocalTrainer], start: F32) -> None:
        """Each member's functions tried once, before any budget is charged for a mistake in them. Nothing leaves it."""
        for member, trainer in trainers.items():
            with users_code(f"predict, for {member},"):
                trainer.evaluate(start, start, None)
            few = trainer.with_data(_first(trainer.data))
            with users_code(f"training, for {member},"):
                few.train(start, self._trial(trainer, start), None)

    def _trial(self, trainer: LocalTrainer, start: F32) -> TrainTask:
        """A round's task for a training that nobody is sent."""
        mechanism = self.settings.mechanism
        private = mechanism if isinstance(mechanism, ExamplePrivacy) else None
        return TrainTask(0, private, _ANY_KEY, np.zeros_like(start) if trainer.settings.scaffold else None)


@dataclass(frozen=True, slots=True)
class _Session:
    """One call of `Federation.run`: the engine, what it works on, and who hears of it."""

    federation: Federation
    engine: InProcess
    trainers: Mapping[MemberId, LocalTrainer]
    start: F32
    root: Path | None
    ledger: Path | None
    callbacks: Sequence[Callback]

    def run(self) -> Result:
        first, settings = next(iter(self.trainers.values())), self.federation.settings
        started = Started(
            settings=settings,
            run=self.engine.plan.run,
            members=settings.members,
            travels=tuple(in_words(first.parts)),
            how_trained=how_trained(settings, self.trainers),
            warnings=scales_in_words(self.federation.sites),
            closed=tuple(self.engine.records()),
        )
        for callback in self.callbacks:
            callback.started(started)
        self.engine.observe = self._observe
        try:
            self.engine.run(self.start)
        except (GateRefusal, PolicyError) as error:  # the run is over; what it did is worth a report all the same
            self._end(started, error.message)
            if isinstance(error, BudgetExhausted) and not error.hint:
                error.hint = spent_in_words(self.ledger)
            raise
        except QuorumError as error:
            error.hint = "; ".join([*started.warnings, *self._norm(error.message), error.hint])
            raise
        return self._end(started, "")

    def _norm(self, message: str) -> list[str]:
        """How long the first of the updates is that were refused as too long: trained again here, where it stays."""
        for member, trainer in self.trainers.items():
            if re.search(rf"(?<![a-z0-9-]){re.escape(member)} {Reason.NORM_TOO_LARGE}", message):
                model, task = self.engine.model(), self.federation._trial(trainer, self.start)
                try:
                    delta = trainer.train(model, task, self.engine.member_state(member)).delta
                except Exception:  # the user's code, and the error that is being told already says more
                    return []
                most = self.federation.settings.screening.max_norm
                return [
                    f"an update of {member} has l2 norm {np.linalg.norm(delta.astype(np.float64)):.3g}, "
                    f"at most {most:g} is allowed"
                ]
        return []

    def _observe(self, record: RoundRecord, standing: Standing) -> None:
        for callback in self.callbacks:
            callback.round_closed(record)

    def _end(self, started: Started, stopped: str) -> Result:
        engine, federation = self.engine, self.federation
        model = engine.model()
        states = {member: engine.member_state(member) for member in self.trainers}
        with users_code("predict"):
            shares = {m: trainer.accuracy(model, states[m]) for m, trainer in self.trainers.items()}
        if started.settings.report.baselines:
            for callback in self.callbacks:
                callback.comparing()
        result = Result(
            start=started,
            records=tuple(engine.records()),
            stopped=stopped,
            model=unflatten(model, engine.plan.layout),
            local={m: _own(trainer, model, states[m]) for m, trainer in self.trainers.items()},
            accuracy={member: share for member, share in shares.items() if share is not None},
            baselines=federation._baselines(self.trainers, self.start) if started.settings.report.baselines else None,
            held_out=_held_out(federation.sites),
            split={member: _by_class(data) for member, data in federation.sites.items()},
            public=None if self.root is None else self.root / "public",
            fingerprint=fingerprint(engine.plan.operator.public),
            member_errors=dict(engine.member_errors),
        )
        for callback in self.callbacks:
            callback.ended(result)
        return result


def _check_tables(model: object, tables: Mapping[str, object]) -> None:
    """Raises ConfigError for what nobody can have meant, in words for whoever writes Python and no TOML."""
    if not isinstance(model, Model):
        raise ConfigError(
            f"model must be a phalanx.learning.Model, found a {type(model).__name__}",
            hint="adapters make one: phalanx.learning.adapters.scikit.scikit_model(estimator, features=…, classes=…)",
        )
    for name, table in tables.items():
        if not isinstance(table, Mapping):
            raise ConfigError(f"{name} must be a table, such as {name}={{…}}, found {table!r:.60}")
    missing = [name for name in ("run", "aggregation") if name not in tables]
    if missing and set(tables) <= set(Settings.model_fields):  # else it may be a slip of the pen, which `parse` names
        raise ConfigError(
            f"a federation needs the tables run and aggregation; missing: {', '.join(missing)}",
            hint='run={"rounds": 20}, aggregation={"rule": "trimmed-mean", "f": 1} with f hostile members to tolerate',
        )


def _own(trainer: LocalTrainer, model: F32, state: F32 | None) -> dict[str, Array]:
    """The member's own local tensors by name."""
    named = trainer.tensors(trainer.start(model, state))
    return {one.name: named[one.name] for one in trainer.parts.local}


def _first(data: MemberData) -> MemberData:
    """A few of the examples: enough to find a mistake in a function."""
    return MemberData(data.x_train[:_FEW], data.y_train[:_FEW], data.x_held, data.y_held, data.classes)


def _by_class(data: MemberData) -> tuple[int, ...]:
    labels = np.concatenate([data.y_train, data.y_held])
    return tuple(np.bincount(labels, minlength=data.classes).tolist())


def _held_out(sites: Mapping[MemberId, MemberData]) -> dict[MemberId, int]:
    return {member: len(data.y_held) for member, data in sites.items() if len(data.y_held)}
