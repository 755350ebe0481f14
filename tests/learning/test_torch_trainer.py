"""torch behind the contract: exact per-example gradients, the same bytes twice, honest tallies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from phalanx.learning import Descent, MemberData, Trainer, flatten, private_mean
from phalanx.learning.models import small_network, softmax_regression, tensors_of
from phalanx.learning.torch_trainer import TorchTrainer
from phalanx.types import F32, ExamplePrivacy, TrainTask

PRIVACY = ExamplePrivacy(clip_l2=1.0, noise_multiplier=3.8, normaliser=30, epsilon=8.0, delta=1e-5)
PLAIN, PRIVATE = TrainTask(3, None), TrainTask(3, PRIVACY, b"k" * 32)
SETTINGS = Descent(learning_rate=1.0, momentum=0.9)
MODULES: list[Callable[[], nn.Module]] = [
    lambda: softmax_regression(6, 3),
    lambda: small_network(6, 5, 3, seed=4),
    lambda: nn.Sequential(nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 2, 2), nn.Flatten(), small_network(4, 4, 3, seed=5)),
]


def data() -> MemberData:
    rng = np.random.default_rng(8)
    x = rng.normal(size=(40, 6)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64) + (x[:, 1] > 0)
    return MemberData(x[:30], y[:30], x[30:], y[30:], 3)


def vector_of(module: nn.Module, trainer: Trainer) -> F32:
    return flatten(tensors_of(module), trainer.layout)


@pytest.mark.parametrize("make", MODULES)
def test_per_example_gradients_equal_a_loop_of_backward_passes(make: Callable[[], nn.Module]) -> None:
    module, examples = make(), data()
    trainer = TorchTrainer(module, examples, SETTINGS)
    rows = trainer.per_example_gradients(vector_of(module, trainer))
    for row, x, y in zip(rows, examples.x_train, examples.y_train, strict=True):
        module.zero_grad()
        nn.functional.cross_entropy(module(torch.tensor(x)[None]), torch.tensor(y)[None]).backward()  # type: ignore[no-untyped-call]
        alone = {name: p.grad.numpy() for name, p in module.named_parameters() if p.grad is not None}
        assert np.allclose(row, flatten(alone, trainer.layout), rtol=1e-5, atol=1e-6)  # float32, another order of sums


@pytest.mark.parametrize("make", MODULES)
def test_the_plain_gradient_is_the_mean_of_the_examples(make: Callable[[], nn.Module]) -> None:
    module = make()
    trainer = TorchTrainer(module, data(), SETTINGS)
    model = vector_of(module, trainer)
    assert np.allclose(trainer.gradient(model), trainer.per_example_gradients(model).mean(axis=0), rtol=1e-5, atol=1e-6)


def test_a_private_delta_is_the_private_mean_times_the_learning_rate() -> None:
    module = softmax_regression(6, 3)
    trainer = TorchTrainer(module, data(), SETTINGS)
    model = vector_of(module, trainer)
    trained = trainer.train(model, PRIVATE, None)
    expected = private_mean(trainer.per_example_gradients(model), PRIVACY, PRIVATE.noise_key, round=3)
    assert (trained.delta == -expected).all()
    assert (trained.state == expected).all()
    assert trained.examples == 30


def test_a_plain_delta_holds_no_noise_and_no_clip() -> None:
    module = softmax_regression(6, 3)
    trainer = TorchTrainer(module, data(), SETTINGS)
    model = vector_of(module, trainer)
    assert (trainer.train(model, PLAIN, None).delta == -trainer.gradient(model)).all()


@pytest.mark.parametrize("task", [PLAIN, PRIVATE])
@pytest.mark.parametrize("make", MODULES)
def test_the_same_inputs_give_the_same_bytes_and_are_left_alone(make: Callable[[], nn.Module], task: TrainTask) -> None:
    module = make()
    trainer = TorchTrainer(module, data(), SETTINGS)
    model = vector_of(module, trainer)
    before = model.tobytes()
    first = trainer.train(model, task, None)
    torch.manual_seed(99)
    again = TorchTrainer(make(), data(), SETTINGS).train(model, task, None)
    assert first.delta.tobytes() == again.delta.tobytes()
    assert first.state.tobytes() == again.state.tobytes()
    assert model.tobytes() == before


def test_training_finds_the_classes() -> None:
    module = small_network(6, 16, 3, seed=1)
    trainer = TorchTrainer(module, data(), Descent(learning_rate=0.3, momentum=0.9, local_steps=50))
    model = vector_of(module, trainer)
    tally = trainer.evaluate(model + trainer.train(model, PLAIN, None).delta, model)
    assert sum(tally.better) - sum(tally.worse) >= 3
    assert sum(tally.total) == 10
    assert tally.finite


def test_a_tally_counts_each_class_of_a_candidate_that_says_the_same_of_all() -> None:
    trainer = TorchTrainer(softmax_regression(6, 3), data(), SETTINGS)
    always = [flatten({"bias": np.eye(3, dtype=np.float32)[c], "weight": np.zeros((3, 6), np.float32)}, trainer.layout)
              for c in range(3)]  # fmt: skip
    total = np.bincount(data().y_held, minlength=3)
    tally = trainer.evaluate(always[1], always[2])
    assert tally.better == (0, total[1], 0)
    assert tally.worse == (0, 0, total[2])
    assert tally.total == tuple(total)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_non_finite_candidate_is_reported_and_gets_nothing_right(bad: float) -> None:
    trainer = TorchTrainer(softmax_regression(6, 3), data(), SETTINGS)
    first = flatten({"bias": np.array([1, 0, 0], "f4"), "weight": np.zeros((3, 6), "f4")}, trainer.layout)
    tally = trainer.evaluate(np.full_like(first, bad), first)  # `first` says class 0 of everything
    assert not tally.finite
    assert sum(tally.better) == 0
    assert tally.worse == (int((data().y_held == 0).sum()), 0, 0)
    assert trainer.evaluate(first, np.full_like(first, bad)).finite


def test_a_tie_is_no_prediction_so_an_untrained_model_has_no_class_wholly_right() -> None:
    """Off twin: by argmax a model of zeros is perfect at class 0, and any honest first step looks like damage there."""
    trainer = TorchTrainer(softmax_regression(6, 3), data(), SETTINGS)
    zero = np.zeros(trainer.layout.d, np.float32)
    tally = trainer.evaluate(trainer.train(zero, PLAIN, None).delta, zero)
    assert tally.finite and sum(tally.worse) == 0 and sum(tally.better) > 0


def test_a_non_finite_candidate_is_reported_by_a_member_without_held_out_examples() -> None:
    some = data()
    trainer = TorchTrainer(
        softmax_regression(6, 3), replace(some, x_held=some.x_held[:0], y_held=some.y_held[:0]), SETTINGS
    )
    zero = np.zeros(trainer.layout.d, np.float32)
    assert not trainer.evaluate(np.full_like(zero, np.nan), zero).finite
    assert trainer.evaluate(zero, zero).total == (0, 0, 0)


def test_private_training_at_a_non_finite_model_is_noise_alone() -> None:
    trainer = TorchTrainer(softmax_regression(6, 3), data(), SETTINGS)
    nothing = np.full(trainer.layout.d, np.nan, np.float32)
    noise = private_mean(np.zeros((1, trainer.layout.d), np.float32), PRIVACY, PRIVATE.noise_key, round=3)
    assert (trainer.train(nothing, PRIVATE, None).delta == -noise).all()


def test_several_private_steps_are_refused() -> None:
    module = softmax_regression(6, 3)
    trainer = TorchTrainer(module, data(), Descent(learning_rate=1.0, local_steps=2))
    with pytest.raises(ValueError, match="local_steps must be 1"):
        trainer.train(vector_of(module, trainer), PRIVATE, None)


def test_a_module_with_batch_statistics_is_refused() -> None:
    with pytest.raises(ValueError, match="buffers"):
        TorchTrainer(nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3)), data(), SETTINGS)


def test_a_model_of_another_length_is_refused() -> None:
    trainer = TorchTrainer(softmax_regression(6, 3), data(), SETTINGS)
    with pytest.raises(ValueError, match=r"shape \(21,\), got \(20,\)"):
        trainer.train(np.zeros(20, np.float32), PLAIN, None)


def test_models_are_deterministic_from_their_seed_and_leave_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    first, again, other = (tensors_of(small_network(6, 5, 3, seed=s)) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all((first[name] == again[name]).all() for name in first)
    assert (first["0.weight"] != other["0.weight"]).any()
    assert not any(value.any() for value in tensors_of(softmax_regression(6, 3)).values())
