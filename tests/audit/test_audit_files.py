"""Files of a run that are signed by their operator and still are not what such a file may be."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from phalanx.audit import Log, verify_run
from phalanx.canonical import encode
from phalanx.errors import IntegrityError
from phalanx.release import to_safetensors
from tests.audit.synthetic_run import LAYOUT, Run, config_file, find, model_of

Change = Callable[[dict[str, Any]], object]


def refused(files: dict[str, bytes], where: str) -> None:
    with pytest.raises(IntegrityError, match=f"^{where}"):
        verify_run(files, None)


def signed(run: Run, purpose: str, body: object) -> bytes:
    return encode({"body": body, "signature": run.key.sign(purpose, encode(body))})


@pytest.mark.parametrize(("change", "why"), [
    (lambda body: body.update(version=0), "version is 0"),
    (lambda body: body.update(version=True), "version is True"),
    (lambda body: body.update(federation="Grove"), "federation is 'Grove', no id"),
    (lambda body: body.update(note="more"), "the body has other fields"),
    (lambda body: body.update(members=[]), "members is no list, or empty"),
    (lambda body: body.update(members={"ash": 1}), "members is no list, or empty"),
    (lambda body: body["members"].reverse(), "member 'fir' is no id, or out of order"),
    (lambda body: body["members"].insert(0, body["members"][0]), "member 'ash' is no id, or out of order"),
    (lambda body: body["members"][0].update(id="Ash"), "member 'Ash' is no id"),
    (lambda body: body["members"][0].update(note=1), "a member has other fields"),
    (lambda body: body["members"][0].update(public="00"), "the key of ash is no key"),
    (lambda body: body["members"][0].update(public=body["members"][1]["public"]), "two members have the same key"),
    (lambda body: body["members"][0].update(revoked=0), "revoked of ash is 0"),
    (lambda body: body["members"][0].update(label="North"), "the label of ash is 'North'"),
    (lambda body: body["members"][0].update(label="a" * 64), "the label of ash is 'aaa"),
    (lambda body: body["members"][0].update(label=None), "the label of ash is None"),
    (lambda body: body["members"][0].pop("label"), "a member has other fields"),
])  # fmt: skip
def test_a_signed_federation_file_that_breaks_its_own_rules_is_refused(change: Change, why: str) -> None:
    run = Run()
    body = json.loads(run.federation)["body"]
    change(body)
    run.federation = signed(run, "federation", body)
    refused(run.folder(), rf"federation\.json: {why}")


@pytest.mark.parametrize("cap", [0, 1.5, -0.5, True, None, "2", "0.5 ", "1e-1", "0.0", []])
def test_a_weight_cap_that_is_no_share_is_refused(cap: object) -> None:
    run = Run()
    body = json.loads(run.federation)["body"]
    body["members"][0]["weight_cap"] = cap
    run.federation = signed(run, "federation", body)
    refused(run.folder(), r"federation\.json: weight_cap of ash is")


@pytest.mark.parametrize("cap", ["0.5", "1", "1.0", 1, 0.5])
def test_a_weight_cap_may_be_a_number_or_a_decimal(cap: str | float) -> None:
    run = Run(agreed={"federation": {"weight_cap": float(cap)}})
    body = json.loads(run.federation)["body"]
    for member in body["members"]:
        member["weight_cap"] = cap
    run.federation = signed(run, "federation", body)
    assert verify_run(run.folder(), run.fingerprint).finished


@pytest.mark.parametrize("name", ["federation.json", "releases/0000.json"])
@pytest.mark.parametrize("data", [
    b"[]", b"null", b"{}", b'{"body":{}}', b'{"body":[],"signature":7}', b'{"body":{},"more":1,"signature":""}',
    b'{"body":{"federation":"a","members":[],"operator":7,"version":1},"signature":""}',
    b'{"body":{"federation":"a","members":[],"operator":"","version":1},"signature":null}',
])  # fmt: skip
def test_a_signed_file_of_another_shape_is_refused(name: str, data: bytes) -> None:
    refused(Run().folder() | {name: data}, name)


def test_a_config_that_is_no_object_is_refused() -> None:
    run = Run()
    run.config = b"[]"
    refused(run.folder(), r"config\.json: expected an object")


@pytest.mark.parametrize(("change", "where"), [
    (lambda body: body.update(note=1), r"releases/0001\.json: fields missing or unknown: \['note'\]"),
    (lambda body: body.pop("entry"), r"releases/0001\.json: fields missing or unknown: \['entry'\]"),
    (lambda body: body.update(version=True), r"releases/0001\.json: says otherwise than the log: \['version'\]"),
    (lambda body: body.update(base="0" * 64), r"releases/0001\.json: says otherwise than the log: \['base'\]"),
    (lambda body: body.update(entry=7), r"releases/0001\.json: says otherwise than the log: \['entry'\]"),
    (lambda body: body["layout"].append(["weight", [2, 2], "float32"]), r"releases/0001\.json: layout names a"),
    (lambda body: body["layout"][0].__setitem__(0, 7), r"releases/0001\.json: layout holds \[7, "),
    (lambda body: body["layout"].pop(), r"releases/0001\.safetensors: holds other tensors than"),
    (lambda body: body["layout"][0].__setitem__(1, [4]), r"releases/0001\.safetensors: 'weight' is \('F32', "),
    (lambda body: body["layout"].reverse(), r"releases/0001\.safetensors: its parameters hash to"),
])  # fmt: skip
def test_a_signed_manifest_that_says_otherwise_is_refused(change: Change, where: str) -> None:
    run = Run()
    files = run.folder()
    body = json.loads(files["releases/0001.json"])["body"]
    change(body)
    refused(files | {"releases/0001.json": signed(run, "release", body)}, where)


def test_another_model_in_the_place_of_a_released_one_is_found_by_the_hash_of_its_file() -> None:
    other = to_safetensors(model_of("another run", 1), LAYOUT)
    refused(Run().folder() | {"releases/0001.safetensors": other}, r"releases/0001\.safetensors: its hash is")


def test_a_log_longer_than_its_checkpoint_is_refused() -> None:
    run = Run()
    files = run.folder()
    shorter = run.folder(run.entries()[:-1])["checkpoint"]
    refused(files | {"checkpoint": shorter}, r"log\.jsonl: has 21 entries, the checkpoint was signed over 20")


@pytest.mark.parametrize(("change", "where"), [
    (lambda lines: lines[3].update(index=4), "entry 3: updates: says to be entry 4"),
    (lambda lines: lines[3].update(index=True), r"entry 3: updates: fields that are not .*: \['index'\]"),
    (lambda lines: lines[9].update(version=2), r"entry 9 \(release\): is version 2, expected 1"),
    (lambda lines: lines[0].update(federation="thicket"), r"entry 0 \(genesis\): is of 'thicket'"),
])  # fmt: skip
def test_a_signed_log_whose_lines_misstate_their_place_is_refused(change: Callable[[Any], object], where: str) -> None:
    run = Run()
    files = run.folder()
    lines = [json.loads(line) for line in files["log.jsonl"].splitlines()]
    change(lines)
    leaves = [encode(line) for line in lines]
    files |= {"log.jsonl": b"\n".join(leaves) + b"\n", "checkpoint": run.checkpoint(Log(leaves)).note}
    refused(files, rf"log\.jsonl {where}")


def test_an_aggregate_of_nobody_is_refused() -> None:
    run = Run()
    told = run.entries()
    everybody = [{"member": name, "reason": "missing"} for name in ("ash", "birch", "cedar", "fir")]
    find(told, "cohort").update(accepted=[], weights={}, refused=everybody)
    refused(
        run.folder(told), r"log\.jsonl entry 6 \(aggregate\): an aggregate of 0 updates, norm-clip\(1\) >> mean needs 1"
    )


def test_a_release_under_a_config_that_the_run_did_not_begin_with_is_refused() -> None:
    run = Run()
    files = run.folder()
    other = config_file(run.run, {"run": {"round_seconds": 1}})
    assert other != run.config
    refused(files | {"config.json": other}, r"log\.jsonl entry 0 \(genesis\): names another config")
