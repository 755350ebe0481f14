"""Statistics of one round: those of the pooled data, hardly moved by a liar, with the noise that was charged for."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2, norm

from phalanx.aggregation import aggregate
from phalanx.canonical import decode, encode
from phalanx.errors import ConfigError
from phalanx.gate import GatePolicy, judge
from phalanx.learning.preprocessing import (
    Statistics,
    as_json,
    from_json,
    standardise,
    statistics_of,
    vocabulary,
)
from phalanx.learning.schema import Column, Schema, check
from phalanx.learning.statistics import (
    Request,
    StatisticsTrainer,
    enough_examples,
    odd_members,
    request_of,
    slots_of,
)
from phalanx.rules import Mean, Rule, TrimmedMean
from phalanx.types import F32, F64, ExamplePrivacy, MemberId, Trained, TrainTask, member_id

TASK = TrainTask(1, None)
REQUEST = Request(("age", "weight"), (0.0, 20.0), (100.0, 200.0), ("no", "yes"), ("ward=a", "ward=b"), 64, True)
SIZES = (20, 37, 150, 400, 800, 1100)
TEXTS = ("pain", "cough", "fever", "ward=a", "ward=b")
Site = tuple[F64, Any, list[list[str]]]


def site(n: int, seed: int, scale: float = 1.0) -> Site:
    """A member's numbers (some missing), labels and words; members differ."""
    rng = np.random.default_rng(seed)
    age, weight = rng.normal(40 + 3 * seed, 8, n), rng.normal(80, 9, n) * scale
    age[rng.random(n) < 0.1 * (seed % 2)] = np.nan
    words = [[word for word in TEXTS if rng.random() < 0.3] for _ in range(n)]
    return np.stack([age, weight], axis=1), rng.integers(0, 2, n), words


SITES = [site(n, seed) for seed, n in enumerate(SIZES)]


def train(data: Site, request: Request = REQUEST, task: TrainTask = TASK) -> Trained:
    return StatisticsTrainer(request, *data).train(np.zeros(request.layout.d, np.float32), task, None)


def surveyed(rows: list[F32], rule: Rule, weights: F64 | None = None, **asked: Any) -> Statistics:
    """What a round makes of the rows, by the aggregation room's own function."""
    n = len(rows)
    largest = 1 / (n - 2 * rule.f) if isinstance(rule, TrimmedMean) else 1 / n if weights is None else weights.max()
    vector, _ = aggregate(np.stack(rows), rule, weights)
    return statistics_of(vector, REQUEST, members=n, largest_weight=largest, **asked)


ROWS = [train(data).delta for data in SITES]
CLAIMED = np.array(SIZES) / sum(SIZES)


def test_the_weighted_mean_gives_the_statistics_of_the_pooled_data() -> None:
    assert [train(data).examples for data in SITES] == list(SIZES)
    found = surveyed(ROWS, Mean(), CLAIMED, min_members=1)
    x, y = np.concatenate([data[0] for data in SITES]), np.concatenate([data[1] for data in SITES])
    clipped = np.clip(x, REQUEST.low, REQUEST.high)
    rounding = 1e-5 * (np.array(REQUEST.high) - np.array(REQUEST.low))  # float32 shares of the range, and their squares
    assert (np.abs(np.nanmean(clipped, axis=0) - found.mean) < rounding).all()
    assert (np.abs(np.nanstd(clipped, axis=0) - found.std) < 10 * rounding).all()  # a root multiplies the rounding
    assert np.allclose(found.present, np.isfinite(x).mean(axis=0), atol=1e-6)
    assert np.allclose(found.label_shares, np.bincount(y) / len(y), atol=1e-6)
    assert found.labels == (0, 1)
    documents = Counter(word for data in SITES for words in data[2] for word in set(words))
    columns = vocabulary(TEXTS, found)
    assert [found.slots[columns[word]] for word in ("ward=a", "ward=b")] == [0, 1]
    for word, column in columns.items():
        assert found.slot_shares[column] == pytest.approx(documents[word] / len(y), abs=1e-6)


def test_equal_weights_are_off_by_the_covariance_of_size_and_mean() -> None:
    means = np.array([data[0][:, 1].mean() for data in SITES])
    pooled = np.concatenate([data[0][:, 1] for data in SITES]).mean()
    covariance = np.mean((np.array(SIZES) - np.mean(SIZES)) * (means - means.mean()))
    found = surveyed(ROWS, Mean()).mean[1]
    assert found - pooled == pytest.approx(-covariance / np.mean(SIZES), abs=1e-4)
    assert abs(found - pooled) > 1e-3


def test_values_outside_the_bounds_are_clipped_into_them() -> None:
    numbers = np.array([[-5.0, np.inf], [300.0, -np.inf]])
    row = train((numbers, np.array([0, 1]), [[], []])).delta
    found = surveyed([row, row], Mean())
    assert (found.mean, found.std) == ((50.0, 110.0), (50.0, 90.0))


def test_a_second_round_replaces_the_first_answer() -> None:
    trainer = StatisticsTrainer(REQUEST, *SITES[2])
    before = ROWS[5]
    assert np.allclose(before + trainer.train(before, TASK, None).delta, ROWS[2], atol=1e-6)  # float32 rounding


def test_no_exact_size_leaves_unless_it_is_asked_for() -> None:
    quiet = replace(REQUEST, exact_sizes=False)
    parts = [train(site(n, 0), quiet) for n in (64, 127, 128)]
    assert [part.examples for part in parts] == [64, 64, 128]
    at = next(tensor.offset for tensor in quiet.layout.tensors if tensor.name == "count")
    assert [float(part.delta[at]) for part in parts] == [6 / 64, 6 / 64, 7 / 64]
    assert surveyed(ROWS, TrimmedMean(2)).typical_examples == 256  # of 16, 32, 128, 256, 512, 1024: the middle two


# ------------------------------------------------------------------------------------------------------------- a liar


def lying(value: float) -> list[F32]:
    return [*ROWS[:-1], np.full_like(ROWS[-1], value)]


def test_one_liar_does_not_move_the_statistics_under_the_trimmed_mean() -> None:
    honest, lied = (surveyed(rows, TrimmedMean(1)) for rows in (ROWS, lying(1e6)))
    between = np.ptp([np.nanmean(data[0], axis=0) for data in SITES[:-1]], axis=0)
    assert (np.abs(np.subtract(honest.mean, lied.mean)) < between / 4).all()
    assert np.allclose(honest.std, lied.std, rtol=0.15)


def test_under_the_mean_the_same_liar_does() -> None:
    honest, lied = (surveyed(rows, Mean()) for rows in (ROWS, lying(1e6)))
    assert (np.abs(np.subtract(honest.mean, lied.mean)) > 30).all()


def test_the_members_vote_against_statistics_that_no_data_have() -> None:
    zeros = np.zeros(REQUEST.layout.d, np.float32)
    for rows, passes in ((ROWS, True), (lying(1e6), False), (lying(np.nan), False)):
        candidate: F32 = np.stack(rows).mean(axis=0)
        ballots = {
            member_id(f"m{i}"): StatisticsTrainer(REQUEST, *data).evaluate(candidate, zeros, None)
            for i, data in enumerate(SITES)
        }
        assert judge(ballots, None, GatePolicy(classes=1, f=1)).passed is passes


# ----------------------------------------------------------------------------------------------------------- the schema


def test_a_unit_mistake_is_refused_by_the_schema() -> None:
    schema = Schema((Column("age", "years", 0.0, 100.0, missing_allowed=True), Column("weight", "kg", 20.0, 200.0)))
    for data in SITES:
        check(schema, data[0], None, member_id("a"))
    with pytest.raises(ConfigError, match=r"weight \[kg\]: 100 % outside 20 to 200 kg; multiplying by 0.001 would fit"):
        check(schema, site(400, 3, scale=1000)[0], None, member_id("a"))


def test_without_the_schema_the_same_mistake_silently_spoils_the_statistics() -> None:
    rows = [*ROWS[:3], train(site(400, 3, scale=1000)).delta, *ROWS[4:]]
    right, wrong = surveyed(ROWS, Mean(), CLAIMED), surveyed(rows, Mean(), CLAIMED)
    assert wrong.mean[1] - right.mean[1] > 15
    assert wrong.std[1] > 3 * right.std[1]


def named(rows: list[F32]) -> dict[MemberId, F32]:
    return {member_id(f"m{i}"): row for i, row in enumerate(rows)}


def test_a_unit_mistake_within_the_range_makes_an_odd_member() -> None:
    assert odd_members(named(ROWS), REQUEST) == ()
    pounds = [*ROWS[:3], train(site(400, 3, scale=2.2046)).delta, *ROWS[4:]]
    (odd,) = odd_members(named(pounds), REQUEST)
    assert (odd.member, odd.column) == ("m3", "weight")
    assert odd.median == pytest.approx(80, abs=3)
    assert re.fullmatch(r"warning: the mean of weight at m3 is 17\d, .* median is \d+.*: check its unit .*", str(odd))


def test_too_few_members_to_compare_is_not_a_comparison() -> None:
    with pytest.raises(ValueError, match="by at least 5, got 4"):
        odd_members(named(ROWS[:4]), REQUEST)


# -------------------------------------------------------------------------------------------------------------- privacy

PRIVATE = Request(("a", "b"), (-1.0, -1.0), (1.0, 1.0), ("no", "yes"), buckets=8)
PRIVACY = ExamplePrivacy(PRIVATE.example_l2, 2.0, 1000, 8.0, 1e-5)
KEYS = 300


def private_site(n: int = 800) -> Site:
    rng = np.random.default_rng(5)
    return rng.uniform(-0.5, 0.7, (n, 2)), rng.integers(0, 2, n), [["pain"] for _ in range(n)]


def released(privacy: ExamplePrivacy) -> F64:
    """(KEYS, 2): the means of u that a member sends, one for each noise key."""
    at = next(tensor.offset for tensor in PRIVATE.layout.tensors if tensor.name == "mean")
    trainer, zeros = StatisticsTrainer(PRIVATE, *private_site()), np.zeros(PRIVATE.layout.d, np.float32)
    tasks = [TrainTask(1, privacy, i.to_bytes(32, "big")) for i in range(KEYS)]
    return np.stack([trainer.train(zeros, task, None).delta[at : at + 2] for task in tasks]).astype(np.float64)


def test_a_private_mean_is_unbiased_and_has_the_noise_that_was_charged_for_and_not_two_thirds_of_it() -> None:
    truth = private_site()[0].mean(axis=0)
    # Of a quotient (S + e)/(n + e') to first order; the second is (σC/n)² = 0.03 % of it.
    std = PRIVACY.noise_multiplier * PRIVACY.clip_l2 / 800 * np.sqrt(1 + truth**2)
    low, high = chi2.ppf([5e-4, 1 - 5e-4], 2 * KEYS)

    def in_range(privacy: ExamplePrivacy) -> bool:
        z = (released(privacy) - truth) / std
        assert (np.abs(z.mean(axis=0)) * np.sqrt(KEYS) < norm.ppf(1 - 5e-4)).all()
        return bool(low < (z**2).sum() < high)

    assert in_range(PRIVACY)
    assert not in_range(replace(PRIVACY, noise_multiplier=PRIVACY.noise_multiplier * 2 / 3))


def test_under_privacy_the_claim_is_the_public_normaliser_and_few_examples_are_not_seen() -> None:
    numbers, y, words = private_site()
    words[0] = ["rare"]
    rare, often = slots_of(["rare"], PRIVATE)["rare"], slots_of(["pain"], PRIVATE)["pain"]
    assert rare != often
    at = next(tensor.offset for tensor in PRIVATE.layout.tensors if tensor.name == "holds-words")
    clear = train((numbers, y, words), PRIVATE)
    noised = train((numbers, y, words), PRIVATE, TrainTask(1, PRIVACY, b"k" * 32))
    assert (clear.examples, noised.examples) == (512, 1000)
    assert (clear.delta[at + often], clear.delta[at + rare]) == (1, 1)
    assert (noised.delta[at + often], noised.delta[at + rare]) == (1, 0)


def test_everything_sent_under_privacy_is_computed_from_the_noised_sums() -> None:
    """Twice the examples at half the length have the same sums and give the same row: nothing else is in it."""
    request = Request(("a",), (-1.0,), (1.0,))

    def sent(n: int, clip_l2: float) -> Trained:
        privacy = ExamplePrivacy(clip_l2, 0.5 / clip_l2, 100, 8.0, 1e-5)  # σC, the noise, is the same
        return train((np.zeros((n, 1)), None, []), request, TrainTask(1, privacy, b"k" * 32))

    assert sent(400, 1.0).delta.tobytes() == sent(800, 0.5).delta.tobytes() != sent(401, 1.0).delta.tobytes()


def test_a_member_whose_examples_drown_in_the_noise_sends_nothing() -> None:
    few = private_site(12)
    with pytest.raises(ConfigError, match="too few examples"):
        train(few, PRIVATE, TrainTask(1, PRIVACY, b"k" * 32))
    assert train(few, PRIVATE).examples == 8


def test_with_enough_examples_no_member_drowns_and_with_half_of_them_many_do() -> None:
    request = Request(("a",), (-1.0,), (1.0,))
    privacy = ExamplePrivacy(2.0, 3.0, 100, 8.0, 1e-5)
    enough = enough_examples(2.0 * 3.0)

    def drowned(n: int) -> int:
        count = 0
        for i in range(200):
            try:
                train((np.zeros((n, 1)), None, []), request, TrainTask(1, privacy, i.to_bytes(32, "big")))
            except ConfigError:
                count += 1
        return count

    assert (drowned(enough), drowned(enough // 2)) == (0, 200)
    assert 60 <= drowned(60) <= 140  # ten deviations of the noise: every second one, give or take six deviations


def test_no_example_is_longer_than_the_request_says_and_no_row() -> None:
    numbers, words = np.array([[100.0, 200.0]]), [["ward=a", *map(str, range(2000))]]
    row = train((numbers, np.array([1]), words)).delta
    example = np.sqrt(1 + 3 * 2 + 1 + 65)  # one, the numbers, the label, all slots but ward=b
    assert example <= REQUEST.example_l2 == np.sqrt(1 + 3 * 2 + 1 + 66)
    assert np.linalg.norm(row) == pytest.approx(np.sqrt(3 * 2 + 2 + 2 * 65))  # of a count of 2⁰ is 0
    assert np.linalg.norm(row) <= REQUEST.row_l2


# ---------------------------------------------------------------------------------------------------------- suppression


def holders_of(word: str, holders: int, often: int = 10) -> list[F32]:
    """Rows of six members, of whom the first `holders` hold `word` in every `often`-th example."""
    rows = []
    for i in range(6):
        words = [[word] if i < holders and j % often == 0 else [] for j in range(100)]
        rows.append(train((np.full((100, 2), 50.0), np.zeros(100, np.int64), words)).delta)
    return rows


@pytest.mark.parametrize("holders", range(7))
def test_a_word_of_fewer_members_than_asked_is_dropped(holders: int) -> None:
    rows = holders_of("john-smith", holders)
    for least in range(1, 7):
        kept = vocabulary(["john-smith"], surveyed(rows, Mean(), min_members=least))
        assert bool(kept) is (holders >= least)


@pytest.mark.parametrize("holders", range(7))
def test_under_the_trimmed_mean_what_is_kept_has_so_many_honest_holders(holders: int) -> None:
    rows = holders_of("john-smith", holders)
    rows[-1] = rows[-1] + np.float32(50)  # a liar: whatever there is, it holds
    honest = min(holders, 5)
    for least in range(1, 5):
        kept = vocabulary(["john-smith"], surveyed(rows, TrimmedMean(1), min_members=least))
        assert bool(kept) is (honest >= least)


def test_under_the_mean_the_same_liar_brings_a_word_that_one_member_holds() -> None:
    rows = holders_of("john-smith", 1)
    rows[-1] = rows[-1] + np.float32(50)
    assert vocabulary(["john-smith"], surveyed(rows, Mean(), min_members=4))


def test_what_is_rare_over_all_is_dropped() -> None:
    rows = holders_of("pain", 6)  # a tenth of the examples
    assert vocabulary(["pain"], surveyed(rows, Mean(), min_share=0.09)) == {"pain": 0}
    assert vocabulary(["pain"], surveyed(rows, Mean(), min_share=0.11)) == {}
    assert surveyed(rows, Mean()).labels == (0,)  # nobody has the other label


def test_more_members_than_a_rule_can_show_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"min_members = 5 cannot be shown: .* may weigh 0.25"):
        surveyed(ROWS, TrimmedMean(1), min_members=5)
    assert surveyed(ROWS, TrimmedMean(1), min_members=4).members == 6


def test_a_word_has_the_same_slot_everywhere() -> None:
    hashes = {word: int(hashlib.sha256(b"phalanx/v1/word\0" + word.encode()).hexdigest(), 16) for word in ("pain", "é")}
    expected = {word: 2 + number % 64 for word, number in hashes.items()}
    assert slots_of(["ward=b", "pain", "é"], REQUEST) == {"ward=b": 1} | expected
    assert slots_of(["ward=b", "pain"], replace(REQUEST, buckets=0)) == {"ward=b": 1}


# --------------------------------------------------------------------------------------------------- what is made of it


def test_standardised_data_has_mean_0_and_deviation_1_over_the_federation() -> None:
    found = surveyed(ROWS, Mean(), CLAIMED)
    x = np.concatenate([data[0] for data in SITES])
    scaled = standardise(x, found)
    assert scaled.dtype == np.float32
    present = np.isfinite(x)
    assert (scaled[~present] == 0).all()
    for j in range(2):
        assert scaled[present[:, j], j].mean() == pytest.approx(0, abs=1e-4)
        assert scaled[present[:, j], j].std() == pytest.approx(1, abs=1e-4)


def test_a_column_without_spread_or_without_values_stays_finite() -> None:
    numbers = np.array([[np.nan, 80.0]] * 3)
    row = train((numbers, np.zeros(3, np.int64), [[]] * 3)).delta
    found = surveyed([row, row], Mean())
    assert (found.mean[0], found.present, found.std) == (50.0, (0.0, 1.0), (0.0, 0.0))
    assert found.mean[1] == pytest.approx(80)
    assert standardise(np.array([[np.nan, 80.0], [51.0, 81.0]]), found) == pytest.approx(
        np.array([[0, 0], [1, 1]]), abs=1e-4
    )


FLOATS = st.floats(-1e300, 1e300)
SHARES = st.floats(0, 1)


@st.composite
def any_statistics(draw: st.DrawFn) -> Statistics:
    p = draw(st.integers(0, 3))
    request = Request(
        columns=tuple(draw(st.lists(st.text(max_size=3), min_size=p, max_size=p))),
        low=tuple(draw(st.lists(st.floats(-1e300, -1), min_size=p, max_size=p))),
        high=tuple(draw(st.lists(st.floats(1, 1e300), min_size=p, max_size=p))),
        labels=tuple(draw(st.lists(st.text(max_size=3), max_size=3))),
        buckets=draw(st.integers(1, 9)),
    )

    def column(of: st.SearchStrategy[float], n: int) -> tuple[float, ...]:
        return tuple(draw(st.lists(of, min_size=n, max_size=n)))

    slots = tuple(sorted(draw(st.sets(st.integers(0, request.buckets - 1)))))
    labels = tuple(range(len(request.labels)))
    return Statistics(
        request=request,
        mean=column(FLOATS, p),
        std=column(st.floats(0, 1e300), p),
        present=column(SHARES, p),
        labels=labels,
        label_shares=column(SHARES, len(labels)),
        slots=slots,
        slot_shares=column(SHARES, len(slots)),
        typical_examples=draw(st.integers(1, 1 << 48)),
        members=draw(st.integers(1, 1000)),
        epsilon=draw(st.none() | st.floats(0, 1000)),
    )


@settings(max_examples=50)
@given(any_statistics())
def test_statistics_survive_a_file(found: Statistics) -> None:
    data = encode(as_json(found))
    assert from_json(decode(data)) == found
    assert from_json(json.loads(json.dumps(as_json(found)))) == found
    assert encode(as_json(from_json(decode(data)))) == data


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mean", [1.0]),
        ("mean", ["1.0", 2.0]),
        ("mean", [float("nan"), 2.0]),
        ("std", [-1.0, 2.0]),
        ("slots", [0, 0]),
        ("slots", [1, 66]),
        ("labels", [1, 0]),
        ("labels", []),
        ("members", "6"),
        ("more", 1),
        ("request", {}),
        ("request", as_json(surveyed(ROWS, Mean()))["request"] | {"low": [0.0, 300.0]}),
    ],
)
def test_a_file_that_holds_no_statistics_is_refused(key: str, value: object) -> None:
    good = as_json(surveyed(ROWS, Mean()))
    assert from_json(good).members == 6
    with pytest.raises(ConfigError):
        from_json(good | {key: value})


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"low": (0.0,)}, "a low and a high bound for each column, got 2, 1 and 2"),
        ({"low": (0.0, 200.0)}, "'weight' need finite bounds low < high, got 200.0 and 200.0"),
        ({"low": (0.0, float("nan"))}, "finite bounds"),
        ({"low": (0.0, -1e308), "high": (100.0, 1e308)}, "finite bounds"),
        ({"buckets": -1}, "buckets and words are 0 to"),
        ({"buckets": 1 << 20}, "buckets and words are 0 to"),
        ({"words": ("a", "a")}, "named once"),
        ({"columns": (), "low": (), "high": (), "labels": (), "words": (), "buckets": 0}, "statistics of nothing"),
    ],
)
def test_what_cannot_be_asked_is_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(REQUEST, **asked)


def test_a_request_is_made_from_a_schema() -> None:
    ward = Column("ward", kind="category", values=("a", 7))
    schema = Schema((Column("age", "years", 0, 100), ward, Column("note", kind="text")), ("no", "yes"))
    expected = Request(("age",), (0.0,), (100.0,), ("no", "yes"), ("ward=a", "ward=7"), 16)
    assert request_of(schema, buckets=16) == expected
    with pytest.raises(ConfigError, match=r"statistics of age \[years\] need its low and high"):
        request_of(Schema((Column("age", "years", 0),)))


@pytest.mark.parametrize(
    "data",
    [
        (np.zeros((3, 1)), np.zeros(3, np.int64), [[]] * 3),
        (np.zeros((0, 2)), np.zeros(0, np.int64), []),
        (np.zeros((3, 2)), None, [[]] * 3),
        (np.zeros((3, 2)), np.full(3, 2), [[]] * 3),
        (np.zeros((3, 2)), np.zeros(3, np.int64), [[]] * 2),
    ],
)
def test_data_that_does_not_fit_the_request_is_refused(data: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        StatisticsTrainer(REQUEST, *data)
