"""The figures that pages quote, from the results that `benchmarks/demo_seeds.py` wrote."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from phalanx.redteam.demo.whole import HELD_BACKDOOR, HELD_POINTS
from tests.docs.page import ROOT, table
from tests.docs.pictures import SEED, decibel, leak

SEEDS = "benchmarks/results/demo_seeds.json"
UNSEEN_SEEDS = "benchmarks/results/demo_seeds_holdout.json"
UNEVEN = "benchmarks/results/demo_uneven.json"


@dataclass(frozen=True, slots=True)
class Results:
    """One file of results. Figures of a run are shares (0 … 1)."""

    path: str
    held: dict[str, Any]

    @classmethod
    def read(cls, path: str) -> Results:
        """The results in a committed file."""
        return cls(path, json.loads((ROOT / path).read_text(encoding="utf-8")))

    @property
    def seeds(self) -> str:
        """As in "0 to 9"."""
        return f"{min(self.held['seeds'])} to {max(self.held['seeds'])}"

    def accuracy(self, run: str) -> str:
        """Mean accuracy, and that of the worst seed."""
        return f"{self._percent(run, 'accuracy_mean')} (worst {self._percent(run, 'accuracy_worst')})"

    def backdoor(self, run: str) -> str:
        """Mean backdoor success, and that of the worst seed."""
        return f"{self._percent(run, 'backdoor_mean')} (worst {self._percent(run, 'backdoor_worst')})"

    def mean_accuracy(self, run: str) -> str:
        """Mean accuracy alone."""
        return self._percent(run, "accuracy_mean")

    def keeps_out(self, run: str) -> bool:
        """Whether the backdoor stays under the demo's limit, in the mean."""
        return bool(self.held["runs"][run]["backdoor_mean"] <= HELD_BACKDOOR)

    def keeps_up(self, attacked: str, free: str) -> bool:
        """Whether the attack costs no more accuracy than the demo's limit, in the mean."""
        runs = self.held["runs"]
        return bool(runs[attacked]["accuracy_mean"] >= runs[free]["accuracy_mean"] - HELD_POINTS)

    def finite(self, run: str) -> int:
        """In how many seeds the run ended with a model of numbers."""
        return sum(self.held["runs"][run]["finite"])

    def refused(self, run: str) -> list[int]:
        """Answers refused in each seed."""
        return list(self.held["runs"][run]["refused"])

    def _percent(self, run: str, figure: str) -> str:
        return f"{100 * self.held['runs'][run][figure]:.1f} %"


def verdicts() -> str:
    """README: the threats, without and with Phalanx."""
    found = Results.read(SEEDS)
    seeds = len(found.held["seeds"])
    attacked, matched = "private-attacked", "private-norm-matched"
    krum, three = "private-multi-krum-norm-matched", "private-three-norm-matched"
    nan, image = found.refused(attacked), leak()
    rows = [
        (
            "Backdoor by model replacement (boosted ×10), 1 of 10",
            f"{found.backdoor('undefended-backdoor')} of stamped digits misread",
            f"{found.backdoor(attacked)} misread",
            _stopped(found.keeps_out(attacked), "trimmed mean"),
        ),
        (
            "Sign flip ×10, 1 of 10",
            f"accuracy {found.accuracy('undefended-sign-flip')}",
            f"accuracy {found.accuracy(attacked)}; without attack {found.mean_accuracy('private')}",
            _stopped(found.keeps_up(attacked, "private"), "trimmed mean"),
        ),
        (
            "NaN in an update, 1 of 10",
            f"the model is NaN in {seeds - found.finite('undefended-nan')} of {seeds} seeds",
            f"refused {min(nan)} times in 40 rounds; the run goes on",
            _stopped(found.finite(attacked) == seeds and min(nan) >= 40, "screening"),
        ),
        (
            "Backdoor at the honest norm, 1 of 10",
            f"{found.backdoor('private-mean-norm-matched')} misread behind a mean with the same noise",
            f"{found.backdoor(matched)} misread",
            _stopped(found.keeps_out(matched), "trimmed mean"),
        ),
        (
            "The same, where Multi-Krum is the rule",
            f"{found.backdoor('private-mean-norm-matched')} misread behind a mean with the same noise",
            f"{found.backdoor(krum)} misread",
            _stopped(found.keeps_out(krum), "Multi-Krum"),
        ),
        (
            "Three colluding backdoors at the honest norm",
            f"{found.backdoor('private-mean-three-norm-matched')} misread behind a mean with the same noise",
            f"{found.backdoor(three)} misread",
            _stopped(found.keeps_out(three), "trimmed mean"),
        ),
        (
            f"Training image rebuilt from the update that it alone made (seed {SEED})",
            f"rebuilt, {decibel(image.psnr_undefended)}",
            f"{decibel(image.psnr_defended)}; guessing the mean image scores {decibel(image.psnr_mean_image)}",
            _stopped(image.psnr_defended <= image.psnr_mean_image + 1, "clip and noise at the member"),
        ),
        (
            "One bit of the log edited afterwards",
            "no log, or one that can be rewritten",
            "`audit verify` refuses it and names the file",
            "Merkle log, signed checkpoint",
        ),
    ]
    return table(("threat", "plain federated learning", "Phalanx", "stopped by"), rows)


def _stopped(held: bool, control: str) -> str:
    return control if held else "**not stopped**"


def prices() -> str:
    """README: what the controls cost in accuracy, on data that is dealt evenly and on data that is not."""
    even, uneven = Results.read(SEEDS), Results.read(UNEVEN)
    runs = (
        ("plain federated averaging, nobody attacks", "clean"),
        ("robust rule and gate, nobody attacks", "robust"),
        ("the same and ε = 8 for each training example, nobody attacks", "private"),
        ("the same, three of ten attack", "private-attacked"),
        ("not taking part: each organisation alone, without privacy", "alone"),
        ("not federated: all data in one place, without privacy", "pooled"),
    )
    rows = [(words, even.accuracy(run), uneven.accuracy(run)) for words, run in runs]
    attacked = ("backdoor success in the attacked run", *(one.backdoor("private-attacked") for one in (even, uneven)))
    return table(("accuracy", "even data", "uneven data (Dirichlet, α = 0.5)"), [*rows, attacked])


def chosen() -> str:
    """ADR 0006: the demo's configuration on the seeds that it was chosen by, and on seeds that it never saw."""
    files = [Results.read(SEEDS), Results.read(UNSEEN_SEEDS)]
    names = [
        "clean", "robust", "private", "private-attacked", "private-norm-matched", "private-multi-krum-norm-matched",
        "private-three-norm-matched",
    ]  # fmt: skip
    head = ("run", *(f"{what}, seeds {found.seeds}" for found in files for what in ("accuracy", "backdoor")))
    return table(
        head, [(f"`{run}`", *(cell for f in files for cell in (f.accuracy(run), f.backdoor(run)))) for run in names]
    )
