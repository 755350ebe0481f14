"""Real processes, really killed: `phalanx run --resume` goes on to the same model, decisions and ε."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from phalanx.canonical import decode
from phalanx.store import read_public
from tests.faults import struck

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits"
STRUCK = [sys.executable, struck.__file__]
PHALANX = [sys.executable, "-c", "from phalanx.cli import main; main()"]
ROUNDS = 2


def _copy(place: Path) -> Path:
    """The example, shorter, and with entropy that anybody can repeat, so that two runs can be compared."""
    place.mkdir()
    for name in ("member.py", "phalanx.toml"):  # and not what a run beside them has left
        shutil.copy(EXAMPLE / name, place)
    config = place / "phalanx.toml"
    text = config.read_text(encoding="utf-8")
    shorter = text.replace("rounds = 40", f"rounds = {ROUNDS}\nlab_seed = 7")
    assert shorter != text
    config.write_text(shorter, encoding="utf-8")
    return config


def _phalanx(command: list[str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    words = [*command, *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False, env=environment)


def _run(command: list[str], config: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return _phalanx(command, "run", config, "--out", config.parent / "run", "--format", "json", *options)


def _told(config: Path) -> list[dict[str, Any]]:
    """The public log without the times: they are all that two runs of the same seed may differ in."""
    lines = read_public(config.parent / "run")["log.jsonl"].splitlines()
    return [{name: value for name, value in decode(line).items() if name != "time"} for line in lines]


def _charges(config: Path) -> list[Any]:
    """The ledger without the hash of the order, which holds a time: run, round, attempt, data, noise and budget."""
    ledger = sqlite3.connect(config.parent / "phalanx-ledger.db")
    rows = [json.loads(row[0]) for row in ledger.execute("select reservation from charge")]
    ledger.close()
    return sorted((row.pop("key").split("/")[:3], sorted(row.items())) for row in rows)


def _outcome(process: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert process.returncode == 0, process.stderr
    data = json.loads(process.stdout)["data"]
    return {name: value for name, value in data.items() if name not in ("paths", "verify")} | {
        "operator": data["paths"]["fingerprint"]
    }


def _verify(config: Path, operator: str) -> None:
    verified = _phalanx(PHALANX, "audit", "verify", config.parent / "run", "--trust", operator)
    assert verified.returncode == 0, verified.stderr


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Any]:
    """Outcome, log and ledger of a run that nothing happens to."""
    config = _copy(tmp_path_factory.mktemp("undisturbed") / "digits")
    outcome = _outcome(_run(PHALANX, config))
    assert outcome["version"] == ROUNDS
    assert len(_charges(config)) == 10 * ROUNDS
    return outcome, _told(config), _charges(config)


@pytest.mark.parametrize("moment", struck.MOMENTS)
def test_a_run_that_is_killed_goes_on_to_the_same_model_decisions_and_charges(
    moment: str, undisturbed: tuple[Any, Any, Any], tmp_path: Path
) -> None:
    config = _copy(tmp_path / "digits")
    killed = _run([*STRUCK, moment, "SIGKILL"], config)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert killed.stdout == ""
    outcome = _outcome(_run(PHALANX, config, "--resume"))
    assert (outcome, _told(config), _charges(config)) == undisturbed
    _verify(config, outcome["operator"])


def test_a_run_that_is_interrupted_and_then_terminated_says_so_and_goes_on(
    undisturbed: tuple[Any, Any, Any], tmp_path: Path
) -> None:
    config = _copy(tmp_path / "digits")
    before, after = "before the aggregate is kept", "after the decision is logged"
    for moment, name, code, word, options in (
        (before, "SIGINT", 130, "Interrupted", ()),
        (after, "SIGTERM", 143, "Terminated", ("--resume",)),
    ):
        stopped = _run([*STRUCK, moment, name], config, *options)
        assert stopped.returncode == code, stopped.stderr
        envelope = json.loads(stopped.stdout)
        assert (envelope["exit_code"], envelope["error_code"]) == (code, word)
        assert "--resume" in envelope["hint"]
        assert "Traceback" not in stopped.stderr
    outcome = _outcome(_run(PHALANX, config, "--resume"))
    assert (outcome, _told(config), _charges(config)) == undisturbed
