"""Measures of how near a rebuilt input is, beside values that others computed."""

from __future__ import annotations

import numpy as np
import pytest

from phalanx.attacks.similarity import correlation, psnr, ssim
from phalanx.types import F32


def test_psnr_of_a_known_error() -> None:
    image = np.zeros(4, np.float32)
    assert psnr(image, np.full(4, 0.5, np.float32)) == pytest.approx(6.0206, abs=1e-4)  # 10·log10(1 / 0.25)
    assert psnr(image, image) == float("inf")


def made(height: int, width: int, kind: str) -> F32:
    i, j = np.mgrid[0:height, 0:width]
    values = {
        "a": (i * j) % 7 / 6,
        "b": (i + 2 * j) % 5 / 4,
        "c": (i * i + j) % 11 / 10,
        "d": np.clip((i * i + j) % 11 / 10 + 0.2 * ((i + j) % 3 - 1), 0, 1),
        "e": (i + j) / 9,
        "f": (i * j) % 4 / 3,
    }
    found: F32 = values[kind].astype(np.float32)
    return found


# skimage.metrics.structural_similarity 0.26.0 (data_range=1; of the smallest image win_size=5), computed once.
@pytest.mark.parametrize(
    ("size", "kinds", "expected"),
    [
        ((8, 8), "ab", 0.03935796224384655),
        ((12, 10), "cd", 0.8845657851483703),
        ((5, 6), "ef", -0.009165422767720085),
    ],
)
def test_ssim_is_that_of_scikit_image(size: tuple[int, int], kinds: str, expected: float) -> None:
    one, other = (made(*size, kind) for kind in kinds)
    assert ssim(one, other) == pytest.approx(expected, abs=1e-6)  # float32 inputs
    assert ssim(other, one) == pytest.approx(expected, abs=1e-6)


def test_equal_images_are_1_and_images_of_different_shapes_refused() -> None:
    image = made(8, 8, "a")
    assert ssim(image, image) == 1.0
    with pytest.raises(ValueError, match=r"\(8, 8\) and \(5, 6\)"):
        ssim(image, made(5, 6, "a"))
    with pytest.raises(ValueError, match="two images"):
        ssim(image[:1], image[:1])


def test_correlation_does_not_see_scale_or_offset() -> None:
    x = np.array([1.0, 2.0, 4.0], np.float32)
    assert correlation(x, 3 * x + 7) == pytest.approx(1.0)
    assert correlation(x, -x) == pytest.approx(-1.0)
    assert correlation(x, np.ones(3, np.float32)) == 0.0
