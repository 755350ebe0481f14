"""What a run costs, whole process tree: seconds, CPU seconds and memory, read from /proc (Linux).

A process that lives for less than a sampling interval is not counted. The sampling takes about 0.5 % of one core.
Import it before numpy and torch: it keeps both to one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # read once, when numpy and torch are imported

_INTERVAL_S = 0.25
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_WARM_UP = 2  # the first rounds fill caches; the medians leave them out


class Meter:
    """Started at once; `round_done` after every round; `report` when the work is done."""

    def __init__(self) -> None:
        self._pids = [os.getpid()]
        self._cpu: dict[int, float] = {}  # the last value of each process of the tree, dead ones too
        self._peak_rss = 0
        self._peak_processes = 0
        self._marks: list[tuple[float, float]] = []
        self._first_round_s = float("nan")
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def start(self) -> None:
        """Everything is set up and the first round begins."""
        self._marks = [(time.perf_counter(), self._sample())]

    def round_done(self) -> None:
        """A round is finished."""
        if len(self._marks) == 1:
            self._first_round_s = _age_s()
        self._marks.append((time.perf_counter(), self._sample()))

    def report(self) -> dict[str, Any]:
        """Figures so far. PSS shares a page among its processes; RSS counts it in each."""
        pss = sum(_pss(pid) for pid in _tree(os.getpid()))
        self._stop.set()
        self._thread.join()
        pairs = list(zip(self._marks[:-1], self._marks[1:], strict=True))
        wall = [round(after[0] - before[0], 5) for before, after in pairs]
        cpu = [round(after[1] - before[1], 5) for before, after in pairs]
        warm = min(_WARM_UP, len(wall) - 1)
        spent = self._marks[-1][1] - self._marks[warm][1]
        return {
            "rounds": len(wall),
            "startup_to_first_round_s": round(self._first_round_s, 2),
            "round_wall_s_median": statistics.median(wall[warm:]),
            "round_cpu_s_mean": round(spent / (len(cpu) - warm), 5),
            "round_wall_s": wall,
            "round_cpu_s": cpu,
            "peak_rss_mb": round(self._peak_rss / 2**20),
            "pss_at_end_mb": round(pss / 2**20),
            "peak_processes": self._peak_processes,
        }

    def _watch(self) -> None:
        while not self._stop.wait(_INTERVAL_S):
            self._pids = _tree(os.getpid())
            self._sample()

    def _sample(self) -> float:
        """CPU seconds of the tree until now. This process's own are exact, the others' come in ticks of 10 ms."""
        with self._lock:
            rss = 0
            for pid in self._pids:
                fields = _stat(pid)
                if fields is not None:
                    self._cpu[pid] = (int(fields[11]) + int(fields[12])) / _TICKS
                    rss += int(fields[21]) * _PAGE
            self._cpu[os.getpid()] = time.process_time()
            self._peak_rss = max(self._peak_rss, rss)
            self._peak_processes = max(self._peak_processes, len(self._pids))
            return sum(self._cpu.values())


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the third on; None if the process is gone. proc(5) numbers them from 1."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _tree(root: int) -> list[int]:
    """The process and all its descendants."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        fields = _stat(int(name)) if name.isdigit() else None
        if fields is not None:
            children.setdefault(int(fields[1]), []).append(int(name))
    tree = [root]
    for pid in tree:  # grows while it is read: breadth first
        tree.extend(children.get(pid, []))
    return tree


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def _age_s() -> float:
    """Seconds since this process was started, by the kernel's clock: the interpreter and its imports count."""
    fields = _stat(os.getpid())
    assert fields is not None
    return float(Path("/proc/uptime").read_text().split()[0]) - int(fields[19]) / _TICKS


def answer(
    work: Callable[[argparse.Namespace], dict[str, Any]], *, engine: str, algorithms: list[str], packages: list[str]
) -> None:
    """Reads the command line, does the work and prints one JSON line, whatever else the libraries print."""
    parser = argparse.ArgumentParser(description=f"{engine}: prints one JSON line")
    parser.add_argument("--model", choices=["mlp", "cnn"], default="mlp", help="of the speed task")
    parser.add_argument("--curve", choices=algorithms, help="the curve task instead: test accuracy by round")
    parser.add_argument("--seed", type=int, default=0, help="of the mini-batches of the curve task")
    parser.add_argument("--draws", default=engine, help="engines with the same word draw the same mini-batches")
    parser.add_argument("--rounds", type=int, help="default: 30 for the curve, else 20")
    arguments = parser.parse_args()
    if arguments.rounds is None:
        arguments.rounds = 30 if arguments.curve else 20
    task = {"curve": arguments.curve, "seed": arguments.seed} if arguments.curve else {"speed": arguments.model}
    out = os.dup(1)  # not inherited: a child that outlives us keeps no reader waiting
    os.dup2(2, 1)
    load = os.getloadavg()[0]
    found = work(arguments)
    versions = {name: version(name) for name in packages} | {"python": platform.python_version()}
    line = {"engine": engine, "task": task, **found, "versions": versions, "load_before": round(load, 2)}
    sys.stdout.flush()
    os.write(out, (json.dumps(line) + "\n").encode())
