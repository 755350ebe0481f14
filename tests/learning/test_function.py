"""A user's own functions behind the contract."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from phalanx.errors import ConfigError
from phalanx.learning import Descent, Functions, FunctionTrainer, functions_of, hold_out, private_mean, unflatten
from phalanx.learning import function as function_file
from phalanx.learning.data import Array, Labels, MemberData
from phalanx.learning.function import TrainFunction
from phalanx.learning.layout import flatten_rows
from phalanx.learning.models import softmax_regression
from phalanx.learning.torch_trainer import TorchTrainer
from phalanx.types import F32, ExamplePrivacy, TrainTask, member_id

PRIVACY = ExamplePrivacy(clip_l2=1.0, noise_multiplier=3.8, normaliser=80, epsilon=8.0, delta=1e-5)
PLAIN, PRIVATE = TrainTask(3, None), TrainTask(3, PRIVACY, b"k" * 32)
SETTINGS = Descent(learning_rate=1.0, momentum=0.9)


def documented_module() -> ModuleType:
    """The example of the file's own docstring, run; only the data are made up here."""
    text = function_file.__doc__ or ""
    code = "\n".join(line[4:] for line in text.splitlines() if line.startswith("    "))
    module = ModuleType("member")
    module.__dict__["np"] = np
    exec(compile(code, "docstring", "exec"), module.__dict__)
    x = np.random.default_rng(8).random((100, 64), dtype=np.float32)
    module.__dict__["load"] = lambda member: (x, (x[:, 0] * 9.99).astype(np.int32))
    return module


def documented() -> tuple[Functions, MemberData]:
    functions = functions_of(documented_module())
    x, y = functions.load("clinic-a")
    return functions, hold_out(x, y, classes=functions.classes, member=member_id("clinic-a"), fraction=0.2)


def by_train(train: TrainFunction) -> FunctionTrainer:
    functions, data = documented()
    return FunctionTrainer(replace(functions, per_example_gradients=None, train=train), data, SETTINGS)


def test_the_documented_module_trains_and_judges_as_the_same_model_in_torch() -> None:
    functions, data = documented()
    mine = FunctionTrainer(functions, data, SETTINGS)
    theirs = TorchTrainer(softmax_regression(64, 10), data, SETTINGS)
    zero = np.zeros(mine.layout.d, np.float32)
    ours, other = mine.train(zero, PLAIN, None), theirs.train(zero, PLAIN, None)
    ours_named, other_named = unflatten(ours.delta, mine.layout), unflatten(other.delta, theirs.layout)
    assert np.allclose(ours_named["bias"], other_named["bias"], rtol=1e-5, atol=1e-7)  # float32, another order of sums
    assert np.allclose(ours_named["weight"], other_named["weight"].T, rtol=1e-5, atol=1e-7)
    assert ours.examples == other.examples == 80
    again, other_again = mine.train(ours.delta, PLAIN, None).delta, theirs.train(other.delta, PLAIN, None).delta
    tally = mine.evaluate(ours.delta + again, ours.delta)  # from a model without ties: labels cannot show them
    assert tally == theirs.evaluate(other.delta + other_again, other.delta)
    assert sum(tally.better) > 0


def test_a_users_per_example_gradients_are_clipped_and_noised() -> None:
    functions, data = documented()
    trainer = FunctionTrainer(functions, data, SETTINGS)
    zero = np.zeros(trainer.layout.d, np.float32)
    assert functions.per_example_gradients is not None
    gradients = functions.per_example_gradients(functions.initial_model(), data.x_train, data.y_train)
    rows = flatten_rows({name: value.astype(np.float32) for name, value in gradients.items()}, trainer.layout, 80)
    assert np.linalg.norm(rows, axis=1).min() > PRIVACY.clip_l2  # so that the clip matters
    trained = trainer.train(zero, PRIVATE, None)
    assert (trained.delta == -private_mean(rows, PRIVACY, PRIVATE.noise_key, round=3)).all()
    assert trained.examples == PRIVACY.normaliser


def test_a_users_train_function_gives_the_delta_and_sees_the_round() -> None:
    def train(model: dict[str, Array], x: Array, y: Labels, *, round: int) -> dict[str, Array]:
        x[:], y[:] = 0, 0  # a function that spoils its arguments spoils copies
        model["bias"][:] = 7
        return {"bias": np.full(10, float(round)), "weight": np.zeros((64, 10))}

    trainer = by_train(train)
    model = np.ones(trainer.layout.d, np.float32)
    for _ in range(2):
        trained = trainer.train(model, PLAIN, None)
        assert unflatten(trained.delta, trainer.layout)["bias"].tolist() == [3.0] * 10
        assert trained.examples == 80
    assert (model == 1).all()
    assert sum(trainer.evaluate(model, model).total[1:]) > 0


def test_privacy_asked_of_a_train_function_is_refused() -> None:
    trainer = by_train(lambda model, x, y, *, round: model)
    with pytest.raises(ConfigError, match="needs per_example_gradients"):
        trainer.train(np.zeros(trainer.layout.d, np.float32), PRIVATE, None)


def test_a_delta_of_other_names_or_shapes_is_refused() -> None:
    zero = np.zeros(650, np.float32)
    with pytest.raises(ValueError, match=r"expected the tensors \['bias', 'weight'\], got \['bias'\]"):
        by_train(lambda model, x, y, *, round: {"bias": model["bias"]}).train(zero, PLAIN, None)
    with pytest.raises(ValueError, match=r"must have shape \(64, 10\), got \(10, 64\)"):
        by_train(lambda model, x, y, *, round: {**model, "weight": model["weight"].T}).train(zero, PLAIN, None)


def test_gradients_that_were_already_averaged_are_refused() -> None:
    functions, data = documented()
    averaged = replace(functions, per_example_gradients=lambda model, x, y: model)
    with pytest.raises(ValueError, match=r"must have shape \(80, 10\), got \(10,\)"):
        FunctionTrainer(averaged, data, SETTINGS).train(np.zeros(650, np.float32), PRIVATE, None)


@pytest.mark.parametrize("name", ["CLASSES", "initial_model", "load", "predict"])
def test_a_module_that_lacks_a_name_is_told_which(name: str) -> None:
    module = documented_module()
    del module.__dict__[name]
    with pytest.raises(ConfigError, match=f"missing: {name}$"):
        functions_of(module)


def test_a_module_with_both_ways_to_train_or_neither_is_refused() -> None:
    module = documented_module()
    module.__dict__["train"] = lambda model, x, y, *, round: model
    with pytest.raises(ConfigError, match="found both"):
        functions_of(module)
    del module.__dict__["train"], module.__dict__["per_example_gradients"]
    with pytest.raises(ConfigError, match="found neither"):
        functions_of(module)


@pytest.mark.parametrize("classes", [1, 2.0, "10"])
def test_classes_that_are_no_count_are_refused(classes: object) -> None:
    module = documented_module()
    module.__dict__["CLASSES"] = classes
    with pytest.raises(ConfigError, match="CLASSES must be an integer >= 2"):
        functions_of(module)


def test_a_non_finite_candidate_gets_nothing_right_and_is_never_shown_to_predict() -> None:
    functions, data = documented()
    asked: list[F32] = []

    def predict(model: dict[str, Array], x: Array) -> Array:
        asked.append(model["bias"])
        return np.zeros(len(x), np.int64)

    trainer = FunctionTrainer(replace(functions, predict=predict), data, SETTINGS)
    zero = np.zeros(650, np.float32)
    tally = trainer.evaluate(np.full_like(zero, np.nan), zero)
    assert not tally.finite
    assert tally.worse[0] == tally.total[0] > 0
    assert all(np.isfinite(bias).all() for bias in asked)


def test_predictions_that_are_scores_are_refused() -> None:
    functions, data = documented()
    scores = replace(functions, predict=lambda model, x: x @ model["weight"])
    with pytest.raises(ValueError, match=r"integer labels of shape \(20,\), got float32 of shape \(20, 10\)"):
        FunctionTrainer(scores, data, SETTINGS).evaluate(np.zeros(650, np.float32), np.zeros(650, np.float32))
