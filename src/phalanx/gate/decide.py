"""Whether a candidate replaces the incumbent: paired exact sign tests on data that never leaves its owners.

Voters may lie. With up to `f` liars among n >= 2f + 1 voters, each test works on the differences d = worse - better
and on the numbers m = worse + better of changed examples, one each a voter: of either list the f largest and the f
smallest are dropped *on their own*, the rest are summed to D and M, and the test is the sign test of M coins with a
lead of D. So both stay between sums of honest voters' values alone, whatever the liars say:

    n - 2f smallest honest values  <=  trimmed sum  <=  n - 2f largest honest values

Dropping whole ballots by d would not do: a liar with d = 0 and a million changed examples stays in the pool and drowns
what the others found. With f = 0 this is the plain pooled sign test.

What it costs: the f voters who lost most are not heard. Damage that shows only on the data of f voters or fewer passes,
since f liars could have made it up; and with f > 0 the p-values are those of the trimmed sums, not exact for the pool.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phalanx.errors import GateRefusal, QuorumError
from phalanx.gate.sign_test import p_value
from phalanx.types import Approved, Candidate, MemberId, Reason, Refusal, Tally, Verdict

BLIND_SPOTS = (
    "The gate compares predictions on the voters' held-out examples. It does not see: a backdoor whose trigger no "
    "voter's data holds; damage to groups that are absent or rare there; damage that only f voters or fewer would "
    "notice; a loss in every round that is too small for one test (a fresh incumbent is the reference each time); what "
    "the model says beyond its predicted class. If nothing else changes, a test at 0.001 refuses a loss of 10 examples "
    "and not of 9, the test of one class in ten a loss of 14 and not of 13. If a tenth of 1000 changes with no "
    "net loss, it takes 37 more lost (3.7 %), and 46 where the 1000 are of one class. With liars tolerated it is more."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePolicy:
    """How the gate decides. An honest candidate that is no worse is refused with at most these probabilities.

    `significance` is for the test over all classes; `class_significance` is shared out among the classes (Bonferroni),
    and 0 switches these tests off, as from an untrained incumbent, which has one class wholly right. `max_held_out`
    bounds the examples that one ballot may speak for. `unsafe_accept_all` approves everything, for the lab.
    """

    classes: int
    f: int = 0
    significance: float = 0.001
    class_significance: float = 0.001
    max_held_out: int = 100_000
    unsafe_accept_all: bool = False

    def __post_init__(self) -> None:
        if self.classes < 1 or self.f < 0 or self.max_held_out < 1:
            raise ValueError(f"a gate needs classes >= 1, f >= 0, max_held_out >= 1, got {self}")
        if not (0 < self.significance < 1 and 0 <= self.class_significance < 1):
            raise ValueError(f"significance is in (0, 1), class_significance in [0, 1), got {self}")


@dataclass(frozen=True, slots=True)
class _Test:
    """One sign test: `worse` and `better` after trimming, refused if p < `significance`."""

    name: str
    worse: int
    better: int
    significance: float

    @property
    def p(self) -> float:
        return p_value(self.worse, self.better)


def judge(ballots: Mapping[MemberId, Tally], own: Tally | None, policy: GatePolicy) -> Verdict:
    """The verdict on these ballots and on the coordinator's `own` tally, if any, which is tested apart and untrimmed.

    A ballot that cannot be true is refused with BAD_BALLOT. Refused is a candidate that more than f voters (or `own`)
    saw give non-finite outputs, or that any test finds worse: the verdict names the one with the most evidence.
    Raises QuorumError with fewer than 2f + 1 sound ballots, ValueError for an `own` tally that cannot be true.
    """
    if policy.unsafe_accept_all:
        return Verdict(passed=True, test="unsafe-accept-all", p_value=1.0, worse=0, better=0, voters=len(ballots))
    bad = tuple(Refusal(m, Reason.BAD_BALLOT, why) for m in sorted(ballots) if (why := _defect(ballots[m], policy)))
    refused = {refusal.member for refusal in bad}
    sound = [ballots[member] for member in sorted(ballots) if member not in refused]
    if own is not None and (why := _defect(own, policy)):
        raise ValueError(f"the coordinator's own tally: {why}")
    if len(sound) < 2 * policy.f + 1:
        needed = f"2f + 1 = {2 * policy.f + 1}"
        raise QuorumError(f"the gate needs {needed} sound ballots, found {len(sound)} ({len(bad)} refused)")
    broken = sum(not ballot.finite for ballot in sound)
    if broken > policy.f or (own is not None and not own.finite):
        where = f"non-finite outputs at {broken} of {len(sound)} voters"
        return Verdict(False, where, 0.0, 0, 0, len(sound), bad)
    tests = _tests(sound, policy.f, policy, "")
    if own is not None:
        tests += _tests([own], 0, policy, "own held-out data: ")
    failed = [test for test in tests if test.p < test.significance]
    decisive = min(failed, key=lambda test: test.p / test.significance) if failed else tests[0]
    return Verdict(not failed, decisive.name, decisive.p, decisive.worse, decisive.better, len(sound), bad)


def approve(candidate: Candidate, verdict: Verdict) -> Approved:
    """The only way to an `Approved`. Raises GateRefusal with the evidence; then the incumbent stays."""
    if not verdict.passed:
        raise GateRefusal(
            f"candidate {candidate.digest} did not pass the gate: {verdict.test}, worse on {verdict.worse} and better "
            f"on {verdict.better} held-out examples (p = {verdict.p_value:.3g}), {verdict.voters} voters"
        )
    return Approved(candidate, verdict)


def _tests(ballots: Sequence[Tally], f: int, policy: GatePolicy, prefix: str) -> list[_Test]:
    """The test over all classes, then, unless switched off, one for each class."""
    everything = [(sum(ballot.worse), sum(ballot.better)) for ballot in ballots]
    tests = [_Test(prefix + "overall", *_trimmed(everything, f), policy.significance)]
    if policy.class_significance:
        share = policy.class_significance / policy.classes
        for c in range(policy.classes):
            counts = [(ballot.worse[c], ballot.better[c]) for ballot in ballots]
            tests.append(_Test(f"{prefix}class {c}", *_trimmed(counts, f), share))
    return tests


def _trimmed(counts: Sequence[tuple[int, int]], f: int) -> tuple[int, int]:
    """(worse, better) with a lead of D among M changed examples, both trimmed sums: see the top of this file.

    |D| <= M, since each |d| <= m and both are sorted. Where their parity differs, M is raised by one: a tie is given to
    the candidate.
    """
    lead = sum(sorted(worse - better for worse, better in counts)[f : len(counts) - f])
    changed = sum(sorted(worse + better for worse, better in counts)[f : len(counts) - f])
    changed += (changed - lead) % 2
    return (changed + lead) // 2, (changed - lead) // 2


def _defect(ballot: Tally, policy: GatePolicy) -> str:
    """Why this tally cannot be true, or "". Its fields come from outside and may be of any type."""
    columns: tuple[Any, ...] = (ballot.worse, ballot.better, ballot.total)
    if not all(isinstance(column, tuple | list) and len(column) == policy.classes for column in columns):
        return f"expected worse, better and total for {policy.classes} classes each"
    if not all(type(count) is int and count >= 0 for column in columns for count in column):
        return "expected counts that are integers >= 0"
    if any(worse + better > total for worse, better, total in zip(*columns, strict=True)):
        return "more examples changed than there are"
    if sum(ballot.total) > policy.max_held_out:
        return f"more than {policy.max_held_out} held-out examples"
    if type(ballot.finite) is not bool:
        return "expected finite to be true or false"
    return ""
