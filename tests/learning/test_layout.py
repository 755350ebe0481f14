"""A layout is one order of names, and a vector or a set of tensors that does not fit is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from phalanx.learning import flatten, layout_of, unflatten
from phalanx.types import F32

TENSORS = st.dictionaries(
    st.text(min_size=1, max_size=5),
    arrays_of.arrays(np.float32, arrays_of.array_shapes(min_dims=0, max_dims=3, max_side=4)),
    min_size=1,
    max_size=5,
)
MODEL = {"b": np.zeros(3, np.float32), "a": np.ones((2, 2), np.float32)}


@given(TENSORS)
def test_flatten_and_unflatten_are_inverse(tensors: dict[str, F32]) -> None:
    layout = layout_of(tensors)
    vector = flatten(tensors, layout)
    assert vector.shape == (layout.d,)
    assert vector.dtype == np.float32
    back = unflatten(vector, layout)
    assert list(back) == sorted(tensors)
    assert all(back[name].tobytes() == tensors[name].tobytes() for name in tensors)
    assert all(back[name].shape == tensors[name].shape for name in tensors)


def test_tensors_lie_in_the_order_of_their_names() -> None:
    layout = layout_of(MODEL)
    assert [(t.name, t.shape, t.offset) for t in layout.tensors] == [("a", (2, 2), 0), ("b", (3,), 4)]
    assert flatten(MODEL, layout).tolist() == [1, 1, 1, 1, 0, 0, 0]


def test_tensors_are_copies_of_the_vector() -> None:
    layout = layout_of(MODEL)
    vector = flatten(MODEL, layout)
    unflatten(vector, layout)["a"][:] = 9
    assert (vector == flatten(MODEL, layout)).all()


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, r"expected the tensors \['a', 'b'\], got \[\]"),
        ({"a": MODEL["a"], "c": MODEL["b"]}, "expected the tensors"),
        ({**MODEL, "c": MODEL["b"]}, "expected the tensors"),
        ({**MODEL, "a": np.ones(4, np.float32)}, r"must have shape \(2, 2\), got \(4,\)"),
        ({**MODEL, "a": np.ones((2, 2))}, "must be float32, got float64"),
        ({**MODEL, "a": np.ones((2, 2), ">f4")}, "must be float32, got >f4"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(tensors: dict[str, F32], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        flatten(tensors, layout_of(MODEL))


@pytest.mark.parametrize("vector", [np.zeros(6, np.float32), np.zeros((7, 1), np.float32), np.zeros(7, np.float16)])
def test_a_vector_of_another_length_or_type_is_refused(vector: F32) -> None:
    with pytest.raises(ValueError, match="vector must"):
        unflatten(vector, layout_of(MODEL))


def test_a_model_without_tensors_or_with_integers_has_no_layout() -> None:
    with pytest.raises(ValueError, match="at least one tensor"):
        layout_of({})
    with pytest.raises(ValueError, match="must be float32, got int64"):
        layout_of({"steps": np.zeros(1, np.int64)})
