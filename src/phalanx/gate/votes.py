"""The policy `votes`: each member judges a candidate on its own data, and only its verdict leaves it.

The idea is BaFFLe's (Andreina et al., ICDCS 2021): members validate the model on their own data and vote. Here the vote
is an exact sign test, so that the chance of a false one is known, and the number of votes that refuse follows from it.

Letters: n voters, at most f of them liars; α = `vote_significance`, the chance that an honest member votes against a
candidate that is no worse on its data. Honest members vote independently of each other, given the candidate.
"""

from __future__ import annotations

from fractions import Fraction

from phalanx.gate.ballots import tally_defect
from phalanx.gate.policy import GatePolicy
from phalanx.gate.sign_test import p_value
from phalanx.types import Tally, Vote


def vote_of(tally: Tally, policy: GatePolicy, untried: bool) -> Vote:
    """The member's vote on its own `tally`, and the bucket of the candidate's accuracy there. Run by the member.

    It votes against a candidate that its test over all classes, or the test of one class, finds worse; together they
    are wrong with at most α. There are no tests by class where the incumbent is `untried` (version 0) or the policy has
    switched them off. Raises ValueError for a tally that cannot be true: it is the member's own.
    """
    if why := tally_defect(tally, policy):
        raise ValueError(f"a member's own tally: {why}")
    pairs = [(sum(tally.worse), sum(tally.better))]
    levels = [policy.vote_significance]
    if policy.class_significance and not untried:
        pairs += zip(tally.worse, tally.better, strict=True)
        half = policy.vote_significance / 2
        levels = [half] + [half / policy.classes] * policy.classes
    worse = any(p_value(*pair) < level for pair, level in zip(pairs, levels, strict=True))
    examples = sum(tally.total)
    accuracy = policy.accuracy_buckets * sum(tally.right) // examples if examples else -1
    return Vote(worse=worse, accuracy=accuracy, finite=tally.finite)


def votes_to_refuse(voters: int, policy: GatePolicy) -> int:
    """f + k + 1: a candidate with so many votes against it is refused. f of them may be lies, k mere chance.

    k is the smallest integer with P[Bin(voters - f, α) > k] <= significance. All in integers: the same on every
    machine. Raises ValueError for fewer voters than f.
    """
    significance = Fraction(str(policy.significance))
    k = 0
    while _tail(voters - policy.f, k + 1, policy) > significance:
        k += 1
    return policy.f + k + 1


def fewest_voters(policy: GatePolicy) -> int:
    """The fewest sound ballots that decide. Below it the liars would.

    Counts: 2f + 1. Votes: enough for the honest voters alone to refuse, n - f >= f + k + 1, whatever the liars say.
    """
    fewest = 2 * policy.f + 1
    if policy.ballot == "votes":
        while votes_to_refuse(fewest, policy) > fewest - policy.f:
            fewest += 1
    return fewest


def votes_p_value(against: int, voters: int, policy: GatePolicy) -> float:
    """P[Bin(voters - f, α) >= against - f]: how likely so many votes of honest members are by chance alone."""
    tail = _tail(voters - policy.f, against - policy.f, policy)
    return tail.numerator / tail.denominator


def _tail(n: int, k: int, policy: GatePolicy) -> Fraction:
    """P[Bin(n, α) >= k] exactly, α being what its decimal digits say."""
    if n < 0:
        raise ValueError(f"expected at least f = {policy.f} voters, found {n + policy.f}")
    chance = Fraction(str(policy.vote_significance))
    hit, miss = chance.numerator, chance.denominator - chance.numerator
    term, below = miss**n, 0
    for j in range(min(k, n + 1)):  # term is C(n, j) hit**j miss**(n - j)
        below += term
        term = term * (n - j) * hit // ((j + 1) * miss)
    return 1 - Fraction(below, chance.denominator**n)
