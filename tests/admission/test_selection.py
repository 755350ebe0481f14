"""Who is drawn for an attempt: every set as likely as it should be, and nothing that depends on who looks."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from phalanx import admission
from phalanx.admission import (
    All,
    Organisation,
    Poisson,
    Policy,
    Roster,
    Stratified,
    Uniform,
    coin_of,
    commitment_of,
    select,
)
from phalanx.errors import ConfigError, QuorumError
from phalanx.signing import SigningKey
from phalanx.types import MemberId, member_id

SEED = hashlib.sha256(b"a seed of these tests").digest()
OPERATOR = SigningKey.from_seed(bytes([1]) * 32).public
PUBLIC = [SigningKey.from_seed(bytes([100 + n]) * 32).public for n in range(24)]
LABELS = ("", "north", "south")
DRAWS = 4000
LEVEL = 1e-6  # a test that is wrong about a fair draw once in a million seeds; these seeds are fixed


def roster_of(n: int, *, revoked: Iterable[int] = (), labels: tuple[str, ...] = ("",)) -> Roster:
    """Members m-00, m-01, … with labels in turn."""
    out = frozenset(revoked)
    members = (
        Organisation(member_id(f"m-{i:02}"), PUBLIC[i], revoked=i in out, label=labels[i % len(labels)])
        for i in range(n)
    )
    return Roster("clinics", OPERATOR, tuple(members))


def cohorts(roster: Roster, policy: Policy, draws: int = DRAWS) -> list[tuple[MemberId, ...]]:
    """The cohorts of the first attempts of so many rounds; none is too small for anybody."""
    found = []
    for number in range(1, draws + 1):
        try:
            found.append(select(roster, policy, coin_of(SEED, number, 1), min_cohort=1))
        except QuorumError:
            found.append(())
    return found


# --------------------------------------------------------------------------------------- against the written draw


def shake(purpose: str, key: bytes) -> bytes:
    return hashlib.shake_256(f"phalanx/v1/expand/{purpose}\0".encode() + b"\0\0\0\x20" + key).digest(32)


def test_commitment_coin_and_tickets_are_those_of_the_specification() -> None:
    """`docs/reference/log.md`, "Selection", once more from its words, in standard hashes alone."""
    assert commitment_of(SEED) == hashlib.sha256(b"phalanx/v1/selection-seed\0" + SEED).hexdigest()
    coin = shake("selection-coin/7/3", SEED)
    assert coin_of(SEED, 7, 3) == coin
    roster = roster_of(9, revoked=[2], labels=LABELS)
    admitted = [one for one in roster.members if not one.revoked]
    ticket = {one.id: int.from_bytes(shake(f"selection-ticket/{one.id}", coin), "big") for one in admitted}
    order = sorted(ticket, key=ticket.__getitem__)
    assert select(roster, Uniform(4), coin, min_cohort=1) == tuple(sorted(order[:4]))
    assert select(roster, Poisson(0.6), coin, min_cohort=1) == tuple(
        name for name in sorted(ticket) if ticket[name] * 2**53 < round(0.6 * 2**53) * 2**256
    )
    of_label = {label: [name for name in order if label == LABELS[int(name[2:]) % 3]] for label in LABELS}
    assert select(roster, Stratified(2), coin, min_cohort=1) == tuple(
        sorted(itertools.chain.from_iterable(names[:2] for names in of_label.values()))
    )


def test_a_seed_has_its_cohorts_for_ever() -> None:
    """Numbers made once: a change of the draw would make finished runs unverifiable."""
    roster = roster_of(12, labels=LABELS)
    assert commitment_of(bytes(32)) == "db708c262cef961de138a192068f25a31304486f368073ba68d98fee29628911"
    for policy, expected in (
        (Uniform(5), "00 01 05 07 09"),
        (Poisson(0.5), "00 01 05 07 08 09 10"),
        (Stratified(1), "01 05 09"),
    ):
        found = select(roster, policy, coin_of(bytes(32), 3, 2), min_cohort=1)
        assert found == tuple(f"m-{number}" for number in expected.split())


# ------------------------------------------------------------------------------------------------ statistics of a draw


def chi_square(counts: Iterable[int], expected: float) -> float:
    return math.fsum((count - expected) ** 2 for count in counts) / expected


def accepts_inclusion(counts: list[int], draws: int, size: int) -> bool:
    """Whether `counts` fit uniform draws of `size` from n = len(counts) without replacement.

    With p = size/n the inclusions in one draw have variance p(1 - p) and covariance -p(1 - p)/(n - 1), so that the sum
    of squared deviations over draws·p(1 - p)·n/(n - 1) is asymptotically χ² with n - 1 degrees of freedom.
    """
    n = len(counts)
    share = size / n
    scale = draws * share * (1 - share) * n / (n - 1)
    statistic = math.fsum((count - draws * share) ** 2 for count in counts) / scale
    return bool(statistic < chi2.isf(LEVEL, n - 1))


@pytest.mark.parametrize(("n", "size"), [(5, 1), (7, 3), (12, 11)])
def test_every_member_is_drawn_as_often_as_every_other(n: int, size: int) -> None:
    count = Counter(itertools.chain.from_iterable(cohorts(roster_of(n), Uniform(size))))
    assert accepts_inclusion([count[one.id] for one in roster_of(n).members], DRAWS, size)


def test_the_test_of_inclusion_rejects_a_draw_that_favours_the_first() -> None:
    """The twin: one draw in twenty that always has the first member is found."""
    roster = roster_of(7)
    fair = cohorts(roster, Uniform(3))
    biased = [tuple(one.id for one in roster.members[:3]) if i % 20 == 0 else drawn for i, drawn in enumerate(fair)]
    count = Counter(itertools.chain.from_iterable(biased))
    assert not accepts_inclusion([count[one.id] for one in roster.members], DRAWS, 3)


def test_every_set_of_a_size_is_as_likely_as_every_other() -> None:
    """Inclusion alone would also hold for blocks of neighbours; all 20 sets of 3 of 6 would not."""
    count = Counter(cohorts(roster_of(6), Uniform(3)))
    sets = list(itertools.combinations([one.id for one in roster_of(6).members], 3))
    assert set(count) == set(sets)
    assert chi_square((count[one] for one in sets), DRAWS / len(sets)) < chi2.isf(LEVEL, len(sets) - 1)


@pytest.mark.parametrize("rate", [0.25, 0.5, 0.75])
def test_under_poisson_each_member_comes_for_itself(rate: float) -> None:
    """All 16 sets of 4 members, each with the probability of independent draws at `rate`."""
    names = [one.id for one in roster_of(4).members]
    count = Counter(cohorts(roster_of(4), Poisson(rate)))
    statistic = 0.0
    for size in range(5):
        for one in itertools.combinations(names, size):
            expected = DRAWS * rate**size * (1 - rate) ** (4 - size)
            statistic += (count[one] - expected) ** 2 / expected
    assert statistic < chi2.isf(LEVEL, 15)


def test_a_rate_that_is_off_by_a_twentieth_is_not_taken_for_the_right_one() -> None:
    found = sum(len(cohort) for cohort in cohorts(roster_of(8), Poisson(0.525)))
    drawn = 8 * DRAWS
    assert (found - drawn * 0.525) ** 2 / (drawn * 0.525 * 0.475) < chi2.isf(LEVEL, 1)
    assert (found - drawn * 0.5) ** 2 / (drawn * 0.25) > chi2.isf(LEVEL, 1)


def test_rounds_attempts_and_seeds_draw_independently() -> None:
    """What two draws of 3 of 6 have in common is hypergeometric."""
    roster, policy = roster_of(6), Uniform(3)
    other = hashlib.sha256(SEED).digest()
    first = cohorts(roster, policy, DRAWS + 1)
    for others in (
        first[1:],
        [select(roster, policy, coin_of(SEED, i, 2), min_cohort=1) for i in range(1, DRAWS + 1)],
        [select(roster, policy, coin_of(other, i, 1), min_cohort=1) for i in range(1, DRAWS + 1)],
    ):
        count = Counter(len(set(one) & set(two)) for one, two in zip(first, others, strict=False))
        hypergeometric = [math.comb(3, k) * math.comb(3, 3 - k) / math.comb(6, 3) for k in range(4)]
        statistic = sum((count[k] - DRAWS * p) ** 2 / (DRAWS * p) for k, p in enumerate(hypergeometric))
        assert statistic < chi2.isf(LEVEL, 3)


# ---------------------------------------------------------------------------------------------------------- properties

POLICIES = st.one_of(
    st.just(All()),
    st.integers(1, 25).map(Uniform),
    st.floats(0.001, 1).map(Poisson),
    st.integers(1, 9).map(Stratified),
)
ROSTERS = st.builds(
    lambda n, out, labels: roster_of(n, revoked=out, labels=labels),
    st.integers(1, 24),
    st.sets(st.integers(0, 23), max_size=12),
    st.sampled_from([("",), LABELS, ("south", "north")]),
)
COINS = st.binary(min_size=32, max_size=32)


def drawn(roster: Roster, policy: Policy, coin: bytes) -> tuple[MemberId, ...]:
    try:
        return select(roster, policy, coin, min_cohort=1)
    except QuorumError:
        return ()


@given(ROSTERS, POLICIES, COINS)
@settings(max_examples=200, deadline=None)
def test_a_cohort_is_sorted_admitted_of_the_right_size_and_always_the_same(
    roster: Roster, policy: Policy, coin: bytes
) -> None:
    found = drawn(roster, policy, coin)
    admitted = [one for one in roster.members if not one.revoked]
    assert list(found) == sorted(set(found))
    assert set(found) <= {one.id for one in admitted}
    assert found == drawn(roster, policy, coin)
    labels = Counter(one.label for one in admitted)
    match policy:
        case All():
            assert len(found) == len(admitted)
        case Uniform(size):
            assert len(found) == min(size, len(admitted))
        case Stratified(size):
            chosen = Counter(one.label for one in admitted if one.id in found)
            assert chosen == {label: min(size, number) for label, number in labels.items()}
        case Poisson(rate):
            assert rate < 1 or len(found) == len(admitted)


@given(ROSTERS, COINS, st.integers(1, 23), st.floats(0.001, 0.999))
@settings(max_examples=100, deadline=None)
def test_asking_more_keeps_whoever_was_asked_before(roster: Roster, coin: bytes, size: int, rate: float) -> None:
    assert set(drawn(roster, Uniform(size), coin)) <= set(drawn(roster, Uniform(size + 1), coin))
    assert set(drawn(roster, Stratified(size), coin)) <= set(drawn(roster, Stratified(size + 1), coin))
    assert set(drawn(roster, Poisson(rate), coin)) <= set(drawn(roster, Poisson(math.nextafter(rate, 1)), coin))


@given(ROSTERS, COINS, st.floats(0.001, 1))
@settings(max_examples=100, deadline=None)
def test_under_poisson_a_revocation_changes_nobody_else(roster: Roster, coin: bytes, rate: float) -> None:
    before = drawn(roster, Poisson(rate), coin)
    out = roster.members[0]
    after = drawn(replace(roster, members=(replace(out, revoked=True), *roster.members[1:])), Poisson(rate), coin)
    assert after == tuple(name for name in before if name != out.id)


@given(ROSTERS, COINS, st.integers(1, 9))
@settings(max_examples=100, deadline=None)
def test_one_label_for_all_is_no_label(roster: Roster, coin: bytes, size: int) -> None:
    alike = replace(roster, members=tuple(replace(one, label="north") for one in roster.members))
    assert drawn(alike, Stratified(size), coin) == drawn(alike, Uniform(size), coin)


def test_only_the_tickets_below_the_rate_are_drawn_to_the_last_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    for ticket, rate, expected in (
        (2**255 - 1, 0.5, 1), (2**255, 0.5, 0), (0, 5e-324, 1), (1, 5e-324, 0), (2**256 - 1, 1.0, 1),
        (2**256 - 1, math.nextafter(1.0, 0.0), 0), (2**256 - 2**203 - 1, math.nextafter(1.0, 0.0), 1),
    ):  # fmt: skip
        data = ticket.to_bytes(32, "big")
        monkeypatch.setattr(admission, "expand", lambda key, label, size, data=data: data)
        assert len(drawn(roster_of(1), Poisson(rate), SEED)) == expected


# ---------------------------------------------------------------------------------------------------------- refusals


def test_fewer_members_than_the_floor_are_no_cohort() -> None:
    roster = roster_of(5, revoked=[0])
    assert len(select(roster, All(), b"", min_cohort=4)) == 4
    with pytest.raises(QuorumError, match=r"all selection drew 4 of 4 admitted members, a cohort needs at least 5"):
        select(roster, All(), b"", min_cohort=5)
    with pytest.raises(QuorumError, match=r"uniform selection drew 2 of 4 admitted members, .* at least 3"):
        select(roster, Uniform(2), coin_of(SEED, 1, 1), min_cohort=3)


def test_a_poisson_draw_below_the_floor_is_no_cohort_and_the_next_attempt_has_another() -> None:
    roster, policy = roster_of(4), Poisson(0.5)
    sizes = {attempt: len(drawn(roster, policy, coin_of(SEED, 1, attempt))) for attempt in range(1, 30)}
    short = next(attempt for attempt, size in sizes.items() if size < 3)
    enough = next(attempt for attempt, size in sizes.items() if size >= 3)
    with pytest.raises(QuorumError, match=rf"drew {sizes[short]} of 4 admitted members, a cohort needs at least 3"):
        select(roster, policy, coin_of(SEED, 1, short), min_cohort=3)
    assert len(select(roster, policy, coin_of(SEED, 1, enough), min_cohort=3)) == sizes[enough]


@pytest.mark.parametrize("size", [0, -1, True, 2.0, "2", None])
def test_a_size_that_is_no_number_of_members_is_refused(size: int) -> None:
    for policy in (Uniform, Stratified):
        with pytest.raises(ConfigError, match="needs an integer size >= 1, got "):
            policy(size)


@pytest.mark.parametrize("rate", [0, -0.5, 1.0000001, math.nan, math.inf, True, "0.5", None])
def test_a_rate_that_is_no_probability_is_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match="needs a rate above 0 and at most 1, got "):
        Poisson(rate)


@pytest.mark.parametrize("secret", [b"", SEED[:31], SEED + b"\0"])
def test_a_seed_or_coin_of_another_length_is_a_programmers_error(secret: bytes) -> None:
    with pytest.raises(ValueError, match="a seed of selection has 32 bytes"):
        commitment_of(secret)
    with pytest.raises(ValueError, match="a seed of selection has 32 bytes"):
        coin_of(secret, 1, 1)
    for policy in (Uniform(1), Poisson(0.5), Stratified(1)):
        with pytest.raises(ValueError, match="a coin of selection has 32 bytes"):
            select(roster_of(3), policy, secret, min_cohort=1)


def test_a_floor_below_nobody_is_a_programmers_error() -> None:
    with pytest.raises(ValueError, match="min_cohort = -1"):
        select(roster_of(3), All(), b"", min_cohort=-1)
