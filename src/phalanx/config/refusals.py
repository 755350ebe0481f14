"""What can be written and cannot be run: controls that do not compose, numbers that leave a round too few members.

Each refusal says what was found, what was expected and what to do instead.
"""

from __future__ import annotations

from phalanx.admission import All, Poisson
from phalanx.config.tables import Settings
from phalanx.errors import ConfigError, NotAvailable, RuleRefused
from phalanx.gate import fewest_voters
from phalanx.privacy import epsilon
from phalanx.rules import Chain, Mean
from phalanx.screening import CAPS_ROUNDING
from phalanx.types import ExamplePrivacy, MemberPrivacy

MAX_TRIMMED_LIARS = 10  # beyond, trimmed counts refuse too many candidates that are no worse: docs/sharp-edges.md


def refuse_what_cannot_run(settings: Settings) -> None:
    """Raises ConfigError, RuleRefused or NotAvailable."""
    _check_profile(settings)
    _check_learning(settings)
    _check_selection(settings)
    _check_secret_cohorts(settings)
    _check_rows(settings)
    _check_ballots(settings)
    _check_unused(settings)
    _check_privacy(settings)
    _check_floor(settings)


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


def _check_learning(settings: Settings) -> None:
    """Algorithms that need each other's settings, or that nothing would come of."""
    table, server = settings.learning, settings.server
    if (table.algorithm == "fedprox") != (table.prox is not None):
        raise ConfigError(
            f'learning.prox belongs to algorithm = "fedprox", found algorithm = {table.algorithm!r} '
            f"{'without' if table.prox is None else 'with'} prox",
            hint='set prox, 0.01 to 1 as a rule, or use algorithm = "fedavg"',
        )
    settings.descent()  # raises for steps that do not compose
    if server.optimiser == "sgd" and (server.second_momentum, server.tau) != (None, None):
        raise ConfigError(
            'server.second_momentum and server.tau are of "adam" and "yogi", found optimiser "sgd"',
            hint="leave them out",
        )
    if server.optimiser != "sgd" and server.momentum == 0:
        raise ConfigError(
            f"server.momentum = 0 with optimiser {server.optimiser!r}, expected above 0 and below 1",
            hint="leave it out (0.9), or use a small one",
        )


def _check_selection(settings: Settings) -> None:
    """A policy has its own number and no other's; labels name members; a floor beyond every draw stalls the run."""
    table, federation = settings.selection, settings.federation
    needs = {"uniform": "size", "stratified": "size", "poisson": "rate"}.get(table.policy)
    for name in ("size", "rate"):
        if (getattr(table, name) is not None) != (name == needs):
            raise ConfigError(
                f"selection.{name} {'is missing' if name == needs else 'does nothing'}: policy is {table.policy!r}",
                hint='"uniform" and "stratified" have size, "poisson" has rate, "all" has none',
            )
    strangers = sorted(set(federation.labels) - set(federation.members))
    if strangers:
        raise ConfigError(
            f"federation.labels names {', '.join(strangers)}, which federation.members does not",
            hint="a label is of a member: correct the name, or add it to federation.members",
        )
    if federation.labels and table.policy != "stratified":
        raise ConfigError(
            f"federation.labels do nothing with selection.policy = {table.policy!r}",
            hint='use policy = "stratified", or leave them out',
        )
    if table.min_cohort > settings.largest_cohort:
        raise ConfigError(
            f"selection.min_cohort = {table.min_cohort}, and no draw has more than {settings.largest_cohort} members",
            hint="lower min_cohort, or ask more members",
        )
    if settings.privacy and settings.privacy.unit == "member" and table.policy not in (All.name, Poisson.name):
        raise NotAvailable(
            f"not available: central noise for members that are drawn by {table.policy!r}",
            hint='use selection.policy = "all" or "poisson", or privacy.unit = "example"',
        )


def _check_secret_cohorts(settings: Settings) -> None:
    """Where ε counts on nobody knowing the cohort, nothing that others see may depend on it."""
    expected, table = settings.expected_cohort, settings.selection
    if expected is None:
        return
    why = 'central noise with selection.policy = "poisson" keeps its cohorts secret, and {}'
    if table.min_cohort != 1:
        raise ConfigError(
            why.format(f"a floor of selection.min_cohort = {table.min_cohort} would tell of small ones"),
            hint="leave min_cohort out: the sum over an empty cohort is noise alone",
        )
    if settings.run.missing_allowed and settings.gate.unsafe_accept_all:
        raise ConfigError(
            why.format("members that are missing are never counted: run.missing_allowed does nothing"),
            hint="leave missing_allowed out",
        )
    if settings.learning.local:
        raise ConfigError(
            why.format("with learning.local a member's ballot would tell whether it has trained"),
            hint='leave local out, or use privacy.unit = "example"',
        )
    if settings.screening.weighting != "equal":
        raise ConfigError(why.format("every member weighs the same"), hint='use screening.weighting = "equal"')
    if not (expected >= 1 and settings.federation.weight_cap * expected >= 1 - CAPS_ROUNDING):
        raise RuleRefused(
            why.format(
                f"each member's weight is 1 / (rate * members) = {1 / expected:.3g}, above federation.weight_cap = "
                f"{settings.federation.weight_cap:g}"
            ),
            hint="raise selection.rate or weight_cap",
        )


def _check_rows(settings: Settings) -> None:
    """n - missing must still be enough, so that a quarantine cannot stall the run in round nine.

    n are the fewest members that a round asks: all of them, or the smallest cohort that is drawn and not refused.
    """
    n, missing = settings.smallest_cohort, settings.run.missing_allowed
    needed = settings.chain.min_rows
    secret = settings.expected_cohort is not None  # no quorum, and weights that nobody's absence moves
    if not secret and n - missing < needed:
        raise RuleRefused(
            f"{settings.chain} needs {needed} updates, and {n} members of whom {missing} may be missing leave "
            f"{n - missing}",
            hint=f"lower aggregation.f or run.missing_allowed, or ask {needed + missing - n} more members"
            + ("" if settings.selection_policy == All() else " (selection.size, selection.min_cohort)"),
        )
    most = settings.chain.max_rows
    if most is not None and settings.largest_cohort > most:
        raise RuleRefused(
            f"{settings.chain} is exact for at most {most} updates, and a round asks up to {settings.largest_cohort}",
            hint='use rule = "multi-krum" or "caf", or ask fewer members',
        )
    cap = settings.federation.weight_cap
    if not secret and cap * (n - missing) < 1 - CAPS_ROUNDING:
        raise RuleRefused(
            f"federation.weight_cap = {cap:g} leaves the {n - missing} members of a smallest round less than the whole",
            hint=f"set weight_cap to {1 / (n - missing):.2g} or more, or lower run.missing_allowed",
        )
    if not settings.gate.unsafe_accept_all and settings.liars < settings.aggregation.f:
        raise RuleRefused(
            f"gate.f = {settings.liars}, but aggregation.f = {settings.aggregation.f}: who is hostile votes as well",
            hint="leave gate.f out: it is then aggregation.f",
        )


def _check_ballots(settings: Settings) -> None:
    """The gate needs voters for the liars that it tolerates, and its significance must survive them."""
    if settings.gate.unsafe_accept_all:
        return
    if settings.gate.ballot == "counts" and settings.liars > MAX_TRIMMED_LIARS:
        raise RuleRefused(
            f'gate.ballot = "counts" with f = {settings.liars} liars tolerated, expected at most '
            f"f = {MAX_TRIMMED_LIARS}: more of them get most candidates refused that are no worse",
            hint='use gate.ballot = "votes"',
        )
    all_members, missing = len(settings.members), settings.run.missing_allowed
    voters, there = fewest_voters(settings.gate_policy(2)), all_members - missing
    counts_would_do = 2 * settings.liars < there and settings.liars <= MAX_TRIMMED_LIARS
    if there < voters:
        raise RuleRefused(
            f"a gate that tolerates f = {settings.liars} liars needs {voters} voters, and {all_members} members of "
            f"whom {missing} may be missing leave {there}",
            hint="lower gate.f or run.missing_allowed" + (', or use gate.ballot = "counts"' if counts_would_do else ""),
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
    if rule.clip_l2 is not None and "norm-clip" not in rule.pre and rule.rule != "centered-clipping":
        raise RuleRefused("aggregation.clip_l2 is set, but nothing clips", hint='add pre = ["norm-clip"]')
    if rule.steps is not None and rule.rule != "centered-clipping":
        raise RuleRefused("aggregation.steps is set, but only centered-clipping takes steps", hint="leave it out")
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
    mechanism, rate = settings.mechanism, settings.secret_rate or 1.0
    if mechanism and not (first := epsilon([mechanism.noise_multiplier], mechanism.delta, [rate])) <= mechanism.epsilon:
        raise ConfigError(
            f"privacy.noise_multiplier = {mechanism.noise_multiplier:g} costs ε = {first:g} in the first round alone, "
            f"past the budget of {mechanism.epsilon:g}",
            hint="leave noise_multiplier out: it is then calibrated to the budget",
        )
    if isinstance(mechanism, MemberPrivacy) and settings.aggregation.rule == "centered-clipping":
        raise RuleRefused(
            "central noise behind centered-clipping, which starts from zero in a run: there it is a mean of clipped "
            "updates, and needs more rows",
            hint='use rule = "mean" with pre = ["norm-clip"] and the same clip_l2',
        )
    if isinstance(mechanism, MemberPrivacy) and settings.chain.l2_sensitivity(len(settings.members)) is None:
        raise RuleRefused(
            f"central noise needs a rule whose l2 sensitivity is known, and that of {settings.chain} is not",
            hint='use rule = "mean" with pre = ["norm-clip"] and clip_l2, or privacy.unit = "example", which composes '
            "with every rule",
        )
    if isinstance(mechanism, ExamplePrivacy) and (why := settings.descent().refuse_privacy()):
        raise ConfigError(why, hint="take one full step a round, and use more rounds")


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
