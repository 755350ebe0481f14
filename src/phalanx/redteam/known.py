"""Every attack there is: those that Phalanx brings, and those in files of yours.

An attack of yours is a function of what its attackers see:

    from phalanx.redteam import attack

    @attack(name="half-back", title="Half a step back", threat="T2", goal="damage", knowledge="white", paper="ours")
    def half_back(view):
        return -0.5 * view.honest.mean(axis=0)

`goal` is one of `GOALS`. The function gives a row (d,) for all hostile members, or one for each (f, d).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from phalanx.attacks.card import BACKDOOR, BLOCKING, DAMAGE, ONE_CLASS, RIDING, Card, Family, Goal, Knowledge
from phalanx.attacks.catalogue import DEFAULT as DEFAULT_TRAINING
from phalanx.attacks.catalogue import TRAINING_ATTACKS
from phalanx.attacks.poisoned_data import plant, stamped_others
from phalanx.attacks.training_attack import Craft, TrainingAttack, always, until_three_quarters
from phalanx.errors import ConfigError
from phalanx.federation.module import load_module
from phalanx.redteam.leakage_probes import LEAKAGE_PROBES
from phalanx.redteam.membership_probes import MEMBERSHIP_PROBES
from phalanx.redteam.probe import Probe
from phalanx.redteam.wire_probes import WIRE_PROBES

RESERVED = ("none", "default", "all", "training", "privacy", "wire")  # what these words mean already
GOALS: Mapping[str, Goal] = {
    "damage": DAMAGE,
    "class": ONE_CLASS,
    "backdoor": BACKDOOR,
    "riding": RIDING,
    "blocking": BLOCKING,
}


def attack(
    *,
    name: str,
    title: str,
    goal: str,
    knowledge: Knowledge,
    paper: str,
    threat: str = "T5",
    family: Family = "model",
    does: str = "",
) -> Callable[[Craft], TrainingAttack]:
    """Makes an attack of a function. With the goal "backdoor" its members' poisoned data hold the stamped copies.

    Raises ConfigError for a goal, name, threat or knowledge that there is not.
    """
    if goal not in GOALS:
        raise ConfigError(f"an attack's goal is one of {', '.join(GOALS)}, got {goal!r}")

    def made(craft: Craft) -> TrainingAttack:
        first = (craft.__doc__ or title).strip().splitlines()[0]
        try:
            card = Card(
                name=name,
                title=title,
                family=family,
                threat=threat,
                knowledge=knowledge,
                goal=GOALS[goal],
                paper=paper,
                does=does or first,
            )
        except ValueError as error:
            raise ConfigError(str(error)) from None
        planted = goal == "backdoor"
        return TrainingAttack(
            card=card,
            craft=craft,
            poison=plant if planted else None,
            triggered=stamped_others if planted else None,
            active=until_three_quarters if planted else always,
        )

    return made


@dataclass(frozen=True, slots=True)
class Known:
    """Attacks by name. `theirs` are the hashes of the files that attacks of the user's come from."""

    training: Mapping[str, TrainingAttack]
    probes: Mapping[str, Probe]
    theirs: Mapping[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """In the order of the report."""
        return (*self.training, *self.probes)

    @property
    def sets(self) -> Mapping[str, Sequence[str]]:
        """What names of sets stand for. The user's own attacks are in every default."""
        own = tuple(self.theirs)
        return {
            "default": (*DEFAULT_TRAINING, *own, *self.probes),
            "all": self.names,
            "training": tuple(self.training),
            "privacy": tuple(name for name, probe in self.probes.items() if probe.card.family == "privacy"),
            "wire": tuple(name for name, probe in self.probes.items() if probe.card.family != "privacy"),
        }

    def card(self, name: str) -> Card:
        """What an attack is."""
        return self.training[name].card if name in self.training else self.probes[name].card


def known(modules: Sequence[Path]) -> Known:
    """Phalanx's attacks and those in the files. Raises ConfigError for a file without any, and for a name twice."""
    training, theirs = dict(TRAINING_ATTACKS), {}
    probes = {probe.card.name: probe for probe in (*LEAKAGE_PROBES, *MEMBERSHIP_PROBES, *WIRE_PROBES)}
    for path in modules:
        module, code = load_module(path)
        own = [value for value in vars(module).values() if isinstance(value, TrainingAttack)]
        if not own:
            raise ConfigError(f"{path} holds no attack", hint="make one with @phalanx.redteam.attack(…)")
        for one in own:
            name = one.card.name
            if name in training or name in probes or name in RESERVED:
                raise ConfigError(f"{path}: there is an attack {name!r} already", hint="choose another name")
            training[name], theirs[name] = one, code
    return Known(training, probes, theirs)
