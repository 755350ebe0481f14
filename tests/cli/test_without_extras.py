"""The core without torch and scikit-learn: it runs, and what needs them says so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli import lab

BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "sklearn", "flwr", "mlflow", "tensorboard"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
from phalanx.cli import main
main()
"""


def _phalanx(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", BLOCKED, *map(str, arguments), "--format", "json"]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_a_run_with_a_numpy_module_and_its_verification_need_no_extra(tmp_path: Path) -> None:
    config = lab.write(tmp_path / "lab")
    ran = _phalanx("run", config, "--out", tmp_path / "run")
    assert ran.returncode == 0, ran.stderr
    fingerprint = json.loads(ran.stdout)["data"]["paths"]["fingerprint"]
    assert _phalanx("audit", "verify", tmp_path / "run", "--trust", fingerprint).returncode == 0


def test_the_demo_says_what_is_missing_and_how_to_get_it(tmp_path: Path) -> None:
    asked = _phalanx("demo", "--out", tmp_path / "demo")
    envelope = json.loads(asked.stdout)
    assert (asked.returncode, envelope["error_code"]) == (8, "NotAvailable")
    assert envelope["message"].startswith("not available: ")
    assert "pip install" in envelope["hint"]
    assert "Traceback" not in asked.stderr
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize(
    "module",
    ["phalanx.engine.inprocess", "phalanx.audit", "phalanx.cli.train", "phalanx.cli.survey", "phalanx.learning"],
)
def test_the_core_loads_no_extra_even_where_it_is_installed(module: str) -> None:
    extras = {"torch", "sklearn", "flwr", "mlflow", "tensorboard"}
    code = f"import sys, {module}; print(sorted({extras} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout == "[]\n"
