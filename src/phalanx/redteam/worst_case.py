"""The worst that f colluders can do to a rule, of all that we can think of, on given honest rows."""

from __future__ import annotations

from phalanx.attacks import Attack, Objective, every_attack, measured
from phalanx.rules import Chain, Rule
from phalanx.types import F32


def worst_case(
    rule: Rule | Chain, honest: F32, f: int, *, reference: F32 | None = None, objective: Objective = "deviation"
) -> tuple[Attack, tuple[Attack, ...]]:
    """The attack that hurts the rule most among n = h + f rows, and all that were compared, the worst first.

    `honest` (h, d) float32 are rows that honest members really sent: how much a rule gives way depends on how they
    differ, not on n and f alone. The f colluders see them and know the rule, its `reference` and its coin, if any; they
    need not be as many as the rule was told. `objective`: how far the aggregate is from the honest mean (`deviation`),
    or how little of the honest mean is left in it (`progress`).

    A lower bound: what was found can be done, and something worse may exist, in particular with colluders who send
    different rows. For the trimmed mean and the median alone, and no more colluders than their f, it is the maximum.
    The figures of attacks on a coordinate-wise rule are estimated on 4096 columns, those of the worst are not
    (`Attack.exact`).

    Pure: same rows, same answer. Raises as `phalanx.attacks.every_attack` does; f = 0 is refused.

    >>> import numpy as np
    >>> from phalanx.rules import CAF, Krum
    >>> honest = np.random.default_rng(1).normal(0.1, 1.0, (10, 1000)).astype(np.float32)
    >>> for rule in (Krum(f=2), CAF(f=2)):
    ...     worst, _ = worst_case(rule, honest, f=2)
    ...     print(f"{rule}: {worst.name}, {worst.relative:.1f} spreads from the honest mean")
    krum(f=2): pattern-search, 1.3 spreads from the honest mean
    caf(f=2): pattern-search, 0.2 spreads from the honest mean
    """
    attacks = every_attack(rule, honest, f, reference=reference, objective=objective)
    while not attacks[0].exact:
        worst = measured(attacks[0], rule, honest, f, reference=reference)
        attacks = tuple(sorted((worst, *attacks[1:]), key=lambda attack: -attack.harm(objective)))
    return attacks[0], attacks
