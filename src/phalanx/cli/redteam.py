"""`phalanx redteam`: plays the matrix, shows how it goes, and writes the reports."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from phalanx import __version__
from phalanx.cli.output import Output, printable
from phalanx.errors import ConfigError, NotAvailable
from phalanx.federation import Federation
from phalanx.redteam.outcome import Cell
from phalanx.redteam.result import Finding, Result, Severity
from phalanx.redteam.scenario import FILE, Accept, Scenario, read_scenario
from phalanx.store import write_file

try:
    from phalanx.redteam.campaign import Campaign, campaign, run_campaign
    from phalanx.redteam.defences import NAMES, NONE, RULES, TRUSTING_GATE
    from phalanx.redteam.known import known
    from phalanx.redteam.matrix import Progress as Standing
    from phalanx.redteam.report.atlas import as_atlas_layer
    from phalanx.redteam.report.gate import Waiver, compared, exit_worthy, gone, regressed, waived
    from phalanx.redteam.report.json_file import as_json, findings_of, schema
    from phalanx.redteam.report.page import render
    from phalanx.redteam.report.sarif import as_sarif
except ModuleNotFoundError as error:
    raise NotAvailable(f"not available: the red team needs {error.name}", hint="pip install 'phalanx[torch]'") from None

_DECIDED = ("held", "not held", "unclear", "invalid test")
_UNITS = {"s": 1, "m": 60, "h": 3600}
_LARGEST_BASELINE = (64 << 20) + 1  # bytes: no more is read than is refused for its size
_SHOWN = 8  # findings on the terminal; the report has them all
_EVERY = 0.1  # of the cells between two plain lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The command's options as they were typed."""

    config: Path | None
    scenario: Path | None
    out: Path | None
    attacks: str | None
    defences: str | None
    hostile: str | None
    splits: str | None
    seeds: int | None
    modules: tuple[Path, ...]
    budget: str | None
    fail_on: Severity | None
    baseline: Path | None
    accept: str | None
    reason: str | None
    until: str | None


def show_schema() -> None:
    """Prints the JSON Schema of redteam.json."""
    sys.stdout.write(json.dumps(schema(), indent=1) + "\n")


def show_names(modules: tuple[Path, ...], output: Output) -> None:
    """Prints every attack and every defence."""
    every = known(modules)
    table = Table("attack", "threat", "knows", "what it does", title="Attacks", title_justify="left", expand=True)
    default = set(every.sets["default"])
    for name in every.names:
        card = every.card(name)
        shown = Text(name, style="" if name in default else "dim")
        table.add_row(shown, card.threat, card.knowledge, Text(printable(card.does)))
    output.people.print(table)
    output.say("Names in full strength are of the default matrix; --attacks all plays every one.")
    output.say(f"Defences: {', '.join(NAMES)}, and those of your scenario.")
    output.succeed({"attacks": list(every.names), "defences": list(NAMES)})


def show_redteam(asked: Asked, output: Output) -> None:
    """Plays what was asked, writes the reports, and ends with exit code 1 where --fail-on or --baseline says so."""
    if asked.config is None:
        raise ConfigError("name a configuration", hint="phalanx redteam examples/digits/phalanx.toml")
    budget_s = None if asked.budget is None else _seconds(asked.budget)
    scenario, beside = _scenario(asked, asked.config)
    waivers = _waivers(asked, scenario)
    waived((), waivers, datetime.datetime.now(datetime.UTC).date())  # two of one finding are refused before the play
    earlier = None if asked.baseline is None else findings_of(_read(asked.baseline))
    federation = Federation.from_config(asked.config)
    modules = (*(beside / name for name in scenario.modules), *asked.modules)
    one = campaign(federation, known(modules), scenario, range(scenario.seeds), _command(asked))
    out = asked.out or asked.config.with_name(f"{asked.config.stem}-redteam")
    _banner(one, out, output)
    started = time.time()
    with _Live(output, len(one.cells())) as live:
        result, seconds = run_campaign(one, out, budget_s, live.show)
    if earlier is not None:
        notes = (*result.notes, *gone(result.findings, earlier))
        result = replace(result, findings=compared(result.findings, earlier), notes=notes)
    findings, said = waived(result.findings, waivers, datetime.datetime.now(datetime.UTC).date())
    result = replace(result, findings=findings, waivers=said)
    paths = _write(result, out)
    write_file(out / "run.json", _run_json(asked, seconds, started))
    _conclude(result, paths, output)
    data = _data(result, paths)
    why = []
    if exit_worthy(result, asked.fail_on):
        why.append(f"there are findings of severity {asked.fail_on} or worse")
    gating = asked.fail_on is not None or earlier is not None
    if gating and not _tested(result):
        why.append("nothing was tested against your configuration, which is not a pass")
    if gating and _broken(result):
        why.append("attacks raised errors, which is not a pass")
    if earlier is not None and (missed := _missed(result, earlier)):
        why.append(f"findings of the baseline were not tested again: {', '.join(missed)}")
    if earlier is not None and regressed(result):
        why.append("there are findings that are new or worse than in the baseline")
    if why:
        output.fail(1, "FindingsFailed", "; ".join(why), f"see {paths['html']}", data)
    output.succeed(data)


# --------------------------------------------------------------------------------------------------------- what to play


def _scenario(asked: Asked, config: Path) -> tuple[Scenario, Path]:
    """The scenario with the command line's say, and the folder that its modules are in."""
    path = asked.scenario or config.with_name(FILE)
    held = read_scenario(path) if asked.scenario or path.is_file() else Scenario()
    changes: dict[str, object] = {}
    for name in ("attacks", "defences", "splits"):
        if (text := getattr(asked, name)) is not None:
            changes[name] = tuple(_list(text))
    if asked.hostile is not None:
        changes |= {"hostile": _numbers(asked.hostile), "shares": None}
    if asked.seeds is not None:
        changes["seeds"] = asked.seeds
    return held.model_copy(update=changes), path.parent


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _numbers(text: str) -> tuple[int, ...]:
    try:
        found = tuple(int(part) for part in _list(text))
    except ValueError:
        found = ()
    if not found or min(found) < 1:
        raise ConfigError(f"--hostile is numbers from 1, joined by commas, got {text!r}")
    return found


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if not found:
        raise ConfigError(f"--budget is a time such as 10m, 90s or 1h, got {text!r}")
    return float(found[1]) * _UNITS[found[2] or "s"]


def _waivers(asked: Asked, scenario: Scenario) -> tuple[Waiver, ...]:
    accepted = list(scenario.accept)
    if asked.accept is not None:
        if asked.reason is None or asked.until is None:
            raise ConfigError("--accept needs --reason and --until", hint="a waiver without an end is a hole")
        try:
            day = datetime.date.fromisoformat(asked.until)
        except ValueError:
            raise ConfigError(f"--until is a day such as 2027-06-30, got {asked.until!r}") from None
        accepted.append(Accept(id=asked.accept, reason=asked.reason, until=day))
    elif asked.reason is not None or asked.until is not None:
        raise ConfigError("--reason and --until belong to --accept")
    return tuple(Waiver(one.id, one.reason, one.until) for one in accepted)


def _command(asked: Asked) -> str:
    scenario = f" --scenario {asked.scenario}" if asked.scenario else ""
    return f"phalanx redteam {asked.config}{scenario}" + "".join(f" --module {path}" for path in asked.modules)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST_BASELINE)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None


# -------------------------------------------------------------------------------------------------------- how it goes


def _banner(one: Campaign, out: Path, output: Output) -> None:
    played = one.played
    output.say(
        f"[bold]Phalanx[/]  {one.federation.settings.federation.name}: {len(played.attacks)} attacks × "
        f"{len(played.defences)} defences × {len(played.seeds)} seeds, "
        f"{' and '.join(map(str, played.hostile))} of {len(one.federation.settings.members)} members hostile"
    )
    output.say(escape(f"results are kept in {out}: stopped, it goes on from there"))
    output.say()


class _Live:
    """A bar on a terminal, a line now and then elsewhere."""

    def __init__(self, output: Output, cells: int) -> None:
        self._output, self._cells, self._said = output, cells, 0.0
        left = TextColumn("{task.fields[left]}")
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), left)
        self._bar = Progress(*columns, console=output.people, transient=True, disable=not output.people.is_terminal)
        self._task = self._bar.add_task("playing", total=cells, left="")

    def __enter__(self) -> _Live:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, standing: Standing) -> None:
        """One more cell."""
        what = "" if standing.played is None else printable(str(standing.played.cell))
        left = "" if standing.eta_s is None else f"about {_time(standing.eta_s)} left"
        self._bar.update(self._task, completed=standing.done, description=escape(f"{what[:58]:58}"), left=left)
        if not self._output.people.is_terminal and standing.done >= self._said + _EVERY * self._cells:
            self._said = float(standing.done)
            self._output.say(f"{standing.done} of {standing.cells} cells, {left}")


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


# -------------------------------------------------------------------------------------------------------- what came out


def _write(result: Result, out: Path) -> dict[str, Path]:
    files = {
        "html": ("redteam.html", render(result)),
        "json": ("redteam.json", as_json(result)),
        "sarif": ("redteam.sarif", as_sarif(result)),
        "atlas": ("atlas-layer.json", as_atlas_layer(result)),
    }
    for name, data in files.values():
        write_file(out / name, data)
    return {kind: out / name for kind, (name, _) in files.items()}


def _run_json(asked: Asked, seconds: Mapping[Cell, float], started: float) -> bytes:
    """Host and times: what the reports leave out, so that the same seeds give the same bytes."""
    data = {
        "program": f"Phalanx {__version__}",
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "started": datetime.datetime.fromtimestamp(started, datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(time.time() - started, 2),
        "cells": {str(cell): round(taken, 3) for cell, taken in sorted(seconds.items())},
    }
    return (json.dumps(data, indent=1) + "\n").encode()


def _conclude(result: Result, paths: Mapping[str, Path], output: Output) -> None:
    table = Table("severity", "attack", "what happened", title="What did not hold, worst first", expand=True)
    table.title_justify = "left"
    for one in result.findings[:_SHOWN]:
        marks = [one.severity, *(["unclear"] if one.judged.verdict == "unclear" else []), one.change]
        marks += ["waived"] if one.waived else []
        shown = f"{printable(one.happened)}\n{printable(one.id)}"
        table.add_row(Text("\n".join(filter(None, marks))), Text(printable(one.title)), Text(shown))
    if result.findings:
        output.people.print(table)
        if len(result.findings) > _SHOWN:
            output.say(f"{len(result.findings) - _SHOWN} more findings are in the report.")
    elif _tested(result):
        output.say("Nothing of what was tested got through the configuration.")
    else:
        output.say("[bold]Nothing was tested against your configuration[/]: see what was left out, and why.")
    for why in _broken(result):
        output.say(escape(f"not played  {printable(why)}"))
    for sentence in result.waivers.values():
        output.say(escape(f"waiver    {printable(sentence)}"))
    said: dict[str, list[str]] = {}
    for threat in result.threats:
        said.setdefault(threat.status, []).append(f"{threat.id} {threat.title}")
    for status, names in said.items():
        output.say(f"{status:17} {'; '.join(names)}")
    if result.left_out:
        output.say(f"left out  {len(result.left_out)} pairs of attack and defence, named in the report")
    output.say(escape(f"report    {paths['html']}"))
    output.say(escape(f"machines  {paths['json']}, {paths['sarif'].name}, {paths['atlas'].name}"))


def _broken(result: Result) -> list[str]:
    """Why attacks could not be played that raised an error: nobody asked for that."""
    whys = [one.why for one in result.judged if one.verdict == "not available" and " raised " in one.why]
    return list(dict.fromkeys(whys))


def _tested(result: Result) -> bool:
    """Whether any attack that works was played against a configuration of the user's."""
    theirs = {one.name for one in result.defences} - {NONE, TRUSTING_GATE, *RULES}
    return any(one.defence in theirs and one.verdict in _DECIDED[:3] for one in result.judged)


def _missed(result: Result, earlier: Sequence[Finding]) -> list[str]:
    """Findings of the baseline that this run has no verdict on."""
    said = {f"{j.defence}:{j.attack}:{j.hostile}:{j.split}" for j in result.judged if j.verdict in _DECIDED}
    return [one.id for one in earlier if one.id not in said]


def _data(result: Result, paths: Mapping[str, Path]) -> dict[str, object]:
    return {
        "findings": [
            {"id": f.id, "severity": f.severity, "happened": f.happened, "change": f.change, "waived": f.waived}
            for f in result.findings
        ],
        "threats": {threat.id: threat.status for threat in result.threats},
        "paths": {kind: str(path) for kind, path in paths.items()},
    }
