"""What the red team measures: a cell is one attack on one defence, an outcome is what came of it.

All of it is plain data: it is kept on disk as one line of JSON a cell, and reports are made of it and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

QUIET = "none"  # the attack of a cell in which nobody attacks, and the defence of one in which nothing defends


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """Attack × defence × `hostile` members × split of the data × seed."""

    attack: str
    defence: str
    hostile: int
    split: str
    seed: int

    def __str__(self) -> str:
        return f"{self.attack}/{self.defence}/{self.hostile}/{self.split}/{self.seed}"


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """An input and what the attackers made of it. `shape` is (height, width) of an image, (n,) of a row.

    Values are scaled to 0 … 1 for an image. `words`: how near it is. Of a text, `original` and `rebuilt` are token ids.
    """

    original: tuple[float, ...]
    rebuilt: tuple[float, ...]
    shape: tuple[int, ...]
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one cell measured.

    `measures` are figures by name, `counts` shares by name as (successes, trials), for intervals. `series` are figures
    by round, from round 1, None where there was no finite one. `right` has a bit for each of the lab's test inputs,
    hexadecimal, 1 where the model that was released in the end is right: damage is measured on the same inputs.
    `ended` says why a run ended early, `unavailable` why there is no result: then it has no measures.
    """

    cell: Cell
    measures: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    series: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    right: str = ""
    rebuilt: tuple[Rebuilt, ...] = ()
    notes: tuple[str, ...] = ()
    ended: str = ""
    unavailable: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain values, as `outcome_of` reads them."""
        return asdict(self)


def outcome_of(held: Mapping[str, Any]) -> Outcome:
    """The outcome that `as_json` wrote, after a round trip through JSON. Raises ValueError, KeyError or TypeError."""
    counts = {str(name): (int(pair[0]), int(pair[1])) for name, pair in held["counts"].items()}
    if any(not 0 <= k <= n for k, n in counts.values()):
        raise ValueError("counts that are no share")
    return Outcome(
        cell=Cell(**held["cell"]),
        measures={str(name): float(value) for name, value in held["measures"].items()},
        counts=counts,
        series={name: tuple(values) for name, values in held["series"].items()},
        right=held["right"],
        rebuilt=tuple(
            Rebuilt(tuple(one["original"]), tuple(one["rebuilt"]), tuple(one["shape"]), one["words"])
            for one in held["rebuilt"]
        ),
        notes=tuple(held["notes"]),
        ended=held["ended"],
        unavailable=held["unavailable"],
    )
