"""Model inversion: what the released model says of a class, to somebody who has it and to somebody who may only ask it.

Models are trained on a random half of the members' training examples, each setting's in its own way (`halves`), so that
there are others of the same kind that they never saw. What a useful model says of a class as a whole it will say under
privacy as well; what it must not do is come nearer to an example that it was trained on than the class's own mean does,
which is a figure about many.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from phalanx.attacks.card import Goal
from phalanx.attacks.model_inversion import (
    Prior,
    Scores,
    Slopes,
    around,
    differences,
    invert,
    rounded,
    top_class,
    trials,
)
from phalanx.attacks.similarity import correlation
from phalanx.errors import NotAvailable, QuorumError
from phalanx.federation.module import users_code
from phalanx.learning import LocalTrainer
from phalanx.learning.data import Array, Labels
from phalanx.redteam.exposed import guarded, in_numbers
from phalanx.redteam.halves import pool_of, refusal, trained
from phalanx.redteam.lab import Lab
from phalanx.redteam.outcome import Rebuilt
from phalanx.redteam.probe import Probe, Probed, Setting
from phalanx.redteam.ranges import Guessed, Range, range_of, shown
from phalanx.redteam.reading import card
from phalanx.types import F32, F64

CLASS_SIMILARITY = Goal(
    measure="class_similarity",
    met=0.3,
    held=0.02,
    unit="ratio",
    words="draw what sets each class apart, with a correlation of 0.3 or more",
    held_measure="similarity_gain",
)
_STEPS = 10
_AROUND = 10  # inputs over which a derivative is averaged
_SAMPLES, _ASKED_NUMBERS = (64, 200), 1 << 16  # the fewest and the most questions for one slope
_SMOOTH_FROM = 16  # pixels of a side: images of 8 × 8 are not smooth
_MOST_DIFFERENCES = 2048  # features along each of which a difference is taken
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class _Halves:
    """Training examples in 0 … 1 (n, p), their labels, and which of them the model was trained on."""

    rows: F32 = field(repr=False)
    labels: Labels = field(repr=False)
    inside: np.ndarray[tuple[int], np.dtype[np.bool_]] = field(repr=False)
    classes: tuple[int, ...]  # those of which there are examples in both halves

    def of(self, label: int, *, trained_on: bool) -> F32:
        """(k, p)."""
        chosen: F32 = self.rows[(self.labels == label) & (self.inside == trained_on)]
        return chosen


@guarded
def _inversion(lab: Lab, setting: Setting) -> Probed:
    in_numbers(lab)
    if why := refusal(lab, setting):
        raise NotAvailable(f"not available: {why}")
    scale, halves, model = range_of(lab), *_trained(lab, setting)
    trainer = lab.trainers()[lab.members[0]]
    asked = _Asked(trainer, trainer.tensors(model), scale, lab.rng("model-inversion", "questions"))
    found, notes = {}, [f"trained on {int(halves.inside.sum())} of {len(halves.labels)} examples, a random half"]
    own, questions = asked.slopes(), _STEPS * asked.samples
    if own is None:
        notes.append("the model gives labels and no scores: it is asked for its top class alone")
    else:
        found["rounded_"] = asked.inverted(asked.tried(rounded(asked.confidence)))
    found["top_class_"] = asked.inverted(asked.tried(top_class(asked.label, lab.classes)))
    found[""] = found["top_class_"] if own is None else asked.inverted(own)
    measures = {
        prefix + name: value for prefix, drawn in found.items() for name, value in _measured(halves, drawn).items()
    }
    return Probed(
        measures=measures,
        rebuilt=_shown(halves, found[""], scale),
        notes=(
            *notes,
            "class_similarity: correlation with the class's mean, the mean of all classes taken from both; by chance 0",
            "similarity_gain: correlation with the nearest example that was trained on, less that of a class mean of "
            "others; memorised: less that with the nearest of others",
            f"rounded_…: from scores rounded to one digit; top_class_…: from labels; {questions} questions a class",
        ),
    )


def _trained(lab: Lab, setting: Setting) -> tuple[_Halves, F32]:
    """The two halves and the model (d,)."""
    pool = pool_of(lab)
    inside = lab.rng("model-inversion", "halves").random((1, len(pool.y))) < 0.5
    try:
        model = trained(lab, setting, pool, inside, lab.rng("model-inversion", "training", setting))[0]
    except QuorumError as error:
        raise NotAvailable(f"not available: on half of the examples {error.message}") from None
    if not np.isfinite(model).all():
        raise NotAvailable("not available: training on half of the examples ends in numbers that are not finite")
    both = [c for c in range(pool.classes) if len({bool(i) for i in inside[0][pool.y == c]}) == 2]
    if len(both) < 2:
        raise NotAvailable("not available: there are examples of fewer than two classes in both halves")
    return _Halves(range_of(lab).unit(pool.x), pool.y, inside[0], tuple(both)), model


@dataclass(frozen=True, slots=True)
class _Asked:
    """The released model and ways to ask it. Inputs are rows 0 … 1."""

    trainer: LocalTrainer
    tensors: dict[str, Array] = field(repr=False)
    scale: Range
    rng: np.random.Generator

    def confidence(self, rows: F64) -> F64:
        """(n, classes). Only where the model has logits."""
        logits = self.trainer.model.logits
        if logits is None:
            raise ValueError("this model has no logits")
        with users_code("logits"):
            scores = np.asarray(logits(self.tensors, self.scale.original(rows)), np.float64)
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))

    def label(self, rows: F64) -> Labels:
        """(n,)."""
        with users_code("predict"):
            return np.asarray(self.trainer.model.predict(self.tensors, self.scale.original(rows)), np.int64)

    @property
    def prior(self) -> Prior:
        """Images are smooth, unless they are tiny."""
        picture = self.scale.picture
        return Prior(picture if picture is not None and min(picture) >= _SMOOTH_FROM else None)

    def slopes(self) -> Slopes | None:
        """By the model's own derivative, else by differences; None where it gives no scores or too many features."""
        module = self.trainer.model.module
        if module is not None:
            from phalanx.attacks.input_slopes import slopes_of

            own = slopes_of(module, self.tensors, self.scale.original, self.scale.width)
            return around(own, self.prior, samples=_AROUND, rng=self.rng)
        if self.trainer.model.logits is None or len(self.scale.low) > _MOST_DIFFERENCES:
            return None
        return differences(self.confidence)

    def tried(self, scores: Scores) -> Slopes:
        """By questions alone."""
        return trials(scores, self.prior, samples=self.samples, rng=self.rng)

    @property
    def samples(self) -> int:
        """Questions for one slope: fewer to what reads large inputs, which takes longer to answer."""
        return int(np.clip(_ASKED_NUMBERS // len(self.scale.low), *_SAMPLES))

    def inverted(self, slopes: Slopes) -> F64:
        """(classes, p)."""
        return invert(slopes, self.trainer.model.classes, len(self.scale.low), self.prior, steps=_STEPS)


def _measured(halves: _Halves, drawn: F64) -> dict[str, float]:
    """Of the inputs (classes, p) that were drawn, in the mean over classes."""
    means = {c: halves.of(c, trained_on=True).mean(axis=0, dtype=np.float64) for c in halves.classes}
    middle, grey = np.mean(list(means.values()), axis=0), np.mean([drawn[c] for c in halves.classes], axis=0)
    rows = [
        (
            correlation(drawn[c] - grey, means[c] - middle),
            _nearest(drawn[c], halves.of(c, trained_on=True)),
            _nearest(halves.of(c, trained_on=False).mean(axis=0, dtype=np.float64), halves.of(c, trained_on=True)),
            _nearest(drawn[c], halves.of(c, trained_on=False)),
        )
        for c in halves.classes
    ]
    similarity, known, by_mean, unknown = np.mean(rows, axis=0).tolist()
    return {"class_similarity": similarity, "similarity_gain": known - by_mean, "memorised": known - unknown}


def _nearest(row: F64, examples: F32) -> float:
    return max(correlation(row, one) for one in examples)


def _shown(halves: _Halves, drawn: F64, scale: Range) -> tuple[Rebuilt, ...]:
    """Beside the class's mean, which is what can be hoped for."""
    pairs = [
        (
            Guessed(
                halves.of(c, trained_on=True).mean(axis=0), drawn[c].astype(np.float32), np.full_like(scale.low, 0.5)
            ),
            c,
        )
        for c in halves.classes[:_SHOWN]
    ]
    return tuple(one for guess, c in pairs for one in shown([guess], scale, f"class {c}, beside its mean"))


INVERSION_PROBE = Probe(
    card=card(
        "model-inversion",
        "Model inversion",
        "T7",
        "black",
        "Fredrikson et al., CCS 2015; Kahla et al., CVPR 2022, arXiv:2203.05748",
        "climbs the released model's confidence in each class, and looks at the input that it ends with",
        CLASS_SIMILARITY,
    ),
    play=_inversion,
    settings=("central", "none", "yours"),
)
