"""What the pages quote is what the code says and what the committed results hold."""

from __future__ import annotations

import json

import pytest

from phalanx.privacy import noise_multiplier
from phalanx.redteam.demo.scenario import DELTA, EPSILON, ROUNDS
from tests.docs import figures
from tests.docs.page import ROOT, blocks, part, with_part
from tests.docs.pictures import leak, rebuilt_digit
from tests.docs.refresh import DIGIT, PARTS


@pytest.mark.parametrize(("page", "name"), PARTS)
def test_a_generated_part_is_what_would_be_generated_now(page: str, name: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert part(text, name) == PARTS[page, name](), "run: python -m tests.docs.refresh"


def test_the_picture_of_the_rebuilt_digit_is_the_demos_own() -> None:
    found = leak()
    assert (ROOT / DIGIT).read_text(encoding="utf-8") == rebuilt_digit(found), "run: python -m tests.docs.refresh"
    assert f'alt="A private handwritten {found.label};' in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["figures", "prices"])
def test_one_changed_figure_in_the_readme_is_noticed(name: str) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    honest = part(text, name)
    first = next(character for character in honest if character.isdigit())
    flattered = with_part(text, name, honest.replace(first, str((int(first) + 1) % 10), 1))
    assert part(flattered, name) != PARTS["README.md", name]()


def test_a_control_that_the_results_contradict_is_called_not_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    assert figures.verdicts().count("not stopped") == 2
    held = json.loads((ROOT / figures.SEEDS).read_text(encoding="utf-8"))
    held["runs"]["private-attacked"] |= {"backdoor_mean": 0.06, "accuracy_mean": 0.5, "refused": [39] * 10}
    worse = figures.Results(figures.SEEDS, held)
    monkeypatch.setattr(figures.Results, "read", lambda path: worse)
    assert figures.verdicts().count("not stopped") == 5


def test_the_gate_refused_nothing_in_the_demos_protected_runs_as_the_threat_model_says() -> None:
    runs = figures.Results.read(figures.SEEDS).held["runs"]
    assert {run["gate_refusals"] for name, run in runs.items() if name.startswith(("private", "robust"))} == {0}


def test_the_sentences_around_the_figures_are_true_of_them() -> None:
    runs = figures.Results.read(figures.SEEDS).held["runs"]
    gain = runs["private-attacked"]["accuracy_mean"] - runs["alone"]["accuracy_mean"]
    assert abs(gain) < 0.01, "README: next to nothing over staying alone"
    assert noise_multiplier(EPSILON, DELTA, ROUNDS) == 3.8, "ADR 0006: sigma"


def test_the_seeds_of_the_second_file_had_no_part_in_the_choice() -> None:
    chosen, unseen = (set(figures.Results.read(path).held["seeds"]) for path in (figures.SEEDS, figures.UNSEEN_SEEDS))
    assert chosen == set(range(10))
    assert unseen and not chosen & unseen


def test_markers_that_are_missing_or_doubled_are_refused() -> None:
    with pytest.raises(ValueError, match="found them 0 times"):
        part("no markers", "figures")
    twice = "<!-- a:begin -->\n<!-- a:end -->\n" * 2
    with pytest.raises(ValueError, match="found them 2 times"):
        part(twice, "a")


def test_blocks_are_found_with_what_stands_after_their_fence() -> None:
    text = "```sh run\nls\n```\n\n```\nplain\n```\n"
    assert [(block.info, block.body) for block in blocks(text)] == [(("sh", "run"), "ls\n"), ((), "plain\n")]
