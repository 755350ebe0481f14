"""What is played: attacks × defences × hostile members × splits × seeds, from a TOML file and the command line.

attacks = ["default", "mine"]        # names, or the sets "default", "all", "training", "privacy", "wire"
defences = ["none", "yours", "arc-caf", "strict"]
hostile = [1, 2, 3]                  # members; or shares = [0.1, 0.3]
splits = ["natural", "dirichlet:0.5"]
seeds = 3                            # 0, 1 and 2
modules = ["my_attacks.py"]          # Python files beside this one, with attacks of your own

[defence.strict]                     # tables of phalanx.toml that replace yours
aggregation = { rule = "median", f = 3 }

[[accept]]                           # a finding that you know and live with, until a day
id = "yours:rider-echo:3:natural"
reason = "contracts bind the members"
until = 2027-06-30
"""

from __future__ import annotations

import datetime
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, ValidationError

from phalanx.errors import ConfigError
from phalanx.redteam.dealing import NATURAL, check_split

FILE = "redteam.toml"  # beside the configuration; read if it is there and no other is named
_Share = Annotated[StrictFloat, Field(gt=0, lt=1)]
_Member = Annotated[StrictInt, Field(ge=1, le=1000)]
DEFAULT_SEEDS = 3
DEFAULT_SHARE = 0.2  # of the members, where the configuration tolerates nobody


class Accept(BaseModel):
    """A waiver: the finding of this id does not fail the build until that day."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    reason: Annotated[str, Field(min_length=1)]
    until: datetime.date


class Scenario(BaseModel):
    """The file's values. None where the command line or the configuration decides."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    attacks: tuple[str, ...] = ("default",)
    defences: tuple[str, ...] = ("default",)
    hostile: tuple[_Member, ...] | None = None
    shares: tuple[_Share, ...] | None = None
    splits: Annotated[tuple[str, ...], Field(min_length=1)] = (NATURAL,)
    seeds: Annotated[StrictInt, Field(ge=1, le=1000)] = DEFAULT_SEEDS
    modules: tuple[str, ...] = ()
    defence: dict[str, dict[str, Any]] = {}
    accept: tuple[Accept, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """A scenario made concrete for one federation: names that exist, members in numbers."""

    attacks: tuple[str, ...]
    defences: tuple[str, ...]
    hostile: tuple[int, ...]
    splits: tuple[str, ...]
    seeds: tuple[int, ...]
    extra: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def read_scenario(path: Path) -> Scenario:
    """The scenario in a file. Raises ConfigError with the file's name and, for a slip of the pen, the nearest name."""
    try:
        held = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    try:
        return Scenario(**held)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        near = get_close_matches(where, Scenario.model_fields, n=1)
        hint = f"did you mean {near[0]}?" if near and first["type"] == "extra_forbidden" else ""
        raise ConfigError(f"{path}: {where}: {first['msg']}", hint=hint) from None
    except TypeError as error:
        raise ConfigError(f"{path}: {error}") from None


def chosen(names: Sequence[str], known: Sequence[str], sets: Mapping[str, Sequence[str]], what: str) -> tuple[str, ...]:
    """The names that are meant, each once, in the order of `known`. Raises ConfigError for one that is not known."""
    if not names:
        raise ConfigError(f"no {what} is named", hint="`phalanx redteam --list` names them all")
    wanted: set[str] = set()
    for name in names:
        if name not in known and name not in sets:
            near = get_close_matches(name, [*known, *sets], n=1)
            raise ConfigError(
                f"there is no {what} {name!r}",
                hint=(f"did you mean {near[0]!r}? " if near else "") + "`phalanx redteam --list` names them all",
            )
        wanted |= set(sets.get(name, (name,)))
    return tuple(name for name in known if name in wanted)


def counts(scenario: Scenario, members: int, tolerated: int) -> tuple[int, ...]:
    """How many members are hostile. Without a word of the scenario: as many as the configuration tolerates.

    Raises ConfigError where nobody would be left who is honest.
    """
    if scenario.hostile is not None and scenario.shares is not None:
        raise ConfigError("hostile and shares say the same in two ways", hint="leave one of them out")
    if scenario.hostile is not None:
        wanted = scenario.hostile
    elif scenario.shares is not None:
        wanted = tuple(max(1, round(share * members)) for share in scenario.shares)
    else:
        wanted = (tolerated or max(1, math.floor(DEFAULT_SHARE * members)),)
    if max(wanted) >= members:
        raise ConfigError(f"{max(wanted)} hostile members of {members}: at least one must be honest")
    return tuple(sorted(set(wanted)))


def check_splits(splits: Sequence[str]) -> tuple[str, ...]:
    """The splits, each once. Raises ConfigError."""
    if not splits:
        raise ConfigError("no split is named", hint="natural, iid, dirichlet:ALPHA or gamma:SHARE")
    for split in splits:
        check_split(split)
    return tuple(dict.fromkeys(splits))
