"""A whole red-team campaign: read the scenario, play what was not played yet, judge, and put the result together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from phalanx import __version__
from phalanx.canonical import digest
from phalanx.errors import ConfigError, PhalanxError
from phalanx.federation import Federation
from phalanx.redteam import defences as d
from phalanx.redteam.dealing import lab_of
from phalanx.redteam.findings import findings_of
from phalanx.redteam.judging import Bench, judge
from phalanx.redteam.kept import Kept, data_digest, program_digest
from phalanx.redteam.known import Known
from phalanx.redteam.lab import Lab
from phalanx.redteam.matrix import Ground, Progress, play_all
from phalanx.redteam.outcome import Cell, Outcome
from phalanx.redteam.plan import cells_of
from phalanx.redteam.result import Defence, Result
from phalanx.redteam.scenario import Played, Scenario, check_splits, chosen, counts
from phalanx.redteam.tables import costs_of, leaks_of, threats_of, worst_cases


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """What is played on what. `command` is what was typed, without the options that choose cells."""

    federation: Federation
    known: Known
    played: Played
    command: str

    def cells(self) -> tuple[Cell, ...]:
        """Every cell, the most telling first."""
        return cells_of(self.played, self.known.training, self.known.probes)


def campaign(federation: Federation, known: Known, scenario: Scenario, seeds: Sequence[int], command: str) -> Campaign:
    """The scenario, made concrete. Raises ConfigError for names that there are not and members that there are not."""
    settings = federation.settings
    if settings.learning.held_out == 0:
        raise ConfigError(
            "learning.held_out = 0 leaves nothing to measure damage on", hint="hold out 0.1 or more for the red team"
        )
    sets = {"default": (*d.DEFAULT, *scenario.defence), "all": (*d.NAMES, *scenario.defence)}
    taken = sorted(set(scenario.defence) & {*d.NAMES, d.CENTRAL, "default", "all"})
    if taken:
        raise ConfigError(f"there is a defence {taken[0]!r} already", hint="choose another name under [defence]")
    played = Played(
        attacks=chosen(scenario.attacks, known.names, known.sets, "attack"),
        defences=chosen(scenario.defences, sets["all"], sets, "defence"),
        hostile=counts(scenario, len(settings.members), settings.aggregation.f),
        splits=check_splits(scenario.splits),
        seeds=tuple(seeds),
        extra=scenario.defence,
    )
    first = lab_of(federation, played.splits[0], played.seeds[0])
    for name in (name for name in played.defences if name in scenario.defence):
        try:
            d.settings_of(first, name, played.hostile[0], scenario.defence)
        except PhalanxError as error:
            raise ConfigError(f"defence {name}: {error.message}", hint=error.hint) from None
    return Campaign(federation=federation, known=known, played=played, command=command)


def run_campaign(
    one: Campaign, folder: Path, budget_s: float | None, report: Callable[[Progress], None]
) -> tuple[Result, Mapping[Cell, float]]:
    """Plays the campaign, or goes on with it, and judges. Also the seconds of each cell that was played now."""
    data = data_digest(one.federation.sites)
    ground = Ground(one.federation, one.known, one.played.extra, program_digest(), data)
    cells = one.cells()
    found = play_all(ground, cells, Kept(folder), budget_s, report)
    return _result(one, cells, found.outcomes, found.left_out), found.seconds


def _result(one: Campaign, cells: Sequence[Cell], outcomes: Mapping[Cell, Outcome], left_out: Sequence[Cell]) -> Result:
    known, played, settings = one.known, one.played, one.federation.settings
    truth = {
        (split, seed): lab_of(one.federation, split, seed).test[1].tolist()  # one at a time: each holds all examples
        for split in played.splits
        for seed in played.seeds
    }
    bench = Bench(known, outcomes, cells, played.seeds, truth, one.command)
    judged = judge(bench)
    cards = {name: known.card(name) for name in played.attacks}
    first = lab_of(one.federation, played.splits[0], played.seeds[0])
    return Result(
        federation=settings.federation.name,
        program=f"Phalanx {__version__}",
        config=digest("config", settings.effective(one.federation.code)),
        members=len(settings.members),
        classes=first.classes,
        parameters=int(first.start(first.trainers()).size),
        test_inputs=len(first.test[1]),
        rounds=settings.run.rounds,
        seeds=played.seeds,
        hostile=played.hostile,
        splits=played.splits,
        cards=tuple(cards.values()),
        defences=_defences(one, first),
        outcomes=tuple(outcomes[cell] for cell in sorted(outcomes)),
        judged=judged,
        findings=findings_of(judged, cards),
        worst=worst_cases(judged, cards),
        costs=costs_of(judged, cards, outcomes),
        leaks=leaks_of(judged, known),
        threats=threats_of(judged, cards),
        left_out=_left_out(left_out),
        notes=_notes(outcomes),
        command=_whole(one),
        waivers={},
    )


def _defences(one: Campaign, lab: Lab) -> tuple[Defence, ...]:
    names = {d.NONE, *one.played.defences} | {
        one.known.training[name].undefended for name in one.played.attacks if name in one.known.training
    }
    described = []
    for name in (*d.NAMES, *one.played.extra):
        if name not in names:
            continue
        try:
            settings = d.settings_of(lab, name, one.played.hostile[0], one.played.extra)
            described.append(d.words(name, settings))
        except PhalanxError as error:
            described.append(Defence(name, f"not available: {error.message}"))
    return tuple(described)


def _whole(one: Campaign) -> str:
    """The command that plays all of it again."""
    p = one.played
    listed = [("attacks", p.attacks), ("defences", p.defences), ("hostile", p.hostile), ("splits", p.splits)]
    words = " ".join(f"--{name} {','.join(map(str, values))}" for name, values in listed)
    return f"{one.command} {words} --seeds {len(p.seeds)}"


def _left_out(cells: Sequence[Cell]) -> tuple[tuple[str, str], ...]:
    """By attack and defence: how many of their cells the time did not suffice for."""
    groups = Counter((cell.attack, cell.defence) for cell in cells)
    return tuple(
        (f"{attack} on {defence}", f"{count} cell{'s' * (count > 1)} beyond the time budget")
        for (attack, defence), count in sorted(groups.items())
    )


def _notes(outcomes: Mapping[Cell, Outcome]) -> tuple[str, ...]:
    """The notes of all outcomes, each once for its attack and defence."""
    notes = [f"{cell.attack} on {cell.defence}: {note}" for cell in sorted(outcomes) for note in outcomes[cell].notes]
    return tuple(dict.fromkeys(notes))
