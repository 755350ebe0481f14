"""Which labels an update was made from: the last layer says it, however deep the model is.

With softmax and cross-entropy, ∂L/∂b_c = mean over the examples of (p_c - [y = c]). For one example the label's is the
only negative one (iDLG: Zhao et al., arXiv:2001.02610); for n examples it says how many have the label c, if their mean
confidence p_c is known, which the attacker estimates with inputs of its own (LLG+: Wainakh et al., PoPETs 2022,
section 4.3). Without a bias, the rows of the last weight do, whose inputs are mostly positive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from phalanx.types import F32, F64


@dataclass(frozen=True, slots=True)
class ClassTensor:
    """The tensor that knows the label. `axis` is that of its classes; a weight's other axis is summed over.

    A binary model of one logit has one row: it rises for label 1.
    """

    name: str
    axis: int
    classes: int

    def scores(self, gradient: Mapping[str, F32]) -> F64:
        """(classes,): the tensor's gradient by class."""
        values = gradient[self.name].astype(np.float64)
        rows = values if values.ndim == 1 else values.sum(axis=1 - self.axis)
        return np.array([-rows[0], rows[0]]) if len(rows) < self.classes else rows


def find_class_tensor(
    gradients: Sequence[Mapping[str, F32]], labels: Sequence[int], classes: int
) -> ClassTensor | None:
    """The tensor that tells the label of every toy example from its gradient; None if there is none. Biases first."""
    fitting = [
        ClassTensor(name, axis, classes)
        for name, value in sorted(gradients[0].items(), key=lambda item: (item[1].ndim, item[0]))
        for axis in range(min(value.ndim, 2))
        if value.ndim <= 2 and (value.shape[axis] == classes or (classes == 2 and value.shape[axis] == 1))
    ]
    for tensor in fitting:
        if all(label_of(tensor.scores(g)) == label for g, label in zip(gradients, labels, strict=True)):
            return tensor
    return None


def label_of(scores: F64) -> int:
    """The label of the one example behind the gradient `scores` (classes,): the lowest, which alone is negative."""
    return int(scores.argmin())


def label_counts(scores: F64, examples: int, confidence: F64) -> tuple[int, ...]:
    """How many of `examples` have each label, from the bias gradient `scores` (classes,) of their mean loss.

    `confidence` (classes,) is the mean softmax that the attacker expects of them. n_c = examples · (p_c - g_c), rounded
    by largest remainders so that they sum up; a negative number counts as none. Of fewer examples than labels, some
    label has none: a gradient that is too short for that, as the mean of several steps is, is lengthened first.
    """
    scale = 1.0
    if examples < len(scores) and (scores > 0).any():
        scale = max(1.0, float((confidence[scores > 0] / scores[scores > 0]).min()))
    wanted = np.maximum(examples * (confidence - scale * scores), 0.0)
    total = wanted.sum()
    wanted = wanted * (examples / total) if total > 0 else np.full(len(scores), examples / len(scores))
    counts = np.floor(wanted).astype(np.int64)
    rest = np.argsort(counts - wanted, kind="stable")  # the largest remainder first
    counts[rest[: examples - int(counts.sum())]] += 1
    return tuple(counts.tolist())
