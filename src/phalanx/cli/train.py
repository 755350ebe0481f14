"""`phalanx run`: a user's configuration and a user's Python functions, every member in this process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.live import Live
from rich.table import Table

from phalanx.canonical import model_digest
from phalanx.cli.output import Output, printable, program
from phalanx.config import Settings
from phalanx.federation import Callback, Federation, Result, Started, report_page, verify_command
from phalanx.federation.json_lines import JsonLines
from phalanx.federation.module import line_of
from phalanx.federation.words import insecure
from phalanx.learning import flatten, layout_of
from phalanx.privacy import COST_AT_SMALL_N, FEW_MEMBERS
from phalanx.round.coordinator import RoundRecord
from phalanx.store import write_file
from phalanx.types import MemberPrivacy


def train(config: Path, out: Path | None, resume: bool, jsonl: Path | None, output: Output) -> None:
    """Runs the configuration, or goes on with it, and says where the results lie."""
    federation = Federation.from_config(config)
    root = out or config.with_name(f"{config.stem}-run")
    _banner(federation.settings, output)
    with Live(console=output.people, refresh_per_second=8, transient=True) as live:
        progress = _Progress(output, live, federation.settings.run.rounds)
        others = [] if jsonl is None else [JsonLines(jsonl)]
        result = federation.run(root, resume=resume, callbacks=(progress, _WriteReport(output, root), *others))
    _conclude(result, root, output)


@dataclass(frozen=True, slots=True)
class _Progress(Callback):
    """What people see while the run goes on."""

    output: Output
    live: Live
    total: int

    def started(self, run: Started) -> None:
        for line in (*run.travels, *run.how_trained):
            self.output.people.print(f"  {printable(line)}", markup=False, highlight=False, style="dim")
        for line in run.warnings:
            self.output.people.print(
                f"WARNING: {printable(line)}", markup=False, highlight=False, soft_wrap=True, style="bold yellow"
            )

    def round_closed(self, record: RoundRecord) -> None:
        if self.output.people.is_terminal:
            self.live.update(_table(record, self.total))
        else:
            self.output.say(_line(record, self.total))

    def comparing(self) -> None:
        self.live.update("")
        self.output.say("training the comparisons (alone, without controls, pooled)")

    def ended(self, result: Result) -> None:
        self.live.update("")
        _tell_errors(result, self.output)


@dataclass(frozen=True, slots=True)
class _WriteReport(Callback):
    """report.html in the run's folder, also of a run that was stopped."""

    output: Output
    root: Path

    def ended(self, result: Result) -> None:
        write_file(self.root / "report.html", report_page(result, program()))
        self.output.say(f"report: {self.root / 'report.html'}")


def _tell_errors(result: Result, output: Output) -> None:
    """What kept members from answering, once for each text, with the line of the user's file."""
    members: dict[str, list[str]] = {}
    for member, error in sorted(result.member_errors.items()):
        members.setdefault(f"{type(error).__name__}{line_of(error)}: {error}", []).append(member)
    for text, names in members.items():
        line = printable(f"{', '.join(names)}: {text}")
        output.people.print(line, markup=False, highlight=False, soft_wrap=True, style="yellow")


def _banner(settings: Settings, output: Output) -> None:
    """What is in force, and what is not."""
    output.say("[bold yellow]lab profile[/]: all members run in this process, and the coordinator sees their updates")
    for line in insecure(settings):
        output.say(f"[bold red]NOT SECURE[/]: {line}")
    privacy = settings.mechanism
    if isinstance(privacy, MemberPrivacy) and len(settings.members) < FEW_MEMBERS:
        output.say(f"[bold yellow]few members[/]: {COST_AT_SMALL_N}")
    words = (
        "none"
        if privacy is None
        else f"ε ≤ {privacy.epsilon:g} at δ = {privacy.delta:g}, σ = {privacy.noise_multiplier:g}"
    )
    output.say(f"{len(settings.members)} members, {settings.run.rounds} rounds, {settings.chain}, privacy: {words}")


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


def _conclude(result: Result, root: Path, output: Output) -> None:
    if result.accuracy:
        mean = float(np.mean(list(result.accuracy.values())))
        output.say(f"accuracy on the members' held-out examples: {mean:.1%} on average, worst site first below")
    output.people.print(result.table(), markup=False, highlight=False, soft_wrap=True)
    output.say("Verify it:")
    command = verify_command(result, program())
    output.people.print(f"  {command}", markup=False, highlight=False, soft_wrap=True, style="bold")
    base = result.baselines
    output.succeed(
        {
            "rounds": len(result.records),
            "version": result.version,
            "model": model_digest(flatten(dict(result.model), layout_of(result.model))),
            "epsilon": result.epsilon,
            "accuracy": dict(sorted(result.accuracy.items())),
            "baselines": None
            if base is None
            else {"alone": dict(base.alone), "plain": dict(base.plain), "pooled": dict(base.pooled)},
            "median_gain": result.median_gain(),
            "refused": sorted({f"{one.member}: {one.reason}" for record in result.records for one in record.refused}),
            "gate_refusals": sum(not record.verdict.passed for record in result.records),
            "paths": {
                "report": str(root / "report.html"),
                "public": str(root / "public"),
                "fingerprint": result.fingerprint,
            },
            "verify": command,
        }
    )
