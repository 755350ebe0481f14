"""Which member holds how many examples of which class, to be looked at before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from phalanx.federation.markup import Cell, page_table, paragraph, text_table
from phalanx.types import MemberId


@dataclass(frozen=True, slots=True, repr=False)
class Split:
    """`by_class`: each member's examples of each class, training and held-out together; `held_out`: how many vote.

    `warnings` are sentences about the inputs.
    """

    by_class: Mapping[MemberId, tuple[int, ...]]
    held_out: Mapping[MemberId, int]
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join([text_table(self._head(), self._rows()), *self.warnings])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return "".join([page_table(self._head(), self._rows()), *map(paragraph, self.warnings)])

    def _head(self) -> list[str]:
        classes = max(len(counts) for counts in self.by_class.values())
        return ["member", "examples", "held out", *(f"class {label}" for label in range(classes))]

    def _rows(self) -> list[list[Cell]]:
        return [
            [member, str(sum(counts)), str(self.held_out.get(member, 0)), *map(str, counts)]
            for member, counts in self.by_class.items()
        ]
