"""What hostile members send in place of a trained update, as functions of what they see.

| attack       | the row                                    | source                                           |
|--------------|--------------------------------------------|--------------------------------------------------|
| `sign_flip`  | -s times the honest update                 | Li et al., AAAI 2019                             |
| `scaling`    | s times the update on poisoned data        | Bagdasaryan et al., AISTATS 2020, section 4.2    |
| `gaussian`   | noise of s times the honest length         | Blanchard et al., NeurIPS 2017, section 6        |
| `zero`       | nothing                                    | Lin et al., arXiv:1911.12560, section 3          |
| `colluding`  | what `collude` finds against the rule      | see `colluding`                                  |
| `tuned`      | a direction, at the length that suits best | Shejwalkar and Houmansadr, NDSS 2021, section IV |
| `off_centre` | across the honest direction, near it       | Özfatura et al., arXiv:2208.09894, section 3     |

Letters: `f` hostile members, `h` honest ones, `d` parameters, μ the honest mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from phalanx.aggregation import aggregate
from phalanx.attacks.colluding import collude, every_attack
from phalanx.attacks.training_attack import Craft
from phalanx.attacks.view import View
from phalanx.errors import NotAvailable
from phalanx.rules import CoordinateRule
from phalanx.types import F32, F64

LENGTHS = (0.25, 0.5, 0.8, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0)  # in honest lengths, that `tuned` compares


def sign_flip(scale: float) -> Craft:
    """-scale times what each would honestly send."""
    return lambda view: np.float32(-scale) * view.own


def scaling(scale: float) -> Craft:
    """scale times what training on poisoned data gives: with scale = n/f a plain mean takes it over whole."""
    return lambda view: np.float32(scale) * view.poisoned


def poisoned(view: View) -> F32:
    """What training on poisoned data gives: the attackers do nothing else."""
    return view.poisoned


def gaussian(scale: float) -> Craft:
    """Noise of scale times the length of an honest update, different for each member."""

    def craft(view: View) -> F32:
        std = scale * view.length() / np.sqrt(view.model.size)
        return view.rng.normal(0.0, std, (view.f, view.model.size)).astype(np.float32)

    return craft


def zero(view: View) -> F32:
    """Nothing."""
    return np.zeros_like(view.own)


def colluding(name: str) -> Craft:
    """The attack of that name in `collude`, its parameters the worst against the deployed rule in this round."""

    def craft(view: View) -> F32:
        if _is_over(view):
            return view.own
        if name == "fang-krum" and isinstance(view.rule.rule, CoordinateRule):
            raise NotAvailable(f"not available: it is against rules that take whole rows, and {view.rule} takes none")
        return collude(name, view.rule, view.honest, view.f).row

    return craft


def fang_trim(view: View) -> F32:
    """Fang's attack on trimmed means; against rules that look at whole rows its directed deviation."""
    name = "fang-trim" if isinstance(view.rule.rule, CoordinateRule) else "fang-directed"
    return colluding(name)(view)


def best_response(view: View) -> F32:
    """Of all attacks that `worst_case` knows, the one that turns the aggregate most against the honest mean."""
    if _is_over(view) or not view.honest.sum(axis=0, dtype=np.float64).any():
        return view.own
    return every_attack(view.rule, view.honest, view.f, objective="progress")[0].row


def tuned(view: View, direction: F32) -> F32:
    """(d,): the direction, at the length of `LENGTHS` with which the deployed rule moves nearest to where it leads.

    White box: the attackers see the honest rows, and try each length on the real rule before they send one. Where the
    rule takes too little of every length, that is the one of which it takes most.
    """
    unit = _unit(direction)
    if _is_over(view) or not (np.isfinite(unit).all() and unit.any()):
        mean: F32 = view.own.mean(axis=0)
        return mean
    length = float(np.median(np.linalg.norm(view.honest.astype(np.float64), axis=1)))
    candidates = [(length * times * unit).astype(np.float32) for times in LENGTHS]
    gained = [float(_answer(view, row).astype(np.float64) @ unit) for row in candidates]
    wanted = float(np.linalg.norm(direction.astype(np.float64)))
    return candidates[_least([abs(each - wanted) for each in gained])]


def off_centre(view: View) -> F32:
    """A row across the honest direction, from a point between zero, where a clipping rule starts, and μ.

    Clipping cuts a row's length as seen from the centre and never its direction: what it lets in is the same each round
    and adds up. The angle is 90°, the reference point and the length those that turn the aggregate most against μ.
    """
    if _is_over(view):
        return view.own
    mean = view.honest.mean(axis=0, dtype=np.float64)
    around = view.honest.astype(np.float64).std(axis=0)
    across = -np.sign(mean) * around
    if not mean.any() or not across.any():
        return view.own
    across -= _unit(mean) * (across @ _unit(mean))
    length = float(np.linalg.norm(mean))
    rows: list[F32] = [
        (share * mean + times * length * _unit(across)).astype(np.float32)
        for share in (-1.0, 0.0, 0.5)
        for times in (0.5, 1.0, 2.0, 5.0, 10.0)
    ]
    return rows[_least([float(_answer(view, row).astype(np.float64) @ mean) for row in rows])]


def _is_over(view: View) -> bool:
    """Whether there is nothing left to attack: honest updates that are zero, or no numbers since the model is none."""
    return not view.honest.any() or not np.isfinite(view.honest).all()


def _answer(view: View, row: F32) -> F32:
    """What the deployed rule makes of the honest rows and f times this one."""
    vector, _ = aggregate(np.vstack([view.honest, *[row] * view.f]), view.rule)
    return vector


def _unit(vector: F32 | F64) -> F64:
    wide = vector.astype(np.float64)
    length = float(np.linalg.norm(wide))
    unit: F64 = wide / length if length > 0 else wide
    return unit


def _least(values: Sequence[float]) -> int:
    return min(range(len(values)), key=values.__getitem__)
