"""What all rules share, and how pre-steps and a rule become one chain.

Letters: `n` rows, `f` hostile rows tolerated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, overload

from phalanx.errors import RuleRefused

Handed = Literal["reference", "history"]
Centre = Literal["median row", "zero", "reference"]


class _Step:
    """A rule or a pre-step. `str(step)` is the text for people, config and log: `krum(f=2)`."""

    __slots__ = ()
    name: ClassVar[str] = ""
    needs: ClassVar[frozenset[Handed]] = frozenset()  # what `aggregate` must be handed besides the rows

    @property
    def min_rows(self) -> int:
        """The fewest rows with which the step keeps what it promises."""
        return 1

    @property
    def max_rows(self) -> int | None:
        """The most rows that it can be computed for; None: any number."""
        return None

    def __str__(self) -> str:
        return self.name


class Rule(_Step):
    """The last step: many rows become one vector. Every rule is a `GramRule` or a `CoordinateRule`."""

    __slots__ = ()

    def l2_sensitivity(self, invited: float, clip_l2: float | None = None) -> float | None:
        """How far (l2) one member's presence moves the aggregate over `invited` members; None: not bounded.

        `clip_l2` bounds the length of the rows, if anything does.
        """
        return None


class GramRule(Rule):
    """A function of the Gram matrix of the rows, which gives each row a weight: the same in every rotated space.

    `seen_from`: where the rows are looked at from, so that nothing that the rule measures is lost to rounding: a row of
    median norm for distances between rows, zero for directions and lengths, the reference for distances to it (zero
    where none is handed in).
    """

    __slots__ = ()
    seen_from: ClassVar[Centre] = "median row"


class CoordinateRule(Rule):
    """A rule that looks at each coordinate by itself."""

    __slots__ = ()


class PreStep(_Step):
    """A step that changes the rows and hands them on. `ARC(2) >> NNM(2) >> CAF(2)` reads from left to right."""

    __slots__ = ()

    @property
    def public_clip(self) -> float | None:
        """The length to which the step cuts each row whatever the others are; None: it does something else."""
        return None

    def rows_needed(self, then: int) -> int:
        """The fewest rows that leave `then` rows after this step, at least `min_rows`."""
        return max(self.min_rows, then)

    def most_rows(self, then: int | None) -> int | None:
        """The most rows that leave no more than `then` after this step; None: any number."""
        return then

    def rows_left(self, n: int) -> int:
        """How many rows come out of `n`."""
        return n

    @overload
    def __rshift__(self, then: Rule) -> Chain: ...
    @overload
    def __rshift__(self, then: PreStep) -> Steps: ...
    def __rshift__(self, then: Rule | PreStep) -> Chain | Steps:
        return Steps((self,)) >> then


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
        rows = self.rule.min_rows
        for step in reversed(self.pre):
            rows = step.rows_needed(rows)
        return rows

    @property
    def max_rows(self) -> int | None:
        """The most rows that every step and the rule can be computed for; None: any number."""
        rows = self.rule.max_rows
        for step in reversed(self.pre):
            rows = step.most_rows(rows)
        return rows

    def l2_sensitivity(self, invited: float) -> float | None:
        """That of `norm-clip >> mean` and of one step of centred clipping, over a fixed denominator; else None.

        None also where a bound might exist but is not analysed here. Unit: one member added or removed.
        """
        match self.pre:
            case ():
                return self.rule.l2_sensitivity(invited)
            case (step,) if step.public_clip is not None:
                return self.rule.l2_sensitivity(invited, step.public_clip)
            case _:
                return None

    @property
    def gram(self) -> bool:
        """Whether the last rule is a function of the Gram matrix (else coordinate-wise)."""
        return isinstance(self.rule, GramRule)

    @property
    def needs(self) -> frozenset[Handed]:
        """What the chain must be handed besides the rows."""
        return self.rule.needs.union(*(step.needs for step in self.pre))

    def __str__(self) -> str:
        return " >> ".join(str(step) for step in (*self.pre, self.rule))


def check_f(name: str, f: int) -> None:
    """Raises RuleRefused unless `f` is an integer >= 0."""
    if not (isinstance(f, int) and not isinstance(f, bool) and f >= 0):
        raise RuleRefused(f"{name} needs an integer f >= 0, got {f!r}")


def check_count(name: str, what: str, value: int) -> None:
    """Raises RuleRefused unless `value` is an integer >= 1."""
    if not (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        raise RuleRefused(f"{name} needs an integer {what} >= 1, got {value!r}")


@dataclass(frozen=True, slots=True)
class Tolerant(_Step):
    """A step that tolerates `f` hostile rows among at least `per_f` f + `slack` rows."""

    f: int
    slack: ClassVar[int] = 1
    per_f: ClassVar[int] = 2

    def __post_init__(self) -> None:
        check_f(self.name, self.f)

    @property
    def min_rows(self) -> int:
        return self.per_f * self.f + self.slack

    def __str__(self) -> str:
        return f"{self.name}(f={self.f})"
