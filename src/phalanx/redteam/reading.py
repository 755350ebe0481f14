"""Where a user's model gives inputs and labels away: found as an attacker finds it, by examples of its own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from phalanx.attacks.card import Card, Goal, Knowledge
from phalanx.attacks.label_leakage import ClassTensor, find_class_tensor
from phalanx.attacks.leakage import FirstLayer, candidates, find_first_layer
from phalanx.learning.data import Array, Labels
from phalanx.redteam.exposed import Exposed, exposed_of
from phalanx.redteam.lab import Lab
from phalanx.redteam.ranges import REBUILT_DB
from phalanx.types import F32

REBUILT = Goal(
    measure="psnr",
    met=REBUILT_DB,
    held=1.0,
    unit="dB",
    words="rebuild a training input at 25 dB or more",
    held_measure="psnr_gain",
)
NEAREST = (
    "of all candidates the one nearest to the truth counts, which no attacker can tell: an upper bound",
    "psnr_gain: dB above guessing the mean of the member's inputs, 0 where that is nearer; the mean over the inputs",
)
_TOYS = 12  # at least so many of the attackers' own examples show which tensor tells labels


def card(name: str, title: str, threat: str, knowledge: Knowledge, paper: str, does: str, goal: Goal = REBUILT) -> Card:
    """A card of an attack on privacy."""
    return Card(
        name=name,
        title=title,
        family="privacy",
        threat=threat,
        knowledge=knowledge,
        goal=goal,
        paper=paper,
        does=does,
    )


def toys(exposed: Exposed, labels: Labels, rng: np.random.Generator) -> Array:
    """(n, …): inputs of the attackers' own, anywhere in the bounds, one a label; whole where inputs are whole."""
    scale, kind = exposed.range, exposed.trainer.data.x_train.dtype
    spread = rng.uniform(0.2, 1.0, (len(labels), 1))  # some near the middle, some far from it
    drawn = scale.original(0.5 + spread * rng.uniform(-0.5, 0.5, (len(labels), len(scale.low))))
    return np.rint(drawn).astype(kind) if np.issubdtype(kind, np.integer) else drawn.astype(kind)


def first_layer_of(lab: Lab) -> FirstLayer | None:
    """The layer that gives an input back."""
    exposed, rng = exposed_of(lab, "none"), lab.rng("toy", "input")
    labels = np.arange(_TOYS, dtype=np.int64) % lab.classes
    x = toys(exposed, labels, rng)
    updates = [exposed.update(x[[i]], labels[[i]], rng) for i in range(len(labels))]
    return find_first_layer(updates, x.astype(np.float32).reshape(len(x), -1))


def inputs_of(
    exposed: Exposed, layer: FirstLayer, update: Mapping[str, F32], examples: int, last: ClassTensor | None
) -> F32:
    """(c, p): candidates for the inputs behind an update. `last` tells labels: it may be of the same layer."""
    weight, bias = layer.read(exposed.gradient(update, examples))
    same = last is not None and last.name in (layer.weight, layer.bias) and exposed.trainer.model.train is None
    return layer.scaled(candidates(weight, bias, examples if same else None))


def class_tensor_of(lab: Lab) -> ClassTensor | None:
    """The tensor that tells labels."""
    exposed, rng = exposed_of(lab, "none"), lab.rng("toy", "labels")
    labels = np.tile(np.arange(lab.classes), -(-_TOYS // lab.classes)).astype(np.int64)
    x = toys(exposed, labels, rng)
    updates = [exposed.update(x[[i]], labels[[i]], rng) for i in range(len(labels))]
    return find_class_tensor([exposed.gradient(one, 1) for one in updates], labels.tolist(), lab.classes)
