"""`phalanx run`: a user's configuration and a user's Python functions, every member in this process."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from rich.live import Live
from rich.table import Table

from phalanx import __version__
from phalanx.canonical import digest, model_digest
from phalanx.cli.output import Output, printable, program
from phalanx.config import Settings, read_config
from phalanx.engine.assemble import Stores, assemble, edges_of
from phalanx.engine.inprocess import InProcess
from phalanx.entropy import system_entropy
from phalanx.errors import ConfigError, ConflictError, GateRefusal, PhalanxError, PolicyError
from phalanx.learning import FunctionTrainer, MemberData, Trainer, flatten, functions_of, hold_out, layout_of, unflatten
from phalanx.learning.function import Functions
from phalanx.privacy import COST_AT_SMALL_N
from phalanx.report import RunReport, controls_of, limits_of, render_run
from phalanx.round.coordinator import RoundRecord, Standing
from phalanx.signing import fingerprint
from phalanx.store import LedgerStore, RunStore, write_file
from phalanx.types import F32, MemberId, MemberPrivacy, TrainTask

_MODULE = "phalanx_member"  # the name under which a user's file is loaded
FEW_MEMBERS = 100  # below this many, central noise is explained before it is paid for


@dataclass(frozen=True, slots=True)
class _Lab:
    """What only the lab has together: every member's data, beside the settings and the folder of the run."""

    functions: Functions
    sites: dict[MemberId, MemberData]
    settings: Settings
    root: Path

    def accuracies(self, model: F32) -> dict[MemberId, float]:
        """The model on each member's held-out examples."""
        tensors = unflatten(model, layout_of(self.functions.initial_model()))
        voters = {member: data for member, data in self.sites.items() if len(data.y_held)}
        return {m: float((self.functions.predict(tensors, d.x_held) == d.y_held).mean()) for m, d in voters.items()}


def train(config: Path, out: Path | None, resume: bool, output: Output) -> None:
    """Runs the configuration, or goes on with it, and says where the results lie."""
    settings = read_config(config)
    root = out or config.with_name(f"{config.stem}-run")
    _check_folder(root, resume)
    module, code = _load(config.parent / settings.learning.module)
    functions = functions_of(module)
    sites: dict[MemberId, MemberData] = {}
    for member in settings.members:
        with _users_code(f"load({member!r})"):
            sites[member] = _site(functions, settings, member)
    with _users_code("initial_model"):
        trainers: dict[MemberId, Trainer] = {
            member: FunctionTrainer(functions, data, settings.descent()) for member, data in sites.items()
        }
        initial = functions.initial_model()
        start = flatten(initial, layout_of(initial))
    _rehearse(functions, trainers[settings.members[0]], start)
    stores = Stores(RunStore(root, system_entropy), LedgerStore(config.with_name("phalanx-ledger.db")))
    try:
        _check_ledger(stores)
        engine = assemble(
            settings, trainers, classes=functions.classes, code=code, stores=stores, edges=edges_of(settings)
        )
        lab = _Lab(functions, sites, settings, root)
        _banner(settings, output)
        try:
            _run(engine, settings, start, output)
        except (GateRefusal, PolicyError) as error:  # the run is over; what it did is worth a report all the same
            if engine.records():
                _write_report(lab, engine, error.message, output)
            raise
        finally:
            _tell_errors(engine, output)
        _write_report(lab, engine, "", output)
        _conclude(lab, engine, output)
    finally:
        stores.run.close()
        stores.ledger.close()


def _check_folder(root: Path, resume: bool) -> None:
    started = (root / "state").exists()
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


def _load(path: Path) -> tuple[ModuleType, str]:
    """The user's module and the hash of its code. It runs with this user's rights: it is the user's own."""
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read learning.module {path}: {error.strerror}") from None
    spec = importlib.util.spec_from_file_location(_MODULE, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"learning.module {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(f"learning.module {path} raised {type(error).__name__}: {error}") from error
    return module, digest("code", source)


def _rehearse(functions: Functions, trainer: Trainer, start: F32) -> None:
    """One member's functions tried once, before any budget is charged for a mistake in them. Nothing leaves it."""
    with _users_code("predict"):
        trainer.evaluate(start, start)
    if functions.per_example_gradients is not None:
        with _users_code("per_example_gradients"):
            trainer.train(start, TrainTask(0, None), None)


def _tell_errors(engine: InProcess, output: Output) -> None:
    """What kept members from answering, once for each text, with the line of the user's file."""
    members: dict[str, list[str]] = {}
    for member, error in sorted(engine.member_errors.items()):
        members.setdefault(f"{type(error).__name__}{_where(error)}: {error}", []).append(member)
    for text, names in members.items():
        line = printable(f"{', '.join(names)}: {text}")
        output.people.print(line, markup=False, highlight=False, soft_wrap=True, style="yellow")


def _where(error: Exception) -> str:
    """Where in the user's module an error arose, as " (member.py:33)"."""
    steps = [step for step in traceback.walk_tb(error.__traceback__) if step[0].f_globals.get("__name__") == _MODULE]
    return f" ({Path(steps[-1][0].f_code.co_filename).name}:{steps[-1][1]})" if steps else ""


@contextmanager
def _users_code(name: str) -> Iterator[None]:
    """Whatever the user's function raises is about the user's function."""
    try:
        yield
    except PhalanxError:
        raise
    except Exception as error:
        raise ConfigError(f"{name} of learning.module raised {type(error).__name__}{_where(error)}: {error}") from error


def _site(functions: Functions, settings: Settings, member: MemberId) -> MemberData:
    x, y = functions.load(member)
    return hold_out(x, y, classes=functions.classes, member=member, fraction=settings.learning.held_out)


def _banner(settings: Settings, output: Output) -> None:
    """What is in force, and what is not."""
    output.say("[bold yellow]lab profile[/]: all members run in this process, and the coordinator sees their updates")
    if settings.run.lab_seed is not None:
        output.say(
            "[bold red]NOT SECURE[/]: run.lab_seed replaces the system's entropy; nothing made with it is secret"
        )
    if settings.screening.unsafe_accept_all or settings.gate.unsafe_accept_all:
        output.say("[bold red]NOT SECURE[/]: a control is switched off by unsafe_accept_all")
    privacy = settings.mechanism
    if isinstance(privacy, MemberPrivacy) and len(settings.members) < FEW_MEMBERS:
        output.say(f"[bold yellow]few members[/]: {COST_AT_SMALL_N}")
    words = (
        "none"
        if privacy is None
        else f"ε ≤ {privacy.epsilon:g} at δ = {privacy.delta:g}, σ = {privacy.noise_multiplier:g}"
    )
    output.say(f"{len(settings.members)} members, {settings.run.rounds} rounds, {settings.chain}, privacy: {words}")


def _run(engine: InProcess, settings: Settings, initial: Any, output: Output) -> None:
    total = settings.run.rounds
    live = Live(console=output.people, refresh_per_second=8, transient=True)
    with live:

        def observe(record: RoundRecord, standing: Standing) -> None:
            if output.people.is_terminal:
                live.update(_table(record, total))
            else:
                output.say(_line(record, total))

        engine.observe = observe
        engine.run(initial)


def _line(record: RoundRecord, total: int) -> str:
    decision = "released" if record.verdict.passed else f"refused by the gate ({record.verdict.test})"
    privacy = "" if record.epsilon is None else f", ε {record.epsilon:.3f}"
    refused = "".join(f", {one.member} {one.reason}" for one in record.refused)
    return f"round {record.round}/{total}: {len(record.accepted)} updates, {decision}{privacy}{refused}"


def _table(record: RoundRecord, total: int) -> Table:
    table = Table(box=None, header_style="dim")
    for column in ("round", "updates", "gate", "ε", "refused"):
        table.add_column(column)
    table.add_row(
        f"{record.round}/{total}",
        str(len(record.accepted)),
        "released" if record.verdict.passed else "refused",
        "" if record.epsilon is None else f"{record.epsilon:.3f}",
        ", ".join(f"{one.member} {one.reason}" for one in record.refused),
    )
    return table


def _verify_command(root: Path, engine: InProcess) -> str:
    return f"{program()} audit verify {root} --trust {fingerprint(engine.plan.operator.public)}"


def _write_report(lab: _Lab, engine: InProcess, stopped: str, output: Output) -> None:
    """report.html; `stopped` is why the run ended early, or "". A member's own words stay out of it."""
    plan, settings = engine.plan, lab.settings
    held_out = {member: len(data.y_held) for member, data in lab.sites.items() if len(data.y_held)}
    report = RunReport(
        federation=plan.federation,
        run=plan.run,
        members=settings.members,
        planned=settings.run.rounds,
        finished=not stopped,
        reason=stopped,
        rule=plan.rule,
        privacy=plan.privacy,
        controls=controls_of(settings, plan.privacy),
        limits=limits_of(settings, plan.privacy, held_out),
        records=tuple(engine.records()),
        accuracy=lab.accuracies(engine.model()),
        held_out=held_out,
        messages={
            member: error.message if isinstance(error, PhalanxError) else f"its own code raised {type(error).__name__}"
            for member, error in engine.member_errors.items()
        },
        public=str(lab.root / "public"),
        fingerprint=fingerprint(plan.operator.public),
        verify_command=_verify_command(lab.root, engine),
        version=__version__,
    )
    write_file(lab.root / "report.html", render_run(report))
    output.say(f"report: {lab.root / 'report.html'}")


def _conclude(lab: _Lab, engine: InProcess, output: Output) -> None:
    records, accuracies = engine.records(), lab.accuracies(engine.model())
    output.say(f"released version {records[-1].version} after {len(records)} rounds")
    if accuracies:
        worst = sorted(accuracies.items(), key=lambda one: one[1])
        output.say(f"accuracy on the members' held-out examples: {np.mean(list(accuracies.values())):.1%} on average")
        output.say("worst first: " + ", ".join(f"{member} {share:.1%}" for member, share in worst[:10]))
    output.say("Verify it:")
    command = _verify_command(lab.root, engine)
    output.people.print(f"  {command}", markup=False, highlight=False, soft_wrap=True, style="bold")
    output.succeed(
        {
            "rounds": len(records),
            "version": records[-1].version,
            "model": model_digest(engine.model()),
            "epsilon": records[-1].epsilon,
            "accuracy": dict(sorted(accuracies.items())),
            "refused": sorted({f"{one.member}: {one.reason}" for record in records for one in record.refused}),
            "gate_refusals": sum(not record.verdict.passed for record in records),
            "paths": {
                "report": str(lab.root / "report.html"),
                "public": str(lab.root / "public"),
                "fingerprint": fingerprint(engine.plan.operator.public),
            },
            "verify": command,
        }
    )
