"""A whole campaign: planned, played once, resumed, judged; the same seeds give the same bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from phalanx.errors import ConfigError
from phalanx.learning.threads import use_threads
from phalanx.redteam.campaign import Campaign, campaign, run_campaign
from phalanx.redteam.kept import NAME, Kept, data_digest, key_of
from phalanx.redteam.known import known
from phalanx.redteam.matrix import Ground, Progress, play_all
from phalanx.redteam.outcome import QUIET, Cell, Outcome
from phalanx.redteam.plan import quiet
from phalanx.redteam.report.json_file import as_json
from phalanx.redteam.report.page import render
from phalanx.redteam.result import Result
from phalanx.redteam.scenario import Scenario, chosen, counts, read_scenario
from tests.redteam.small import federation

ATTACKS = ("sign-flip", "model-replacement", "rider-echo", "veto")


def silent(progress: Progress) -> None:
    """No progress."""


def small(attacks: Sequence[str] = ATTACKS, seeds: int = 1, **fields: object) -> Campaign:
    scenario = Scenario(attacks=tuple(attacks), defences=("none", "yours", "median"), **fields)  # type: ignore[arg-type]
    return campaign(federation(), known(()), scenario, range(seeds), "phalanx redteam phalanx.toml")


def run(one: Campaign, folder: Path, budget_s: float | None = None) -> Result:
    use_threads(1)
    return run_campaign(one, folder, budget_s, silent)[0]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run(small(), tmp_path_factory.mktemp("redteam"))


# ----------------------------------------------------------------------------------------------------------------- plan


def test_the_undefended_come_first_and_each_attack_has_its_own_off_twin() -> None:
    cells = small().cells()
    assert cells[0].attack == QUIET
    assert Cell("veto", "trusting-gate", 1, "natural", 0) in cells
    assert Cell("sign-flip", "trusting-gate", 1, "natural", 0) not in cells
    late = [cell.defence not in ("none", "trusting-gate", "yours") for cell in cells]
    assert late == sorted(late)
    order = [(cell.attack, cell.defence) for cell in cells]
    assert order.index(("sign-flip", "yours")) == order.index(("sign-flip", "none")) + 1


def test_all_of_one_seed_comes_before_the_next() -> None:
    seeds = [cell.seed for cell in small(seeds=3).cells()]
    assert seeds == sorted(seeds)


def test_only_rules_that_are_told_how_many_are_hostile_are_played_anew_for_each_number() -> None:
    cells = small(hostile=(1, 2)).cells()
    assert sum(cell.attack == QUIET and cell.defence == "yours" for cell in cells) == 1
    assert sum(cell.attack == QUIET and cell.defence == "median" for cell in cells) == 2
    assert quiet(Cell("alie", "median", 2, "natural", 0)) == Cell(QUIET, "median", 2, "natural", 0)


def test_every_cell_is_planned_once() -> None:
    cells = small(seeds=2, hostile=(1, 2), splits=("natural", "iid")).cells()
    assert len(cells) == len(set(cells))


# --------------------------------------------------------------------------------------------------------------- played


def test_attacks_work_undefended_and_are_judged_where_they_do_not(result: Result) -> None:
    verdicts = {(one.attack, one.defence): one.verdict for one in result.judged}
    assert verdicts["sign-flip", "none"] == "works"
    assert verdicts["model-replacement", "none"] == "works"
    assert verdicts["veto", "trusting-gate"] == "works"
    assert verdicts["veto", "yours"] in ("held", "unclear")  # eight rounds of one seed are few
    assert verdicts["rider-echo", "yours"] == "not held"
    assert "yours:rider-echo:1:natural" in {one.id for one in result.findings}


def test_the_same_seeds_give_the_same_bytes(result: Result, tmp_path: Path) -> None:
    again = run(small(), tmp_path)
    assert as_json(again) == as_json(result)
    assert render(again) == render(result)


def test_a_stopped_campaign_goes_on_and_plays_nothing_twice(tmp_path: Path) -> None:
    one = small(("sign-flip",))
    whole = run(one, tmp_path)
    lines = (tmp_path / NAME).read_bytes().splitlines(keepends=True)
    (tmp_path / NAME).write_bytes(b"".join(lines[:3]) + lines[3][:40])  # a crash in the middle of a line
    again, seconds = run_campaign(one, tmp_path, None, silent)
    assert len(seconds) == len(lines) - 3
    assert as_json(again) == as_json(whole)
    _, none = run_campaign(one, tmp_path, None, silent)
    assert not none


def test_other_settings_are_other_cells(tmp_path: Path) -> None:
    run(small(("sign-flip",)), tmp_path)
    other = campaign(
        federation(run={"rounds": 5, "missing_allowed": 1}),
        known(()),
        Scenario(attacks=("sign-flip",), defences=("none",)),
        range(1),
        "phalanx",
    )
    _, seconds = run_campaign(other, tmp_path, None, silent)
    assert len(seconds) == 2


def test_beyond_its_budget_a_campaign_says_what_it_left_out(tmp_path: Path) -> None:
    cut = run(small(), tmp_path, budget_s=0.0)
    assert cut.left_out
    assert all("beyond the time budget" in why for _, why in cut.left_out)
    assert "not tested" in {one.verdict for one in cut.judged}
    assert {threat.status for threat in cut.threats} == {"not tested"}


def test_cells_of_an_attack_that_does_nothing_undefended_come_last(tmp_path: Path) -> None:
    order: list[str] = []
    one = small(("zero", "sign-flip"))
    ground = Ground(one.federation, one.known, {}, "program", "data")

    def note(progress: Progress) -> None:
        if progress.played is not None:
            order.append(str(progress.played.cell))

    play_all(ground, one.cells(), Kept(tmp_path), None, note)
    late = [i for i, cell in enumerate(order) if cell.startswith("zero/median")]
    assert late[0] >= len(order) - 2


def test_progress_has_an_eta_that_was_measured(tmp_path: Path) -> None:
    seen: list[Progress] = []
    one = small(("sign-flip",))
    play_all(Ground(one.federation, one.known, {}, "p", "data"), one.cells(), Kept(tmp_path), None, seen.append)
    assert seen[-1].done == seen[-1].cells == len(one.cells())
    assert all(progress.eta_s is not None for progress in seen)
    assert seen[-1].eta_s == 0


def test_a_defence_that_the_rule_refuses_is_said_to_be_not_available(tmp_path: Path) -> None:
    scenario = Scenario(attacks=("sign-flip",), defences=("none", "bulyan"))
    one = campaign(federation(), known(()), scenario, range(1), "phalanx")
    judged = {(j.attack, j.defence): j for j in run(one, tmp_path).judged}
    assert judged["sign-flip", "bulyan"].verdict == "not available"
    assert "bulyan" in judged["sign-flip", "bulyan"].why


def test_the_attack_of_a_stranger_is_in_the_report(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from phalanx.redteam import attack\n"
        '@attack(name="half-back", title="Half a step back", goal="damage", knowledge="white", paper="ours")\n'
        "def half_back(view):\n"
        '    "Half of the honest mean, backwards."\n'
        "    return -9 * view.honest.mean(axis=0)\n"
    )
    scenario = Scenario(attacks=("half-back",), defences=("none", "yours"))
    one = campaign(federation(), known([path]), scenario, range(1), "phalanx")
    found = run(one, tmp_path / "out")
    assert b"Half a step back" in render(found)
    assert {j.verdict for j in found.judged if j.attack == "half-back"} <= {"works", "held", "not held", "unclear"}
    assert "half-back" in known([path]).sets["default"]


def test_another_version_of_a_strangers_attack_is_played_again(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    text = (
        "from phalanx.redteam import attack\n"
        '@attack(name="mine", title="Mine", goal="damage", knowledge="black", paper="ours")\n'
        "def mine(view):\n    return -{} * view.own\n"
    )
    keys = []
    for scale in (1, 2):
        path.write_text(text.format(scale))
        ground = Ground(federation(), known([path]), {}, "p", "data")
        keys.append(ground.key(Cell("mine", "none", 1, "natural", 0)))
    assert keys[0] != keys[1]


def test_a_file_without_an_attack_and_a_name_that_is_taken_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("x = 1\n")
    with pytest.raises(ConfigError, match="holds no attack"):
        known([path])
    path.write_text(
        "from phalanx.redteam import attack\n"
        'mine = attack(name="ipm", title="t", goal="damage", knowledge="black", paper="p")(lambda view: view.own)\n'
    )
    with pytest.raises(ConfigError, match="already"):
        known([path])


# ----------------------------------------------------------------------------------------------------------------- kept


def test_an_outcome_is_kept_under_all_that_it_depends_on(tmp_path: Path) -> None:
    cell = Cell("ipm", "none", 1, "natural", 0)
    Kept(tmp_path).add(key_of("a", cell), Outcome(cell=cell, measures={"accuracy": 0.5}))
    held = Kept(tmp_path)
    assert held.get(key_of("a", cell), cell) == Outcome(cell=cell, measures={"accuracy": 0.5})
    assert held.get(key_of("b", cell), cell) is None
    assert json.loads((tmp_path / NAME).read_text())["outcome"]["cell"]["attack"] == "ipm"


@pytest.mark.parametrize(
    "line",
    [
        "no json",
        "{}",
        "[]",
        '{"key": "k", "outcome": {"cell": {}}}',
        '{"key": "k", "outcome": {"cell": 3, "measures": {}, "counts": {}, "series": {}}}',
    ],
)
def test_a_line_that_is_no_outcome_is_played_again(tmp_path: Path, line: str) -> None:
    cell = Cell("ipm", "none", 1, "natural", 0)
    (tmp_path / NAME).write_text(line + "\n")
    tmp_path.chmod(0o700)
    held = Kept(tmp_path)
    assert held.unread == 1
    held.add("k", Outcome(cell=cell))
    assert Kept(tmp_path).get("k", cell) == Outcome(cell=cell)


def test_an_outcome_of_another_cell_is_not_taken_for_this_one(tmp_path: Path) -> None:
    Kept(tmp_path).add("k", Outcome(cell=Cell("ipm", "none", 1, "natural", 0)))
    assert Kept(tmp_path).get("k", Cell("alie", "none", 1, "natural", 0)) is None


def test_other_examples_are_other_cells() -> None:
    sites = federation().sites
    member, data = next(iter(sites.items()))
    changed = {**sites, member: replace(data, x_train=data.x_train + np.float32(1))}
    assert data_digest(sites) != data_digest(changed)
    assert data_digest(sites) == data_digest(dict(reversed(list(sites.items()))))


def test_with_other_code_everything_is_played_again() -> None:
    cell = Cell("ipm", "none", 1, "natural", 0)
    keys = {Ground(federation(), known(()), {}, program, data).key(cell) for program in "ab" for data in "cd"}
    assert len(keys) == 4


def test_an_attack_that_quits_is_no_defence(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from phalanx.redteam import attack\n"
        '@attack(name="quitter", title="Quits", goal="damage", knowledge="black", paper="ours")\n'
        "def quitter(view):\n    raise SystemExit(0)\n"
    )
    scenario = Scenario(attacks=("quitter",), defences=("none", "yours"))
    found = run(campaign(federation(), known([path]), scenario, range(1), "phalanx"), tmp_path / "out")
    assert {j.verdict for j in found.judged if j.attack == "quitter"} == {"not available"}


# ------------------------------------------------------------------------------------------------------------- scenario


def test_a_scenario_is_read_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "redteam.toml"
    path.write_text(
        'attacks = ["default"]\ndefences = ["yours", "strict"]\nshares = [0.1, 0.3]\nseeds = 2\n'
        'splits = ["natural", "dirichlet:0.5"]\n'
        '[defence.strict]\naggregation = { rule = "median", f = 1 }\n'
        '[[accept]]\nid = "yours:rider-echo:1:natural"\nreason = "contracts"\nuntil = 2027-06-30\n'
    )
    read = read_scenario(path)
    assert read.accept[0].until.year == 2027
    assert counts(read, 10, 3) == (1, 3)
    assert counts(replace_scenario(read, shares=None), 10, 3) == (3,)
    assert counts(replace_scenario(read, shares=None), 10, 0) == (2,)


def replace_scenario(read: Scenario, **fields: object) -> Scenario:
    return read.model_copy(update=fields)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('atacks = ["all"]', "did you mean attacks"),
        ("seeds = 0", "seeds"),
        ("hostile = [0]", "hostile"),
        ("shares = [1.5]", "shares"),
        ("splits = []", "splits"),
        ("seeds = ", "not TOML"),
        ('[[accept]]\nid = "x"\nreason = ""\nuntil = 2027-01-01', "reason"),
    ],
)
def test_a_scenario_with_a_mistake_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "redteam.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        read_scenario(path)
    assert said in f"{raised.value.message} {raised.value.hint}"


def test_a_name_that_there_is_not_gets_the_nearest() -> None:
    with pytest.raises(ConfigError) as raised:
        chosen(["sign-flp"], ["sign-flip", "ipm"], {"all": ["sign-flip", "ipm"]}, "attack")
    assert "sign-flip" in raised.value.hint


def test_somebody_must_be_honest() -> None:
    with pytest.raises(ConfigError, match="must be honest"):
        small(hostile=(5,))


def test_without_held_out_examples_nothing_can_be_measured() -> None:
    blind = federation(
        learning={"module": "small", "learning_rate": 0.6, "held_out": 0.0},
        gate={"unsafe_accept_all": True},
    )
    with pytest.raises(ConfigError, match="held_out"):
        campaign(blind, known(()), Scenario(), range(1), "phalanx")


def test_a_defence_of_the_scenario_must_not_hide_one_that_there_is() -> None:
    with pytest.raises(ConfigError, match="already"):
        small(defence={"median": {"aggregation": {"rule": "median", "f": 1}}})


def test_the_result_has_no_time_and_no_place(result: Result) -> None:
    text = as_json(replace(result)).decode()
    assert "/" + "work" not in text
    assert "seconds" not in text
