"""Whether a privacy budget bears one more charge. Pure: the store keeps the history and makes the charge durable.

The order is the promise: charge, make it durable, only then draw noise. A crash between the two wastes budget and
never privacy. The ledger is kept by dataset, not by run: a second run on the same data pays on top of the first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from phalanx.errors import BudgetExhausted, ConflictError, IntegrityError, PolicyError
from phalanx.privacy.accountant import epsilon
from phalanx.types import Receipt, Reservation


def charge(history: Sequence[Reservation], new: Reservation) -> Receipt:
    """The ledger after `new`; `history` is every charge so far, of any dataset, in the order in which it was made.

    | case | outcome |
    |---|---|
    | the key is new and the budget bears it | the receipt; the caller appends `new` to the history |
    | same key, same content | the receipt that it had the first time; nothing is to be appended |
    | same key, other content | ConflictError |
    | σ, δ or budget zero, negative, infinite, NaN or not a number | ValueError |
    | another δ or unit than the dataset's earlier charges | PolicyError: their ε cannot be added up |
    | another key, and the sample of an earlier charge | PolicyError: what is drawn once is not secret twice |
    | ε of all charges on the dataset would pass its budget | BudgetExhausted |

    The budget of a dataset is the smallest that any of its charges has declared: a later run cannot widen it.
    """
    _check(new)
    known = {entry.key: entry for entry in history}
    if len(known) != len(history):
        raise IntegrityError(f"the ledger holds {len(history)} charges under {len(known)} keys")
    if new.key in known:
        if known[new.key] != new:
            raise ConflictError(f"charge {new.key} is in the ledger with other content")
        return _receipt(history[: history.index(new)], new)
    receipt = _receipt(history, new)
    _check_budget(history, new, receipt)
    return receipt


def _receipt(earlier: Sequence[Reservation], new: Reservation) -> Receipt:
    same = [entry for entry in earlier if entry.dataset == new.dataset]
    for entry in same:
        if (entry.delta, entry.unit) != (new.delta, new.unit):
            raise PolicyError(
                f"dataset {new.dataset} is charged at δ = {entry.delta:g} per {entry.unit}, "
                f"charge {new.key} asks for δ = {new.delta:g} per {new.unit}"
            )
        if new.sample and entry.sample == new.sample:
            raise PolicyError(
                f"charge {new.key} counts on the sample {new.sample}, which charge {entry.key} has used: "
                "what was released of it tells who is in it",
                hint="put the newest copy of the state back; an old one repeats its draws",
            )
    return Receipt(key=new.key, charges=len(same) + 1, epsilon=_spent((*same, new), new.delta))


def _spent(charges: Sequence[Reservation], delta: float) -> float:
    return epsilon([one.noise_multiplier for one in charges], delta, [one.rate for one in charges])


def _check_budget(history: Sequence[Reservation], new: Reservation, receipt: Receipt) -> None:
    same = [entry for entry in history if entry.dataset == new.dataset]
    budget = min(entry.epsilon_budget for entry in (*same, new))
    if not receipt.epsilon <= budget:
        before = _spent(same, new.delta)
        raise BudgetExhausted(
            f"this charge would take dataset {new.dataset} from ε = {before:.3f} to {receipt.epsilon:.3f}, "
            f"past its budget of {budget:g} at δ = {new.delta:g}; nothing was charged"
        )


def _check(new: Reservation) -> None:
    for name, value, ceiling in (
        ("noise_multiplier", new.noise_multiplier, math.inf),
        ("epsilon_budget", new.epsilon_budget, math.inf),
        ("delta", new.delta, 1.0),
    ):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < ceiling:
            raise ValueError(f"charge {new.key}: {name} is a number in (0, {ceiling:g}), got {value!r}")
    if isinstance(new.rate, bool) or not isinstance(new.rate, int | float) or not 0 < new.rate <= 1:
        raise ValueError(f"charge {new.key}: rate is a number in (0, 1], got {new.rate!r}")
    if (new.rate < 1) != bool(new.sample):
        raise ValueError(f"charge {new.key}: a rate below 1 names its sample, got {new.rate!r} and {new.sample!r}")
