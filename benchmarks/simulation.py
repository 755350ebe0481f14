"""What a simulated round costs: ours, a plain torch loop, Flower's and pfl's simulations, on the same task in one run.

    .venv/bin/python benchmarks/simulation.py
    .venv/bin/python benchmarks/simulation.py --python-flower PATH --python-pfl PATH \\
        --out benchmarks/results/simulation.json

The task (`peers/tasks.py`): 32 members, 60 examples each, three SGD steps a round on batches of 20; one thread.

- *pairs*: in one process, round by round in turn; the ratio is the median of the rounds' ratios. `loop` trains on the
  same shuffled mini-batches as ours; `loop in order` has cut its examples into batches beforehand, once, as the peers'
  scripts do. Ours keeps all 32 deltas, the loops add them up as they come.
- *engines*: each alone in a process of its own, in turn, `--repeats` times, measured by `peers/meter.py`.
- *thousand*: 1,000 members of the larger model, deltas added up as their groups are done. Every 32nd has the same data.

Before anything is timed, one round of ours must equal the loop's on the same mini-batches.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
PEERS = Path(__file__).parent / "peers"
sys.path.insert(0, str(PEERS))

import meter  # noqa: E402
import numpy as np  # noqa: E402
import tasks  # noqa: E402
import torch  # noqa: E402

from phalanx.learning import Descent, MemberData  # noqa: E402
from phalanx.learning.adapters.torch_module import torch_model  # noqa: E402
from phalanx.learning.contract import Job  # noqa: E402
from phalanx.learning.descent import batch_of  # noqa: E402
from phalanx.learning.many import how_together, train_together, trained_in_groups  # noqa: E402
from phalanx.learning.parts import flatten_whole, views  # noqa: E402
from phalanx.learning.trainer import LocalTrainer  # noqa: E402
from phalanx.types import F32, TrainTask  # noqa: E402

SETTINGS = Descent(learning_rate=tasks.SPEED_RATE, local_steps=tasks.SPEED_STEPS, batch_size=tasks.BATCH)
# What a float32 round may differ by: the model's values, below 4, are rounded at each of three steps (2⁻²⁴ · 4 · 3).
EQUAL = 1e-6


class Ours:
    """The federation of the speed task, its model moved by the mean delta of each round."""

    def __init__(self, name: str, members: int = tasks.SPEED_MEMBERS) -> None:
        network = tasks.network(name)
        network.load_state_dict({key: torch.from_numpy(value) for key, value in tasks.first_model(name).items()})
        model = torch_model(network, tasks.CLASSES)
        data = [tasks.speed_data(name, member) for member in range(tasks.SPEED_MEMBERS)]
        own = [MemberData(x, y, x[:0], y[:0], tasks.CLASSES) for x, y in data]
        self.trainers = [LocalTrainer(model, own[member % len(own)], SETTINGS) for member in range(members)]
        self.whole = self.trainers[0].parts.whole
        self.model: F32 = flatten_whole(model.initial_model(), self.whole)
        self.round = 0

    def jobs(self) -> list[Job]:
        return [Job(trainer, self.model, TrainTask(self.round, None), None) for trainer in self.trainers]

    def play(self) -> None:
        """A round with all deltas in memory."""
        trained = train_together(self.jobs())
        total = trained[0].delta.copy()
        for each in trained[1:]:
            total += each.delta
        self.model = self.model + total / np.float32(len(trained))
        self.round += 1

    def play_in_groups(self) -> None:
        """A round that lets go of each delta."""
        total = np.zeros_like(self.model)
        for _, each in trained_in_groups(self.jobs()):
            total += each.delta
        self.model = self.model + total / np.float32(len(self.trainers))
        self.round += 1


Batches = list[tuple[torch.Tensor, torch.Tensor]]


class Loop:
    """The same by a plain loop, as in `peers/torch_loop.py`."""

    def __init__(self, name: str) -> None:
        self.network, self.loss = tasks.network(name), torch.nn.CrossEntropyLoss()
        self.model = {key: torch.from_numpy(value) for key, value in tasks.first_model(name).items()}
        data = [tasks.speed_data(name, member) for member in range(tasks.SPEED_MEMBERS)]
        self.data = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in data]
        self.in_order = [list(zip(x.split(tasks.BATCH), y.split(tasks.BATCH), strict=True)) for x, y in self.data]
        self.round = 0

    def shuffled(self) -> Iterator[Batches]:
        """Each member's mini-batches of this round: those of ours."""
        steps = range(tasks.SPEED_STEPS)
        cuts = [torch.from_numpy(batch_of(SETTINGS, tasks.SPEED_EXAMPLES, self.round, step)) for step in steps]
        for x, y in self.data:
            yield [(x[rows], y[rows]) for rows in cuts]

    def train(self, batches: Batches) -> None:
        """Leaves the member's model in the network."""
        self.network.load_state_dict(self.model)
        optimizer = torch.optim.SGD(self.network.parameters(), lr=tasks.SPEED_RATE)
        for x, y in batches:
            optimizer.zero_grad()
            self.loss(self.network(x), y).backward()
            optimizer.step()

    def play(self) -> None:
        self._play(self.shuffled())

    def play_in_order(self) -> None:
        self._play(self.in_order)

    def _play(self, members: Iterable[Batches]) -> None:
        total = {name: torch.zeros_like(value) for name, value in self.model.items()}
        for batches in members:
            self.train(batches)
            with torch.no_grad():
                for name, value in self.network.named_parameters():
                    total[name] += value - self.model[name]
        self.model = {name: value + total[name] / len(self.data) for name, value in self.model.items()}
        self.round += 1


def largest_difference(ours: Ours, loop: Loop) -> float:
    """Between the deltas of a round of ours and the loop's, over all members."""
    found = 0.0
    for trained, batches in zip(train_together(ours.jobs()), loop.shuffled(), strict=True):
        loop.train(batches)
        deltas = views(trained.delta, ours.whole)
        for name, value in loop.network.named_parameters():
            alone = (value.detach() - loop.model[name]).numpy()
            found = max(found, float(np.abs(deltas[name] - alone).max()))
    return found


def timed(play: Callable[[], None]) -> tuple[float, float]:
    """Wall and CPU seconds of a round."""
    wall, cpu = time.perf_counter(), time.process_time()
    play()
    return time.perf_counter() - wall, time.process_time() - cpu


def pairs(name: str, rounds: int) -> dict[str, Any]:
    ours, loop, in_order = Ours(name), Loop(name), Loop(name)
    difference = largest_difference(ours, loop)
    if not difference <= EQUAL:
        raise SystemExit(f"{name}: our deltas differ from the loop's by {difference:g}, more than {EQUAL:g}")
    plays = {"ours": ours.play, "loop": loop.play, "loop in order": in_order.play_in_order}
    for play in [*plays.values()] * 2:  # the first rounds fill caches
        play()
    seen = [{who: timed(play) for who, play in plays.items()} for _ in range(rounds)]
    table: dict[str, Any] = {"batching": how_together(ours.trainers), "rounds": rounds, "difference": difference}
    for who in plays:
        table[who] = {}
        for place, what in enumerate(("wall", "cpu")):
            ratios = sorted(turn[who][place] / turn["ours"][place] for turn in seen)
            table[who][f"{what}_ms"] = round(1e3 * statistics.median(turn[who][place] for turn in seen), 2)
            table[who][f"{what}_over_ours"] = round(statistics.median(ratios), 2)
            table[who][f"{what}_quartiles"] = [round(ratios[len(ratios) * part // 4], 2) for part in (1, 3)]
    return table


def alone(name: str, rounds: int) -> dict[str, Any]:
    """Our side in a process of its own, as the peers are measured; `thousand` is the larger model, in groups."""
    costs = meter.Meter()
    ours = Ours("mlp", 1000) if name == "thousand" else Ours(name)
    play = ours.play_in_groups if name == "thousand" else ours.play
    costs.start()
    for _ in range(rounds):
        play()
        costs.round_done()
    return {"engine": "phalanx", **costs.report()}


def started(command: list[str]) -> dict[str, Any]:
    """The JSON line that a script prints last."""
    done = subprocess.run(command, cwd=PEERS, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def engines(arguments: argparse.Namespace, name: str) -> dict[str, Any]:
    """Each engine alone, in turn; the ratios are medians over the repeats."""
    own = [sys.executable, str(Path(__file__).resolve()), "--alone", name, "--rounds", str(arguments.rounds)]
    commands = {"phalanx": own}
    for engine, python, script in (
        ("torch-loop", sys.executable, "torch_loop.py"),
        ("flower", arguments.python_flower, "flower_simulation.py"),
        ("pfl", arguments.python_pfl, "pfl_simulation.py"),
    ):
        if python:
            commands[engine] = [python, script, "--model", name, "--rounds", str(arguments.rounds)]
    seen = [{engine: started(command) for engine, command in commands.items()} for _ in range(arguments.repeats)]
    return {engine: _summary(engine, seen) for engine in commands}


def _summary(engine: str, seen: list[dict[str, Any]]) -> dict[str, Any]:
    def median(key: str) -> float:
        return statistics.median(turn[engine][key] for turn in seen)

    def ratio(key: str) -> float:
        return round(statistics.median(turn[engine][key] / turn["phalanx"][key] for turn in seen), 2)

    return {
        "wall_ms": round(1e3 * median("round_wall_s_median"), 2),
        "cpu_ms": round(1e3 * median("round_cpu_s_mean"), 2),
        "wall_over_phalanx": ratio("round_wall_s_median"),
        "cpu_over_phalanx": ratio("round_cpu_s_mean"),
        "startup_to_first_round_s": median("startup_to_first_round_s"),
        "peak_rss_mb": median("peak_rss_mb"),
        "processes": median("peak_processes"),
        "versions": seen[0][engine].get("versions"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--python-flower", help="interpreter of an environment with Flower (peers/README.md)")
    parser.add_argument("--python-pfl", help="interpreter of an environment with pfl")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3, help="of each engine in a process of its own")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--alone", choices=["mlp", "cnn", "thousand"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.alone:
        print(json.dumps(alone(arguments.alone, arguments.rounds)))
        return
    thousand = [sys.executable, str(Path(__file__).resolve()), "--alone", "thousand", "--rounds", "3"]
    found = {
        "command": "python benchmarks/simulation.py" + "".join(
            f" --python-{peer} PATH" for peer in ("flower", "pfl") if getattr(arguments, f"python_{peer}")
        ),
        "machine": {"processor": platform.processor() or platform.machine(), "load_before": os.getloadavg()[0]},
        "versions": {"torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version()},
        "pairs": {name: pairs(name, arguments.rounds) for name in ("mlp", "cnn")},
        "engines": {name: engines(arguments, name) for name in ("mlp", "cnn")},
        "thousand": started(thousand),
    }  # fmt: skip
    print(json.dumps(found, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
