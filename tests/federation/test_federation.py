"""`Federation`: what a user gets, in memory and on a disk, and what is refused before anything is charged."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phalanx.audit import verify_run
from phalanx.errors import BudgetExhausted, ConfigError, ConflictError, GateRefusal, QuorumError
from phalanx.federation import Federation
from phalanx.federation.markup import Share, page_table, paragraph
from phalanx.learning import Model
from phalanx.learning.contract import Tensors
from phalanx.learning.data import Array, Labels, MemberData
from phalanx.store import read_public
from phalanx.types import MemberId
from tests.federation import small

SEEDED = {"rounds": 3, "lab_seed": 7}


def _broken(model: Tensors, x: Array, y: Labels) -> Tensors:
    raise OSError("the scanner is away")


# ------------------------------------------------------------------------------------------------------ what one gets


def test_a_run_in_memory_gives_a_model_and_says_how_each_site_fares() -> None:
    result = small.federation().run()
    assert (result.version, len(result.records), result.stopped) == (3, 3, "")
    assert [row[0] for row in result.rows()] == sorted(result.accuracy, key=lambda m: (result.accuracy[m], m))
    assert min(result.accuracy.values()) > 0.5
    assert result.model["weight"].shape == (small.FEATURES, small.CLASSES)
    assert result.public is None


def test_scikit_learns_estimators_run_as_they_are() -> None:
    datasets, linear = import_module("sklearn.datasets"), import_module("sklearn.linear_model")
    from phalanx.learning.adapters.scikit import scikit_model

    x, y = datasets.load_digits(return_X_y=True)
    sites = {f"site-{i}": ((x[i::5] / 16).astype(np.float32), y[i::5]) for i in range(5)}
    estimator = linear.SGDClassifier(loss="log_loss", random_state=0)
    federation = Federation.local(
        scikit_model(estimator, features=64, classes=10),
        sites,
        run={"rounds": 2},
        aggregation={"rule": "trimmed-mean", "f": 1},
    )
    result = federation.run()
    assert result.version == 2
    assert min(result.accuracy.values()) > 0.6
    assert "the model trains by its own function" in result.start.how_trained


def test_a_run_on_a_disk_is_one_that_anybody_can_verify(tmp_path: Path) -> None:
    result = small.federation().run(tmp_path / "run")
    assert result.public == tmp_path / "run" / "public"
    assert verify_run(read_public(result.public), result.fingerprint).finished
    with pytest.raises(ConflictError, match="already holds a run"):
        small.federation().run(tmp_path / "run")


def test_a_run_that_was_interrupted_goes_on_to_the_same_model(tmp_path: Path) -> None:
    whole = small.federation(run=SEEDED).run()
    with pytest.raises(InterruptedError):
        small.federation(run=SEEDED).run(tmp_path / "run", callbacks=[small.Diary(fails_after=2)])
    resumed = small.federation(run=SEEDED).run(tmp_path / "run", resume=True)
    assert [record.model for record in resumed.records] == [record.model for record in whole.records]
    assert np.array_equal(resumed.model["weight"], whole.model["weight"])


def test_a_run_that_was_interrupted_leaves_nothing_locked(tmp_path: Path) -> None:
    with pytest.raises(InterruptedError):
        small.federation().run(tmp_path / "run", callbacks=[small.Diary(fails_after=1)])
    assert small.federation().run(tmp_path / "run", resume=True).version == 3


def test_another_model_does_not_go_on_with_a_run(tmp_path: Path) -> None:
    small.federation().run(tmp_path / "run")
    other = small.model(initial_model=lambda: {"weight": np.ones((small.FEATURES, small.CLASSES), np.float32)})
    with pytest.raises(ConflictError):
        small.federation(other).run(tmp_path / "run", resume=True)


def test_a_run_that_the_gate_stops_is_told_of_before_it_raises(tmp_path: Path) -> None:
    def worse(model: Tensors, x: Array) -> Array:
        return np.asarray((x[:, 0] > 0) if not model["weight"].any() else (x[:, 0] <= 0)).astype(np.int64)

    diary = small.Diary()
    federation = small.federation(small.model(predict=worse), run={"rounds": 5, "max_refusals": 2})
    with pytest.raises(GateRefusal):
        federation.run(tmp_path / "run", callbacks=[diary])
    (result,) = diary.results
    assert result.stopped.startswith("the gate refused 2 candidates")
    assert "stopped: the gate refused 2 candidates" in str(result)
    result.save_report(tmp_path / "report.html")
    assert "Stopped: the gate refused 2 candidates" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_member_predicts_with_the_released_tensors_and_its_own_local_ones() -> None:
    def begin() -> Tensors:
        return {**small.start(), "bias": np.zeros(small.CLASSES, np.float32)}

    def predict(model: Tensors, x: Array) -> Array:
        return np.asarray((x @ model["weight"] + model["bias"]).argmax(axis=1))

    def each(model: Tensors, x: Array, y: Labels) -> Tensors:
        logits = x @ model["weight"] + model["bias"]
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        error = odds / odds.sum(axis=1, keepdims=True) - np.eye(small.CLASSES)[y]
        return {"weight": x[:, :, None] * error[:, None, :], "bias": error}

    model = small.model(initial_model=begin, predict=predict, per_example_gradients=each)
    federation = small.federation(model, learning={"learning_rate": 0.5, "local": ["bias"]})
    result = federation.run()
    assert set(result.model) == {"weight"} and set(result.model_at("m-0")) == {"weight", "bias"}
    assert not np.array_equal(result.model_at("m-0")["bias"], result.model_at("m-1")["bias"])
    for member, data in federation.sites.items():
        share = (model.predict(result.model_at(member), data.x_held) == data.y_held).mean()
        assert share == result.accuracy[member]
    with pytest.raises(KeyError):  # the off twin: a release alone does not predict, and the result says what does
        model.predict(dict(result.model), small.sites()["m-0"][0])
    assert "bias stay with each member: predict with model_at(member)" in str(result)
    with pytest.raises(ConfigError, match="'nobody' is no member"):
        result.model_at("nobody")


def test_without_local_tensors_every_member_has_the_released_model() -> None:
    result = small.federation().run()
    assert np.array_equal(result.model_at("m-1")["weight"], result.model["weight"])
    assert not any("model_at" in line for line in result.notes())


# ------------------------------------------------------------------------------------------------------------- scales


def _scaled(*factors: float) -> Federation:
    sites = {m: ((x * np.array(factors)).astype(np.float32), y) for m, (x, y) in small.sites().items()}
    return Federation.local(small.model(), sites, **{**small.TABLES, "screening": {"max_norm": 50.0}})


@pytest.mark.parametrize(("factors", "warned"), [((1, 1, 1), 0), ((1, 50, 1), 0), ((1, 1000, 1), 1), ((1, 0, 1), 0)])
def test_columns_of_unlike_scales_are_warned_of(factors: tuple[float, ...], warned: int) -> None:
    split = _scaled(*factors).split
    assert len(split.warnings) == warned
    assert ("columns differ in scale by" in str(split)) == ("columns differ" in split._repr_html_()) == bool(warned)


def test_rare_values_integers_and_pictures_have_no_scale_to_warn_of() -> None:
    rare, y = np.zeros((60, 3), np.float32), np.arange(60) % 2
    rare[:, 0], rare[::20, 1], rare[8, 2] = np.arange(1, 61) / 60, 1, 1
    whole = np.stack([np.arange(60) + 1, 10_000 + np.arange(60), np.ones(60)], axis=1).astype(int)
    picture = np.random.default_rng(0).normal(size=(60, 2, 2)).astype(np.float32) * np.array([1e-4, 1.0], np.float32)
    for x in (rare, whole, picture):
        assert Federation.local(small.model(), {m: (x, y) for m in small.sites()}, **small.TABLES).split.warnings == ()


def test_updates_that_are_too_long_are_told_with_norm_limit_and_what_to_do() -> None:
    with pytest.raises(QuorumError, match="m-0 norm-too-large") as failed:
        _scaled(1, 10000, 1).run()
    hint = failed.value.hint
    assert hint.startswith("columns differ in scale by")
    found = re.search(r"an update of m-0 has l2 norm ([\d.e+]+), at most 50 is allowed", hint)
    assert found and float(found[1]) > 50
    assert "scale the inputs or raise screening.max_norm = 50" in hint


# ------------------------------------------------------------------------------------------------------------ baselines


def test_baselines_are_those_of_plain_loops() -> None:
    """Alone, federated averaging and pooled training, written out for full gradient steps."""
    federation = small.federation(run={"rounds": 4})
    found, sites = federation.baselines(), federation.sites
    alone = {member: small.start()["weight"] for member in sites}
    plain, pooled = small.start()["weight"], small.start()["weight"]
    examples = {member: len(data.x_train) for member, data in sites.items()}
    everything = [np.concatenate([getattr(data, part) for data in sites.values()]) for part in ("x_train", "y_train")]
    for _ in range(4):
        moves = {member: _step(plain, data.x_train, data.y_train) for member, data in sites.items()}
        plain = plain + sum(moves[m] * examples[m] for m in sites) / sum(examples.values())
        alone = {m: weight + _step(weight, sites[m].x_train, sites[m].y_train) for m, weight in alone.items()}
        pooled = pooled + _step(pooled, *everything)
    assert found.alone == {member: _share(alone[member], data) for member, data in sites.items()}
    assert found.plain == {member: _share(plain, data) for member, data in sites.items()}
    assert found.pooled == {member: _share(pooled, data) for member, data in sites.items()}


def _step(weight: Array, x: Array, y: Labels) -> Array:
    gradient = small.each_gradient({"weight": weight}, x, y)["weight"].mean(axis=0)
    return np.asarray(-0.5 * gradient, dtype=np.float32)


def _share(weight: Array, data: MemberData) -> float:
    return float((small.predict({"weight": weight}, data.x_held) == data.y_held).mean())


def test_a_report_without_baselines_does_not_train_them() -> None:
    result = small.federation(report={"baselines": False}).run()
    assert (result.baselines, result.median_gain()) == (None, None)
    assert [row[1:] for row in result.rows()] == [(None, None, result.accuracy[m], None) for m, *_ in result.rows()]


# -------------------------------------------------------------------------------------------------------------- privacy


def test_runs_on_a_disk_share_a_ledger_and_the_second_one_finds_the_budget_used(tmp_path: Path) -> None:
    assert small.federation(privacy=small.PRIVACY).run(tmp_path / "one").epsilon is not None
    with pytest.raises(BudgetExhausted):
        small.federation(privacy=small.PRIVACY).run(tmp_path / "two")
    assert small.charges(tmp_path / "phalanx-ledger.db") == 3 * 5  # rounds, members


def test_a_run_does_not_go_on_with_another_ledger(tmp_path: Path) -> None:
    federation = small.federation(privacy=small.PRIVACY)
    with pytest.raises(InterruptedError):
        federation.run(tmp_path / "run", callbacks=[small.Diary(fails_after=1)])
    (tmp_path / "phalanx-ledger.db").unlink()
    with pytest.raises(ConflictError, match="another privacy ledger"):
        federation.run(tmp_path / "run", resume=True)


def test_runs_in_memory_forget_what_they_spent_and_say_so(tmp_path: Path) -> None:
    """The off twin of the shared ledger."""
    for _ in range(2):
        result = small.federation(privacy=small.PRIVACY).run()
        assert any("privacy ledger ended with it" in line for line in result.notes())
        assert "privacy ledger ended with it" in str(result)
        assert "privacy ledger ended with it" in result._repr_html_()
    assert small.federation(privacy=small.PRIVACY).run(tmp_path / "run").notes() == ()


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (small.model(per_example_gradients=None, gradient=lambda m, x, y: m), "needs per_example_gradients"),
        (
            small.model(per_example_gradients=_broken, gradient=lambda m, x, y: m),
            "training, for m-0, raised OSError: the scanner is away",
        ),
        (small.model(predict=lambda m, x: 1 / 0), "predict, for m-0, raised ZeroDivisionError"),
    ],
)
def test_a_model_that_cannot_train_is_found_before_any_budget_is_charged(
    model: Model, words: str, tmp_path: Path
) -> None:
    federation = small.federation(model, privacy=small.PRIVACY)
    with pytest.raises(ConfigError, match=words):
        federation.run(tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_mistake_that_shows_only_later_does_cost(tmp_path: Path) -> None:
    """The off twin of the rehearsal: what it does not see is paid for."""
    calls: list[int] = []

    def breaks(model: Tensors, x: Array, y: Labels) -> Tensors:
        calls.append(1)
        return _broken(model, x, y) if len(calls) > 5 else small.each_gradient(model, x, y)

    federation = small.federation(small.model(per_example_gradients=breaks), privacy=small.PRIVACY)
    with pytest.raises(Exception, match="sound updates"):
        federation.run(tmp_path / "run")
    assert small.charges(tmp_path / "phalanx-ledger.db") > 0


# -------------------------------------------------------------------------------------------------------------- refused


def _changed(change: Callable[[Array, Labels], Any]) -> dict[str, Any]:
    sites = small.sites()
    return {**sites, "m-2": change(*sites["m-2"])}


@pytest.mark.parametrize(
    ("sites", "tables", "message", "hint"),
    [
        (_changed(lambda x, y: (x, y.astype(float))), {}, r"labels of m-2 must be integers", "astype"),
        (_changed(lambda x, y: (x, y + 1)), {}, r"labels of m-2 are 1 … 2, and .* are 0 … 1", "from 0"),
        (_changed(lambda x, y: (x, y - 1)), {}, r"labels of m-2 are -1 … 0", "from 0"),
        (_changed(lambda x, y: (x, y[:-1])), {}, r"m-2 has 60 inputs and 59 labels", ""),
        (_changed(lambda x, y: (x[:, :2], y)), {}, r"m-0 has shape \(3,\), one of m-2 has shape \(2,\)", "columns"),
        (_changed(lambda x, y: (x, y, y)), {}, r"examples of m-2 must be two arrays.* a tuple of 3", "x, y"),
        (_changed(lambda x, y: (iter(x), y)), {}, r"inputs of m-2 must be an array", "toarray"),
        (_changed(lambda x, y: (x[:0], y[:0])), {}, r"m-2 has no examples", "leave the member out"),
        (_changed(lambda x, y: (x * np.nan, y)), {}, r"examples of m-2: 60 of 60 examples hold", ""),
        (list(small.sites().values()), {}, r"sites must map each member's name .* found a list of 5", "site-a"),
        ({}, {}, r"sites must have names of members, found none", ""),
        ({0: small.sites()["m-0"]}, {}, r"names of members, found 0", ""),
        ({"Ward 1": small.sites()["m-0"]}, {}, r"a member id is", ""),
        (
            small.sites(),
            {"federation": {"members": ["m-0", "m-1", "m-9"]}},
            r"m-9 has no examples; m-2, m-3, m-4 have examples and no place",
            "leave federation.members out",
        ),
        (small.sites(), {"aggregation": {"rule": "trimmed-mean", "f": 3}}, r"needs 7 updates, and 5 members", "lower"),
        (small.sites(), {"agregation": {}}, r"unknown key agregation, did you mean 'aggregation'", ""),
        (small.sites(), {"run": 20}, r"run must be a table, such as run=\{…\}, found 20", ""),
        (
            small.sites(),
            {"data": {"schema": "schema.toml"}},
            r"name files beside a phalanx.toml, and there is none",
            "",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_members_name(
    sites: Any, tables: Mapping[str, Any], message: str, hint: str
) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        Federation.local(small.model(), sites, **{**small.TABLES, **tables})
    assert hint in refused.value.hint


def test_a_missing_table_is_shown_as_python() -> None:
    with pytest.raises(ConfigError, match="missing: run, aggregation") as refused:
        Federation.local(small.model(), small.sites())
    assert 'aggregation={"rule": "trimmed-mean", "f": 1}' in refused.value.hint


def test_an_estimator_is_no_model_and_the_adapter_is_named() -> None:
    with pytest.raises(ConfigError, match="found a object") as refused:
        Federation.local(object(), small.sites(), **small.TABLES)  # type: ignore[arg-type]
    assert "scikit_model" in refused.value.hint


def test_what_was_kept_in_memory_cannot_be_resumed() -> None:
    with pytest.raises(ConfigError, match="kept in memory cannot be resumed"):
        small.federation().run(resume=True)


# ----------------------------------------------------------------------------------------------------- the look of it


def test_no_text_becomes_markup() -> None:
    page = page_table(["<b>"], [["<i>", Share(0.5, bar=True)]]) + paragraph("<u>") + paragraph("<u>", quiet=True)
    assert not {"<b>", "<i>", "<u>"} & set(re.findall(r"<\w+>", page))
    assert "&lt;i&gt;" in page
    result = replace(small.federation().run(), stopped="<script>")
    assert "<script>" not in result._repr_html_() and "<script>" in str(result)


def test_what_a_notebook_shows_has_every_site() -> None:
    result = small.federation().run()
    page = result._repr_html_()
    assert all(f">{member}</td>" in page for member in small.sites())
    assert page.count("<tr>") == 6
    assert str(result).splitlines()[1].split()[0] == "site"
    assert repr(result) == f"Result({str(result).splitlines()[0]})"


def test_a_loss_is_called_a_loss() -> None:
    result = small.federation().run()
    assert result.baselines is not None
    ahead = {member: share + 0.1 for member, share in result.accuracy.items()}
    assert "loses 10.0 points against training alone" in str(
        replace(result, baselines=replace(result.baselines, alone=ahead))
    )
    even = replace(result, baselines=replace(result.baselines, alone=result.accuracy))
    assert "gains 0.0 points over training alone" in str(even)


def test_a_switched_off_control_is_said_beside_the_figures() -> None:
    off = small.federation(gate={"unsafe_accept_all": True}, run=SEEDED).run()
    assert [line.split(":")[0] for line in off.notes()[:2]] == ["NOT SECURE", "NOT SECURE"]
    assert not any("NOT SECURE" in line for line in small.federation().run().notes())


def test_the_split_counts_every_example_once() -> None:
    federation = small.federation()
    split, held = federation.split, {member: len(data.y_held) for member, data in federation.sites.items()}
    assert {member: sum(counts) for member, counts in split.by_class.items()} == dict.fromkeys(small.sites(), 60)
    assert split.held_out == held and 0 < min(held.values()) <= max(held.values()) < 30
    assert str(split).splitlines()[1].split() == ["m-0", "60", str(split.held_out[MemberId("m-0")]), "30", "30"]
    assert "<td" in split._repr_html_()


def test_a_federation_says_in_a_line_what_it_is() -> None:
    assert repr(small.federation()) == "Federation(local: 5 members, 3 rounds, trimmed-mean(f=1), no privacy)"
    assert repr(small.federation(privacy=small.PRIVACY)).endswith("ε ≤ 5 for each example)")


# ---------------------------------------------------------------------------------------------------------- from a file


SCHEMA = """
labels = ["benign", "malignant"]
columns = [{ name = "a", low = -9, high = 9 }, { name = "b", low = -9, high = 9 }, { name = "c", low = -9, high = 9 }]
"""


def test_data_that_does_not_fit_the_schema_stops_before_anything_is_charged(tmp_path: Path) -> None:
    from tests.cli import lab

    config = lab.write(tmp_path / "lab", data={"schema": "schema.toml"}, privacy={**small.PRIVACY, "normaliser": 150})
    (config.parent / "schema.toml").write_text(SCHEMA.replace("high = 9", "high = 1", 1), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"the data of m-0 does not fit the schema.* a: .* outside -9 to 1"):
        Federation.from_config(config).run()
    assert sorted(path.name for path in config.parent.iterdir() if path.suffix != ".pyc" and path.is_file()) == [
        "member.py",
        "phalanx.toml",
        "schema.toml",
    ]
    (config.parent / "schema.toml").write_text(SCHEMA, encoding="utf-8")  # the off twin: bounds that hold
    assert Federation.from_config(config).run(tmp_path / "run").epsilon is not None
    assert small.charges(config.parent / "phalanx-ledger.db") > 0


def test_a_file_and_its_tables_in_python_are_the_same_federation(tmp_path: Path) -> None:
    from tests.cli import lab

    config = lab.write(tmp_path / "lab", run=SEEDED)
    written = Federation.from_config(config)
    sites = {
        m: (np.concatenate([d.x_train, d.x_held]), np.concatenate([d.y_train, d.y_held]))
        for m, d in written.sites.items()
    }
    assert {m: len(x) for m, (x, _) in sites.items()} == dict.fromkeys(("m-0", "m-1", "m-2"), 200)
    assert written.run().public == config.parent / "phalanx-run" / "public"
    effective = json.loads((config.parent / "phalanx-run" / "public" / "config.json").read_bytes())
    assert effective["code"] == written.code
