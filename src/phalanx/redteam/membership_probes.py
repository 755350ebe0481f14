"""Membership inference on the user's own model and data: who reads the model, or the updates, and names the examples.

A fair coin for each model and each of the members' training examples decides which it is trained on; the rest of the
same examples are those that an attack has to tell from them. Of m models that a setting trained, each is the target
once, and the others are what the attackers trained themselves: they know the model, the configuration and the
distribution. Scores of all targets are pooled, so that there are enough to see one false alarm in a thousand.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from statistics import NormalDist

import numpy as np

from phalanx.attacks.card import Card, Goal, Knowledge
from phalanx.attacks.cost import multiplications
from phalanx.attacks.membership import (
    Shadows,
    area,
    balanced_accuracy,
    confidence,
    cosines,
    evidence,
    leave_one_out,
    lira_online,
    log_likelihood,
    rmia_online,
    student,
    tpr_at,
)
from phalanx.errors import QuorumError
from phalanx.federation.module import users_code
from phalanx.learning import LocalTrainer
from phalanx.redteam.halves import Integers, Pool, Seen, pool_of, refusal, trained
from phalanx.redteam.lab import Lab
from phalanx.redteam.probe import Probe, Probed, Setting
from phalanx.types import F32, F64, ExamplePrivacy

MEMBERSHIP = Goal(
    measure="tpr_at_01",
    met=0.01,
    held=0.002,
    unit="share",
    words="tell members at 10 times the rate of chance, at 0.1 % false alarms",
)
SHADOWS, FEWEST_SHADOWS = 16, 4
_CANDIDATES = 12_000  # examples in all that the attack on updates is asked about, half of them no members
_WORK = 3e10  # multiplications on the way forward that all trainings of a setting may take: half a minute or less
_GRADIENT_WORK = 1e10  # and those for the gradients of candidates, over all rounds
_ROWS = 1 << 24  # numbers of gradients at once: 64 MiB
_RESOLVED = 1000  # others from which 0.1 % is a false alarm at all

Attack = Callable[[F64, Shadows], F64]  # the target's φ (n,) and the shadow models → scores (n,), higher for members


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the models of one setting say of the pool's examples, or `why` they cannot be asked."""

    models: Shadows | None = field(repr=False)
    notes: tuple[str, ...] = ()
    why: str = ""


# The models of a setting are the same for every attack on them, and take nearly all of the time. What the last few said
# is kept, and each lab beside it, so that no other can have its identity meanwhile. It changes no answer.
_kept: dict[tuple[int, Setting], tuple[Lab, _Asked]] = {}
_MOST_KEPT = 32


def _play_on_model(lab: Lab, setting: Setting, *, attack: Attack) -> Probed:
    """The attack on each model of a setting in turn."""
    asked = _asked(lab, setting)
    if asked.models is None:
        return Probed(unavailable=asked.why)
    scores, inside = leave_one_out(asked.models, attack), asked.models.inside
    return _measured(scores[inside], scores[~inside], asked.notes)


def _asked(lab: Lab, setting: Setting) -> _Asked:
    place = (id(lab), setting)
    if place not in _kept:
        _kept[place] = (lab, _trained_and_asked(lab, setting))
        while len(_kept) > _MOST_KEPT:
            del _kept[next(iter(_kept))]  # the oldest
    return _kept[place][1]


def _trained_and_asked(lab: Lab, setting: Setting) -> _Asked:
    if why := refusal(lab, setting):
        return _Asked(None, why=f"not available: {why}")
    pool, trainers = pool_of(lab), lab.trainers()
    trainer = trainers[lab.members[0]]
    start = lab.start(trainers)
    if _confidences(trainer, start, pool) is None:
        return _Asked(None, why="not available: the model has no logits, and no gradient that gives its confidence")
    shadows = _affordable(lab, pool, _cost(trainer, start, pool))
    inside = lab.rng("membership", "coins").random((shadows + 1, len(pool.y))) < 0.5
    try:
        models = trained(lab, setting, pool, inside, lab.rng("membership", "training", setting))
    except QuorumError as error:
        return _Asked(None, why=f"not available: on half of the examples {error.message}")
    told = [phi for phi in (_confidences(trainer, model, pool) for model in models) if phi is not None]
    if not all(np.isfinite(phi).all() for phi in told):
        return _Asked(None, why="not available: training on half of the examples ends in numbers that are not finite")
    return _Asked(Shadows(np.stack(told), inside), _notes(lab, setting, shadows, pool))


def _confidences(trainer: LocalTrainer, model: F32, pool: Pool) -> F64 | None:
    with users_code("the model's logits or per-example gradients"):
        return confidence(trainer.model, trainer.tensors(model), pool.x, pool.y)


def _cost(trainer: LocalTrainer, start: F32, pool: Pool) -> int:
    """Multiplications for one example."""
    with users_code("the model's logits"):
        return multiplications(trainer.model, trainer.tensors(start), pool.x)


def _affordable(lab: Lab, pool: Pool, cost: int) -> int:
    """How many shadow models: fewer the longer one takes to train."""
    table = lab.settings.learning
    once = len(pool.y) // 2 if table.batch_size is None else table.batch_size * len(pool.members)
    work = cost * lab.settings.run.rounds * table.local_steps * once
    return int(np.clip(_WORK / work - 1, FEWEST_SHADOWS, SHADOWS))


def _notes(lab: Lab, setting: Setting, shadows: int, pool: Pool) -> tuple[str, ...]:
    notes = [
        f"{shadows + 1} models, each trained on a random half of {len(pool.y)} examples; each is attacked once, with "
        f"the help of the other {shadows}",
        "all models are asked about the same examples, so the trials are not independent: the interval of a share is "
        "somewhat wider than it is shown",
    ]
    if shadows < SHADOWS:
        notes.append(f"{shadows} shadow models and not {SHADOWS}, which would take too long to train for this model")
    return tuple(notes + _of_yours(lab, setting))


def _of_yours(lab: Lab, setting: Setting) -> list[str]:
    """What of the configuration was played, and what its noise promises against every attack."""
    if setting != "yours":
        return []
    notes = ["trained by the configuration's steps, rule and noise, without envelope, screening and gate"]
    mechanism = lab.settings.mechanism
    if isinstance(mechanism, ExamplePrivacy):
        notes.append("the normaliser is half of the configuration's, as each model has half of the examples")
        notes.append(_promise(mechanism, lab.settings.run.rounds))
    return notes


def _promise(mechanism: ExamplePrivacy, rounds: int) -> str:
    """The most that any attack can do, one that sees every update of a member too.

    T rounds of the Gaussian mechanism are μ-GDP with μ = √T / σ, which bounds every test: Dong, Roth and Su, Gaussian
    Differential Privacy, JRSS B 84 (2022), sections 2.3 and 3.2.
    """
    normal, mu = NormalDist(), math.sqrt(rounds) / mechanism.noise_multiplier
    share = normal.cdf(normal.inv_cdf(0.001) + mu)
    return (
        f"the noise bounds every attack, also those that nobody has found: at most {share:.1%} of the members at 0.1 % "
        f"false alarms, AUC at most {normal.cdf(mu / math.sqrt(2)):.2f}"
    )


# --------------------------------------------------------------------------------------------- the attack on updates


def _play_on_updates(lab: Lab, setting: Setting) -> Probed:
    """FedMIA: each example is asked of its member's updates, over all rounds of some runs on random halves."""
    if why := refusal(lab, setting):
        return Probed(unavailable=f"not available: {why}")
    if lab.federation.model.per_example_gradients is None:
        return Probed(unavailable="not available: the model has no per-example gradients to compare updates with")
    if len(lab.members) < 3:
        return Probed(unavailable="not available: it compares a member with two others at least")
    pool, trainers = pool_of(lab), lab.trainers()
    trainer = trainers[lab.members[0]]
    runs, some = _runs_and_examples(lab, pool, _cost(trainer, lab.start(trainers), pool))
    inside = lab.rng("membership", "coins", "updates").random((runs, len(pool.y))) < 0.5
    scores = np.zeros((runs, len(some)))

    def onlooker(seen: Seen) -> None:
        if len(seen.places) >= 3:
            scores[seen.run] += _evidence(trainer, seen, pool, some)

    try:
        trained(lab, setting, pool, inside, lab.rng("membership", "updates", setting), onlooker)
    except QuorumError as error:
        return Probed(unavailable=f"not available: on half of the examples {error.message}")
    if not np.isfinite(scores).all():
        return Probed(unavailable="not available: training on half of the examples ends in numbers that are not finite")
    members = inside[:, some]
    notes = (
        f"{runs} runs on random halves of {len(pool.y)} examples, {len(some)} of which are asked about in each",
        "needs a coordinator, or another onlooker, who sees single updates",
    )
    return _measured(scores[members], scores[~members], (*notes, *_of_yours(lab, setting)))


def _runs_and_examples(lab: Lab, pool: Pool, cost: int) -> tuple[int, Integers]:
    """How many runs, and which examples (n,) they are asked about."""
    most = int(np.clip(_GRADIENT_WORK / (cost * lab.settings.run.rounds), 1, _CANDIDATES))
    some = np.sort(lab.rng("membership", "candidates").permutation(len(pool.y))[:most])
    return int(np.clip(round(most / len(some)), 1, SHADOWS)), some


def _evidence(trainer: LocalTrainer, seen: Seen, pool: Pool, some: Integers) -> F64:
    """(n,): what one round says of the examples `some`."""
    size = max(1, _ROWS // seen.model.size)
    measured = []
    for start in range(0, len(some), size):
        rows = some[start : start + size]
        with users_code("per_example_gradients"):
            gradients = trainer.per_example(seen.model, pool.x[rows], pool.y[rows])
        measured.append(cosines(seen.updates, gradients))
    row_of = np.full(len(pool.members), -1)
    row_of[seen.places] = np.arange(len(seen.places))
    return evidence(np.concatenate(measured, axis=1), row_of[pool.owner[some]])


# -------------------------------------------------------------------------------------------------------- the figures


def _measured(members: F64, others: F64, notes: tuple[str, ...]) -> Probed:
    """Of the scores of members (n,) and of others (m,)."""
    counts = {"tpr_at_01": tpr_at(members, others, 0.001), "tpr_at_1": tpr_at(members, others, 0.01)}
    if len(others) < _RESOLVED:
        notes += (f"only {len(others)} examples that are no members: at 0.1 % no false alarm at all is allowed",)
    return Probed(
        measures={
            **{name: k / n for name, (k, n) in counts.items()},
            "auc": area(members, others),
            "balanced_accuracy": balanced_accuracy(members, others),
        },
        counts=counts,
        notes=notes,
    )


def _card(name: str, title: str, knowledge: Knowledge, paper: str, does: str) -> Card:
    return Card(
        name=name,
        title=title,
        family="privacy",
        threat="T8",
        knowledge=knowledge,
        goal=MEMBERSHIP,
        paper=paper,
        does=does,
    )


_EVERYWHERE: tuple[Setting, ...] = ("central", "none", "yours")

MEMBERSHIP_PROBES: tuple[Probe, ...] = (
    Probe(
        card=_card(
            "lira",
            "Likelihood ratio attack (LiRA)",
            "grey",
            "Carlini et al., IEEE S&P 2022, arXiv:2112.03570",
            "trains models like the target with and without each example: whose confidence is the target's like?",
        ),
        play=partial(_play_on_model, attack=lira_online),
        settings=_EVERYWHERE,
    ),
    Probe(
        card=_card(
            "rmia",
            "Robust membership inference (RMIA)",
            "grey",
            "Zarifzadeh et al., ICML 2024, arXiv:2312.03262",
            "compares the target's confidence with that of models like it, and how it grew with how others' did",
        ),
        play=partial(_play_on_model, attack=rmia_online),
        settings=_EVERYWHERE,
    ),
    Probe(
        card=_card(
            "bayesian-lira",
            "Likelihood ratio attack with a prior on variances (BaVarIA)",
            "grey",
            "Brännvall, 2026, arXiv:2603.11799",
            "is LiRA with a prior on each example's spread, for few models like the target",
        ),
        play=partial(_play_on_model, attack=student),
        settings=_EVERYWHERE,
    ),
    Probe(
        card=_card(
            "loss-threshold",
            "Loss threshold",
            "black",
            "Yeom et al., CSF 2018, arXiv:1709.01604",
            "takes the examples of least loss for members",
        ),
        play=partial(_play_on_model, attack=lambda phi, shadows: log_likelihood(phi)),
        settings=_EVERYWHERE,
    ),
    Probe(
        card=_card(
            "others-updates",
            "Comparison with the other members' updates (FedMIA)",
            "white",
            "Zhu et al., CVPR 2025, arXiv:2402.06289",
            "asks, round for round, whether a member's update is more like an example's gradient than the others' are",
        ),
        play=_play_on_updates,
        settings=("none", "yours"),
    ),
)
