"""Where a user's model gives inputs and labels away: found as an attacker finds it, by examples of its own."""

from __future__ import annotations

import numpy as np

from phalanx.attacks.card import Card, Goal, Knowledge
from phalanx.attacks.label_leakage import ClassTensor, find_class_tensor
from phalanx.attacks.leakage import FirstLayer, find_first_layer
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
    """(n, …): inputs of the attackers' own, anywhere in the bounds, one for each label; whole where inputs are whole."""
    scale, kind = exposed.range, exposed.trainer.data.x_train.dtype
    drawn = scale.original(rng.uniform(0.05, 0.95, (len(labels), len(scale.low))))
    return np.rint(drawn).astype(kind) if np.issubdtype(kind, np.integer) else drawn.astype(kind)


def first_layer_of(lab: Lab, model: F32 | None = None) -> FirstLayer | None:
    """The layer that gives an input back. `model` (d,) is another than the first one, to be tried."""
    exposed, rng = exposed_of(lab, "none"), lab.rng("toy", "input")
    toy = toys(exposed, np.zeros(1, np.int64), rng)
    return find_first_layer(exposed.update(toy, np.zeros(1, np.int64), rng, model), toy.astype(np.float32).ravel())


def class_tensor_of(lab: Lab) -> ClassTensor | None:
    """The tensor that tells labels."""
    exposed, rng = exposed_of(lab, "none"), lab.rng("toy", "labels")
    labels = np.tile(np.arange(lab.classes), -(-_TOYS // lab.classes)).astype(np.int64)
    x = toys(exposed, labels, rng)
    updates = [exposed.update(x[[i]], labels[[i]], rng) for i in range(len(labels))]
    return find_class_tensor([exposed.gradient(one, 1) for one in updates], labels.tolist(), lab.classes)
