"""Training by distributed SGD among honest members and f colluders: what accuracy.py and rules.py have in common.

The protocol is ByzFL's (González et al., 2025; robust-aggregation.md 5 and 12): 10 honest members and f hostile ones
who see the honest rows of the step and know the rule. A member's row is its momentum m <- βm + (1-β)g; the server moves
the model by the learning rate times the aggregate, plus weight decay. The colluders' free parameters are searched anew
in each step against the rule that is deployed. A `gamma` share of the training images is dealt out at random, the rest
sorted by label and cut into contiguous parts.

With the attack `none` there are 10 + f members, all honest, among whom the images are divided, and the rule is told f.

Letters: `w` (d,) the model, `h` honest members, `n` rows.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from phalanx import __version__, kernels
from phalanx.aggregation import FLAME, CenteredClipping, Chain, FLTrust, aggregate
from phalanx.attacks import collude
from phalanx.attacks.basis import observe
from phalanx.attacks.response import target
from phalanx.errors import QuorumError
from phalanx.rules import Rule
from phalanx.types import F32

DATA = Path(os.environ.get("PHALANX_DATA") or Path(__file__).resolve().parent.parent / "data")
SCALES = {"mnist": (0.1307, 0.3081), "fashion-mnist": (0.2860, 0.3530)}  # mean and deviation of a pixel
TEST = 10_000
HONEST = 10
ROOT = 100  # images that the server has of its own, for FLTrust
CLASSES = 10
_AT_ONCE = 250  # images that are tested at once: they stay in the cache

# f and 32 bytes that nobody knew when the rows were sent -> the rule of this step.
Maker = Callable[[int, bytes], Rule | Chain]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Setting:
    """What all runs of a table have in common."""

    data: str
    model: str
    steps: int
    test_every: int
    batch: int = 25
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4


@dataclass(frozen=True, slots=True)
class Run:
    """One training. `rule` is its name in the table."""

    rule: str
    gamma: float
    f: int
    attack: str
    seed: int

    def __str__(self) -> str:
        return f"gamma={self.gamma:<4} f={self.f} {self.rule:18} {self.attack:10} seed={self.seed}"


@dataclass(slots=True)
class Outcome:
    """Test accuracy, 0 … 1, before the first step, then in turns, and after the last; and processor seconds.

    `stopped` is the step at which the rows were no longer finite; from there it is the accuracy of the ruined model.
    """

    chain: str
    accuracy: list[float] = field(default_factory=list)
    stopped: int | None = None
    seconds: dict[str, list[float]] = field(default_factory=dict)
    began: float = field(default_factory=time.process_time)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Adds what the block takes."""
        start = time.process_time()
        yield
        self.seconds.setdefault(what, []).append(time.process_time() - start)

    def as_dict(self) -> dict[str, Any]:
        """For JSON, rounded: seconds of the whole run, and of one search and one aggregation as medians."""
        curve = [round(value, 4) for value in self.accuracy]
        shown = {"chain": self.chain, "best": max(curve), "final": curve[-1], "accuracy": curve}
        if self.stopped is not None:
            shown["stopped"] = self.stopped
        shown["seconds"] = round(time.process_time() - self.began, 1)
        return shown | {what: float(f"{np.median(all_of):.3g}") for what, all_of in self.seconds.items()}


# ----------------------------------------------------------------------------------------------------------------- data


@dataclass(frozen=True, slots=True)
class Images:
    """Normalised images (k, 1, 28, 28) and their labels, for training and for testing."""

    x: F32
    y: Labels
    x_test: torch.Tensor
    y_test: torch.Tensor


def load(name: str) -> Images:
    """The images of `data/<name>.npz`."""
    path = DATA / f"{name}.npz"
    if not path.exists():
        raise SystemExit(f"{path} is missing: run `make bench-data`, or name its folder in PHALANX_DATA")
    mean, deviation = SCALES[name]
    with np.load(path) as file:
        x = ((file["images"][:, None].astype(np.float32) / 255.0 - mean) / deviation).astype(np.float32)
        y = file["labels"].astype(np.int64)
    return Images(x[:-TEST], y[:-TEST], torch.from_numpy(x[-TEST:]), torch.from_numpy(y[-TEST:]))


def split(labels: Labels, members: int, gamma: float, rng: np.random.Generator) -> list[Labels]:
    """The places of each member's images."""
    order = rng.permutation(len(labels))
    alike, rest = np.split(order, [int(gamma * len(order))])
    rest = rest[np.argsort(labels[rest], kind="stable")]
    parts = zip(np.array_split(alike, members), np.array_split(rest, members), strict=True)
    return [np.concatenate(both) for both in parts]


def batches(mine: Labels, size: int, rng: np.random.Generator) -> Iterator[Labels]:
    """A member's images in ever new orders, `size` at a time; what is left of an order is dropped."""
    while True:
        whole = len(mine) // size
        yield from rng.permutation(mine)[: whole * size].reshape(whole, size)


# ---------------------------------------------------------------------------------------------------------------- model


def network(name: str, seed: int) -> nn.Sequential:
    """`cnn` has 431,080 parameters (ByzFL's cnn_mnist), `mlp` 25,450; torch's initial weights."""
    torch.manual_seed(seed)
    if name == "mlp":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, CLASSES))
    convolutions = (
        *(nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.ReLU()),  # 28 -> 24 -> 12
        *(nn.Conv2d(20, 50, 5), nn.MaxPool2d(2), nn.ReLU()),  # 12 -> 8 -> 4
    )
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, CLASSES))


class Learner:
    """A network whose parameters are one vector.

    Channels last: pooling and convolution then take two thirds of the time. One member after the other is as fast as
    all of them through torch.func.vmap, since the activations of 25 images fit into the cache.
    """

    def __init__(self, name: str, seed: int) -> None:
        self.network = network(name, seed).to(memory_format=torch.channels_last)
        self.parameters = list(self.network.parameters())
        self.sizes = [p.numel() for p in self.parameters]

    def get(self) -> F32:
        """(d,) the model."""
        return np.concatenate([p.detach().flatten().numpy() for p in self.parameters])

    def set(self, w: F32) -> None:
        """Puts (d,) a model in."""
        with torch.no_grad():
            for p, part in zip(self.parameters, torch.from_numpy(w).split(self.sizes), strict=True):
                p.copy_(part.view_as(p))

    def gradients(self, x: F32, y: Labels) -> F32:
        """(h, batch, …) images and (h, batch) labels -> (h, d) the gradient of each member's mean loss."""
        rows = torch.empty(len(x), sum(self.sizes))
        for row, images, labels in zip(rows, torch.from_numpy(x), torch.from_numpy(y), strict=True):
            loss = nn.functional.cross_entropy(self.network(images), labels)
            torch.cat([part.flatten() for part in torch.autograd.grad(loss, self.parameters)], out=row)
        return rows.numpy()

    def accuracy(self, images: Images) -> float:
        """The share of test images that are classified right."""
        right = 0
        with torch.inference_mode():
            pairs = zip(images.x_test.split(_AT_ONCE), images.y_test.split(_AT_ONCE), strict=True)
            for x, y in pairs:
                right += int((self.network(x).argmax(dim=1) == y).sum())
        return right / len(images.y_test)


# -------------------------------------------------------------------------------------------------------------- a run


class Members:
    """The honest ones. `rows` (h, d) is what they send: their momenta."""

    def __init__(self, run: Run, setting: Setting, images: Images, learner: Learner) -> None:
        dealt, drawn = np.random.default_rng([run.seed, 0]), np.random.default_rng([run.seed, 1])
        self.h = HONEST + (run.f if run.attack == "none" else 0)
        parts = split(images.y, self.h, run.gamma, dealt)
        self.streams = [batches(part, setting.batch, rng) for part, rng in zip(parts, drawn.spawn(self.h), strict=True)]
        self.images, self.learner = images, learner
        self.momentum = np.float32(setting.momentum)
        self.rows = np.zeros((self.h, sum(learner.sizes)), dtype=np.float32)
        self.batch = np.zeros((self.h, setting.batch), dtype=np.int64)

    def step(self) -> F32:
        """Their next rows, at the model that the learner has."""
        self.batch = np.stack([next(stream) for stream in self.streams])
        gradients = self.learner.gradients(self.images.x[self.batch], self.images.y[self.batch])
        self.rows = self.momentum * self.rows + (1 - self.momentum) * gradients
        return self.rows

    def flipped(self) -> F32:
        """(d,) the mean gradient on the batches of this step with labels y -> 9 - y."""
        x, y = self.images.x[self.batch], CLASSES - 1 - self.images.y[self.batch]
        return np.asarray(self.learner.gradients(x, y).mean(axis=0))


def train(run: Run, setting: Setting, make: Maker, images: Images) -> Outcome:
    """Trains once. Raises QuorumError where the rule refuses f of n members."""
    coins, guesses, root = (np.random.default_rng([run.seed, stream]) for stream in (2, 3, 4))
    trusted = root.choice(len(images.y), (1, ROOT), replace=False)
    learner = Learner(setting.model, run.seed)
    members = Members(run, setting, images, learner)
    w, last = learner.get(), None
    outcome = Outcome(str(make(run.f, coins.bytes(32))))
    for step in range(setting.steps):
        if step % setting.test_every == 0:
            outcome.accuracy.append(learner.accuracy(images))
        rows = members.step()
        squares = kernels.squared_norms(rows)
        if not (np.isfinite(squares).all() and squares.any()):  # the model is ruined, or has nothing left to learn
            outcome.stopped = step
            break
        rule = make(run.f, coins.bytes(32))
        match rule.rule if isinstance(rule, Chain) else rule:  # what a rule is handed, in units of a gradient
            case FLTrust():
                handed = learner.gradients(images.x[trusted], images.y[trusted])[0]
            case CenteredClipping():
                handed = last
            case FLAME():  # with a row added, it points opposite to the member's next model
                handed = -w / np.float32(setting.learning_rate)
            case _:
                handed = None
        if run.attack != "none":
            # Whoever knew the coin would choose whom to share a bucket with: the colluders have to guess it.
            with outcome.timed("search_s"):
                hostile = _hostile(run, make(run.f, guesses.bytes(32)), members, handed)
            rows = np.concatenate([rows, np.repeat(hostile[None], run.f, axis=0)])
        with outcome.timed("aggregate_s"):
            last, _ = aggregate(rows, rule, reference=handed)
        with np.errstate(over="ignore", invalid="ignore"):
            w = w - np.float32(setting.learning_rate) * (last + np.float32(setting.weight_decay) * w)
        learner.set(w)
    tests = 1 + -(-setting.steps // setting.test_every)
    outcome.accuracy += [learner.accuracy(images)] * (tests - len(outcome.accuracy))
    return outcome


def _hostile(run: Run, rule: Rule | Chain, members: Members, handed: F32 | None) -> F32:
    """(d,) what each colluder sends."""
    if run.attack == "label-flip":
        return members.flipped()
    if run.attack == "ipm-climb":
        return _ipm_by_one_climb(rule, members.rows, run.f)
    return collude(run.attack, rule, members.rows, run.f, reference=handed).row


def _ipm_by_one_climb(rule: Rule | Chain, honest: F32, f: int) -> F32:
    """(d,) IPM with ε found by one climb of 20 evaluations, as ByzFL's benchmark has it: a comparison for `ipm`.

    From ε = 0 steps of 10, twice as long after each that moves the aggregate further; after the first that does not,
    steps back and forth around the best, 0.8 as long each time.
    """
    basis = observe(honest)
    aim = target(rule if isinstance(rule, Chain) else Chain((), rule), basis, f)

    def moved(epsilon: float) -> float:
        return float(aim.respond(basis.at(mean=-epsilon)[None]).deviation[0])

    best, step, tried = 0.0, 10.0, 0.0
    highest = moved(best)
    climbing = True
    for _ in range(19):
        tried = best + step if climbing or tried < best else best - step
        reached = moved(tried)
        if reached > highest:
            best, highest = tried, reached
        elif climbing:
            climbing = False
        step *= 2.0 if climbing else 0.8
    return basis.row(basis.at(mean=-best))


# -------------------------------------------------------------------------------------------------------------- results


class Results:
    """Runs that are done, in a JSON file that is read again before each run is added to it."""

    def __init__(self, path: Path, setting: Setting, summary: Callable[[Sequence[dict[str, Any]]], Any]) -> None:
        self.path, self.summary = path, summary
        self.setting = asdict(setting) | {"honest": HONEST, "parameters": sum(Learner(setting.model, 0).sizes)}
        self.runs()

    def runs(self) -> list[dict[str, Any]]:
        """All that are done."""
        if not self.path.exists():
            return []
        held = json.loads(self.path.read_text(encoding="utf-8"))
        if held["setting"] != self.setting:
            raise SystemExit(f"{self.path} holds runs of another setting: {held['setting']}")
        runs: list[dict[str, Any]] = held["runs"]
        return runs

    def holds(self, run: Run) -> bool:
        """Whether this run is done."""
        return any(asdict(run).items() <= done.items() for done in self.runs())

    def add(self, run: Run, figures: dict[str, Any]) -> None:
        """Writes the run and a new summary, all or nothing."""
        runs = [*self.runs(), asdict(run) | figures]
        head = {"phalanx": __version__, "setting": self.setting, "summary": self.summary(runs)}
        lines = ",\n".join("  " + json.dumps(one) for one in runs)
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(head, indent=1)[:-2] + f',\n "runs": [\n{lines}\n ]\n}}\n', encoding="utf-8")
        partial.replace(self.path)


def work(
    todo: Iterable[Run], setting: Setting, rules: dict[str, Maker], results: Results | None, minutes: float
) -> None:
    """Does what is not done yet, in order, and stops after the run that passes `minutes`. Without results: a trial."""
    images = load(setting.data)
    began = time.monotonic()
    for run in todo:
        if results is not None and results.holds(run):
            continue
        try:
            figures = train(run, setting, rules[run.rule], images).as_dict()
            shown = f"best {figures['best']:.3f} final {figures['final']:.3f} {figures['seconds']:.0f} s"
        except QuorumError as refusal:
            figures = {"refused": str(refusal)}
            shown = f"refused: {refusal}"
        passed = (time.monotonic() - began) / 60
        print(f"{passed:6.1f} min  {run}  {shown}", flush=True)
        if results is None:
            print(figures)
        else:
            results.add(run, figures)
        if passed > minutes:
            print(f"stopped after {passed:.1f} minutes; the same command goes on from here")
            break


def mean_curves(runs: Iterable[dict[str, Any]]) -> dict[str, list[float]]:
    """By attack, the accuracy curve as the mean over seeds. The runs are those of one rule, gamma and f."""
    curves: dict[str, list[list[float]]] = {}
    for run in runs:
        if "accuracy" in run:
            curves.setdefault(run["attack"], []).append(run["accuracy"])
    return {attack: [float(value) for value in np.mean(seeds, axis=0)] for attack, seeds in curves.items()}
