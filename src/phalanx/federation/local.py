"""A whole federation on this machine: every member in this process, through the real rounds.

    from phalanx import Federation
    result = Federation.local(model, sites, run={"rounds": 20}, aggregation={"rule": "trimmed-mean", "f": 1}).run()

The tables are those of phalanx.toml, so that what was tried in a notebook can be written down as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from phalanx.canonical import digest
from phalanx.config import Settings, parse, read_config
from phalanx.engine.assemble import Stores, assemble, edges_of
from phalanx.engine.inprocess import InProcess
from phalanx.entropy import system_entropy
from phalanx.errors import ConfigError, ConflictError, GateRefusal, PolicyError
from phalanx.federation.callbacks import Callback, Started
from phalanx.federation.module import load_module, users_code
from phalanx.federation.prepare import Preparation, preparation_of
from phalanx.federation.result import Result
from phalanx.learning import LocalTrainer, MemberData, Model, hold_out, member_of, unflatten
from phalanx.learning.baselines import Baselines, baselines_of, settings_in_words
from phalanx.learning.data import Array
from phalanx.learning.many import how_together, train_together
from phalanx.learning.parts import flatten_whole, in_words
from phalanx.round.coordinator import RoundRecord, Standing
from phalanx.signing import fingerprint
from phalanx.store import LedgerStore, RunStore
from phalanx.types import F32, MemberId, TrainTask, member_id

Examples = tuple[Array, Array]  # inputs (n, …), integer labels (n,)
LEDGER = "phalanx-ledger.db"


@dataclass(frozen=True, slots=True, kw_only=True)
class Federation:
    """A model, the members' examples and a configuration. Made by `local` or `from_config`; changed by nothing.

    `code` is a hash of the members' code, `ledger` the file in which privacy charges outlive a run, None: this process.
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
        federation = {"name": "local", "members": list(sites)} | dict(tables.pop("federation", {}))
        learning = {"module": "notebook"} | dict(tables.pop("learning", {}))
        settings = parse({**tables, "federation": federation, "learning": learning})
        return cls._of(settings, model, lambda member: sites[member], "notebook", folder=None)

    @classmethod
    def from_config(cls, path: Path | str) -> Self:
        """The federation that a phalanx.toml and the module that it names describe. Raises ConfigError."""
        file = Path(path)
        settings = read_config(file)
        module, code = load_module(file.parent / settings.learning.module)
        with users_code("learning.module"):
            member = member_of(module)
        made = cls._of(settings, member.model, member.load, code, folder=file.parent)
        return cls(
            settings=settings,
            model=made.model,
            sites=made.sites,
            code=made.code,
            ledger=file.with_name(LEDGER),
            root=file.with_name(f"{file.stem}-run"),
        )

    @classmethod
    def _of(
        cls, settings: Settings, model: Model, load: Callable[[str], Examples], code: str, *, folder: Path | None
    ) -> Self:
        prepare = preparation_of(settings, folder)
        sites = {member: _site(settings, model, load, prepare, member) for member in settings.members}
        full = digest("code", f"{code}/{prepare.digest}".encode()) if prepare.digest else code
        return cls(settings=settings, model=model, sites=sites, code=full, ledger=None, root=None)

    def run(self, out: Path | str | None = None, *, resume: bool = False, callbacks: Sequence[Callback] = ()) -> Result:
        """Trains, and says how each site fares. The run lies under `out`; without it, in memory.

        Raises GateRefusal or PolicyError where the run was stopped (callbacks hear of its result first), QuorumError
        where an attempt failed and the run can be resumed, ConflictError where `out` holds a run already.
        """
        root = self.root if out is None else Path(out)
        check_folder(root, resume)
        trainers = self.trainers()
        start = self.initial(trainers)
        self._rehearse(trainers, start)
        with self._stores(root) as stores:
            engine = assemble(
                self.settings,
                trainers,
                classes=self.model.classes,
                code=self.code,
                stores=stores,
                edges=edges_of(self.settings),
                durable=root is not None,
            )
            return self._run(engine, trainers, start, root, callbacks)

    def trainers(self) -> dict[MemberId, LocalTrainer]:
        """Each member's trainer on its own examples."""
        descent, local = self.settings.descent(), self.settings.learning.local
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
        return baselines_of(trainers, self.initial(trainers), self.settings.run.rounds, train_together)

    @contextmanager
    def _stores(self, root: Path | None) -> Iterator[Stores]:
        ledger = self.ledger if self.ledger is not None or root is None else root.with_name(LEDGER)
        stores = Stores(RunStore(root, system_entropy), LedgerStore(ledger))
        try:
            _check_ledger(stores)
            yield stores
        finally:
            stores.run.close()
            stores.ledger.close()

    def _rehearse(self, trainers: Mapping[MemberId, LocalTrainer], start: F32) -> None:
        """Each member's functions tried once, before any budget is charged for a mistake in them. Nothing leaves it."""
        for member, trainer in trainers.items():
            with users_code(f"predict, for {member},"):
                trainer.evaluate(start, start, None)
            few = trainer.with_data(_first(trainer.data))
            with users_code(f"training, for {member},"):
                control = np.zeros_like(start) if trainer.settings.scaffold else None
                few.train(start, TrainTask(0, None, control=control), None)

    def _run(
        self,
        engine: InProcess,
        trainers: Mapping[MemberId, LocalTrainer],
        start: F32,
        root: Path | None,
        callbacks: Sequence[Callback],
    ) -> Result:
        first = next(iter(trainers.values()))
        started = Started(
            settings=self.settings,
            run=engine.plan.run,
            members=self.settings.members,
            travels=tuple(in_words(first.parts)),
            how_trained=(
                settings_in_words(first.settings),
                f"members train by: {how_together(list(trainers.values()))}",
            ),
        )
        for callback in callbacks:
            callback.started(started)

        def observe(record: RoundRecord, standing: Standing) -> None:
            for callback in callbacks:
                callback.round_closed(record)

        engine.observe = observe
        try:
            engine.run(start)
        except (GateRefusal, PolicyError) as error:  # the run is over; what it did is worth a report all the same
            if engine.records():
                self._end(engine, trainers, started, root, error.message, callbacks)
            raise
        return self._end(engine, trainers, started, root, "", callbacks)

    def _end(
        self,
        engine: InProcess,
        trainers: Mapping[MemberId, LocalTrainer],
        started: Started,
        root: Path | None,
        stopped: str,
        callbacks: Sequence[Callback],
    ) -> Result:
        model = engine.model()
        shares = {m: trainer.accuracy(model, engine.member_state(m)) for m, trainer in trainers.items()}
        result = Result(
            start=started,
            records=tuple(engine.records()),
            stopped=stopped,
            model=unflatten(model, engine.plan.layout),
            accuracy={member: share for member, share in shares.items() if share is not None},
            baselines=self.baselines() if self.settings.report.baselines else None,
            held_out={member: len(data.y_held) for member, data in self.sites.items() if len(data.y_held)},
            split={member: _by_class(data) for member, data in self.sites.items()},
            public=None if root is None else root / "public",
            fingerprint=fingerprint(engine.plan.operator.public),
            member_errors=dict(engine.member_errors),
        )
        for callback in callbacks:
            callback.ended(result)
        return result


def _site(
    settings: Settings, model: Model, load: Callable[[str], Examples], prepare: Preparation, member: MemberId
) -> MemberData:
    with users_code(f"load({member!r})"):
        x, y = load(member)
        x, y = prepare.applied(np.asarray(x), np.asarray(y), member)
        return hold_out(x, y, classes=model.classes, member=member_id(member), fraction=settings.learning.held_out)


def _first(data: MemberData, examples: int = 4) -> MemberData:
    """A few of the examples: enough to find a mistake in a function."""
    return MemberData(data.x_train[:examples], data.y_train[:examples], data.x_held, data.y_held, data.classes)


def _by_class(data: MemberData) -> tuple[int, ...]:
    labels = np.concatenate([data.y_train, data.y_held])
    return tuple(np.bincount(labels, minlength=data.classes).tolist())


def check_folder(root: Path | None, resume: bool) -> None:
    """Raises ConfigError or ConflictError unless the folder is what starting, or resuming, needs."""
    started = root is not None and (root / "state").exists()
    if resume and not started:
        raise ConfigError(f"there is no run to resume in {root}", hint="leave --resume out to start one")
    if started and not resume:
        raise ConflictError(
            f"{root} already holds a run", hint="add --resume to go on with it, or choose another --out"
        )


def _check_ledger(stores: Stores) -> None:
    """With another ledger, a copied config's say, what this run has charged would be forgotten."""
    ours = stores.ledger.identity(system_entropy)
    if stores.run.secret("secrets/ledger", len(ours), lambda size: ours) != ours:
        raise ConflictError(
            "this run began with another privacy ledger than the one beside this configuration",
            hint="resume with the configuration, and in the folder, that the run was started from",
        )
