"""Up to f lying voters of n >= 3f + 1, under both policies, and damage that only some members can see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phalanx.attacks.ballots import Claim, false_tally, false_vote
from phalanx.gate import GatePolicy, judge, vote_of, votes_to_refuse
from phalanx.types import MemberId, Tally, Vote, member_id

CLASSES = 2
FEDERATIONS = [(f, n) for f in (1, 2, 3) for n in (3 * f + 1, 3 * f + 2, 5 * f + 4)]
federations = pytest.mark.parametrize(("f", "n"), FEDERATIONS)


def policy(ballot: str, f: int) -> GatePolicy:
    counts = GatePolicy(classes=CLASSES, f=f)
    return replace(counts, ballot="votes") if ballot == "votes" else counts


def seen(worse: int, better: int, total: int = 100) -> Tally:
    """Half of the examples of each class, and all the change in class 0."""
    return Tally((worse, 0), (better, 0), (better, 0), (total, total), True)


GOOD, BROKEN, UNTOUCHED = seen(10, 12), seen(40, 10), seen(0, 0)


def counted(honest: list[Tally], lies: list[Tally]) -> dict[MemberId, Tally]:
    return {member_id(f"m{i:03}"): one for i, one in enumerate([*honest, *lies])}


def voted(honest: list[Tally], lies: list[Vote], rules: GatePolicy) -> Mapping[MemberId, Tally | Vote]:
    ballots = [*(vote_of(one, rules, untried=False) for one in honest), *lies]
    return {member_id(f"m{i:03}"): one for i, one in enumerate(ballots)}


def lies_of(f: int, claim: Claim) -> list[Tally]:
    """As many examples as a ballot may speak for."""
    return [false_tally(claim, (50_000, 50_000))] * f


def votes_of(f: int, claim: Claim) -> list[Vote]:
    return [false_vote(claim, 20)] * f


# ----------------------------------------------------------------------------------------------------------- counts


@federations
@pytest.mark.parametrize("claim", Claim)
def test_f_liars_of_3f_plus_1_change_no_decision_on_counts(f: int, n: int, claim: Claim) -> None:
    rules = policy("counts", f)
    assert judge(counted([GOOD] * (n - f), lies_of(f, claim)), None, rules).passed
    assert not judge(counted([BROKEN] * (n - f), lies_of(f, claim)), None, rules).passed


_lie = st.tuples(*(st.integers(0, 400) for _ in range(4))).map(
    lambda c: Tally((c[0], c[1]), (c[2], c[3]), (c[2], c[3]), (c[0] + c[2], c[1] + c[3]), True)
)


@settings(max_examples=150)
@given(federation=st.sampled_from(FEDERATIONS), data=st.data())
def test_no_counts_that_f_liars_send_change_the_decision(federation: tuple[int, int], data: st.DataObject) -> None:
    f, n = federation
    lies = data.draw(st.lists(_lie, min_size=f, max_size=f))
    rules = policy("counts", f)
    assert judge(counted([GOOD] * (n - f), lies), None, rules).passed
    assert not judge(counted([BROKEN] * (n - f), lies), None, rules).passed


@federations
def test_off_twin_with_f_0_the_same_liars_pass_a_broken_model_or_refuse_a_good_one(f: int, n: int) -> None:
    believing = policy("counts", 0)
    assert judge(counted([BROKEN] * (n - f), lies_of(f, Claim.BETTER)), None, believing).passed
    assert not judge(counted([GOOD] * (n - f), lies_of(f, Claim.WORSE)), None, believing).passed


def test_what_trimming_costs_liars_get_a_candidate_that_is_no_worse_refused_more_often_than_stated() -> None:
    """31 voters, 20 examples each change by fair coins. Honest members alone: 0.001. Votes keep to it, liars or not."""
    rng = np.random.default_rng(7)
    rules = policy("counts", 10)
    honest_alone = lied = voted_out = 0
    for _ in range(400):
        honest = [seen(int(worse), 20 - int(worse)) for worse in rng.binomial(20, 0.5, size=31)]
        honest_alone += not judge(counted(honest, []), None, rules).passed
        lied += not judge(counted(honest[:21], lies_of(10, Claim.WORSE)), None, rules).passed
        cast = voted(honest[:21], votes_of(10, Claim.WORSE), policy("votes", 10))
        voted_out += not judge(cast, None, policy("votes", 10)).passed
    assert honest_alone <= 4 and voted_out <= 4  # more than 4 of Poisson(0.4) has a probability of 6e-5
    assert lied >= 20


def test_what_trimming_costs_33_liars_of_100_stop_a_run_on_counts_and_not_on_votes() -> None:
    rng = np.random.default_rng(8)
    counts, votes = policy("counts", 33), policy("votes", 33)
    refused, voted_out = 0, 0
    for _ in range(30):
        honest = [seen(int(worse), 20 - int(worse)) for worse in rng.binomial(20, 0.5, size=67)]
        refused += not judge(counted(honest, lies_of(33, Claim.WORSE)), None, counts).passed
        voted_out += not judge(voted(honest, votes_of(33, Claim.WORSE), votes), None, votes).passed
    assert refused >= 25 and voted_out == 0


# ------------------------------------------------------------------------------------------------------------ votes


@federations
def test_f_liars_voting_worse_do_not_refuse_a_good_model_even_where_k_members_err(f: int, n: int) -> None:
    rules = policy("votes", f)
    k = votes_to_refuse(n, rules) - f - 1
    honest = [BROKEN] * k + [GOOD] * (n - f - k)  # k members whom chance alone makes see a worse model
    verdict = judge(voted(honest, votes_of(f, Claim.WORSE), rules), None, rules)
    assert verdict.passed and verdict.worse == f + k


@federations
def test_off_twin_with_f_0_the_same_liars_refuse_a_good_model_by_their_votes(f: int, n: int) -> None:
    k = votes_to_refuse(n, policy("votes", f)) - f - 1
    believing = policy("votes", 0)
    honest = [BROKEN] * k + [GOOD] * (n - f - k)
    assert judge(voted(honest, [], believing), None, believing).passed
    assert not judge(voted(honest, votes_of(f, Claim.WORSE), believing), None, believing).passed


@federations
def test_f_liars_voting_fine_do_not_pass_a_model_that_f_plus_k_plus_1_honest_members_see_worse(f: int, n: int) -> None:
    rules = policy("votes", f)
    needed = votes_to_refuse(n, rules)
    assert needed <= n - f
    for see, passes in ((needed, False), (needed - 1, True)):
        honest = [BROKEN] * see + [GOOD] * (n - f - see)
        assert judge(voted(honest, votes_of(f, Claim.BETTER), rules), None, rules).passed is passes


@pytest.mark.parametrize("f", [1, 2, 3])
def test_off_twin_one_liar_more_than_tolerated_refuses_a_good_model_or_hides_what_all_see(f: int) -> None:
    """At the edge: k honest members err, and of the honest members just enough see the damage."""
    n, rules = 3 * f + 1, policy("votes", f)
    needed = votes_to_refuse(n, rules)
    k, lying = needed - f - 1, f + 1
    erring = [BROKEN] * k + [GOOD] * (n - lying - k)
    assert not judge(voted(erring, votes_of(lying, Claim.WORSE), rules), None, rules).passed
    turned = [BROKEN] * (needed - 1) + [GOOD] * (n - lying - (needed - 1))
    assert judge(voted(turned, votes_of(lying, Claim.BETTER), rules), None, rules).passed


def test_a_false_vote_does_not_depend_on_held_out_data_and_a_false_tally_of_few_examples_is_no_vote() -> None:
    rules = policy("votes", 1)
    assert not vote_of(false_tally(Claim.WORSE, (4, 3)), rules, untried=False).worse
    assert vote_of(false_tally(Claim.WORSE, (4, 4)), rules, untried=False) == false_vote(Claim.WORSE, 20)
    assert vote_of(false_tally(Claim.BETTER, (4, 4)), rules, untried=False) == false_vote(Claim.BETTER, 20)


# ------------------------------------------------------- a semantic backdoor: a subgroup that only some members hold

SUBGROUP_LOST = seen(40, 0)  # 40 of the member's 100 examples of class 0, and everything else as before


@pytest.mark.parametrize(("f", "n"), [(1, 4), (2, 7), (3, 10), (3, 31)])
def test_counts_refuse_a_backdoor_seen_by_f_plus_1_members_and_pass_one_seen_by_f(f: int, n: int) -> None:
    """Where nothing else changes. With f = 0 one member who sees it is enough, and is believed."""
    for see, passes in ((f, True), (f + 1, False)):
        ballots = counted([SUBGROUP_LOST] * see + [UNTOUCHED] * (n - see), [])
        assert judge(ballots, None, policy("counts", f)).passed is passes
    alone = counted([SUBGROUP_LOST] + [UNTOUCHED] * (n - 1), [])
    assert not judge(alone, None, policy("counts", 0)).passed


@pytest.mark.parametrize(
    ("f", "n", "lost", "needed"),
    [(1, 4, 40, 2), (2, 7, 40, 3), (3, 10, 40, 4), (3, 10, 20, 5), (3, 10, 10, 6), (3, 31, 10, 6), (10, 31, 20, 13)],
)
def test_where_liars_cover_it_counts_need_so_many_honest_members_that_see_the_backdoor(
    f: int, n: int, lost: int, needed: int
) -> None:
    """The best cover: the lowest lead takes the f who saw most out of one list, the most changes fill the other."""
    rules, cover = policy("counts", f), lies_of(f, Claim.BETTER)
    for see, passes in ((needed - 1, True), (needed, False)):
        honest = [seen(lost, 0)] * see + [UNTOUCHED] * (n - f - see)
        verdict = judge(counted(honest, cover), None, rules)
        assert verdict.passed is passes
        if passes:
            assert verdict.worse - verdict.better == lost * max(see - f, 0)


@pytest.mark.parametrize(("f", "n", "needed"), [(1, 4, 3), (2, 7, 4), (3, 10, 6), (3, 31, 7), (0, 10, 3)])
def test_votes_refuse_a_backdoor_seen_by_f_plus_k_plus_1_members_and_pass_one_seen_by_fewer(
    f: int, n: int, needed: int
) -> None:
    rules = policy("votes", f)
    for see, passes in ((needed - 1, True), (needed, False)):
        honest = [SUBGROUP_LOST] * see + [UNTOUCHED] * (n - see)
        assert judge(voted(honest, [], rules), None, rules).passed is passes


def test_no_number_of_members_sees_by_votes_what_each_holds_too_little_of() -> None:
    """Each of 31 members loses 7 of 7 examples: pooled that is beyond doubt, and no single test is sure enough."""
    few = Tally((7, 0), (0, 0), (0, 0), (7, 0), True)
    rules = policy("votes", 3)
    assert judge(voted([few] * 31, [], rules), None, rules).passed
    assert not judge(counted([few] * 31, []), None, policy("counts", 3)).passed
