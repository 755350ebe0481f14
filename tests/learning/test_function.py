"""A user's own module behind the contract."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from phalanx.errors import ConfigError
from phalanx.learning import Descent, LocalTrainer, Member, Model, hold_out, member_of
from phalanx.learning import function as function_file
from phalanx.learning.adapters.torch_module import torch_model
from phalanx.learning.data import MemberData
from phalanx.learning.models import softmax_regression
from phalanx.learning.parts import views
from phalanx.types import TrainTask, member_id
from tests.learning.numpy_models import linear_model

PLAIN = TrainTask(3, None)
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


def documented() -> tuple[Member, MemberData]:
    member = member_of(documented_module())
    x, y = member.load("clinic-a")
    return member, hold_out(x, y, classes=member.model.classes, member=member_id("clinic-a"), fraction=0.2)


def test_the_documented_module_trains_and_judges_as_the_same_model_in_torch() -> None:
    member, data = documented()
    mine = LocalTrainer(member.model, data, SETTINGS)
    theirs = LocalTrainer(torch_model(softmax_regression(64, 10), 10), data, SETTINGS)
    zero = np.zeros(mine.layout.d, np.float32)
    ours, other = mine.train(zero, PLAIN, None), theirs.train(zero, PLAIN, None)
    ours_named, other_named = views(ours.delta, mine.layout), views(other.delta, theirs.layout)
    assert np.allclose(ours_named["bias"], other_named["bias"], rtol=1e-5, atol=1e-7)  # float32, another order of sums
    assert np.allclose(ours_named["weight"], other_named["weight"].T, rtol=1e-5, atol=1e-7)
    assert ours.examples == other.examples == len(data.x_train)
    again, other_again = mine.train(ours.delta, PLAIN, None).delta, theirs.train(other.delta, PLAIN, None).delta
    tally = mine.evaluate(ours.delta + again, ours.delta, None)  # from a model without ties: labels cannot show them
    assert tally == theirs.evaluate(other.delta + other_again, other.delta, None)
    assert sum(tally.better) > 0


def test_a_module_may_give_a_model_that_an_adapter_made() -> None:
    module = ModuleType("member")
    model, load = linear_model(), lambda member: (np.zeros((2, 4)), np.zeros(2, np.int64))
    module.__dict__.update(MODEL=model, load=load)
    assert member_of(module) == Member(model, load)


@pytest.mark.parametrize("name", ["CLASSES", "initial_model", "load", "predict"])
def test_a_module_that_lacks_a_name_is_told_which(name: str) -> None:
    module = documented_module()
    del module.__dict__[name]
    with pytest.raises(ConfigError, match=f"missing: {name}$"):
        member_of(module)


def test_a_module_with_a_model_and_no_data_is_told_so() -> None:
    module = ModuleType("member")
    module.__dict__["MODEL"] = linear_model()
    with pytest.raises(ConfigError, match=r"defines MODEL, load; missing: load$"):
        member_of(module)


def test_a_model_that_no_adapter_made_is_refused() -> None:
    module = ModuleType("member")
    module.__dict__.update(MODEL=softmax_regression(4, 3), load=lambda member: None)
    with pytest.raises(ConfigError, match="MODEL must be made by an adapter, found a Linear"):
        member_of(module)


def test_a_module_with_both_ways_to_train_or_neither_is_refused() -> None:
    module = documented_module()
    module.__dict__["train"] = lambda model, x, y, *, round: model
    with pytest.raises(ConfigError, match="found both kinds"):
        member_of(module)
    del module.__dict__["per_example_gradients"]
    assert member_of(module).model.train is module.__dict__["train"]
    del module.__dict__["train"]
    with pytest.raises(ConfigError, match="found none of them"):
        member_of(module)


@pytest.mark.parametrize("name", ["per_example_gradients", "gradient", "refresh"])
def test_each_optional_function_is_taken_by_its_name(name: str) -> None:
    module = documented_module()
    own = module.__dict__.setdefault(name, lambda *given: {})
    assert getattr(member_of(module).model, name) is own


@pytest.mark.parametrize("classes", [1, 2.0, "10", True])
def test_classes_that_are_no_count_are_refused(classes: object) -> None:
    module = documented_module()
    module.__dict__["CLASSES"] = classes
    with pytest.raises(ConfigError, match="CLASSES must be an integer >= 2"):
        member_of(module)


@pytest.mark.parametrize("gradients", [{}, {"gradient": True, "train": True}])
def test_a_model_written_by_hand_is_held_to_the_same(gradients: dict[str, bool]) -> None:
    given: dict[str, Any] = {name: lambda *given: {} for name in gradients}
    with pytest.raises(ConfigError, match="a model has either train"):
        Model(classes=2, initial_model=dict, predict=lambda model, x: x, **given)
