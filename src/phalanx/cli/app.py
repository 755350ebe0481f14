"""`phalanx`: its commands and their options. What each does is in a file of its own."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from phalanx import __version__
from phalanx.cli.output import Format, Output, run

app = typer.Typer(
    help="Train together, stay safe: federated learning that is admitted, sealed, screened, robust, private, gated, "
    "logged and signed.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
audit = typer.Typer(help="Verify a run offline, trusting nobody.", no_args_is_help=True)
app.add_typer(audit, name="audit")


class Severity(StrEnum):
    """How bad a finding is."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


FormatOption = Annotated[
    Format, typer.Option("--format", help="text for people on stderr; json: one envelope on stdout")
]


def _version(value: bool) -> None:
    if value:
        typer.echo(f"phalanx {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Exit codes: 0 ok · 1 gate failed or not established · 2 configuration · 3 not admitted · 4 no quorum ·
    5 integrity · 6 privacy budget or policy · 7 conflict · 8 not available · 70 bug · 130, 143 interrupted."""


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the report, the run and its log.")] = Path("phalanx-demo"),
    seed: Annotated[int, typer.Option(min=0, help="Chooses the split of the data over the organisations.")] = 0,
    alpha: Annotated[
        float | None, typer.Option(min=0.01, help="Uneven data: Dirichlet shares of each class; small is very uneven.")
    ] = None,
    output_format: FormatOption = Format.TEXT,
) -> None:
    """Ten organisations train one model on real data while three of them attack it.

    Example: phalanx demo --out phalanx-demo
    """

    def command(output: Output) -> None:
        from phalanx.cli.demo import show_demo  # only this command needs torch and scikit-learn

        show_demo(out, seed, alpha, output)

    run(output_format, command)


@app.command("run")
def run_(
    config: Annotated[Path, typer.Argument(help="A phalanx.toml; see examples/.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the run; by default NAME-run beside the file.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in that folder.")] = False,
    jsonl: Annotated[
        Path | None, typer.Option("--jsonl", help="Append each event of the run to this file, a JSON object a line.")
    ] = None,
    output_format: FormatOption = Format.TEXT,
) -> None:
    """Train by a configuration and your own Python function, with every control that the file asks for.

    Example: phalanx run examples/digits/phalanx.toml
    """

    def command(output: Output) -> None:
        from phalanx.cli.train import train

        train(config, out, resume, jsonl, output)

    run(output_format, command)


@app.command("redteam")
def redteam_(
    config: Annotated[Path | None, typer.Argument(help="A phalanx.toml; see examples/.")] = None,
    scenario: Annotated[
        Path | None, typer.Option(help="What to play (TOML); by default redteam.toml beside the configuration, if any.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; by default NAME-redteam beside the configuration.")] = None,
    attacks: Annotated[
        str | None, typer.Option(help="Names, or default, all, training, privacy, wire; joined by commas.")
    ] = None,
    defences: Annotated[str | None, typer.Option(help="Names, or default, all; joined by commas.")] = None,
    hostile: Annotated[str | None, typer.Option(help="Hostile members, as numbers joined by commas.")] = None,
    splits: Annotated[
        str | None, typer.Option(help="natural, iid, dirichlet:ALPHA, gamma:SHARE; joined by commas.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="How many seeds, from 0.")] = None,
    module: Annotated[
        list[Path] | None, typer.Option("--module", help="A Python file with attacks of yours; may be repeated.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Time, such as 10m or 90s: the most telling cells that fit into it.")
    ] = None,
    fail_on: Annotated[
        Severity | None, typer.Option("--fail-on", help="Exit 1 if a finding is this severe, or more.")
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="An earlier redteam.json: what is new, worse or better; exit 1 if worse.")
    ] = None,
    accept: Annotated[str | None, typer.Option(help="The id of a finding that you live with.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why; belongs to --accept.")] = None,
    until: Annotated[str | None, typer.Option(help="Until which day, as 2027-06-30; belongs to --accept.")] = None,
    names: Annotated[bool, typer.Option("--list", help="Print every attack and defence, and exit.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of redteam.json, and exit.")] = False,
    output_format: FormatOption = Format.TEXT,
) -> None:
    """Attack your own model, data and configuration with everything that the literature has, before somebody else does.

    Goes on where it was stopped; nothing is played twice.

    Example: phalanx redteam examples/digits/phalanx.toml --fail-on high
    """

    def command(output: Output) -> None:
        from phalanx.cli import redteam

        if schema:
            redteam.show_schema()
            return
        if names:
            redteam.show_names(tuple(module or ()), output)
            return
        asked = redteam.Asked(
            config=config,
            scenario=scenario,
            out=out,
            attacks=attacks,
            defences=defences,
            hostile=hostile,
            splits=splits,
            seeds=seeds,
            modules=tuple(module or ()),
            budget=budget,
            fail_on=None if fail_on is None else fail_on.value,
            baseline=baseline,
            accept=accept,
            reason=reason,
            until=until,
        )
        redteam.show_redteam(asked, output)

    run(output_format, command)


@app.command("survey")
def survey_(
    config: Annotated[Path, typer.Argument(help="A phalanx.toml that names a schema under [data].")],
    out: Annotated[
        Path | None, typer.Option(help="The file to write; by default statistics.json beside the configuration.")
    ] = None,
    buckets: Annotated[int, typer.Option(min=0, help="Slots for words that the schema does not list.")] = 0,
    min_members: Annotated[int, typer.Option(min=1, help="Leave out what fewer members than this hold.")] = 2,
    epsilon: Annotated[
        float | None, typer.Option(help="What the survey may cost; by default a tenth of the budget.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a survey that was interrupted.")] = False,
    output_format: FormatOption = Format.TEXT,
) -> None:
    """Compute the federation's statistics, by one round under the same controls, to scale every member's inputs alike.

    Example: phalanx survey wards/phalanx.toml
    """

    def command(output: Output) -> None:
        from phalanx.cli.survey import show_survey

        show_survey(config, out, output, buckets=buckets, min_members=min_members, epsilon=epsilon, resume=resume)

    run(output_format, command)


@audit.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="A run's folder, or its public folder alone.")],
    trust: Annotated[
        str | None, typer.Option(help="The operator's fingerprint, as it reached you over another channel.")
    ] = None,
    openings: Annotated[
        Path | None,
        typer.Option(help="state/openings.jsonl of a run with secret cohorts, as the operator handed it to you."),
    ] = None,
    output_format: FormatOption = Format.TEXT,
) -> None:
    """Check log, privacy, decisions and models of a run. Works offline and needs no server.

    Exit 0: all fits and the operator is the trusted one. Exit 1: all fits, but without --trust anybody could have made
    it. Exit 5: something does not fit; the message names it.

    Example: phalanx audit verify phalanx-demo/run --trust sha256:…
    """

    def command(output: Output) -> None:
        from phalanx.cli.verify import show_verification

        show_verification(folder, trust, openings, output)

    run(output_format, command)


def main() -> None:
    """The `phalanx` command."""
    app()
