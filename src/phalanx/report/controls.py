"""A configuration in words: which controls are in force, and who can switch them off."""

from __future__ import annotations

from phalanx.config import Settings
from phalanx.gate import votes_to_refuse
from phalanx.learning.server import Adam, Yogi
from phalanx.report.facts import Control, State
from phalanx.report.wording import count, listed, percent, small, word
from phalanx.types import ExamplePrivacy, MemberPrivacy

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
        _schema(settings),
        _standardisation(settings),
        _selection(settings),
        _local(settings),
        Control("Signed and sealed updates", f"each {sealed}", NOBODY, "on"),
        _screening(settings),
        _rule(settings),
        _cap(settings),
        _noise(settings, privacy),
        _ledger(privacy),
        _server(settings),
        _gate(settings),
        _ballots(settings),
        _floors(settings),
        Control("Log and releases", "append-only, signed, checked offline by anybody", NOBODY, "on"),
        _entropy(settings),
        *(Control(name, value, "–", "not available") for name, value in _MISSING),
    )


def _schema(settings: Settings) -> Control:
    name, table = "Schema check", settings.data
    if table.schema_file is None:
        return Control(name, "no schema: data in another unit or order train along unnoticed", OPERATOR, "off")
    value = f"before round one each member holds its own data against {table.schema_file}"
    return Control(name, value, f"{OPERATOR}; a member, for its own data", "on")


def _standardisation(settings: Settings) -> Control:
    name, table = "Standardisation", settings.data
    if table.statistics is None:
        return Control(name, "none: each member's inputs are as it loads them", OPERATOR, "no effect")
    value = f"inputs clipped to declared bounds and scaled by the federation's statistics, {table.statistics}"
    return Control(name, value, f"{OPERATOR}; a member, for its own data", "on")


def _selection(settings: Settings) -> Control:
    name, table = "Drawn cohorts", settings.selection
    if table.policy == "all":
        return Control(name, "nobody is drawn: all members are asked in every round", OPERATOR, "no effect")
    who = {
        "uniform": f"{settings.largest_cohort} of {len(settings.members)} members",
        "stratified": f"up to {table.size} members of each label",
        "poisson": f"each member with probability {table.rate}, {table.min_cohort} or more",
    }[table.policy]
    if settings.secret_rate is not None:
        who = f"each member with probability {table.rate}, nobody at times"
        sealed = "the log commits to them and names nobody, and ε counts on that; an auditor is handed the openings"
        return Control(name, f"{who}; {sealed}", OPERATOR, "on")
    draw = "the log's first entry commits by a hash to the seed of all draws, the last one reveals it"
    return Control(name, f"{who}; {draw}; no privacy amplification is claimed", OPERATOR, "on")


def _local(settings: Settings) -> Control:
    name, patterns = "Local tensors", settings.learning.local
    if not patterns:
        return Control(name, "none: every tensor of the model travels", OPERATOR, "no effect")
    value = f"{listed(patterns, 8)}: never leave a member; no rule, clip or gate of the coordinator's sees them"
    return Control(name, value, OPERATOR, "on")


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
    drawn = settings.selection.policy != "all"
    whom = "the members asked in a round" if drawn else count(len(settings.members), "member")
    value = f"{settings.chain}: tolerates up to {word(f)} of {whom}"
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


def _server(settings: Settings) -> Control:
    optimiser = settings.optimiser
    if isinstance(optimiser, Adam):
        kind = "yogi" if isinstance(optimiser, Yogi) else "adam"
        step = f"{kind}, learning rate {optimiser.learning_rate:g}, momentum {optimiser.momentum:g}"
    else:
        momentum = f", momentum {optimiser.momentum:g}" if optimiser.momentum else ""
        step = f"sgd, learning rate {optimiser.learning_rate:g}{momentum}"
    value = f"{step}: not a control; it works on aggregates alone, as post-processing of rule and noise"
    return Control("Server optimiser", value, OPERATOR, "no effect")


def _gate(settings: Settings) -> Control:
    table = settings.gate
    if table.unsafe_accept_all:
        return Control("Gate", "unsafe_accept_all: every candidate passes", OPERATOR, "off")
    liars = f"up to {count(settings.liars, 'liar')} tolerated" if settings.liars else "every voter is believed"
    if table.ballot == "votes":
        voters = len(settings.members)
        enough = votes_to_refuse(voters, settings.gate_policy(1))
        tests = f"{enough} of {voters} votes against refuse a candidate"
    else:
        classes = f", all classes together at {table.class_significance:g}" if table.class_significance else ""
        tests = f"sign tests: overall at {table.significance:g}{classes}"
    return Control("Gate", f"members vote on held-out examples; {liars}; {tests}", OPERATOR, "on")


def _ballots(settings: Settings) -> Control:
    """What of a member's held-out examples leaves it."""
    name, table = "Ballots", settings.gate
    if table.unsafe_accept_all:
        return Control(name, "no ballot is asked for", OPERATOR, "no effect")
    if table.ballot == "counts":
        what = "by class, how many held-out examples there are, are right, were won and lost; never an example"
        return Control(name, f"counts: {what}", OPERATOR, "on")
    what = f"one vote by the member's own sign tests at {table.vote_significance:g}, and its accuracy"
    return Control(name, f"votes: {what} in steps of 1/{table.accuracy_buckets}; no counts", OPERATOR, "on")


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
