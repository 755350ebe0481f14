"""Leakage probes on small federations of digits and texts: undefended they reach their goals, under noise none does."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import nn

from phalanx.errors import ConfigError
from phalanx.federation import Federation
from phalanx.learning import Model
from phalanx.learning.adapters.low_rank import low_rank_model
from phalanx.learning.adapters.scikit import scikit_model
from phalanx.learning.adapters.torch_module import torch_model
from phalanx.learning.data import Array
from phalanx.learning.models import small_network, softmax_regression, text_transformer
from phalanx.learning.threads import use_threads
from phalanx.redteam import matching_probes
from phalanx.redteam.lab import Lab
from phalanx.redteam.leakage_probes import LEAKAGE_PROBES
from phalanx.redteam.outcome import Cell, Outcome, outcome_of
from phalanx.redteam.probe import Probe, Probed, Setting
from phalanx.redteam.ranges import MOST_DB, Guessed, figures, guessed, range_of, shown
from tests.redteam.small import MODEL as NUMPY

use_threads(1)
PROBES = {probe.card.name: probe for probe in LEAKAGE_PROBES}
SITES = tuple(f"site-{i}" for i in range(4))
# The noise of forty rounds at ε = 8: in a run of eight rounds each has less, and labels come out above chance.
NOISE = {
    "unit": "example", "epsilon": 8.0, "delta": 1e-5, "clip_l2": 1.0, "normaliser": 150, "noise_multiplier": 3.8,
}  # fmt: skip
VOCABULARY, LENGTH = 100, 12


@cache
def digits() -> dict[str, tuple[Array, Array]]:
    x, y = load_digits(return_X_y=True)
    return {name: ((x[i::4][:200] / 16).astype("f4"), y[i::4][:200]) for i, name in enumerate(SITES)}


@cache
def texts() -> dict[str, tuple[Array, Array]]:
    rng = np.random.default_rng(0)
    return {
        name: (np.pad(rng.integers(1, VOCABULARY, (40, LENGTH - 2)), ((0, 0), (0, 2))), rng.integers(0, 2, 40))
        for name in SITES
    }


def sigmoids() -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 24), nn.Sigmoid(), nn.Linear(24, 24), nn.Sigmoid(), nn.Linear(24, 10))
    for parameter in module.parameters():
        nn.init.uniform_(parameter, -0.5, 0.5)
    return module


def convolutions() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10)
    )


def transformer() -> nn.Module:
    return text_transformer(vocabulary=VOCABULARY, width=16, heads=2, layers=1, length=LENGTH, classes=2, seed=0)


SOFTMAX = torch_model(lambda: softmax_regression(64, 10), 10)
NETWORK = torch_model(lambda: small_network(64, 48, 10, seed=0), 10)
SIGMOIDS, CONVOLUTIONS = torch_model(sigmoids, 10), torch_model(convolutions, 10)
TEXT = torch_model(transformer, 2)


def lab_of(model: Model, sites: Mapping[str, tuple[Array, Array]] | None = None, **tables: Mapping[str, Any]) -> Lab:
    own: dict[str, Mapping[str, Any]] = {
        "run": {"rounds": 8, "missing_allowed": 1},
        "learning": {"learning_rate": 0.5},
        "aggregation": {"rule": "trimmed-mean", "f": 1},
    }
    federation = Federation.local(model, digits() if sites is None else sites, **(own | tables))
    return Lab(federation=federation, sites=federation.sites, split="natural", seed=0)


def play(name: str, lab: Lab, setting: Setting) -> Probed:
    return PROBES[name].play(lab, setting)


def reached(probe: Probe, found: Probed) -> bool:
    return not found.unavailable and found.measures[probe.card.goal.measure] >= probe.card.goal.met


def held(probe: Probe, found: Probed) -> bool:
    return not found.unavailable and found.measures[probe.card.goal.judged] <= probe.card.goal.held


# ---------------------------------------------------------------------------------- undefended, and with clip and noise


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("analytic-leakage", SOFTMAX),
        ("analytic-leakage", NETWORK),
        ("label-leakage", SOFTMAX),
        ("label-leakage", CONVOLUTIONS),
        ("dlg", SIGMOIDS),
        ("inverting-gradients", SIGMOIDS),
        ("imprint-model", SOFTMAX),
        ("imprint-model", NETWORK),
        ("imprint-model", CONVOLUTIONS),
        ("inconsistent-models", NETWORK),
        ("model-inversion", SOFTMAX),
    ],
)
def test_undefended_the_attack_reaches_its_goal_and_under_clip_and_noise_it_is_held(
    name: str, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching_probes, "_ONES", 1)
    lab, probe = lab_of(model, privacy=NOISE), PROBES[name]
    undefended, defended = play(name, lab, "none"), play(name, lab, "yours")
    assert reached(probe, undefended), undefended
    assert held(probe, defended), defended
    assert not held(probe, undefended) or name == "model-inversion"  # it is judged by another measure than it is shown


def test_tokens_are_all_found_undefended_and_at_chance_under_clip_and_noise() -> None:
    lab, probe = lab_of(TEXT, texts(), privacy=NOISE), PROBES["token-recovery"]
    undefended, defended = play("token-recovery", lab, "none"), play("token-recovery", lab, "yours")
    assert undefended.measures["token_recovery"] == undefended.measures["batch_token_recovery"] == 1.0
    assert undefended.counts["token_recovery"][1] > 50
    assert defended.measures["token_recovery"] < 0.25  # of 100 tokens ten are about 10 % right by chance
    assert not held(probe, undefended)
    one = undefended.rebuilt[0]
    assert one.original == one.rebuilt
    assert set(one.original) <= set(range(1, VOCABULARY))


# ------------------------------------------------------------------ without privacy nothing else is in the attack's way


@pytest.mark.parametrize("name", ["analytic-leakage", "imprint-model", "inconsistent-models", "label-leakage"])
def test_a_configuration_without_privacy_does_not_stop_it(name: str) -> None:
    lab, probe = lab_of(NETWORK), PROBES[name]
    found = play(name, lab, "yours")
    assert reached(probe, found)
    assert any("no privacy" in note for note in found.notes)


def test_a_convolution_of_the_agreed_layout_is_made_to_pass_images_on() -> None:
    found = play("imprint-model", lab_of(CONVOLUTIONS), "yours")
    assert found.measures["psnr"] > 60
    assert any("pass every pixel on" in note for note in found.notes)
    assert any("audit verify" in note for note in found.notes)


def test_local_steps_and_momentum_do_not_hide_one_example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching_probes, "_ONES", 1)
    steps = {"learning_rate": 0.1, "momentum": 0.5, "local_steps": 5, "batch_size": 16}
    lab = lab_of(SIGMOIDS, learning=steps)
    assert reached(PROBES["analytic-leakage"], play("analytic-leakage", lab, "yours"))
    assert play("dlg", lab, "yours").measures["psnr"] > 20


def test_central_noise_is_added_after_the_coordinator_has_seen_the_update() -> None:
    central: dict[str, Mapping[str, Any]] = {
        "privacy": {"unit": "member", "epsilon": 8.0, "delta": 1e-5},
        "aggregation": {"rule": "mean", "pre": ["norm-clip"], "clip_l2": 0.2},
    }
    found = play("analytic-leakage", lab_of(SOFTMAX, None, **central), "yours")
    assert found.measures["psnr"] > 60
    assert any("after the coordinator has seen" in note for note in found.notes)


def test_a_solver_of_scikit_learn_gives_examples_away_too() -> None:
    model = scikit_model(LogisticRegression(), features=64, classes=10, local_epochs=2)
    lab = lab_of(model, learning={"held_out": 0.15})
    assert play("analytic-leakage", lab, "none").measures["psnr"] > 25
    assert play("label-leakage", lab, "none").measures["label_recovery"] == 1.0


# ----------------------------------------------------------------------------------------------- what cannot be played


def test_a_model_in_numpy_has_no_search_by_gradient_and_all_else() -> None:
    lab = lab_of(NUMPY)
    assert "torch module" in play("dlg", lab, "none").unavailable
    assert "torch module" in play("inverting-gradients", lab, "none").unavailable
    assert reached(PROBES["analytic-leakage"], play("analytic-leakage", lab, "none"))
    inversion = play("model-inversion", lab, "central")  # it has no logits
    assert reached(PROBES["model-inversion"], inversion)
    assert any("top class alone" in note for note in inversion.notes)


def test_without_torch_a_search_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name == "phalanx.attacks.gradient_matching"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    found = play("dlg", lab_of(replace(NUMPY, module=object())), "none")
    assert found.unavailable == "not available: this attack needs the torch extra"


@pytest.mark.parametrize("name", sorted(set(PROBES) - {"label-leakage", "token-recovery"}))
def test_tokens_are_no_numbers_to_rebuild(name: str) -> None:
    assert "whole numbers" in play(name, lab_of(TEXT, texts()), "none").unavailable


def test_where_no_embedding_travels_tokens_are_not_available() -> None:
    adapted = low_rank_model(
        transformer, classes=2, rank=2, alpha=4, targets=["blocks.*.widen"], seed=0, train_too=["head.*"]
    )
    lab = lab_of(adapted, texts())
    assert "no embedding travels" in play("token-recovery", lab, "none").unavailable
    assert play("label-leakage", lab, "none").measures["label_recovery"] == 1.0
    assert "no tokens" in play("token-recovery", lab_of(SOFTMAX), "none").unavailable


def test_nothing_can_be_silenced_in_one_linear_layer() -> None:
    assert "silence" in play("inconsistent-models", lab_of(SOFTMAX), "yours").unavailable
    assert reached(PROBES["inconsistent-models"], play("inconsistent-models", lab_of(SOFTMAX), "none"))


def test_what_the_users_code_raises_is_why_it_cannot_be_played() -> None:
    def broken(*given: object) -> dict[str, Array]:
        if len(given) and not isinstance(given[1], str) and len(np.asarray(given[1])) < 4:
            raise RuntimeError("too few")
        raise AssertionError

    lab = lab_of(replace(NUMPY, per_example_gradients=broken))
    assert "training on a few examples raised RuntimeError" in play("analytic-leakage", lab, "none").unavailable
    with pytest.raises(ConfigError):
        lab_of(NUMPY, run={"rounds": 0})


# ----------------------------------------------------------------------------------------------------------- in general


def test_there_are_eight_and_each_belongs_to_its_threat() -> None:
    assert {name: probe.card.threat for name, probe in PROBES.items()} == {
        "analytic-leakage": "T6",
        "label-leakage": "T6",
        "dlg": "T6",
        "inverting-gradients": "T6",
        "imprint-model": "T11",
        "inconsistent-models": "T11",
        "model-inversion": "T7",
        "token-recovery": "T6",
    }
    assert [name for name, probe in PROBES.items() if "central" in probe.settings] == ["model-inversion"]


@pytest.mark.parametrize("name", ["analytic-leakage", "imprint-model", "model-inversion"])
def test_the_same_lab_gives_the_same_figures_and_both_settings_attack_the_same_inputs(name: str) -> None:
    lab = lab_of(SOFTMAX, privacy=NOISE)
    found = play(name, lab, "yours")
    assert play(name, lab_of(SOFTMAX, privacy=NOISE), "yours") == found
    undefended = play(name, lab, "none")
    assert len(undefended.rebuilt) == len(found.rebuilt) == 3
    if name != "model-inversion":  # where the original is the mean of what was trained on
        assert [one.original for one in undefended.rebuilt] == [one.original for one in found.rebuilt]


def test_a_probe_s_figures_survive_json() -> None:
    found = play("analytic-leakage", lab_of(SOFTMAX), "none")
    outcome = Outcome(
        cell=Cell("analytic-leakage", "none", 0, "natural", 0),
        measures=found.measures,
        counts=found.counts,
        rebuilt=found.rebuilt,
        notes=found.notes,
    )
    assert outcome_of(outcome.as_json()) == outcome
    assert all(np.isfinite(value) for value in found.measures.values())


# --------------------------------------------------------------------------------------------------------------- scales


def test_images_have_one_range_and_tables_one_for_each_column() -> None:
    images = range_of(lab_of(SOFTMAX))
    assert images.picture == (8, 8)
    assert set(images.low) == {0.0}
    rng = np.random.default_rng(0)
    tables = {name: (rng.normal([0, 100], [1, 5], (30, 2)).astype("f4"), np.arange(30) % 2) for name in SITES}
    model = torch_model(lambda: softmax_regression(2, 2), 2)
    table = range_of(lab_of(model, tables))
    assert table.picture is None
    assert table.width[1] > 2 * table.width[0]
    x = tables[SITES[0]][0]
    unit = table.unit(x)
    assert 0 <= unit.min() <= unit.max() <= 1
    assert table.original(unit) == pytest.approx(x, rel=1e-5)


def test_the_nearest_candidate_counts_and_without_any_the_mean() -> None:
    truth = np.array([[0.0, 1.0]], np.float32)
    mean = np.array([0.5, 0.5], np.float32)
    near = guessed(truth, np.array([[9.0, 9.0], [-3.0, 1.0], [np.nan, np.nan]], np.float32), mean)[0]
    assert near.guess.tolist() == [0.0, 1.0]  # cut to 0 … 1
    assert near.psnr == MOST_DB
    assert near.of_mean == pytest.approx(6.02, abs=0.01)
    none = guessed(truth, np.zeros((0, 2), np.float32), mean)[0]
    assert (none.guess.tolist(), none.gain) == ([0.5, 0.5], 0.0)


def test_large_images_are_thinned_out_and_colours_shown_as_their_mean() -> None:
    lab = lab_of(SOFTMAX)
    wide = replace(
        range_of(lab),
        low=np.zeros(3 * 64 * 64, "f4"),
        width=np.ones(3 * 64 * 64, "f4"),
        shape=(3, 64, 64),
        picture=(64, 64),
    )
    image = np.linspace(0, 1, 3 * 64 * 64, dtype=np.float32)
    one = shown([Guessed(image, image, image)], wide, "a test")[0]
    assert one.shape == (32, 32)
    assert len(one.original) == 32 * 32
    assert figures([Guessed(image, image, image)], wide)["ssim"] == pytest.approx(1.0)
    last = replace(wide, shape=(64, 64, 3))
    assert last.images(image).shape == (3, 64, 64)
