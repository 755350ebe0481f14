"""Intervals: published examples, scipy's own, coverage by simulation, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from phalanx.redteam.intervals import bootstrap, clopper_pearson, paired_difference, wilson

# Newcombe, Statistics in Medicine 17 (1998) 857, Table I: k, n, method 3 (Wilson), method 5 (Clopper-Pearson).
NEWCOMBE = [
    (81, 263, (0.2553, 0.3662), (0.2527, 0.3676)),
    (15, 148, (0.0624, 0.1605), (0.0578, 0.1617)),
    (0, 20, (0.0000, 0.1611), (0.0000, 0.1684)),
    (1, 29, (0.0061, 0.1718), (0.0009, 0.1776)),
]


@pytest.mark.parametrize(("k", "n", "score", "exact"), NEWCOMBE)
def test_newcombes_published_limits(k: int, n: int, score: tuple[float, float], exact: tuple[float, float]) -> None:
    assert wilson(k, n) == pytest.approx(score, abs=5e-5)
    assert clopper_pearson(k, n) == pytest.approx(exact, abs=5e-5)


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (3, 10), (10, 10), (7, 1234), (1233, 1234), (60, 12_727)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_both_intervals_of_a_share_are_those_of_scipy(k: int, n: int, confidence: float) -> None:
    test = stats.binomtest(k, n)
    for method, ours in (("wilson", wilson), ("exact", clopper_pearson)):
        theirs = test.proportion_ci(confidence, method=method)
        assert ours(k, n, confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_clopper_pearson_covers_at_least_what_it_says() -> None:
    n = 40
    intervals = [clopper_pearson(k, n) for k in range(n + 1)]
    for share in np.linspace(0.005, 0.995, 100):
        weights = stats.binom.pmf(np.arange(n + 1), n, share)
        covered = sum(w for w, (low, high) in zip(weights, intervals, strict=True) if low <= share <= high)
        assert covered >= 0.95


# Bonett and Price's interval as the R package contingencytables gives it (chapter 8 of Fagerland, Lydersen and Laake,
# Statistical Analysis of Contingency Tables, 2017): Cavo et al. 2012, 59 6 / 16 80.
def test_bonett_and_prices_interval_of_a_published_table() -> None:
    assert paired_difference(6, 16, 161) == pytest.approx((-0.1195, -0.0032), abs=5e-5)


def test_a_paired_difference_changes_sign_with_its_counts_and_stays_within_one() -> None:
    low, high = paired_difference(6, 16, 161)
    assert paired_difference(16, 6, 161) == pytest.approx((-high, -low))
    assert paired_difference(1, 0, 1)[1] == 1.0
    low, high = paired_difference(0, 0, 500)
    assert low == -high
    assert 0 < high < 0.01  # nothing changed in 500 trials, which is no proof that nothing does


def test_a_paired_difference_covers_about_what_it_says() -> None:
    rng = np.random.default_rng(5)
    for up, down, n in ((0.02, 0.02, 60), (0.1, 0.03, 60), (0.2, 0.0, 300)):
        counts = rng.multinomial(n, [up, down, 1 - up - down], 4000)
        intervals = [paired_difference(int(a), int(b), n) for a, b, _ in counts]
        assert np.mean([low <= up - down <= high for low, high in intervals]) > 0.94


def test_the_bootstrap_is_the_percentile_method_of_scipy() -> None:
    values = np.random.default_rng(1).exponential(size=50)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    low, high = bootstrap(values, rng=np.random.default_rng(3))
    deviation = values.std() / math.sqrt(len(values))
    assert abs(low - theirs.low) < 0.15 * deviation  # the error of a quantile of 2000 draws is 0.06 deviations
    assert abs(high - theirs.high) < 0.15 * deviation


def test_the_bootstrap_takes_any_statistic_and_the_same_generator_gives_the_same() -> None:
    values = np.random.default_rng(1).normal(size=40)
    low, high = bootstrap(values, rng=np.random.default_rng(0), statistic=lambda rows: np.median(rows, axis=-1))
    assert low <= np.median(values) <= high
    assert bootstrap(values, rng=np.random.default_rng(0)) == bootstrap(values, rng=np.random.default_rng(0))
    assert bootstrap(np.full(5, 0.3), rng=np.random.default_rng(0)) == pytest.approx((0.3, 0.3))


@pytest.mark.parametrize(("k", "n"), [(-1, 5), (6, 5), (0, 0)])
def test_a_share_of_nothing_or_more_than_all_is_refused(k: int, n: int) -> None:
    for interval in (wilson, clopper_pearson):
        with pytest.raises(ValueError, match="a share is k of n"):
            interval(k, n)


def test_bad_counts_values_and_confidences_are_refused() -> None:
    with pytest.raises(ValueError, match="no counts of n"):
        paired_difference(3, 3, 5)
    with pytest.raises(ValueError, match="finite values"):
        bootstrap(np.array([]), rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="finite values"):
        bootstrap(np.array([1.0, np.nan]), rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="confidence must be"):
        wilson(1, 2, 1.0)
