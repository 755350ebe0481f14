"""Splits of one data set over members: nobody loses an example, nobody has one twice, and each split is as it says."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from phalanx.errors import ConfigError
from phalanx.learning.data import Labels
from phalanx.learning.splits import Parts, by_label, dirichlet, gamma_similarity, iid, natural
from phalanx.types import MemberId, member_id


def members(n: int) -> list[MemberId]:
    return [member_id(f"member-{i}") for i in range(n)]


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def balanced(classes: int, each: int) -> Labels:
    return np.repeat(np.arange(classes), each)


Drawn = Callable[[Labels, int, np.random.Generator], Parts]
DRAWN: dict[str, Drawn] = {
    "iid": lambda y, n, rng: iid(examples=len(y), members=members(n), rng=rng),
    "dirichlet": lambda y, n, rng: dirichlet(labels=y, members=members(n), alpha=0.5, rng=rng, min_examples=0),
    "gamma-similarity": lambda y, n, rng: gamma_similarity(labels=y, members=members(n), gamma=0.4, rng=rng),
    "by-label": lambda y, n, rng: by_label(labels=y, members=members(n), classes_per_member=1, rng=rng),
}


def unevenness(parts: Parts, labels: Labels) -> float:
    """Mean over the members of the total variation distance between a member's classes and the whole's: 0 … 1.

    Half the sum of differences between two distributions over classes; members without an example are left out.
    """
    classes = int(labels.max()) + 1
    whole = np.bincount(labels, minlength=classes) / len(labels)
    mine = [np.bincount(labels[rows], minlength=classes) / len(rows) for rows in parts.values() if len(rows)]
    return float(np.mean([np.abs(own - whole).sum() / 2 for own in mine]))


def as_lists(parts: Parts) -> dict[MemberId, list[int]]:
    return {member: rows.tolist() for member, rows in parts.items()}


# --------------------------------------------------------------------------------------------------- every split drawn


@pytest.mark.parametrize("kind", DRAWN)
@given(
    y=arrays(np.int64, st.integers(8, 60), elements=st.integers(-2, 4)), n=st.integers(1, 8), seed=st.integers(0, 99)
)
def test_every_example_is_with_exactly_one_member(kind: str, y: Labels, n: int, seed: int) -> None:
    parts = DRAWN[kind](y, n, generator(seed))
    assert list(parts) == members(n)
    assert all(rows.dtype == np.int64 for rows in parts.values())
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(y)))


@pytest.mark.parametrize("kind", DRAWN)
def test_a_split_is_deterministic_from_its_generator(kind: str) -> None:
    y = balanced(5, 40)
    first, again, other = (as_lists(DRAWN[kind](y, 6, generator(seed))) for seed in (1, 1, 2))
    assert first == again and first != other


@pytest.mark.parametrize("kind", ["iid", "gamma-similarity", "by-label"])
@given(examples=st.integers(8, 200), n=st.integers(1, 8))
def test_amounts_are_even_where_the_split_says_so(kind: str, examples: int, n: int) -> None:
    sizes = [len(rows) for rows in DRAWN[kind](np.arange(examples) % 3, n, generator()).values()]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("kind", DRAWN)
def test_the_first_of_a_members_examples_are_a_fair_sample_of_them(kind: str) -> None:
    """Whoever holds out the first ones would otherwise hold out other classes than are trained on."""
    y = balanced(2, 5000)
    rows = DRAWN[kind](y, 1, generator())[member_id("member-0")]
    assert abs(y[rows[:2000]].mean() - 0.5) < 0.06, "five standard deviations of 2000 fair coins"


@pytest.mark.parametrize("kind", DRAWN)
def test_more_members_than_examples_are_refused(kind: str) -> None:
    with pytest.raises(ConfigError, match="3 examples cannot be split over 4 members: each needs one") as refused:
        DRAWN[kind](balanced(3, 1), 4, generator())
    assert refused.value.hint == "take fewer members or more data"


@pytest.mark.parametrize("who", [[], members(2) + members(1)])
def test_no_members_or_one_twice_is_a_programmers_error(who: list[MemberId]) -> None:
    with pytest.raises(ValueError, match="a split needs members, each once"):
        iid(examples=9, members=who, rng=generator())


@pytest.mark.parametrize("y", [np.zeros(9), np.zeros((3, 3), dtype=np.int64)])
@pytest.mark.parametrize("kind", ["dirichlet", "gamma-similarity", "by-label"])
def test_labels_that_are_no_row_of_integers_are_a_programmers_error(kind: str, y: Labels) -> None:
    with pytest.raises(ValueError, match=r"labels must be integers of shape \(n,\), got"):
        DRAWN[kind](y, 2, generator())


# ----------------------------------------------------------------------------------------------------------- dirichlet


def shares(alpha: float) -> list[float]:
    """The first of four members' share of a single class, in 2000 splits."""
    y, rng = np.zeros(400, dtype=np.int64), generator(7)
    drawn = (dirichlet(labels=y, members=members(4), alpha=alpha, rng=rng, min_examples=0) for _ in range(2000))
    return [len(parts[member_id("member-0")]) / 400 for parts in drawn]


def test_shares_vary_as_dirichlet_says_and_not_as_at_twice_the_alpha() -> None:
    """A share over k members has variance (1/k)(1 - 1/k)/(k alpha + 1); 2000 draws know it to a few percent."""
    expected = 0.25 * 0.75 / (4 * 1.0 + 1)
    assert np.mean(shares(1.0)) == pytest.approx(0.25, abs=0.02)
    assert np.var(shares(1.0)) == pytest.approx(expected, rel=0.12)
    assert np.var(shares(2.0)) != pytest.approx(expected, rel=0.12)


@pytest.mark.parametrize("seed", range(5))
def test_a_large_alpha_is_nearly_even_and_a_small_one_is_not(seed: int) -> None:
    y = balanced(10, 500)
    large, middle, small = (
        unevenness(dirichlet(labels=y, members=members(10), alpha=alpha, rng=generator(seed)), y)
        for alpha in (1e6, 1.0, 0.05)
    )
    assert large < 0.02 < 0.2 < middle < 0.6 < small


def test_every_member_has_its_minimum_and_off_twin_without_one_somebody_is_left_with_less() -> None:
    y, who = balanced(3, 60), members(6)
    for seed in range(20):
        parts = dirichlet(labels=y, members=who, alpha=0.3, rng=generator(seed), min_examples=10)
        assert min(map(len, parts.values())) >= 10
    without = (dirichlet(labels=y, members=who, alpha=0.3, rng=generator(seed), min_examples=0) for seed in range(20))
    assert any(min(map(len, parts.values())) == 0 for parts in without)


def test_a_minimum_that_no_draw_meets_is_refused_after_a_bounded_number_of_draws() -> None:
    with pytest.raises(ConfigError, match=r"no Dirichlet\(0.01\) split in 100 draws gives each of 10 members 9") as no:
        dirichlet(labels=balanced(2, 50), members=members(10), alpha=0.01, rng=generator(), min_examples=9)
    assert no.value.hint == "take a larger alpha, fewer members or a smaller min_examples"


@pytest.mark.parametrize("minimum", [-1, 11])
def test_a_minimum_that_cannot_be_met_is_refused_before_a_draw(minimum: int) -> None:
    with pytest.raises(ConfigError, match=f"100 examples cannot give each of 10 members at least {minimum}") as refused:
        dirichlet(labels=balanced(2, 50), members=members(10), alpha=1.0, rng=generator(), min_examples=minimum)
    assert "min_examples from 0 to 10" in refused.value.hint


@pytest.mark.parametrize("alpha", [0.0, -1.0, np.nan, np.inf, 1e308])
def test_an_alpha_that_is_none_is_refused(alpha: float) -> None:
    with pytest.raises(ConfigError, match="a Dirichlet split needs 0 < alpha <= 1e"):
        dirichlet(labels=balanced(2, 50), members=members(2), alpha=alpha, rng=generator())


def test_off_twin_the_sampler_itself_would_give_nobody_a_share_at_a_huge_alpha() -> None:
    assert generator().dirichlet([1e308] * 4).sum() == 0


# ---------------------------------------------------------------------------------------------------- gamma similarity


def test_gamma_zero_is_sorted_by_label() -> None:
    y = generator(3).permutation(balanced(10, 30))
    parts = gamma_similarity(labels=y, members=members(10), gamma=0.0, rng=generator())
    assert [set(y[rows].tolist()) for rows in parts.values()] == [{c} for c in range(10)]


@given(y=arrays(np.int64, st.integers(8, 60), elements=st.integers(0, 4)), n=st.integers(1, 8))
def test_gamma_zero_puts_no_label_before_a_smaller_one(y: Labels, n: int) -> None:
    parts = list(gamma_similarity(labels=y, members=members(n), gamma=0.0, rng=generator()).values())
    assert all(y[one].max() <= y[after].min() for one, after in pairwise(parts))


@pytest.mark.parametrize("seed", range(5))
def test_gamma_one_is_as_even_as_an_iid_split_and_less_is_less(seed: int) -> None:
    y, who = balanced(10, 500), members(10)
    at = [
        unevenness(gamma_similarity(labels=y, members=who, gamma=gamma, rng=generator(seed)), y)
        for gamma in (0.0, 0.5, 1.0)
    ]
    assert at[0] == pytest.approx(0.9) and at[1] == pytest.approx(0.45, abs=0.03)
    # 500 of 10 equal classes: each share is off by 0.0107 on average, so the distance of both is about 0.053.
    assert at[2] == pytest.approx(unevenness(iid(examples=len(y), members=who, rng=generator(seed)), y), abs=0.03)


@given(gamma=st.floats(0, 1), n=st.integers(1, 8))
def test_a_share_gamma_of_each_member_is_not_sorted(gamma: float, n: int) -> None:
    """With a label of its own for each example, the sorted block of a member is a run of what was not dealt."""
    y = np.arange(80)
    parts = gamma_similarity(labels=y, members=members(n), gamma=gamma, rng=generator())
    again = generator().permutation(80)
    sizes = [len(rows) for rows in parts.values()]
    even = [round(gamma * size) for size in sizes]
    at_random, rest = again[: sum(even)], sorted(again[sum(even) :].tolist())
    for size, share, rows in zip(sizes, even, parts.values(), strict=True):
        assert sorted(rows.tolist()) == sorted([*at_random[:share].tolist(), *rest[: size - share]])
        at_random, rest = at_random[share:], rest[size - share :]


@pytest.mark.parametrize("gamma", [-0.1, 1.1, np.nan])
def test_a_gamma_that_is_no_share_is_refused(gamma: float) -> None:
    with pytest.raises(ConfigError, match="gamma is a share from 0 to 1, got"):
        gamma_similarity(labels=balanced(2, 50), members=members(2), gamma=gamma, rng=generator())


# ------------------------------------------------------------------------------------------------------------ by label


def test_the_split_of_mcmahan_gives_600_examples_of_at_most_two_digits() -> None:
    """100 members with two shards of 300, AISTATS 2017, section 3; here with 6000 examples of each digit."""
    y = generator(1).permutation(balanced(10, 6000))
    parts = by_label(labels=y, members=members(100), classes_per_member=2, rng=generator())
    assert {len(rows) for rows in parts.values()} == {600}
    found = [len(set(y[rows].tolist())) for rows in parts.values()]
    assert set(found) == {1, 2} and found.count(2) > 80


def test_fewer_classes_at_a_member_are_less_even() -> None:
    y = balanced(10, 500)
    at = [
        unevenness(by_label(labels=y, members=members(10), classes_per_member=k, rng=generator()), y) for k in (1, 3, 9)
    ]
    assert at[0] == pytest.approx(0.9) and at[0] > at[1] > at[2]


@pytest.mark.parametrize("classes", [0, 6])
def test_more_classes_than_there_are_or_none_are_refused(classes: int) -> None:
    with pytest.raises(ConfigError, match=f"from 1 to the 5 classes in the labels, got {classes}"):
        by_label(labels=balanced(5, 9), members=members(2), classes_per_member=classes, rng=generator())


def test_more_shards_than_examples_are_refused() -> None:
    with pytest.raises(ConfigError, match="4 members with 3 shards each need 12 examples, got 9"):
        by_label(labels=balanced(3, 3), members=members(4), classes_per_member=3, rng=generator())


# ------------------------------------------------------------------------------------------------------------- natural


@given(column=st.lists(st.sampled_from(["Zürich", "basel-1", "St. Gallen", "X"]), min_size=1, max_size=40))
def test_a_column_of_names_splits_by_name_and_sorts_by_member(column: list[str]) -> None:
    ids = {"Zürich": "z-rich", "basel-1": "basel-1", "St. Gallen": "st--gallen", "X": "x"}
    parts, dropped = natural(column=column)
    assert not dropped and list(parts) == sorted(parts)
    assert as_lists(parts) == {
        ids[name]: [row for row, other in enumerate(column) if other == name] for name in set(column)
    }


@given(
    column=st.lists(st.integers(0, 6), min_size=1, max_size=60).filter(lambda c: max(map(c.count, c)) >= 4),
)
def test_small_sites_are_left_out_and_said(column: list[int]) -> None:
    kept, dropped = natural(column=column, min_examples=4)
    assert all(len(rows) >= 4 for rows in kept.values()) and all(0 < len(rows) < 4 for rows in dropped.values())
    assert sorted(np.concatenate([*kept.values(), *dropped.values()]).tolist()) == list(range(len(column)))
    assert not set(kept) & set(dropped)


@pytest.mark.parametrize("column", [[3, 1, 3], np.array([3, 1, 3], dtype=np.uint8), np.array(["3", "1", "3"])])
def test_integers_and_arrays_name_sites_as_strings_do(column: list[int]) -> None:
    assert as_lists(natural(column=column)[0]) == {"1": [1], "3": [0, 2]}


@pytest.mark.parametrize(
    ("column", "both"),
    [
        (["Site A", "b", "site a"], "'Site A' and 'site a' would both be the member site-a"),
        (["Genève", "Genäve"], "'Genève' and 'Genäve' would both be the member gen-ve"),
        ([1, "1"], "1 and '1' would both be the member 1"),
    ],
)
def test_two_sites_are_never_taken_for_one(column: list[object], both: str) -> None:
    with pytest.raises(ConfigError, match=both) as refused:
        natural(column=column)
    assert "write the site of every example in one way" in refused.value.hint


@pytest.mark.parametrize("value", [None, float("nan"), 1.0, True, b"a", ["a"]])
def test_a_value_that_names_no_site_is_refused_with_its_row(value: object) -> None:
    with pytest.raises(ConfigError, match=r"a site is a string or an integer, got .* in row 1"):
        natural(column=["a", value])


@pytest.mark.parametrize(("value", "length"), [("", 0), ("x" * 64, 64)])
def test_a_name_that_gives_no_member_id_is_refused(value: str, length: int) -> None:
    with pytest.raises(ConfigError, match=f"a site's name has 1 to 63 characters, .* in row 0 gives {length}"):
        natural(column=[value])


def test_a_name_of_a_million_characters_makes_no_long_message() -> None:
    with pytest.raises(ConfigError) as refused:
        natural(column=["x" * 1_000_000])
    assert len(refused.value.message) < 200


def test_a_column_in_which_nobody_has_enough_is_refused() -> None:
    with pytest.raises(ConfigError, match="no site has 3 examples, the largest of 2 has 2"):
        natural(column=["a", "b", "a"], min_examples=3)
    with pytest.raises(ConfigError, match="no site has 1 examples, the largest of 0 has 0"):
        natural(column=[])
