"""A torch module as a `Model`: exact gradients, honest labels, nothing of the user's touched, statistics kept apart."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from phalanx.errors import ConfigError
from phalanx.learning.adapters.pure_module import module_of, pure_loss
from phalanx.learning.adapters.torch_module import torch_model
from phalanx.learning.contract import Tensors
from phalanx.learning.data import Array, Labels
from phalanx.learning.models import small_cnn, small_network, softmax_regression, tensors_of, text_transformer

RNG = np.random.default_rng(8)
X = RNG.normal(size=(30, 6)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 0)
IMAGES = RNG.normal(size=(6, 28, 28)).astype(np.float32)
TOKENS = RNG.integers(1, 20, (9, 7)) * (np.arange(7) < RNG.integers(1, 8, (9, 1)))


def transformer() -> nn.Module:
    return text_transformer(vocabulary=20, width=8, heads=2, layers=2, length=7, classes=3, seed=1)


def torchs_own_transformer() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    stack = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
    return nn.Sequential(nn.Embedding(20, 8), stack, nn.Flatten(), nn.Linear(56, 3))


def grouped() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.GroupNorm(2, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


def batch_normed() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


CASES: list[tuple[Callable[[], nn.Module], Array, Labels]] = [
    (lambda: softmax_regression(6, 3), X, Y),
    (lambda: small_network(6, 5, 3, seed=4), X, Y),
    (grouped, X, Y),
    (lambda: small_cnn(3, seed=2), IMAGES, Y[:6]),
    (transformer, TOKENS, Y[:9]),
    (torchs_own_transformer, TOKENS, Y[:9]),
]


def by_backward(module: nn.Module, x: Array, y: Labels) -> Tensors:
    """torch's own gradient of the mean loss."""
    module = copy.deepcopy(module)
    module.zero_grad()
    nn.functional.cross_entropy(module(torch.tensor(x)), torch.tensor(y)).backward()  # type: ignore[no-untyped-call]
    return {name: one.grad.numpy() for name, one in module.named_parameters() if one.grad is not None}


def same(some: Tensors, others: Tensors) -> bool:
    return list(some) == list(others) and all((some[name] == others[name]).all() for name in some)


@pytest.mark.parametrize(("make", "x", "y"), CASES)
def test_per_example_gradients_equal_a_loop_of_backward_passes(
    make: Callable[[], nn.Module], x: Array, y: Labels
) -> None:
    model, module = torch_model(make, 3), module_of(make)
    assert model.per_example_gradients and model.gradient
    rows = model.per_example_gradients(model.initial_model(), x, y)
    for i in range(len(x)):
        alone = by_backward(module, x[i : i + 1], y[i : i + 1])
        for name, value in alone.items():
            assert np.allclose(rows[name][i], value, rtol=1e-4, atol=1e-6)  # float32, another order of sums
    mean = model.gradient(model.initial_model(), x, y)
    for name, value in by_backward(module, x, y).items():
        assert np.allclose(mean[name], value, rtol=1e-4, atol=1e-6)
        assert np.allclose(mean[name], rows[name].mean(axis=0), rtol=1e-4, atol=1e-6)
        assert mean[name].dtype == rows[name].dtype == np.float32


@pytest.mark.parametrize("make", [lambda: softmax_regression(6, 3), lambda: small_network(6, 5, 3, seed=4)])
def test_the_bits_are_those_of_one_vmap_over_all_examples(make: Callable[[], nn.Module]) -> None:
    """The arithmetic that the demo's committed figures come from: cutting into chunks must not show there."""
    module, model = make(), torch_model(make(), 3)
    tensors = {name: torch.from_numpy(value) for name, value in tensors_of(module).items()}

    def loss(tensors: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(functional_call(module, tensors, (x,)), y)

    each = vmap(grad(lambda tensors, x, y: loss(tensors, x[None], y[None])), in_dims=(None, 0, 0))
    assert model.per_example_gradients and model.gradient
    found = model.per_example_gradients(model.initial_model(), X, Y)
    for name, value in each(tensors, torch.tensor(X), torch.tensor(Y)).items():
        assert found[name].tobytes() == value.numpy().tobytes()
    found = model.gradient(model.initial_model(), X, Y)
    for name, value in grad(loss)(tensors, torch.tensor(X), torch.tensor(Y)).items():
        assert found[name].tobytes() == value.numpy().tobytes()


def test_chunks_of_examples_give_each_example_its_own_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    model = torch_model(small_network(6, 5, 3, seed=4), 3)
    assert model.per_example_gradients
    whole, labels = model.per_example_gradients(model.initial_model(), X, Y), model.predict(model.initial_model(), X)
    monkeypatch.setattr("phalanx.learning.adapters.torch_module._NUMBERS", 7 * 53)  # 53 parameters
    monkeypatch.setattr("phalanx.learning.adapters.torch_module._ROWS", 7)
    parts = model.per_example_gradients(model.initial_model(), X, Y)
    assert all(np.allclose(whole[name], parts[name], rtol=1e-5, atol=1e-7) for name in whole)
    assert (labels == model.predict(model.initial_model(), X)).all()


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_the_tensors_given_are_the_tensors_used(seed: int) -> None:
    """Round trip: numpy in, the module's own output for exactly these weights out."""
    model, module = torch_model(batch_normed, 3), module_of(batch_normed)
    rng = np.random.default_rng(seed)
    tensors = {
        name: rng.uniform(0.1, 2.0, value.shape).astype(np.float32) for name, value in model.initial_model().items()
    }
    module.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()}, strict=False)
    logits = module(torch.tensor(X)).detach().numpy()
    labels = model.predict(tensors, X)
    assert (labels[labels >= 0] == logits.argmax(axis=1)[labels >= 0]).all()


def test_a_tie_and_an_output_that_is_not_finite_are_no_prediction() -> None:
    """Off twin: by argmax a model of zeros says class 0 of everything."""
    model = torch_model(softmax_regression(6, 3), 3)
    zero = model.initial_model()
    assert (model.predict(zero, X) == -1).all()
    assert (functional_call(softmax_regression(6, 3), {}, (torch.tensor(X),)).argmax(dim=1) == 0).all()
    huge = {**zero, "weight": np.array([[3e38] * 6, [0] * 6, [0] * 6], np.float32)}  # class 0 leads, by infinity
    assert (model.predict(huge, np.abs(X) + 10) == -1).all()
    sure = {**zero, "bias": np.array([0, 1, 0], np.float32)}
    assert (model.predict(sure, X) == 1).all()
    assert model.predict(sure, X[:0]).shape == (0,)


def test_the_module_and_the_global_generator_are_left_alone() -> None:
    module = batch_normed().train()
    before, state = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    model = torch_model(module, 3)
    tensors = model.initial_model()
    kept = copy.deepcopy(tensors)
    assert model.gradient and model.refresh
    model.gradient(tensors, X, Y), model.refresh(tensors, X), model.predict(tensors, X)
    torch_model(torchs_own_transformer, 3)
    assert same(model.initial_model(), kept)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert module.training and same(tensors, kept)
    tensors["0.weight"][:] = 0
    assert model.initial_model()["0.weight"].any()


@pytest.mark.parametrize("make", [batch_normed, grouped])
def test_the_same_inputs_give_the_same_bytes_whatever_the_global_generator(make: Callable[[], nn.Module]) -> None:
    def run(seed: int) -> Tensors:
        torch.manual_seed(seed)
        model = torch_model(make, 3)
        assert model.gradient
        return dict(model.gradient(model.initial_model(), X, Y))

    assert same(run(1), run(2))


def test_a_make_without_a_fixed_seed_would_start_each_member_elsewhere() -> None:
    """Off twin of the fixed seed."""
    assert not same(tensors_of(grouped()), tensors_of(grouped()))
    assert same(torch_model(grouped, 3).initial_model(), torch_model(grouped, 3).initial_model())


def test_batch_norm_learns_from_the_batch_and_refreshes_to_the_statistics_of_the_data() -> None:
    model, module = torch_model(batch_normed, 3), module_of(batch_normed)
    start = model.initial_model()
    assert [name for name in start if "running" in name] == ["1.running_mean", "1.running_var"]
    assert model.gradient and model.refresh
    module.get_submodule("1").train()
    expected = by_backward(module, X, Y)
    found = model.gradient(start, X, Y)
    assert sorted(found) == sorted(expected)
    assert all(np.allclose(found[name], expected[name], rtol=1e-4, atol=1e-6) for name in expected)
    hidden = X @ start["0.weight"].T + start["0.bias"]
    fresh = model.refresh({**start, "1.running_mean": np.full(8, np.nan, np.float32)}, X)
    assert np.allclose(fresh["1.running_mean"], hidden.mean(axis=0), atol=1e-6)
    assert np.allclose(fresh["1.running_var"], hidden.var(axis=0, ddof=1), rtol=1e-5)


def test_statistics_over_several_parts_are_the_parts_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phalanx.learning.adapters.running_statistics._ROWS", 12)
    model = torch_model(batch_normed, 3)
    start = model.initial_model()
    assert model.refresh
    hidden = X @ start["0.weight"].T + start["0.bias"]
    fresh = model.refresh(start, X)
    assert np.allclose(fresh["1.running_mean"], hidden.mean(axis=0), atol=1e-6)  # three parts of ten
    parts = np.mean([part.var(axis=0, ddof=1) for part in np.split(hidden, 3)], axis=0)
    assert np.allclose(fresh["1.running_var"], parts, rtol=1e-5)


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(8), nn.BatchNorm1d(8, track_running_stats=False)])
def test_example_level_privacy_with_batch_norm_is_refused_by_the_layers_name(layer: nn.Module) -> None:
    """Twin: the statistics carry every example into each gradient, so one example changes the others' clipped rows."""
    model = torch_model(nn.Sequential(nn.Linear(6, 8), layer, nn.Linear(8, 3)), 3)
    assert model.per_example_gradients and model.gradient
    with pytest.raises(ConfigError, match="layer '1'") as refused:
        model.per_example_gradients(model.initial_model(), X, Y)
    assert "group norm" in refused.value.hint and "no example-level privacy" in refused.value.hint
    other = np.concatenate([X[:1] * 100, X[1:]])
    both = [model.gradient(model.initial_model(), x, Y)["2.weight"] for x in (X, other)]
    assert np.abs(both[0] - both[1]).max() > 1e-3


def test_per_example_gradients_do_not_depend_on_the_other_examples() -> None:
    model = torch_model(grouped, 3)
    assert model.per_example_gradients
    other = np.concatenate([X[:1] * 100, X[1:]])
    rows = [model.per_example_gradients(model.initial_model(), x, Y)["4.weight"] for x in (X, other)]
    assert np.allclose(rows[0][1:], rows[1][1:], rtol=1e-5, atol=1e-7)


def test_frozen_parameters_integer_buffers_and_constants_are_no_tensors() -> None:
    module = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3))
    module[0].weight.requires_grad_(False)
    module.register_buffer("count", torch.arange(3))
    module.register_buffer("table", torch.ones(3), persistent=False)
    model = torch_model(module, 3)
    assert sorted(model.initial_model()) == ["0.bias", "1.bias", "1.weight"]
    assert model.refresh is None
    assert model.per_example_gradients
    assert sorted(model.per_example_gradients(model.initial_model(), X, Y)) == ["0.bias", "1.bias", "1.weight"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_precisions_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(ConfigError, match=r"'weight' must be float32, got torch\.\w*float"):
        torch_model(nn.Linear(6, 3).to(dtype), 3)


def test_a_module_with_nothing_to_train_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing to train"):
        torch_model(nn.Flatten(), 3)


def test_another_loss_is_the_one_that_is_minimised() -> None:
    def squares(logits: Tensor, y: Tensor) -> Tensor:
        return ((logits - nn.functional.one_hot(y, 3)) ** 2).sum(dim=1).mean()

    module = small_network(6, 5, 3, seed=4)
    model = torch_model(module, 3, squares)
    assert model.gradient
    squares(module(torch.tensor(X)), torch.tensor(Y)).backward()  # type: ignore[no-untyped-call]
    found = model.gradient(model.initial_model(), X, Y)
    for name, one in module.named_parameters():
        assert one.grad is not None and np.allclose(found[name], one.grad.numpy(), rtol=1e-4, atol=1e-6)


def test_the_pure_loss_can_be_stacked_over_members() -> None:
    module = small_network(6, 5, 3, seed=4)
    loss, tensors = pure_loss(module), dict(module.named_parameters())
    stacked = {name: torch.stack([value, 2 * value]).detach() for name, value in tensors.items()}
    x, y = torch.tensor(X).reshape(2, 15, 6), torch.tensor(Y).reshape(2, 15)
    together = vmap(loss)(stacked, x, y)
    alone = [loss({name: value[i] for name, value in stacked.items()}, x[i], y[i]).item() for i in (0, 1)]
    assert np.allclose(together.numpy(), alone, rtol=1e-5)
