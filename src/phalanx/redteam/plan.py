"""Which cells a scenario has, and in which order they tell most.

Nobody attacking comes first, since damage is measured against it; then attack by attack, where nothing defends, which
shows whether it is a test at all, and against the user's own configuration; then single rules. One seed of all comes
before a second.
"""

from __future__ import annotations

from collections.abc import Mapping

from phalanx.attacks.training_attack import TrainingAttack
from phalanx.redteam.defences import CENTRAL, NONE, RULES, TRUSTING_GATE, YOURS
from phalanx.redteam.outcome import QUIET, Cell
from phalanx.redteam.probe import Probe
from phalanx.redteam.scenario import Played

_RANK = {NONE: 0, TRUSTING_GATE: 0, CENTRAL: 0, YOURS: 1}


def cells_of(played: Played, training: Mapping[str, TrainingAttack], probes: Mapping[str, Probe]) -> tuple[Cell, ...]:
    """Every cell, the most telling first."""
    cells = {
        cell
        for hostile in played.hostile
        for split in played.splits
        for seed in played.seeds
        for cell in _cells(played, training, hostile, split, seed)
    }
    cells |= {
        Cell(name, setting, 0, split, seed)
        for name, probe in probes.items()
        if name in played.attacks
        for setting in probe.settings
        if setting in (CENTRAL, NONE) or setting in played.defences
        for split in played.splits
        for seed in played.seeds
    }
    return tuple(sorted(cells, key=lambda cell: (_turn(cell, played), cell)))


def _cells(played: Played, training: Mapping[str, TrainingAttack], hostile: int, split: str, seed: int) -> list[Cell]:
    cells = []
    attacks = [name for name in played.attacks if name in training]
    for name in attacks:
        for defence in {*played.defences, training[name].undefended}:
            cells.append(Cell(name, defence, hostile, split, seed))
    for defence in {*played.defences, *(training[name].undefended for name in attacks)}:
        cells.append(quiet(Cell(QUIET, defence, hostile, split, seed)))
    return cells


def quiet(cell: Cell) -> Cell:
    """The cell in which nobody attacks the same defence. Only single rules are told how many members are hostile."""
    return Cell(QUIET, cell.defence, cell.hostile if cell.defence in RULES else 0, cell.split, cell.seed)


def _turn(cell: Cell, played: Played) -> tuple[int, bool, bool, int, int]:
    """Seed by seed; undefended and yours before the rules; nobody attacking first; in the order of the catalogue."""
    rank = _RANK.get(cell.defence, len(_RANK))
    place = played.attacks.index(cell.attack) if cell.attack in played.attacks else 0
    return played.seeds.index(cell.seed), rank == len(_RANK), cell.attack != QUIET, place, rank
