"""From outcomes to verdicts: does the attack do what it is for where nothing defends, and what of it elsewhere?

Figures are means over seeds, each with a 95 % interval that covers the trials and the spread over seeds. Damage is
measured on the same test inputs with and without the attack. A defence is never said to hold by an attack that does
nothing: that is an invalid test. It is said not to hold only where the interval lies above the limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from phalanx.attacks.card import Card
from phalanx.redteam.dealing import NATURAL
from phalanx.redteam.defences import CENTRAL, NONE
from phalanx.redteam.intervals import bootstrap, clopper_pearson, paired_difference, wilson
from phalanx.redteam.known import Known
from phalanx.redteam.measuring import Bits, unpacked
from phalanx.redteam.outcome import QUIET, Cell, Outcome
from phalanx.redteam.plan import quiet
from phalanx.redteam.result import Figure, Judged, Verdict
from phalanx.types import F64

Outcomes = Mapping[Cell, Outcome]
_FEWEST_SEEDS = 3
_TOLERATED = 0.5  # of the way from the limit to the goal, that the interval of what is held may reach


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
    """Held only if the interval, too, ends less than half-way from the limit to the goal; not held only if all of it
    lies above the limit."""
    goal = _card(bench, group).goal
    reached = _figure(bench, group.attack, goal.measure, sound)
    if figure is None or reached is None:
        return "not available", f"{goal.judged} was not measured, or not where nobody attacks"
    met = reached.value >= goal.met and figure.value > goal.held
    if group.defence in (_undefended(bench, group), CENTRAL):
        return ("works", "") if met else ("invalid test", "")
    if _stopped(bench, sound):
        return "not held", "the attack ended the run"
    if figure.value > goal.held or met:
        if figure.low > goal.held and (figure.trials > 1 or met):
            return "not held", ""
        return "unclear", "the interval reaches the limit" if figure.trials > 1 else "one seed tells too little"
    if not _works(bench, group):
        return "invalid test", "undefended, the attack does not reach its goal"
    if figure.high > goal.held + _TOLERATED * (_top(bench, group) - goal.held):
        return "unclear", "within the limit, but the interval reaches far beyond it"
    return "held", ""


def _stopped(bench: Bench, sound: Sequence[Outcome]) -> bool:
    """Whether the attack ended runs that go on where nobody attacks."""
    bases = [bench.outcomes.get(quiet(one.cell)) for one in sound if one.ended]
    return any(base is not None and not base.ended for base in bases)


def _undefended(bench: Bench, group: Group) -> str:
    attack = bench.known.training.get(group.attack)
    if attack is not None:
        return attack.undefended
    return NONE if NONE in bench.known.probes[group.attack].settings else CENTRAL


def _works(bench: Bench, group: Group) -> bool:
    """Whether the attack meets its goal where nothing defends, by its own measure and by that of defences."""
    goal = _card(bench, group).goal
    sound = _sound_undefended(bench, group)
    reached, judged = (_figure(bench, group.attack, name, sound) for name in (goal.measure, goal.judged))
    return reached is not None and judged is not None and reached.value >= goal.met and judged.value > goal.held


def _top(bench: Bench, group: Group) -> float:
    """The figure at which harm is 1: the goal's; of a goal with two measures, what the attack does undefended."""
    goal = _card(bench, group).goal
    if goal.judged == goal.measure:
        return goal.met
    reached = _figure(bench, group.attack, goal.judged, _sound_undefended(bench, group))
    return goal.held if reached is None else reached.value


def _harm(bench: Bench, group: Group, figure: Figure | None) -> float | None:
    """0 at the limit that holds, 1 at the attackers' goal, or at what the attack does undefended (`_top`)."""
    if figure is None:
        return None
    goal, top = _card(bench, group).goal, _top(bench, group)
    if not top > goal.held:  # undefended, it does nothing
        return float(figure.value > goal.held)
    return max(0.0, (figure.value - goal.held) / (top - goal.held))


def _sound_undefended(bench: Bench, group: Group) -> list[Outcome]:
    base = Group(group.attack, _undefended(bench, group), group.hostile, group.split)
    found = [bench.outcomes[cell] for cell in base.cells(bench.seeds) if cell in bench.outcomes]
    return [one for one in found if not one.unavailable]


# ------------------------------------------------------------------------------------------------------------- figures


def _figure(bench: Bench, attack: str, measure: str, sound: Sequence[Outcome]) -> Figure | None:
    """The measure over all seeds with its interval; None where it was not measured.

    The interval is the wider of two: that of the trials, and that of the mean over seeds. On the members' own data the
    test inputs of all seeds are the same ones and are counted once.
    """
    found = [one for outcome in sound if (one := _of_seed(bench, attack, measure, outcome)) is not None]
    if not found:
        return None
    values = np.array([one.value for one in found])
    same = attack in bench.known.training and sound[0].cell.split == NATURAL
    shares = len(found) if same else 1
    low, high, trials, method = _of_trials(found, shares, attack in bench.known.probes)
    by_seed = _over_seeds(values)
    if by_seed is not None:
        least, most = _possible(found)
        low, high = max(least, min(low, by_seed[0])), min(most, max(high, by_seed[1]))
        method = f"{method} and t over seeds" if method else "t over seeds"
    return Figure(float(values.mean()), low, high, trials, method or "one figure a seed: no interval")


@dataclass(frozen=True, slots=True)
class _Seed:
    """One seed's figure: of n trials k are for it, or gained and lost; n = 0 where it is a figure and no share.

    `less` is what is taken off a share: the rate without attack.
    """

    value: float
    n: int = 0
    k: int = 0
    against: int | None = None
    less: float = 0.0


def _of_seed(bench: Bench, attack: str, measure: str, one: Outcome) -> _Seed | None:
    base = bench.outcomes.get(quiet(one.cell))
    quiet_there = base is not None and not base.unavailable
    if measure in ("damage", "class_damage"):
        return _damage(bench, one, base, measure == "class_damage") if base is not None and quiet_there else None
    if measure == "blocked":
        return _blocked(one, base) if base is not None and quiet_there else None
    less = 0.0
    if measure == "backdoor_lift":
        rate = f"base:{bench.known.training[attack].trigger}"
        if base is None or not quiet_there or rate not in base.measures:
            return None
        measure, less = "backdoor", base.measures[rate]
    k, n = one.counts.get(measure, (0, 0))
    if n:
        return _Seed(k / n - less, n, k, None, less)
    return _Seed(one.measures[measure]) if measure in one.measures else None


def _damage(bench: Bench, one: Outcome, base: Outcome, of_class: bool) -> _Seed | None:
    """How many test inputs fewer are right than where nobody attacks the same defence: all, or those of one class."""
    truth = np.array(bench.truth[one.cell.split, one.cell.seed])
    counted: Bits = truth == int(one.measures["source"]) if of_class else np.ones(len(truth), np.bool_)
    before, after = unpacked(base.right, len(truth))[counted], unpacked(one.right, len(truth))[counted]
    lost, gained, n = int((before & ~after).sum()), int((~before & after).sum()), len(before)
    return _Seed((lost - gained) / n, n, lost, gained) if n else None


def _blocked(one: Outcome, base: Outcome) -> _Seed:
    """Rounds without a new model, beyond those where nobody attacks."""
    rounds = max(1, round(one.measures["planned"]))
    before, after = round(base.measures["blocked"] * rounds), round(one.measures["blocked"] * rounds)
    return _Seed((after - before) / rounds, rounds, max(0, after - before), max(0, before - after))


def _of_trials(found: Sequence[_Seed], shares: int, exact: bool) -> tuple[float, float, int, str]:
    """The interval of the trials of all seeds, each counted 1/`shares`; of the figures where there are no trials."""
    n = sum(one.n for one in found) // shares
    values = [one.value for one in found]
    if not n:
        low, high = bootstrap(np.array(values), rng=np.random.default_rng(0))
        return low, high, len(values), "bootstrap" if len(values) > 1 else ""
    k = round(sum(one.k for one in found) / shares)
    if found[0].against is not None:
        against = round(sum(one.against or 0 for one in found) / shares)
        low, high = paired_difference(min(k, n), min(against, n - min(k, n)), n)
        return low, high, n, "paired difference"
    less = float(np.mean([one.less for one in found]))
    low, high = clopper_pearson(min(k, n), n) if exact else wilson(min(k, n), n)
    method = "Clopper-Pearson" if exact else "Wilson"
    return low - less, high - less, n, method + (", less the rate without attack" if less else "")


def _possible(found: Sequence[_Seed]) -> tuple[float, float]:
    """Between which figures the mean must lie: Student's interval knows nothing of shares."""
    if not all(one.n for one in found):
        return -np.inf, np.inf
    if found[0].against is not None:
        return -1.0, 1.0
    less = float(np.mean([one.less for one in found]))
    return -less, 1 - less


def _over_seeds(values: F64) -> tuple[float, float] | None:
    """Student's interval for the mean of three seeds or more; None for fewer, which say nothing of their spread."""
    if len(values) < _FEWEST_SEEDS:
        return None
    half = float(stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / np.sqrt(len(values)))
    return float(values.mean()) - half, float(values.mean()) + half


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
    """In a folder of its own, so that it does not overwrite the report that it is in."""
    attack = "" if group.attack == QUIET else f" --attacks {group.attack}"  # nobody attacking is played with any
    hostile = f" --hostile {group.hostile}" if group.hostile else ""
    split = "" if group.split == NATURAL else f" --splits {group.split}"
    defences = ",".join(dict.fromkeys((NONE, group.defence)))
    cells = f"{attack} --defences {defences}{hostile}{split} --seeds {len(bench.seeds)}"
    return f"{bench.command}{cells} --out redteam-cell"
