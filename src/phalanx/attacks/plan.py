"""What a search gives before the row is made, a plan, and what the attackers want of the rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from phalanx.attacks.response import Response, Target
from phalanx.types import F64

ROUNDING = 1e-9  # far above that of products in float64, far below what matters

# deviation: move the aggregate as far as possible from the honest mean. progress: turn it against the honest mean.
Objective = Literal["deviation", "progress"]

# What the attackers want of each response, (t,): the more the better.
Harm = Callable[[Response], F64]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """The coefficients (m,) over the basis of the row that all colluders send.

    `direction` names where it goes, for an attack that knows several; `parameters` are the paper's, as found.
    """

    attack: str
    coefficients: F64 = field(repr=False)
    parameters: Mapping[str, float] = field(default_factory=dict)
    direction: str = ""


# An attack: all the plans worth comparing that it has for this rule among these rows; none if it does not apply.
Attacker = Callable[[Target, Harm], Iterator[Plan]]


def harm_of(objective: Objective) -> Harm:
    """The harm that the objective counts. Raises ValueError for an unknown one."""
    match objective:
        case "deviation":
            return lambda response: response.deviation
        case "progress":
            return lambda response: -response.progress
        case _:
            raise ValueError(f"the objective is 'deviation' or 'progress', got {objective!r}")


def first_of_most(harms: F64) -> int:
    """The first of those that do as much harm as any, within rounding: where a rule clips, many do."""
    most = float(harms.max())
    return int(np.flatnonzero(harms >= most - ROUNDING * abs(most))[0])
