"""The demo as its user gets it: one command, one envelope, a report, a log that verifies, the promised figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phalanx.audit import verify_run
from phalanx.errors import ConflictError, IntegrityError
from phalanx.learning import LocalTrainer
from phalanx.redteam.demo.scenario import (
    ALONE,
    MEMBERS,
    POOLED,
    RUNS,
    Draw,
    cast,
    play,
    play_alone,
    quiet,
    shortened,
    split,
)
from phalanx.redteam.demo.whole import run_demo
from phalanx.release import open_release
from phalanx.store import read_public
from tests.redteam.demo.synthetic_demo import demo as synthetic

PHALANX = Path(sys.executable).with_name("phalanx")
RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """One real demo, through the command line: its envelope's data and the folder."""
    out = tmp_path_factory.mktemp("demo") / "out"
    command = [str(PHALANX), "demo", "--out", str(out), "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"NO_COLOR": "1"})
    assert done.returncode == 0, done.stderr
    envelope = json.loads(done.stdout)  # exactly one value on stdout, or this raises
    assert (envelope["status"], envelope["exit_code"], envelope["schema_version"]) == ("ok", 0, "1")
    data: dict[str, Any] = envelope["data"]
    return data, out


def _runs(data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {run["name"]: run for run in data["runs"]}


def test_every_run_of_the_scenario_is_in_the_envelope(demo: tuple[dict[str, Any], Path]) -> None:
    runs = _runs(demo[0])
    assert set(runs) == {run.name for run in RUNS} | {ALONE, POOLED}
    fields = {"name", "accuracy", "backdoor_success", "epsilon", "delta", "unit", "finite", "refused", "seconds"}
    assert all(fields <= set(run) for run in runs.values())


def test_undefended_attacks_reach_their_goals(demo: tuple[dict[str, Any], Path]) -> None:
    runs = _runs(demo[0])
    assert runs["undefended-backdoor"]["backdoor_success"] >= 0.95
    assert runs["undefended-backdoor"]["accuracy"] >= runs["clean"]["accuracy"] - 0.02
    assert runs["undefended-sign-flip"]["accuracy"] <= 0.3
    assert not runs["undefended-nan"]["finite"]
    assert runs["private-mean-three-norm-matched"]["backdoor_success"] >= 0.9


def test_epsilon_is_named_with_its_unit_and_within_its_budget(demo: tuple[dict[str, Any], Path]) -> None:
    run = _runs(demo[0])["private-attacked"]
    assert 1 <= run["epsilon"] <= 8
    assert (run["unit"], run["delta"]) == ("example", 1e-5)
    assert run["refused"] == {"org-10: not-finite": 40}


def test_the_folder_verifies_with_the_printed_command_and_not_after_a_bit_was_flipped(
    demo: tuple[dict[str, Any], Path],
) -> None:
    data, out = demo
    trust = data["paths"]["fingerprint"]
    command = [str(PHALANX), "audit", "verify", data["paths"]["public"], "--trust", trust]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    files = read_public(out / "run")
    rng = np.random.default_rng(0)
    for name, content in files.items():
        for place in rng.choice(len(content), size=min(2, len(content)), replace=False).tolist():
            changed = bytearray(content)
            changed[place] ^= 1 << int(rng.integers(8))
            with pytest.raises(IntegrityError, match=r"federation\.json|config\.json|log\.jsonl|checkpoint|releases/"):
                verify_run({**files, name: bytes(changed)}, trust)


def test_the_released_model_opens_as_a_user_would_load_it(demo: tuple[dict[str, Any], Path]) -> None:
    files = read_public(demo[1] / "run")
    federation = json.loads(files["federation.json"])["body"]
    last = max(name for name in files if name.endswith(".safetensors"))
    manifest = files[last.replace(".safetensors", ".json")]
    released = open_release(files[last], manifest, operator=federation["operator"], federation="digits", at_least=0)
    assert released.tensors["weight"].shape == (10, 64)


def test_the_report_is_one_file_without_scripts_or_addresses(demo: tuple[dict[str, Any], Path]) -> None:
    page = (demo[1] / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "://" not in page
    assert all(run.name in page for run in RUNS)


def test_a_second_demo_replaces_the_first_and_nothing_else(tmp_path: Path) -> None:
    kept = tmp_path / "mine"
    kept.mkdir()
    (kept / "thesis.tex").write_text("years of work")
    with pytest.raises(ConflictError, match="not an earlier demo"):
        run_demo(kept, Draw(0), "phalanx", quiet)
    assert (kept / "thesis.tex").read_text() == "years of work"


def test_the_synthetic_report_data_have_the_shape_of_a_real_run() -> None:
    """The report's tests stand on made-up data: the names in it must be the scenario's."""
    real = {run.name for run in RUNS} | {ALONE, POOLED}
    assert set(synthetic().runs) <= real


def test_hostile_members_are_the_ones_that_the_run_names() -> None:
    digits = split(Draw(0))
    for run in RUNS:
        players = cast(run, digits)
        honest = {member for member in MEMBERS if isinstance(players[member], LocalTrainer)}
        assert honest == set(MEMBERS) - set(run.hostile), run.name


def test_a_run_in_memory_repeats_itself_byte_for_byte() -> None:
    run = shortened(next(run for run in RUNS if run.name == "private-attacked"), 3)
    first, second = (play(run, Draw(5), None, quiet)[0] for _ in range(2))
    assert [(r.accuracy, r.weights, r.refused) for r in first.rounds] == [
        (r.accuracy, r.weights, r.refused) for r in second.rounds
    ]


@pytest.mark.parametrize(
    ("file", "draw", "name"),
    [
        ("demo_seeds.json", Draw(0), "private"),
        ("demo_seeds.json", Draw(0), "robust-attacked"),
        ("demo_seeds_holdout.json", Draw(10), "private"),
        ("demo_uneven.json", Draw(0, alpha=0.5), "private"),
    ],
)
def test_the_committed_figures_are_those_of_this_code(file: str, draw: Draw, name: str) -> None:
    """The README quotes these files: whoever changes what a run computes has to make them anew."""
    figures = json.loads((RESULTS / file).read_text(encoding="utf-8"))["runs"][name]
    result = play(next(run for run in RUNS if run.name == name), draw, None, quiet)[0]
    assert (round(result.accuracy, 4), round(result.backdoor_success, 4)) == (
        figures["accuracy"][0],
        figures["backdoor"][0],
    )


@pytest.mark.slow
def test_over_ten_seeds_the_promises_hold_in_the_mean() -> None:
    names = {"clean", "undefended-backdoor", "undefended-sign-flip", "undefended-nan", "robust", "robust-attacked",
             "private", "private-attacked"}  # fmt: skip
    chosen = [run for run in RUNS if run.name in names]
    results = {run.name: [play(run, Draw(seed), None, quiet)[0] for seed in range(10)] for run in chosen}
    accuracy = {name: float(np.mean([r.accuracy for r in rs])) for name, rs in results.items()}
    backdoor = {name: float(np.mean([r.backdoor_success for r in rs])) for name, rs in results.items()}
    for clean, attacked in zip(results["clean"], results["undefended-backdoor"], strict=True):
        assert attacked.backdoor_success >= 0.95
        assert attacked.accuracy >= clean.accuracy - 0.02
    assert all(result.accuracy <= 0.3 for result in results["undefended-sign-flip"])
    assert not any(result.finite for result in results["undefended-nan"])
    for name in ("robust", "private"):
        assert accuracy[f"{name}-attacked"] >= accuracy[name] - 0.02
        assert backdoor[f"{name}-attacked"] <= 0.05
    assert all(1 <= (result.epsilon or 0) <= 8 for result in results["private-attacked"])
    assert accuracy["private"] > float(np.mean([play_alone(Draw(seed)).accuracy for seed in range(10)]))
