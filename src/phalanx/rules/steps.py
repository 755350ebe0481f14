"""Pre-steps: they clip or mix the rows before a rule sees them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from phalanx.errors import RuleRefused
from phalanx.rules.rule import PreStep, Tolerant, check_count


def check_clip(name: str, clip_l2: float) -> None:
    """Raises RuleRefused unless `clip_l2` is a bound that clips something."""
    number = isinstance(clip_l2, int | float) and not isinstance(clip_l2, bool)
    if not (number and 0 < clip_l2 < math.inf):
        raise RuleRefused(f"{name} needs a finite clip_l2 > 0, got {clip_l2!r}")


@dataclass(frozen=True, slots=True)
class NormClip(PreStep):
    """Each row scaled down to l2 norm `clip_l2`, a public bound, never up."""

    clip_l2: float
    name = "norm-clip"

    def __post_init__(self) -> None:
        check_clip(self.name, self.clip_l2)

    @property
    def public_clip(self) -> float:
        """clip_l2."""
        return self.clip_l2

    def __str__(self) -> str:
        return f"norm-clip({self.clip_l2:g})"


@dataclass(frozen=True, slots=True)
class ARC(Tolerant, PreStep):
    """The k = floor(2(f/n)(n-f)) longest rows cut to the length of the next. n > 2f.  Allouah et al., ICLR 2025."""

    name = "arc"


@dataclass(frozen=True, slots=True)
class NNM(Tolerant, PreStep):
    """Each row becomes the mean of the n-f rows nearest to it, itself included.  Allouah et al., AISTATS 2023.

    n > 2f.
    """

    name = "nnm"


@dataclass(frozen=True, slots=True)
class Bucketing(PreStep):
    """Rows shuffled, then averaged in buckets of `size`: ceil(n/size) rows remain.  Karimireddy et al., ICLR 2022.

    `coin` is 32 bytes or more that decide the shuffle. Members must not know them before they have sent their rows:
    whoever does chooses whom to share a bucket with. Of f hostile rows at most f buckets are spoiled, so the rule that
    follows must tolerate f of ceil(n/size).
    """

    size: int
    coin: bytes = field(repr=False)
    name = "bucketing"

    def __post_init__(self) -> None:
        check_count(self.name, "size", self.size)
        if not (isinstance(self.coin, bytes) and len(self.coin) >= 32):
            raise RuleRefused("bucketing needs a coin of at least 32 bytes, drawn after the rows were sent")

    def rows_needed(self, then: int) -> int:
        """size (then - 1) + 1: one row more than fills then - 1 buckets."""
        return self.size * (then - 1) + 1

    def most_rows(self, then: int | None) -> int | None:
        """size then."""
        return None if then is None else self.size * then

    def rows_left(self, n: int) -> int:
        """ceil(n/size)."""
        return -(-n // self.size)

    def __str__(self) -> str:
        return f"bucketing(size={self.size})"
