"""The blocks that are marked `run`, shell or Python, do what they say, page by page, each page in its own folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from phalanx.config import parse
from phalanx.learning.schema import schema_of
from phalanx.redteam.scenario import Scenario
from tests.docs.page import ROOT, Block, blocks, pages

STEPS = {str(path.relative_to(ROOT)): blocks(path.read_text(encoding="utf-8")) for path in pages()}
RUNNABLE = [page for page, steps in STEPS.items() if any("run" in block.info for block in steps)]


def _follow(steps: list[Block], folder: Path) -> list[str]:
    """Saves and runs the blocks in order; what each of those that were run printed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    printed = []
    for block in steps:
        for name in (word.removeprefix("save=") for word in block.info if word.startswith("save=")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(block.body, encoding="utf-8")
        if "run" in block.info:
            shell = [sys.executable] if block.info[0] == "python" else ["bash", "-euo", "pipefail"]
            command = [*shell, "-c", block.body]
            done = subprocess.run(command, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True)
            assert done.returncode == 0, f"{block.body}\n{done.stdout}\n{done.stderr}"
            printed.append(done.stdout + done.stderr)
    return printed


@pytest.mark.parametrize("page", RUNNABLE)
def test_a_page_can_be_followed_from_top_to_bottom(page: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    assert len(_follow(STEPS[page], tmp_path)) > 0


def test_the_page_for_newcomers_is_one_that_runs() -> None:
    assert "docs/how-to-run-your-own.md" in RUNNABLE


def test_a_block_that_fails_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no-such-file"):
        _follow([Block(("sh", "run"), "cat no-such-file\necho goes on\n")], tmp_path)


def test_a_saved_block_is_there_for_the_next(tmp_path: Path) -> None:
    steps = [Block(("python", "save=a/b.py"), "print(6 * 7)\n"), Block(("sh", "run"), "python a/b.py\n")]
    assert _follow(steps, tmp_path) == ["42\n"]


def test_every_configuration_and_schema_that_a_page_shows_is_accepted() -> None:
    shown = [block for steps in STEPS.values() for block in steps if "toml" in block.info]
    assert shown
    for block in shown:
        schema = any(word.endswith("schema.toml") for word in block.info)
        read = schema_of if schema else _scenario if "redteam" in block.info else parse
        read(tomllib.loads(block.body))


def _scenario(held: dict[str, Any]) -> Scenario:
    return Scenario(**held)


def test_every_example_is_listed() -> None:
    listed = (ROOT / "examples/README.md").read_text(encoding="utf-8")
    folders = {path.parent.name for path in ROOT.glob("examples/*/phalanx.toml")}
    assert folders
    assert all(f"({folder})" in listed for folder in folders)
