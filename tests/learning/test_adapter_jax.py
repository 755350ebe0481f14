"""A JAX function as a `Model`, against jax.grad example by example."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phalanx.errors import ConfigError
from phalanx.learning.adapters.jax_function import jax_model

RNG = np.random.default_rng(8)
X = RNG.normal(size=(12, 6)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 0)


def init() -> Any:
    first, second = jax.random.split(jax.random.key(3))
    layers = [
        {"w": jax.random.normal(first, (6, 5)), "b": jnp.zeros(5)},
        {"w": jax.random.normal(second, (5, 3)), "b": jnp.ones(3)},
    ]
    return {"layers": layers, "scale": jnp.float32(0.5)}


def apply(parameters: Any, x: Any) -> Any:
    first, second = parameters["layers"]
    return parameters["scale"] * (jnp.tanh(x @ first["w"] + first["b"]) @ second["w"] + second["b"])


def loss_of_one(parameters: Any, x: Any, y: int) -> Any:
    return -jax.nn.log_softmax(apply(parameters, x))[y]


MODEL = jax_model(init, apply, 3)
NAMES = ["layers/0/b", "layers/0/w", "layers/1/b", "layers/1/w", "scale"]


def test_tensors_are_named_by_their_path() -> None:
    start = jax_model(init, apply, 3).initial_model()
    assert list(start) == NAMES
    assert (start["layers/1/w"] == init()["layers"][1]["w"]).all() and start["scale"].shape == ()


def test_gradients_equal_jax_grad_example_by_example(monkeypatch: pytest.MonkeyPatch) -> None:
    of_one = jax.jit(jax.grad(loss_of_one))
    expected = [jax.tree.leaves(of_one(init(), x, y)) for x, y in zip(X, Y, strict=True)]
    for numbers in (1 << 24, 6 * 54):  # all at once, then six examples at once: 54 parameters
        monkeypatch.setattr("phalanx.learning.adapters.jax_function._NUMBERS", numbers)
        model = jax_model(init, apply, 3)
        assert model.per_example_gradients and model.gradient
        rows = model.per_example_gradients(model.initial_model(), X, Y)
        mean = model.gradient(model.initial_model(), X, Y)
        for at, name in enumerate(NAMES):
            alone = np.stack([leaves[at] for leaves in expected])
            assert np.allclose(rows[name], alone, rtol=1e-5, atol=1e-6)
            assert np.allclose(mean[name], alone.mean(axis=0), rtol=1e-5, atol=1e-6)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_the_tensors_given_are_the_tensors_used(seed: int) -> None:
    """Round trip: named arrays in, what `apply` says of exactly these parameters out. They are left as they were."""
    rng = np.random.default_rng(seed)
    shapes = {name: value.shape for name, value in MODEL.initial_model().items()}
    tensors = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    kept = {name: value.copy() for name, value in tensors.items()}
    layers = [{key: tensors[f"layers/{i}/{key}"] for key in "wb"} for i in (0, 1)]
    logits = np.asarray(apply({"layers": layers, "scale": tensors["scale"]}, X))
    near = np.sort(logits, axis=1)
    clear = near[:, -1] - near[:, -2] > 1e-4  # compiled and not, sums differ in the last bits
    assert (MODEL.predict(tensors, X) == logits.argmax(axis=1))[clear].all()
    assert all((tensors[name] == kept[name]).all() for name in kept)


def test_the_same_inputs_give_the_same_bytes() -> None:
    def run() -> list[bytes]:
        model = jax_model(init, apply, 3)
        assert model.per_example_gradients
        found = model.per_example_gradients(model.initial_model(), X, Y)
        return [found[name].tobytes() for name in NAMES]

    assert run() == run()


def test_a_tie_and_an_output_that_is_not_finite_are_no_prediction() -> None:
    """Off twin: by argmax a model of zeros says class 0 of everything."""
    model = jax_model(lambda: {"w": jnp.zeros((6, 3)), "b": jnp.zeros(3)}, lambda p, x: x @ p["w"] + p["b"], 3)
    zero = model.initial_model()
    assert (model.predict(zero, X) == -1).all()
    assert ((X @ zero["w"] + zero["b"]).argmax(axis=1) == 0).all()
    huge = {**zero, "w": np.array([[3e38, 0, 0]] * 6, np.float32)}  # class 0 leads, by infinity
    assert (model.predict(huge, np.abs(X) + 10) == -1).all()
    assert (model.predict({**zero, "b": np.array([0, 1, 0], np.float32)}, X) == 1).all()
    assert model.predict(zero, X[:0]).shape == (0,)


def test_changing_the_initial_model_changes_no_later_one() -> None:
    model = jax_model(init, apply, 3)
    model.initial_model()["layers/0/w"][:] = 0
    assert model.initial_model()["layers/0/w"].any()


def test_per_example_gradients_do_not_depend_on_the_other_examples() -> None:
    assert MODEL.per_example_gradients
    other = np.concatenate([X[:1] * 100, X[1:]])
    rows = [MODEL.per_example_gradients(MODEL.initial_model(), x, Y)["layers/1/w"] for x in (X, other)]
    assert (rows[0][1:] == rows[1][1:]).all()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: {"w": np.zeros((6, 3))},  # float64
        lambda: {"w": jnp.zeros((6, 3), jnp.float16)},
        lambda: {"w": jnp.zeros((6, 3), jnp.int32)},
        lambda: {"a/b": jnp.zeros(3), "a": {"b": jnp.zeros(3)}},
    ],
)
def test_parameters_that_are_not_float32_or_share_a_name_are_refused(wrong: Callable[[], Any]) -> None:
    with pytest.raises(ConfigError, match="float32, each with a name of its own, got "):
        jax_model(wrong, apply, 3)
