"""Callbacks hear of everything once and in order, whatever happens to the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from phalanx.errors import BudgetExhausted, QuorumError
from phalanx.learning.contract import Tensors
from phalanx.learning.data import Array, Labels
from tests.federation import small


def test_callbacks_hear_of_the_start_of_each_round_and_of_the_end() -> None:
    first, second = small.Diary(), small.Diary()
    result = small.federation().run(callbacks=[first, second])
    assert first.heard == ["started after 0", "round 1", "round 2", "round 3", "comparing", "ended after 3"]
    assert second.heard == first.heard
    assert first.results == [result]
    assert first.runs[0].run == result.start.run
    assert first.runs[0].travels == ("weight 3×2: travels, 24 bytes",)
    assert first.runs[0].how_trained == (
        "1 step a round on all examples, rate 0.5",
        "members train one after the other",
    )


def test_under_privacy_they_are_told_how_the_members_train() -> None:
    diary = small.Diary()
    small.federation(privacy=small.PRIVACY).run(callbacks=[diary])
    assert diary.runs[0].how_trained[1] == "members train side by side, all members' examples in one call"


def test_after_a_resume_no_round_is_told_twice_and_none_is_lost(tmp_path: Path) -> None:
    before, after = small.Diary(fails_after=2), small.Diary()
    with pytest.raises(InterruptedError):
        small.federation().run(tmp_path / "run", callbacks=[before])
    small.federation().run(tmp_path / "run", resume=True, callbacks=[after])
    assert before.heard == ["started after 0", "round 1", "round 2"]
    assert after.heard == ["started after 2", "round 3", "comparing", "ended after 3"]
    assert [record.round for record in after.runs[0].closed] == [1, 2]


def test_a_round_that_is_told_of_is_durable(tmp_path: Path) -> None:
    """Whoever stands behind the one that fails did not hear of the round, and finds it among the closed ones."""
    unheard = small.Diary()
    with pytest.raises(InterruptedError):
        small.federation().run(tmp_path / "run", callbacks=[small.Diary(fails_after=1), unheard])
    assert unheard.heard == ["started after 0"]
    small.federation().run(tmp_path / "run", resume=True, callbacks=[unheard])
    assert unheard.heard[1:] == ["started after 1", "round 2", "round 3", "comparing", "ended after 3"]


def test_resuming_a_finished_run_tells_its_end_again(tmp_path: Path) -> None:
    small.federation().run(tmp_path / "run")
    again = small.Diary()
    small.federation().run(tmp_path / "run", resume=True, callbacks=[again])
    assert again.heard == ["started after 3", "comparing", "ended after 3"]


def test_a_run_that_is_stopped_before_its_first_round_has_an_end_too(tmp_path: Path) -> None:
    small.federation(privacy=small.PRIVACY).run(tmp_path / "one")
    diary = small.Diary()
    with pytest.raises(BudgetExhausted):
        small.federation(privacy=small.PRIVACY).run(tmp_path / "two", callbacks=[diary])
    assert diary.heard == ["started after 0", "comparing", "ended after 0"]
    (result,) = diary.results
    assert (result.version, result.epsilon) == (0, None)
    assert "past its budget" in result.stopped
    result.save_report(tmp_path / "report.html")
    assert "past its budget" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_an_attempt_without_a_quorum_is_no_end(tmp_path: Path) -> None:
    calls: list[int] = []

    def breaks(model: Tensors, x: Array, y: Labels) -> Tensors:
        calls.append(1)
        if len(calls) > 5:  # the rehearsal has one call a member
            raise OSError("the scanner is away")
        return small.each_gradient(model, x, y)

    diary = small.Diary()
    with pytest.raises(QuorumError):
        small.federation(small.model(per_example_gradients=breaks)).run(tmp_path / "run", callbacks=[diary])
    assert diary.heard == ["started after 0"]
    small.federation().run(tmp_path / "run", resume=True, callbacks=[diary])
    assert diary.heard[1:] == ["started after 0", "round 1", "round 2", "round 3", "comparing", "ended after 3"]
