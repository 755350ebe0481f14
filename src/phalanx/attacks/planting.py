"""How a backdoor gets into the model: what hostile members make of training on planted data before they send it.

x is the model of the round, x_bad one that was trained from it on planted data. `n` members, `f` of them hostile.

| attack                | the row                                                   | source                           |
|-----------------------|-----------------------------------------------------------|----------------------------------|
| `replacement`         | (n/f)·(x_bad - x)                                         | Bagdasaryan et al., AISTATS 2020 |
| `constrain_and_scale` | with a pull to the honest model, at twice its length      | the same, section 4.3            |
| `projected`           | each step projected into a ball around x                  | Wang et al., NeurIPS 2020, PGD   |
| `neurotoxin`          | away from the coordinates that honest members move most   | Zhang et al., ICML 2022          |
| `tuned_backdoor`      | the way to x_bad, as long as suits the rule               | as `updates.tuned`               |
"""

from __future__ import annotations

import numpy as np

from phalanx.attacks.updates import tuned
from phalanx.attacks.view import View
from phalanx.types import F32, F64

ROUNDS = 6  # of training on planted data: enough for the trigger to take
THOROUGH = 10  # where each step is cut back
LENGTH = 2.0  # honest lengths of what hides: under a plain mean one length of three members in ten is too little
PULL = 0.1  # of the way back to the honest model after each of them: the share of the penalty for standing out
SPARED = 0.1  # of the coordinates: those that honest updates move most


def planted(view: View) -> F32:
    """(f, d): x_bad - x."""
    return view.trained(rounds=ROUNDS)


def replacement(view: View) -> F32:
    """The whole way to x_bad, once a mean has divided it by n and added up f of them."""
    return np.float32(view.members / view.f) * planted(view)


def constrain_and_scale(view: View) -> F32:
    """Trained for the trigger and for looking honest, then brought to twice the honest length.

    The penalty for standing out is the squared distance to the honest model, whose gradient is this pull.
    """
    at = np.tile(view.model, (view.f, 1))
    for _ in range(ROUNDS):
        at = at + view.trained(starts=at)
        at -= np.float32(PULL) * (at - (view.model + view.own))
    return _at_length(at - view.model, LENGTH * view.length())


def projected(view: View) -> F32:
    """Projected gradient descent: after each round back into a ball of twice the honest length around x."""
    delta = np.zeros((view.f, view.model.size), np.float32)
    for _ in range(THOROUGH):
        delta = _within(delta + view.trained(starts=view.model + delta), LENGTH * view.length())
    return delta


def neurotoxin(view: View) -> F32:
    """Only where honest updates are small, so that they do not overwrite it soon.

    The paper looks at the last step of the model, in which the attackers' own part is large; this at what the attackers
    would honestly send.
    """
    kept = np.ones(view.model.size, np.float32)
    moved = np.abs(view.own.mean(axis=0))
    kept[np.argsort(-moved, kind="stable")[: int(SPARED * moved.size)]] = 0.0
    delta = np.zeros((view.f, view.model.size), np.float32)
    for _ in range(THOROUGH):
        delta = (delta + view.trained(starts=view.model + delta)) * kept
    return _within(delta, 2 * LENGTH * view.length())


def tuned_backdoor(view: View) -> F32:
    """All send the same row: the mean way to x_bad, as long as brings the deployed rule nearest to it."""
    return tuned(view, planted(view).mean(axis=0, dtype=np.float64).astype(np.float32))


def matched(view: View) -> F32:
    """The direction to x_bad at twice the length of an honest update."""
    return _at_length(planted(view), LENGTH * view.length())


def _at_length(rows: F32, length: float) -> F32:
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    factors = np.divide(length, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    scaled: F64 = rows * factors
    return scaled.astype(np.float32)


def _within(rows: F32, length: float) -> F32:
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    scaled: F64 = rows * np.minimum(1.0, length / np.maximum(lengths, 1e-30))
    return scaled.astype(np.float32)
