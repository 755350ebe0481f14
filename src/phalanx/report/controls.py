"""A configuration in words: which controls are in force, who can switch them off, and what stays open."""

from __future__ import annotations

from collections.abc import Mapping

from phalanx.config import Settings
from phalanx.gate import detectable_drop
from phalanx.privacy import COST_AT_SMALL_N
from phalanx.report.facts import Control, State
from phalanx.report.wording import count, percent, small, word
from phalanx.types import ExamplePrivacy, MemberId, MemberPrivacy

Privacy = ExamplePrivacy | MemberPrivacy | None

NOBODY = "nobody"
OPERATOR = "the operator, in the config"
_MISSING = (
    ("Secure aggregation", "the open venue shows each update to the coordinator"),
    ("Backdoor inspection", "no search for triggers in a candidate"),
    ("Witnesses of the log", "nobody cosigns what the operator signs"),
    ("Separate machines", "the lab profile runs all parties in one process"),
)


def controls_of(settings: Settings, privacy: Privacy) -> tuple[Control, ...]:
    """Every control, in the order in which an update meets them; `privacy` is the mechanism as calibrated."""
    members = count(len(settings.members), "organisation")
    sealed = "signed by its member, sealed to a key of this attempt, bound to round, model and configuration"
    return (
        Control("Signed roster", f"{members}, one key and one entry each", NOBODY, "on"),
        Control("Signed and sealed updates", f"each {sealed}", NOBODY, "on"),
        _screening(settings),
        _rule(settings),
        _cap(settings),
        _noise(settings, privacy),
        _ledger(privacy),
        _gate(settings),
        _floors(settings),
        Control("Log and releases", "append-only, signed, checked offline by anybody", NOBODY, "on"),
        _entropy(settings),
        *(Control(name, value, "–", "not available") for name, value in _MISSING),
    )


def _screening(settings: Settings) -> Control:
    table = settings.screening
    checks = f"finite, of the right names and shapes, once a member, norm ≤ {table.max_norm:g}"
    if table.unsafe_accept_all:
        return Control("Screening", "unsafe_accept_all: whatever arrives counts", OPERATOR, "off")
    return Control("Screening", checks, OPERATOR, "on")


def _rule(settings: Settings) -> Control:
    f, refused = settings.aggregation.f, settings.floor.refused_rules
    switch = f"{OPERATOR}; the members' floors refuse {', '.join(refused)}" if refused else OPERATOR
    if settings.screening.unsafe_accept_all:
        return Control("Robust aggregation", "plain federated averaging: tolerates nobody", switch, "off")
    if not f:
        return Control("Robust aggregation", f"{settings.chain}: tolerates no hostile member", switch, "off")
    value = f"{settings.chain}: tolerates up to {word(f)} of {count(len(settings.members), 'member')}"
    return Control("Robust aggregation", value, switch, "on")


def _cap(settings: Settings) -> Control:
    cap, rule = settings.federation.weight_cap, settings.aggregation.rule
    if rule != "mean":
        return Control("Weight cap", f"{percent(cap)}; {rule} counts each member once anyhow", OPERATOR, "no effect")
    if settings.screening.weighting == "equal":
        return Control("Weight cap", f"{percent(cap)}; every member weighs the same anyhow", OPERATOR, "no effect")
    if cap >= 1:
        return Control("Weight cap", "none: a member weighs what it claims", OPERATOR, "off")
    return Control("Weight cap", f"no organisation weighs more than {percent(cap)}", OPERATOR, "on")


def _noise(settings: Settings, privacy: Privacy) -> Control:
    name, most = "Differential privacy", settings.floor.max_epsilon
    floors = "" if most is None else f"; the members' floors then decline: they accept ε ≤ {most:g}"
    if privacy is None:
        return Control(name, "none: no noise, no bound", OPERATOR, "off")
    bound = f"ε ≤ {privacy.epsilon:g} at δ = {small(privacy.delta)}, σ = {privacy.noise_multiplier:.4g}"
    if isinstance(privacy, MemberPrivacy):
        return Control(name, f"noise by the aggregator, for each member's whole update: {bound}", OPERATOR, "on")
    where = f"noise by each member, for each example (gradient clipped to {privacy.clip_l2:g}): {bound}"
    return Control(name, where, OPERATOR + floors, "on")


def _ledger(privacy: Privacy) -> Control:
    if privacy is None:
        return Control("Privacy ledger", "nothing was charged", "–", "off")
    whose = "each member charges its own" if isinstance(privacy, ExamplePrivacy) else "the coordinator charges it"
    return Control(
        "Privacy ledger",
        f"{whose} before anything is drawn; kept over runs",
        f"{NOBODY}; deleting its file forgets",
        "on",
    )


def _gate(settings: Settings) -> Control:
    table = settings.gate
    if table.unsafe_accept_all:
        return Control("Gate", "unsafe_accept_all: every candidate passes", OPERATOR, "off")
    liars = f"up to {count(settings.liars, 'liar')} tolerated" if settings.liars else "every voter is believed"
    classes = f", all classes together at {table.class_significance:g}" if table.class_significance else ""
    tests = f"sign tests: overall at {table.significance:g}{classes}"
    return Control("Gate", f"members vote on held-out examples; {liars}; {tests}", OPERATOR, "on")


def _floors(settings: Settings) -> Control:
    most, rules = settings.floor.max_epsilon, settings.floor.refused_rules
    terms = [] if most is None else [f"ε ≤ {most:g} at δ ≤ {small(settings.floor.max_delta)}"]
    terms += [f"never {', '.join(rules)}"] if rules else []
    state: State = "on" if terms else "off"
    value = "; ".join(terms) or "none set: any order is accepted"
    return Control("Members' floors", value, "each member, its own; in the lab one config sets them all", state)


def _entropy(settings: Settings) -> Control:
    if settings.run.lab_seed is not None:
        return Control("Secret randomness", "lab_seed: anybody can repeat keys and noise", OPERATOR, "off")
    return Control("Secret randomness", "the system's", OPERATOR, "on")


# -------------------------------------------------------------------------------------------------------------- limits


def limits_of(settings: Settings, privacy: Privacy, held_out: Mapping[MemberId, int]) -> tuple[str, ...]:
    """What a run of these settings does not protect against, worst first. `held_out` counts each voter's examples."""
    return (*_unsafe(settings), *_of_privacy(settings, privacy), *_of_robustness(settings, privacy),
            *_of_gate(settings, held_out), *_of_trust())  # fmt: skip


def _unsafe(settings: Settings) -> list[str]:
    found = []
    if settings.run.lab_seed is not None:
        found.append("Not secure: lab_seed replaced the system's entropy. Whoever knows it knows all keys and noise.")
    if settings.screening.unsafe_accept_all:
        found.append("Not secure: screening was switched off. One update of NaN, or a huge one, ends the model.")
    if settings.gate.unsafe_accept_all:
        found.append("Not secure: the gate was switched off. A ruined candidate is released like any other.")
    return found


def _of_privacy(settings: Settings, privacy: Privacy) -> list[str]:
    if privacy is None:
        return [
            "The coordinator sees each single update, without any noise: training examples can be rebuilt from it.",
            "Nothing bounds what the released models tell about the training data.",
        ]
    if isinstance(privacy, MemberPrivacy):
        few = [COST_AT_SMALL_N] if len(settings.members) < 100 else []
        return [
            "The coordinator sees each single update before the noise: ε holds only for those who see models.",
            *few,
        ]
    return [
        "The coordinator sees each single update. Only that member's own noise stands between it and the data.",
        "ε covers one example of one member. Whoever has several records, or records at several members, is covered "
        "less. Votes, and whatever was chosen by looking at the data, are outside it.",
    ]


def _of_robustness(settings: Settings, privacy: Privacy) -> list[str]:
    table, found = settings.aggregation, []
    if table.f and not settings.screening.unsafe_accept_all:
        found.append(
            f"More than f = {table.f} hostile members together can steer the model, and even f of them, with updates "
            "as long as honest ones, may plant part of a backdoor."
        )
    else:
        found.append("The rule tolerates nobody: a single hostile member can steer the model.")
    if isinstance(privacy, ExamplePrivacy) and table.rule in ("krum", "multi-krum"):
        found.append(f"Under noise {table.rule} prefers an update that is shorter than honest ones: attackers' choice.")
    return found


def _of_gate(settings: Settings, held_out: Mapping[MemberId, int]) -> list[str]:
    table, examples = settings.gate, sum(held_out.values())
    if table.unsafe_accept_all:
        return []
    found = []
    if examples:
        drop = detectable_drop(examples, table.significance)
        least = "no loss at all" if drop is None else f"no loss of fewer than {round(drop * examples)} of them"
        more = ", and with liars tolerated less than that" if settings.liars else ""
        found.append(
            f"{count(len(held_out), 'voter').capitalize()} held out {examples} examples in all: the gate's overall "
            f"test notices {least}{more}."
        )
    if not settings.liars:
        found.append("The gate believes every voter: one liar can refuse good candidates or help a bad one through.")
    return found


def _of_trust() -> list[str]:
    return [
        "A backdoor whose trigger no voter's data holds is invisible to the gate, and no inspection looks for it.",
        "All parties ran in one process of one user, with all keys in one folder: whoever reads it is everybody.",
        "The operator can announce one rule and apply another, and can show two logs to two parties: there are no "
        "witnesses yet.",
    ]
