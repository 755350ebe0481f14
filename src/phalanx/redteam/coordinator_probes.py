"""What a malicious coordinator reads by sending special models, played on the user's own members.

It signs its orders itself, so members train whatever weights it sends in the layout that they joined with. In this
version it also sees every single update; the figures of sums say what would be left where it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from phalanx.attacks.card import Goal
from phalanx.attacks.special_model import HEAD_BIAS, isolation, silenced
from phalanx.errors import NotAvailable
from phalanx.redteam.exposed import BATCH, Exposed, exposed_of, guarded, how_trained, in_numbers, mean_of, victims
from phalanx.redteam.lab import Lab
from phalanx.redteam.outcome import Rebuilt
from phalanx.redteam.probe import Probe, Probed, Setting
from phalanx.redteam.ranges import Guessed, figures, guessed, shares, shown
from phalanx.redteam.reading import NEAREST, card, class_tensor_of, first_layer_of, inputs_of, toys
from phalanx.redteam.special import Special, special_of
from phalanx.types import F32

ALONE = Goal(
    measure="isolation",
    met=0.95,
    held=0.05,
    unit="share",
    words="have 95 % of the sum of all updates be one member's",
)
_BATCHES = 4  # members whose single updates are read
_SUMMED = 10  # members in a sum, at most
_EVIDENT = (
    "nothing prevents it; afterwards `audit verify` refuses a round whose model is not the last release, and signatures"
    " of members who were sent another one. The initial model is compared with nothing"
)


@guarded
def _imprint(lab: Lab, setting: Setting) -> Probed:
    in_numbers(lab)
    special, rng = special_of(lab, setting), lab.rng("imprint-model")
    exposed = special.exposed
    asked = victims(lab, max(_BATCHES, min(len(lab.members), _SUMMED)), BATCH, rng)
    updates = [exposed.update(one.x, one.y, rng, special.model) for one in asked]
    single = [guess for one, update in list(zip(asked, updates, strict=True))[:_BATCHES]
              for guess in _guessed(special, update, exposed.range.unit(one.x), one.mean)]  # fmt: skip
    x, mean = exposed.range.unit(np.concatenate([one.x for one in asked])), np.mean([one.mean for one in asked], axis=0)
    summed = _guessed(special, mean_of(updates), x, mean)
    return Probed(
        measures=figures(single, exposed.range) | figures(summed, exposed.range, "sum_"),
        counts={**shares(single), **shares(summed, "sum_")},
        rebuilt=shown(single[:2], exposed.range, f"one of {BATCH}") + shown(summed[:1], exposed.range, f"of {len(x)}"),
        notes=(
            *how_trained(lab, exposed, setting),
            f"sent: {special.what}",
            f"from one member's update on {BATCH} examples; sum_…: from the sum of {len(asked)} members' alone",
            *NEAREST,
            *([_EVIDENT] if setting == "yours" else []),
        ),
    )


def _guessed(special: Special, update: Mapping[str, F32], truth: F32, mean: F32) -> list[Guessed]:
    made = special.read(update, len(truth))
    return guessed(truth, special.exposed.range.unit(made) if len(made) else made, mean)


@dataclass(frozen=True, slots=True)
class _Two:
    """Two models (d,): the victim's, and one on which nobody else has anything to say.

    `loud` tensors learn whatever happens. `read` gives candidate inputs out of one example's update.
    """

    exposed: Exposed
    own: F32 = field(repr=False)
    quiet: F32 = field(repr=False)
    loud: Collection[str]
    read: Callable[[Mapping[str, F32], int], F32] | None


@guarded
def _inconsistent(lab: Lab, setting: Setting) -> Probed:
    in_numbers(lab)
    two, rng = _two_of(lab, setting), lab.rng("inconsistent-models")
    scale = two.exposed.range
    asked = victims(lab, min(len(lab.members), _SUMMED), BATCH, rng)
    alone = victims(lab, 1, 1, rng)[0]
    own = two.exposed.update(alone.x, alone.y, rng, two.own)
    others = [two.exposed.update(one.x, one.y, rng, two.quiet) for one in asked[1:]]
    total = {name: np.float32(len(asked)) * value for name, value in mean_of([own, *others]).items()}
    measures = {"isolation": isolation(total, own, two.loud)}
    rebuilt: tuple[Rebuilt, ...] = ()
    if two.read is not None:
        made = two.read(total, 1)
        found = guessed(scale.unit(alone.x), scale.unit(made) if len(made) else made, alone.mean)
        measures |= figures(found, scale)
        rebuilt = shown(found, scale, f"one example, from the sum of {len(asked)} members' updates")
    return Probed(
        measures=measures,
        rebuilt=rebuilt,
        notes=(
            *how_trained(lab, two.exposed, setting),
            f"{len(asked)} members, one of whom was sent a model that learns; isolation: how much of the sum is its",
            *([_EVIDENT] if setting == "yours" else []),
        ),
    )


def _two_of(lab: Lab, setting: Setting) -> _Two:
    """Raises NotAvailable where nothing can be silenced. Undefended, the coordinator sends a layout of its own."""
    if setting != "yours":
        special = special_of(lab, setting)
        exposed, loud = special.exposed, frozenset({HEAD_BIAS})
        return _Two(exposed, special.model, exposed.flat(silenced(exposed.tensors(), loud)), loud, special.read)
    exposed, tensor, layer = exposed_of(lab, setting), class_tensor_of(lab), first_layer_of(lab)
    loud = frozenset({tensor.name} if tensor is not None else ())
    quiet = exposed.flat(silenced(exposed.tensors(), loud))
    if not _silent(lab, quiet, loud):
        raise NotAvailable(
            "not available: this model has no neurons that a bias can silence, so every member's update says something"
        )
    if layer is None:
        return _Two(exposed, exposed.start, quiet, loud, None)
    return _Two(exposed, exposed.start, quiet, loud, lambda update, n: inputs_of(exposed, layer, update, n, None))


def _silent(lab: Lab, quiet: F32, loud: Collection[str]) -> bool:
    """Whether the attacker's own examples move nothing but the loud tensors of a model."""
    naive, rng = exposed_of(lab, "none"), lab.rng("toy", "silent")
    labels = np.arange(lab.classes).astype(np.int64)
    update = naive.update(toys(naive, labels, rng), labels, rng, quiet)
    return not any(value.any() for name, value in update.items() if name not in loud)


COORDINATOR_PROBES: tuple[Probe, ...] = (
    Probe(
        card=card(
            "imprint-model",
            "A special model that imprints inputs (robbing the fed)",
            "T11",
            "white",
            "Fowl et al., ICLR 2022, arXiv:2110.13057",
            "sends a model in whose update each input lies between two rows of its own",
        ),
        play=_imprint,
    ),
    Probe(
        card=card(
            "inconsistent-models",
            "Another model for each member (gradient suppression)",
            "T11",
            "white",
            "Pasquini et al., CCS 2022, arXiv:2111.07380",
            "sends all members but one a model that learns nothing, so that the sum of their updates is the victim's",
            ALONE,
        ),
        play=_inconsistent,
    ),
)
