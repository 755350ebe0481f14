"""The auditor against folders that were changed by an outsider, wholly signed by another, or signed by a cheat."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from phalanx.audit import Entry, Log, PrivacyPlan, verify_run
from phalanx.audit.entries import Moment, finished, stopped
from phalanx.audit.entries import charge as charge_entry
from phalanx.canonical import digest, encode
from phalanx.errors import BadSignature, IntegrityError, LogInconsistent, NotCanonical
from phalanx.types import MemberId
from tests.audit.synthetic_run import MEMBERS, REFUSING, REVOKED, Run, find, hash_of, independent_epsilon, key_of

NAMED = re.compile(
    r"(federation\.json|config\.json|checkpoint|log\.jsonl|log\.jsonl entry [0-9]+( \([a-z-]+\))?|"
    r"releases/[0-9]{4}\.(json|safetensors))(, [a-z]+)?: "
)


# ------------------------------------------------------------------------------------------------------ what is true


def test_an_untouched_run_verifies_under_its_operators_fingerprint() -> None:
    run = Run()
    found = verify_run(run.folder(), run.fingerprint)
    assert found.origin_established
    assert found.finished
    assert (found.entries, found.rounds, found.decided, found.releases, found.version) == (21, 2, 2, 3, 2)
    assert found.epsilon == pytest.approx(independent_epsilon(2), abs=1.1e-3)
    assert found.epsilon_recorded == independent_epsilon(2)
    assert (found.unit, found.delta) == ("member", 1e-5)
    assert found.refused == (("fir", "norm-too-large", 2),)
    assert found.model == find(run.entries(), "release", 2)["parameters"]


def test_without_a_fingerprint_the_run_is_only_self_consistent_and_says_so() -> None:
    found = verify_run(Run().folder(), None)
    assert not found.origin_established
    assert any("self-consistent, origin not established" in line for line in found.lines())


def test_a_run_that_still_goes_on_verifies_at_every_step_and_says_that_it_is_not_finished() -> None:
    run = Run()
    told = run.entries()
    for size in range(2, len(told)):
        found = verify_run(run.folder(told[:size]), run.fingerprint)
        assert not found.finished
        assert "run not finished" in found.lines()
    assert "run finished" in verify_run(run.folder(), run.fingerprint).lines()


def test_a_run_that_the_gate_stopped_says_why_and_cannot_send_escape_codes_to_the_terminal() -> None:
    run = Run()
    told = run.entries()[:10]
    assert told[-1]["kind"] == "release"
    told[-1:] = [stopped(Moment(1016, 1, 1), reason="the gate refused\x1b[2J", refusals=1, selection_seed=None)]
    find(told, "decision").update(REFUSING)
    found = verify_run(run.folder(told), run.fingerprint)
    assert found.stopped == "the gate refused\x1b[2J"
    assert "run stopped: the gate refused?[2J" in found.lines()
    assert found.version == 0


def test_a_run_without_a_privacy_plan_verifies_without_any_charge() -> None:
    run = Run(agreed={"privacy": None})
    told = [entry for entry in run.entries() if entry["kind"] != "charge"]
    told[0] = run.genesis(plan=None)
    found = verify_run(run.folder(told), run.fingerprint)
    assert (found.epsilon, found.unit, found.delta) == (None, None, None)
    assert "privacy: none was promised" in found.lines()


# --------------------------------------------------------------------------------------------------- outsiders change


def test_one_flipped_bit_in_any_byte_of_any_file_is_found_and_named() -> None:
    files = Run().folder()
    for name, data in files.items():
        step = 3 if name == "log.jsonl" else 1  # nothing in the log is parsed before its hash: a third of it is enough
        for place in range(0, len(data), step):
            changed = bytearray(data)
            changed[place] ^= 1 << (place % 8)
            with pytest.raises(IntegrityError) as caught:
                verify_run(files | {name: bytes(changed)}, None)
            assert NAMED.match(caught.value.message), caught.value.message
            assert caught.value.exit_code == 5


def test_a_log_without_a_tree_over_it_would_not_notice_an_edited_entry() -> None:
    """The twin: reasons and norms are nobody's signature, so only the root gives the edit away."""
    run = Run()
    told = run.entries()
    files = run.folder(told)
    find(told, "cohort")["refused"][0]["detail"] = "norm 1.5, the bound is 2"
    edited = files | {"log.jsonl": run.folder(told)["log.jsonl"]}
    assert len(edited["log.jsonl"]) == len(files["log.jsonl"])
    with pytest.raises(LogInconsistent, match=r"^log\.jsonl: is not the log of the checkpoint"):
        verify_run(edited, None)
    verify_run(edited | {"checkpoint": run.folder(told)["checkpoint"]}, run.fingerprint)


def test_a_folder_wholly_signed_by_other_keys_fails_only_against_the_trusted_fingerprint() -> None:
    honest, forger = Run(), Run(operator="forger", owner="forged ")
    forged = forger.folder()
    with pytest.raises(BadSignature, match=r"^federation\.json: signed by operator sha256:"):
        verify_run(forged, honest.fingerprint)
    assert not verify_run(forged, None).origin_established  # the twin: without the fingerprint it passes


@pytest.mark.parametrize("trust", ["", "sha256:", "sha256:" + "0" * 64, "SHA256:", "é"])
def test_a_fingerprint_that_is_not_the_operators_is_refused(trust: str) -> None:
    with pytest.raises(BadSignature, match=r"^federation\.json: "):
        verify_run(Run().folder(), trust)


@pytest.mark.parametrize("name", [n for n in Run().folder() if n != "federation.json"])
def test_a_file_of_another_run_of_the_same_operator_is_found(name: str) -> None:
    one, other = Run().folder(), Run(run="run-2").folder()
    with pytest.raises(IntegrityError) as caught:
        verify_run(one | {name: other[name]}, Run().fingerprint)
    assert NAMED.match(caught.value.message)


def test_log_and_checkpoint_of_another_run_together_are_found() -> None:
    one, other = Run().folder(), Run(run="run-2").folder()
    both = {name: other[name] for name in ("log.jsonl", "checkpoint")}
    with pytest.raises(LogInconsistent, match=r"^log\.jsonl entry 0 \(genesis\): names another config\.json"):
        verify_run(one | both, None)
    with pytest.raises(IntegrityError, match=r"^releases/0000\.json: says otherwise than the log"):
        verify_run(one | both | {"config.json": other["config.json"]}, None)


def test_a_checkpoint_of_another_log_over_the_same_entries_is_found() -> None:
    run = Run()
    files = run.folder()
    run.run = "run-2"  # the cheat signs the entries of run-1 as the log of run-2
    files["checkpoint"] = run.folder(Run().entries())["checkpoint"]
    with pytest.raises(LogInconsistent, match=r"^checkpoint: of the log 'phalanx/v1/log/grove/run-2'"):
        verify_run(files, None)


def test_a_federation_file_with_other_members_of_the_same_operator_is_found() -> None:
    with pytest.raises(LogInconsistent, match=r"entry 0 \(genesis\): names another federation\.json"):
        verify_run(Run().folder() | {"federation.json": Run(owner="other ").federation}, None)


@pytest.mark.parametrize("name", list(Run().folder()))
def test_a_missing_file_is_named(name: str) -> None:
    files = {other: data for other, data in Run().folder().items() if other != name}
    with pytest.raises(LogInconsistent, match=f"^{re.escape(name)}: missing"):
        verify_run(files, None)


@pytest.mark.parametrize("name", ["note.txt", "releases/0003.json", "releases/0000.pkl", "log.jsonl.bak", "../x"])
def test_a_file_too_many_is_named(name: str) -> None:
    with pytest.raises(LogInconsistent, match=f"^{re.escape(name)}: not a file that this run has"):
        verify_run(Run().folder() | {name: b"{}"}, None)


@pytest.mark.parametrize("name", ["federation.json", "config.json", "releases/0001.json"])
@pytest.mark.parametrize("write", [
    lambda data: data + b"\n", lambda data: b" " + data, lambda data: data + b"\r\n",
    lambda data: b"\xef\xbb\xbf" + data,
    lambda data: json.dumps(json.loads(data), indent=1).encode(), lambda data: data.replace(b"r", b"\\u0072", 1),
    lambda data: data[:-1] + b"," + data[1:], lambda data: b"[" * 100_000, lambda data: b"", lambda data: b"\xff",
])  # fmt: skip
def test_the_same_json_in_another_encoding_is_refused(name: str, write: Callable[[bytes], bytes]) -> None:
    files = Run().folder()
    with pytest.raises(NotCanonical, match=f"^{re.escape(name)}: "):
        verify_run(files | {name: write(files[name])}, None)


@pytest.mark.parametrize("field", ["operator", "public"])
def test_keys_in_upper_case_are_refused_even_when_signed_so(field: str) -> None:
    run = Run()
    body = json.loads(run.federation)["body"]
    holder = body if field == "operator" else body["members"][0]
    holder[field] = holder[field].upper()
    run.federation = encode({"body": body, "signature": run.key.sign("federation", encode(body))})
    with pytest.raises(IntegrityError, match=r"^federation\.json: "):
        verify_run(run.folder(), None)


@pytest.mark.parametrize("log", [b"", b"\n", b"{}\n", b"[]\n", b"x\n", b'{"kind":[]}\n', b"null\n"])
def test_a_signed_log_of_nonsense_is_refused(log: bytes) -> None:
    run = Run()
    head = run.folder()
    head |= {"log.jsonl": log, "checkpoint": run.checkpoint(Log(log.split(b"\n")[:-1])).note}
    with pytest.raises(IntegrityError, match=r"^log\.jsonl"):
        verify_run(head, None)


@pytest.mark.parametrize("end", [b"", b"\r\n", b"\n\n", b" \n"])
def test_log_lines_that_end_otherwise_are_refused_even_when_signed_so(end: bytes) -> None:
    run = Run()
    files = run.folder()
    log = files["log.jsonl"][:-1] + end
    files |= {"log.jsonl": log, "checkpoint": run.checkpoint(Log(log.split(b"\n")[:-1])).note}
    with pytest.raises(IntegrityError, match=r"^log\.jsonl"):
        verify_run(files, None)


# ------------------------------------------------------------------------------- an operator who signs what is not so

Cheat = Callable[[Run, list[Entry]], None]
CHEATS: dict[str, tuple[str, Cheat]] = {}


def cheat(expected: str) -> Callable[[Cheat], Cheat]:
    def register(change: Cheat) -> Cheat:
        CHEATS[change.__name__] = (expected, change)
        return change

    return register


@cheat(r"entry 8 \(release\): may not follow 'ballots'")
def a_release_without_a_decision(run: Run, told: list[Entry]) -> None:
    told.remove(find(told, "decision"))


@cheat(r"entry 9 \(release\): may not follow 'decision'")
def a_release_of_a_refused_candidate(run: Run, told: list[Entry]) -> None:
    find(told, "decision").update(REFUSING)


@cheat(r"entry 9 \(release\): of model [0-9a-f]{64}, the gate passed")
def a_release_of_another_model_than_the_gate_passed(run: Run, told: list[Entry]) -> None:
    find(told, "release", 1)["parameters"] = hash_of("another")


@cheat(r"entry 8 \(decision\): of [0-9a-f]{64}, the ballots judge [0-9a-f]{64}")
def a_decision_about_another_candidate_than_the_ballots_judge(run: Run, told: list[Entry]) -> None:
    find(told, "decision")["candidate"] = hash_of("another")


@cheat(r"entry 1 \(release\): of model [0-9a-f]{64}, genesis names")
def an_initial_release_of_another_model(run: Run, told: list[Entry]) -> None:
    told[0]["model"] = hash_of("another")


@cheat(r"entry 9 \(round-open\): may not follow 'decision'")
def a_passed_candidate_that_is_never_released(run: Run, told: list[Entry]) -> None:
    told.remove(find(told, "release", 1))


@cheat(r"entry 4 \(cohort\): weight of ash is 0\.6, its cap 0\.5")
def a_weight_above_its_cap(run: Run, told: list[Entry]) -> None:
    find(told, "cohort")["weights"] = {"ash": 0.6, "birch": 0.2, "cedar": 0.2}


@cheat(r"entry 4 \(cohort\): weight of ash is -0\.1")
def a_negative_weight(run: Run, told: list[Entry]) -> None:
    find(told, "cohort")["weights"] = {"ash": -0.1, "birch": 0.5, "cedar": 0.5}


@cheat(r"entry 4 \(cohort\): the weights do not sum to 1")
def weights_that_do_not_sum_to_one(run: Run, told: list[Entry]) -> None:
    find(told, "cohort")["weights"] = {"ash": 0.5, "birch": 0.5, "cedar": 0.5}


@cheat(r"entry 4 \(cohort\): weights of")
def a_weight_for_somebody_not_accepted(run: Run, told: list[Entry]) -> None:
    find(told, "cohort")["weights"]["fir"] = 0.0


@cheat(r"entry 4 \(cohort\): yew was revoked")
def a_revoked_member_in_the_cohort(run: Run, told: list[Entry]) -> None:
    find(told, "cohort")["accepted"] = ["ash", "birch", "cedar", "yew"]


@cheat(r"entry 2 \(round-open\): yew was revoked")
def a_revoked_member_invited(run: Run, told: list[Entry]) -> None:
    find(told, "round-open")["invited"] = [*MEMBERS, REVOKED]


@cheat(r"entry 4 \(cohort\): zelkova is not in federation\.json")
def an_unknown_member_in_the_cohort(run: Run, told: list[Entry]) -> None:
    find(told, "cohort")["accepted"] = ["ash", "birch", "cedar", "zelkova"]


@cheat(r"entry 4 \(cohort\): accepted without a signed update: \['ash'\]")
def a_member_accepted_that_sent_nothing(run: Run, told: list[Entry]) -> None:
    del find(told, "updates")["updates"][0]


@cheat(r"entry 3 \(updates\): yew was not invited")
def an_update_of_somebody_not_invited(run: Run, told: list[Entry]) -> None:
    find(told, "updates")["updates"][3]["member"] = REVOKED


@cheat(r"entry 2 \(round-open\): not invited, though on the roster and not revoked: \['fir'\]")
def a_member_that_is_never_asked(run: Run, told: list[Entry]) -> None:
    find(told, "round-open")["invited"] = list(MEMBERS[:3])


@cheat(r"entry 4 \(cohort\): invited, but neither accepted nor refused: \['fir'\]")
def a_member_left_out_without_a_reason(run: Run, told: list[Entry]) -> None:
    find(told, "cohort")["refused"] = []


@cheat(r"entry 3 \(updates\), ash: update: the signature does not verify")
def an_update_that_the_member_never_signed(run: Run, told: list[Entry]) -> None:
    find(told, "updates")["updates"][0]["receipt"] = hash_of("made up")


@cheat(r"entry 13 \(updates\): receipt [0-9a-f]{64} was already used")
def last_rounds_update_counted_again(run: Run, told: list[Entry]) -> None:
    find(told, "updates", 1)["updates"][0] = find(told, "updates", 0)["updates"][0]


@cheat(r"entry 3 \(updates\), ash: update: the signature does not verify")
def updates_that_two_rounds_exchange(run: Run, told: list[Entry]) -> None:
    """Receipt and signature are the member's own, each for another round: only the binding under them tells."""
    first, second = find(told, "updates", 0), find(told, "updates", 1)
    first["updates"], second["updates"] = second["updates"], first["updates"]


@cheat(r"entry 5 \(charge\): records ε 0\.5, the noise gives no less than 0\.92")
def an_understated_epsilon(run: Run, told: list[Entry]) -> None:
    find(told, "charge")["epsilon"] = 0.5


@cheat(r"entry 15 \(charge\): records ε 0\.92")
def an_epsilon_that_forgets_the_round_before(run: Run, told: list[Entry]) -> None:
    find(told, "charge", 1)["epsilon"] = find(told, "charge", 0)["epsilon"]


@cheat(r"entry 5 \(charge\): records ε 2, the noise gives at most")
def an_overstated_epsilon(run: Run, told: list[Entry]) -> None:
    find(told, "charge")["epsilon"] = 2.0


@cheat(r"entry 5 \(aggregate\): may not follow 'cohort'")
def an_aggregate_that_nobody_charged(run: Run, told: list[Entry]) -> None:
    told.remove(find(told, "charge"))


@cheat(r"entry 5 \(charge\): other than the privacy plan: \['noise_multiplier'\]")
def more_noise_claimed_than_planned(run: Run, told: list[Entry]) -> None:
    find(told, "charge")["noise_multiplier"] = 8.0


@cheat(r"entry 15 \(charge\): reservation run-1/1 was already used")
def one_reservation_for_two_rounds(run: Run, told: list[Entry]) -> None:
    find(told, "charge", 1)["reservation"] = "run-1/1"


@cheat(r"entry 5 \(charge\): unit member, but parties are \['ash'\]")
def central_noise_charged_to_members(run: Run, told: list[Entry]) -> None:
    find(told, "charge")["parties"] = ["ash"]


@cheat(r"entry 6 \(aggregate\): central noise for an unknown l2 sensitivity")
def central_noise_for_an_unknown_sensitivity(run: Run, told: list[Entry]) -> None:
    find(told, "aggregate")["l2_sensitivity"] = None


@cheat(r"entry 6 \(aggregate\): made by 'mean', config\.json says 'norm-clip\(1\) >> mean'")
def another_rule_than_the_agreed_one_in_an_aggregate(run: Run, told: list[Entry]) -> None:
    find(told, "aggregate")["rule"] = "mean"


@cheat(r"entry 12 \(round-open\): bound to other values than the run has: \['model'\]")
def a_round_from_another_model_than_the_incumbent(run: Run, told: list[Entry]) -> None:
    find(told, "round-open", 2)["binding"]["model"] = hash_of("special model")


@cheat(r"entry 2 \(round-open\): bound to other values than the run has: \['config'\]")
def a_round_under_another_config(run: Run, told: list[Entry]) -> None:
    find(told, "round-open")["binding"]["config"] = hash_of("other config")


@cheat(r"entry 2 \(round-open\): bound to other values than the run has: \['federation', 'run'\]")
def a_round_of_another_federation(run: Run, told: list[Entry]) -> None:
    find(told, "round-open")["binding"] |= {"federation": "thicket", "run": "run-9"}


@cheat(r"entry 10 \(round-open\): nonce [0-9a-f]{32} was already used")
def a_nonce_used_twice(run: Run, told: list[Entry]) -> None:
    find(told, "round-open", 1)["binding"]["nonce"] = find(told, "round-open", 0)["binding"]["nonce"]


@cheat(r"entry 11 \(round-open\): may not follow 'round-open'")
def a_failed_attempt_removed_from_the_log(run: Run, told: list[Entry]) -> None:
    told.remove(find(told, "attempt-failed"))


@cheat(r"entry 10 \(round-open\): is of round and attempt \(2, 2\), expected \(2, 1\)")
def a_whole_attempt_removed_from_the_log(run: Run, told: list[Entry]) -> None:
    del told[10:12]


@cheat(r"entry 11 \(attempt-failed\): time 1000 is before that of the entry before, 1021")
def time_that_goes_back(run: Run, told: list[Entry]) -> None:
    find(told, "attempt-failed")["time"] = 1000


@cheat(r"entry 3 \(cohort\): may not follow 'round-open'")
def entries_in_another_order(run: Run, told: list[Entry]) -> None:
    told[3], told[4] = told[4], told[3]


@cheat(r"entry 21 \(finished\): may not follow 'finished'")
def an_entry_after_the_end(run: Run, told: list[Entry]) -> None:
    told.append(told[-1])


@cheat(r"entry 0 \(release\): may not follow 'nothing'")
def a_log_without_its_first_entry(run: Run, told: list[Entry]) -> None:
    del told[0]


@cheat(r"entry 20 \(stopped\): counts 3 refused candidates, the log holds 0")
def a_wrong_count_of_refused_candidates(run: Run, told: list[Entry]) -> None:
    told[-1] = stopped(Moment(1030, 2, 2), reason="enough", refusals=3, selection_seed=None)


@cheat(r"entry 8: decision: fields missing or unknown: \['p_value'\]")
def a_decision_without_its_evidence(run: Run, told: list[Entry]) -> None:
    del find(told, "decision")["p_value"]


@cheat(r"entry 8: decision: fields missing or unknown: \['note'\]")
def a_field_that_no_entry_has(run: Run, told: list[Entry]) -> None:
    find(told, "decision")["note"] = "trust me"


@cheat(r"entry 8: decision: fields that are not what they should be: \['passed'\]")
def a_decision_that_is_no_boolean(run: Run, told: list[Entry]) -> None:
    find(told, "decision")["passed"] = 1


@cheat(r"entry 4: cohort: fields that are not what they should be: \['refused'\]")
def a_refusal_without_a_known_reason(run: Run, told: list[Entry]) -> None:
    find(told, "cohort")["refused"][0]["reason"] = "disliked"


@cheat(r"entry 6: aggregate: fields that are not what they should be: \['vector'\]")
def a_hash_in_upper_case(run: Run, told: list[Entry]) -> None:
    find(told, "aggregate")["vector"] = find(told, "aggregate")["vector"].upper()


@cheat(r"entry 2: round-open: fields that are not what they should be: \['binding'\]")
def a_binding_whose_round_is_a_boolean(run: Run, told: list[Entry]) -> None:
    find(told, "round-open")["binding"]["round"] = True


@cheat(r"entry 0: genesis: fields that are not what they should be: \['privacy'\]")
def a_plan_without_noise(run: Run, told: list[Entry]) -> None:
    told[0]["privacy"]["noise_multiplier"] = 0


@cheat(r"entry 0 \(genesis\): names operator 'sha256:0")
def a_genesis_of_another_operator(run: Run, told: list[Entry]) -> None:
    told[0]["operator"] = "sha256:" + "0" * 64


@pytest.mark.parametrize("name", list(CHEATS))
def test_an_operator_cannot_sign(name: str) -> None:
    expected, change = CHEATS[name]
    run = Run()
    told = run.entries()
    change(run, told)
    with pytest.raises(IntegrityError, match=r"^log\.jsonl " + expected):
        verify_run(run.folder(told), run.fingerprint)


def test_signatures_over_the_receipt_alone_let_two_rounds_exchange_their_updates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The twin: without the binding in what members sign, the same cheat verifies."""
    for module in ("phalanx.audit.verify", "tests.audit.synthetic_run"):
        monkeypatch.setattr(f"{module}.receipt_statement", lambda binding, receipt: receipt.encode())
    run = Run()
    told = run.entries()
    updates_that_two_rounds_exchange(run, told)
    assert verify_run(run.folder(told), run.fingerprint).finished


def test_a_release_signed_with_a_model_that_the_log_does_not_know_is_refused() -> None:
    run = Run()
    told = run.entries()
    find(told, "release", 2)["file"] = hash_of("another file")
    with pytest.raises(LogInconsistent, match=r"^releases/0002\.json: says otherwise than the log: \['model'\]"):
        verify_run(run.folder(told), None)


@pytest.mark.parametrize("layout", [
    None, "abc", [], [["weight"]], [["weight", [2, 2], "float32"]] * 2, [["weight", ["x"], "float32"]] * 2,
    [[[], [], []]],
    [["weight", [4], "float32"], ["bias", [2], "float32"]], [["weight", [2, 2], "float16"], ["bias", [2], "float32"]],
    [["bias", [2], "float32"], ["weight", [2, 2], "float32"]],
])  # fmt: skip
def test_a_layout_that_is_not_the_models_is_refused_even_when_signed_so(layout: object) -> None:
    run = Run()
    files = run.folder()
    body = json.loads(files["releases/0001.json"])["body"] | {"layout": layout}
    files["releases/0001.json"] = encode({"body": body, "signature": run.key.sign("release", encode(body))})
    with pytest.raises(IntegrityError, match=r"^releases/0001\.(json|safetensors): "):
        verify_run(files, None)


@pytest.mark.parametrize(
    "metadata", [None, {"format": "pt"}, {"format": "phalanx/v1", "note": "a place to hide words"}]
)
def test_a_model_file_that_says_more_than_the_model_is_refused_even_when_signed_so(
    metadata: dict[str, str] | None,
) -> None:
    run = Run()
    told = run.entries()
    tensors = load(run.folder()["releases/0002.safetensors"])
    model = save(tensors, metadata=metadata)
    find(told, "release", 2)["file"] = digest("file", model)
    files = run.folder(told)
    body = json.loads(files["releases/0002.json"])["body"] | {"model": digest("file", model)}
    signed = encode({"body": body, "signature": run.key.sign("release", encode(body))})
    with pytest.raises(NotCanonical, match=r"^releases/0002\.safetensors: safetensors that are not"):
        verify_run(files | {"releases/0002.json": signed, "releases/0002.safetensors": model}, None)


def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The paths of all values inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, held in inner for place in places(held, (*path, key)))]


ODD: list[Any] = [None, True, -1, 0.5, 1e300, "", "x", [], {}, [[]], [{}], [None], {"a": []}, 2**53 - 1]


@given(st.data())
@settings(max_examples=120, deadline=None)
def test_whatever_an_operator_signs_the_auditor_fails_by_its_own_errors_only(data: st.DataObject) -> None:
    run = Run()
    told = [dict(entry) for entry in run.entries()]
    files = run.folder(told)
    lines = [json.loads(line) for line in files["log.jsonl"].splitlines()]
    path = data.draw(st.sampled_from([place for place in places(lines) if len(place) > 1]))
    holder: Any = lines
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = data.draw(st.sampled_from(ODD))
    leaves = [encode(line) for line in lines]
    files |= {"log.jsonl": b"\n".join(leaves) + b"\n", "checkpoint": run.checkpoint(Log(leaves)).note}
    with contextlib.suppress(IntegrityError):
        verify_run(files, None)


def test_a_log_that_ends_before_the_initial_model_is_refused() -> None:
    run = Run()
    with pytest.raises(LogInconsistent, match=r"^log\.jsonl: ends before the initial model"):
        verify_run(run.folder(run.entries()[:1]), None)


# -------------------------------------------------------------------------------------------------- example-level DP

EXAMPLES = PrivacyPlan(unit="example", noise_multiplier=4.0, delta=1e-5, epsilon_budget=3.0, rounds=2)


def example_run(parties: list[tuple[MemberId, ...]], epsilons: list[float]) -> tuple[Run, list[Entry]]:
    """The run with noise at the members: who was charged as each of the three attempts opened, and the recorded ε."""
    run = Run(agreed={"privacy": {"unit": "example"}})
    told: list[Entry] = []
    charges = iter(zip(parties, epsilons, strict=True))
    for entry in run.entries():
        if entry["kind"] != "charge":
            told.append(entry)
        if entry["kind"] == "round-open":
            at = Moment(entry["time"], entry["round"], entry["attempt"])
            who, epsilon = next(charges)
            told.append(
                charge_entry(at, plan=EXAMPLES, epsilon=epsilon, parties=who, reservation=f"{at.round}/{at.attempt}")
            )
    told[0] = run.genesis(plan=EXAMPLES)
    return run, told


SPENT = [independent_epsilon(charges) for charges in (1, 2, 3)]


def test_an_attempt_that_failed_has_cost_its_members_too() -> None:
    run, told = example_run([MEMBERS] * 3, SPENT)
    found = verify_run(run.folder(told), run.fingerprint)
    assert found.epsilon == pytest.approx(SPENT[2], abs=1.1e-3)
    assert found.unit == "example"


@pytest.mark.parametrize(
    ("parties", "odd"),
    [
        (MEMBERS[:2], r"\['cedar', 'fir'\]"),
        ((), "'ash'"),
        ((*MEMBERS, REVOKED), r"\['yew'\]"),
    ],
)
def test_who_was_invited_is_charged_and_nobody_else(parties: tuple[MemberId, ...], odd: str) -> None:
    """An invited member trains before anybody knows whether its update arrives."""
    run, told = example_run([parties, MEMBERS, MEMBERS], SPENT)
    with pytest.raises(LogInconsistent, match=rf"entry 3 \(charge\): charged are not those who were invited: .*{odd}"):
        verify_run(run.folder(told), None)


def test_an_attempt_cannot_open_without_its_charge_where_members_add_the_noise() -> None:
    for opening in (0, 1):
        run, told = example_run([MEMBERS] * 3, SPENT)
        told.remove(find(told, "charge", opening))
        with pytest.raises(
            LogInconsistent, match=r"entry [0-9]+ \((updates|attempt-failed)\): may not follow 'round-open'"
        ):
            verify_run(run.folder(told), None)


def test_a_charge_to_members_that_forgets_the_failed_attempt_is_understated() -> None:
    run, told = example_run([MEMBERS] * 3, [SPENT[0], SPENT[1], SPENT[1]])
    with pytest.raises(
        LogInconsistent, match=r"entry 14 \(charge\): records ε 1\.357, the noise gives no less than 1\."
    ):
        verify_run(run.folder(told), None)


def test_the_synthetic_run_has_the_kinds_that_these_tests_are_about() -> None:
    """Else a cheat above might change nothing and be refused for another reason."""
    told = Run().entries()
    assert finished(Moment(1030, 2, 2), selection_seed=None) == told[-1]
    assert math.fsum(find(told, "cohort")["weights"].values()) == 1.0
    assert key_of("ash").public in Run().federation.decode()
