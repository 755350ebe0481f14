"""`phalanx survey`: the federation's statistics, shown and written down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from phalanx.cli.output import Output, printable
from phalanx.federation.survey import FILE, Survey, survey
from phalanx.learning.schema import Column

_SHOWN = 40  # columns; the file has them all


def show_survey(
    config: Path,
    out: Path | None,
    output: Output,
    *,
    buckets: int,
    min_members: int,
    epsilon: float | None,
    resume: bool,
) -> None:
    """Runs the survey, writes its file, and says what to put into the configuration."""
    found = survey(config, buckets=buckets, min_members=min_members, epsilon=epsilon, resume=resume)
    file = config.with_name(FILE) if out is None else out
    found.write(file)
    output.people.print(_table(found))
    for line in _lines(found, file):
        output.people.print(printable(line), markup=False, highlight=False, soft_wrap=True)
    for line in _advice(found, config, file):
        output.people.print(line, markup=False, highlight=False, soft_wrap=True)
    output.succeed(_data(found, file))


def _rows(found: Survey) -> list[tuple[Column, float, float, float]]:
    """Each number column with its mean, its deviation, and the share of examples that lack it."""
    numbers = [column for column in found.schema.columns if column.kind == "number"]
    of = found.statistics
    missing = [1 - share for share in of.present]
    return list(zip(numbers, of.mean, of.std, missing, strict=True))


def _table(found: Survey) -> Table:
    rows = _rows(found)
    members = f"statistics of {found.statistics.members} members"
    left_out = f", the first {_SHOWN} of {len(rows)} columns" if len(rows) > _SHOWN else ""
    table = Table(box=None, header_style="dim", title=f"{members}{left_out}", title_justify="left")
    for name in ("column", "unit", "mean", "deviation", "missing"):
        table.add_column(name, justify="left" if name in ("column", "unit") else "right")
    for column, mean, std, missing in rows[:_SHOWN]:
        table.add_row(
            Text(printable(column.name)), Text(printable(column.unit)), f"{mean:.4g}", f"{std:.4g}", f"{missing:.1%}"
        )
    return table


def _lines(found: Survey, file: Path) -> list[str]:
    of = found.statistics
    lines = [str(one) for one in found.odd]
    lines += [f"constant: {column.name} is the same everywhere" for column, _, std, _ in _rows(found) if std == 0]
    if of.request.slots:
        lines.append(f"words: {len(of.slots)} of {of.request.slots} slots kept, {found.suppressed} words suppressed")
    if of.epsilon is not None:
        lines.append(f"privacy: the survey cost ε = {of.epsilon:.3f}, which counts for every run on the same examples")
    return [*lines, *found.notes, f"written: {file}"]


def _advice(found: Survey, config: Path, file: Path) -> list[str]:
    try:
        name = file.resolve().relative_to(config.resolve().parent).as_posix()
    except ValueError:
        name = file.resolve().as_posix()
    lines = [f'In {config.name}, under [data], add: statistics = "{name}"']
    if found.statistics.epsilon is None:
        return lines
    if found.noise_multiplier is None:
        return [*lines, "Nothing is left of ε: under [privacy], raise epsilon before the first run"]
    multiplier = f"noise_multiplier = {found.noise_multiplier:g}"
    return [*lines, f"Under [privacy], set: {multiplier} (so all rounds fit into what is left of ε)"]


def _data(found: Survey, file: Path) -> dict[str, Any]:
    of = found.statistics
    return {
        "statistics": str(file),
        "columns": [
            {"name": column.name, "unit": column.unit, "mean": mean, "deviation": std, "missing": missing}
            for column, mean, std, missing in _rows(found)
        ],
        "members": of.members,
        "odd": [str(one) for one in found.odd],
        "words": {"slots": of.request.slots, "kept": len(of.slots), "suppressed": found.suppressed},
        "epsilon": of.epsilon,
        "noise_multiplier": found.noise_multiplier,
        "public": str(found.public),
        "notes": list(found.notes),
    }
