"""What is attacked: the user's configuration as it is, nothing at all, and one rule at a time in between.

| name                           | controls                                                                        |
|--------------------------------|---------------------------------------------------------------------------------|
| `none`                         | plain federated averaging: no screening, no rule, no noise, no gate             |
| `trusting-gate`                | the same behind a gate that believes every voter: undefended against liars      |
| `yours`                        | the user's configuration, changed in nothing                                    |
| a rule or a chain of `RULES`   | screening and that rule, told the true number of hostile members; no gate,      |
|                                | no noise                                                                        |

A scenario adds others by tables that replace the user's (`[[defence]]`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from phalanx.config import Settings, parse
from phalanx.errors import PhalanxError
from phalanx.learning.contract import Job
from phalanx.learning.many import train_together
from phalanx.redteam.lab import Lab
from phalanx.redteam.result import Defence
from phalanx.types import TrainTask

NONE, YOURS, TRUSTING_GATE = "none", "yours", "trusting-gate"
CENTRAL = "central"  # of onlookers' attacks: all data in one place, where nothing defends either
RULES: Mapping[str, tuple[str, ...]] = {  # each ends in a rule; the steps before it come first
    "norm-clip": ("norm-clip", "mean"),
    "trimmed-mean": ("trimmed-mean",),
    "median": ("median",),
    "meamed": ("meamed",),
    "krum": ("krum",),
    "multi-krum": ("multi-krum",),
    "bulyan": ("bulyan",),
    "mda": ("mda",),
    "geometric-median": ("geometric-median",),
    "centered-clipping": ("centered-clipping",),
    "caf": ("caf",),
    "arc-caf": ("arc", "caf"),
    "nnm-trimmed-mean": ("nnm", "trimmed-mean"),
    "arc-nnm-geometric-median": ("arc", "nnm", "geometric-median"),
    "dnc": ("dnc",),
    "flame": ("flame",),
}
DEFAULT: tuple[str, ...] = (
    NONE, "norm-clip", "trimmed-mean", "median", "multi-krum", "geometric-median", "arc-caf", YOURS,
)  # fmt: skip
NAMES: tuple[str, ...] = (NONE, TRUSTING_GATE, YOURS, *RULES)
_CLIPS = ("norm-clip", "centered-clipping")
Tables = Mapping[str, Any]


def settings_of(lab: Lab, name: str, hostile: int, extra: Mapping[str, Tables]) -> Settings:
    """The configuration under attack. Raises ConfigError, of which RuleRefused says that the rule cannot hold here.

    `extra` are the scenario's own defences: tables by name.
    """
    if name == YOURS:
        return lab.settings
    tables = _tables(lab.settings)
    if name in extra:
        return parse(tables | dict(extra[name]))
    for table in ("privacy", "floor"):
        tables.pop(table, None)
    tables["gate"] = {"unsafe_accept_all": True}
    if name in (NONE, TRUSTING_GATE):
        tables |= {"aggregation": {"rule": "mean"}, "screening": {"unsafe_accept_all": True}}
        tables["gate"] = {"f": 0} if name == TRUSTING_GATE else tables["gate"]
        return parse(tables)
    tables["aggregation"] = _aggregation(lab, name, hostile)
    return _with_room(tables, hostile)


def words(name: str, settings: Settings) -> Defence:
    """The defence and what it consists of."""
    parts = ["no screening" if settings.screening.unsafe_accept_all else "screening", str(settings.chain)]
    if settings.privacy is not None:
        parts.append(f"ε = {settings.privacy.epsilon:g} for each {settings.privacy.unit}")
    parts.append("no gate" if settings.gate.unsafe_accept_all else f"gate (f = {settings.liars})")
    return Defence(name, ", ".join(parts))


def _tables(settings: Settings) -> dict[str, Any]:
    held = settings.model_dump(mode="python", by_alias=True, exclude_unset=True)
    return {name: table for name, table in held.items() if table is not None} | {"report": {"baselines": False}}


def _aggregation(lab: Lab, name: str, hostile: int) -> dict[str, Any]:
    *steps, rule = RULES[name]
    table: dict[str, Any] = {"rule": rule, "pre": tuple(steps)}
    if rule != "mean":
        table["f"] = hostile
    if set(RULES[name]) & set(_CLIPS):
        table["clip_l2"] = lab.settings.aggregation.clip_l2 or typical_length(lab)
    if rule == "centered-clipping":
        table["steps"] = 3
    return table


def _with_room(tables: dict[str, Any], hostile: int) -> Settings:
    """As many may be missing as are hostile, or as the rule can do without: one refused update must not stall a run."""
    for missing in range(hostile, 0, -1):
        try:
            return parse(tables | {"run": dict(tables["run"]) | {"missing_allowed": missing}})
        except PhalanxError:
            continue
    return parse(tables | {"run": dict(tables["run"]) | {"missing_allowed": 0}})


def typical_length(lab: Lab) -> float:
    """The median l2 norm of the members' updates in the first round, two digits: a bound that is public in the lab."""
    trainers = lab.trainers()
    start = lab.start(trainers)
    control = np.zeros_like(start) if lab.settings.descent().scaffold else None
    jobs = [Job(trainer, start, TrainTask(1, None, b"", control), None) for trainer in trainers.values()]
    lengths = [np.linalg.norm(one.delta.astype(np.float64)) for one in train_together(jobs)]
    return float(f"{max(float(np.median(lengths)), 1e-6):.1e}")
