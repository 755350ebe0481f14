"""Low-rank adapters: the first model is the frozen one, only the adapters travel, and they are the merged weights."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from phalanx.errors import ConfigError
from phalanx.learning.adapters.low_rank import frozen_digest, low_rank_model
from phalanx.learning.adapters.pure_module import module_of
from phalanx.learning.adapters.torch_module import torch_model
from phalanx.learning.contract import Model, Tensors
from phalanx.learning.models import small_network

RNG = np.random.default_rng(8)
X = RNG.normal(size=(12, 6)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 0)


def base() -> nn.Module:
    return small_network(6, 5, 3, seed=4)


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))


def adapted(module: nn.Module | None = None, *, seed: int = 1, rank: int = 2, alpha: float = 6.0) -> Model:
    module = base() if module is None else module
    return low_rank_model(module, classes=3, rank=rank, alpha=alpha, targets=["0"], train_too=["2.*"], seed=seed)


def drawn(model: Model, seed: int) -> Tensors:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=value.shape).astype(np.float32) for name, value in model.initial_model().items()}


def merged(tensors: Tensors, *, scale: float) -> nn.Module:
    """The base with each adapter added into its weight: a plain module."""
    module = base()
    with torch.no_grad():
        module.get_parameter("0.weight").add_(torch.tensor(scale * tensors["0.low_rank_b"] @ tensors["0.low_rank_a"]))
        for name in ("2.weight", "2.bias"):
            module.get_parameter(name).copy_(torch.tensor(tensors[name]))
    return module


def test_only_the_adapters_and_what_is_named_besides_travel() -> None:
    shapes = {name: value.shape for name, value in adapted().initial_model().items()}
    assert shapes == {"0.low_rank_a": (2, 6), "0.low_rank_b": (5, 2), "2.weight": (3, 5), "2.bias": (3,)}


def test_the_first_model_is_the_frozen_one() -> None:
    model, plain = adapted(), torch_model(base(), 3)
    assert not model.initial_model()["0.low_rank_b"].any() and model.initial_model()["0.low_rank_a"].any()
    assert (model.predict(model.initial_model(), X) == plain.predict(plain.initial_model(), X)).all()


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_gradients_are_those_of_the_merged_weights_by_the_chain_rule(seed: int) -> None:
    model = adapted()
    tensors = drawn(model, seed)
    module, a, b = merged(tensors, scale=3.0), tensors["0.low_rank_a"], tensors["0.low_rank_b"]
    assert model.gradient and model.per_example_gradients
    found, rows = model.gradient(tensors, X, Y), model.per_example_gradients(tensors, X, Y)
    nn.functional.cross_entropy(module(torch.tensor(X)), torch.tensor(Y)).backward()  # type: ignore[no-untyped-call]
    by_weight = {name: one.grad.numpy() for name, one in module.named_parameters() if one.grad is not None}
    expected = {
        "0.low_rank_a": 3.0 * b.T @ by_weight["0.weight"],
        "0.low_rank_b": 3.0 * by_weight["0.weight"] @ a.T,
        "2.weight": by_weight["2.weight"],
        "2.bias": by_weight["2.bias"],
    }
    assert sorted(found) == sorted(expected)
    for name, value in expected.items():
        size = max(1.0, float(np.abs(value).max()))  # float32 sums of terms of this size, in another order
        assert np.allclose(found[name], value, rtol=1e-3, atol=1e-5 * size)
        assert np.allclose(rows[name].mean(axis=0), value, rtol=1e-3, atol=1e-5 * size)


@pytest.mark.parametrize("seed", range(5))
def test_labels_are_those_of_the_merged_weights(seed: int) -> None:
    """Off twin: without the adapters the same head says something else."""
    model = adapted()
    tensors = drawn(model, seed)
    labels = merged(tensors, scale=3.0)(torch.tensor(X)).argmax(dim=1).numpy()
    assert (model.predict(tensors, X) == labels).all()
    assert (merged(tensors, scale=0.0)(torch.tensor(X)).argmax(dim=1).numpy() != labels).any()


def test_adapters_count_in_torchs_own_encoder_which_reads_weights_past_its_layers() -> None:
    def make() -> nn.Module:
        encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        return nn.Sequential(nn.Embedding(20, 8), encoder, nn.Flatten(), nn.Linear(32, 3))

    model = low_rank_model(make, classes=3, rank=2, alpha=4, targets=["*.linear1"], seed=1)
    tokens = np.random.default_rng(1).integers(0, 20, (40, 4))
    assert (model.predict(model.initial_model(), tokens) != model.predict(drawn(model, 1), tokens)).any()


def test_the_seed_decides_the_first_model_and_the_module_is_left_alone() -> None:
    module = base()
    before = copy.deepcopy(module.state_dict())
    first, again, other = (adapted(module, seed=seed).initial_model() for seed in (1, 1, 2))
    assert all((first[name] == again[name]).all() for name in first)
    assert (first["0.low_rank_a"] != other["0.low_rank_a"]).any()
    assert list(module.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(one.requires_grad for one in module.parameters())
    assert not any(layer._forward_hooks for layer in module.modules())


def test_a_frozen_batch_norm_keeps_its_statistics_and_allows_example_level_privacy() -> None:
    model = low_rank_model(normed, classes=3, rank=2, alpha=4, targets=["2"], seed=1)
    assert model.refresh is None and sorted(model.initial_model()) == ["2.low_rank_a", "2.low_rank_b"]
    assert model.per_example_gradients
    tensors, other = drawn(model, 1), np.concatenate([X[:1] * 100, X[1:]])
    rows = [model.per_example_gradients(tensors, x, Y)["2.low_rank_b"] for x in (X, other)]
    assert np.allclose(rows[0][1:], rows[1][1:], rtol=1e-5, atol=1e-7)
    with pytest.raises(ConfigError, match="statistics"):  # off twin: trained as a whole it is refused
        whole = torch_model(normed, 3)
        assert whole.per_example_gradients
        whole.per_example_gradients(whole.initial_model(), X, Y)


def test_the_digest_names_the_frozen_base() -> None:
    def changed(name: str) -> nn.Module:
        module = base()
        with torch.no_grad():
            module.get_parameter(name).flatten()[0] += 1
        return module

    digest = frozen_digest(base, train_too=["2.*"])
    assert digest == frozen_digest(base(), train_too=["2.*"]) and len(digest) == 64
    assert digest != frozen_digest(changed("0.weight"), train_too=["2.*"])
    assert digest == frozen_digest(changed("2.weight"), train_too=["2.*"])
    assert digest != frozen_digest(changed("2.weight"))
    used = module_of(normed)
    used.get_buffer("1.running_mean")[0] += 1
    assert frozen_digest(normed) != frozen_digest(used)


@pytest.mark.parametrize(("rank", "alpha"), [(0, 1.0), (6, 1.0), (2, 0.0), (2, float("nan")), (2, float("inf"))])
def test_a_rank_or_alpha_that_makes_no_adapter_is_refused(rank: int, alpha: float) -> None:
    with pytest.raises(ConfigError, match=r"layer '0' \(5, 6\) takes no adapter"):
        adapted(rank=rank, alpha=alpha)


@pytest.mark.parametrize(("targets", "train_too"), [(["1"], []), (["head"], []), (["0"], ["3.*"])])
def test_a_pattern_that_names_nothing_is_refused(targets: list[str], train_too: list[str]) -> None:
    with pytest.raises(ConfigError, match="names nothing; there are: 0"):
        low_rank_model(base, classes=3, rank=1, alpha=1.0, targets=targets, train_too=train_too, seed=1)
