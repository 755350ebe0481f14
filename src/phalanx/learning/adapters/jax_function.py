"""A JAX function as a `Model`. Needs the `jax` extra.

Parameters may nest in dictionaries, lists and tuples: the tensor at params["layers"][0]["w"] is named "layers/0/w".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phalanx.errors import ConfigError
from phalanx.learning.contract import Model, Tensors
from phalanx.learning.data import Array, Labels
from phalanx.types import F32

_NUMBERS = 1 << 24  # numbers in the per-example gradients that are made at once: 64 MiB on the device


def jax_model(init: Callable[[], Any], apply: Callable[[Any, Any], Any], classes: int) -> Model:
    """`apply(init(), x)` maps inputs (n, …) to logits (n, classes); the loss is cross-entropy.

    `init` is called once. `apply` is pure and traced, as JAX wants it. For its per-example gradient each example goes
    through it alone, as a batch of one. Runs on JAX's default device. Raises ConfigError for parameters that are not
    float32 and for two of the same name.
    """
    paths, tree = jax.tree.flatten_with_path(init())
    start = [(jax.tree_util.keystr(path, simple=True, separator="/"), np.asarray(value)) for path, value in paths]
    names, rows = [name for name, _ in start], max(1, _NUMBERS // max(1, sum(value.size for _, value in start)))
    if len(set(names)) < len(names) or any(value.dtype != np.float32 for _, value in start):
        found = ", ".join(f"{name}: {value.dtype}" for name, value in start)
        raise ConfigError(f"parameters must be float32, each with a name of its own, got {found}")

    def loss(parameters: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        chances = jax.nn.log_softmax(apply(parameters, x))
        return -jnp.take_along_axis(chances, y[:, None], axis=1).mean()

    of_one = jax.grad(lambda parameters, x, y: loss(parameters, x[None], y[None]))
    of_each, of_mean = jax.jit(jax.vmap(of_one, in_axes=(None, 0, 0))), jax.jit(jax.grad(loss))
    logits_of = jax.jit(apply)

    def nested(model: Tensors) -> Any:
        return jax.tree.unflatten(tree, [jnp.asarray(model[name]) for name in names])

    def flat(parameters: Any) -> dict[str, F32]:
        return {name: np.asarray(value) for name, value in zip(names, jax.tree.leaves(parameters), strict=True)}

    def per_example_gradients(model: Tensors, x: Array, y: Labels) -> dict[str, F32]:
        parts = [slice(at, at + rows) for at in range(0, len(x), rows)]
        found = [flat(of_each(nested(model), x[part], y[part])) for part in parts]
        return {name: np.concatenate([part[name] for part in found]) for name in names}

    def predict(model: Tensors, x: Array) -> Labels:
        """-1 where an output is not finite or classes share the highest, as in a model of zeros."""
        logits = np.asarray(logits_of(nested(model), x))
        lead = (logits == logits.max(axis=1, keepdims=True)).sum(axis=1) == 1
        return np.where(np.isfinite(logits).all(axis=1) & lead, logits.argmax(axis=1), -1)

    return Model(
        classes=classes,
        initial_model=lambda: {name: value.copy() for name, value in start},
        predict=predict,
        per_example_gradients=per_example_gradients,
        gradient=lambda model, x, y: flat(of_mean(nested(model), x, y)),
        logits=lambda model, x: np.asarray(logits_of(nested(model), x)),
    )
