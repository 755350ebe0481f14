"""The convolutional network and the text transformer that Phalanx brings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from phalanx.learning.models import small_cnn, tensors_of, text_transformer

SMALL = {"vocabulary": 20, "width": 8, "heads": 2, "layers": 2, "length": 7, "classes": 3}


@pytest.mark.parametrize(
    "make", [lambda seed: small_cnn(10, seed=seed), lambda seed: text_transformer(**SMALL, seed=seed)]
)
def test_weights_come_from_the_seed_and_the_global_generator_is_left_alone(make) -> None:  # type: ignore[no-untyped-def]
    state = torch.get_rng_state()
    first, again, other = (tensors_of(make(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all((first[name] == again[name]).all() for name in first)
    assert any((first[name] != other[name]).any() for name in first)


@pytest.mark.parametrize("shape", [(784,), (28, 28), (1, 28, 28), (28, 28, 1)])
def test_images_may_come_in_any_shape_of_784_numbers(shape: tuple[int, ...]) -> None:
    images = torch.arange(3 * 784, dtype=torch.float32).reshape(3, 784) / 784
    network = small_cnn(10, seed=1)
    assert network(images.reshape(3, *shape)).shape == (3, 10)
    assert torch.equal(network(images.reshape(3, *shape)), network(images))


def test_padding_changes_no_other_token() -> None:
    """Off twin: with another id in its place the logits move."""
    network = text_transformer(**SMALL, seed=1)
    text = torch.tensor([[3, 9, 4]])
    padded = torch.tensor([[3, 9, 4, 0, 0, 0, 0]])
    filled = torch.tensor([[3, 9, 4, 5, 5, 5, 5]])
    assert torch.allclose(network(text), network(padded), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(network(text), network(filled), rtol=1e-2, atol=1e-2)


def test_a_text_of_padding_alone_has_finite_logits_and_gradients() -> None:
    network = text_transformer(**SMALL, seed=1)
    logits = network(torch.zeros(2, 7, dtype=torch.int64))
    assert torch.equal(logits, network.head.bias.expand(2, 3))  # type: ignore[operator, union-attr]
    logits.square().sum().backward()
    assert all(one.grad is None or np.isfinite(one.grad.numpy()).all() for one in network.parameters())


def test_attention_equals_torchs_own() -> None:
    network = text_transformer(**SMALL, seed=1)
    block: Any = network.get_submodule("blocks.0")
    rng = np.random.default_rng(0)
    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(block.queries_keys_values.weight)
        theirs.out_proj.weight.copy_(block.attended.weight)
    x = torch.tensor(rng.normal(size=(4, 7, 8)), dtype=torch.float32)
    there = torch.tensor(np.arange(7) < np.array([[7], [3], [1], [5]]))
    normed = block.before_attention(x)
    after = x + theirs(normed, normed, normed, key_padding_mask=~there, need_weights=False)[0]
    after = after + block.narrow(torch.nn.functional.gelu(block.widen(block.before_dense(after))))
    assert torch.allclose(block(x, there), after, rtol=1e-4, atol=1e-5)


def test_heads_have_to_divide_the_width() -> None:
    with pytest.raises(ValueError, match="heads must divide width = 8, got 3"):
        text_transformer(**{**SMALL, "heads": 3}, seed=1)
