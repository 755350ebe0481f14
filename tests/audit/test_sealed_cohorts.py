"""Runs whose cohorts are secret: what an auditor sees without the openings, and catches with them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from phalanx.audit import Log, entries, log_origin, sign_checkpoint, verify_run
from phalanx.audit.epsilon import epsilon_of
from phalanx.audit.verify import Verification
from phalanx.canonical import decode, digest, encode
from phalanx.engine.inprocess import InProcess
from phalanx.errors import IntegrityError
from phalanx.signing import fingerprint
from tests.engine import tiny

Entry = dict[str, Any]
SECRET: Mapping[str, Mapping[str, Any]] = {
    "privacy": {"unit": "member", "epsilon": 50.0, "noise_multiplier": 1.0},
    "aggregation": {"rule": "mean", "pre": ["norm-clip"], "clip_l2": 1.0},
    "selection": {"policy": "poisson", "rate": 0.5},
    "run": {"rounds": 3},
}


def finished() -> InProcess:
    run = tiny.engine(None, tiny.five(**SECRET), tiny.trainers(tiny.FIVE))
    run.run(tiny.INITIAL)
    return run


class Told:
    """A finished run as its operator tells it: the log, and the openings, each of which may be told otherwise."""

    def __init__(self) -> None:
        self.run = finished()
        self.files = tiny.published(self.run)
        self.entries: list[Entry] = [decode(line) for line in self.files["log.jsonl"].splitlines()]
        head, *rest = (self.run.store.openings() or b"").splitlines()
        self.head: Entry = decode(head)
        self.openings: list[Entry] = [decode(line) for line in rest]

    def find(self, kind: str, nth: int = 0) -> Entry:
        return [entry for entry in self.entries if entry["kind"] == kind][nth]

    def opening(self, kind: str, nth: int = 0) -> Entry:
        return [opening for opening in self.openings if opening["kind"] == kind][nth]

    def commit(self) -> None:
        """The operator commits to the openings as they are now."""
        sealed = [entry for entry in self.entries if "sealed" in entry]
        for entry, opening in zip(sealed, self.openings, strict=True):
            entry["sealed"] = digest("sealed-entry", encode(opening))

    def secret_file(self) -> bytes:
        return b"".join(encode(line) + b"\n" for line in (self.head, *self.openings))

    def folder(self) -> dict[str, bytes]:
        """The public folder over the entries as they are now, signed by the operator."""
        log, plan = Log(), self.run.plan
        lines = [log.append({k: v for k, v in entry.items() if k != "index"}) for entry in self.entries]
        note = sign_checkpoint(log_origin(plan.federation, plan.run), log.size, log.root, plan.operator).note
        return self.files | {"log.jsonl": b"".join(line + b"\n" for line in lines), "checkpoint": note}

    def verify(self, *, opened: bool = True) -> Verification:
        trust = fingerprint(self.run.plan.operator.public)
        return verify_run(self.folder(), trust, self.secret_file() if opened else None)


# -------------------------------------------------------------------------------------------------------- what is true


def test_with_the_openings_all_is_checked_and_without_them_one_sentence_says_what_is_not() -> None:
    told = Told()
    opened, closed = told.verify(), told.verify(opened=False)
    assert opened.selection_proven and opened.opened
    assert "selection: poisson, the secret cohorts were opened: the committed seed gives every cohort" in opened.lines()
    assert not closed.selection_proven and not closed.opened
    assert (
        "selection: poisson, the cohorts are secret and no openings were given: who took part, the signatures of "
        "updates, the weights and the draw were not checked"
    ) in closed.lines()


def test_the_log_names_nobody_but_the_voters_who_are_all_and_holds_no_seed() -> None:
    told = Told()
    assert {row["member"] for row in told.find("ballots")["ballots"]} == set(tiny.FIVE)
    for entry in told.entries:
        if entry["kind"] not in ("ballots", "decision"):
            assert not re.search(r"m-\d", json.dumps(entry))
    assert told.find("finished")["selection_seed"] is None
    assert len({len(opening["fields"]["invited"]) for opening in told.openings if opening["kind"] == "round-open"}) > 1


def test_the_epsilon_that_the_auditor_vouches_for_is_not_below_the_recorded_and_far_below_that_of_everybody() -> None:
    found = Told().verify(opened=False)
    assert found.epsilon is not None and found.epsilon_recorded is not None
    assert found.epsilon_recorded <= found.epsilon < epsilon_of(3**0.5, 1e-5)
    assert any(line.startswith(f"privacy: ε ≤ {found.epsilon:.2f}"[:-1]) for line in found.lines())


def test_off_twin_with_participants_in_the_log_the_recorded_epsilon_would_be_wrong() -> None:
    """Who is seen to take part each time is protected by the noise alone: more than the log records."""
    recorded = Told().verify().epsilon_recorded
    assert recorded is not None and epsilon_of(3**0.5, 1e-5) > recorded


def test_off_twin_without_the_salt_a_commitment_can_be_tried() -> None:
    """31 cohorts of five members: only the salt keeps whoever reads the log from opening it."""
    told = Told()
    opening, sealed = told.opening("round-open"), told.find("round-open")["sealed"]
    cohorts = [[m for i, m in enumerate(tiny.FIVE) if number >> i & 1] for number in range(32)]
    tried = [digest("sealed-entry", encode(opening | {"fields": {"invited": cohort}})) for cohort in cohorts]
    assert sealed in tried
    unknown = [encode(opening | {"fields": {"invited": cohort}, "salt": "00" * 32}) for cohort in cohorts]
    assert sealed not in [digest("sealed-entry", data) for data in unknown]


def test_a_salt_of_another_size_is_a_programmers_error() -> None:
    with pytest.raises(ValueError, match="32 bytes, got 16"):
        entries.sealed({"kind": "round-open", "round": 1, "attempt": 1, "invited": []}, bytes(16))


# ------------------------------------------------------------------------------------- an operator who says what is not

Cheat = Callable[[Told], object]
CHEATS: dict[str, tuple[str, bool, Cheat]] = {}


def cheat(expected: str, *, opened: bool = True) -> Callable[[Cheat], Cheat]:
    def register(change: Cheat) -> Cheat:
        CHEATS[getattr(change, "__name__", "")] = (expected, opened, change)
        return change

    return register


@cheat(r"entry 2: round-open: tells \['invited'\], and ε counts on nobody knowing the cohort", opened=False)
def a_cohort_in_the_log(told: Told) -> None:
    told.find("round-open")["invited"] = list(tiny.FIVE)


@cheat(r"entry 2: round-open: tells \['invited'\]", opened=False)
def a_cohort_in_the_log_in_place_of_its_seal(told: Told) -> None:
    del told.find("round-open")["sealed"]
    told.find("round-open")["invited"] = list(tiny.FIVE)


@cheat(r"\(finished\): reveals the seed of cohorts on whose secrecy ε counts", opened=False)
def a_seed_in_the_log(told: Told) -> None:
    told.find("finished")["selection_seed"] = told.head["selection_seed"]


@cheat(r"\(round-open\): time \d+ is another than that of genesis", opened=False)
def times_that_tell_how_long_a_round_took(told: Told) -> None:
    late = told.entries.index(told.find("round-open", 1))
    for entry in told.entries[late:]:
        entry["time"] += 7


@cheat(r"\(attempt-failed\): may not follow 'release'", opened=False)
def a_draw_that_was_called_too_small(told: Told) -> None:
    told.entries.insert(2, {"kind": "attempt-failed", "time": tiny.TIME, "round": 1, "attempt": 1, "reason": "few"})


@cheat(r"\(attempt-failed\): before the votes: a retry would tell of a cohort", opened=False)
def a_cohort_that_was_dropped(told: Told) -> None:
    told.entries[5:] = [{"kind": "attempt-failed", "time": tiny.TIME, "round": 1, "attempt": 1, "reason": "no quorum"}]


@cheat(r"\(aggregate\): l2 sensitivity 0\.5, clip_l2 / \(rate \* members\) is 0\.4", opened=False)
def a_denominator_of_the_cohorts_size(told: Told) -> None:
    told.find("aggregate")["l2_sensitivity"] = 0.5  # two took part


@cheat(r"\(charge\): records ε 1, the noise gives no less than", opened=False)
def an_epsilon_that_no_sampling_gives(told: Told) -> None:
    told.find("charge")["epsilon"] = 1.0


@cheat(r"\(charge\): records ε 40, the noise gives at most", opened=False)
def an_epsilon_beyond_the_bound(told: Told) -> None:
    told.find("charge")["epsilon"] = 40.0


@cheat(r"\(round-open\): no opening has the hash that the log is committed to")
def an_opening_that_is_not_the_committed_one(told: Told) -> None:
    told.opening("round-open")["fields"]["invited"] = []


@cheat(r"\(cohort\): no opening has the hash")
def an_opening_that_is_missing(told: Told) -> None:
    told.openings.remove(told.opening("cohort", 1))


@cheat(r"\(finished\): entry 2 invited \[.*\], the seed names \[")
def a_cohort_that_is_not_of_the_coin(told: Told) -> None:
    invited = told.opening("round-open")["fields"]["invited"]
    quiet = next(member for member in tiny.FIVE if member not in invited)
    told.opening("round-open")["fields"]["invited"] = sorted([*invited, quiet])
    told.opening("cohort")["fields"]["refused"].append({"member": quiet, "reason": "missing"})
    told.commit()


@cheat(r"\(finished\): reveals another seed than genesis committed to")
def another_seed(told: Told) -> None:
    told.head["selection_seed"] = "ab" * 32


@cheat(r"\(cohort\): weights of \['m-\d'\] are not 1 / \(rate \* members\) = 0\.4")
def a_weight_that_was_changed(told: Told) -> None:
    weights = told.opening("cohort")["fields"]["weights"]
    weights[min(weights)] = 0.41
    told.commit()


@cheat(r"\(round-open\): m-9 is not in federation\.json")
def a_member_that_was_invented(told: Told) -> None:
    told.opening("round-open")["fields"]["invited"].append("m-9")
    told.commit()


@cheat(r"entry 3 \(updates\), m-\d: ")
def an_update_that_nobody_signed(told: Told) -> None:
    told.opening("updates")["fields"]["updates"][0]["receipt"] = "ab" * 32
    told.commit()


@cheat(r"\(cohort\): accepted without a signed update: \['m-\d'\]")
def an_update_that_never_came(told: Told) -> None:
    told.opening("updates")["fields"]["updates"].pop()
    told.commit()


@cheat(r"\(round-open\): its opening is of attempt 2")
def an_opening_of_another_attempt(told: Told) -> None:
    told.opening("round-open")["attempt"] = 2
    told.commit()


@cheat(r"\(round-open\): its opening tells \['rule'\] a second time")
def an_opening_that_tells_another_rule(told: Told) -> None:
    told.opening("round-open")["fields"]["rule"] = "mean"
    told.commit()


@cheat(r"round-open: fields missing or unknown: \['invited'\]")
def an_opening_without_its_field(told: Told) -> None:
    told.opening("round-open")["fields"] = {}
    told.commit()


@cheat(r"\(finished\): the openings are of run 'other'")
def openings_of_another_run(told: Told) -> None:
    told.head["run"] = "other"


@pytest.mark.parametrize("name", list(CHEATS))
def test_of_secret_cohorts_an_operator_cannot_tell(name: str) -> None:
    expected, opened, change = CHEATS[name]
    told = Told()
    change(told)
    with pytest.raises(IntegrityError, match=r"^log\.jsonl .*" + expected):
        told.verify(opened=opened)


@pytest.mark.parametrize(
    "name", ["a_cohort_that_is_not_of_the_coin", "a_weight_that_was_changed", "a_member_that_was_invented"]
)
def test_the_limit_without_the_openings_what_a_seal_hides_is_not_found_out(name: str) -> None:
    told = Told()
    CHEATS[name][2](told)
    assert not told.verify(opened=False).selection_proven


def test_the_limit_an_epsilon_between_the_bounds_is_not_found_out_and_the_auditor_vouches_for_its_own() -> None:
    told = Told()
    true = told.find("charge", 2)["epsilon"]
    told.find("charge", 2)["epsilon"] = true - 0.01
    found = told.verify()
    assert found.epsilon is not None and found.epsilon >= true


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"{}", "is empty"),
        (b"{}\n", "line 1: expected run and selection_seed"),
        (b"[\n", "line 1: "),
        (b'{"run":"r","selection_seed":"ab"}\n', "line 1: run or seed is none"),
        (encode({"run": "r", "selection_seed": "ab" * 32}) + b"\n{}\n", "line 2: is no opening"),
        (encode({"run": "r", "selection_seed": "ab" * 32}) + b"\n7\n", "line 2: is no opening"),
    ],
)
def test_openings_that_are_none_are_refused_by_line(data: bytes, message: str) -> None:
    run = finished()
    with pytest.raises(IntegrityError, match=f"^the openings: {message}"):
        verify_run(tiny.published(run), None, data)


def test_a_run_that_has_nothing_sealed_takes_no_openings() -> None:
    run = tiny.engine(None)
    run.run(tiny.INITIAL)
    with pytest.raises(IntegrityError, match=r"^the openings: were given, and this run has nothing sealed"):
        verify_run(tiny.published(run), None, b"{}\n")


def test_what_a_secret_run_shows_of_a_round_is_the_same_whoever_took_part() -> None:
    """The shape of all entries of a round: names of fields and, where no hash stands, their values."""
    told = Told()

    def shape(number: int) -> list[Any]:
        kinds = ("round-open", "updates", "cohort", "aggregate")
        round_ = [entry for entry in told.entries if entry["round"] == number and entry["kind"] in kinds]
        volatile = ("sealed", "vector", "round_key", "binding", "index", "round")
        return [{k: v for k, v in entry.items() if k not in volatile} for entry in round_]

    sizes = [len(told.opening("round-open", i)["fields"]["invited"]) for i in range(3)]
    assert len(set(sizes)) > 1
    assert shape(1) == shape(2) == shape(3)
    assert np.isclose(told.find("aggregate")["l2_sensitivity"], 1 / (0.5 * 5))
