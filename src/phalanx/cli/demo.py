"""`phalanx demo`: the live view, the verdict table, and where everything lies."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from phalanx.cli.output import Output, program
from phalanx.errors import NotAvailable
from phalanx.redteam.demo.result import DemoResult, RoundResult, RunResult
from phalanx.store import write_file

try:
    from phalanx.redteam.demo.report import render
    from phalanx.redteam.demo.scenario import EPSILON, ROUNDS, RUNS, Draw
    from phalanx.redteam.demo.whole import percent, run_demo
except ModuleNotFoundError as error:
    raise NotAvailable(
        f"not available: the demo needs {error.name}", hint="pip install 'phalanx[demo]', with the CPU build of torch"
    ) from None


def show_demo(out: Path, seed: int, alpha: float | None, output: Output) -> None:
    """Runs the demo, shows it as it goes, and writes report.html and report.json."""

    output.say(
        "[bold]Phalanx[/]  ten organisations train one model on real handwritten digits; three of them attack it"
    )
    output.say()
    view = _View(output)
    with view.live:
        result = run_demo(out, Draw(seed, alpha), program(), view.progress)
    data = as_json(result, out)
    write_file(out / "report.html", render(result))
    write_file(out / "report.json", _json(data))
    _conclude(result, out, output)
    output.succeed(data)


def as_json(result: DemoResult, out: Path) -> dict[str, Any]:
    """The envelope's data."""
    return {
        "runs": [_run(run) for run in result.runs.values()],
        "threats": [
            {"threat": t.threat, "undefended": t.undefended, "defended": t.defended, "stopped_by": t.stopped_by,
             "held": t.held, "run": t.run}
            for t in result.threats
        ],
        "paths": {"report": str(out / "report.html"), "public": result.public, "fingerprint": result.fingerprint},
        "verify": result.verify_command,
        "seed": result.seed,
        "seconds": result.seconds,
    }  # fmt: skip


def _run(run: RunResult) -> dict[str, Any]:
    return {
        "name": run.name,
        "accuracy": run.accuracy,
        "backdoor_success": run.backdoor_success,
        "epsilon": run.epsilon,
        "delta": run.delta,
        "unit": run.unit,
        "finite": run.finite,
        "refused": run.refused,
        "gate_refusals": run.gate_refusals,
        "seconds": run.seconds,
    }


def _json(data: dict[str, Any]) -> bytes:
    return (json.dumps(data, indent=1, allow_nan=False) + "\n").encode()


# ------------------------------------------------------------------------------------------------------------ live view


class _View:
    """A table that fills while the runs go on; plain lines where there is no terminal."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._last: dict[str, RoundResult] = {}
        self._news: list[str] = []
        self._seen: set[tuple[str, str, str]] = set()
        self.live = Live(self._render(), console=output.people, refresh_per_second=8, transient=True)
        self._terminal = output.people.is_terminal

    def progress(self, name: str, one: RoundResult) -> None:
        """Takes one closed round in."""
        self._last[name] = one
        for member, reason, _ in one.refused:
            if (name, member, reason) not in self._seen:
                self._seen.add((name, member, reason))
                self._news.append(f"{name}, round {one.round}: {member} refused, {reason}")
        if not one.gate_passed:
            self._news.append(f"{name}, round {one.round}: candidate refused by the gate ({one.gate_test})")
        if self._terminal:
            self.live.update(self._render())
        elif one.round == ROUNDS:
            self._output.say(f"{name}: {_round_words(one)}")

    def _render(self) -> Group:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column, justify in (("run", "left"), ("round", "right"), ("", "left"), ("accuracy", "right"),
                                ("backdoor", "right"), ("ε", "right"), ("refused", "left")):  # fmt: skip
            table.add_column(column, justify=justify)  # type: ignore[arg-type]
        for run in RUNS:
            table.add_row(*_cells(run.name, self._last.get(run.name)))
        news = Text("\n".join(self._news[-3:]), style="yellow")
        return Group(table, Text(), news)


def _cells(name: str, one: RoundResult | None) -> Iterable[str | Text]:
    if one is None:
        return (Text(name, style="dim"), "", "", "", "", "", "")
    bar = Text("━" * math.ceil(20 * one.round / ROUNDS), style="green" if one.round == ROUNDS else "cyan")
    bar.append("━" * (20 - len(bar)), style="dim")
    if one.accuracy is None or one.backdoor_success is None:
        accuracy, backdoor = Text("not finite", style="bold red"), Text("")
    else:
        accuracy = Text(percent(one.accuracy), style="red" if one.accuracy < 0.5 else "")
        backdoor = Text(percent(one.backdoor_success), style="bold red" if one.backdoor_success > 0.05 else "")
    spent = "" if one.epsilon is None else f"{one.epsilon:.2f}/{EPSILON:g}"
    refused = ", ".join(f"{member} {reason}" for member, reason, _ in one.refused)
    return (name, f"{one.round}/{ROUNDS}", bar, accuracy, backdoor, spent, refused)


def _round_words(one: RoundResult) -> str:
    if one.accuracy is None or one.backdoor_success is None:
        return f"round {one.round}, the model is not finite"
    privacy = "" if one.epsilon is None else f", ε {one.epsilon:.2f} of {EPSILON:g}"
    backdoor = percent(one.backdoor_success)
    return f"round {one.round}, accuracy {percent(one.accuracy)}, backdoor {backdoor}{privacy}"


# -------------------------------------------------------------------------------------------------------------- the end


def _conclude(result: DemoResult, out: Path, output: Output) -> None:
    table = Table(title="What stopped what", title_justify="left", title_style="bold", header_style="dim", expand=False)
    for column in ("threat", "plain federated learning", "Phalanx", "stopped by", ""):
        table.add_column(column, overflow="fold")
    for threat in result.threats:
        held = Text("held", style="green") if threat.held else Text("NOT HELD", style="bold red")
        table.add_row(threat.threat, threat.undefended, threat.defended, threat.stopped_by, held)
    output.people.print(table)
    prices = Table(title="The price, in accuracy", title_justify="left", title_style="bold", header_style="dim")
    for column, justify in (("", "left"), ("without", "right"), ("with", "right"), ("points", "right"), ("", "left")):
        prices.add_column(column, justify=justify)  # type: ignore[arg-type]
    for price in result.prices:
        points = f"{100 * (price.with_it - price.without):+.1f}"
        prices.add_row(price.control, percent(price.without), percent(price.with_it), points, price.remark)
    output.people.print(prices)
    protected = result.runs["private-attacked"]
    spent = "none" if protected.epsilon is None else f"{protected.epsilon:.3f} at δ = {protected.delta:g}"
    output.say(f"privacy  ε = {spent}, unit: one training example of an honest member")
    output.say(f"report   {out / 'report.html'}")
    output.say(f"model    {result.public}/releases, signed; log {result.public}/log.jsonl")
    output.say(f"took     {result.seconds:.1f} s")
    output.say()
    output.say("Verify it yourself:")
    output.people.print(f"  {result.verify_command}", markup=False, highlight=False, soft_wrap=True, style="bold")
