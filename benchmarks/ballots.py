"""What the gate's ballots cannot see: the smallest loss that is refused, and how often a good candidate is.

    .venv/bin/python benchmarks/ballots.py --out benchmarks/results/ballots.json

Tallies are drawn, not trained: at each honest member a share of the held-out examples (the churn) changes by fair
coins; each member that sees the damage loses a share of its examples besides, whatever their class. Once all members
are honest, once f of them lie and do what helps them: to hide damage they claim that every example is better, to have a
good candidate refused that every one is worse. The smallest loss is the first in steps of one example that is refused
in nine of ten draws; null: not even the loss of everything is. Votes and decisions are the gate's own functions.
Under a minute; the same figures for the same seed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np

from phalanx import __version__
from phalanx.gate import GatePolicy, judge, vote_of, votes_to_refuse
from phalanx.types import MemberId, Tally, Vote, member_id

CLASSES = 10
FEDERATIONS = ((10, 3), (31, 10))  # members, liars tolerated and present
HELD_OUT = (15, 50, 200)
CHURNS = (0.05, 0.1)
POLICIES: tuple[Literal["counts", "votes"], ...] = ("counts", "votes")
ENOUGH = 0.9
A_LIARS = (100,) * CLASSES  # examples that a liar speaks for, by class
NONE = (0,) * CLASSES
ALL_BETTER = Tally(NONE, A_LIARS, A_LIARS, A_LIARS, True)
ALL_WORSE = Tally(A_LIARS, NONE, NONE, A_LIARS, True)
cached_vote = cache(vote_of)


@dataclass(frozen=True, slots=True)
class Scene:
    """A federation, what each member holds, and what the f liars say; None: there are none, and f more are honest."""

    policy: GatePolicy
    members: int
    held_out: int
    churn: float
    lie: Tally | None
    draws: int
    seed: int


def drawn(scene: Scene, see: int, lost: int, rng: np.random.Generator) -> list[Tally]:
    """A tally for each member; the first `see` lose `lost` examples besides what changes by chance."""
    total = np.bincount(np.arange(scene.held_out) % CLASSES, minlength=CLASSES)
    liars = [] if scene.lie is None else [scene.lie] * scene.policy.f
    tallies = []
    for i in range(scene.members - len(liars)):
        worse = rng.multivariate_hypergeometric(total, lost if i < see else 0)
        changed = rng.binomial(total - worse, scene.churn)
        better = rng.binomial(changed, 0.5)
        lost_in_all, won, held = (tuple(column.tolist()) for column in (worse + changed - better, better, total))
        tallies.append(Tally(worse=lost_in_all, better=won, right=won, total=held, finite=True))
    return tallies + liars


def refused_share(scene: Scene, see: int, lost: int) -> float:
    """The share of draws that are refused."""
    rng = np.random.default_rng([scene.seed, scene.members, scene.held_out, int(1000 * scene.churn), see, lost])
    rounds = (ballots(drawn(scene, see, lost, rng), scene.policy) for _ in range(scene.draws))
    return sum(not judge(cast, None, scene.policy).passed for cast in rounds) / scene.draws


def ballots(tallies: Iterable[Tally], policy: GatePolicy) -> dict[MemberId, Tally | Vote]:
    """What leaves the members."""
    cast = (tally if policy.ballot == "counts" else cached_vote(tally, policy, False) for tally in tallies)
    return {member_id(f"m{i:02}"): ballot for i, ballot in enumerate(cast)}


def smallest_loss(scene: Scene, see: int) -> float | None:
    """The least share of its examples that each of `see` members has to lose, by bisection."""
    low, high = 0, scene.held_out
    if refused_share(scene, see, high) < ENOUGH:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if refused_share(scene, see, middle) >= ENOUGH else (middle, high)
    return high / scene.held_out


def seeing(members: int, f: int) -> list[int]:
    """Numbers of honest members that see the damage: at the edges of both policies, and all of them."""
    needed = votes_to_refuse(members, GatePolicy(classes=CLASSES, f=f, ballot="votes"))
    return sorted({f, f + 1, needed - 1, needed, members - f})


def table(draws: int, seed: int) -> dict[str, Any]:
    """All figures, by policy, federation and held-out examples."""
    losses, false = [], []
    for ballot, (members, f), held_out in product(POLICIES, FEDERATIONS, HELD_OUT):
        policy = GatePolicy(classes=CLASSES, f=f, ballot=ballot)
        case: dict[str, Any] = {"ballot": ballot, "members": members, "f": f, "held_out": held_out}
        for lie in (None, ALL_BETTER):
            scene = Scene(policy, members, held_out, CHURNS[0], lie, draws, seed)
            found = {str(see): smallest_loss(scene, see) for see in seeing(members, f)}
            losses.append(case | {"liars": f if lie else 0, "churn": CHURNS[0], "smallest_loss_by_members": found})
        for churn, lie in product(CHURNS, (None, ALL_WORSE)):
            scene = Scene(policy, members, held_out, churn, lie, 10 * draws, seed)
            share = refused_share(scene, 0, 0)
            false.append(case | {"liars": f if lie else 0, "churn": churn, "draws": 10 * draws, "refused": share})
    return {"draws": draws, "smallest_loss": losses, "false_refusals": false}


def show(figures: dict[str, Any]) -> None:
    """The figures for people."""
    print(f"smallest loss refused in nine of ten draws, at each member that sees it; churn {CHURNS[0]}")
    for row in figures["smallest_loss"]:
        by_members = row["smallest_loss_by_members"].items()
        cells = (f"{see}: {'never' if loss is None else format(loss, '.1%')}" for see, loss in by_members)
        print(f"  {_case(row)}   {'  '.join(cells)}")
    print("refusals of a candidate that is no worse")
    for row in figures["false_refusals"]:
        print(f"  {_case(row)} churn {row['churn']:.2f}   {row['refused']:.2%} of {row['draws']}")


def _case(row: dict[str, Any]) -> str:
    return "{ballot:6} n={members:2} f={f:2} liars {liars:2} held out {held_out:3}".format(**row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--draws", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where to write the figures; nothing is written without it")
    arguments = parser.parse_args()
    figures = table(arguments.draws, arguments.seed)
    show(figures)
    if arguments.out is not None:
        command = f"python benchmarks/ballots.py --draws {arguments.draws} --seed {arguments.seed}"
        content = {"command": command, "phalanx": __version__, "seed": arguments.seed} | figures
        arguments.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
