"""Rules that are functions of the Gram matrix of the rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phalanx.errors import RuleRefused
from phalanx.rules.rule import GramRule, Tolerant, check_count, check_f
from phalanx.rules.steps import check_clip


@dataclass(frozen=True, slots=True)
class Mean(GramRule):
    """The weighted mean. Tolerates nobody: one row moves it anywhere."""

    name = "mean"

    def l2_sensitivity(self, invited: float, clip_l2: float | None = None) -> float | None:
        """clip_l2 / invited over a fixed denominator, of rows that were clipped."""
        return None if clip_l2 is None else clip_l2 / invited


@dataclass(frozen=True, slots=True)
class Krum(Tolerant, GramRule):
    """The one row closest to its n-f-2 nearest others.  Blanchard et al., NeurIPS 2017, section 4. n >= 2f + 3."""

    name = "krum"
    slack = 3


@dataclass(frozen=True, slots=True)
class MultiKrum(Tolerant, GramRule):
    """The mean of the m rows with the best Krum scores.  Damaskinos et al., SysML 2019. n >= 2f + 3.

    `m` is n-f-2 unless it is given, as other libraries take other numbers: n-f in ByzFL, n-2f-3 in krum.
    """

    m: int | None = None
    name = "multi-krum"
    slack = 3

    def __post_init__(self) -> None:
        check_f(self.name, self.f)
        if self.m is not None:
            check_count(self.name, "m", self.m)

    @property
    def min_rows(self) -> int:
        return max(2 * self.f + 3, self.m or 0)

    def __str__(self) -> str:
        return f"multi-krum(f={self.f})" if self.m is None else f"multi-krum(f={self.f}, m={self.m})"


@dataclass(frozen=True, slots=True)
class MDA(Tolerant, GramRule):
    """The mean of the n-f rows of smallest diameter, found exactly: n <= 20.  El Mhamdi et al., 2020 (1911.07537).

    n > 2f. Of subsets of the same diameter, and there often are several, that of the smallest sum of squared distances.
    """

    name = "mda"

    @property
    def max_rows(self) -> int:
        """20: there are up to 167,960 subsets to look at, and beyond that the number doubles with each row."""
        return 20


@dataclass(frozen=True, slots=True)
class GeometricMedian(Tolerant, GramRule):
    """The point with the smallest sum of distances to the rows, to tolerance.  Pillutla et al., 2022 (RFA), 3.

    It has no parameter: `f` is what it is relied on to tolerate, n > 2f, and changes nothing else.
    """

    f: int = 0
    name = "geometric-median"


@dataclass(frozen=True, slots=True)
class CenteredClipping(GramRule):
    """From the reference v, `steps` times v + mean of (x_i - v) cut to `clip_l2`.  Karimireddy et al., ICML 2021, 4.

    The reference is the last aggregate, or zero where none is handed in. With one step a member moves the result by at
    most clip_l2 / n around a public reference; of several steps the sensitivity is not analysed. `f` as in
    `GeometricMedian`.
    """

    clip_l2: float
    steps: int = 1
    f: int = 0
    name = "centered-clipping"
    seen_from = "reference"

    def __post_init__(self) -> None:
        check_clip(self.name, self.clip_l2)
        check_count(self.name, "steps", self.steps)
        check_f(self.name, self.f)

    @property
    def min_rows(self) -> int:
        return 2 * self.f + 1

    def l2_sensitivity(self, invited: float, clip_l2: float | None = None) -> float | None:
        """Its own clip_l2 / invited for one step, around a public reference."""
        return self.clip_l2 / invited if self.steps == 1 else None

    def __str__(self) -> str:
        return f"centered-clipping({self.clip_l2:g}, steps={self.steps}, f={self.f})"


@dataclass(frozen=True, slots=True)
class MoNNA(Tolerant, GramRule):
    """The mean of the n-f rows nearest to row `own`, itself included. n > 2f.  Farhadkhani et al., ICML 2023, Alg. 1.

    For a member that aggregates what its peers sent: it trusts its own row. A server that names a member's row here
    trusts that member.
    """

    own: int = 0
    name = "monna"

    def __post_init__(self) -> None:
        check_f(self.name, self.f)
        if not (isinstance(self.own, int) and not isinstance(self.own, bool) and self.own >= 0):
            raise RuleRefused(f"monna needs the number of its own row, >= 0, got {self.own!r}")

    @property
    def min_rows(self) -> int:
        return max(2 * self.f + 1, self.own + 1)

    def __str__(self) -> str:
        return f"monna(f={self.f}, own={self.own})"


@dataclass(frozen=True, slots=True)
class CAF(Tolerant, GramRule):
    """Covariance-bound-agnostic filter: weights shrink along the top eigenvector.  Allouah et al., ICML 2025.

    n > 2f.
    """

    name = "caf"


@dataclass(frozen=True, slots=True)
class FLTrust(GramRule):
    """Rows brought to the length of the reference, weighed by ReLU(cosine to it).  Cao et al., NDSS 2021, Algorithm 2.

    The reference is an update that the server trained on data of its own. If no row points its way, the result is zero.
    An attack tailored to the cosine gets through: docs/which-rule.md.
    """

    name = "fltrust"
    seen_from = "zero"
    needs = frozenset({"reference"})


@dataclass(frozen=True, slots=True)
class FoolsGold(GramRule):
    """Rows whose histories point the same way weigh less.  Fung et al., RAID 2020, Algorithm 1.

    The history is each row's sum of past updates. Against clones only: it tolerates no hostile row that differs.
    """

    name = "foolsgold"
    seen_from = "zero"
    needs = frozenset({"history"})


@dataclass(frozen=True, slots=True)
class FLAME(Tolerant, GramRule):
    """The majority cluster by cosine distance, cut to the median length of all rows, averaged.

    Nguyen et al., USENIX Security 2022, Algorithm 1, lines 6-12. The noise of lines 13-14 is not added: it is not
    calibrated to any ε. The models that the paper clusters are reference + row; without a reference, the rows are
    clustered. `f` as in `GeometricMedian`.
    """

    f: int = 0
    name = "flame"


@dataclass(frozen=True, slots=True)
class DnC(Tolerant, GramRule):
    """The mean without the ceil(c f) rows that lie farthest along the top singular vector. n > 2f.

    Shejwalkar and Houmansadr, NDSS 2021, Algorithm 2, on all coordinates instead of random samples of them: exact and
    deterministic. Hostile rows that go far in two directions are seen in one of them only: it does not bound what f
    rows can do.
    """

    c: float = 1.0
    name = "dnc"

    def __post_init__(self) -> None:
        check_f(self.name, self.f)
        if not 0 < self.c <= 100:
            raise RuleRefused(f"dnc needs a c in (0, 100], got {self.c!r}")

    @property
    def removed(self) -> int:
        """How many rows are left out."""
        return math.ceil(self.c * self.f)

    @property
    def min_rows(self) -> int:
        return max(2 * self.f, self.removed) + 1

    def __str__(self) -> str:
        return f"dnc(f={self.f}, c={self.c:g})"


@dataclass(frozen=True, slots=True)
class Custom(GramRule):
    """A rule of your own: `function` takes the (n, n) float64 Gram matrix and gives (n,) finite weights.

    The matrix is that of the rows as they are, X Xᵀ. It composes, is searched for its worst case and is checked
    (`check_rule`) like the others. `f` is how many hostile rows you claim that it tolerates: it is then refused fewer
    than 2f + 1 rows, and the battery puts hostile ones to it. For `aggregate`, not for a run.
    """

    function: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]
    label: str = "custom"
    f: int = 0
    seen_from = "zero"

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise RuleRefused(f"a custom rule needs a function from a Gram matrix to weights, got {self.function!r}")
        check_f(self.label, self.f)

    @property
    def name(self) -> str:  # type: ignore[override]  # the label is the name
        """The label."""
        return self.label

    @property
    def min_rows(self) -> int:
        return 2 * self.f + 1

    def __str__(self) -> str:
        return self.label
