"""Which tensors travel and which stay: patterns, refusals, and vectors that are the tensors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phalanx.errors import ConfigError
from phalanx.learning.parts import flatten_whole, in_words, parts_of, views
from phalanx.types import F32

TENSORS = {
    "head.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "bn1.bias": np.array([7, 8], np.float32),
    "scale": np.array(9, np.float32),
    "bn1.weight": np.array([10, 11], np.float32),
}
NAMES = st.text("abc.[*", min_size=1, max_size=4)
SHAPES = st.lists(st.integers(0, 3), max_size=3).map(tuple)


def names(layout: object) -> list[str]:
    return [one.name for one in layout.tensors]  # type: ignore[attr-defined]


def test_without_patterns_everything_travels_in_the_order_of_names() -> None:
    parts = parts_of(TENSORS)
    assert parts.shared == parts.whole
    assert names(parts.shared) == ["bn1.bias", "bn1.weight", "head.weight", "scale"]
    assert parts.local == ()


def test_what_matches_a_pattern_stays_and_lies_behind_what_travels() -> None:
    parts = parts_of(TENSORS, ["bn*", "scale"])
    assert names(parts.shared) == ["head.weight"]
    assert [(one.name, one.offset) for one in parts.local] == [("bn1.bias", 6), ("bn1.weight", 8), ("scale", 10)]
    assert parts.whole.d == 11
    vector = flatten_whole(TENSORS, parts.whole)
    assert vector.tolist() == [0, 1, 2, 3, 4, 5, 7, 8, 10, 11, 9]


@pytest.mark.parametrize("pattern", ["bn2.*", "BN*", "head", ""])
def test_a_pattern_that_matches_nothing_is_refused_with_the_tensors_there_are(pattern: str) -> None:
    with pytest.raises(ConfigError, match="no tensor matches") as refused:
        parts_of(TENSORS, ["scale", pattern])
    assert repr(pattern) in refused.value.message
    assert all(name in refused.value.hint for name in TENSORS)


def test_patterns_that_leave_nothing_to_share_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"nothing to share: all of bn1\.bias, bn1\.weight, head\.weight, scale"):
        parts_of(TENSORS, ["*"])


def test_a_model_without_tensors_or_of_another_dtype_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one tensor"):
        parts_of({})
    with pytest.raises(ValueError, match="tensor 'w' must be float32, got float64"):
        parts_of(TENSORS | {"w": np.zeros(2)}, ["w"])


def test_tensors_of_other_names_or_shapes_are_refused() -> None:
    whole = parts_of(TENSORS, ["bn*"]).whole
    with pytest.raises(ValueError, match=r"expected the tensors \['bn1.bias', .*\], got \['scale'\]"):
        flatten_whole({"scale": TENSORS["scale"]}, whole)
    with pytest.raises(ValueError, match=r"'head.weight' must have shape \(2, 3\), got \(3, 2\)"):
        flatten_whole(TENSORS | {"head.weight": TENSORS["head.weight"].T}, whole)


def test_a_tensor_is_named_with_its_shape_and_what_it_costs_to_send() -> None:
    assert in_words(parts_of(TENSORS | {"big": np.zeros((20, 30), np.float32)}, ["bn*", "scale"])) == [
        "big 20×30: travels, 2,400 bytes",
        "head.weight 2×3: travels, 24 bytes",
        "bn1.bias 2: stays with each member",
        "bn1.weight 2: stays with each member",
        "scale scalar: stays with each member",
    ]


@st.composite
def models(draw: st.DrawFn) -> tuple[dict[str, F32], list[str]]:
    """Tensors of any names and shapes, and some of their names (with [ and * taken by their letter)."""
    shapes = draw(st.dictionaries(NAMES, SHAPES, min_size=1, max_size=6))
    sizes = {name: int(np.prod(shape)) for name, shape in shapes.items()}
    ends = np.cumsum(list(sizes.values()))
    tensors = {
        name: np.arange(end - sizes[name], end, dtype=np.float32).reshape(shapes[name])
        for name, end in zip(shapes, ends.tolist(), strict=True)
    }
    stays = draw(st.lists(st.sampled_from(sorted(shapes)), unique=True, max_size=len(shapes) - 1))
    return tensors, stays


@given(models())
def test_vector_and_tensors_are_each_other(model: tuple[dict[str, F32], list[str]]) -> None:
    tensors, stays = model
    parts = parts_of(tensors, [name.replace("[", "[[]").replace("*", "[*]") for name in stays])
    assert {one.name for one in parts.local} == set(stays)
    assert {*names(parts.shared), *stays} == set(tensors)
    vector = flatten_whole(tensors, parts.whole)
    assert sorted(vector.tolist()) == list(range(vector.size))
    inside = views(vector, parts.whole)
    assert all((inside[name] == tensors[name]).all() and inside[name].shape == tensors[name].shape for name in tensors)
    for one in parts.shared.tensors:
        assert (vector[: parts.shared.d][one.offset : one.offset + one.size] == tensors[one.name].ravel()).all()


@given(models(), st.integers(1, 3))
def test_what_is_written_into_a_view_lands_in_the_vectors(
    model: tuple[dict[str, F32], list[str]], members: int
) -> None:
    tensors, _ = model
    whole = parts_of(tensors).whole
    wide = np.zeros((members, 2 * whole.d), np.float32)
    for vectors in (wide[:, : whole.d].copy(), wide[:, whole.d :], wide[:, ::2]):
        for name, place in views(vectors, whole).items():
            place[...] = tensors[name]
        assert all((row == flatten_whole(tensors, whole)).all() for row in vectors)
