"""Aggregation rules as frozen values: what to do, how many rows it needs, how far one member can move the result.

A rule says nothing about how it is computed: `phalanx.aggregation` runs it in the clear. Rules come in two families:
functions of the Gram matrix, and coordinate-wise rules. Pre-steps compose with `>>`:
`ARC(f=2) >> NNM(f=2) >> CAF(f=2)`.

Letters: `n` rows, `f` hostile rows tolerated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import overload

from phalanx.errors import RuleRefused


class _Rule:
    """What all rules share. `str(rule)` is the text for people, config and log: `krum(f=2)`."""

    __slots__ = ()
    name = ""

    @property
    def min_rows(self) -> int:
        """The fewest rows with which the rule keeps what it promises."""
        return 1

    def l2_sensitivity(self, invited: float) -> float | None:
        """How far (l2) one member's presence moves the aggregate over `invited` members; None: not bounded."""
        return None

    @property
    def gram(self) -> bool:
        """Whether this is a function of the Gram matrix (else coordinate-wise)."""
        return True

    def __str__(self) -> str:
        return self.name


class _PreStep(_Rule):
    """A rule that changes the rows and hands them on. `ARC(2) >> NNM(2) >> CAF(2)` reads from left to right."""

    __slots__ = ()

    @overload
    def __rshift__(self, then: Rule) -> Chain: ...
    @overload
    def __rshift__(self, then: PreStep) -> Steps: ...
    def __rshift__(self, then: Rule | PreStep) -> Chain | Steps:
        first = Steps((self,))  # type: ignore[arg-type]  # every subclass is one of PreStep
        return first >> then


@dataclass(frozen=True, slots=True)
class _Tolerant(_Rule):
    """A rule or step that tolerates `f` hostile rows, an integer >= 0, among at least 2f + `slack` rows."""

    f: int
    slack = 1

    def __post_init__(self) -> None:
        if not (isinstance(self.f, int) and not isinstance(self.f, bool) and self.f >= 0):
            raise RuleRefused(f"{self.name} needs an integer f >= 0, got {self.f!r}")

    @property
    def min_rows(self) -> int:
        return 2 * self.f + self.slack

    def __str__(self) -> str:
        return f"{self.name}(f={self.f})"


@dataclass(frozen=True, slots=True)
class Mean(_Rule):
    """The weighted mean. Tolerates nobody: one row moves it anywhere."""

    name = "mean"


@dataclass(frozen=True, slots=True)
class Krum(_Tolerant):
    """The one row closest to its n-f-2 nearest others.  Blanchard et al., NeurIPS 2017, section 4. n >= 2f + 3."""

    name = "krum"
    slack = 3


@dataclass(frozen=True, slots=True)
class MultiKrum(_Tolerant):
    """The mean of the m = n-f-2 rows with the best Krum scores.  Damaskinos et al., SysML 2019. n >= 2f + 3."""

    name = "multi-krum"
    slack = 3


@dataclass(frozen=True, slots=True)
class CAF(_Tolerant):
    """Covariance-bound-agnostic filter: weights shrink along the top eigenvector.  Allouah et al., ICML 2025.

    n > 2f.
    """

    name = "caf"


@dataclass(frozen=True, slots=True)
class Median(_Tolerant):
    """Coordinate-wise median.  Yin et al., ICML 2018, Definition 1. n > 2f."""

    name = "median"

    @property
    def gram(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class TrimmedMean(_Tolerant):
    """Coordinate-wise mean without the f largest and f smallest. n > 2f.  Yin et al., ICML 2018, Definition 2."""

    name = "trimmed-mean"

    @property
    def gram(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class NormClip(_PreStep):
    """Each row scaled down to l2 norm `clip_l2`, a public bound, never up."""

    clip_l2: float
    name = "norm-clip"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.clip_l2) and self.clip_l2 > 0):
            raise RuleRefused(f"norm-clip needs a finite clip_l2 > 0, got {self.clip_l2!r}")

    def __str__(self) -> str:
        return f"norm-clip({self.clip_l2:g})"


@dataclass(frozen=True, slots=True)
class NNM(_Tolerant, _PreStep):
    """Each row becomes the mean of the n-f rows nearest to it, itself included.  Allouah et al., AISTATS 2023.

    n > 2f.
    """

    name = "nnm"


@dataclass(frozen=True, slots=True)
class ARC(_Tolerant, _PreStep):
    """The k = floor(2(f/n)(n-f)) longest rows cut to the length of the next. n > 2f.  Allouah et al., ICLR 2025."""

    name = "arc"


PreStep = NormClip | NNM | ARC
Rule = Mean | Krum | MultiKrum | CAF | Median | TrimmedMean


@dataclass(frozen=True, slots=True)
class Steps:
    """Pre-steps that wait for a rule."""

    pre: tuple[PreStep, ...]

    @overload
    def __rshift__(self, then: Rule) -> Chain: ...
    @overload
    def __rshift__(self, then: PreStep) -> Steps: ...
    def __rshift__(self, then: Rule | PreStep) -> Chain | Steps:
        if isinstance(then, PreStep):
            return Steps((*self.pre, then))
        return Chain(self.pre, then) if isinstance(then, Rule) else NotImplemented


@dataclass(frozen=True, slots=True)
class Chain:
    """Pre-steps in order, then one rule. Built with `>>`, or directly with `pre=()` for a rule alone."""

    pre: tuple[PreStep, ...]
    rule: Rule

    @property
    def min_rows(self) -> int:
        """The fewest rows with which every step keeps what it promises."""
        return max(step.min_rows for step in (*self.pre, self.rule))

    def l2_sensitivity(self, invited: float) -> float | None:
        """clip_l2 / invited for `norm-clip >> mean` over a fixed denominator; None for everything else.

        None also where a bound might exist but is not analysed here. Unit: one member added or removed.
        """
        match self:
            case Chain(pre=(NormClip(clip_l2=clip),), rule=Mean()):
                return clip / invited
            case _:
                return None

    @property
    def gram(self) -> bool:
        """Whether the last rule is a function of the Gram matrix (else coordinate-wise)."""
        return self.rule.gram

    def __str__(self) -> str:
        return " >> ".join(str(step) for step in (*self.pre, self.rule))
