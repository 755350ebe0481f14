"""From outcomes to verdicts: does the attack do what it is for where nothing defends, and what of it elsewhere?

Figures are pooled over seeds, each with a 95 % interval. Damage is measured on the same test inputs with and without
the attack, so that its interval is that of a paired difference. A defence is never said to hold by an attack that does
nothing: that is an invalid test. It is said not to hold only where the interval lies above the limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from phalanx.attacks.card import Card, Goal
from phalanx.redteam.defences import NONE
from phalanx.redteam.intervals import bootstrap, clopper_pearson, paired_difference, wilson
from phalanx.redteam.known import Known
from phalanx.redteam.measuring import Bits, unpacked
from phalanx.redteam.outcome import QUIET, Cell, Outcome
from phalanx.redteam.plan import quiet
from phalanx.redteam.result import Figure, Judged, Verdict

Outcomes = Mapping[Cell, Outcome]
CENTRAL = "central"  # all data in one place: nothing defends there either


@dataclass(frozen=True, slots=True, order=True)
class Group:
    """Cells that differ in the seed only."""

    attack: str
    defence: str
    hostile: int
    split: str

    def cells(self, seeds: Sequence[int]) -> list[Cell]:
        """One for each seed."""
        return [Cell(self.attack, self.defence, self.hostile, self.split, seed) for seed in seeds]


@dataclass(frozen=True, slots=True)
class Bench:
    """What verdicts are made from. `truth` are the labels of the lab's test inputs, by split and seed."""

    known: Known
    outcomes: Outcomes
    planned: Sequence[Cell]
    seeds: tuple[int, ...]
    truth: Mapping[tuple[str, int], Sequence[int]]
    command: str

    def groups(self) -> list[Group]:
        """All that was planned, sorted."""
        return sorted({Group(c.attack, c.defence, c.hostile, c.split) for c in self.planned})


def judge(bench: Bench) -> tuple[Judged, ...]:
    """A verdict for each group, those in which nobody attacks included."""
    return tuple(_judged(bench, group) for group in bench.groups())


def _judged(bench: Bench, group: Group) -> Judged:
    played = [bench.outcomes[cell] for cell in group.cells(bench.seeds) if cell in bench.outcomes]
    sound = [one for one in played if not one.unavailable]
    figure, verdict, why = None, _absent(played), ""
    if sound and group.attack == QUIET:
        verdict = "works"
    elif sound:
        figure = _figure(bench, group.attack, _card(bench, group).goal.judged, sound)
        verdict, why = _verdict(bench, group, figure, sound)
    if not sound:
        why = played[0].unavailable if played else "left out"
    return Judged(
        attack=group.attack,
        defence=group.defence,
        hostile=group.hostile,
        split=group.split,
        seeds=len(sound),
        verdict=verdict,
        why="; ".join(filter(None, [why, *dict.fromkeys(one.ended for one in sound if one.ended)])),
        figure=figure,
        harm=_harm(bench, group, figure),
        accuracy=_mean(sound, "accuracy"),
        best=_mean(sound, "best"),
        clean=_clean(bench, sound),
        class_damage=_worst_class(bench, group, sound),
        lifespan=_mean(sound, "lifespan"),
        command=_command(bench, group),
    )


def _absent(played: Sequence[Outcome]) -> Verdict:
    return "not available" if played else "not tested"


def _card(bench: Bench, group: Group) -> Card:
    return bench.known.card(group.attack)


# ------------------------------------------------------------------------------------------------------------ verdicts


def _verdict(bench: Bench, group: Group, figure: Figure | None, sound: Sequence[Outcome]) -> tuple[Verdict, str]:
    goal = _card(bench, group).goal
    if group.defence in (_undefended(bench, group), CENTRAL):
        reached = _figure(bench, group.attack, goal.measure, sound)
        return ("works", "") if reached is not None and reached.value >= goal.met else ("invalid test", "")
    if figure is None:
        return "not available", f"{goal.judged} was not measured"
    if figure.value > goal.held:
        return ("not held", "") if figure.low > goal.held else ("unclear", "the interval reaches the limit")
    if not _works(bench, group):
        return "invalid test", "undefended, the attack does not reach its goal"
    return "held", ""


def _undefended(bench: Bench, group: Group) -> str:
    attack = bench.known.training.get(group.attack)
    if attack is not None:
        return attack.undefended
    return NONE if NONE in bench.known.probes[group.attack].settings else CENTRAL


def _works(bench: Bench, group: Group) -> bool:
    """Whether the attack meets its goal where nothing defends; False where that was not tried."""
    goal = _card(bench, group).goal
    reached = _figure(bench, group.attack, goal.measure, _sound_undefended(bench, group))
    return reached is not None and reached.value >= goal.met


def _harm(bench: Bench, group: Group, figure: Figure | None) -> float | None:
    """0 at the limit that holds, 1 at the attackers' goal.

    Where a defence is judged by another measure than the goal's, 1 is what the attack does to that undefended.
    """
    if figure is None:
        return None
    goal = _card(bench, group).goal
    top = goal.met
    if goal.judged != goal.measure:
        reached = _figure(bench, group.attack, goal.judged, _sound_undefended(bench, group))
        top = goal.held if reached is None else reached.value
    if not top > goal.held:  # undefended, it does nothing
        return float(figure.value > goal.held)
    return max(0.0, (figure.value - goal.held) / (top - goal.held))


def _sound_undefended(bench: Bench, group: Group) -> list[Outcome]:
    base = Group(group.attack, _undefended(bench, group), group.hostile, group.split)
    found = [bench.outcomes[cell] for cell in base.cells(bench.seeds) if cell in bench.outcomes]
    return [one for one in found if not one.unavailable]


# ------------------------------------------------------------------------------------------------------------- figures


def _figure(bench: Bench, attack: str, measure: str, sound: Sequence[Outcome]) -> Figure | None:
    """The measure over all seeds with its interval; None where it was not measured."""
    if measure in ("damage", "class_damage"):
        return _damage(bench, sound, of_class=measure == "class_damage")
    if measure == "blocked":
        return _blocked(bench, sound)
    if measure == "backdoor_lift":
        return _lift(bench, attack, sound)
    counted = [one.counts[measure] for one in sound if one.counts.get(measure, (0, 0))[1]]
    if counted:
        k, n = sum(k for k, _ in counted), sum(n for _, n in counted)
        exact = attack in bench.known.probes
        low, high = clopper_pearson(k, n) if exact else wilson(k, n)
        return Figure(k / n, low, high, n, "Clopper-Pearson" if exact else "Wilson")
    values = np.array([one.measures[measure] for one in sound if measure in one.measures], np.float64)
    if not len(values):
        return None
    low, high = bootstrap(values, rng=np.random.default_rng(0))
    return Figure(float(values.mean()), low, high, len(values), "bootstrap over seeds")


def _damage(bench: Bench, sound: Sequence[Outcome], *, of_class: bool) -> Figure | None:
    """How many test inputs fewer are right than where nobody attacks the same defence: all, or those of one class."""
    lost = gained = n = 0
    for one in sound:
        base = bench.outcomes.get(quiet(one.cell))
        truth = np.array(bench.truth[one.cell.split, one.cell.seed])
        if base is None or base.unavailable or not base.right:
            continue
        counted: Bits = truth == int(one.measures["source"]) if of_class else np.ones(len(truth), np.bool_)
        before, after = unpacked(base.right, len(truth))[counted], unpacked(one.right, len(truth))[counted]
        lost, gained, n = lost + int((before & ~after).sum()), gained + int((~before & after).sum()), n + len(before)
    if not n:
        return None
    low, high = paired_difference(lost, gained, n)
    return Figure((lost - gained) / n, low, high, n, "paired difference")


def _blocked(bench: Bench, sound: Sequence[Outcome]) -> Figure | None:
    """Rounds without a new model, beyond those where nobody attacks."""
    lost = gained = n = 0
    for one in sound:
        base = bench.outcomes.get(quiet(one.cell))
        if base is None or base.unavailable:
            continue
        rounds = max(1, round(one.measures["planned"]))
        before, after = round(base.measures["blocked"] * rounds), round(one.measures["blocked"] * rounds)
        lost, gained, n = lost + max(0, after - before), gained + max(0, before - after), n + rounds
    if not n:
        return None
    low, high = paired_difference(lost, gained, n)
    return Figure((lost - gained) / n, low, high, n, "paired difference")


def _lift(bench: Bench, attack: str, sound: Sequence[Outcome]) -> Figure | None:
    """How many more triggered inputs are taken for the attackers' class than the same defence takes without attack."""
    raw = _figure(bench, attack, "backdoor", sound)
    bases = [bench.outcomes.get(quiet(one.cell)) for one in sound]
    base = f"base:{bench.known.training[attack].trigger}"
    rates = [one.measures[base] for one in bases if one is not None and base in one.measures]
    if raw is None or not rates:
        return None
    rate = float(np.mean(rates))
    return Figure(raw.value - rate, raw.low - rate, raw.high - rate, raw.trials, "Wilson, less the rate without attack")


def _worst_class(bench: Bench, group: Group, sound: Sequence[Outcome]) -> float | None:
    """The largest loss of a class's recall, by the mean over seeds."""
    if group.attack == QUIET:
        return None
    losses = []
    for one in sound:
        base = bench.outcomes.get(quiet(one.cell))
        if base is not None and not base.unavailable:
            losses.append([_recall(base, c) - _recall(one, c) for c in _classes(one)])
    return float(np.mean(losses, axis=0).max()) if losses and losses[0] else None


def _classes(outcome: Outcome) -> list[int]:
    return sorted(int(name.partition(":")[2]) for name in outcome.counts if name.startswith("class:"))


def _recall(outcome: Outcome, label: int) -> float:
    right, of = outcome.counts[f"class:{label}"]
    return right / of if of else 0.0


def _mean(sound: Sequence[Outcome], measure: str) -> float | None:
    values = [one.measures[measure] for one in sound if measure in one.measures]
    return float(np.mean(values)) if values else None


def _clean(bench: Bench, sound: Sequence[Outcome]) -> float | None:
    bases = [bench.outcomes.get(quiet(one.cell)) for one in sound]
    values = [base.measures["accuracy"] for base in bases if base is not None and "accuracy" in base.measures]
    return float(np.mean(values)) if values else None


def _command(bench: Bench, group: Group) -> str:
    attack = "" if group.attack == QUIET else f" --attacks {group.attack}"  # nobody attacking is played with any
    hostile = f" --hostile {group.hostile}" if group.hostile else ""
    split = "" if group.split == "natural" else f" --splits {group.split}"
    defences = ",".join(dict.fromkeys((NONE, group.defence)))
    return f"{bench.command}{attack} --defences {defences}{hostile}{split} --seeds {len(bench.seeds)}"


def goal_of(bench: Bench, judged: Judged) -> Goal:
    """The goal of the attack that was judged."""
    return bench.known.card(judged.attack).goal
