"""Keys become numbers: the same key the same numbers, another label others, and all of them normal."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from scipy import stats

from phalanx import entropy
from phalanx.entropy import KEY_BYTES, expand, gaussian, system_entropy
from phalanx.types import F64

KEY = hashlib.sha256(b"a key of these tests").digest()
SIZE = 200_000


def test_expanding_is_shake_256_of_purpose_label_and_key() -> None:
    expected = hashlib.shake_256(b"phalanx/v1/expand/noise\0" + b"\0\0\0\x20" + KEY).digest(100)
    assert expand(KEY, "noise", 100) == expected
    assert expand(KEY, "noise", 40) == expected[:40]
    assert expand(KEY, "noise", 0) == b""


def test_every_bit_of_a_key_and_its_length_and_the_label_matter() -> None:
    keys = [KEY, *(bytes([*KEY[:i], KEY[i] ^ 1, *KEY[i + 1 :]]) for i in range(KEY_BYTES)), KEY + b"\0", KEY * 2]
    outputs = {expand(key, label, 32) for key in keys for label in ("a", "b", "a/b", "")}
    assert len(outputs) == len(keys) * 4


def test_a_key_that_was_squeezed_into_a_small_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 32 bytes, got 31"):
        expand(KEY[:31], "noise", 8)
    with pytest.raises(ValueError, match="at least 32 bytes"):
        gaussian(b"", "noise", 8)


def test_the_systems_entropy_has_the_size_asked_and_never_repeats() -> None:
    draws = {system_entropy(KEY_BYTES) for _ in range(100)}
    assert len(draws) == 100 and {len(draw) for draw in draws} == {KEY_BYTES}


@pytest.mark.parametrize("size", [0, 1, 2, 7, 8, 1000])
def test_any_number_of_values_can_be_drawn(size: int) -> None:
    drawn = gaussian(KEY, "noise", size)
    assert drawn.shape == (size,) and drawn.dtype == np.float64 and np.isfinite(drawn).all()


def test_the_same_key_and_label_give_the_same_noise() -> None:
    assert gaussian(KEY, "round-1", 1001).tobytes() == gaussian(KEY, "round-1", 1001).tobytes()


def test_noise_of_another_label_or_key_is_independent() -> None:
    """Correlation of independent noise is normal with deviation 1/sqrt(n): five deviations are never passed."""
    first = gaussian(KEY, "round-1", SIZE)
    for other in (gaussian(KEY, "round-2", SIZE), gaussian(KEY[::-1], "round-1", SIZE)):
        assert abs(np.corrcoef(first, other)[0, 1]) < 5 / math.sqrt(SIZE)
        assert abs(np.corrcoef(first**2, other**2)[0, 1]) < 5 / math.sqrt(SIZE)
        assert not set(first[:1000].tolist()) & set(other[:1000].tolist())


def test_the_two_values_of_one_pair_are_independent() -> None:
    """Box-Muller makes both from one radius: a wrong angle would show in the product of their sizes."""
    drawn = gaussian(KEY, "pairs", SIZE)
    cosines, sines = drawn[: SIZE // 2], drawn[SIZE // 2 :]
    for one, other in ((cosines, sines), (np.abs(cosines), np.abs(sines)), (cosines[1:], cosines[:-1])):
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / math.sqrt(SIZE // 2)


def test_its_moments_are_those_of_the_standard_normal() -> None:
    drawn = gaussian(KEY, "moments", SIZE)
    for power, expected, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((drawn**power).mean() - expected) < 5 * math.sqrt(variance / SIZE), power


def test_its_distribution_is_the_standard_normal() -> None:
    drawn = gaussian(KEY, "distribution", SIZE)
    assert stats.kstest(drawn, "norm").pvalue > 0.01
    assert stats.kstest(drawn, "norm", args=(0, 1.02)).pvalue < 0.01
    beyond = np.abs(drawn) > 3
    assert stats.binomtest(int(beyond.sum()), SIZE, 2 * stats.norm.sf(3)).pvalue > 0.01


def accepts(drawn: F64, sigma: float) -> bool:
    """The two-sided χ² test at 0.001 of the deviation `sigma`, mean known to be 0."""
    statistic, n = float((drawn**2).sum()) / sigma**2, drawn.size
    return bool(0.0005 < stats.chi2.cdf(statistic, n) < 0.9995)


@pytest.mark.parametrize("sigma", [1e-3, 1.0, 3.8])
def test_the_right_deviation_is_accepted_and_two_thirds_of_it_rejected(sigma: float) -> None:
    noise = sigma * gaussian(KEY, "deviation", 500)
    assert accepts(noise, sigma)
    assert not accepts(noise * 2 / 3, sigma)
    assert not accepts(noise, sigma * 2 / 3)


def test_the_least_and_the_largest_uniform_give_finite_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    for byte, longest in ((b"\0", math.sqrt(2 * 53 * math.log(2))), (b"\xff", 0.0)):
        monkeypatch.setattr(entropy, "expand", lambda key, label, size, byte=byte: byte * size)
        drawn = gaussian(KEY, "noise", 2)
        assert np.isfinite(drawn).all() and math.isclose(np.hypot(*drawn), longest, abs_tol=1e-15)
