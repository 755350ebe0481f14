"""The tables of a configuration file, each with the values that it may hold and the safe ones that it has by default.

What is weaker than the default has a name that begins with `unsafe_` and needs the `lab` profile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, field_validator

from phalanx.admission import All, Poisson, Policy, Stratified, Uniform
from phalanx.canonical import encode
from phalanx.errors import ConfigError, NotAvailable, RuleRefused
from phalanx.gate import GatePolicy
from phalanx.learning.descent import Descent
from phalanx.learning.server import Adam, ServerOptimiser, Sgd, Yogi
from phalanx.privacy import noise_multiplier
from phalanx.rules import (
    ARC,
    CAF,
    FLAME,
    MDA,
    NNM,
    Bulyan,
    CenteredClipping,
    Chain,
    DnC,
    GeometricMedian,
    Krum,
    MeaMed,
    Mean,
    Median,
    MultiKrum,
    NormClip,
    PreStep,
    Rule,
    TrimmedMean,
)
from phalanx.screening import ScreeningPolicy
from phalanx.types import ExamplePrivacy, MemberId, MemberPrivacy, member_id

MAX_MEMBERS = 1000  # the pairwise rules are quadratic in it
MAX_ROUNDS = 1_000_000
MAX_INTEGER = 2**53 - 1  # what canonical JSON can hold
# Strict: "8" and true are not the number that they look like.
Positive = Annotated[StrictFloat, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[StrictInt, Field(ge=1, le=1 << 31)]
Tolerated = Annotated[StrictInt, Field(ge=0, le=MAX_MEMBERS)]
Share = Annotated[StrictFloat, Field(ge=0, lt=1)]
Significance = Annotated[StrictFloat, Field(ge=1e-6, lt=1)]  # below, a test would never refuse anything
RuleName = Literal[
    "mean",
    "krum",
    "multi-krum",
    "mda",
    "geometric-median",
    "centered-clipping",
    "caf",
    "dnc",
    "flame",
    "median",
    "trimmed-mean",
    "meamed",
    "bulyan",
]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Federation(_Table):
    """Who: the federation's name and its member organisations. `weight_cap` bounds each one's share.

    `labels` puts members into groups (a region, a kind of hospital), for selection that is stratified.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,63}$")]
    members: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_MEMBERS)]
    profile: Literal["lab", "consortium", "fleet"] = "lab"
    weight_cap: Annotated[StrictFloat, Field(gt=0, le=1)] = 1.0
    labels: dict[str, Annotated[str, Field(pattern=r"^[a-z0-9-]{0,63}$")]] = {}


class Run(_Table):
    """How long. `missing_allowed` members may be refused or away in a round; `max_refusals` in a row end the run.

    `lab_seed` replaces the system's entropy by numbers that anybody can repeat: for the lab profile only. `threads` of
    torch: one is fastest for small models.
    """

    rounds: Annotated[StrictInt, Field(ge=1, le=MAX_ROUNDS)]
    missing_allowed: Tolerated = 0
    max_refusals: Count = 5
    round_seconds: Count = 900
    lab_seed: Annotated[StrictInt, Field(ge=-MAX_INTEGER, le=MAX_INTEGER)] | None = None
    threads: Annotated[StrictInt, Field(ge=1, le=1024)] = 1


class Learning(_Table):
    """The user's Python file with the member's model and data (see `phalanx.learning.function`), and how members step.

    A round is `local_steps` steps on mini-batches of `batch_size` examples; without it each step uses all examples.
    `algorithm` "fedprox" pulls members back by `prox`; "scaffold" corrects their drift. Tensors whose names match a
    pattern in `local` stay with each member: `["*bn*", "head.*"]`.
    """

    module: str
    held_out: Share = 0.15
    learning_rate: Positive = 0.1
    momentum: Share = 0.0
    local_steps: Count = 1
    batch_size: Count | None = None
    algorithm: Literal["fedavg", "fedprox", "scaffold"] = "fedavg"
    prox: Positive | None = None
    local: tuple[str, ...] = ()


class Server(_Table):
    """What the coordinator does with the aggregate: "sgd" adds `learning_rate` times it (FedAvg, or FedAvgM).

    "adam" and "yogi" scale each coordinate; `tau` bounds by how much. Without a value: sgd 1.0 and no momentum; adam
    and yogi 0.01 and 0.9.
    """

    optimiser: Literal["sgd", "adam", "yogi"] = "sgd"
    learning_rate: Positive | None = None
    momentum: Share | None = None
    second_momentum: Annotated[StrictFloat, Field(gt=0, lt=1)] | None = None
    tau: Positive | None = None


class Selection(_Table):
    """Who is asked in a round: "all"; "uniform": `size` of all; "stratified": `size` of each label; "poisson": `rate`.

    A round with fewer than `min_cohort` members is not begun. The draw is secret until the run has ended, and then
    anybody can repeat it. All members vote on each candidate, whoever trained. With central noise "poisson" keeps its
    cohorts secret for good, and ε counts on it.
    """

    policy: Literal["all", "uniform", "poisson", "stratified"] = "all"
    size: Annotated[StrictInt, Field(ge=1, le=MAX_MEMBERS)] | None = None
    rate: Annotated[StrictFloat, Field(gt=0, le=1)] | None = None
    min_cohort: Annotated[StrictInt, Field(ge=1, le=MAX_MEMBERS)] = 1


class Aggregation(_Table):
    """The rule, the hostile members that it tolerates, and steps before it. Every rule but the mean needs f >= 1.

    `clip_l2` is the bound of `norm-clip`, or of `centered-clipping`, which takes `steps` steps from zero.
    """

    rule: RuleName = "trimmed-mean"
    f: Tolerated = 0
    pre: tuple[Literal["norm-clip", "nnm", "arc"], ...] = ()
    clip_l2: Positive | None = None
    steps: Annotated[StrictInt, Field(ge=1, le=100)] | None = None

    @field_validator("rule", mode="before")
    @classmethod
    def _refuse_rules_of_the_library(cls, value: object) -> object:
        """Raises NotAvailable for a rule that `aggregate` has and that a run cannot give what it needs."""
        missing = {
            "fltrust": "an update that the coordinator trains on data of its own",
            "foolsgold": "a history of each member's updates, which a run does not keep",
            "monna": "a row of the aggregator's own",
        }
        if isinstance(value, str) and value in missing:
            raise NotAvailable(
                f"not available: rule {value!r} in a run, it needs {missing[value]}",
                hint="phalanx.aggregation.aggregate runs it on rows of yours",
            )
        return value

    @field_validator("pre", mode="before")
    @classmethod
    def _refuse_steps_of_the_library(cls, value: object) -> object:
        """Raises NotAvailable for bucketing."""
        if isinstance(value, list | tuple) and "bucketing" in value:
            raise NotAvailable(
                "not available: step 'bucketing' in a run, it needs a coin that is drawn after the updates are sent",
                hint="nnm mixes rows without a coin",
            )
        return value


class Screening(_Table):
    """What an update has to be before it counts."""

    max_norm: Positive = 1e4
    max_examples: Count = 1_000_000
    weighting: Literal["equal", "claimed"] = "equal"
    unsafe_accept_all: StrictBool = False


class Privacy(_Table):
    """The ε budget. `unit` "example": noise by each member; "member": central noise.

    Without `noise_multiplier` it is calibrated so that all rounds just fit into ε. `clip_l2` and `normaliser` (the
    public number of examples by which every member divides) belong to the unit "example".
    """

    unit: Literal["example", "member"]
    epsilon: Annotated[StrictFloat, Field(ge=0.01, le=1000)]  # it is accounted in steps of 0.001
    delta: Annotated[StrictFloat, Field(ge=1e-12, le=0.01)] = 1e-5  # below, the accountants' own rounding is as large
    noise_multiplier: Positive | None = None
    clip_l2: Positive | None = None
    normaliser: Count | None = None


class Gate(_Table):
    """The ballots on each candidate: `f` liars tolerated, and the chance of refusing an honest candidate.

    Without `f` the gate tolerates as many liars as the rule tolerates hostile members. `ballot` "counts": members send
    by class how many held-out examples changed; "votes": only whether their own test found the candidate worse, and
    their accuracy in steps of 1/`accuracy_buckets`.
    """

    f: Tolerated | None = None
    ballot: Literal["counts", "votes"] = "counts"
    vote_significance: Annotated[StrictFloat, Field(ge=1e-6, le=0.1)] = 0.01
    accuracy_buckets: Annotated[StrictInt, Field(ge=2, le=1000)] = 20
    significance: Significance = 0.001
    class_significance: Significance = 0.001
    unsafe_accept_all: StrictBool = False


class Floor(_Table):
    """The weakest settings that the members of this run accept."""

    max_epsilon: Positive | None = None
    max_delta: Annotated[StrictFloat, Field(gt=0, le=0.01)] = 1e-5
    refused_rules: tuple[RuleName, ...] = ()


class Data(_Table):
    """What the members' data must look like. `schema` names a TOML file beside this one, checked before round one.

    `statistics` names a file that `phalanx survey` wrote: inputs are standardised by the federation's means and
    deviations.
    """

    schema_file: Annotated[str | None, Field(alias="schema")] = None
    statistics: str | None = None


class Report(_Table):
    """What the report compares with. `baselines`: the same members without controls, each alone, and all data pooled.

    They need every member's data in one place, which only the lab has.
    """

    baselines: StrictBool = True


class Settings(_Table):
    """A whole configuration."""

    federation: Federation
    run: Run
    learning: Learning
    server: Server = Server()
    selection: Selection = Selection()
    aggregation: Aggregation
    screening: Screening = Screening()
    privacy: Privacy | None = None
    gate: Gate = Gate()
    floor: Floor = Floor()
    data: Data = Data()
    report: Report = Report()

    @property
    def members(self) -> tuple[MemberId, ...]:
        """The member ids, sorted."""
        return tuple(sorted(member_id(name) for name in self.federation.members))

    @property
    def secret_rate(self) -> float | None:
        """The rate of cohorts that stay secret, since central noise is accounted as amplified by them; else None."""
        central = self.privacy is not None and self.privacy.unit == "member"
        return self.selection.rate if central and self.selection.policy == "poisson" else None

    @property
    def expected_cohort(self) -> float | None:
        """How many members a secret cohort has on average: what its sum is divided by, however many there are."""
        return None if self.secret_rate is None else self.secret_rate * len(self.federation.members)

    @property
    def smallest_cohort(self) -> int:
        """The fewest members that a round asks."""
        return max(self.selection.min_cohort, self.largest_cohort if self.selection.policy != "poisson" else 1)

    @property
    def largest_cohort(self) -> int:
        """The most members that a round asks."""
        table, n = self.selection, len(self.federation.members)
        if table.policy == "uniform":
            return min(table.size or 0, n)
        if table.policy == "stratified":
            labels = Counter(self.federation.labels.get(name, "") for name in self.federation.members)
            return sum(min(table.size or 0, members) for members in labels.values())
        return n

    @property
    def chain(self) -> Chain:
        """The rule with its pre-steps."""
        table = self.aggregation
        return Chain(tuple(_pre_step(name, table) for name in table.pre), _rule(table))

    @property
    def mechanism(self) -> ExamplePrivacy | MemberPrivacy | None:
        """The noise that the run adds, calibrated if the file does not say how much."""
        table = self.privacy
        if table is None:
            return None
        sigma = table.noise_multiplier or noise_multiplier(
            table.epsilon, table.delta, self.run.rounds, self.secret_rate or 1.0
        )
        if table.unit == "member":
            return MemberPrivacy(sigma, table.epsilon, table.delta)
        if table.clip_l2 is None or table.normaliser is None:
            raise ConfigError(
                'privacy of unit "example" needs clip_l2 and normaliser',
                hint="normaliser is a public number near the members' training examples, the same for all",
            )
        return ExamplePrivacy(table.clip_l2, sigma, table.normaliser, table.epsilon, table.delta)

    def descent(self) -> Descent:
        """How members step."""
        table = self.learning
        return Descent(
            learning_rate=table.learning_rate,
            momentum=table.momentum,
            local_steps=table.local_steps,
            batch_size=table.batch_size,
            prox=table.prox or 0.0,
            scaffold=table.algorithm == "scaffold",
        )

    @property
    def optimiser(self) -> ServerOptimiser:
        """What the coordinator does with an aggregate."""
        table = self.server
        if table.optimiser == "sgd":
            return Sgd(learning_rate=table.learning_rate or 1.0, momentum=table.momentum or 0.0)
        kind = Adam if table.optimiser == "adam" else Yogi
        return kind(
            learning_rate=table.learning_rate or 0.01,
            momentum=0.9 if table.momentum is None else table.momentum,
            second_momentum=table.second_momentum or 0.99,
            tau=table.tau or 1e-3,
        )

    @property
    def selection_policy(self) -> Policy:
        """Who is asked in a round."""
        table = self.selection
        match table.policy:
            case "uniform":
                return Uniform(table.size or 0)
            case "stratified":
                return Stratified(table.size or 0)
            case "poisson":
                return Poisson(table.rate or 0.0)
            case "all":
                return All()

    def screening_policy(self) -> ScreeningPolicy:
        """What an update has to be; the fewest that a round needs are the rule's."""
        table = self.screening
        return ScreeningPolicy(
            max_norm=table.max_norm,
            max_examples=table.max_examples,
            min_rows=self.chain.min_rows,
            weighting=table.weighting,
            unsafe_accept_all=table.unsafe_accept_all,
            expected=self.expected_cohort,
        )

    @property
    def liars(self) -> int:
        """Lying voters that the gate tolerates."""
        return self.aggregation.f if self.gate.f is None else self.gate.f

    def gate_policy(self, classes: int) -> GatePolicy:
        """How the gate decides over `classes` classes."""
        table = self.gate
        return GatePolicy(
            classes=classes,
            f=self.liars,
            ballot=table.ballot,
            vote_significance=table.vote_significance,
            accuracy_buckets=table.accuracy_buckets,
            significance=table.significance,
            class_significance=table.class_significance,
            unsafe_accept_all=table.unsafe_accept_all,
        )

    def effective(self, code: str) -> bytes:
        """Canonical bytes of everything in force, defaults and the hash of the members' code included."""
        return encode(self.model_dump(mode="json", by_alias=True) | {"code": code, "rule": str(self.chain)})


_BY_F: dict[RuleName, Callable[[int], Rule]] = {
    "krum": Krum,
    "multi-krum": MultiKrum,
    "mda": MDA,
    "geometric-median": GeometricMedian,
    "caf": CAF,
    "dnc": DnC,
    "flame": FLAME,
    "median": Median,
    "trimmed-mean": TrimmedMean,
    "meamed": MeaMed,
    "bulyan": Bulyan,
}


def _rule(table: Aggregation) -> Rule:
    if table.rule == "mean":
        return Mean()
    if table.rule != "centered-clipping":
        return _BY_F[table.rule](table.f)
    if table.clip_l2 is None:
        raise RuleRefused("centered-clipping needs aggregation.clip_l2, a public bound on how far one update moves it")
    return CenteredClipping(table.clip_l2, table.steps or 1, table.f)


def _pre_step(name: str, table: Aggregation) -> PreStep:
    if name == "nnm":
        return NNM(table.f)
    if name == "arc":
        return ARC(table.f)
    if table.clip_l2 is None:
        raise RuleRefused("norm-clip needs aggregation.clip_l2, a public bound on the norm of an update")
    return NormClip(table.clip_l2)
