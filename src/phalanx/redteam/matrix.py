"""Plays the cells of a scenario, as many at once as there are cores, each once for ever.

The parent keeps what workers find; a worker is handed a cell and nothing else, since what it plays with was there
before it was forked off. Time and place leave no trace in an outcome.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from dataclasses import dataclass, field
from functools import lru_cache
from multiprocessing import get_context
from typing import Any

from threadpoolctl import threadpool_limits

from phalanx.errors import ConfigError, NotAvailable, RuleRefused
from phalanx.federation import Federation
from phalanx.learning.threads import use_threads
from phalanx.redteam.cells import play
from phalanx.redteam.dealing import lab_of
from phalanx.redteam.defences import settings_of
from phalanx.redteam.kept import Kept, key_of
from phalanx.redteam.known import Known
from phalanx.redteam.lab import Lab
from phalanx.redteam.outcome import QUIET, Cell, Outcome


@dataclass(frozen=True, slots=True)
class Ground:
    """What every cell is played on. `program` is the hash of Phalanx itself, `data` that of all members' examples."""

    federation: Federation
    known: Known
    extra: Mapping[str, Mapping[str, Any]]
    program: str
    data: str

    def key(self, cell: Cell) -> str:
        """The name under which the cell's outcome is kept: the same only if nothing that it depends on has changed."""
        settings = self.federation.settings.effective(self.federation.code)
        own = self.known.theirs.get(cell.attack, ""), self.extra.get(cell.defence, "")
        return key_of(self.program, self.data, settings.decode(), *own, cell)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the matrix stands. `eta_s` is measured on the cells so far, None before there is one."""

    done: int
    cells: int
    played: Outcome | None
    seconds: float  # that the last cell took, 0 for one that was there already
    eta_s: float | None


@dataclass(frozen=True, slots=True)
class Played:
    """The outcomes by cell, and the cells that the time did not suffice for."""

    outcomes: Mapping[Cell, Outcome]
    left_out: tuple[Cell, ...]
    seconds: Mapping[Cell, float] = field(default_factory=dict)


def play_all(
    ground: Ground, cells: Sequence[Cell], kept: Kept, budget_s: float | None, report: Callable[[Progress], None]
) -> Played:
    """Plays what was not played yet, in the order of `cells`; beyond the budget no cell is begun.

    Of an attack that turns out to do nothing where nothing defends, further cells come last: they tell least. Raises
    NotAvailable where a process that plays them dies.
    """
    queue = _Queue(ground, cells, kept)
    workers = 1 if _cannot_fork() else min(len(os.sched_getaffinity(0)), max(1, len(queue.waiting)))
    started = time.monotonic()
    if queue.outcomes:
        report(Progress(len(queue.outcomes), len(cells), None, 0.0, None))
    use_threads(1)
    _lab.cache_clear()
    global _ground  # workers are forked: what they play with cannot be pickled and need not be
    _ground = ground
    with _executor(workers) as pool:
        running: dict[Future[tuple[Outcome, float]], Cell] = {}
        try:
            while True:
                while len(running) < workers and (cell := queue.next(_left(started, budget_s))) is not None:
                    running[pool.submit(_play, cell)] = cell
                if not running:
                    break
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    outcome, seconds = future.result()
                    queue.finish(running.pop(future), outcome, seconds)
                    report(
                        Progress(len(queue.outcomes), len(cells), outcome, seconds, queue.eta(workers, len(running)))
                    )
        except BrokenExecutor:
            lost = ", ".join(map(str, sorted(running.values())))
            raise NotAvailable(
                f"a process that played cells died, of lost memory or by an attack's own doing; not finished: {lost}",
                hint="what was played is kept: the same command goes on; leave out the attack that does this",
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return Played(queue.outcomes, tuple(queue.waiting), queue.seconds)


def _cannot_fork() -> bool:
    """Where JAX is loaded: its threads do not survive a fork."""
    return "jax" in sys.modules


def _executor(workers: int) -> Executor:
    """Forked workers; where there can be none, this process, one cell after the other."""
    if _cannot_fork():
        return ThreadPoolExecutor(1)
    return ProcessPoolExecutor(workers, get_context("fork"), _start_worker)


def _left(started: float, budget_s: float | None) -> float | None:
    return None if budget_s is None else budget_s - (time.monotonic() - started)


class _Queue:
    """Cells that wait, and what is known of those that do not."""

    def __init__(self, ground: Ground, cells: Sequence[Cell], kept: Kept) -> None:
        self._ground, self._kept = ground, kept
        self.outcomes: dict[Cell, Outcome] = {}
        self.seconds: dict[Cell, float] = {}
        self.waiting: list[Cell] = []
        self._spent: dict[str, tuple[float, int]] = {}  # seconds and cells, by attack, by defence, and of all
        for cell in cells:
            held = kept.get(ground.key(cell), cell)
            if held is None:
                self.waiting.append(cell)
            else:
                self.outcomes[cell] = held
        self._kinds = Counter((cell.attack, cell.defence) for cell in self.waiting)

    def next(self, left_s: float | None) -> Cell | None:
        """The most telling cell that fits into the time that is left; None if there is none."""
        for late in (False, True):
            for cell in self.waiting:
                fits = left_s is None or (left_s > 0 and self._expected(cell.attack, cell.defence) <= left_s)
                if fits and self._tells_little(cell) == late:
                    self.waiting.remove(cell)
                    self._kinds[cell.attack, cell.defence] -= 1
                    return cell
        return None

    def finish(self, cell: Cell, outcome: Outcome, seconds: float) -> None:
        """Keeps an outcome."""
        if not outcome.unavailable:  # what kept it from being played may be mended by the next time
            self._kept.add(self._ground.key(cell), outcome)
        self.outcomes[cell], self.seconds[cell] = outcome, seconds
        for like in (cell.attack, cell.defence, ""):
            total, count = self._spent.get(like, (0.0, 0))
            self._spent[like] = total + seconds, count + 1

    def eta(self, workers: int, running: int) -> float | None:
        """Seconds until all is played, by what like cells took so far."""
        if not self._spent:
            return None
        total, count = self._spent[""]
        waiting = sum(times * self._expected(attack, defence) for (attack, defence), times in self._kinds.items())
        left: float = waiting + running * total / count
        return left / workers

    def _expected(self, attack: str, defence: str) -> float:
        """The mean over cells of the same attack, else of the same defence, else over all; 0 before the first."""
        for like in (attack, defence, ""):
            if like in self._spent:
                total, count = self._spent[like]
                return total / count
        return 0.0

    def _tells_little(self, cell: Cell) -> bool:
        """Whether the attack did nothing in the first cell where nothing defends."""
        attack = self._ground.known.training.get(cell.attack)
        if attack is None:
            return False
        for seed in range(cell.seed + 1):
            tried = Cell(cell.attack, attack.undefended, cell.hostile, cell.split, seed)
            base = Cell(QUIET, attack.undefended, 0, cell.split, seed)
            if tried in self.outcomes and base in self.outcomes:
                goal = attack.card.goal
                return _harm(goal.measure, self.outcomes[tried], self.outcomes[base]) < goal.met / 2
        return False


def _harm(measure: str, attacked: Outcome, base: Outcome) -> float:
    """The goal's measure, roughly: what decides is `judging`."""
    if measure in ("damage", "class_damage"):
        return base.measures.get("accuracy", 0.0) - attacked.measures.get("accuracy", 0.0)
    return attacked.measures.get(measure, 0.0)


# ------------------------------------------------------------------------------------------------------------- workers

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux
_ground: Ground | None = None


def _start_worker() -> None:
    """One thread for each worker, in torch and in BLAS: a thread a core in each of them makes all of them wait.

    A worker whose parent was killed ends with it, and does not wait for work for ever.
    """
    use_threads(1)
    threadpool_limits(1)
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGTERM)


def _play(cell: Cell) -> tuple[Outcome, float]:
    if _ground is None:
        raise RuntimeError("not in a worker process")
    started = time.monotonic()
    return outcome_of_cell(_ground, cell), time.monotonic() - started


@lru_cache(4)
def _lab(split: str, seed: int) -> Lab:
    if _ground is None:
        raise RuntimeError("not in a worker process")
    return lab_of(_ground.federation, split, seed)


def outcome_of_cell(ground: Ground, cell: Cell) -> Outcome:
    """Plays one cell. What cannot be played is an outcome that says why."""
    lab = _lab(cell.split, cell.seed)
    try:
        if cell.attack in ground.known.probes:
            return _probed(ground, lab, cell)
        settings = settings_of(lab, cell.defence, cell.hostile, ground.extra)
        return play(lab, ground.known.training.get(cell.attack), settings, cell)
    except RuleRefused as error:
        return Outcome(cell=cell, unavailable=f"not available: {error.message}")
    except NotAvailable as error:
        return Outcome(cell=cell, unavailable=error.message)
    except ConfigError as error:
        return Outcome(cell=cell, unavailable=f"not available: {error.message}")


def _probed(ground: Ground, lab: Lab, cell: Cell) -> Outcome:
    found = ground.known.probes[cell.attack].play(lab, cell.defence)  # type: ignore[arg-type]  # a setting of the probe
    return Outcome(
        cell=cell,
        measures=found.measures,
        counts=found.counts,
        rebuilt=found.rebuilt,
        notes=found.notes,
        unavailable=found.unavailable,
    )
