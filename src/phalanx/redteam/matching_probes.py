"""Searches for inputs whose gradient is the one that was seen, played on the user's own model and data.

They need the model as a torch module, to derive a gradient by the input. Their budget is counted, not timed, so that
every machine gives the same figures; the published attacks take up to a hundred times as long.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from phalanx.errors import NotAvailable
from phalanx.redteam.exposed import BATCH, Exposed, Victim, exposed_of, guarded, how_trained, in_numbers, victims
from phalanx.redteam.lab import Lab
from phalanx.redteam.probe import Probe, Probed, Setting
from phalanx.redteam.ranges import Guessed, figures, guessed, shares, shown
from phalanx.redteam.reading import NEAREST, card
from phalanx.types import F32

if TYPE_CHECKING:
    from phalanx.attacks.gradient_matching import Observed

_ONES = 3
_LARGE = 2e5  # parameters from which fewer iterations have to do
_FEWEST = 50

# What was observed, whether the gradient is exact, how many iterations → inputs (n, …).
Search = Callable[["Observed", bool, int, np.random.Generator], F32]


def _deep_leakage(seen: Observed, exact: bool, iterations: int, rng: np.random.Generator) -> F32:
    from phalanx.attacks.gradient_matching import angle, deep_leakage, squared

    distance = squared if exact else angle
    return deep_leakage(seen, distance=distance, iterations=iterations, restarts=2, rng=rng).x


def _inverting_gradients(seen: Observed, exact: bool, iterations: int, rng: np.random.Generator) -> F32:
    from phalanx.attacks.gradient_matching import inverting_gradients

    return inverting_gradients(seen, iterations=iterations, rng=rng).x


def _play(lab: Lab, setting: Setting, *, name: str, search: Search, iterations: int) -> Probed:
    in_numbers(lab)
    if lab.federation.model.module is None:
        raise NotAvailable(
            "not available: a search by gradient needs the model as a torch module, and this one has none"
        )
    exposed, rng = exposed_of(lab, setting), lab.rng(name)
    budget = max(_FEWEST, round(iterations * min(1.0, _LARGE / exposed.start.size)))
    ones = _rebuilt(exposed, victims(lab, _ONES, 1, rng), search, budget, rng)
    batch = _rebuilt(exposed, victims(lab, 1, BATCH, rng), search, budget // 2, rng)
    notes = [f"{budget} iterations for one example, half of it for {BATCH}; the labels are taken to be known"]
    if not exposed.exact:
        notes.append("the length of the gradient is not known, so its direction alone is matched")
    return Probed(
        measures=figures(ones, exposed.range) | figures(batch, exposed.range, "batch_"),
        counts={**shares(ones), **shares(batch, "batch_")},
        rebuilt=shown(ones[:2], exposed.range, "one example") + shown(batch[:1], exposed.range, f"one of {BATCH}"),
        notes=(*how_trained(lab, exposed, setting), *notes, *NEAREST),
    )


def _rebuilt(
    exposed: Exposed, found: list[Victim], search: Search, iterations: int, rng: np.random.Generator
) -> list[Guessed]:
    guesses = []
    for one in found:
        made = search(_observed(exposed, one, rng), exposed.exact, iterations, rng)
        guesses += guessed(exposed.range.unit(one.x), exposed.range.unit(made), one.mean)
    return guesses


def _observed(exposed: Exposed, one: Victim, rng: np.random.Generator) -> Observed:
    from phalanx.attacks.gradient_matching import Observed

    scale = exposed.range
    return Observed(
        module=exposed.trainer.model.module,
        tensors=exposed.tensors(),
        gradient=exposed.gradient(exposed.update(one.x, one.y, rng), len(one.y)),
        labels=np.sort(one.y),
        shape=scale.shape,
        low=scale.low.reshape(scale.shape),
        high=(scale.low + scale.width).reshape(scale.shape),
        picture=scale.picture,
    )


MATCHING_PROBES: tuple[Probe, ...] = (
    Probe(
        card=card(
            "dlg",
            "Deep leakage from gradients (DLG)",
            "T6",
            "white",
            "Zhu et al., NeurIPS 2019, arXiv:1906.08935",
            "searches the input whose gradient is the one that was sent, by L-BFGS on their squared distance",
        ),
        play=guarded(partial(_play, name="dlg", search=_deep_leakage, iterations=300)),
    ),
    Probe(
        card=card(
            "inverting-gradients",
            "Inverting gradients",
            "T6",
            "white",
            "Geiping et al., NeurIPS 2020, arXiv:2003.14053",
            "searches an image of little variation whose gradient has the direction of the one that was sent",
        ),
        play=guarded(partial(_play, name="inverting-gradients", search=_inverting_gradients, iterations=1000)),
    ),
)
