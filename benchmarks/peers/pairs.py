"""What two calls cost, one after the other in one process, in turn: wall and CPU seconds, and peak memory (Linux).

Before every call there is a pause in which the other side's threads, which spin for a while after their work, go to
sleep: they would slow the next call down.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

PAUSE_S = 0.05  # OpenBLAS spins for 2²⁶ ticks of the clock: 26 ms at 2.6 GHz
_WORTH_S = 0.03  # a shorter call is repeated until it lasts that long
_MOST = 100


class TooSlow(Exception):
    """The call was given up."""


@dataclass(frozen=True, slots=True)
class Call:
    """`run` takes what `prepare` gives, which is not timed."""

    run: Callable[[Any], Any]
    prepare: Callable[[], Any] = lambda: None
    one_thread: bool = False

    def timed(self, times: int = 1) -> tuple[float, float]:
        """Mean wall and CPU seconds of the process over a number of calls in a row, after a pause."""
        with threads(self.one_thread):
            time.sleep(PAUSE_S)
            wall = cpu = 0.0
            for _ in range(times):
                given = self.prepare()
                started, spent = time.perf_counter(), time.process_time()
                self.run(given)
                wall += time.perf_counter() - started
                cpu += time.process_time() - spent
            return wall / times, cpu / times

    def first(self, limit_s: float) -> First:
        """Called once. Raises TooSlow after `limit_s`, if the call lets itself be interrupted."""
        given = self.prepare()
        with threads(self.one_thread), _at_most(limit_s):
            before = _fresh_peak()
            started, spent = time.perf_counter(), time.process_time()
            result = self.run(given)
            seconds = time.perf_counter() - started, time.process_time() - spent
            return First(result, _status("VmHWM") - before, seconds)


@dataclass(frozen=True, slots=True)
class First:
    """What a call gave, by how many bytes the process was larger while it ran, and its wall and CPU seconds."""

    result: Any
    extra_bytes: int
    seconds: tuple[float, float]


Round = list[tuple[float, float]]  # wall and CPU seconds of each call


def in_turn(calls: list[Call], rounds: int, known_s: float | None = None) -> list[Round]:
    """Every call in each of the rounds. `known_s`: about how long the last one takes, which then is not tried first."""
    gc.collect()
    gc.disable()
    try:
        tried = calls if known_s is None else calls[:-1]
        seconds = [call.timed()[0] for call in tried] + ([] if known_s is None else [known_s])
        times = [repeats(each) for each in seconds]
        return [[call.timed(n) for call, n in zip(calls, times, strict=True)] for _ in range(rounds)]
    finally:
        gc.enable()


def repeats(seconds: float) -> int:
    """How many calls in a row are timed as one."""
    return max(1, min(_MOST, round(_WORTH_S / max(seconds, 1e-6))))


@contextlib.contextmanager
def threads(one: bool) -> Iterator[None]:
    """One thread for torch, BLAS and OpenMP, or as many as they take by themselves."""
    if not one:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    def stop(signum: int, frame: Any) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _fresh_peak() -> int:
    """Bytes that the process holds now, after what it holds for nothing went back; the kernel's peak starts anew."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field + ":"))


def relative_difference(ours: Any, theirs: Any) -> float:
    """|ours - theirs| / |theirs|, both (d,), in float64."""
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))
