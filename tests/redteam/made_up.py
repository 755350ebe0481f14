"""Outcomes made by hand, for verdicts and tables: a federation of ten test inputs a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from phalanx.redteam.judging import Bench
from phalanx.redteam.known import known
from phalanx.redteam.measuring import packed
from phalanx.redteam.outcome import QUIET, Cell, Outcome
from phalanx.redteam.plan import quiet

CLASSES, EACH = 10, 40
TRUTH = np.repeat(np.arange(CLASSES), EACH)
SEEDS = (0, 1, 2)


def outcome(
    attack: str,
    defence: str,
    wrong: Sequence[int] = (),
    measures: Mapping[str, float] | None = None,
    *,
    seed: int = 0,
    hostile: int = 2,
) -> Outcome:
    """One in which the inputs `wrong` are misread. `backdoor` is the share of 300 triggered inputs."""
    cell = Cell(attack, defence, hostile, "natural", seed)
    cell = quiet(cell) if attack == QUIET else cell
    right = np.ones(len(TRUTH), np.bool_)
    right[list(wrong)] = False
    counts = {"accuracy": (int(right.sum()), len(right))}
    counts |= {f"class:{c}": (int(right[c == TRUTH].sum()), EACH) for c in range(CLASSES)}
    own = {"accuracy": float(right.mean()), "best": float(right.mean()), "blocked": 0.0, "planned": 10.0}
    if attack == QUIET:
        own |= {"base:patch": 0.1}
    else:
        own |= {"source": 3.0, "target": 5.0, "active_rounds": 10.0, "rode": 1.0}
    given = dict(measures or {})
    if "backdoor" in given:
        counts["backdoor"] = (round(300 * given["backdoor"]), 300)
    return Outcome(cell=cell, measures=own | given, counts=counts, right=packed(right))


def bench(outcomes: Sequence[Outcome], planned: Sequence[Cell] = ()) -> Bench:
    """A bench over these outcomes, in three seeds, and over cells that were planned and not played."""
    by_cell: Mapping[Cell, Outcome] = {one.cell: one for one in outcomes}
    truth = {("natural", seed): TRUTH.tolist() for seed in SEEDS}
    cells = tuple(dict.fromkeys([*by_cell, *planned]))
    return Bench(known(()), by_cell, cells, SEEDS, truth, "phalanx redteam phalanx.toml")
