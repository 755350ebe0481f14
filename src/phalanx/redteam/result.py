"""The red team's whole result: what the page, the JSON file, SARIF and the ATLAS layer are written from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from phalanx.attacks.card import Card
from phalanx.redteam.outcome import Outcome

# works: the attack meets its own goal where nothing defends. invalid test: it does not, so that no defence is tested by
# it. held, not held: the defended figure is within the limit, or above it by more than chance. unclear: above it, but
# the interval reaches the limit. not tested: no run of it. not available: it cannot be run here, `why` says why.
Verdict = Literal["works", "invalid test", "held", "not held", "unclear", "not tested", "not available"]
Severity = Literal["critical", "high", "medium", "low", "none"]
SEVERITIES: tuple[Severity, ...] = ("critical", "high", "medium", "low", "none")


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean over `trials`, with its 95 % interval; `method` names how that was found."""

    value: float
    low: float
    high: float
    trials: int
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One attack on one defence, over its seeds. `harm` is 0 at the limit that holds and 1 at the attackers' goal.

    `figure` is the goal's judged measure. `accuracy` is that of the released model, `clean` that of the same defence
    where nobody attacks. `best` is the highest accuracy of any round. `lifespan` are the rounds in which a backdoor
    still worked on more than half of the triggered inputs after the attack had stopped. None where not measured.
    """

    attack: str
    defence: str
    hostile: int
    split: str
    seeds: int
    verdict: Verdict
    why: str
    figure: Figure | None
    harm: float | None
    accuracy: float | None
    best: float | None
    clean: float | None
    class_damage: float | None
    lifespan: float | None
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A defence of the user's that did not hold. `id` is the same from run to run, for baselines and waivers.

    `change`: against the baseline, "new", "worse", "same", "better" or "" without one. `waived`: who accepted it, why
    and until when, as one sentence; "" where nobody did.
    """

    id: str
    severity: Severity
    judged: Judged
    title: str
    happened: str
    fix: str
    change: str
    waived: str


@dataclass(frozen=True, slots=True)
class Defence:
    """A configuration that is attacked. `words` say what is on."""

    name: str
    words: str


@dataclass(frozen=True, slots=True)
class Worst:
    """The attack that hurts a defence most, among those tuned against it and all others."""

    defence: str
    hostile: int
    split: str
    attack: str
    harm: float
    words: str


@dataclass(frozen=True, slots=True)
class Cost:
    """What a point of damage costs the attackers of one defence, by the cheapest attack that does any.

    `per_point`: member-rounds for a point (1 %) of the harm that the attack is after; None where none did any.
    """

    defence: str
    attack: str
    members: int
    knowledge: str
    rounds: int
    points: float
    per_point: float | None


@dataclass(frozen=True, slots=True)
class Leak:
    """One line of the leakage table: an attack against three ways of training on the same data.

    Each is in words, with its interval; "not tested" or "not available: …" where there is none.
    """

    attack: str
    measure: str
    central: str
    naive: str
    phalanx: str


@dataclass(frozen=True, slots=True)
class Threat:
    """One row of the threat table (T1 … T13) as far as it was tested. `status` is one of "defended", "not defended",
    "not defended yet", "held in part", "not tested", "unclear", "invalid test"; `words` name the cells that say so."""

    id: str
    title: str
    status: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Everything. The same scenario, code and seeds give an equal result: hosts, times and dates are kept elsewhere."""

    federation: str
    program: str  # Phalanx and its version
    config: str  # the hash of the effective configuration
    members: int
    classes: int
    parameters: int
    test_inputs: int
    rounds: int
    seeds: tuple[int, ...]
    hostile: tuple[int, ...]
    splits: tuple[str, ...]
    cards: tuple[Card, ...]
    defences: tuple[Defence, ...]
    outcomes: tuple[Outcome, ...]
    judged: tuple[Judged, ...]
    findings: tuple[Finding, ...]  # the worst first
    worst: tuple[Worst, ...]
    costs: tuple[Cost, ...]
    leaks: tuple[Leak, ...]
    threats: tuple[Threat, ...]
    left_out: tuple[tuple[str, str], ...]  # what was not run, and why
    notes: tuple[str, ...]
    command: str  # repeats all of it
    waivers: Mapping[str, str]  # finding id → sentence, those that matched nothing too
