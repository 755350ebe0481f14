"""What happens to a member's inputs before it trains: the schema's check, and the federation's own scaling."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from phalanx.canonical import digest, encode
from phalanx.config import Settings
from phalanx.errors import ConfigError
from phalanx.learning.data import Array
from phalanx.learning.preprocessing import Statistics, as_json, from_json, standardise, vocabulary
from phalanx.learning.schema import Schema, check, numbers_of, schema_of, words_of
from phalanx.learning.statistics import request_of
from phalanx.types import F32, MemberId, member_id


@dataclass(frozen=True, slots=True)
class Preparation:
    """`schema` is checked at each member; with `statistics` the inputs become float32 columns, the same at each.

    `digest` names both, for the run's configuration; "" where there is nothing to prepare.
    """

    schema: Schema | None
    statistics: Statistics | None
    digest: str

    def applied(self, x: Array, y: Array, member: str) -> tuple[Array, Array]:
        """The member's inputs, checked and scaled. Raises ConfigError where they are not what the schema says."""
        name: MemberId = member_id(member)
        if self.schema is not None:
            check(self.schema, x, y, name)
        return (x if self.statistics is None else features(x, self.schema, self.statistics)), y


def preparation_of(settings: Settings, folder: Path | None) -> Preparation:
    """What the `data` table asks for; its files lie in `folder`. Raises ConfigError for one that cannot be read."""
    table = settings.data
    if folder is None and (table.schema_file or table.statistics):
        raise ConfigError("data.schema and data.statistics name files beside a phalanx.toml, and there is none")
    schema = None if table.schema_file is None or folder is None else read_schema(folder / table.schema_file)
    statistics = None
    if table.statistics is not None and folder is not None:
        statistics = _read_statistics(folder / table.statistics)
        _check_made_for(statistics, schema)
    named = {
        "schema": None if schema is None else repr(schema),
        "statistics": None if statistics is None else as_json(statistics),
    }
    return Preparation(schema, statistics, digest("preparation", encode(named)) if schema or statistics else "")


def _check_made_for(statistics: Statistics, schema: Schema | None) -> None:
    """Means of other columns, or of other bounds, would scale every member's inputs alike and wrongly."""
    if schema is None:
        if statistics.request.slots:
            raise ConfigError("data.statistics has words, and without data.schema nobody knows in which columns")
    elif request_of(schema, statistics.request.buckets) != statistics.request:
        raise ConfigError(
            "data.statistics was made for another schema than data.schema is now: its columns, bounds, labels or "
            "words differ",
            hint="make it anew with `phalanx survey`",
        )


def features(x: Array, schema: Schema | None, statistics: Statistics) -> F32:
    """(n, p + s): the numbers by the federation's means and deviations, then 1 for each kept word that a row holds."""
    numbers = standardise(x if schema is None else numbers_of(schema, x), statistics)
    if schema is None or not statistics.slots:
        return numbers
    rows = words_of(schema, x)
    column = vocabulary({word for row in rows for word in row}, statistics)
    holds = np.zeros((len(x), len(statistics.slots)), np.float32)
    for row, words in zip(holds, rows, strict=True):
        row[[column[word] for word in words if word in column]] = 1
    return np.concatenate([numbers, holds], axis=1)


def read_schema(path: Path) -> Schema:
    """The schema in a TOML file. Raises ConfigError."""
    try:
        return schema_of(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"cannot read data.schema {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None


def _read_statistics(path: Path) -> Statistics:
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(
            f"cannot read data.statistics {path}: {error.strerror}", hint="`phalanx survey CONFIG` writes it"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON: {error}") from None
