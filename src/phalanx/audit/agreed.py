"""What config.json promises, read a second time, and whether roster and privacy plan are the promised ones.

The file that members agree on names the rule, the privacy, the rounds and the gate. An operator who lists it honestly
and runs something weaker signs both; only holding the one against the other shows it. This shares nothing with the
reader that starts a run: it takes the few fields that it compares, and leaves the others to the file's hash.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from phalanx.audit.blame import require
from phalanx.audit.epsilon import epsilon_of
from phalanx.audit.federation import Federation, is_id
from phalanx.audit.sampled import epsilon_below
from phalanx.audit.votes import decimal, fewest_voters
from phalanx.canonical import decode
from phalanx.errors import NotCanonical

_MEMBERS, _SIGNIFICANCE = 1000, 1e-6  # beyond these no configuration goes, and exact tails take hours
_SLACK = 1e-9  # rounding of float64; no attack gains from it
_ROWS = {  # a rule that tolerates f needs a f + b rows
    "trimmed-mean": (2, 1), "median": (2, 1), "meamed": (2, 1), "bulyan": (4, 3), "caf": (2, 1), "mda": (2, 1),
    "dnc": (2, 1), "geometric-median": (2, 1), "centered-clipping": (2, 1), "flame": (2, 1), "krum": (2, 3),
    "multi-krum": (2, 3), "nnm": (2, 1), "arc": (2, 1),
}  # fmt: skip
_STEPS = ("norm-clip", "nnm", "arc")  # what may stand before a rule
_POLICIES = ("all", "uniform", "poisson", "stratified")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Who is asked: `size` is of the policies uniform and stratified, `rate` of poisson; the others have None."""

    policy: str
    size: int | None
    rate: float | None
    min_cohort: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """What config.json says of all that the log can be held to. `privacy` None: nothing was promised."""

    federation: str
    members: frozenset[str]
    labels: Mapping[str, str]  # of the members that have one
    weight_cap: float
    rounds: int
    selection: Selection
    rule: str
    clip_l2: float | None  # of the clip steps, where there is one
    min_rows: int
    privacy: Mapping[str, Any] | None
    liars: int  # among the voters
    ballot: str  # counts or votes
    vote_significance: float
    significance: float
    class_significance: float
    min_voters: int
    accept_all: bool  # the gate was switched off

    @property
    def secret_rate(self) -> float | None:
        """The rate of cohorts that nobody may know, where central noise counts on it; None where the log names them."""
        central = self.privacy is not None and self.privacy["unit"] == "member"
        return self.selection.rate if central and self.selection.policy == "poisson" else None

    def expected(self, federation: Federation) -> float:
        """What the sum over a secret cohort is divided by: rate times admitted members, however many were drawn."""
        return (self.secret_rate or 1.0) * len(federation.admitted)


def open_config(data: bytes) -> Agreed:
    """The promises in `data`. Raises NotCanonical for a field that is missing, of another type or out of range."""
    outer = decode(data)
    if not isinstance(outer, dict):
        raise NotCanonical("expected an object")
    names = ("federation", "run", "selection", "aggregation", "gate")
    federation, run, selection, aggregation, gate = (_field(outer, name, _is_table) for name in names)
    rule, min_rows = _rule(aggregation)
    if (stated := _field(outer, "rule", _is_text)) != rule:
        raise NotCanonical(f"rule is {stated!r}, its aggregation table says {rule!r}")
    liars: int | None = _field(gate, "f", lambda value: value is None or _is_count(value), "gate.")
    liars = aggregation["f"] if liars is None else liars
    ballot: str = _field(gate, "ballot", lambda value: _is_text(value) and value in ("counts", "votes"), "gate.")
    alpha: float = _field(gate, "vote_significance", lambda value: _is_share(value) and value <= 0.1, "gate.")
    significance: float = _field(gate, "significance", _is_share, "gate.")
    members = _field(federation, "members", _is_members, "federation.")
    labels = _field(federation, "labels", _is_labels, "federation.")
    if strangers := sorted(labels.keys() - set(members)):
        raise NotCanonical(f"federation.labels names {strangers}, who are no members")
    accept_all: bool = _field(gate, "unsafe_accept_all", lambda value: isinstance(value, bool), "gate.")
    min_voters = 2 * liars + 1
    if len(members) > _MEMBERS or significance < _SIGNIFICANCE or alpha < _SIGNIFICANCE:
        raise NotCanonical(f"more than {_MEMBERS} members, or a significance below {_SIGNIFICANCE:g}")
    if ballot == "votes":
        min_voters = fewest_voters(liars, decimal(alpha), decimal(significance), len(members))
    return Agreed(
        federation=_field(federation, "name", is_id, "federation."),
        members=frozenset(members),
        labels=labels,
        weight_cap=_field(federation, "weight_cap", _is_share, "federation."),
        rounds=_field(run, "rounds", _is_whole, "run."),
        selection=_selection(selection),
        rule=rule,
        clip_l2=_clip(aggregation),
        min_rows=min_rows,
        privacy=_privacy(_field(outer, "privacy", lambda value: value is None or _is_table(value))),
        liars=liars,
        ballot=ballot,
        vote_significance=alpha,
        significance=significance,
        class_significance=_field(gate, "class_significance", lambda v: v == 0 or _is_share(v), "gate."),
        min_voters=0 if accept_all else min_voters,
        accept_all=accept_all,
    )


def check_roster(agreed: Agreed, federation: Federation) -> None:
    """Raises LogInconsistent unless federation.json has the name, members, cap and labels that were agreed."""
    require(federation.id == agreed.federation, f"is of {federation.id!r}, config.json of {agreed.federation!r}")
    odd = sorted(federation.members.keys() ^ agreed.members)
    require(not odd, f"lists other members than config.json: {odd} are in one of both alone")
    for name, member in federation.members.items():
        found, expected = member.weight_cap, agreed.weight_cap
        require(found == expected, f"weight_cap of {name} is {found!r}, config.json says {expected!r}")
        label = agreed.labels.get(name, "")
        require(member.label == label, f"the label of {name} is {member.label!r}, config.json says {label!r}")


def check_plan(agreed: Agreed, plan: Mapping[str, Any] | None) -> None:
    """Raises LogInconsistent unless `plan`, of the log's first entry, promises the privacy that was agreed."""
    promised = agreed.privacy
    if plan is None or promised is None:
        require(plan is promised, f"has {_presence(plan)} privacy plan, config.json has {_presence(promised)}")
        return
    expected = {
        "unit": promised["unit"], "epsilon_budget": promised["epsilon"], "delta": promised["delta"],
        "rounds": agreed.rounds, "noise_multiplier": promised["noise_multiplier"] or plan["noise_multiplier"],
    }  # fmt: skip
    odd = sorted(name for name, value in expected.items() if plan[name] != value)
    require(
        not odd, f"privacy is not what config.json promises: {[(name, plan[name], expected[name]) for name in odd]}"
    )
    if promised["noise_multiplier"] is None:  # calibrated: all rounds have to fit
        sigma, delta, budget = plan["noise_multiplier"], plan["delta"], plan["epsilon_budget"]
        if agreed.secret_rate is None:
            least = epsilon_of(math.sqrt(agreed.rounds) / sigma, delta)
        else:
            least = epsilon_below(sigma, agreed.secret_rate, agreed.rounds, delta)
        require(least <= budget + _SLACK, f"{agreed.rounds} rounds of this noise cost ε {least:.6f}, budget {budget!r}")


def _presence(plan: object) -> str:
    return "no" if plan is None else "a"


def _rule(table: Mapping[str, Any]) -> tuple[str, int]:
    """The rule of an aggregation table in the words of the log, and the fewest rows that it may be given."""
    f = _field(table, "f", _is_count, "aggregation.")
    words, rows = [], 1
    for name in [*_field(table, "pre", _is_steps, "aggregation."), _field(table, "rule", _is_rule, "aggregation.")]:
        if name == "norm-clip":
            words.append(f"norm-clip({_field(table, 'clip_l2', _is_positive, 'aggregation.'):g})")
        elif name == "mean":
            words.append(name)
        else:
            words.append(_words(name, f, table))
            rows = max(rows, _ROWS[name][0] * f + _ROWS[name][1])
    return " >> ".join(words), rows


def _words(name: str, f: int, table: Mapping[str, Any]) -> str:
    """A rule or step that tolerates f, as the log has it."""
    if name == "dnc":
        return f"dnc(f={f}, c=1)"
    if name != "centered-clipping":
        return f"{name}(f={f})"
    clip = _field(table, "clip_l2", _is_positive, "aggregation.")
    steps = _field(table, "steps", lambda value: value is None or _is_whole(value), "aggregation.") or 1
    return f"centered-clipping({clip:g}, steps={steps}, f={f})"


def _clip(table: Mapping[str, Any]) -> float | None:
    if "norm-clip" not in table["pre"]:
        return None
    clip: float = _field(table, "clip_l2", _is_positive, "aggregation.")
    return clip


def _selection(table: Mapping[str, Any]) -> Selection:
    """A number that the policy does not use is refused: it would promise what nobody does."""
    policy = _field(table, "policy", lambda value: _is_text(value) and value in _POLICIES, "selection.")
    sized, rated = policy in ("uniform", "stratified"), policy == "poisson"
    return Selection(
        policy=policy,
        size=_field(table, "size", _is_whole if sized else _is_none, "selection."),
        rate=_field(table, "rate", _is_share if rated else _is_none, "selection."),
        min_cohort=_field(table, "min_cohort", _is_whole, "selection."),
    )


def _privacy(table: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if table is None:
        return None
    return {
        "unit": _field(table, "unit", lambda value: value in ("example", "member"), "privacy."),
        "epsilon": _field(table, "epsilon", _is_positive, "privacy."),
        "delta": _field(table, "delta", _is_share, "privacy."),
        "noise_multiplier": _field(
            table, "noise_multiplier", lambda value: value is None or _is_positive(value), "privacy."
        ),
    }


def _field(table: Mapping[str, Any], name: str, holds: Callable[[Any], bool], path: str = "") -> Any:
    if name not in table:
        raise NotCanonical(f"{path}{name} is missing")
    if not holds(table[name]):
        raise NotCanonical(f"{path}{name} is {str(table[name])[:60]!r}, not what it should be")
    return table[name]


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_whole(value: Any) -> bool:
    return _is_count(value) and bool(value >= 1)


def _is_none(value: Any) -> bool:
    return value is None


def _is_positive(value: Any) -> bool:
    return type(value) in (int, float) and value > 0


def _is_share(value: Any) -> bool:
    return _is_positive(value) and bool(value <= 1)


def _is_steps(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) and name in _STEPS for name in value)


def _is_rule(value: Any) -> bool:
    return isinstance(value, str) and value in ("mean", *_ROWS) and value not in _STEPS


def _is_labels(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_text(label) for label in value.values())


def _is_members(value: Any) -> bool:
    return isinstance(value, list) and all(is_id(name) for name in value) and len(set(value)) == len(value) > 0
