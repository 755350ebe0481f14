"""Small runs of every way to step, to select and to vote: each verifies, and does what its paper says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phalanx.canonical import model_digest
from phalanx.config import Settings
from phalanx.engine.inprocess import InProcess
from phalanx.errors import QuorumError
from phalanx.learning import Trainer
from phalanx.learning.descent import Descent
from phalanx.learning.server import Adam, step
from phalanx.learning.trainer import LocalTrainer
from phalanx.privacy import charge
from phalanx.round.coordinator import RoundRecord, Standing
from phalanx.round.effects import Effect, Keep
from phalanx.store import EffectKey, RunStore
from phalanx.types import F32, Aggregate, AggregationReport, Binding, MemberId, Reservation, Tally, Trained, TrainTask
from tests.engine import tiny
from tests.learning.numpy_models import linear_model, some_data

MEAN = {"rule": "mean"}
VOTES = {"ballot": "votes"}
EXAMPLE = {"unit": "example", "epsilon": 50.0, "clip_l2": 1.0, "normaliser": 7, "noise_multiplier": 1.0}
LABELS = {"m-0": "north", "m-1": "north", "m-2": "north"}  # m-3 and m-4 have none: a group too
LABELLED = {"name": "tiny", "members": list(tiny.FIVE), "labels": LABELS}
UNIFORM = {"policy": "uniform", "size": 3, "min_cohort": 3}
STRATIFIED = {"policy": "stratified", "size": 2}
POISSON = {"policy": "poisson", "rate": 0.6, "min_cohort": 3}
ADAM = {"optimiser": "adam", "learning_rate": 0.1, "tau": 0.01}
Members = Mapping[MemberId, Trainer]


def settings_of(**tables: Any) -> Settings:
    """Three rounds of five members."""
    return tiny.five(**({"run": {"rounds": 3}} | tables))


@dataclass
class Run:
    """A run, and where it stood after each round."""

    engine: InProcess
    records: list[RoundRecord] = field(default_factory=list)
    standings: list[Standing] = field(default_factory=list)
    kept: dict[int, list[F32]] = field(default_factory=dict)  # by round: candidate, and then the server's memory

    def watch(self, stage: str, key: EffectKey, effect: Effect[Any]) -> None:
        if stage == "performed" and isinstance(effect, Keep):
            self.kept.setdefault(key.round, []).append(effect.model)

    @property
    def asked(self) -> list[list[str]]:
        return [entry["invited"] for entry in tiny.logged(self.engine, "round-open")]


def run_of(members: Members | None = None, seed: int = 0, **tables: Any) -> Run:
    """A run to its end. It verifies, with its draws where it has any."""
    run = Run(tiny.engine(None, settings_of(**tables), members or tiny.trainers(tiny.FIVE), seed=seed))
    run.engine.observe = lambda record, standing: run.standings.append(standing)
    run.engine.watch = run.watch
    run.records = run.engine.run(tiny.INITIAL)
    result = tiny.verified(run.engine)
    assert result.finished and result.selection_proven
    return run


@pytest.mark.parametrize(
    "tables",
    [
        {"learning": tiny.SCAFFOLD},
        {"learning": tiny.SCAFFOLD, "server": {"momentum": 0.9}, "aggregation": MEAN},
        {"server": {"momentum": 0.9}},
        {"server": ADAM},
        {"server": ADAM | {"optimiser": "yogi"}},
        {"selection": UNIFORM},
        {"selection": STRATIFIED, "federation": LABELLED},
        {"selection": POISSON},
        {"gate": VOTES},
        {"selection": UNIFORM, "privacy": EXAMPLE},
        {"server": ADAM, "learning": tiny.SCAFFOLD, "selection": UNIFORM, "gate": VOTES},
    ],
    ids=lambda tables: " ".join(f"{name}={next(iter(table.values()))}" for name, table in tables.items()),
)
def test_a_run_with_these_tables_verifies_and_nears_the_members_goals(tables: dict[str, Any]) -> None:
    run = run_of(tiny.corrected() if "learning" in tables else None, **tables)
    assert [record.verdict.passed for record in run.records] == [True] * 3
    if "privacy" not in tables:  # whose noise is as large as the goals
        assert np.linalg.norm(run.engine.model() - 1.2) < np.linalg.norm(tiny.INITIAL - 1.2)


# ------------------------------------------------------------------------------------------------------------ scaffold


def algorithm_1(cohorts: list[list[str]], goals: Mapping[MemberId, F32], *, corrected: bool = True) -> Any:
    """x and c after these rounds by Karimireddy et al., ICML 2020, Algorithm 1 with option II, in float64.

    As it is written there: members send the changes of their control variates besides those of their models.
    """
    k, eta = 2, 0.1
    x, c = np.zeros(5), np.zeros(5)
    own = {member: np.zeros(5) for member in goals}
    for cohort in cohorts:
        moves, changes = [], []
        for member in map(MemberId, cohort):
            y = x.copy()
            for _ in range(k):
                y -= eta * (y - goals[member] - own[member] + c)
            after = own[member] - c + (x - y) / (k * eta) if corrected else own[member]
            moves.append(y - x)
            changes.append(after - own[member])
            own[member] = after
        x = x + np.mean(moves, axis=0)
        c = c + len(cohort) / len(goals) * np.mean(changes, axis=0)
    return x, c, own


@pytest.mark.parametrize("selection", [{"policy": "all"}, UNIFORM, {"policy": "poisson", "rate": 0.6, "min_cohort": 2}])
def test_scaffold_under_the_mean_is_algorithm_1_though_no_control_variate_leaves_a_member(
    selection: dict[str, Any],
) -> None:
    goals = {member: pull.goal for member, pull in tiny.pulls(tiny.FIVE).items()}
    # every candidate counts here: under a few members' pull a round may well be worse for the others
    run = run_of(
        tiny.corrected(),
        learning=tiny.SCAFFOLD,
        selection=selection,
        aggregation=MEAN,
        run={"rounds": 6},
        gate={"unsafe_accept_all": True},
    )
    x, c, own = algorithm_1(run.asked, goals)
    assert np.allclose(run.engine.model(), x, rtol=0, atol=2e-6)  # six rounds of values near 1, 2**-24 each step
    assert np.allclose(run.standings[-1].memory[-1], c, rtol=0, atol=1e-5)  # five times as much: 1 / (K eta)
    for member in tiny.FIVE:
        state = run.engine.member_state(member)
        assert np.allclose(own[member] if state is not None else 0, own[member] if state is None else state, atol=1e-5)
    plain, _, _ = algorithm_1(run.asked, goals, corrected=False)
    drifts = selection["policy"] != "all"  # equal bowls and all members: then there is no drift to correct
    assert np.allclose(run.engine.model(), plain, rtol=0, atol=1e-3) is not drifts


def test_members_are_sent_the_servers_control_variate_to_train_and_not_to_vote() -> None:
    """A trainer of steps with SCAFFOLD raises without one; tiny's plain ones never look. The first is zero."""
    seen: list[tuple[int, bytes]] = []

    class Noting(tiny.Corrected):
        def train(self, model: F32, task: Any, state: F32 | None) -> Any:
            seen.append((task.round, task.control.tobytes()))
            return super().train(model, task, state)

    run = run_of({m: Noting(one.goal) for m, one in tiny.pulls(tiny.FIVE).items()}, learning=tiny.SCAFFOLD)
    sent = {number: {control for at, control in seen if at == number} for number in (1, 2, 3)}
    before = [bytes(20), *(standing.memory[-1].tobytes() for standing in run.standings[:2])]
    assert sent == {number: {before[number - 1]} for number in (1, 2, 3)}
    assert len({*before}) == 3


# -------------------------------------------------------------------------------------------------- a refused candidate


@dataclass(frozen=True)
class Picky(tiny.Corrected):
    """Refuses the candidates that it was told to refuse, and no other."""

    refused: frozenset[bytes] = frozenset()

    def evaluate(self, candidate: F32, incumbent: F32, state: F32 | None) -> Tally:
        if candidate.tobytes() in self.refused:
            return Tally((30, 0), (0, 0), (10, 10), (40, 10), True)
        return Tally((0, 0), (3, 0), (3, 10), (40, 10), True)


# Selected by chance: all members, from the same states, would propose the same candidate again and again.
STATEFUL: dict[str, Any] = {"server": ADAM, "learning": tiny.SCAFFOLD, "aggregation": MEAN, "selection": UNIFORM}


def picky(*refused: F32) -> Members:
    bad = frozenset(candidate.tobytes() for candidate in refused)
    return {member: Picky(pull.goal, refused=bad) for member, pull in tiny.pulls(tiny.FIVE).items()}


@pytest.fixture(scope="module")
def second_refused() -> Run:
    """Three rounds, of which the gate refuses the second."""
    candidate, _ = run_of(picky(), **STATEFUL).kept[2]
    run = run_of(picky(candidate), **STATEFUL)
    assert [record.verdict.passed for record in run.records] == [True, False, True]
    return run


def test_the_servers_memory_and_control_move_only_with_an_approved_candidate(second_refused: Run) -> None:
    first, second, third = second_refused.standings
    assert second.model.tobytes() == first.model.tobytes()
    assert second.memory.tobytes() == first.memory.tobytes()
    assert all((third.memory != second.memory).any(axis=1))  # m, v and c


def test_off_twin_the_refused_candidates_memory_would_take_the_next_one_its_way(second_refused: Run) -> None:
    first, second, _ = second_refused.standings
    _, of_refused = second_refused.kept[2]
    assert all((of_refused != first.memory).any(axis=1))
    optimiser = Adam(learning_rate=0.1, tau=0.01)
    report = AggregationReport("mean", np.ones(1), None, None)
    binding = Binding("tiny", "run", 3, 1, model_digest(second.model), "config", "0" * 32)
    still = Aggregate(np.zeros(5, np.float32), report, None, binding)  # a round that moves nothing itself
    kept, _ = step(still, second.model, optimiser, second.memory[:2])
    wrong, _ = step(still, second.model, optimiser, of_refused[:2])
    assert kept.digest != wrong.digest


def of_members(run: Run) -> Any:
    """The mean of the members' own control variates, which all start at zero, as the server's does."""
    states = [run.engine.member_state(member) for member in tiny.FIVE]
    return np.mean([np.zeros(5) if state is None else state for state in states], axis=0)


def test_a_refused_round_has_not_happened_for_the_members_control_variates_either(second_refused: Run) -> None:
    assert np.allclose(of_members(second_refused), second_refused.standings[-1].memory[-1], rtol=0, atol=1e-5)


def test_off_twin_members_that_keep_the_state_of_a_refused_round_part_from_the_server(
    second_refused: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_all(monkeypatch)
    run = run_of(picky(second_refused.kept[2][0]), **STATEFUL)
    assert not np.allclose(of_members(run), run.standings[-1].memory[-1], rtol=0, atol=1e-3)


def keep_all(patch: pytest.MonkeyPatch) -> None:
    """No state of a round that came to nothing is erased."""
    real = RunStore.seal

    def seal(store: RunStore, number: int, outcome: bytes, *, keep: Any, forget: int | None = None) -> None:
        real(store, number, outcome, keep=keep)

    patch.setattr(RunStore, "seal", seal)


@pytest.mark.parametrize("keeping", [False, True], ids=["as it is", "off twin: the states of the failed attempt stay"])
def test_members_that_trained_in_an_attempt_that_failed_go_on_from_before_it(
    keeping: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next attempt asks others; who is not among them must not remember an update that counted nowhere."""
    if keeping:
        keep_all(monkeypatch)
    goals = {member: pull.goal for member, pull in tiny.pulls(tiny.FIVE).items()}
    settings = settings_of(
        learning=tiny.SCAFFOLD, selection=UNIFORM, aggregation=MEAN, run={"rounds": 4}, gate={"unsafe_accept_all": True}
    )
    engine, lost = tiny.engine(None, settings, tiny.corrected(), seed=2), [3]

    def losing(sender: MemberId, envelope: bytes) -> Any:
        if engine.last_entry()["round"] == 2 and lost[0]:
            lost[0] -= 1
            return ()
        return ((sender, envelope),)

    engine.courier = losing
    with pytest.raises(QuorumError):
        engine.run(tiny.INITIAL)
    engine.run(tiny.INITIAL)
    asked = Run(engine).asked
    assert set(asked[1]) - set(asked[2]), "the second attempt asks the same members"
    x, _, _ = algorithm_1([asked[0], *asked[2:]], goals)
    assert np.allclose(engine.model(), x, rtol=0, atol=2e-6) is not keeping


def test_a_run_that_is_resumed_after_a_refused_candidate_has_the_memory_of_the_last_approved_one(
    second_refused: Run, memory_path: Path
) -> None:
    class Stop(BaseException):
        pass

    def stop(record: RoundRecord, standing: Standing) -> None:
        if record.round == 2:
            raise Stop

    candidate, _ = second_refused.kept[2]
    first = tiny.engine(memory_path / "run", settings_of(**STATEFUL), picky(candidate))
    first.observe = stop
    with pytest.raises(Stop):
        first.run(tiny.INITIAL)
    tiny.close(first)
    resumed = tiny.engine(memory_path / "run", settings_of(**STATEFUL), picky(candidate))
    found: list[Standing] = []
    resumed.observe = lambda record, standing: found.append(standing)
    resumed.run(tiny.INITIAL)
    tiny.close(resumed)
    assert found[0].memory.tobytes() == second_refused.standings[2].memory.tobytes()
    assert found[0].model.tobytes() == second_refused.standings[2].model.tobytes()


# ----------------------------------------------------------------------------------------------------------- selection


def test_members_that_are_not_drawn_do_not_train_and_all_vote() -> None:
    run = run_of(selection=UNIFORM)
    assert {len(cohort) for cohort in run.asked} == {3}
    assert len({tuple(cohort) for cohort in run.asked}) > 1
    for record, cohort in zip(run.records, run.asked, strict=True):
        assert list(record.accepted) == cohort
    for entry in tiny.logged(run.engine, "ballots"):
        assert [row["member"] for row in entry["ballots"]] == list(tiny.FIVE)


def test_two_of_each_label_are_asked_the_empty_one_included() -> None:
    for cohort in run_of(selection=STRATIFIED, federation=LABELLED).asked:
        assert len(cohort) == 4 and {"m-3", "m-4"} < set(cohort)


def test_a_member_that_is_not_drawn_is_not_charged() -> None:
    run = run_of(selection=UNIFORM, privacy=EXAMPLE)
    rounds = {member: sum(member in cohort for cohort in run.asked) for member in tiny.FIVE}
    assert max(rounds.values()) > min(rounds.values())
    assert _charges(run.engine) == rounds


def _charges(engine: InProcess) -> dict[MemberId, int]:
    """Charges in each member's own ledger."""
    asking = {m: Reservation(f"to ask {m}", f"tiny/{m}", "example", 1.0, 50.0, 1e-5) for m in engine.members}
    return {m: engine.members[m].ledger.reserve(one, charge).charges - 1 for m, one in asking.items()}


@pytest.fixture(scope="module")
def short_draw() -> Run:
    """The first run whose draws are too small at least once."""
    for seed in range(20):
        run = run_of(seed=seed, selection=POISSON, privacy=EXAMPLE)
        if tiny.logged(run.engine, "attempt-failed"):
            return run
    raise AssertionError("no such draw in twenty runs")


def test_a_poisson_draw_that_is_too_small_starts_the_next_attempt_by_itself_and_says_so(short_draw: Run) -> None:
    failed = tiny.logged(short_draw.engine, "attempt-failed")
    opened = [(entry["round"], entry["attempt"]) for entry in tiny.logged(short_draw.engine, "round-open")]
    for entry in failed:
        assert entry["reason"].startswith("poisson selection drew ")
        assert (entry["round"], entry["attempt"]) not in opened
    assert len(opened) == len(short_draw.records) == 3  # each round came to its decision
    assert {attempt for _, attempt in opened} > {1}


def test_a_draw_that_is_too_small_charges_nobody(short_draw: Run) -> None:
    rounds = {member: sum(member in cohort for cohort in short_draw.asked) for member in tiny.FIVE}
    assert len(tiny.logged(short_draw.engine, "charge")) == 3
    assert short_draw.standings[-1].charges == 3
    assert _charges(short_draw.engine) == rounds


def test_the_ended_log_with_small_draws_verifies_with_the_seed_that_it_reveals(short_draw: Run) -> None:
    result = tiny.verified(short_draw.engine)
    assert (result.selection, result.selection_proven) == ("poisson", True)
    assert len(tiny.logged(short_draw.engine, "finished")[0]["selection_seed"]) == 64


def test_a_draw_that_is_never_large_enough_ends_with_the_reason_and_not_never(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phalanx.engine.inprocess._DRAWS", 5)
    engine = tiny.engine(None, settings_of(selection=POISSON | {"rate": 1e-9}), tiny.trainers(tiny.FIVE))
    with pytest.raises(QuorumError, match="round 1, attempt 5: poisson selection drew 0 of 5 admitted members"):
        engine.run(tiny.INITIAL)
    assert len(tiny.logged(engine, "attempt-failed")) == 5
    assert not tiny.verified(engine).selection_proven  # it may go on


def test_a_resumed_run_draws_the_cohorts_that_it_had_committed_to(memory_path: Path) -> None:
    class Stop(BaseException):
        pass

    def stop(record: RoundRecord, standing: Standing) -> None:
        raise Stop

    first = tiny.engine(memory_path / "run", settings_of(selection=UNIFORM), tiny.trainers(tiny.FIVE))
    first.observe = stop
    with pytest.raises(Stop):
        first.run(tiny.INITIAL)
    tiny.close(first)
    later = tiny.engine(memory_path / "run", settings_of(selection=UNIFORM), tiny.trainers(tiny.FIVE), seed=9)
    later.run(tiny.INITIAL)
    tiny.close(later)
    assert tiny.verified(later).selection_proven


# ------------------------------------------------------------------------------------------------- votes, local tensors


@pytest.mark.parametrize(("against", "passes"), [(2, True), (3, False)])
def test_a_candidate_falls_when_f_plus_k_plus_1_members_vote_against_it(against: int, passes: bool) -> None:
    """Five voters, f = 1, k = 1."""

    class Against(tiny.Pull):
        def evaluate(self, candidate: F32, incumbent: F32, state: F32 | None) -> Tally:
            return Tally((30, 0), (0, 0), (10, 10), (40, 10), True)

    others = {m.replace("-", "_"): Against(one.goal) for m, one in list(tiny.pulls(tiny.FIVE).items())[:against]}
    run = run_of(tiny.trainers(tiny.FIVE, **others), gate=VOTES, run={"rounds": 1})
    (record,) = run.records
    assert (record.verdict.passed, record.verdict.test) == (passes, "votes")
    assert (record.verdict.worse, record.verdict.better) == (against, 5 - against)
    assert [row.held_out for row in record.sites.rows] == [None] * 5  # nobody says on how many


def test_under_votes_no_count_leaves_a_member_and_under_counts_it_does() -> None:
    """What the coordinator was given, by the policy."""
    for ballot, seen in (("votes", None), ("counts", 20)):
        (record,) = run_of(gate={"ballot": ballot}, run={"rounds": 1}).records
        assert {row.held_out for row in record.sites.rows} == {seen}


def locals_of(local: tuple[str, ...]) -> dict[MemberId, LocalTrainer]:
    model, steps = linear_model(), Descent(learning_rate=0.3)
    return {m: LocalTrainer(model, some_data(i), steps, local=local) for i, m in enumerate(tiny.FIVE)}


def test_local_tensors_move_at_each_member_and_never_travel() -> None:
    settings = settings_of(selection=UNIFORM, learning={"module": "tiny", "learning_rate": 0.3, "local": ["bias"]})
    engine = tiny.engine(None, settings, locals_of(("bias",)), classes=3)
    engine.run(np.zeros(12, np.float32))
    assert tiny.verified(engine).finished
    assert [tensor.name for tensor in engine.plan.layout.tensors] == ["weight"]
    trained = {member for entry in tiny.logged(engine, "round-open") for member in entry["invited"]}
    biases = {member: state[:3] for member in tiny.FIVE if (state := engine.member_state(member)) is not None}
    assert set(biases) == trained
    assert len({bias.tobytes() for bias in biases.values()}) == len(biases) > 2


def test_off_twin_without_the_pattern_the_same_tensor_travels() -> None:
    settings = settings_of(selection=UNIFORM, learning={"module": "tiny", "learning_rate": 0.3})
    engine = tiny.engine(None, settings, locals_of(()), classes=3)
    engine.run(np.zeros(15, np.float32))
    assert [tensor.name for tensor in engine.plan.layout.tensors] == ["bias", "weight"]


def test_a_candidate_is_judged_with_the_state_that_the_members_last_training_left() -> None:
    """That of this round where the member took part in it, else of the last one where it did, however long ago."""
    judged: dict[MemberId, list[float | None]] = {member: [] for member in tiny.FIVE}

    @dataclass(frozen=True)
    class Remembering(tiny.Pull):
        member: MemberId = tiny.FIVE[0]

        def train(self, model: F32, task: TrainTask, state: F32 | None) -> Trained:
            trained = super().train(model, task, None)
            return replace(trained, state=np.full(2, task.round, np.float32))  # as long as it likes

        def evaluate(self, candidate: F32, incumbent: F32, state: F32 | None) -> Tally:
            judged[self.member].append(None if state is None else float(state[0]))
            return super().evaluate(candidate, incumbent, None)

    members = {m: Remembering(one.goal, member=m) for m, one in tiny.pulls(tiny.FIVE).items()}
    cohorts = run_of(members, selection=UNIFORM, run={"rounds": 6}).asked
    for member, states in judged.items():
        rounds = [[r for r in range(1, n + 1) if member in cohorts[r - 1]] for n in range(1, 7)]
        assert states == [max(took_part, default=None) for took_part in rounds]
