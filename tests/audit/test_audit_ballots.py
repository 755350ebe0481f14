"""Who voted, in the log: voters that nobody invented, and what an operator can still do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest

from phalanx.audit import Entry, LoggedAnswer, Moment, entries, verify_run
from phalanx.canonical import model_digest
from phalanx.errors import IntegrityError
from phalanx.signing import receipt_statement
from phalanx.types import MemberId, Reason, Refusal, Verdict
from tests.audit.synthetic_run import MEMBERS, REVOKED, VERDICT, Run, find, hash_of, key_of, model_of

Cheat = Callable[[Run, list[Entry]], object]
ACCEPTED = Verdict(passed=True, test="unsafe-accept-all", p_value=1.0, worse=0, better=0, voters=0)


def finished(run: Run, told: list[Entry]) -> bool:
    return verify_run(run.folder(told), run.fingerprint).finished


def signed(
    run: Run, signer: str, purpose: str, receipt: str, *, attempt: tuple[int, int] = (1, 1), model: str = ""
) -> str:
    """`signer`'s signature over `receipt` and what the first attempt of that round or another one is bound to.

    A ballot is about the candidate of its round, an update about the model that it came from, unless `model` says else.
    """
    binding = run.binding(*attempt, base=attempt[0] - 1)
    judged = model or (binding.model if purpose == "update" else candidate_of(run, attempt[0]))
    return key_of(signer).sign(purpose, receipt_statement(replace(binding, model=judged).as_json(), receipt))


def candidate_of(run: Run, version: int) -> str:
    """The hash of the candidate that becomes this version."""
    return model_digest(model_of(run.run, version))


def row(name: str, receipt: str, signature: str) -> dict[str, str]:
    return asdict(LoggedAnswer(MemberId(name), receipt, signature))


def rows(told: list[Entry], nth: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = find(told, "ballots", nth)["ballots"]
    return found


def decided(told: list[Entry], verdict: Verdict) -> None:
    """The first decision says `verdict` of the same candidate."""
    at = find(told, "decision")
    told[told.index(at)] = entries.decision(Moment(at["time"], 1, 1), verdict=verdict, candidate=at["candidate"])


# -------------------------------------------------------------------------------------------------------- what is true


@pytest.mark.parametrize("reason", [Reason.BAD_BALLOT, Reason.DUPLICATE])
def test_a_voter_whose_ballot_was_bad_is_in_the_log_and_does_not_count(reason: Reason) -> None:
    run = Run()
    told = run.entries()
    decided(told, replace(VERDICT, voters=3, refused=(Refusal(MEMBERS[0], reason, "why"),)))
    assert finished(run, told)


def test_one_who_signed_a_bad_ballot_and_another_one_is_out_once() -> None:
    run = Run()
    told = run.entries()
    both = tuple(Refusal(MEMBERS[0], reason) for reason in (Reason.DUPLICATE, Reason.BAD_BALLOT))
    decided(told, replace(VERDICT, voters=3, refused=both))
    assert finished(run, told)


def test_answers_that_others_forge_in_a_voters_name_do_not_take_its_ballot_away() -> None:
    run = Run()
    told = run.entries()
    forged = tuple(Refusal(MEMBERS[0], reason) for reason in (Reason.ALTERED, Reason.REPLAY, Reason.BAD_SIGNATURE))
    decided(told, replace(VERDICT, refused=(*forged, Refusal(MemberId("zelkova"), Reason.UNKNOWN_MEMBER))))
    assert finished(run, told)


def test_a_member_that_does_not_vote_is_simply_absent() -> None:
    run = Run()
    told = run.entries()
    del rows(told)[1]
    decided(told, replace(VERDICT, voters=3))
    assert finished(run, told)


@pytest.mark.parametrize("last", ["aggregate", "ballots"])
def test_a_vote_that_finds_no_quorum_ends_the_attempt(last: str) -> None:
    run = Run()
    told = run.entries()
    place = told.index(find(told, last))
    failed = entries.attempt_failed(Moment(1016, 1, 1), reason="the gate needs 2f + 1 = 3 sound ballots, found 1")
    assert verify_run(run.folder([*told[: place + 1], failed]), run.fingerprint).decided == 0


def accepting() -> tuple[Run, list[Entry]]:
    """A run that agreed to switch the gate off: nobody votes."""
    run = Run(agreed={"gate": {"unsafe_accept_all": True}})
    told = [entry for entry in run.entries() if entry["kind"] != "ballots"]
    for entry in told:
        if entry["kind"] == "decision":
            entry |= {"test": ACCEPTED.test, "p_value": 1, "worse": 0, "better": 0, "voters": 0}
    return run, told


def test_where_the_gate_was_switched_off_there_are_no_ballots() -> None:
    run, told = accepting()
    assert finished(run, told)


# --------------------------------------------------------------------------------- an operator who signs what is not so

CHEATS: dict[str, tuple[str, Cheat]] = {}


def cheat(expected: str) -> Callable[[Cheat], Cheat]:
    def register(change: Cheat) -> Cheat:
        CHEATS[getattr(change, "__name__", "")] = (expected, change)
        return change

    return register


@cheat(r"entry 7 \(decision\): may not follow 'aggregate'")
def a_decision_without_ballots(run: Run, told: list[Entry]) -> None:
    told.remove(find(told, "ballots"))


@cheat(r"entry 8 \(ballots\): may not follow 'ballots'")
def a_second_vote_over_the_first(run: Run, told: list[Entry]) -> None:
    first = find(told, "ballots")
    told.insert(told.index(first), first)


@cheat(r"entry 8 \(decision\): 4 voters, the log holds 3 ballots that count")
def a_voter_that_is_dropped_from_the_ballots_and_still_counted(run: Run, told: list[Entry]) -> None:
    del rows(told)[0]


@cheat(r"entry 8 \(decision\): 5 voters, the log holds 4 ballots that count")
def a_voter_more_than_there_are_ballots(run: Run, told: list[Entry]) -> None:
    find(told, "decision")["voters"] = 5


@cheat(r"entry 8 \(decision\): 3 voters, the log holds 4 ballots that count")
def a_voter_that_is_not_counted(run: Run, told: list[Entry]) -> None:
    find(told, "decision")["voters"] = 3


@cheat(r"entry 8 \(decision\): 4 voters, the log holds 3 ballots that count")
def a_refused_ballot_that_is_counted(run: Run, told: list[Entry]) -> None:
    find(told, "decision")["refused"] = [{"member": "ash", "reason": "bad-ballot"}]


@cheat(r"entry 8 \(decision\): refuses ballots that the log does not hold: \['ash'\]")
def a_ballot_refused_that_nobody_signed(run: Run, told: list[Entry]) -> None:
    del rows(told)[0]
    find(told, "decision").update(voters=3, refused=[{"member": "ash", "reason": "bad-ballot"}])


def judge_another(run: Run, told: list[Entry]) -> None:
    """The members sign what they think of one candidate; the log has their ballots for the one that is released."""
    at, released = Moment(1015, 1, 1), find(told, "ballots")["candidate"]
    cast = run.ballots(at, run.binding(1, 1, base=0), hash_of("the candidate that they saw"))
    find(told, "ballots").update(ballots=cast["ballots"], candidate=released)


@cheat(r"entry 7 \(ballots\), ash: ballot: the signature does not verify")
def ballots_on_one_candidate_for_another(run: Run, told: list[Entry]) -> None:
    judge_another(run, told)


@cheat(r"entry 8 \(decision\): of [0-9a-f]{64}, the ballots judge [0-9a-f]{64}")
def ballots_on_another_candidate_than_the_decisions(run: Run, told: list[Entry]) -> None:
    other = hash_of("the candidate that they saw")
    told[told.index(find(told, "ballots"))] = run.ballots(Moment(1015, 1, 1), run.binding(1, 1, base=0), other)


@cheat(r"entry 17 \(ballots\), ash: ballot: the signature does not verify")
def a_ballot_on_the_candidate_before(run: Run, told: list[Entry]) -> None:
    """Of the right attempt: ash signed in it what it thinks of last round's candidate."""
    receipt = hash_of("ash's, on the candidate before")
    signature = signed(run, "ash", "ballot", receipt, attempt=(2, 2), model=candidate_of(run, 1))
    rows(told, 1)[0] = row("ash", receipt, signature)


@cheat(r"entry 7: ballots: fields missing or unknown: \['candidate'\]")
def ballots_that_do_not_say_on_what(run: Run, told: list[Entry]) -> None:
    del find(told, "ballots")["candidate"]


@cheat(r"entry 7 \(ballots\), ash: ballot: the signature does not verify")
def a_ballot_that_the_member_never_signed(run: Run, told: list[Entry]) -> None:
    rows(told)[0]["receipt"] = hash_of("made up")


@cheat(r"entry 7 \(ballots\), ash: ballot: the signature does not verify")
def a_voter_invented_with_the_operators_own_key(run: Run, told: list[Entry]) -> None:
    receipt = hash_of("made up")
    rows(told)[0] = row("ash", receipt, signed(run, "operator", "ballot", receipt))


@cheat(r"entry 7 \(ballots\), ash: ballot: the signature does not verify")
def a_ballot_under_another_members_name(run: Run, told: list[Entry]) -> None:
    receipt = hash_of("birch's second")
    rows(told)[0] = row("ash", receipt, signed(run, "birch", "ballot", receipt))


@cheat(r"entry 7 \(ballots\), ash: ballot: the signature does not verify")
def an_update_for_a_ballot(run: Run, told: list[Entry]) -> None:
    """ash trained and signed two updates of this attempt; one of them is not a vote."""
    receipt = hash_of("ash's second update")
    rows(told)[0] = row("ash", receipt, signed(run, "ash", "update", receipt))


@cheat(r"entry 3 \(updates\), ash: update: the signature does not verify")
def ballots_and_updates_in_each_others_place(run: Run, told: list[Entry]) -> None:
    updates, ballots = find(told, "updates"), find(told, "ballots")
    updates["updates"], ballots["ballots"] = ballots["ballots"], updates["updates"]


@cheat(r"entry 7 \(ballots\): receipt [0-9a-f]{64} was already used")
def the_update_of_the_same_attempt_as_its_ballot(run: Run, told: list[Entry]) -> None:
    rows(told)[0] = find(told, "updates")["updates"][0]


@cheat(r"entry 17 \(ballots\): receipt [0-9a-f]{64} was already used")
def last_rounds_ballot_counted_again(run: Run, told: list[Entry]) -> None:
    rows(told, 1)[0] = rows(told, 0)[0]


@cheat(r"entry 7 \(ballots\), ash: ballot: the signature does not verify")
def ballots_that_two_rounds_exchange(run: Run, told: list[Entry]) -> None:
    """Receipts and signatures are the members' own, each for another round: only the binding under them tells."""
    first, second = find(told, "ballots", 0), find(told, "ballots", 1)
    first["ballots"], second["ballots"] = second["ballots"], first["ballots"]


@cheat(r"entry 17 \(ballots\), ash: ballot: the signature does not verify")
def a_ballot_of_the_attempt_that_failed(run: Run, told: list[Entry]) -> None:
    receipt = hash_of("manifest of the first attempt")
    rows(told, 1)[0] = row("ash", receipt, signed(run, "ash", "ballot", receipt, attempt=(2, 1)))


@cheat(r"entry 7: ballots: fields that are not what they should be: \['ballots'\]")
def a_member_that_votes_twice(run: Run, told: list[Entry]) -> None:
    receipt = hash_of("ash's second")
    rows(told).insert(1, row("ash", receipt, signed(run, "ash", "ballot", receipt)))


@cheat(r"entry 7 \(ballots\): yew was revoked")
def a_revoked_voter(run: Run, told: list[Entry]) -> None:
    receipt = hash_of("yew's")
    rows(told).append(row(REVOKED, receipt, signed(run, REVOKED, "ballot", receipt)))


@cheat(r"entry 7 \(ballots\): zelkova is not in federation\.json")
def a_stranger_that_votes(run: Run, told: list[Entry]) -> None:
    receipt = hash_of("zelkova's")
    rows(told).append(row("zelkova", receipt, signed(run, "zelkova", "ballot", receipt)))


@cheat(r"entry 7: ballots: fields that are not what they should be: \['ballots'\]")
def the_content_of_a_ballot_in_the_log(run: Run, told: list[Entry]) -> None:
    rows(told)[0]["worse"] = [3, 0]


@pytest.mark.parametrize("name", list(CHEATS))
def test_with_ballots_an_operator_cannot_sign(name: str) -> None:
    expected, change = CHEATS[name]
    run = Run()
    told = run.entries()
    change(run, told)
    with pytest.raises(IntegrityError, match=r"^log\.jsonl " + expected):
        verify_run(run.folder(told), run.fingerprint)


def test_ballots_in_a_run_whose_gate_accepts_all_are_refused() -> None:
    run, told = accepting()
    place = told.index(find(told, "decision"))
    told.insert(place, entries.ballots(Moment(1015, 1, 1), [], candidate=candidate_of(run, 1)))
    with pytest.raises(IntegrityError, match=r"entry 7 \(ballots\): may not follow 'aggregate'"):
        verify_run(run.folder(told), run.fingerprint)


def test_voters_of_a_gate_that_accepts_all_are_refused() -> None:
    run, told = accepting()
    find(told, "decision")["voters"] = 4
    with pytest.raises(IntegrityError, match=r"entry 7 \(decision\): 4 voters, the log holds 0 ballots that count"):
        verify_run(run.folder(told), run.fingerprint)


# --------------------------------------------------------------------------------------------------------------- twins


def test_signatures_over_the_receipt_alone_let_two_rounds_exchange_their_ballots(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("phalanx.audit.verify", "tests.audit.synthetic_run"):
        monkeypatch.setattr(f"{module}.receipt_statement", lambda binding, receipt: receipt.encode())
    run = Run()
    told = run.entries()
    ballots_that_two_rounds_exchange(run, told)
    assert finished(run, told)


def test_signatures_that_do_not_say_which_candidate_let_ballots_on_one_count_for_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def of_the_attempt(binding: dict[str, Any], receipt: str) -> bytes:
        return receipt_statement({name: value for name, value in binding.items() if name != "model"}, receipt)

    for module in ("phalanx.audit.verify", "tests.audit.synthetic_run"):
        monkeypatch.setattr(f"{module}.receipt_statement", of_the_attempt)
    run = Run()
    told = run.entries()
    judge_another(run, told)
    assert finished(run, told)


def test_the_limit_is_that_counts_can_be_invented_and_a_voter_left_out() -> None:
    """What the log cannot show, and says nowhere that it does: `docs/reference/log.md`, "Ballots"."""
    run = Run()
    told = run.entries()
    del rows(told)[0]
    decided(told, replace(VERDICT, voters=3, worse=0, better=4, p_value=1.0))
    assert finished(run, told)
