"""`phalanx redteam` as a security engineer or a pipeline meets it: files, exit codes, baselines, waivers, refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from phalanx.cli.app import app
from tests.cli import lab

ATTACKS = ["--attacks", "sign-flip,rider-echo", "--defences", "none,yours", "--seeds", "1", "--hostile", "1"]
FINDING = "yours:rider-echo:1:natural"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lab.write(tmp_path_factory.mktemp("lab"), run={"rounds": 4}, gate={"unsafe_accept_all": True})


def called(*arguments: str | Path) -> tuple[int, dict[str, Any], str]:
    """Exit code, envelope and what people read."""
    done = CliRunner().invoke(app, ["redteam", *map(str, arguments), "--format", "json"])
    return done.exit_code, json.loads(done.stdout) if done.stdout.startswith("{") else {}, done.stderr


@pytest.fixture(scope="module")
def folder(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    code, envelope, stderr = called(config, *ATTACKS, "--out", out)
    assert code == 0, stderr
    assert {finding["id"] for finding in envelope["data"]["findings"]} >= {FINDING}
    return out


def test_every_report_is_there_and_names_the_finding(folder: Path) -> None:
    for name in ("redteam.html", "redteam.json", "redteam.sarif"):
        assert FINDING.encode() in (folder / name).read_bytes(), name
    assert json.loads((folder / "atlas-layer.json").read_text())["techniques"]


def test_times_and_the_host_are_in_a_file_of_their_own(folder: Path) -> None:
    run = json.loads((folder / "run.json").read_text())
    assert run["seconds"] > 0
    assert set(run) == {"program", "python", "machine", "cores", "started", "seconds", "cells"}


def test_the_second_call_plays_nothing_and_writes_the_same_bytes(config: Path, folder: Path) -> None:
    before = {name: (folder / name).read_bytes() for name in ("redteam.html", "redteam.json", "redteam.sarif")}
    code, _, _ = called(config, *ATTACKS, "--out", folder)
    assert code == 0
    assert json.loads((folder / "run.json").read_text())["cells"] == {}
    assert before == {name: (folder / name).read_bytes() for name in before}


def test_a_finding_fails_a_build_that_asks_for_it_and_a_waiver_lets_it_pass(config: Path, folder: Path) -> None:
    code, envelope, _ = called(config, *ATTACKS, "--out", folder, "--fail-on", "low")
    assert (code, envelope["error_code"]) == (1, "FindingsFailed")
    ids = [finding["id"] for finding in envelope["data"]["findings"]]
    accept = ["--accept", ids[0], "--reason", "known", "--until", "2999-01-01"]
    code, envelope, _ = called(config, *ATTACKS, "--out", folder, "--fail-on", "low", *accept)
    assert code == (0 if len(ids) == 1 else 1)
    assert envelope["data"]["findings"][0]["waived"]


def test_an_expired_waiver_accepts_nothing(config: Path, folder: Path) -> None:
    accept = ["--accept", FINDING, "--reason", "known", "--until", "2001-01-01"]
    code, envelope, _ = called(config, *ATTACKS, "--out", folder, "--fail-on", "low", *accept)
    assert code == 1
    assert not any(finding["waived"] for finding in envelope["data"]["findings"])


def test_against_itself_as_a_baseline_nothing_is_worse(config: Path, folder: Path, tmp_path: Path) -> None:
    earlier = tmp_path / "earlier.json"
    earlier.write_bytes((folder / "redteam.json").read_bytes())
    code, envelope, stderr = called(config, *ATTACKS, "--out", folder, "--baseline", earlier)
    assert code == 0, stderr
    assert {finding["change"] for finding in envelope["data"]["findings"]} == {"same"}


def test_what_the_baseline_does_not_know_fails_the_build(config: Path, folder: Path, tmp_path: Path) -> None:
    earlier = tmp_path / "earlier.json"
    held = json.loads((folder / "redteam.json").read_text())
    held["findings"] = []
    earlier.write_text(json.dumps(held))
    code, envelope, _ = called(config, *ATTACKS, "--out", folder, "--baseline", earlier)
    assert code == 1
    assert "new or worse" in envelope["message"]


def test_a_budget_of_nothing_plays_nothing_and_says_so(config: Path, tmp_path: Path) -> None:
    code, envelope, stderr = called(config, *ATTACKS, "--out", tmp_path, "--budget", "0s")
    assert code == 0, stderr
    assert set(envelope["data"]["threats"].values()) == {"not tested"}
    assert "left out" in stderr
    assert "Nothing was tested" in stderr


def test_a_pipeline_in_which_nothing_was_tested_does_not_pass(config: Path, tmp_path: Path) -> None:
    code, envelope, _ = called(config, *ATTACKS, "--out", tmp_path, "--budget", "0s", "--fail-on", "critical")
    assert code == 1
    assert "not a pass" in envelope["message"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name a configuration"),
        (["CONFIG", "--attacks", "sgn-flip"], "sign-flip"),
        (["CONFIG", "--defences", "trimed-mean"], "trimmed-mean"),
        (["CONFIG", "--hostile", "3"], "must be honest"),
        (["CONFIG", "--hostile", "one"], "--hostile"),
        (["CONFIG", "--splits", "uneven"], "a split is"),
        (["CONFIG", "--budget", "soon"], "--budget"),
        (["CONFIG", "--accept", "x"], "--reason"),
        (["CONFIG", "--reason", "x"], "--accept"),
        (["CONFIG", "--accept", "x", "--reason", "y", "--until", "tomorrow"], "--until"),
        (["CONFIG", "--baseline", "nowhere.json"], "nowhere.json"),
        (["CONFIG", "--scenario", "nowhere.toml"], "nowhere.toml"),
        (["CONFIG", "--module", "nowhere.py"], "nowhere.py"),
        (["nowhere.toml"], "nowhere.toml"),
    ],
)
def test_a_mistake_is_a_sentence_and_exit_code_2(config: Path, arguments: list[str], said: str) -> None:
    code, envelope, stderr = called(*[str(config) if one == "CONFIG" else one for one in arguments])
    assert code == 2
    assert said in f"{envelope['message']} {envelope['hint']}"
    assert "Traceback" not in stderr


def test_a_scenario_beside_the_configuration_is_read_and_the_command_line_has_the_last_word(
    config: Path, tmp_path: Path
) -> None:
    scenario = tmp_path / "redteam.toml"
    scenario.write_text('attacks = ["sign-flip"]\ndefences = ["none", "yours"]\nseeds = 2\nhostile = [1]\n')
    code, _, stderr = called(config, "--scenario", scenario, "--out", tmp_path / "out", "--seeds", "1")
    assert code == 0, stderr
    assert json.loads((tmp_path / "out" / "redteam.json").read_text())["seeds"] == [0]


def test_every_attack_and_defence_is_listed() -> None:
    code, envelope, stderr = called("--list")
    assert code == 0
    assert {"sign-flip", "lira", "altering-courier"} <= set(envelope["data"]["attacks"])
    assert {"none", "yours", "arc-caf"} <= set(envelope["data"]["defences"])
    assert "sign-flip" in stderr


def test_the_schema_is_printed() -> None:
    done = CliRunner().invoke(app, ["redteam", "--schema"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["$schema"].startswith("https")


def test_a_process_that_dies_is_named_by_its_cells_and_what_was_played_is_kept(config: Path, tmp_path: Path) -> None:
    """In a process of its own: where JAX is loaded the attack would end the tests."""
    killer = tmp_path / "killer.py"
    killer.write_text(
        "import os\nfrom phalanx.redteam import attack\n"
        '@attack(name="killer", title="Kills", goal="damage", knowledge="black", paper="ours")\n'
        "def killer(view):\n    os._exit(1)\n"
    )
    out = tmp_path / "out"
    options = ["--module", killer, "--attacks", "sign-flip,killer", "--defences", "none,yours", "--seeds", "1"]
    command = [sys.executable, "-c", "from phalanx.cli import main; main()", "redteam", config, *options, "--out", out]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 8
    assert "killer/" in done.stderr
    assert "Traceback" not in done.stderr
    assert (out / "cells.jsonl").read_bytes().count(b"\n") >= 2
