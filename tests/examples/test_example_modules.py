"""The examples' modules: what needs no download loads, and what needs one says in a sentence how to get it."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from phalanx.config import read_config
from phalanx.learning.function import member_of

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SHIPPED = {"digits": 1797, "breast-cancer": 569}  # with scikit-learn; the number of examples
FETCHED = ("adult", "fashion", "flights", "spam")


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / name / "member.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def members(name: str) -> list[str]:
    table = tomllib.loads((EXAMPLES / name / "phalanx.toml").read_text(encoding="utf-8"))
    names: list[str] = table["federation"]["members"]
    return names


def test_every_example_is_tested_here() -> None:
    assert sorted(path.parent.name for path in EXAMPLES.glob("*/member.py")) == sorted((*SHIPPED, *FETCHED))


@pytest.mark.parametrize("name", [*SHIPPED, *FETCHED])
def test_the_config_of_an_example_can_be_started_and_tolerates_a_hostile_member(name: str) -> None:
    settings = read_config(EXAMPLES / name / "phalanx.toml")
    assert settings.federation.name == name
    assert settings.aggregation.f >= 1
    assert settings.liars >= 1


@pytest.mark.parametrize("name", SHIPPED)
def test_inputs_labels_and_predictions_of_an_example_fit_together(name: str) -> None:
    module = example(name)
    model = member_of(module).model
    for site in members(name):
        x, y = module.load(site)
        assert x.dtype == np.float32
        assert y.shape == (len(x),)
        assert set(np.unique(y)) <= set(range(model.classes))
        assert model.predict(model.initial_model(), x).shape == y.shape


@pytest.mark.parametrize("name", SHIPPED)
def test_every_example_of_the_data_is_with_exactly_one_member(name: str) -> None:
    module = example(name)
    rows = np.concatenate([module.load(site)[0] for site in members(name)])
    assert len(rows) == SHIPPED[name]
    assert len(np.unique(rows, axis=0)) == SHIPPED[name]  # no row occurs twice in these data


def test_another_seed_is_another_split(monkeypatch: pytest.MonkeyPatch) -> None:
    module = example("breast-cancer")
    first = module.load("hospital-0")[0]
    monkeypatch.setattr(module, "SEED", 1)
    assert not np.array_equal(module.load("hospital-0")[0], first)
    monkeypatch.undo()
    assert np.array_equal(module.load("hospital-0")[0], first)


@pytest.mark.parametrize("name", FETCHED)
def test_data_that_was_not_fetched_is_one_sentence_that_says_how(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PHALANX_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"^\S+ is missing: run `make bench-data`, or name its folder in \w+$"):
        example(name).load(members(name)[0])
