"""Cohorts that a committed seed names, and operators that would rather ask others."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phalanx.admission import (
    Organisation,
    Poisson,
    Policy,
    Roster,
    Stratified,
    Uniform,
    coin_of,
    commitment_of,
    select,
    sign_roster,
)
from phalanx.audit import Entry, Moment, entries, verify_run
from phalanx.audit.agreed import Selection
from phalanx.audit.federation import open_federation
from phalanx.audit.selection import draw
from phalanx.errors import IntegrityError, LogInconsistent, QuorumError
from phalanx.types import MemberId
from tests.audit.synthetic_run import MEMBERS, REVOKED, Run, find, hash_of, independent_epsilon, key_of

Cheat = Callable[[Run, list[Entry]], object]
UNIFORM = {"policy": "uniform", "size": 3, "min_cohort": 3}
STRATIFIED = {"policy": "stratified", "size": 1, "min_cohort": 3}
POISSON = {"policy": "poisson", "rate": 0.7, "min_cohort": 3}


def run_of(selection: Mapping[str, Any], run: str = "run-1") -> Run:
    """With central noise, but under the policy poisson, whose cohorts that would make secret."""
    unit = "example" if selection["policy"] == "poisson" else "member"
    return Run(run=run, agreed={"selection": selection, "privacy": {"unit": unit}}, unit=unit)


def misses(run: Run, number: int, attempt: int) -> bool:
    """Whether too few are drawn for an attempt."""
    try:
        run.invited(number, attempt)
    except QuorumError:
        return True
    return False


def poisson_run(misses_at: list[bool], turns: list[tuple[int, int]]) -> Run:
    """The first run under POISSON that finds a cohort for these attempts, or misses it, as told."""
    for i in range(10_000):
        run = run_of(POISSON, f"run-{i}")
        if [misses(run, *turn) for turn in turns] == misses_at:
            return run
    raise AssertionError("no such seed among ten thousand")


def long_enough() -> Run:
    return poisson_run([False] * 3, [(1, 1), (2, 1), (2, 2)])


def verified(run: Run, told: list[Entry] | None = None) -> bool:
    found = verify_run(run.folder(told), run.fingerprint)
    return found.finished and found.selection_proven


# ------------------------------------------------------------------------------------- the same draw, written twice

MIXED = tuple(
    Organisation(
        MemberId(f"m-{i:02}"), key_of(f"m-{i}").public, revoked=i % 7 == 5, label=("", "north", "south")[i % 3]
    )
    for i in range(20)
)
OPERATOR = key_of("operator")
POLICIES = st.one_of(
    st.integers(1, 21).map(
        lambda size: (Uniform(size), Selection(policy="uniform", size=size, rate=None, min_cohort=1))
    ),
    st.integers(1, 9).map(
        lambda size: (Stratified(size), Selection(policy="stratified", size=size, rate=None, min_cohort=1))
    ),
    st.floats(0.05, 1).map(
        lambda rate: (Poisson(rate), Selection(policy="poisson", size=None, rate=rate, min_cohort=1))
    ),
)


@given(st.integers(1, 20), POLICIES, st.binary(min_size=32, max_size=32), st.integers(1, 9999), st.integers(1, 99))
@settings(max_examples=200, deadline=None)
def test_the_auditor_draws_whom_admission_selects(
    n: int, policies: tuple[Policy, Selection], seed: bytes, number: int, attempt: int
) -> None:
    roster = Roster("grove", OPERATOR.public, MIXED[:n])
    federation = open_federation(sign_roster(roster, OPERATOR))
    try:
        selected = select(roster, policies[0], coin_of(seed, number, attempt), min_cohort=1)
    except QuorumError:
        selected = ()
    assert draw(federation, policies[1], seed, number, attempt) == selected


# -------------------------------------------------------------------------------------------------------- what is true


@pytest.mark.parametrize("selection", [UNIFORM, STRATIFIED, {"policy": "uniform", "size": 9}])
def test_a_run_that_selects_verifies_and_everybody_votes(selection: Mapping[str, Any]) -> None:
    run = run_of(selection)
    told = run.entries()
    assert verified(run, told)
    assert [row["member"] for row in find(told, "ballots")["ballots"]] == list(MEMBERS)
    assert REVOKED not in find(told, "round-open")["invited"]


def test_under_uniform_selection_not_everybody_is_asked_and_not_always_the_same() -> None:
    """Else the tests above would hold for `all`."""
    cohorts = {run_of(UNIFORM).invited(number, 1) for number in range(1, 20)}
    assert len(cohorts) == 4 and {len(cohort) for cohort in cohorts} == {3}


def test_a_poisson_run_whose_cohorts_are_large_enough_verifies() -> None:
    assert verified(long_enough())


def test_a_run_that_asks_all_says_so() -> None:
    run = Run()
    found = verify_run(run.folder(), run.fingerprint)
    assert (found.selection, found.selection_proven) == ("all", True)
    assert "selection: every admitted member was asked in every attempt" in found.lines()


def test_cohorts_are_called_proven_when_the_seed_is_out_and_not_before() -> None:
    run = run_of(UNIFORM)
    told = run.entries()
    for size in range(2, len(told)):
        found = verify_run(run.folder(told[:size]), run.fingerprint)
        assert not found.selection_proven
        assert "selection: uniform, not checked, its seed is secret yet" in found.lines()
    found = verify_run(run.folder(told), run.fingerprint)
    assert found.selection_proven
    assert "selection: uniform, the revealed seed gives every cohort" in found.lines()


def test_a_run_that_stopped_reveals_its_seed_too() -> None:
    run = run_of(UNIFORM)
    told = run.entries()
    place = told.index(find(told, "updates"))
    end = entries.stopped(Moment(1016, 1, 1), reason="enough", refusals=0, selection_seed=run.seed)
    assert verify_run(run.folder([*told[:place], end]), run.fingerprint).selection_proven
    end["selection_seed"] = None
    with pytest.raises(LogInconsistent, match="reveals no seed, genesis has a commitment"):
        verify_run(run.folder([*told[:place], end]), run.fingerprint)


# ------------------------------------------------------------------------------------------- too few were drawn to ask


def short(*, filled: bool = False) -> tuple[Run, list[Entry]]:
    """A run whose first two attempts draw too few. `filled`: the first is opened all the same, with everybody."""
    run = poisson_run([True, True, False, False], [(1, 1), (1, 2), (1, 3), (2, 1)])
    time = 1011 if filled else 1000
    failed = [entries.attempt_failed(Moment(time, 1, attempt), reason="too few were drawn") for attempt in (1, 2)]
    if filled:
        run.chosen[1, 1] = MEMBERS
    return run, [
        run.genesis(),
        run.released(Moment(1000), 0),
        *(run.begun(run.binding(1, 1, base=0)) if filled else []),
        *failed,
        *run.attempt(run.binding(1, 3, base=0), 1),
        *run.attempt(run.binding(2, 1, base=1), 2),
        entries.finished(Moment(1030, 2, 1), selection_seed=run.seed),
    ]


def test_an_attempt_for_which_too_few_were_drawn_fails_alone_and_costs_nothing() -> None:
    run, told = short()
    found = verify_run(run.folder(told), run.fingerprint)
    assert found.selection_proven
    assert found.epsilon is not None and math.ceil(1000 * found.epsilon) / 1000 == independent_epsilon(2)


def test_a_cohort_that_was_large_enough_cannot_be_called_too_small() -> None:
    run = long_enough()
    told = run.entries()
    told[2:] = [
        entries.attempt_failed(Moment(1000, 1, 1), reason="poisson selection drew 1 of 4 admitted members"),
        entries.stopped(Moment(1000, 1, 1), reason="enough", refusals=0, selection_seed=run.seed),
    ]
    with pytest.raises(LogInconsistent, match=r"entry 3 \(stopped\): entry 2 asks nobody, the seed names [34], enough"):
        verify_run(run.folder(told), run.fingerprint)


def test_a_draw_that_was_too_small_cannot_be_filled_up_with_friends() -> None:
    run, told = short(filled=True)
    with pytest.raises(LogInconsistent, match=r"\(finished\): entry 2 invited \['ash', .*\], the seed names \["):
        verify_run(run.folder(told), run.fingerprint)


@pytest.mark.parametrize("selection", [{"policy": "all"}, UNIFORM, STRATIFIED])
def test_only_poisson_can_draw_too_few(selection: Mapping[str, Any]) -> None:
    run = run_of(selection)
    told = run.entries()[:2]
    told.append(entries.attempt_failed(Moment(1000, 1, 1), reason="too few"))
    with pytest.raises(LogInconsistent, match=r"entry 2 \(attempt-failed\): may not follow 'release'"):
        verify_run(run.folder(told), run.fingerprint)


@pytest.mark.parametrize(("turn", "expected"), [((1, 2), "(1, 1)"), ((2, 1), "(1, 1)"), ((0, 0), "(1, 1)")])
def test_an_attempt_that_fails_alone_has_the_next_number(turn: tuple[int, int], expected: str) -> None:
    run = run_of(POISSON)
    failed = entries.attempt_failed(Moment(1000, *turn), reason="too few")
    told = [run.genesis(), run.released(Moment(1000), 0), failed]
    with pytest.raises(LogInconsistent) as caught:
        verify_run(run.folder(told), run.fingerprint)
    assert f"is of round and attempt {turn}, expected {expected}" in caught.value.message


# --------------------------------------------------------------------------------- an operator who signs what is not so

CHEATS: dict[str, tuple[str, Mapping[str, Any], Cheat]] = {}


def cheat(expected: str, selection: Mapping[str, Any] = UNIFORM) -> Callable[[Cheat], Cheat]:
    def register(change: Cheat) -> Cheat:
        CHEATS[getattr(change, "__name__", "")] = (expected, selection, change)
        return change

    return register


def ask(run: Run, told: list[Entry], turn: tuple[int, int], invited: tuple[MemberId, ...]) -> None:
    """Others are invited to an attempt, take part and sign, as if they had been drawn."""
    run.chosen[turn] = invited
    told[:] = run.entries()


def another(run: Run, number: int, attempt: int) -> tuple[MemberId, ...]:
    """A cohort of three that chance did not name."""
    named = run.invited(number, attempt)
    return next(MEMBERS[:i] + MEMBERS[i + 1 :] for i in range(4) if MEMBERS[:i] + MEMBERS[i + 1 :] != named)


@cheat(r"entry 20 \(finished\): entry 2 invited \[.*\], the seed names \[")
def a_cohort_that_chance_did_not_name(run: Run, told: list[Entry]) -> None:
    ask(run, told, (1, 1), another(run, 1, 1))


@cheat(r"entry 20 \(finished\): entry 10 invited ")
def a_chosen_cohort_in_an_attempt_that_then_failed(run: Run, told: list[Entry]) -> None:
    ask(run, told, (2, 1), another(run, 2, 1))


@cheat(r"entry 20 \(finished\): entry 12 invited ")
def the_cohort_of_another_attempt(run: Run, told: list[Entry]) -> None:
    other = next(cohort for i in range(3, 99) if (cohort := run.invited(2, i)) != run.invited(2, 2))
    ask(run, told, (2, 2), other)


@cheat(r"entry 20 \(finished\): entry 2 invited \['ash', 'birch', 'cedar', 'fir'\], the seed names \[")
def a_friend_besides_the_cohort(run: Run, told: list[Entry]) -> None:
    ask(run, told, (1, 1), MEMBERS)


@cheat(r"entry 20 \(finished\): entry 2 invited ", STRATIFIED)
def a_label_that_is_left_out(run: Run, told: list[Entry]) -> None:
    ask(run, told, (1, 1), MEMBERS[1:])


@cheat(r"entry 2 \(round-open\): 2 members invited, config\.json needs 3")
def fewer_members_than_the_floor(run: Run, told: list[Entry]) -> None:
    find(told, "round-open")["invited"] = ["ash", "birch"]


@cheat(r"entry 2 \(round-open\): 4 members invited, config\.json needs 5", {"policy": "all", "min_cohort": 5})
def a_roster_below_the_floor(run: Run, told: list[Entry]) -> None:
    run.chosen[1, 1] = MEMBERS
    told[:] = [run.genesis(), run.released(Moment(1000), 0), run.opened(run.binding(1, 1, base=0))]


@cheat(r"entry 2 \(round-open\): yew was revoked")
def a_revoked_member_in_a_cohort(run: Run, told: list[Entry]) -> None:
    find(told, "round-open")["invited"] = ["ash", "birch", "yew"]


@cheat(r"entry 2 \(round-open\): zelkova is not in federation\.json")
def a_stranger_in_a_cohort(run: Run, told: list[Entry]) -> None:
    find(told, "round-open")["invited"] = ["ash", "birch", "zelkova"]


@cheat(r"entry 3 \(updates\): [a-z]+ was not invited")
def an_update_of_a_member_that_was_not_drawn(run: Run, told: list[Entry]) -> None:
    left = next(name for name in MEMBERS if name not in run.invited(1, 1))
    answer = run.answer("update", left, run.binding(1, 1, base=0))
    find(told, "updates").update(entries.updates(Moment(1015, 1, 1), [answer]))


@cheat(r"entry 20 \(finished\): reveals another seed than genesis committed to")
def another_seed_in_the_end(run: Run, told: list[Entry]) -> None:
    told[-1]["selection_seed"] = hash_of("another")


@cheat(r"entry 20 \(finished\): reveals another seed than genesis committed to")
def a_seed_found_afterwards_for_the_cohorts_that_were_asked(run: Run, told: list[Entry]) -> None:
    """The commitment is what forbids it: the seed does name all three cohorts."""
    ask(run, told, (1, 1), another(run, 1, 1))
    told[-1]["selection_seed"] = seed_for(run, [find(told, "round-open", nth) for nth in range(3)]).hex()


@cheat(r"entry 20 \(finished\): reveals no seed, genesis has a commitment")
def a_seed_that_stays_secret(run: Run, told: list[Entry]) -> None:
    told[-1]["selection_seed"] = None


@cheat(r"entry 20 \(finished\): reveals a seed, genesis has no commitment", {"policy": "all"})
def a_seed_that_nobody_committed_to(run: Run, told: list[Entry]) -> None:
    told[-1]["selection_seed"] = hash_of("seed")


@cheat(r"entry 20: finished: fields that are not what they should be: \['selection_seed'\]")
def a_seed_of_another_length(run: Run, told: list[Entry]) -> None:
    told[-1]["selection_seed"] = "00" * 31


@cheat(r"entry 0 \(genesis\): commits to no selection, config\.json says 'uniform'")
def a_run_that_selects_without_a_commitment(run: Run, told: list[Entry]) -> None:
    told[0]["selection"] = None


@cheat(r"entry 0 \(genesis\): selects by 'poisson', config\.json says 'uniform'")
def another_policy_than_the_agreed_one(run: Run, told: list[Entry]) -> None:
    told[0]["selection"]["policy"] = "poisson"


@cheat(r"entry 0 \(genesis\): commits to a selection, config\.json has every member asked", {"policy": "all"})
def a_selection_that_nobody_agreed_to(run: Run, told: list[Entry]) -> None:
    told[0]["selection"] = {"policy": "uniform", "commitment": commitment_of(bytes(32))}


@cheat(r"entry 0: genesis: fields that are not what they should be: \['selection'\]")
def the_seed_itself_for_a_commitment(run: Run, told: list[Entry]) -> None:
    told[0]["selection"]["seed"] = hash_of("seed")


def seed_for(run: Run, openings: list[Entry]) -> bytes:
    """A seed that names all these cohorts, by trying."""
    federation = open_federation(run.federation)
    agreed = Selection(policy="uniform", size=3, rate=None, min_cohort=3)
    for i in range(10_000):
        seed = hashlib.sha256(f"try {i}".encode()).digest()
        if all(draw(federation, agreed, seed, o["round"], o["attempt"]) == tuple(o["invited"]) for o in openings):
            return seed
    raise AssertionError("no seed among ten thousand")


@pytest.mark.parametrize("name", list(CHEATS))
def test_with_selection_an_operator_cannot_sign(name: str) -> None:
    expected, selection, change = CHEATS[name]
    run = run_of(selection)
    told = run.entries() if selection.get("min_cohort", 1) <= len(MEMBERS) else []
    change(run, told)
    with pytest.raises(IntegrityError, match=r"^log\.jsonl " + expected):
        verify_run(run.folder(told), run.fingerprint)


# ------------------------------------------------------------------------------------------------------ what is not so


def test_the_limit_an_operator_that_tries_seeds_before_it_commits_is_not_found_out() -> None:
    run = run_of(UNIFORM)
    wanted = run.entries()
    ask(run, wanted, (1, 1), another(run, 1, 1))
    run.seed = seed_for(run, [find(wanted, "round-open", nth) for nth in range(3)])
    assert verified(run, run.entries())


def test_the_limit_before_the_end_a_chosen_cohort_verifies_and_is_not_called_proven() -> None:
    """The twin: it is the revealed seed that gives the choice away."""
    run = run_of(UNIFORM)
    told = run.entries()
    a_cohort_that_chance_did_not_name(run, told)
    assert not verify_run(run.folder(told[:-1]), run.fingerprint).selection_proven
