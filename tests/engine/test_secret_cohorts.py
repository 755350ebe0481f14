"""Runs whose cohorts are secret: nothing that others see depends on who was drawn, who answered, or how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phalanx.canonical import decode, model_digest
from phalanx.config import Settings
from phalanx.engine.inprocess import Edges, InProcess
from phalanx.errors import PolicyError
from phalanx.learning import Trainer
from phalanx.privacy import epsilon
from phalanx.round.coordinator import Standing, _step
from phalanx.types import F32, Aggregate, AggregationReport, Binding, Cohort, MemberId, Trained, TrainTask
from tests.engine import tiny

CENTRAL = {"unit": "member", "epsilon": 50.0, "noise_multiplier": 1.0}
CLIPPED = {"rule": "mean", "pre": ["norm-clip"], "clip_l2": 1.0}


def secret(rate: float = 0.5, rounds: int = 3, **changes: Mapping[str, Any]) -> Settings:
    sections: dict[str, Mapping[str, Any]] = {
        "privacy": CENTRAL,
        "aggregation": CLIPPED,
        "selection": {"policy": "poisson", "rate": rate},
        "run": {"rounds": rounds},
    }
    return tiny.five(**(sections | changes))


def made(
    settings: Settings | None = None, members: Mapping[MemberId, Trainer] | None = None, seed: int = 0
) -> InProcess:
    return tiny.engine(None, settings or secret(), members or tiny.trainers(tiny.FIVE), seed=seed)


def openings(run: InProcess, kind: str) -> list[dict[str, Any]]:
    lines = [decode(line) for line in (run.store.openings() or b"").splitlines()[1:]]
    return [line["fields"] for line in lines if line["kind"] == kind]


@dataclass(frozen=True)
class Declines(tiny.Pull):
    """Never gives an update."""

    def train(self, model: F32, task: TrainTask, state: F32 | None) -> Trained:
        raise RuntimeError("not today")


def test_a_secret_run_finishes_verifies_and_records_the_epsilon_of_sampling() -> None:
    run = made()
    records = run.run(tiny.INITIAL)
    found = tiny.verified(run)
    assert found.finished and found.secret_rate == 0.5
    assert found.epsilon_recorded == records[-1].epsilon == epsilon([1.0] * 3, 1e-5, [0.5] * 3)
    assert found.epsilon_recorded < epsilon([1.0] * 3, 1e-5)


def test_what_reports_are_made_of_names_nobody() -> None:
    for record in made().run(tiny.INITIAL):
        assert (record.accepted, record.refused, record.weights) == ((), (), ())


def test_an_empty_draw_is_a_round_like_others_whose_model_is_noise_alone() -> None:
    """At rate 0.2 of five members one draw in three is empty."""
    run = made(secret(rate=0.2, rounds=8))
    records = run.run(tiny.INITIAL)
    drawn = [one["invited"] for one in openings(run, "round-open")]
    assert [] in drawn and len(records) == 8
    assert {record.attempt for record in records} == {1}
    assert tiny.logged(run, "attempt-failed") == []
    assert len(tiny.logged(run, "updates")) == len(tiny.logged(run, "cohort")) == 8


def test_members_that_decline_count_as_zero_and_no_retry_tells_of_them() -> None:
    nobody = made(members={member: Declines(pull.goal) for member, pull in tiny.pulls(tiny.FIVE).items()})
    records = nobody.run(tiny.INITIAL)
    assert [record.attempt for record in records] == [1, 1, 1]
    assert {row["reason"] for one in openings(nobody, "cohort") for row in one["refused"]} == {"declined"}
    assert tiny.verified(nobody).epsilon == tiny.verified(made_and_run()).epsilon


def made_and_run() -> InProcess:
    run = made()
    run.run(tiny.INITIAL)
    return run


def test_who_is_drawn_changes_hashes_and_no_number_before_the_model() -> None:
    """Two seeds draw other cohorts: the first round's entries up to the aggregate differ in hashes alone."""
    first, second = (made(seed=seed) for seed in (0, 1))
    for run in (first, second):
        run.run(tiny.INITIAL)
    assert openings(first, "round-open")[0] != openings(second, "round-open")[0]
    for kind in ("updates", "cohort", "charge", "aggregate"):
        one, other = (tiny.logged(run, kind)[0] for run in (first, second))
        hashes = {"sealed", "vector", "reservation"}
        assert {k: v for k, v in one.items() if k not in hashes} == {k: v for k, v in other.items() if k not in hashes}


@dataclass(frozen=True)
class Slow(tiny.Pull):
    """Takes a minute of the clock to train."""

    clock: Any = None

    def train(self, model: F32, task: TrainTask, state: F32 | None) -> Trained:
        self.clock.now += 60
        return super().train(model, task, state)


class Clock:
    def __init__(self) -> None:
        self.now = tiny.TIME

    def __call__(self) -> int:
        return self.now


def slow(settings: Settings) -> InProcess:
    clock = Clock()
    run = made(settings, {member: Slow(pull.goal, clock=clock) for member, pull in tiny.pulls(tiny.FIVE).items()})
    run.edges = Edges(clock=clock, draw=run.edges.draw)
    return run


def test_how_long_a_cohort_took_is_not_in_the_log() -> None:
    run = slow(secret())
    run.run(tiny.INITIAL)
    log = tiny.published(run)["log.jsonl"].splitlines()
    assert {decode(line)["time"] for line in log} == {tiny.TIME}


def test_off_twin_in_a_run_without_secrets_the_times_tell_how_many_trained() -> None:
    settings = secret(privacy={**CENTRAL, "unit": "example", "clip_l2": 1.0, "normaliser": 7})
    run = slow(settings)
    run.run(tiny.INITIAL)
    opened = tiny.logged(run, "round-open")
    for this, following in pairwise(opened):
        assert following["time"] - this["time"] == 60 * len(this["invited"])


def test_a_cohort_that_takes_all_the_time_leaves_the_voters_theirs() -> None:
    """Else the ballots that are missing would tell of a slow member that was drawn."""
    run = slow(secret(run={"rounds": 3, "round_seconds": 30}))
    run.run(tiny.INITIAL)
    assert [len(one["ballots"]) for one in tiny.logged(run, "ballots")] == [5, 5, 5]


def test_scaffolds_control_variate_moves_by_the_rate_and_not_by_the_cohort() -> None:
    run = tiny.engine(None, secret(learning=tiny.SCAFFOLD), tiny.corrected(tiny.FIVE))
    run.run(tiny.INITIAL)
    assert tiny.verified(run).finished
    plan, binding = run.plan, Binding("tiny", "run", 1, 1, model_digest(tiny.INITIAL), "cd" * 32, "0" * 32)
    standing = Standing(0, tiny.INITIAL, np.ones((1, tiny.LAYOUT.d), np.float32), 0, 0, 0, 0)
    ones = np.ones(tiny.LAYOUT.d, np.float32)
    aggregate = Aggregate(ones, AggregationReport("mean", np.ones(1), None, None), 1.0, binding)

    def drawn(n: int) -> Cohort:
        rows = np.zeros((n, tiny.LAYOUT.d), np.float32)
        return Cohort(tiny.FIVE[:n], rows, np.full(n, 0.4), n, binding, expected=2.5)

    found = [_step(plan, standing, aggregate, drawn(n))[1].tobytes() for n in (0, 1, 5)]
    assert len(set(found)) == 1
    other = replace(plan, privacy=None)  # the off twin: the size of the cohort moves what members are sent
    one, five = (_step(other, standing, aggregate, drawn(n))[1].tobytes() for n in (1, 5))
    assert one != five


def test_an_old_copy_of_the_state_repeats_its_draw_and_is_stopped_by_the_ledger(tmp_path: Path) -> None:
    """The ledger outlives the run: what was drawn in an attempt is counted on once, whoever tells it again."""
    first = made(secret(rounds=1))
    first.run(tiny.INITIAL)
    second = tiny.engine(None, secret(rounds=1), tiny.trainers(tiny.FIVE))
    second.ledger = first.ledger
    other = second.edges.draw  # the same seed and run, another nonce and other noise
    second.edges = replace(
        second.edges, draw=lambda name, size: other(f"again/{name}" if name.startswith("coordinator/") else name, size)
    )
    with pytest.raises(PolicyError, match="counts on the sample"):
        second.run(tiny.INITIAL)


def test_what_opens_the_log_is_private_and_there_when_the_run_has_ended(tmp_path: Path) -> None:
    run = tiny.engine(tmp_path / "run", secret(), tiny.trainers(tiny.FIVE))
    run.run(tiny.INITIAL)
    tiny.close(run)
    file = tmp_path / "run" / "state" / "openings.jsonl"
    assert file.stat().st_mode & 0o077 == 0
    assert not (tmp_path / "run" / "public" / "openings.jsonl").exists()
    file.unlink()
    again = tiny.engine(tmp_path / "run", secret(), tiny.trainers(tiny.FIVE))
    again.run(tiny.INITIAL)
    tiny.close(again)
    assert file.exists()
