"""The federation's statistics before it trains: one ordinary round in which members send statistics of their data.

Means, deviations, which labels and words there are, over all members, through the same seal, screening, rule, noise,
gate and log as a model. What `phalanx run` then needs to scale every member's inputs alike is one small file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from phalanx.canonical import digest
from phalanx.config import Settings, parse, read_config
from phalanx.engine.assemble import Stores, assemble, edges_of
from phalanx.entropy import system_entropy
from phalanx.errors import ConfigError
from phalanx.federation.local import LEDGER, check_folder
from phalanx.federation.module import load_module, users_code
from phalanx.federation.prepare import read_schema
from phalanx.learning import Trainer, hold_out, member_of
from phalanx.learning.preprocessing import Statistics, statistics_of
from phalanx.learning.schema import Schema, check, numbers_of, words_of
from phalanx.learning.statistics import OddMember, Request, StatisticsTrainer, odd_members, request_of
from phalanx.rules import Mean, TrimmedMean
from phalanx.store import LedgerStore, RunStore
from phalanx.types import F32, MemberId, TrainTask


@dataclass(frozen=True, slots=True)
class Survey:
    """What the round gave. `odd` names members whose means lie far from the others': a wrong unit, perhaps.

    Only the lab, which has all members' rows, can say `odd`; it is empty below five members: not tested.
    """

    statistics: Statistics
    odd: tuple[OddMember, ...]
    public: Path


def survey(path: Path | str, out: Path | str | None = None, *, buckets: int = 0, min_members: int = 2) -> Survey:
    """The statistics of the federation that a phalanx.toml describes, whose `data.schema` says what the columns are.

    One round under the file's own rule, seal, screening, gate and privacy: a configured ε is spent on this round alone
    as far as its noise says, and counts in the same ledger. `buckets` slots for words that the schema does not list.
    Raises as a run does.
    """
    file = Path(path)
    settings = read_config(file)
    if settings.data.schema_file is None:
        raise ConfigError(
            "a survey needs data.schema: the columns, and the bounds of each number",
            hint='write a schema.toml beside the configuration and set schema = "schema.toml" under [data]',
        )
    schema = read_schema(file.parent / settings.data.schema_file)
    request = request_of(schema, buckets)
    module, _ = load_module(file.parent / settings.learning.module)
    trainers = _trainers(settings, member_of(module), schema, request)
    root = file.with_name(f"{file.stem}-survey") if out is None else Path(out)
    check_folder(root, resume=False)
    stores = Stores(RunStore(root, system_entropy), LedgerStore(file.with_name(LEDGER)))
    try:
        code = digest("survey", repr((schema, request)).encode())
        one = _one_round(settings, request)
        engine = assemble(one, trainers, classes=1, code=code, stores=stores, edges=edges_of(one))
        records = engine.run(np.zeros(request.layout.d, np.float32))
        statistics = statistics_of(
            engine.model(),
            request,
            members=len(records[-1].accepted),
            largest_weight=_largest_weight(one, records[-1].weights),
            min_members=min_members,
            epsilon=records[-1].epsilon,
        )
        return Survey(statistics, _odd(trainers, request), root / "public")
    finally:
        stores.run.close()
        stores.ledger.close()


def _trainers(settings: Settings, member: Any, schema: Schema, request: Request) -> dict[MemberId, Trainer]:
    trainers: dict[MemberId, Trainer] = {}
    for name in settings.members:
        with users_code(f"load({name!r})"):
            x, y = (np.asarray(part) for part in member.load(name))
        check(schema, x, y, name)
        rows = np.arange(len(x))
        kept = hold_out(rows, y, classes=member.model.classes, member=name, fraction=settings.learning.held_out)
        x = x[kept.x_train]  # what only votes takes no part here either
        words = words_of(schema, x)
        trainers[name] = StatisticsTrainer(request, numbers_of(schema, x), kept.y_train, words)
    return trainers


def _one_round(settings: Settings, request: Request) -> Settings:
    """The same federation for one round of statistics: bounds and noise are those of rows of shares."""
    table = settings.model_dump(mode="python", by_alias=True, exclude_unset=True)
    table["run"] = table["run"] | {"rounds": 1}
    table["learning"] = {"module": table["learning"]["module"], "held_out": settings.learning.held_out}
    for name in ("server", "data", "report"):
        table.pop(name, None)
    if settings.privacy is None:
        table["screening"] = table.get("screening", {}) | {"max_norm": request.row_l2}
    elif settings.privacy.unit == "example":
        table["privacy"] = table["privacy"] | {"clip_l2": request.example_l2}
    else:
        table["aggregation"] = table["aggregation"] | {"clip_l2": request.row_l2}
    return parse(table)


def _largest_weight(settings: Settings, weights: tuple[float, ...]) -> float:
    """How much one member's row may weigh: what `min_members` rests on."""
    rule, n = settings.chain.rule, len(weights)
    if settings.chain.pre:
        return 1.0
    if isinstance(rule, TrimmedMean):
        return 1 / (n - 2 * rule.f)
    return max(weights) if isinstance(rule, Mean) else 1.0


def _odd(trainers: dict[MemberId, Trainer], request: Request) -> tuple[OddMember, ...]:
    zeros: F32 = np.zeros(request.layout.d, np.float32)
    rows = {member: trainer.train(zeros, TrainTask(1, None), None).delta for member, trainer in trainers.items()}
    try:
        return odd_members(rows, request)
    except ValueError:  # fewer than five members: a median says nothing
        return ()
