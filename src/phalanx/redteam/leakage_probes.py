"""Attacks that rebuild what members trained on, played on the user's own model and data.

Here are those that take an update apart as it came: inputs out of the first layer, labels out of the last, tokens out
of an embedding. Searches, a coordinator's special models and model inversion have files of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from phalanx.attacks.card import Goal
from phalanx.attacks.label_leakage import ClassTensor, label_counts, label_of
from phalanx.attacks.leakage import FirstLayer
from phalanx.attacks.token_recovery import find_embedding, tokens_of
from phalanx.errors import NotAvailable
from phalanx.federation.module import users_code
from phalanx.learning.data import Labels
from phalanx.redteam.coordinator_probes import COORDINATOR_PROBES
from phalanx.redteam.exposed import BATCH, Exposed, Victim, exposed_of, guarded, how_trained, in_numbers, victims
from phalanx.redteam.inversion_probe import INVERSION_PROBE
from phalanx.redteam.lab import Lab
from phalanx.redteam.matching_probes import MATCHING_PROBES
from phalanx.redteam.outcome import Rebuilt
from phalanx.redteam.probe import Probe, Probed, Setting
from phalanx.redteam.ranges import Guessed, figures, guessed, shares, shown
from phalanx.redteam.reading import NEAREST, card, class_tensor_of, first_layer_of, inputs_of, toys
from phalanx.types import F64

LABELS = Goal(
    measure="label_recovery",
    met=0.95,
    held=0.05,
    unit="share",
    words="read the label off 95 updates of 100",
    held_measure="label_gain",
)
TOKENS = Goal(
    measure="token_recovery",
    met=0.95,
    held=0.05,
    unit="share",
    words="find 95 of 100 tokens of a text",
    held_measure="token_gain",
)
_ONES, _BATCHES = 8, 4  # how often one example is attacked, and a batch
_UPDATES = 400  # whose label is read: 5 points above chance are then about two standard errors
_FEWEST = 40
_NUMBERS = 1 << 25  # parameters in all those updates


# --------------------------------------------------------------------------------------------------------------- inputs


@guarded
def _analytic(lab: Lab, setting: Setting) -> Probed:
    in_numbers(lab)
    exposed, layer, rng = exposed_of(lab, setting), first_layer_of(lab), lab.rng("analytic-leakage")
    if layer is None:
        raise NotAvailable("not available: no fully connected layer with a bias gives an input back")
    last = class_tensor_of(lab)
    ones = _read(exposed, layer, last, victims(lab, _ONES, 1, rng), rng)
    batches = _read(exposed, layer, last, victims(lab, _BATCHES, BATCH, rng), rng)
    return Probed(
        measures=figures(ones, exposed.range) | figures(batches, exposed.range, "batch_"),
        counts={**shares(ones), **shares(batches, "batch_")},
        rebuilt=shown(ones[:2], exposed.range, "one example") + shown(batches[:1], exposed.range, f"one of {BATCH}"),
        notes=(*how_trained(lab, exposed, setting), f"read from {layer.weight} and {layer.bias}", *NEAREST),
    )


def _read(
    exposed: Exposed, layer: FirstLayer, last: ClassTensor | None, found: list[Victim], rng: np.random.Generator
) -> list[Guessed]:
    guesses = []
    for one in found:
        made = inputs_of(exposed, layer, exposed.update(one.x, one.y, rng), len(one.y), last)
        guesses += guessed(exposed.range.unit(one.x), exposed.range.unit(made) if len(made) else made, one.mean)
    return guesses


# --------------------------------------------------------------------------------------------------------------- labels


@guarded
def _labels(lab: Lab, setting: Setting) -> Probed:
    exposed, tensor, rng = exposed_of(lab, setting), class_tensor_of(lab), lab.rng("label-leakage")
    if tensor is None:
        raise NotAvailable("not available: no tensor that travels tells a label from the sign of its gradient")
    work = exposed.start.size * exposed.trainer.settings.local_steps
    ones = _in_turn(lab, max(_FEWEST, min(_UPDATES, _NUMBERS // work)), rng)
    right = sum(label_of(_scores(exposed, tensor, one, rng)) == int(one.y[0]) for one in ones)
    batches = victims(lab, max(_FEWEST, len(ones) // BATCH) // 4, BATCH, rng)
    confidence = _expected_confidence(lab, exposed, rng)
    overlap = [_overlap(exposed, tensor, one, confidence, rng) for one in batches]
    in_batches = (sum(found for found, _ in overlap), sum(len(one.y) for one in batches))
    blind = sum(none for _, none in overlap) / in_batches[1]
    labels = len({int(one.y[0]) for one in ones})
    recovery, chance = right / len(ones), 1 / labels
    return Probed(
        measures={
            "label_recovery": recovery,
            "label_gain": recovery - chance,
            "batch_label_recovery": in_batches[0] / in_batches[1],
            "batch_label_gain": in_batches[0] / in_batches[1] - blind,
        },
        counts={"label_recovery": (right, len(ones)), "batch_label_recovery": in_batches},
        notes=(
            *how_trained(lab, exposed, setting),
            f"{len(ones)} updates of one example, each label as often as the others; chance is 1 in {labels}",
            f"batches of {BATCH}: how many have each label; equal numbers of all would be {blind:.0%} right",
            f"read from {tensor.name}",
        ),
    )


def _in_turn(lab: Lab, count: int, rng: np.random.Generator) -> list[Victim]:
    """Single examples of all members, the labels in turn: a guess that is always the same is no better than chance."""
    x, y = (np.concatenate([getattr(lab.sites[m], part) for m in lab.members]) for part in ("x_train", "y_train"))
    order = rng.permutation(len(y))
    held = [order[y[order] == label] for label in np.unique(y)]
    rows = [rows[i % len(rows)] for i in range(-(-count // len(held))) for rows in held]
    return [Victim(x=x[[row]], y=y[[row]], mean=np.zeros(0, np.float32)) for row in rows]


def _scores(exposed: Exposed, tensor: ClassTensor, one: Victim, rng: np.random.Generator) -> F64:
    return tensor.scores(exposed.gradient(exposed.update(one.x, one.y, rng), len(one.y)))


def _overlap(
    exposed: Exposed, tensor: ClassTensor, one: Victim, confidence: F64, rng: np.random.Generator
) -> tuple[int, float]:
    """How many labels of a batch are right, as a bag; and how many with equal numbers of all."""
    true = np.bincount(one.y, minlength=tensor.classes)
    counted = label_counts(_scores(exposed, tensor, one, rng), len(one.y), confidence)
    return int(np.minimum(true, counted).sum()), float(np.minimum(true, len(one.y) / tensor.classes).sum())


def _expected_confidence(lab: Lab, exposed: Exposed, rng: np.random.Generator) -> F64:
    """(classes,): the first model's mean confidence on the attacker's own inputs; all alike where it has no scores."""
    model = lab.federation.model
    if model.logits is None:
        return np.full(lab.classes, 1 / lab.classes)
    with users_code("logits"):
        scores = np.asarray(model.logits(exposed.tensors(), toys(exposed, np.zeros(64, np.int64), rng)), np.float64)
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray((odds / odds.sum(axis=1, keepdims=True)).mean(axis=0))


# --------------------------------------------------------------------------------------------------------------- tokens


@guarded
def _tokens(lab: Lab, setting: Setting) -> Probed:
    exposed, rng = exposed_of(lab, setting), lab.rng("token-recovery")
    embedding = _embedding_of(lab)
    ones, batches = victims(lab, _ONES, 1, rng), victims(lab, _BATCHES, BATCH, rng)
    found = [_found(exposed, embedding, one, rng) for one in ones]
    of_batches = [_found(exposed, embedding, one, rng) for one in batches]
    vocabulary = next(one.shape[0] for one in exposed.trainer.layout.tensors if one.name == embedding)
    right, total = _summed(found)
    chance = sum(len(one.true) ** 2 for one in found) / vocabulary / total
    batch_right, batch_total = _summed(of_batches)
    return Probed(
        measures={
            "token_recovery": right / total,
            "token_gain": right / total - chance,
            "batch_token_recovery": batch_right / batch_total,
        },
        counts={"token_recovery": (right, total), "batch_token_recovery": (batch_right, batch_total)},
        rebuilt=tuple(one.rebuilt() for one in found[:3]),
        notes=(
            *how_trained(lab, exposed, setting),
            f"read from {embedding}: which tokens a text has, not their order",
            f"as many guesses as a text has different tokens; of {vocabulary} at random {chance:.1%} would be right",
        ),
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """The different tokens of a text, padding left out, and as many guesses at them."""

    true: Labels
    guesses: Labels

    @property
    def right(self) -> int:
        """How many."""
        return len(np.intersect1d(self.true, self.guesses))

    def rebuilt(self) -> Rebuilt:
        """Both, to be looked at."""
        words = f"{self.right} of {len(self.true)} different tokens, in the order of their numbers"
        shown = (tuple(np.sort(ids).astype(float).tolist()) for ids in (self.true, self.guesses))
        return Rebuilt(next(shown), next(shown), (len(self.true),), words)


def _found(exposed: Exposed, embedding: str, one: Victim, rng: np.random.Generator) -> _Found:
    tokens = np.unique(one.x[one.x != 0]).astype(np.int64)
    return _Found(tokens, tokens_of(exposed.update(one.x, one.y, rng)[embedding])[: len(tokens)])


def _summed(found: list[_Found]) -> tuple[int, int]:
    return sum(one.right for one in found), sum(len(one.true) for one in found)


def _embedding_of(lab: Lab) -> str:
    """Raises NotAvailable where there is none to read."""
    if not np.issubdtype(lab.sites[lab.members[0]].x_train.dtype, np.integer):
        raise NotAvailable("not available: inputs are no tokens")
    exposed, rng = exposed_of(lab, "none"), lab.rng("toy", "tokens")
    toy = toys(exposed, np.zeros(1, np.int64), rng)
    name = find_embedding(exposed.update(toy, np.zeros(1, np.int64), rng), toy)
    if name is None:
        raise NotAvailable(
            "not available: no embedding travels (low-rank layers leave it at home), so no row shows a token"
        )
    return name


LEAKAGE_PROBES: tuple[Probe, ...] = (
    Probe(
        card=card(
            "analytic-leakage",
            "Inputs read out of the first layer",
            "T6",
            "white",
            "Geiping et al., NeurIPS 2020, Proposition 3.1, arXiv:2003.14053",
            "divides the rows of the first layer's update by its bias: the quotient is the input",
        ),
        play=_analytic,
    ),
    Probe(
        card=card(
            "label-leakage",
            "Labels read out of the last layer (iDLG, LLG)",
            "T6",
            "white",
            "Zhao et al., 2020, arXiv:2001.02610; Wainakh et al., PoPETs 2022",
            "takes the class whose bias alone rose for the label, and counts labels of a batch by how far each rose",
            LABELS,
        ),
        play=_labels,
    ),
    *MATCHING_PROBES,
    *COORDINATOR_PROBES,
    INVERSION_PROBE,
    Probe(
        card=card(
            "token-recovery",
            "Tokens read out of the embedding",
            "T6",
            "white",
            "Melis et al., IEEE S&P 2019, arXiv:1805.04049",
            "names the tokens whose rows of the embedding moved",
            TOKENS,
        ),
        play=_tokens,
    ),
)
