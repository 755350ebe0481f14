"""What a scenario measured: values that the terminal, the JSON envelope and the report are written from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from phalanx.types import MemberId


@dataclass(frozen=True, slots=True)
class RoundResult:
    """One closed round. `accuracy` and `backdoor_success` are shares (0 … 1) on the lab's test set, None if not finite.

    `weights` are the shares of the accepted members in the aggregate. `refused` are (member, reason code, detail).
    """

    round: int
    accuracy: float | None
    backdoor_success: float | None
    epsilon: float | None
    weights: Mapping[MemberId, float]
    refused: tuple[tuple[MemberId, str, str], ...]
    gate_passed: bool
    gate_test: str
    gate_p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """One run of the scenario. `controls` and `hostile` say in words what was on and who attacked how.

    `per_class` is the recall of each class on the lab's test set; `per_site` the accuracy on each member's own held-out
    examples. `unit` is what ε protects: "example" or "member".
    """

    name: str
    controls: str
    hostile: Mapping[MemberId, str]
    accuracy: float
    backdoor_success: float
    finite: bool
    epsilon: float | None
    delta: float | None
    unit: str | None
    seconds: float
    rounds: tuple[RoundResult, ...]
    per_class: tuple[float, ...]
    per_site: Mapping[MemberId, float]

    @property
    def refused(self) -> dict[str, int]:
        """How often each "member: reason" was refused."""
        counts: dict[str, int] = {}
        for one in self.rounds:
            for member, reason, _ in one.refused:
                counts[f"{member}: {reason}"] = counts.get(f"{member}: {reason}", 0) + 1
        return counts

    @property
    def gate_refusals(self) -> int:
        """Candidates that the gate refused."""
        return sum(not one.gate_passed for one in self.rounds)


@dataclass(frozen=True, slots=True)
class Threat:
    """One row of the verdict table. `held` is None where no defence is claimed."""

    threat: str
    undefended: str
    defended: str
    stopped_by: str
    held: bool | None
    run: str  # the name of the run that shows it


@dataclass(frozen=True, slots=True)
class Price:
    """What a control costs, as accuracy (shares, 0 … 1) without and with it."""

    control: str
    without: float
    with_it: float
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Leak:
    """A digit (64,) in 0 … 1, what one undefended update gives away of it, and what the defended update gives."""

    original: tuple[float, ...]
    undefended: tuple[float, ...]
    defended: tuple[float, ...]
    psnr_undefended: float
    psnr_defended: float
    psnr_mean_image: float  # the score of guessing the mean image: knowing nothing
    label: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """Everything that the demo measured. `split` has, for each member, its examples of each class."""

    seed: int
    runs: Mapping[str, RunResult]
    threats: tuple[Threat, ...]
    prices: tuple[Price, ...]
    leak: Leak
    split: Mapping[MemberId, tuple[int, ...]]
    hostile: tuple[MemberId, ...]
    does_not_protect: tuple[str, ...]  # plain sentences
    public: str  # the folder that anybody can verify
    fingerprint: str
    verify_command: str
    seconds: float
    version: str = field(default="")
