"""The special models that a malicious coordinator can send to the user's members, and how it reads what comes back.

Where members run whatever they are sent, an imprint. Where the layout is agreed, what can be written into it: bins in a
model that is one linear layer, an imprint in a first layer with neurons behind it, convolutions that pass pixels on.
What was written is tried on the attacker's own examples first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from phalanx.attacks.label_leakage import ClassTensor
from phalanx.attacks.leakage import FirstLayer, candidates
from phalanx.attacks.special_model import (
    IMPRINT,
    Bins,
    bins_of,
    imprint_model,
    read_imprint,
    write_bins,
    write_imprint,
)
from phalanx.errors import NotAvailable
from phalanx.redteam.exposed import Exposed, exposed_of, foreign
from phalanx.redteam.lab import Lab
from phalanx.redteam.probe import Setting
from phalanx.redteam.reading import class_tensor_of, first_layer_of, inputs_of, toys
from phalanx.types import F32

MOST_BINS, _IMPRINT_NUMBERS = 512, 1 << 22
_TOYS = 64
_TOY_ERROR = 1e-2


@dataclass(frozen=True, slots=True)
class Special:
    """A model (d,) to send, and how to read an update of it that so many examples made: candidate inputs (c, p)."""

    exposed: Exposed = field(repr=False)
    model: F32 = field(repr=False)
    read: Callable[[Mapping[str, F32], int], F32] = field(repr=False)
    what: str


def special_of(lab: Lab, setting: Setting) -> Special:
    """The best special model that can be sent in the setting. Raises NotAvailable where there is none."""
    if setting != "yours":
        return _imprint(lab)
    exposed = exposed_of(lab, setting)
    layer = first_layer_of(lab)
    made = _through_convolutions(lab, exposed) if layer is None else _in_first_layer(lab, exposed, layer)
    if made is None:
        raise NotAvailable(
            "not available: members refuse another layout than the agreed one, and neither an imprint nor transparent "
            "convolutions can be written into this one"
        )
    return made


def public_inputs(lab: Lab, exposed: Exposed) -> F32:
    """(n, p): inputs of the same kind that the attacker has: the lab's held-out ones, or made up where they are few."""
    x, y = lab.test
    if len(y) >= _TOYS:
        return np.asarray(x, np.float32).reshape(len(x), -1)
    made = toys(exposed, np.zeros(_TOYS, np.int64), lab.rng("toy", "public"))
    return made.astype(np.float32).reshape(_TOYS, -1)


def _imprint(lab: Lab) -> Special:
    like = public_inputs(lab, exposed_of(lab, "none"))
    features = like.shape[1]
    bins = bins_of(like, int(np.clip(_IMPRINT_NUMBERS // features, 32, MOST_BINS)), lab.rng("imprint"))
    exposed = foreign(lab, imprint_model(features, lab.classes, bins))
    what = f"an imprint of {len(bins.thresholds)} rows in front, in a layout of the coordinator's own"
    return Special(exposed, exposed.start, lambda update, _: read_imprint(*IMPRINT.read(update)), what)


def _in_first_layer(lab: Lab, exposed: Exposed, layer: FirstLayer) -> Special | None:
    rows = len(layer.read(exposed.tensors())[1])
    bins = bins_of(public_inputs(lab, exposed), rows, lab.rng("imprint"))
    last = class_tensor_of(lab)
    if last is not None and last.name in (layer.weight, layer.bias):
        return _bins(exposed, layer, bins, last) if rows > 1 else None  # one row: no bins to tell inputs apart by
    model = exposed.flat(write_imprint(exposed.tensors(), layer, bins))

    def read(update: Mapping[str, F32], examples: int) -> F32:
        return np.concatenate([read_imprint(*layer.read(update)), inputs_of(exposed, layer, update, examples, None)])

    made = Special(exposed, model, read, f"an imprint of {rows} rows, written into {layer.weight}")
    return made if _works(lab, made) else None


def _bins(exposed: Exposed, layer: FirstLayer, bins: Bins, last: ClassTensor) -> Special:
    return Special(
        exposed,
        exposed.flat(write_bins(exposed.tensors(), layer, bins)),
        lambda update, examples: inputs_of(exposed, layer, update, examples, last),
        f"{len(bins.thresholds)} bins by softmax, written into {layer.weight}",
    )


def _through_convolutions(lab: Lab, exposed: Exposed) -> Special | None:
    module = exposed.trainer.model.module
    if module is None or exposed.range.picture is None:
        return None
    from phalanx.attacks.transparent import find_pixels, pixels_of, write_transparent

    lowest = float(exposed.range.low.min())
    written = write_transparent(module, exposed.tensors(), lowest)
    if written is None:
        return None
    tensors, layer = written
    last = ClassTensor(layer.bias, 0, lab.classes)
    model, rng = exposed.flat(tensors), lab.rng("toy", "pixels")
    naive, label = exposed_of(lab, "none"), np.zeros(1, np.int64)
    tried = toys(naive, np.zeros(3, np.int64), rng)
    features = [candidates(*layer.read(naive.update(tried[[i]], label, rng, model)))[:1] for i in range(len(tried))]
    if not all(len(one) for one in features):
        return None
    places = find_pixels(np.concatenate(features), tried.reshape(len(tried), -1), lowest)
    if places is None:
        return None
    return Special(
        exposed,
        model,
        lambda update, examples: pixels_of(inputs_of(exposed, layer, update, examples, last), places, lowest),
        f"convolutions that pass every pixel on to {layer.weight}, in the agreed layout",
    )


def _works(lab: Lab, special: Special) -> bool:
    """Whether it gives back at least one of the attacker's own two examples, which it was sent together."""
    naive, rng = exposed_of(lab, "none"), lab.rng("toy", "special")
    public = public_inputs(lab, naive)
    two = public[rng.permutation(len(public))[:2]].reshape(2, *naive.range.shape)
    update = naive.update(two.astype(naive.trainer.data.x_train.dtype), np.array([0, 1]), rng, special.model)
    found = special.read(update, len(two))
    errors = [np.linalg.norm(found - one.ravel(), axis=1).min(initial=np.inf) / np.linalg.norm(one) for one in two]
    return bool(min(errors) <= _TOY_ERROR)
