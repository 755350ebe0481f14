"""The auditor's own list of what each kind of log entry holds, field by field. Nothing more, nothing less.

Shape alone: what the values have to agree with is `grammar`'s. Numbers are finite already, since JSON holds no others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from phalanx.audit.blame import require
from phalanx.audit.federation import is_id
from phalanx.types import Reason

_HASH = re.compile(r"[0-9a-f]{64}")
_NONCE = re.compile(r"[0-9a-f]{32}")
_REASONS = frozenset(reason.value for reason in Reason)


def check_shape(entry: Any, index: int, *, sealed: bool = False) -> str:
    """The kind of `entry`. Raises LogInconsistent unless it is entry `index` and has the fields of its kind.

    With `sealed`, what tells of a cohort has to be committed to in place of being told.
    """
    kind = entry.get("kind") if isinstance(entry, dict) else None
    require(isinstance(kind, str) and kind in FIELDS, f"kind is {kind!r}, not one that a log has")
    fields = FIELDS[str(kind)]
    if sealed and kind in OF_THE_COHORT:
        told = sorted(entry.keys() & OF_THE_COHORT[kind])
        require(not told, f"{kind}: tells {told}, and ε counts on nobody knowing the cohort")
        fields = {name: holds for name, holds in fields.items() if name not in OF_THE_COHORT[kind]}
        fields["sealed"] = _is_hash
    odd = entry.keys() ^ (fields.keys() | ALWAYS.keys() | {"kind"})
    require(not odd, f"{kind}: fields missing or unknown: {sorted(odd)}")
    wrong = sorted(name for name, holds in (fields | ALWAYS).items() if not holds(entry[name]))
    require(not wrong, f"{kind}: fields that are not what they should be: {wrong}")
    require(entry["index"] == index, f"{kind}: says to be entry {entry['index']}")
    return str(kind)


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and _HASH.fullmatch(value) is not None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and all(is_id(name) for name in value) and value == sorted(set(value))


def _is_refusals(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(row, dict)
        and row.keys() - {"detail"} == {"member", "reason"}
        and is_id(row["member"])
        and _is_text(row["reason"])
        and row["reason"] in _REASONS
        and _is_text(row.get("detail", ""))
        for row in value
    )


def _is_weights(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_number(weight) for weight in value.values())


def _is_signed_rows(value: Any) -> bool:
    return (
        isinstance(value, list)
        and all(isinstance(row, dict) and row.keys() == {"member", "receipt", "signature"} for row in value)
        and _is_ids([row["member"] for row in value])
        and all(_is_hash(row["receipt"]) and _is_text(row["signature"]) for row in value)
    )


def _is_commitment(value: Any) -> bool:
    return value is None or (
        isinstance(value, dict)
        and value.keys() == {"commitment", "policy"}
        and _is_text(value["policy"])
        and _is_hash(value["commitment"])
    )


def _is_seed(value: Any) -> bool:
    return value is None or _is_hash(value)  # 32 bytes in hexadecimal too


def _is_binding(value: Any) -> bool:
    texts, counts = {"config", "federation", "model", "nonce", "run"}, {"attempt", "round"}
    return (
        isinstance(value, dict)
        and value.keys() == texts | counts
        and all(_is_text(value[name]) for name in texts)
        and all(_is_count(value[name]) for name in counts)
        and _NONCE.fullmatch(value["nonce"]) is not None
    )


def _is_plan(value: Any) -> bool:
    keys = {"delta", "epsilon_budget", "noise_multiplier", "rounds", "unit"}
    return value is None or (
        isinstance(value, dict)
        and value.keys() == keys
        and value["unit"] in ("example", "member")
        and _is_number(value["noise_multiplier"])
        and 0.01 <= value["noise_multiplier"] <= 1e6
        and _is_number(value["delta"])
        and 0 < value["delta"] < 1
        and _is_number(value["epsilon_budget"])
        and value["epsilon_budget"] > 0
        and _is_count(value["rounds"])
    )


FIELDS: Mapping[str, dict[str, Callable[[Any], bool]]] = {
    "genesis": {
        "federation": is_id, "run": is_id, "roster": _is_hash, "config": _is_hash, "operator": _is_text,
        "model": _is_hash, "privacy": _is_plan, "selection": _is_commitment,
    },
    "round-open": {"binding": _is_binding, "round_key": _is_hash, "rule": _is_text, "invited": _is_ids},
    "updates": {"updates": _is_signed_rows},
    "cohort": {"accepted": _is_ids, "refused": _is_refusals, "weights": _is_weights},
    "charge": {
        "unit": _is_text, "noise_multiplier": _is_number, "delta": _is_number, "epsilon": _is_number,
        "parties": lambda value: value == "coordinator" or _is_ids(value), "reservation": _is_text,
    },
    "aggregate": {
        "rule": _is_text, "vector": _is_hash,
        "l2_sensitivity": lambda value: value is None or (_is_number(value) and value >= 0),
    },
    "ballots": {"ballots": _is_signed_rows, "candidate": _is_hash},
    "decision": {
        "passed": lambda value: isinstance(value, bool), "test": _is_text,
        "p_value": lambda value: _is_number(value) and 0 <= value <= 1,
        "worse": _is_count, "better": _is_count, "voters": _is_count, "refused": _is_refusals, "candidate": _is_hash,
    },
    "release": {"version": _is_count, "parameters": _is_hash, "file": _is_hash},
    "attempt-failed": {"reason": _is_text},
    "finished": {"selection_seed": _is_seed},
    "stopped": {"reason": _is_text, "refusals": _is_count, "selection_seed": _is_seed},
}  # fmt: skip
OF_THE_COHORT = {"round-open": {"invited"}, "updates": {"updates"}, "cohort": {"accepted", "refused", "weights"}}
ALWAYS = {"attempt": _is_count, "index": _is_count, "round": _is_count, "time": _is_count}
