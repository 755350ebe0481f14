"""The federation's statistics before it trains: one ordinary round in which members send statistics of their data.

Means, deviations, which labels and words there are, over all members, through the same seal, screening, rule, noise,
gate and log as a model. What `phalanx run` then needs to scale every member's inputs alike is one small file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from phalanx.canonical import digest
from phalanx.config import Settings, parse, read_config
from phalanx.engine.assemble import assemble, edges_of
from phalanx.engine.inprocess import InProcess
from phalanx.errors import ConfigError, ConflictError, GateRefusal, QuorumError
from phalanx.federation.folders import LEDGER, check_folder, opened
from phalanx.federation.module import load_module, users_code
from phalanx.federation.prepare import read_schema
from phalanx.federation.sites import pair_of
from phalanx.learning import Member, hold_out, member_of
from phalanx.learning.preprocessing import Statistics, as_json, statistics_of
from phalanx.learning.schema import Schema, check, numbers_of, words_of
from phalanx.learning.statistics import (
    MIN_COMPARED,
    OddMember,
    Request,
    StatisticsTrainer,
    enough_examples,
    odd_members,
    request_of,
    slots_of,
)
from phalanx.privacy import epsilon as epsilon_of
from phalanx.privacy import noise_multiplier
from phalanx.round.coordinator import RoundRecord
from phalanx.rules import Mean, TrimmedMean
from phalanx.store import write_file
from phalanx.types import F32, ExamplePrivacy, MemberId, TrainTask

SHARE_OF_BUDGET = 0.1  # what a survey costs of ε unless it is told otherwise
FILE = "statistics.json"
_LARGEST_EPSILON = 1000.0  # that a configuration may name


@dataclass(frozen=True, slots=True)
class Survey:
    """What the round gave, beside the `schema` that it went by.

    `odd` names members whose means lie far from the others' (a wrong unit, perhaps), `suppressed` counts the words at
    the members that were not kept. Both come from the members' rows in clear, outside of ε: only the lab has them, and
    they are not in the file. `odd` is empty below five members: not tested.

    `noise_multiplier` is what a run of the configuration's rounds needs so that both together fit into ε; None without
    privacy, or where nothing is left. `notes` are sentences on what the survey did not do as one may expect.
    """

    statistics: Statistics
    schema: Schema
    odd: tuple[OddMember, ...]
    suppressed: int
    noise_multiplier: float | None
    public: Path
    notes: tuple[str, ...] = ()

    def write(self, path: Path | str) -> None:
        """Writes the file that `data.statistics` names."""
        text = json.dumps(as_json(self.statistics), indent=1, ensure_ascii=False, allow_nan=False)
        write_file(Path(path), f"{text}\n".encode())


def survey(
    path: Path | str,
    out: Path | str | None = None,
    *,
    buckets: int = 0,
    min_members: int = 2,
    epsilon: float | None = None,
    resume: bool = False,
) -> Survey:
    """The statistics of the federation that a phalanx.toml describes, whose `data.schema` says what the columns are.

    One round under the file's own rule, seal, screening, gate and privacy, in the folder `out`. Where the file asks for
    privacy the round costs `epsilon`, or a tenth of the budget, in the same ledger as the runs. `buckets` are slots for
    words that the schema does not list. A label or word that fewer than `min_members` hold is left out. Raises as a run
    does, and ConfigError, before anything is charged, where the noise would hide what members send.

    An interrupted survey can be resumed without paying again. One that is finished is told again, and nothing charged,
    if it was asked the same: `statistics` are of the data as they were, `odd` and `suppressed` of today's.
    `data.statistics` is not read: a survey makes it.
    """
    file = Path(path)
    settings = read_config(file)
    schema, request = _asked(file, settings, buckets)
    one = _one_round(settings, request, epsilon)
    least = min_members if request.labels or request.slots else 1
    _check_can_be_shown(one, least)
    _check_can_be_heard(one, settings)
    root = file.with_name(f"{file.stem}-survey") if out is None else Path(out)
    begun = (root / "state").exists()
    check_folder(root, resume or begun)
    module, _ = load_module(file.parent / settings.learning.module)
    with users_code("learning.module"):
        member = member_of(module)
    trainers, words = _members(settings, member, schema, request)
    code = digest("survey", repr((schema, request)).encode())
    with opened(root, file.with_name(LEDGER)) as stores:
        try:
            engine = assemble(one, trainers, classes=1, code=code, stores=stores, edges=edges_of(one))
        except ConflictError as error:
            raise ConflictError(f"{root}: {error.message}", hint=f"put it back as it was, or {_anew(root)}") from None
        done = bool(engine.records())
        if begun and not done and not resume:
            raise ConflictError(
                f"{root} already holds a survey that did not finish",
                hint=f"add resume=True (--resume) to go on with it, or {_anew(root)}",
            )
        last = _run(engine, request, one)
        if not last.verdict.passed:
            raise GateRefusal(
                f"the gate refused the statistics ({last.verdict.test}): there are none",
                hint=f"the log has the evidence; to start again, {_anew(root)}",
            )
        statistics = statistics_of(
            engine.model(),
            request,
            members=len(last.accepted),
            largest_weight=_largest_weight(one, last.weights),
            min_members=least,
            epsilon=last.epsilon,
        )
    kept = set(statistics.slots)
    suppressed = sum(slot not in kept for slot in slots_of(words, request).values())
    return Survey(
        statistics=statistics,
        schema=schema,
        odd=_odd(trainers, request),
        suppressed=suppressed,
        noise_multiplier=_noise_left(settings, one),
        public=root / "public",
        notes=_notes(settings, len(trainers), root if done else None),
    )


def _anew(root: Path) -> str:
    return f"rename {root.name} (what was charged stays charged) or, in Python, name another folder as out"


def _notes(settings: Settings, members: int, finished: Path | None) -> tuple[str, ...]:
    notes = []
    if members < MIN_COMPARED:
        notes.append(f"members with odd units: not tested, that needs {MIN_COMPARED} members")
    if settings.data.statistics is not None:
        notes.append(
            f"data.statistics ({settings.data.statistics}) is ignored: a survey makes such a file and reads none"
        )
    if finished is not None:
        notes.append(
            f"this survey was finished before: its result is told again and nothing was charged; to survey data that "
            f"changed since, {_anew(finished)}"
        )
    return tuple(notes)


def _run(engine: InProcess, request: Request, one: Settings) -> RoundRecord:
    """The record of the one round. Where members paid and then declined, nobody is advised just to try again."""
    try:
        return engine.run(np.zeros(request.layout.d, np.float32))[-1]
    except QuorumError as error:
        if not isinstance(one.mechanism, ExamplePrivacy):
            raise
        said: dict[str, list[str]] = {}  # equal words once, with everybody who said them
        for member, reason in sorted(engine.member_errors.items()):
            said.setdefault(str(reason), []).append(member)
        words = [f"{', '.join(members)}: {reason}" for reason, members in said.items()]
        price = "what was charged stays charged, and another try is charged again: change the cause first"
        raise QuorumError(error.message, hint="; ".join([*words, price])) from None


def _asked(file: Path, settings: Settings, buckets: int) -> tuple[Schema, Request]:
    if settings.data.schema_file is None:
        raise ConfigError(
            "a survey needs data.schema: the columns, and the bounds of each number",
            hint='write a schema.toml beside the configuration and set schema = "schema.toml" under [data]',
        )
    schema = read_schema(file.parent / settings.data.schema_file)
    return schema, request_of(schema, buckets)


def _members(
    settings: Settings, member: Member, schema: Schema, request: Request
) -> tuple[dict[MemberId, StatisticsTrainer], set[str]]:
    """Each member's trainer, and all words that there are. What only votes in a run takes no part here either."""
    trainers: dict[MemberId, StatisticsTrainer] = {}
    every: set[str] = set()
    for name in settings.members:
        with users_code(f"load({name!r})"):
            found = member.load(name)
        x, y = pair_of(found, name)
        check(schema, x, y, name)
        try:
            kept = hold_out(
                np.arange(len(x)),
                y,
                classes=member.model.classes,
                member=name,
                fraction=settings.learning.held_out,
                by=x,
            )
        except ValueError as error:
            raise ConfigError(f"the examples of {name}: {error}") from None
        x = x[kept.x_train]
        words = words_of(schema, x)
        every.update(word for row in words for word in row)
        trainers[name] = StatisticsTrainer(request, numbers_of(schema, x), kept.y_train, words)
    return trainers, every


def _one_round(settings: Settings, request: Request, epsilon: float | None) -> Settings:
    """The same federation for one round of statistics: bounds and noise are those of rows of shares."""
    table = settings.model_dump(mode="python", by_alias=True, exclude_unset=True)
    table["run"] = table["run"] | {"rounds": 1}
    table["learning"] = {"module": table["learning"]["module"], "held_out": settings.learning.held_out}
    for name in ("server", "data", "report", "selection"):  # everybody is asked: there is one round
        table.pop(name, None)
    table["federation"] = {name: value for name, value in table["federation"].items() if name != "labels"}
    privacy = settings.privacy
    if privacy is None:
        if epsilon is not None:
            raise ConfigError(f"a survey that costs ε = {epsilon:g} needs a [privacy] table, and there is none")
        table["screening"] = table.get("screening", {}) | {"max_norm": request.row_l2}
        return parse(table)
    cost = SHARE_OF_BUDGET * privacy.epsilon if epsilon is None else epsilon
    if not 0 < cost <= privacy.epsilon:
        raise ConfigError(
            f"a survey costs more than 0 and at most the budget of {privacy.epsilon:g}, found ε = {cost:g}"
        )
    table["privacy"] = table["privacy"] | {"noise_multiplier": noise_multiplier(cost, privacy.delta, 1)}
    if privacy.unit == "example":
        table["privacy"] |= {"clip_l2": request.example_l2}
    else:
        table["aggregation"] = table["aggregation"] | {"clip_l2": request.row_l2}
    return parse(table)


def _check_can_be_shown(settings: Settings, min_members: int) -> None:
    """Raises ConfigError, before anything is charged, where no round under this rule could show so many holders."""
    n = settings.largest_cohort
    largest = _largest_weight(settings, tuple([1 / n] * n))
    if min_members * largest > 1 + 1e-6:
        raise ConfigError(
            f"that {min_members} members hold a label or word cannot be shown: with {settings.chain} of {n} members "
            f"one may weigh {largest:.2g}",
            hint='use rule = "mean" or "trimmed-mean" with more members, or min_members=1 (--min-members 1)',
        )


def _check_can_be_heard(one: Settings, settings: Settings) -> None:
    """Raises ConfigError, before anything is charged, where noise would hide a member of `normaliser` examples.

    By public numbers alone. A member that has fewer examples may still decline, after it has paid.
    """
    noise, privacy = one.mechanism, settings.privacy
    if not isinstance(noise, ExamplePrivacy) or privacy is None:
        return
    needed = enough_examples(noise.noise_multiplier * noise.clip_l2)
    if noise.normaliser >= needed:
        return
    cost = epsilon_of([noise.noise_multiplier], noise.delta)
    raise ConfigError(
        f"the noise of example-level privacy would hide each member's statistics: found privacy.normaliser = "
        f"{noise.normaliser} examples a member, expected at least {needed} for a survey of ε = {cost:.3g}",
        hint=f"nothing was charged; {_enough(noise, privacy.epsilon)}, ask for fewer columns, labels or buckets, or "
        f"have members with {needed} training examples and more, and raise privacy.normaliser to that",
    )


def _enough(noise: ExamplePrivacy, budget: float) -> str:
    """Which ε would be enough for members of `normaliser` examples."""
    hundredths = math.ceil(100 * noise.noise_multiplier) - 1
    while hundredths > 0 and enough_examples(hundredths / 100 * noise.clip_l2) > noise.normaliser:
        hundredths -= 1
    enough = math.inf if hundredths <= 0 else epsilon_of([hundredths / 100], noise.delta)
    if enough > _LARGEST_EPSILON:
        return "no ε is enough for so few examples"
    enough = math.ceil(100 * enough) / 100
    more = "" if enough <= budget else f", which needs privacy.epsilon = {enough:g} or more"
    return f"let the survey cost ε = {enough:g} (--epsilon {enough:g}){more}"


def _largest_weight(settings: Settings, weights: tuple[float, ...]) -> float:
    """How much one member's row may weigh: what `min_members` rests on."""
    rule, n = settings.chain.rule, len(weights)
    if settings.chain.pre:
        return 1.0
    if isinstance(rule, TrimmedMean):
        return 1 / (n - 2 * rule.f)
    return max(weights) if isinstance(rule, Mean) else 1.0


def _odd(trainers: Mapping[MemberId, StatisticsTrainer], request: Request) -> tuple[OddMember, ...]:
    if len(trainers) < MIN_COMPARED:
        return ()
    zeros: F32 = np.zeros(request.layout.d, np.float32)
    rows = {member: trainer.train(zeros, TrainTask(1, None), None).delta for member, trainer in trainers.items()}
    return odd_members(rows, request)


def _noise_left(settings: Settings, one: Settings) -> float | None:
    """The σ, in steps of 0.01, with which the planned rounds and the survey cost ε together; None without privacy.

    Gaussian mechanisms compose to one whose 1/σ² is the sum of theirs (Dong, Roth and Su, JRSS B 2022, corollary 3.3);
    the accountant has the last word.
    """
    spent, privacy, rounds = one.mechanism, settings.privacy, settings.run.rounds
    if spent is None or privacy is None:
        return None
    rate = settings.secret_rate or 1.0
    alone = noise_multiplier(privacy.epsilon, privacy.delta, rounds, rate)
    left = rounds / alone**2 - 1 / spent.noise_multiplier**2
    if left <= 0:
        return None
    hundredths = math.floor(100 * math.sqrt(rounds / left))
    rates = [1.0, *[rate] * rounds]
    while epsilon_of([spent.noise_multiplier, *[hundredths / 100] * rounds], privacy.delta, rates) > privacy.epsilon:
        hundredths += 1
    return hundredths / 100
