"""One TOML file, parsed and refused at the edge: unknown keys, values out of range, controls that do not compose.

What passes here can be started: enough rows for the rule even with the members that may be missing, and central noise
only for a rule whose sensitivity is known. Each refusal says what was found, what was expected and what to do instead.
Every default is the safe value; what is weaker has a name that begins with `unsafe_` and needs the `lab` profile.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, ValidationError

from phalanx.canonical import encode
from phalanx.errors import ConfigError, NotAvailable, RuleRefused
from phalanx.gate import GatePolicy
from phalanx.learning.descent import Descent
from phalanx.privacy import epsilon, noise_multiplier
from phalanx.rules import ARC, CAF, NNM, Chain, Krum, Mean, Median, MultiKrum, NormClip, PreStep, Rule, TrimmedMean
from phalanx.screening import CAPS_ROUNDING, ScreeningPolicy
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
RuleName = Literal["mean", "krum", "multi-krum", "caf", "median", "trimmed-mean"]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Federation(_Table):
    """Who: the federation's name and its member organisations. `weight_cap` bounds each one's share."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,63}$")]
    members: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_MEMBERS)]
    profile: Literal["lab", "consortium", "fleet"] = "lab"
    weight_cap: Annotated[StrictFloat, Field(gt=0, le=1)] = 1.0


class Run(_Table):
    """How long. `missing_allowed` members may be refused or away in a round; `max_refusals` in a row end the run.

    `lab_seed` replaces the system's entropy by numbers that anybody can repeat: for the lab profile only.
    """

    rounds: Annotated[StrictInt, Field(ge=1, le=MAX_ROUNDS)]
    missing_allowed: Tolerated = 0
    max_refusals: Count = 5
    round_seconds: Count = 900
    lab_seed: Annotated[StrictInt, Field(ge=-MAX_INTEGER, le=MAX_INTEGER)] | None = None


class Learning(_Table):
    """The user's Python file with the member's functions (see `phalanx.learning.function`), and how members step."""

    module: str
    held_out: Share = 0.15
    learning_rate: Positive = 0.1
    momentum: Share = 0.0
    local_steps: Count = 1


class Aggregation(_Table):
    """The rule, the hostile members that it tolerates, and steps before it. Every rule but the mean needs f >= 1."""

    rule: RuleName = "trimmed-mean"
    f: Tolerated = 0
    pre: tuple[Literal["norm-clip", "nnm", "arc"], ...] = ()
    clip_l2: Positive | None = None


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
    """The votes on each candidate: `f` liars tolerated, and the chance of refusing an honest candidate.

    Without `f` the gate tolerates as many liars as the rule tolerates hostile members.
    """

    f: Tolerated | None = None
    significance: Significance = 0.001
    class_significance: Significance = 0.001
    unsafe_accept_all: StrictBool = False


class Floor(_Table):
    """The weakest settings that the members of this run accept."""

    max_epsilon: Positive | None = None
    max_delta: Annotated[StrictFloat, Field(gt=0, le=0.01)] = 1e-5
    refused_rules: tuple[RuleName, ...] = ()


class Settings(_Table):
    """A whole configuration."""

    federation: Federation
    run: Run
    learning: Learning
    aggregation: Aggregation
    screening: Screening = Screening()
    privacy: Privacy | None = None
    gate: Gate = Gate()
    floor: Floor = Floor()

    @property
    def members(self) -> tuple[MemberId, ...]:
        """The member ids, sorted."""
        return tuple(sorted(member_id(name) for name in self.federation.members))

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
        sigma = table.noise_multiplier or noise_multiplier(table.epsilon, table.delta, self.run.rounds)
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
        return Descent(learning_rate=table.learning_rate, momentum=table.momentum, local_steps=table.local_steps)

    def screening_policy(self) -> ScreeningPolicy:
        """What an update has to be; the fewest that a round needs are the rule's."""
        table = self.screening
        return ScreeningPolicy(
            max_norm=table.max_norm,
            max_examples=table.max_examples,
            min_rows=self.chain.min_rows,
            weighting=table.weighting,
            unsafe_accept_all=table.unsafe_accept_all,
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
            significance=table.significance,
            class_significance=table.class_significance,
            unsafe_accept_all=table.unsafe_accept_all,
        )

    def effective(self, code: str) -> bytes:
        """Canonical bytes of everything in force, defaults and the hash of the members' code included."""
        return encode(self.model_dump(mode="json") | {"code": code, "rule": str(self.chain)})


def read_config(path: Path) -> Settings:
    """The settings in a TOML file. Raises ConfigError."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # besides its own errors tomllib lets those of int() through
        raise ConfigError(f"{path} is not TOML: {error}") from None
    return parse(table)


def parse(table: dict[str, Any]) -> Settings:
    """The settings in a parsed table, checked for what can be run. Raises ConfigError, RuleRefused, NotAvailable."""
    try:
        settings = Settings.model_validate(table)
    except ValidationError as error:
        raise ConfigError(*_explain(error)) from None
    _check_profile(settings)
    _check_rows(settings)
    _check_unused(settings)
    _check_privacy(settings)
    _check_floor(settings)
    return settings


def _rule(table: Aggregation) -> Rule:
    match table.rule:
        case "mean":
            return Mean()
        case "krum":
            return Krum(table.f)
        case "multi-krum":
            return MultiKrum(table.f)
        case "caf":
            return CAF(table.f)
        case "median":
            return Median(table.f)
        case "trimmed-mean":
            return TrimmedMean(table.f)


def _pre_step(name: str, table: Aggregation) -> PreStep:
    if name == "nnm":
        return NNM(table.f)
    if name == "arc":
        return ARC(table.f)
    if table.clip_l2 is None:
        raise RuleRefused("norm-clip needs aggregation.clip_l2, a public bound on the norm of an update")
    return NormClip(table.clip_l2)


def _check_profile(settings: Settings) -> None:
    if settings.federation.profile != "lab":
        raise NotAvailable(
            f"not available: profile {settings.federation.profile!r} needs an engine that crosses machines",
            hint='this version runs all parties in one process: profile = "lab"',
        )
    if len(set(settings.federation.members)) != len(settings.federation.members):
        raise ConfigError("federation.members names an organisation twice: one organisation is one entry")
    try:
        _ = settings.members
    except ValueError as error:
        raise ConfigError(f"federation.members: {error}") from None


def _check_rows(settings: Settings) -> None:
    """n - missing must still be enough, so that a quarantine cannot stall the run in round nine."""
    n, missing = len(settings.federation.members), settings.run.missing_allowed
    needed = settings.chain.min_rows
    if n - missing < needed:
        raise RuleRefused(
            f"{settings.chain} needs {needed} updates, and {n} members of whom {missing} may be missing leave "
            f"{n - missing}",
            hint=f"lower aggregation.f or run.missing_allowed, or admit {needed + missing - n} more members",
        )
    cap = settings.federation.weight_cap
    if cap * (n - missing) < 1 - CAPS_ROUNDING:
        raise RuleRefused(
            f"federation.weight_cap = {cap:g} leaves the {n - missing} members of a smallest round less than the whole",
            hint=f"set weight_cap to {1 / (n - missing):.2g} or more, or lower run.missing_allowed",
        )
    if not settings.gate.unsafe_accept_all and settings.liars < settings.aggregation.f:
        raise RuleRefused(
            f"gate.f = {settings.liars}, but aggregation.f = {settings.aggregation.f}: who is hostile votes as well",
            hint="leave gate.f out: it is then aggregation.f",
        )
    voters = 2 * settings.liars + 1
    if not settings.gate.unsafe_accept_all and n - missing < voters:
        raise RuleRefused(
            f"a gate that tolerates f = {settings.liars} liars needs {voters} voters, and {n} members of whom "
            f"{missing} may be missing leave {n - missing}",
            hint="lower gate.f or run.missing_allowed",
        )


def _check_unused(settings: Settings) -> None:
    """A protection that is set and does nothing is worse than none: somebody relies on it."""
    rule, privacy = settings.aggregation, settings.privacy
    if rule.f == 0 and (rule.rule != "mean" or {"nnm", "arc"} & set(rule.pre)):
        raise RuleRefused(
            f"{settings.chain} tolerates nobody: it needs aggregation.f, the number of hostile members to tolerate",
            hint='set f = 1 or more, or rule = "mean" if every member is trusted',
        )
    if settings.learning.held_out == 0 and not settings.gate.unsafe_accept_all:
        raise ConfigError(
            "learning.held_out = 0 leaves the members nothing to vote with",
            hint="hold out 0.1 or more; in the lab, gate.unsafe_accept_all switches the votes off",
        )
    if rule.clip_l2 is not None and "norm-clip" not in rule.pre:
        raise RuleRefused("aggregation.clip_l2 is set, but nothing clips", hint='add pre = ["norm-clip"]')
    if rule.f and rule.rule == "mean" and not {"nnm", "arc"} & set(rule.pre):
        raise RuleRefused(
            f"aggregation.f = {rule.f}, but {settings.chain} tolerates nobody",
            hint='use rule = "trimmed-mean", or f = 0',
        )
    if privacy and privacy.unit == "member" and (privacy.clip_l2, privacy.normaliser) != (None, None):
        raise ConfigError(
            'privacy.clip_l2 and privacy.normaliser are of unit "example", found unit "member"',
            hint='with unit "member" aggregation.clip_l2 bounds the updates',
        )


def _check_privacy(settings: Settings) -> None:
    if settings.screening.unsafe_accept_all and (settings.privacy or settings.chain != Chain((), Mean())):
        raise RuleRefused(
            f"screening.unsafe_accept_all runs plain federated averaging, without {settings.chain} and without privacy",
            hint='remove it, or use rule = "mean" alone',
        )
    mechanism = settings.mechanism
    if mechanism and not (first := epsilon([mechanism.noise_multiplier], mechanism.delta)) <= mechanism.epsilon:
        raise ConfigError(
            f"privacy.noise_multiplier = {mechanism.noise_multiplier:g} costs ε = {first:g} in the first round alone, "
            f"past the budget of {mechanism.epsilon:g}",
            hint="leave noise_multiplier out: it is then calibrated to the budget",
        )
    if isinstance(mechanism, MemberPrivacy) and settings.chain.l2_sensitivity(len(settings.members)) is None:
        raise RuleRefused(
            f"central noise needs a rule whose l2 sensitivity is known, and that of {settings.chain} is not",
            hint='use rule = "mean" with pre = ["norm-clip"] and clip_l2, or privacy.unit = "example", which composes '
            "with every rule",
        )
    if isinstance(mechanism, ExamplePrivacy) and settings.learning.local_steps != 1:
        raise ConfigError(
            f"example-level privacy charges one step a round, found learning.local_steps = "
            f"{settings.learning.local_steps}",
            hint="set local_steps = 1 and use more rounds",
        )


def _check_floor(settings: Settings) -> None:
    """A run that its own members would decline is refused before it starts. Each member asks again for every order."""
    floor, privacy = settings.floor, settings.privacy
    if settings.aggregation.rule in floor.refused_rules:
        raise ConfigError(f"floor.refused_rules names {settings.aggregation.rule!r}, which is aggregation.rule")
    if floor.max_epsilon is None:
        return
    if privacy is None or privacy.unit != "example":
        raise ConfigError(
            f"floor.max_epsilon = {floor.max_epsilon:g} asks for privacy at the member, and the run offers none",
            hint='set privacy.unit = "example", or leave max_epsilon out',
        )
    if privacy.epsilon > floor.max_epsilon or privacy.delta > floor.max_delta:
        raise ConfigError(
            f"the run offers ε = {privacy.epsilon:g} at δ = {privacy.delta:g}, and the members' floor is "
            f"ε ≤ {floor.max_epsilon:g} at δ ≤ {floor.max_delta:g}"
        )


def _explain(error: ValidationError) -> tuple[str]:
    """Every complaint in one sentence each, with the nearest key for an unknown one."""
    sentences = []
    for complaint in error.errors(include_url=False):
        place = ".".join(str(part) for part in complaint["loc"])
        if complaint["type"] == "extra_forbidden":
            sentences.append(f"unknown key {place}{_nearest(complaint['loc'])}")
        else:
            found = "" if complaint["type"] == "missing" else f", found {_shown(complaint['input'])}"
            sentences.append(f"{place}: {complaint['msg'].lower()}{found}")
    return ("; ".join(sentences),)


def _shown(value: Any) -> str:
    try:
        return f"{value!r:.60}"
    except ValueError:  # Python refuses to write out an integer of thousands of digits
        return "an integer of thousands of digits"


def _nearest(location: tuple[int | str, ...]) -> str:
    table: Any = Settings
    for part in location[:-1]:
        annotation = table.model_fields[str(part)].annotation
        table = next(one for one in (annotation, *getattr(annotation, "__args__", ())) if hasattr(one, "model_fields"))
    close = difflib.get_close_matches(str(location[-1]), list(table.model_fields), n=1)
    return f", did you mean {close[0]!r}?" if close else f"; known here: {', '.join(table.model_fields)}"
