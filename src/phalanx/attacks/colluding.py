"""Attacks by f colluders who see the honest rows of a round and know the rule: what to send, and what it does.

All colluders send the same row. The searches are in Gram space (`basis`, `response`); a row is made when it is found.

| attack           | the row                                                   | found by                       |
|------------------|-----------------------------------------------------------|--------------------------------|
| `sign-flip`      | -μ                                                        |                                |
| `ipm`            | -εμ                                                       | best response: ε               |
| `alie`           | μ + zσ                                                    | best response: z               |
| `alie-z-max`     | μ ± zσ                                                    | the paper's z                  |
| `min-max`        | μ + γ∇, ∇ one of -σ, -sign(μ), -μ/‖μ‖                     | γ from the honest distances    |
| `min-sum`        | the same                                                  | γ from the honest distances    |
| `agr-tailored`   | μ - γ sign(μ)                                             | best response: γ               |
| `fang-krum`      | -λ sign(μ)                                                | λ halved until the rule takes it |
| `fang-directed`  | μ - τ sign(μ)σ                                            | best response: τ               |
| `fang-trim`      | ends of the honest range; against coordinate-wise rules   | best response: τ               |
| `mimic`          | a copy of an honest row                                   | best response: which           |
| `principal`      | μ + τv, v the top direction of the honest rows            | best response: τ               |
| `tailored`       | at an angle to the reference or to μ                      | best response: angle, length   |
| `pattern-search` | anything in the span of all these; in `every_attack` only | climbing from the worst two    |

Letters: `h` honest rows x_i with mean μ and coordinate-wise standard deviation σ, `f` colluders, n = h + f, `d`
parameters. F is the aggregate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from phalanx.attacks import alie, fang, inner_product, mimic, min_max, tailored
from phalanx.attacks.basis import LARGEST, Direction, observe
from phalanx.attacks.pattern_search import pattern_search
from phalanx.attacks.plan import Attacker, Objective, Plan, harm_of
from phalanx.attacks.response import Response, Target, measure, target
from phalanx.rules import Chain, CoordinateRule, Median, Rule, TrimmedMean
from phalanx.types import F32, F64


@dataclass(frozen=True, slots=True)
class Attack:
    """What f colluders send and what it does to the rule. `str(attack)` is one line for people.

    `row` (d,) float32 is what each sends. `deviation` is ‖F - μ‖, `spread` the root mean squared distance of the honest
    rows from μ. `progress` is <F, μ> / ‖μ‖²: 1 is honest, 0 or less turns training around; NaN if μ is zero. `exact` is
    False where deviation and progress are estimates: from a sample of the columns, or of a row that did not fit into
    float32 and was cut to its range.
    """

    name: str
    direction: str
    parameters: Mapping[str, float] = field(compare=False)
    row: F32 = field(repr=False, compare=False)
    deviation: float
    spread: float
    progress: float
    exact: bool

    @property
    def relative(self) -> float:
        """The deviation in units of the honest spread; infinite if the honest rows are equal."""
        if self.spread > 0.0:
            return self.deviation / self.spread
        return math.inf if self.deviation > 0.0 else 0.0

    def harm(self, objective: Objective) -> float:
        """What the objective counts, the more the worse."""
        return self.deviation if objective == "deviation" else -self.progress

    def __str__(self) -> str:
        found = [f"{name}={value:.4g}" for name, value in self.parameters.items()]
        return f"{self.name}({', '.join([self.direction, *found] if self.direction else found)})"


@dataclass(frozen=True, slots=True)
class _Family:
    """A named attack: the directions that its basis needs, and its own objective, for callers who have none."""

    attacker: Attacker
    needs: tuple[Direction, ...] = ()
    objective: Objective = "deviation"


_FAMILIES: Mapping[str, _Family] = {
    "sign-flip": _Family(inner_product.sign_flip),
    "ipm": _Family(inner_product.ipm),
    "alie": _Family(alie.alie, ("sigma",)),
    "alie-z-max": _Family(alie.alie_z_max, ("sigma",)),
    "min-max": _Family(min_max.min_max, ("sigma", "sign")),
    "min-sum": _Family(min_max.min_sum, ("sigma", "sign")),
    "agr-tailored": _Family(min_max.agr_tailored, ("sign",)),
    "fang-krum": _Family(fang.krum_attack, ("sign",)),
    "fang-directed": _Family(fang.directed, ("directed",)),
    "fang-trim": _Family(fang.trim_attack, ("edge",)),
    "mimic": _Family(mimic.mimic),
    "principal": _Family(mimic.principal),
    "tailored": _Family(tailored.tailored, ("sigma", "directed"), "progress"),
}
ATTACKS: tuple[str, ...] = tuple(_FAMILIES)  # what `collude` knows


def collude(
    attack: str,
    rule: Rule | Chain,
    honest: F32,
    f: int,
    *,
    reference: F32 | None = None,
    objective: Objective | None = None,
) -> Attack:
    """What f colluders send if they mount this attack on the rule, seeing the honest rows (h, d) float32.

    Costs one pass over the rows and a search on small matrices. `reference` (d,) is the rule's, as for `aggregate`. The
    objective is what free parameters are chosen for; None is the attack's own: progress for `tailored`, deviation for
    the others. Raises ValueError for an unknown attack or one that does not apply, and whatever `every_attack` raises.
    """
    if attack not in _FAMILIES:
        raise ValueError(f"the attack is one of {', '.join(ATTACKS)}, got {attack!r}")
    goal = objective or _FAMILIES[attack].objective
    aim = _aim((attack,), rule, honest, f, reference, goal)
    plans = _plans((attack,), aim, goal)
    if not plans:
        raise ValueError(f"{attack} does not apply to {rule} among these {len(honest)} honest rows with f={f}")
    response, order = _compare(aim, plans, goal)
    return _attack(aim, plans[order[0]], response, order[0])


def every_attack(
    rule: Rule | Chain, honest: F32, f: int, *, reference: F32 | None = None, objective: Objective = "deviation"
) -> tuple[Attack, ...]:
    """All attacks that apply to the rule, the worst first, and then the earlier in the table.

    Holds a row (d,) of each. Raises ValueError for f < 1, honest rows that are not finite float32 or all zero, or a
    reference that the rule needs and is not given; QuorumError if h + f rows are too few for the rule; NotAvailable if
    the rule judges rows by their history.
    """
    aim = _aim(ATTACKS, rule, honest, f, reference, objective)
    plans = _plans(ATTACKS, aim, objective)
    if not _is_solved(aim.chain):
        plans += pattern_search(aim, harm_of(objective), plans)
    response, order = _compare(aim, plans, objective)
    return tuple(_attack(aim, plans[i], response, i) for i in order)


def measured(attack: Attack, rule: Rule | Chain, honest: F32, f: int, *, reference: F32 | None = None) -> Attack:
    """The attack with the figures of really aggregating the honest rows and f of its own, on all columns."""
    deviation, progress = measure(_chain(rule), honest, attack.row, f, reference)
    return replace(attack, deviation=deviation, progress=progress, exact=True)


def _aim(
    names: tuple[str, ...], rule: Rule | Chain, honest: F32, f: int, reference: F32 | None, objective: Objective
) -> Target:
    """The rule among the honest rows, with the directions that the attacks of these names need."""
    if not (isinstance(f, int) and not isinstance(f, bool) and f >= 1):
        raise ValueError(f"an attack needs a number of colluders f >= 1, got {f!r}")
    chain = _chain(rule)
    if reference is None and "reference" in chain.needs:
        raise ValueError(f"{chain.rule.name} needs the argument `reference`")
    needs = [direction for name in names if _applies(name, chain) for direction in _FAMILIES[name].needs]
    if reference is not None:
        needs.append("reference")
    directions = tuple(dict.fromkeys(needs))
    edge = fang.edge_against(chain.rule, f, objective) if isinstance(chain.rule, CoordinateRule) else None
    aim = target(chain, observe(honest, directions, reference=reference, edge=edge), f)
    if objective == "progress" and not aim.basis.mean_length > 0.0:
        raise ValueError("the honest rows have mean zero: there is no progress to turn around")
    return aim


def _plans(names: tuple[str, ...], aim: Target, objective: Objective) -> list[Plan]:
    harm = harm_of(objective)
    return [plan for name in names if _applies(name, aim.chain) for plan in _FAMILIES[name].attacker(aim, harm)]


def _applies(name: str, chain: Chain) -> bool:
    """The range in each coordinate is something that only coordinate-wise rules look at."""
    return name != "fang-trim" or isinstance(chain.rule, CoordinateRule)


def _is_solved(chain: Chain) -> bool:
    """Whether `fang-trim` is known to be the worst of all attacks: the rule rises with every value in every column."""
    return not chain.pre and isinstance(chain.rule, TrimmedMean | Median)


def _compare(aim: Target, plans: list[Plan], objective: Objective) -> tuple[Response, list[int]]:
    response = aim.respond(np.array([plan.coefficients for plan in plans]))
    harm: F64 = harm_of(objective)(response)
    return response, [int(i) for i in np.argsort(-harm, kind="stable")]


def _attack(aim: Target, plan: Plan, response: Response, i: int) -> Attack:
    return Attack(
        name=plan.attack,
        direction=plan.direction,
        parameters=plan.parameters,
        row=aim.basis.row(plan.coefficients),
        deviation=float(response.deviation[i]),
        spread=aim.basis.spread,
        progress=float(response.progress[i]),
        exact=aim.exact and aim.basis.length(plan.coefficients) <= LARGEST,  # else values may have been cut
    )


def _chain(rule: Rule | Chain) -> Chain:
    return rule if isinstance(rule, Chain) else Chain((), rule)
