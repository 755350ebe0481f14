"""A survey: the federation's statistics by one round, its file, its price, and what a run makes of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phalanx.audit import verify_run
from phalanx.errors import BudgetExhausted, ConfigError, ConflictError, GateRefusal, QuorumError
from phalanx.federation import Federation, survey
from phalanx.learning import hold_out
from phalanx.learning.statistics import StatisticsTrainer
from phalanx.privacy import epsilon, noise_multiplier
from phalanx.store import read_public
from phalanx.types import Tally, member_id
from tests.cli import lab
from tests.federation import small

MEMBERS = [f"m-{i}" for i in range(6)]
MODULE = """
import numpy as np

CLASSES = 2


def initial_model():
    return {"weight": np.zeros((COLUMNS, 2), "f4")}


def load(member):
    i = int(member[2:])
    rng = np.random.default_rng(i)
    y = np.arange(100) % 2
    age = rng.normal(50 + 10 * y, 5)
    mass = rng.normal(70, 10, size=100) * (ODD if i == 5 else 1)
    mass[::10] = np.nan
    ward = np.array(["north", "south"], dtype=object)[rng.integers(0, 2, size=100)]
    ward[:3] = f"only-{i}"
    return np.column_stack([age.astype(object), mass.astype(object), ward]), y


def predict(model, x):
    return (x @ model["weight"]).argmax(axis=1)


def per_example_gradients(model, x, y):
    logits = x @ model["weight"]
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    error = odds / odds.sum(axis=1, keepdims=True) - np.eye(2)[y]
    return {"weight": x[:, :, None] * error[:, None, :]}
"""
SCHEMA = """
labels = ["well", "ill"]

[[columns]]
name = "age"
unit = "years"
low = 0
high = 120

[[columns]]
name = "mass"
unit = "kg"
low = 0
high = 250
missing_allowed = true

[[columns]]
name = "ward"
kind = "category"
"""
PRIVACY = {"unit": "example", "epsilon": 50.0, "clip_l2": 1.0, "normaliser": 85}


def _write(place: Path, *, odd: float = 1.0, columns: int = 4, **tables: Mapping[str, Any]) -> Path:
    module = MODULE.replace("COLUMNS", str(columns)).replace("ODD", str(odd))
    own: dict[str, Mapping[str, Any]] = {
        "federation": {"name": "wards", "members": MEMBERS},
        "aggregation": {"rule": "mean"},
        "gate": {"f": 0},
        "data": {"schema": "schema.toml"},
    }
    config = lab.write(place / "lab", module, **{**own, **tables})
    config.with_name("schema.toml").write_text(SCHEMA, encoding="utf-8")
    return config


def _ages_and_masses(config: Path) -> tuple[Any, Any, Any]:
    """What all members train on, in one place, and the weight of each example where every member weighs the same."""
    space: dict[str, Any] = {}
    exec(config.with_name("member.py").read_text(encoding="utf-8"), space)
    kept = []
    for name in MEMBERS:
        x, y = space["load"](name)
        rows = hold_out(np.arange(len(x)), y, classes=2, member=member_id(name), fraction=0.15, by=x).x_train
        kept.append(x[rows][:, :2].astype(float))
    pooled = np.concatenate(kept)
    return pooled[:, 0], pooled[:, 1], np.concatenate([np.full(len(rows), 1 / len(rows)) for rows in kept])


def test_means_and_deviations_are_those_of_all_members_training_examples(tmp_path: Path) -> None:
    config = _write(tmp_path)
    found = survey(config, buckets=4096)
    age, mass, weight = _ages_and_masses(config)
    there = np.isfinite(mass)
    means = np.average(age, weights=weight), np.average(mass[there], weights=weight[there])
    squares = (age - means[0]) ** 2, (mass[there] - means[1]) ** 2
    deviations = np.average(squares[0], weights=weight) ** 0.5, np.average(squares[1], weights=weight[there]) ** 0.5
    assert found.statistics.mean == pytest.approx(means, rel=1e-5)  # shares are float32
    assert found.statistics.std == pytest.approx(deviations, rel=1e-4)
    assert found.statistics.present[1] == pytest.approx(np.average(there, weights=weight), abs=1e-6)
    assert (found.statistics.members, found.statistics.labels, found.statistics.epsilon) == (6, (0, 1), None)
    assert verify_run(read_public(found.public), None).finished


def test_words_of_one_member_are_suppressed_and_counted(tmp_path: Path) -> None:
    config = _write(tmp_path)
    found = survey(config, tmp_path / "one", buckets=4096)
    assert (len(found.statistics.slots), found.suppressed) == (2, 6)
    everything = survey(config, tmp_path / "two", buckets=4096, min_members=1)  # the off twin
    assert (len(everything.statistics.slots), everything.suppressed) == (8, 0)


def test_a_member_with_another_unit_is_named(tmp_path: Path) -> None:
    """Grams where others have kilograms would be out of range; pounds are not."""
    assert survey(_write(tmp_path / "same")).odd == ()
    (odd,) = survey(_write(tmp_path / "other", odd=2.2)).odd
    assert (odd.member, odd.column) == ("m-5", "mass")


def test_a_run_scales_by_the_file_that_a_survey_wrote(tmp_path: Path) -> None:
    config = _write(tmp_path)
    survey(config, buckets=4096).write(config.with_name("statistics.json"))
    config = _write(tmp_path, data={"schema": "schema.toml", "statistics": "statistics.json"})
    federation = Federation.from_config(config)
    tables = [data.x_train for data in federation.sites.values()]
    assert {table.shape[1] for table in tables} == {4}
    means = [table[:, :2].mean(axis=0) for table in tables]  # each member weighs the same
    assert np.mean(means, axis=0) == pytest.approx((0, 0), abs=1e-4)
    assert np.mean([(table[:, 0] ** 2).mean() for table in tables]) == pytest.approx(1, abs=1e-4)
    assert federation.run().version == 2


def test_statistics_of_another_schema_are_refused(tmp_path: Path) -> None:
    config = _write(tmp_path)
    survey(config, buckets=4096).write(config.with_name("statistics.json"))
    config = _write(tmp_path, data={"schema": "schema.toml", "statistics": "statistics.json"})
    config.with_name("schema.toml").write_text(SCHEMA.replace("high = 120", "high = 130"), encoding="utf-8")
    with pytest.raises(ConfigError, match="made for another schema"):
        Federation.from_config(config)


def test_statistics_that_the_gate_refused_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The incumbent would be a row of zeros: the middle of every range, for a mean."""
    monkeypatch.setattr(StatisticsTrainer, "evaluate", lambda *_: Tally((0,), (0,), (0,), (0,), finite=False))
    with pytest.raises(GateRefusal, match="the gate refused the statistics"):
        survey(_write(tmp_path))


# ---------------------------------------------------------------------------------------------------------- its price


def test_a_survey_and_the_run_that_it_advises_fit_into_the_budget_together(tmp_path: Path) -> None:
    config = _write(tmp_path, privacy=PRIVACY)
    found = survey(config, epsilon=20.0)
    assert found.statistics.epsilon is not None and found.statistics.epsilon <= 20.0
    assert found.noise_multiplier is not None
    spent, less = noise_multiplier(20.0, 1e-5, 1), found.noise_multiplier - 0.01
    assert epsilon([spent, less, less], 1e-5) > 50.0  # no more noise than it takes
    advised = _write(tmp_path, privacy={**PRIVACY, "noise_multiplier": found.noise_multiplier}, data={}, columns=1)
    assert Federation.from_config(_numbers_only(advised)).run().version == 2


def test_a_survey_costs_a_tenth_of_the_budget_unless_it_is_told_otherwise(tmp_path: Path) -> None:
    found = survey(_write(tmp_path, privacy=PRIVACY))
    assert found.statistics.epsilon is not None and 4.5 < found.statistics.epsilon <= 5.0


def test_a_run_that_ignores_the_surveys_price_ends_early(tmp_path: Path) -> None:
    """The off twin: noise calibrated as if nothing had been spent."""
    survey(_write(tmp_path, privacy=PRIVACY), epsilon=20.0)
    with pytest.raises(BudgetExhausted):
        Federation.from_config(_numbers_only(_write(tmp_path, privacy=PRIVACY, data={}, columns=1))).run()


def _numbers_only(config: Path) -> Path:
    """The same module with one number of each example, as the user's own scaling would give it."""
    text = config.with_name("member.py").read_text(encoding="utf-8")
    text = text.replace("np.column_stack([age.astype(object), mass.astype(object), ward])", "(age[:, None] - 55) / 7")
    config.with_name("member.py").write_text(text, encoding="utf-8")
    return config


@pytest.mark.parametrize(
    ("tables", "options", "words"),
    [
        ({"data": {}}, {}, "a survey needs data.schema"),
        ({"aggregation": {"rule": "median", "f": 1}, "gate": {}}, {}, "that 2 members hold .* cannot be shown"),
        ({}, {"epsilon": 1.0}, r"needs a \[privacy\] table"),
        ({"privacy": PRIVACY}, {"epsilon": 60.0}, "at most the budget of 50, found ε = 60"),
        ({}, {"resume": True}, "no run to resume"),
    ],
)
def test_a_survey_that_cannot_be_run_is_refused_before_anything_is_charged(
    tables: Mapping[str, Any], options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    config = _write(tmp_path, **tables)
    with pytest.raises(ConfigError, match=words):
        survey(config, **options)
    assert small.charges(config.with_name("phalanx-ledger.db")) == 0
    assert not config.with_name("phalanx-survey").exists()


def test_a_finished_survey_is_read_again_without_paying_again(tmp_path: Path) -> None:
    config = _write(tmp_path, privacy=PRIVACY)
    first = survey(config)
    for resume in (False, True):
        again = survey(config, resume=resume)
        assert again.statistics == first.statistics
        assert any("finished before" in note and "rename phalanx-survey" in note for note in again.notes)
    assert first.notes == ()
    assert small.charges(config.with_name("phalanx-ledger.db")) == len(MEMBERS)
    survey(config, tmp_path / "another")  # the off twin
    assert small.charges(config.with_name("phalanx-ledger.db")) == 2 * len(MEMBERS)


def test_a_survey_that_asks_something_else_is_not_told_the_finished_ones_result(tmp_path: Path) -> None:
    config = _write(tmp_path)
    survey(config)
    with pytest.raises(ConflictError, match="phalanx-survey: the run was begun with another") as caught:
        survey(config, buckets=8)
    assert "rename phalanx-survey" in caught.value.hint


def test_a_survey_that_did_not_finish_goes_on_only_where_it_is_told_to(tmp_path: Path) -> None:
    """Going on may charge: it is asked for by name."""
    config = _write(tmp_path, privacy=PRIVACY)
    loads = config.with_name("member.py").read_text(encoding="utf-8")
    _with_few_examples(config)
    with pytest.raises(QuorumError):
        survey(config)
    config.with_name("member.py").write_text(loads, encoding="utf-8")
    with pytest.raises(ConflictError, match="holds a survey that did not finish") as caught:
        survey(config)
    assert "--resume" in caught.value.hint and "rename phalanx-survey" in caught.value.hint
    assert small.charges(config.with_name("phalanx-ledger.db")) == len(MEMBERS)
    assert survey(config, resume=True).statistics.members == len(MEMBERS)


def test_a_survey_runs_where_the_file_that_it_shall_make_is_named_already(tmp_path: Path) -> None:
    config = _write(tmp_path, data={"schema": "schema.toml", "statistics": "statistics.json"})
    found = survey(config)
    assert any("data.statistics (statistics.json) is ignored" in note for note in found.notes)
    found.write(config.with_name("statistics.json"))
    assert (
        Federation.from_config(
            _write(tmp_path, columns=2, data={"schema": "schema.toml", "statistics": "statistics.json"})
        )
        .run()
        .version
        == 2
    )


# ------------------------------------------------------------------------------------------ noise that hides everything


def _with_few_examples(config: Path) -> None:
    text = config.with_name("member.py").read_text(encoding="utf-8")
    config.with_name("member.py").write_text(text.replace("size=100", "size=10").replace("arange(100)", "arange(10)"))


def test_noise_that_would_hide_every_member_is_refused_before_anything_is_charged(tmp_path: Path) -> None:
    config = _write(tmp_path, privacy={**PRIVACY, "normaliser": 30})
    with pytest.raises(ConfigError, match=r"found privacy\.normaliser = 30 .* expected at least (\d+)") as caught:
        survey(config)
    assert small.charges(config.with_name("phalanx-ledger.db")) == 0
    enough = re.search(r"--epsilon ([\d.]+)\)", caught.value.hint)
    assert enough is not None
    with pytest.raises(ConfigError, match=r"found privacy\.normaliser = 30"):
        survey(config, epsilon=float(enough[1]) - 0.5)
    assert survey(config, epsilon=float(enough[1])).statistics.members == len(MEMBERS)


@pytest.mark.parametrize(
    ("normaliser", "words"),
    [(5, "which needs privacy.epsilon = "), (1, "no ε is enough for so few examples"), (30, "training examples")],
)
def test_the_refusal_says_which_budget_or_how_many_examples_would_do(
    normaliser: int, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        survey(_write(tmp_path, privacy={**PRIVACY, "normaliser": normaliser}))
    assert words in caught.value.hint
    least = re.search(r"expected at least (\d+)", caught.value.message)
    assert least is not None
    survey(_write(tmp_path / "more", privacy={**PRIVACY, "normaliser": int(least[1])}))


def test_members_that_are_smaller_than_the_normaliser_says_pay_and_are_told_so_once(tmp_path: Path) -> None:
    """The off twin of the refusal: public numbers say nothing of how many examples there really are."""
    config = _write(tmp_path, privacy=PRIVACY)
    _with_few_examples(config)
    with pytest.raises(QuorumError) as caught:
        survey(config)
    assert caught.value.hint.count("too few examples, and ε was spent") == 1
    assert f"{', '.join(MEMBERS)}: the noise" in caught.value.hint
    assert "what was charged stays charged" in caught.value.hint
    assert "resume to try" not in caught.value.hint
    assert small.charges(config.with_name("phalanx-ledger.db")) == len(MEMBERS)


# --------------------------------------------------------------------------------------------------------- the command


def test_the_command_writes_the_file_and_says_what_to_do_with_it(tmp_path: Path) -> None:
    config = _write(tmp_path, odd=2.2)
    done = lab.phalanx("survey", config, "--buckets", "4096", "--format", "json")
    assert done.exit_code == 0, done.stderr
    data = done.envelope["data"]
    assert [(one["name"], one["unit"]) for one in data["columns"]] == [("age", "years"), ("mass", "kg")]
    assert data["columns"][1]["missing"] == pytest.approx(0.1, abs=0.02)
    assert data["words"] == {"slots": 4096, "kept": 2, "suppressed": 6}
    assert len(data["odd"]) == 1
    written = json.loads(config.with_name("statistics.json").read_text(encoding="utf-8"))
    assert written["mean"] == [one["mean"] for one in data["columns"]]
    for words in (
        "age",
        "years",
        "the mean of mass at m-5",
        "6 words suppressed",
        'under [data], add: statistics = "statistics.json"',
    ):
        assert words in done.stderr
    assert "m-5" not in config.with_name("statistics.json").read_text(encoding="utf-8")
    assert "[data]\n" not in done.stderr  # a second header would be no TOML


def test_the_command_tells_a_finished_survey_again(tmp_path: Path) -> None:
    config = _write(tmp_path)
    first, again = (lab.phalanx("survey", config, "--format", "json") for _ in range(2))
    assert (first.exit_code, again.exit_code) == (0, 0)
    assert "finished before" in again.stderr and "finished before" not in first.stderr
    told, before = again.envelope["data"], first.envelope["data"]
    (note,) = told["notes"]
    assert told == {**before, "notes": [note]}
    assert "nothing was charged" in note


def test_the_command_under_privacy_says_what_the_run_needs(tmp_path: Path) -> None:
    config = _write(tmp_path, privacy=PRIVACY)
    done = lab.phalanx("survey", config, "--out", tmp_path / "elsewhere.json", "--format", "json")
    assert done.exit_code == 0, done.stderr
    assert f"noise_multiplier = {done.envelope['data']['noise_multiplier']:g}" in done.stderr
    assert (tmp_path / "elsewhere.json").exists() and not config.with_name("statistics.json").exists()


def test_the_command_fails_as_every_command_does(tmp_path: Path) -> None:
    done = lab.phalanx("survey", _write(tmp_path, data={}), "--format", "json")
    assert (done.exit_code, done.envelope["error_code"]) == (2, "ConfigError")
