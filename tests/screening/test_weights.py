"""Capped weights: the water-filling's properties, and what a lie about sample counts is worth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phalanx.errors import QuorumError
from phalanx.screening.weights import capped_weights

_any = st.lists(st.tuples(st.integers(1, 1 << 53), st.floats(1e-6, 1.0)), min_size=1, max_size=40)
_members = _any.filter(lambda members: math.fsum(cap for _, cap in members) >= 1)


@given(_members)
def test_weights_sum_to_one_are_positive_and_never_above_their_caps(members: list[tuple[int, float]]) -> None:
    shares, caps = [share for share, _ in members], np.array([cap for _, cap in members])
    weights = capped_weights(shares, caps.tolist())
    assert math.isclose(weights.sum(), 1.0, rel_tol=1e-9)
    assert (weights > 0).all()
    assert (weights <= caps * (1 + 1e-8)).all()  # the rounding that is allowed to caps that just reach one


@given(_members)
def test_members_below_their_caps_share_in_proportion(members: list[tuple[int, float]]) -> None:
    shares, caps = np.array([float(share) for share, _ in members]), np.array([cap for _, cap in members])
    weights = capped_weights(shares.tolist(), caps.tolist())
    if math.fsum(caps) > 1:
        level = weights[weights < caps] / shares[weights < caps]
        assert np.allclose(level, level[:1], rtol=1e-9)
        if level.size:  # and a member at its cap would otherwise have had more
            assert (level[0] * shares[weights == caps] >= caps[weights == caps] * (1 - 1e-9)).all()


def test_without_a_binding_cap_weights_are_the_shares() -> None:
    assert capped_weights([1, 2, 5], [1.0, 1.0, 1.0]).tolist() == [0.125, 0.25, 0.625]


def test_what_a_capped_member_may_not_have_goes_to_the_others() -> None:
    assert np.allclose(capped_weights([1, 2, 97], [1.0, 1.0, 0.4]), [0.2, 0.4, 0.4])


def test_members_too_few_for_their_caps_are_no_quorum() -> None:
    """Stretched caps would let a member weigh more than the federation agreed, and the auditor would refuse the log."""
    with pytest.raises(QuorumError, match=r"caps of the 3 members that count sum to 0\.4, needed 1"):
        capped_weights([1, 1, 1000], [0.1, 0.1, 0.2])
    assert np.allclose(capped_weights([1.0] * 10, [0.1] * 10), 0.1)


def test_caps_a_rounding_error_above_one_are_still_filled() -> None:
    """Found by search: their exact sum is above 1, their running sum in float64 is not."""
    caps = [
        *(0.17187500000000003, 0.07291666666666669, 0.013888888888888892, 0.17187500000000003, 0.12847222222222224),
        *(0.10069444444444448, 0.16319444444444448, 0.048611111111111126, 0.1041666666666667, 0.024305555555555563),
    ]
    weights = capped_weights([37, 81, 34, 65, 89, 40, 69, 92, 73, 2], caps)
    assert math.isclose(weights.sum(), 1.0, rel_tol=1e-12)


@given(lie=st.integers(1, 1 << 53), cap=st.floats(0.11, 1.0))
def test_a_lie_about_the_sample_count_is_worth_at_most_the_liars_cap(lie: int, cap: float) -> None:
    assert capped_weights([10] * 9 + [lie], [1.0] * 9 + [cap])[9] <= cap


def test_off_twin_without_a_cap_the_lie_takes_everything() -> None:
    assert capped_weights([10] * 9 + [10**12], [1.0] * 10)[9] > 0.999999


@pytest.mark.parametrize("caps", [[0.0, 1.0], [math.nan, 1.0], [1.1, 1.0], [-0.1, 1.0]])
def test_a_cap_outside_0_to_1_is_refused(caps: list[float]) -> None:
    with pytest.raises(ValueError, match="weight caps"):
        capped_weights([1, 1], caps)


@pytest.mark.parametrize("share", [0, -1, math.nan, math.inf])
def test_a_share_below_one_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="shares"):
        capped_weights([1, share], [1.0, 1.0])
