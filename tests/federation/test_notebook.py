"""The notebook runs from top to bottom, and what it says of its figures is so."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))


def _cells(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.read_text(encoding="utf-8"))["cells"])


def _shown(source: str, space: dict[str, Any]) -> Any:
    """Runs a cell in the notebook's namespace; the value of its last line if that is an expression."""
    body = ast.parse(source).body
    last = ast.Expression(body.pop().value) if isinstance(body[-1], ast.Expr) else None  # type: ignore[attr-defined]
    exec(compile(ast.Module(body, []), "<cell>", "exec"), space)
    return None if last is None else eval(compile(last, "<cell>", "eval"), space)


def _followed(path: Path) -> tuple[dict[str, Any], list[Any]]:
    """The namespace in the end, and what each cell of code shows."""
    space: dict[str, Any] = {"__name__": "__main__"}
    return space, [_shown("".join(cell["source"]), space) for cell in _cells(path) if cell["cell_type"] == "code"]


def test_there_is_a_notebook() -> None:
    assert [path.name for path in NOTEBOOKS] == ["first_federation.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_committed_without_outputs_paths_or_hosts(path: Path) -> None:
    for cell in _cells(path):
        assert cell["cell_type"] == "markdown" or (cell["outputs"], cell["execution_count"]) == ([], None)
    assert not re.search(r'://|["\'\s]/[a-z]+/|~/', path.read_text(encoding="utf-8"))


def test_the_first_federation_does_what_its_text_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    space, shown = _followed(NOTEBOOKS[0])
    assert sum(sum(counts) for counts in space["federation"].split.by_class.values()) == 569
    assert "clinic-0" in space["result"]._repr_html_()
    result, trained = space["result"], [len(data.x_train) for data in space["federation"].sites.values()]
    assert 15 < sum(trained) / len(trained) < 25, "about twenty to train on"
    assert min(result.accuracy.values()) > 0.8
    assert result.median_gain() > 0.02, "the median clinic gains a few points"
    assert sum(here < alone for _, alone, _, here, _ in result.rows()) == 1, "and one loses"
    assert 0 < space["protected"].epsilon <= 8
    assert min(space["protected"].accuracy.values()) > 0.8
    assert [event for event, *_ in shown[-1]] == ["round.closed", "round.closed", "run.ended"]
    assert [path.name for path in tmp_path.iterdir()] == ["events.jsonl"]  # nothing else is left behind
