"""Whether a candidate replaces the incumbent, by exact tests on data that never leaves its owners.

Voters may lie. Under the policy `counts`, with up to `f` liars among n >= 2f + 1 voters, each test works on the
differences d = worse - better and on the numbers m = worse + better of changed examples, one each a voter: of either
list the f largest and the f smallest are dropped *on their own*, the rest are summed to D and M, and the test is the
sign test of M coins with a lead of D. So both stay between sums of honest voters' values alone, whatever the liars say:

    n - 2f smallest honest values  <=  trimmed sum  <=  n - 2f largest honest values

Dropping whole ballots by d would not do: a liar with d = 0 and a million changed examples stays in the pool and drowns
what the others found. With f = 0 this is the plain pooled sign test.

What it costs: the f voters who lost most are not heard. Damage that shows only on the data of f voters or fewer passes,
since f liars could have made it up; and with f > 0 the p-values are those of the trimmed sums, not exact for the pool.
Liars who claim the worst have the f best of the honest values dropped and none of the others: what is left leans
against the candidate, and they get one that is no worse refused more often than the significance says. It grows with
the voters: measured at up to 0.9 % of rounds for 3 liars of ten voters, up to 17 % for 10 of 31
(`benchmarks/ballots.py`), nearly all for 33 of 100. That costs rounds and in the end the run, never the model.

Under the policy `votes` a candidate is refused if W > f + k of n voters vote against it, f votes being possible lies
and k what chance explains (`gate.votes`). What it costs beyond `counts`: nothing is pooled, so that every member has to
see the damage on its own few examples before it counts at all, a member with a thousand weighs no more than one with
ten, and f + k + 1 honest members have to see it. Damage seen by f + 1 to f + k of them, which `counts` may refuse,
passes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from phalanx.errors import GateRefusal, QuorumError
from phalanx.gate.ballots import defect, tally_defect
from phalanx.gate.policy import GatePolicy
from phalanx.gate.sign_test import p_value
from phalanx.gate.votes import fewest_voters, votes_p_value, votes_to_refuse
from phalanx.types import Approved, Candidate, MemberId, Reason, Refusal, Tally, Verdict, Vote


@dataclass(frozen=True, slots=True)
class _Finding:
    """One test's outcome: `worse` and `better` are examples after trimming, or votes."""

    test: str
    worse: int
    better: int
    p: float
    significance: float
    refuses: bool


def judge(ballots: Mapping[MemberId, Tally | Vote], own: Tally | None, policy: GatePolicy) -> Verdict:
    """The verdict on these ballots and on the coordinator's `own` tally, if any, which is tested apart and untrimmed.

    A ballot that cannot be true, or is of the other policy, is refused with BAD_BALLOT. Refused is a candidate that
    more than f voters (or `own`) saw give non-finite outputs, or that any test finds worse: the verdict names the one
    with the most evidence. For votes its test is `votes`, `worse` and `better` are votes against and not against, and
    `p_value` is that of so many votes against by chance. Raises QuorumError with fewer than `fewest_voters` sound
    ballots, ValueError for an `own` tally that cannot be true.
    """
    if policy.unsafe_accept_all:
        return Verdict(passed=True, test="unsafe-accept-all", p_value=1.0, worse=0, better=0, voters=len(ballots))
    bad = tuple(Refusal(m, Reason.BAD_BALLOT, why) for m in sorted(ballots) if (why := defect(ballots[m], policy)))
    refused = {refusal.member for refusal in bad}
    sound = [ballots[member] for member in sorted(ballots) if member not in refused]
    if own is not None and (why := tally_defect(own, policy)):
        raise ValueError(f"the coordinator's own tally: {why}")
    if len(sound) < (fewest := fewest_voters(policy)):
        needed = f"2f + 1 = {fewest}" if policy.ballot == "counts" else f"{fewest}"
        raise QuorumError(f"the gate needs {needed} sound ballots, found {len(sound)} ({len(bad)} refused)")
    broken = sum(not ballot.finite for ballot in sound)
    if broken > policy.f or (own is not None and not own.finite):
        where = f"non-finite outputs at {broken} of {len(sound)} voters"
        return Verdict(False, where, 0.0, 0, 0, len(sound), bad)
    findings = _findings(sound, policy)
    if own is not None:
        findings += _sign_tests([own], 0, policy, "own held-out data: ")
    against = [finding for finding in findings if finding.refuses]
    decisive = min(against, key=lambda finding: finding.p / finding.significance) if against else findings[0]
    return Verdict(not against, decisive.test, decisive.p, decisive.worse, decisive.better, len(sound), bad)


def approve(candidate: Candidate, verdict: Verdict) -> Approved:
    """The only way to an `Approved`. Raises GateRefusal with the evidence; then the incumbent stays."""
    if not verdict.passed:
        raise GateRefusal(
            f"candidate {candidate.digest} did not pass the gate: {verdict.test}, {_evidence(verdict)} "
            f"(p = {verdict.p_value:.3g}), {verdict.voters} voters"
        )
    return Approved(candidate, verdict)


def _evidence(verdict: Verdict) -> str:
    if verdict.test == "votes":
        return f"{verdict.worse} against and {verdict.better} not"
    return f"worse on {verdict.worse} and better on {verdict.better} held-out examples"


def _findings(ballots: Sequence[Tally | Vote], policy: GatePolicy) -> list[_Finding]:
    """The tests on sound ballots, which are all of the policy's kind."""
    if policy.ballot == "counts":
        tallies = [ballot for ballot in ballots if isinstance(ballot, Tally)]
        return _sign_tests(tallies, policy.f, policy, "")
    voters, worse = len(ballots), sum(ballot.worse for ballot in ballots if isinstance(ballot, Vote))
    p, refuses = votes_p_value(worse, voters, policy), worse >= votes_to_refuse(voters, policy)
    return [_Finding("votes", worse, voters - worse, p, policy.significance, refuses)]


def _sign_tests(tallies: Sequence[Tally], f: int, policy: GatePolicy, prefix: str) -> list[_Finding]:
    """The test over all classes, then, unless switched off, one for each class."""
    everything = [(sum(tally.worse), sum(tally.better)) for tally in tallies]
    findings = [_sign_test(prefix + "overall", _trimmed(everything, f), policy.significance)]
    if policy.class_significance:
        share = policy.class_significance / policy.classes
        for c in range(policy.classes):
            counts = [(tally.worse[c], tally.better[c]) for tally in tallies]
            findings.append(_sign_test(f"{prefix}class {c}", _trimmed(counts, f), share))
    return findings


def _sign_test(name: str, trimmed: tuple[int, int], significance: float) -> _Finding:
    p = p_value(*trimmed)
    return _Finding(name, *trimmed, p, significance, p < significance)


def _trimmed(counts: Sequence[tuple[int, int]], f: int) -> tuple[int, int]:
    """(worse, better) with a lead of D among M changed examples, both trimmed sums: see the top of this file.

    |D| <= M, since each |d| <= m and both are sorted. Where their parity differs, M is raised by one: a tie is given to
    the candidate.
    """
    lead = sum(sorted(worse - better for worse, better in counts)[f : len(counts) - f])
    changed = sum(sorted(worse + better for worse, better in counts)[f : len(counts) - f])
    changed += (changed - lead) % 2
    return (changed + lead) // 2, (changed - lead) // 2
