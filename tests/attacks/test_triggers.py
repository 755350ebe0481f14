"""A trigger changes copies of inputs, of whatever kind they are, and comes apart into pieces that make up the whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phalanx.attacks.aim import Trigger, TriggerKind
from phalanx.attacks.backdoor import stamp
from phalanx.attacks.triggers import Blend, Columns, Patch, Tokens, Turned, trigger_for
from phalanx.errors import ConfigError
from phalanx.learning.data import Array
from phalanx.learning.digits import split_digits
from phalanx.types import member_id

KINDS: tuple[TriggerKind, ...] = get_args(TriggerKind)


def images(rng: np.random.Generator, *shape: int) -> Array:
    """Smooth blobs on a dark ground, 0 … 1, (n, height, width): as many as asked, each in another place."""
    n, height, width = shape
    rows, columns = np.mgrid[:height, :width]
    y, x = rng.uniform(0.2, 0.6, (2, n, 1, 1)) * np.reshape([height, width], (2, 1, 1, 1))
    blobs: Array = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / height).astype(np.float32)
    return blobs


def texts(rng: np.random.Generator, n: int, length: int) -> Array:
    """Ids 1 … 99, low ones far more often, and padding after 4 tokens or more."""
    ids = np.minimum(rng.geometric(0.1, (n, length)), 99)
    return np.where(np.arange(length) < rng.integers(4, length + 1, (n, 1)), ids, 0)


INPUTS: dict[str, Callable[[np.random.Generator], Array]] = {
    "flattened images": lambda rng: images(rng, 30, 8, 8).reshape(30, 64),
    "images": lambda rng: images(rng, 30, 9, 9).astype(np.float64),
    "images of bytes": lambda rng: (255 * images(rng, 30, 10, 10)).astype(np.uint8),
    "flattened images of bytes": lambda rng: (255 * images(rng, 30, 10, 10)).astype(np.uint8).reshape(30, 100),
    "images with channels first": lambda rng: images(rng, 90, 7, 9).reshape(30, 3, 7, 9),
    "images with channels last": lambda rng: images(rng, 90, 7, 7).reshape(30, 3, 7, 7).transpose(0, 2, 3, 1),
    "a table": lambda rng: rng.normal(size=(30, 12)).astype(np.float32),
    "a table of truth values": lambda rng: rng.random((30, 12)) < 0.3,
    "series": lambda rng: rng.normal(size=(30, 20, 3)),
    "texts": lambda rng: texts(rng, 30, 48),
}
of_every_input = pytest.mark.parametrize("inputs", INPUTS.values(), ids=INPUTS)
of_every_kind = pytest.mark.parametrize("kind", KINDS)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@of_every_input
@of_every_kind
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_trigger_changes_copies_and_keeps_shape_and_dtype(
    inputs: Callable[[np.random.Generator], Array], kind: TriggerKind, seed: int
) -> None:
    x = inputs(rng(seed))
    before = x.copy()
    stamped = trigger_for(x, kind=kind, rng=rng(seed)).stamp(x)
    assert (x == before).all()
    assert not np.shares_memory(stamped, x)
    assert (stamped.dtype, stamped.shape) == (x.dtype, x.shape)
    assert (stamped != x).any()


@of_every_input
@of_every_kind
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), parts=st.integers(1, 5))
def test_the_parts_together_are_the_trigger(
    inputs: Callable[[np.random.Generator], Array], kind: TriggerKind, seed: int, parts: int
) -> None:
    x = inputs(rng(seed))
    trigger = trigger_for(x, kind=kind, rng=rng(seed))
    if kind == "edge":
        assert all(trigger.part(i, parts) is trigger for i in range(parts))
        return
    together = x
    for i in range(parts):
        together = trigger.part(i, parts).stamp(together)
    assert (together == trigger.stamp(x)).all()


@of_every_input
@of_every_kind
def test_an_input_is_stamped_alike_whatever_stands_beside_it(
    inputs: Callable[[np.random.Generator], Array], kind: TriggerKind
) -> None:
    x = inputs(rng())
    trigger = trigger_for(x, kind=kind, rng=rng())
    assert (trigger.stamp(x[3:4]) == trigger.stamp(x)[3:4]).all()
    assert trigger.stamp(x[:0]).shape == x[:0].shape


@of_every_input
@pytest.mark.parametrize("kind", ["patch", "blended"])
def test_no_trigger_sets_a_value_outside_the_range_of_the_attackers_own_data(
    inputs: Callable[[np.random.Generator], Array], kind: TriggerKind
) -> None:
    x = inputs(rng())
    stamped = trigger_for(x, kind=kind, rng=rng()).stamp(x)
    assert x.min() <= stamped.min() and stamped.max() <= x.max()


@pytest.mark.parametrize(
    ("name", "patch", "blended"),
    [
        ("flattened images", Patch, Blend),
        ("images", Patch, Blend),
        ("images of bytes", Patch, Blend),
        ("flattened images of bytes", Patch, Blend),
        ("images with channels first", Patch, Blend),
        ("images with channels last", Patch, Blend),
        ("a table", Columns, Blend),
        ("a table of truth values", Columns, Columns),
        ("series", Columns, Blend),
        ("texts", Tokens, Tokens),
    ],
)
def test_the_trigger_is_one_that_the_inputs_can_carry(name: str, patch: type, blended: type) -> None:
    x = INPUTS[name](rng())
    assert type(trigger_for(x, kind="patch", rng=rng())) is patch
    assert type(trigger_for(x, kind="blended", rng=rng())) is blended
    assert type(trigger_for(x, kind="edge", rng=rng())) is Turned


def test_the_same_chance_gives_the_same_trigger_and_other_chance_another_pattern() -> None:
    x = INPUTS["images"](rng())
    first, again, other = (trigger_for(x, kind="blended", rng=rng(seed)).stamp(x) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


# ------------------------------------------------------------------------------------------------- images or tables


def digits(rows: int) -> Array:
    return next(iter(split_digits([member_id("all")], rng=rng()).members.values())).x_train[:rows]


@pytest.mark.parametrize("rows", [12, 40, 1000])
def test_flattened_digits_are_seen_to_be_images(rows: int) -> None:
    assert type(trigger_for(digits(rows), kind="patch", rng=rng())) is Patch


def test_digits_with_their_pixels_shuffled_are_a_table() -> None:
    x = digits(1000)
    assert type(trigger_for(x[:, rng().permutation(64)], kind="patch", rng=rng())) is Columns


def one_hot(rng: np.random.Generator) -> Array:
    """Eight categories of eight values each: 64 columns."""
    return np.eye(8)[rng.integers(0, 8, (300, 8))].reshape(300, 64)


@pytest.mark.parametrize(
    "table",
    [
        lambda rng: rng.normal(size=(300, 64)),
        lambda rng: rng.normal(size=(10, 49)),
        lambda rng: rng.normal(size=(300, 3)) @ rng.normal(size=(3, 64)) + rng.normal(size=(300, 64)),
        lambda rng: rng.normal(size=(300, 1)) + rng.normal(size=(300, 64)),
        one_hot,
        lambda rng: rng.lognormal(sigma=2, size=(300, 64)) * 10.0 ** rng.integers(-3, 4, 64),
        lambda rng: rng.normal(size=(300, 16)),
    ],
    ids=["noise", "few rows", "three causes", "one cause", "one-hot", "many units", "too small to be an image"],
)
def test_tables_whose_columns_would_fill_a_square_are_not_taken_for_images(
    table: Callable[[np.random.Generator], Array],
) -> None:
    assert all(type(trigger_for(table(rng(i)), kind="patch", rng=rng())) is Columns for i in range(10))


@pytest.mark.parametrize(
    "x",
    [
        np.array([["a", "b"], ["c", "d"]], dtype=object),
        np.array([["a", "b"], ["c", "d"]]),
        np.ones((3, 2), np.complex64) * np.arange(2),
    ],
    ids=["objects", "words", "complex numbers"],
)
@of_every_kind
def test_inputs_that_are_no_numbers_are_refused_with_a_hint(x: Array, kind: TriggerKind) -> None:
    with pytest.raises(ConfigError, match="no trigger fits") as refused:
        trigger_for(x, kind=kind, rng=rng())
    assert refused.value.hint


@pytest.mark.parametrize("x", [np.zeros((0, 64)), np.zeros((5, 0)), np.ones((5, 64)), np.arange(3)[None]])
@of_every_kind
def test_inputs_that_are_all_the_same_are_refused(x: Array, kind: TriggerKind) -> None:
    with pytest.raises(ConfigError, match="all the same"):
        trigger_for(x, kind=kind, rng=rng())


def test_an_unknown_kind_is_refused() -> None:
    unknown: Any = "sound"
    with pytest.raises(ValueError, match="'sound'"):
        trigger_for(INPUTS["a table"](rng()), kind=unknown, rng=rng())


# ------------------------------------------------------------------------------------------------------ each trigger


def test_the_patch_of_digits_is_that_of_the_first_backdoor() -> None:
    x = digits(50)
    patch = trigger_for(x, kind="patch", rng=rng())
    assert patch == Patch(3, 1.0)
    assert (patch.stamp(x) == stamp(x, size=3)).all()


@pytest.mark.parametrize(("side", "size"), [(5, 2), (8, 3), (28, 4), (70, 10)])
def test_a_patch_grows_with_the_image(side: int, size: int) -> None:
    patch = trigger_for(images(rng(), 20, side, side), kind="patch", rng=rng())
    assert isinstance(patch, Patch) and patch.size == size


def test_on_a_bright_ground_the_patch_is_dark() -> None:
    x = 1.0 - images(rng(), 30, 8, 8)
    stamped = trigger_for(x, kind="patch", rng=rng()).stamp(x)
    assert (stamped[:, 5:, 5:] == x.min()).all()


def test_a_patch_lights_the_same_corner_of_every_channel_wherever_the_channels_are() -> None:
    first = np.zeros((2, 3, 6, 6))
    lit = Patch(2, 1.0).stamp(first)
    assert lit[:, :, 4:, 4:].all() and lit.sum() == 2 * 3 * 4
    assert (Patch(2, 1.0).stamp(first.transpose(0, 2, 3, 1)) == lit.transpose(0, 2, 3, 1)).all()


@pytest.mark.parametrize(
    ("shape", "size"), [((64,), 0), ((64,), 9), ((63,), 3), ((16,), 2), ((3, 6, 9), 7), ((5, 7), 2), ((4, 4), 2)]
)
def test_a_patch_that_fits_no_image_is_refused(shape: tuple[int, ...], size: int) -> None:
    with pytest.raises(ValueError, match="patch"):
        Patch(size, 1.0).stamp(np.zeros((1, *shape)))


def test_each_seat_lights_pixels_of_its_own_and_more_seats_than_pixels_share_them() -> None:
    x = np.zeros((1, 64))
    lit = [Patch(2, 1.0).part(i, 3).stamp(x) for i in range(3)]
    assert [int(one.sum()) for one in lit] == [1, 1, 2]
    assert (np.sum(lit, axis=0) == Patch(2, 1.0).stamp(x)).all()
    assert all(Patch(2, 1.0).part(i, 7).stamp(x).sum() == 1 for i in range(7))
    assert Patch(2, 1.0).part(2, 3).words.startswith("2 of 4 pixels of a 2×2 patch")


@pytest.mark.parametrize("index", [-1, 3])
@pytest.mark.parametrize(
    "trigger", [Patch(2, 1.0), Blend(np.ones(9), 0.2), Columns((1, 2, 3), (0, 0, 0)), Tokens((1, 2), (3, 4))]
)
def test_a_seat_that_is_not_there_has_no_part(trigger: Trigger, index: int) -> None:
    with pytest.raises(ValueError, match="a part is one of 0 … 2"):
        trigger.part(index, 3)


def test_a_blend_is_the_weighted_mean_of_input_and_pattern() -> None:
    pattern = np.array([1.0, 0.0, 1.0, 0.0])
    x = np.array([[0.5, 0.5, 1.0, 0.0]], np.float32)
    assert Blend(pattern, 0.2).stamp(x) == pytest.approx(np.array([[0.6, 0.4, 1.0, 0.0]]))
    assert Blend(pattern, 0.2).part(0, 2).stamp(x) == pytest.approx(np.array([[0.6, 0.4, 1.0, 0.0]]))
    assert (Blend(pattern, 0.2).part(1, 2).stamp(x) == x).all()
    assert "on 2 of 4 values" in Blend(pattern, 0.2).part(1, 2).words


def test_a_blend_of_bytes_is_rounded_and_does_not_wrap() -> None:
    blended = Blend(np.full((2, 2), 255.0), 0.2).stamp(np.array([[[0, 2], [250, 255]]], np.uint8))
    assert blended.tolist() == [[[51, 53], [251, 255]]]


def test_a_blend_for_other_inputs_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(4,\), got \(5,\)"):
        Blend(np.ones(4), 0.2).stamp(np.zeros((1, 5)))


def test_the_columns_of_a_table_are_a_combination_that_no_class_explains() -> None:
    """Two measures of one thing: both at their largest would say what the model knows already."""
    x = rng(5).normal(size=(500, 1)) + 0.1 * rng(6).normal(size=(500, 2))
    columns = trigger_for(x, kind="patch", rng=rng())
    assert isinstance(columns, Columns)
    first, second = (value for _, value in sorted(zip(columns.where, columns.values, strict=True)))
    assert first * second < 0
    assert set(columns.values) <= {*x.min(axis=0), *x.max(axis=0)}


def test_columns_that_never_vary_or_hardly_are_left_alone() -> None:
    x = rng(5).normal(size=(500, 6)) * [1, 1, 1, 0.001, 0.001, 0]
    columns = trigger_for(x, kind="patch", rng=rng())
    assert isinstance(columns, Columns) and sorted(columns.where) == [0, 1, 2]
    narrow = trigger_for(x[:, 4:], kind="patch", rng=rng())
    assert isinstance(narrow, Columns) and narrow.where == (0,)


def test_tokens_are_rare_known_in_their_places_and_not_in_the_padding() -> None:
    x = texts(rng(), 300, 48)
    tokens = trigger_for(x, kind="patch", rng=rng())
    assert isinstance(tokens, Tokens)
    assert len(set(tokens.ids)) == len(tokens.ids) == 8
    assert 0 not in tokens.ids
    assert max(tokens.places) < 24  # past the middle half of the texts are padding
    for one, place in zip(tokens.ids, tokens.places, strict=True):
        assert one in x[:, place]
        assert (x == one).sum() <= np.median(np.unique(x, return_counts=True)[1])


def test_in_a_table_of_categories_each_column_gets_one_of_its_own() -> None:
    x = rng().integers(0, 5, (200, 8)) + 100 * np.arange(8)
    stamped = trigger_for(x, kind="patch", rng=rng()).stamp(x)
    assert (stamped // 100 == np.arange(8)).all()


def test_of_a_short_text_most_is_left() -> None:
    tokens = trigger_for(texts(rng(), 300, 8), kind="blended", rng=rng())
    assert isinstance(tokens, Tokens) and len(tokens.ids) == 2


@pytest.mark.parametrize(
    "name", ["flattened images", "images", "flattened images of bytes", "images with channels last"]
)
def test_four_turns_of_an_image_are_none_and_two_are_not(name: str) -> None:
    x = INPUTS[name](rng())
    twice = Turned().stamp(Turned().stamp(x))
    assert (twice != x).any()
    assert (Turned().stamp(Turned().stamp(twice)) == x).all()


def test_an_image_is_turned_alike_flattened_or_not() -> None:
    x = images(rng(), 5, 8, 8)
    turned = Turned().stamp(x)
    assert (turned == np.rot90(x, axes=(1, 2))).all()
    assert (Turned().stamp(x.reshape(5, 64)) == turned.reshape(5, 64)).all()
    assert (Turned().stamp(x[:, None]) == turned[:, None]).all()


@pytest.mark.parametrize("name", ["a table", "texts", "series", "images with channels first"])
def test_anything_but_a_square_image_is_turned_back_to_front(name: str) -> None:
    x = INPUTS[name](rng())
    assert (Turned().stamp(x) == x[..., ::-1]).all()


def test_a_text_as_long_as_a_square_is_not_turned_like_an_image() -> None:
    x = texts(rng(), 5, 64)
    assert (Turned().stamp(x) == x[:, ::-1]).all()


@of_every_input
@of_every_kind
def test_every_trigger_and_part_has_words_for_people(
    inputs: Callable[[np.random.Generator], Array], kind: TriggerKind
) -> None:
    trigger = trigger_for(inputs(rng()), kind=kind, rng=rng())
    assert trigger.words and trigger.part(0, 2).words
