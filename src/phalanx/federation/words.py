"""What people are told of a run before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from phalanx.config import Settings
from phalanx.learning import LocalTrainer
from phalanx.learning.baselines import settings_in_words
from phalanx.learning.many import how_together
from phalanx.types import ExamplePrivacy, MemberId

_TOGETHER = {
    "loop": "one after the other",
    "vmap": "side by side, by vmap",
    "hand-batched": "side by side, in batches over members",
    "examples of all members": "side by side, all members' examples in one call",
}


def how_trained(settings: Settings, trainers: Mapping[MemberId, LocalTrainer]) -> tuple[str, ...]:
    """How a member steps, and how this process trains many of them."""
    first = next(iter(trainers.values()))
    steps = "the model trains by its own function" if first.model.train else settings_in_words(first.settings)
    private = isinstance(settings.mechanism, ExamplePrivacy)
    together = how_together(list(trainers.values()), private=private)
    return steps, f"members train {_TOGETHER.get(together, together)}"


def spent_in_words(ledger: Path | None) -> str:
    """What to do about an ε that is used up. `ledger` is None where it was kept in memory."""
    where = "this run's own ledger" if ledger is None else f"the ledger {ledger}"
    return (
        f"{where} has all charges of these members, by earlier runs too: their examples have given away as much as "
        "was agreed. A larger privacy.epsilon is a new agreement with every member; deleting the file only forgets"
    )


def insecure(settings: Settings) -> tuple[str, ...]:
    """What of these settings makes a run one for trying out only."""
    lines = []
    if settings.run.lab_seed is not None:
        lines.append("run.lab_seed replaces the system's entropy; nothing made with it is secret")
    if settings.screening.unsafe_accept_all or settings.gate.unsafe_accept_all:
        lines.append("a control is switched off by unsafe_accept_all")
    return tuple(lines)
