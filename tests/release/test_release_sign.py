"""Releases: only what passed, only after the log, never backwards, and nothing loaded that was not signed."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load, save

from phalanx.canonical import encode, model_digest
from phalanx.errors import BadSignature, IntegrityError, LogInconsistent, NotCanonical, RollbackError
from phalanx.release import file_digest, initial_release, open_release, publish, release_files, to_safetensors
from phalanx.signing import SigningKey
from phalanx.types import F32, Approved, Binding, Candidate, Checkpoint, Layout, Release, TensorSpec, Verdict

KEY = SigningKey.from_seed(b"k" * 32)
LAYOUT = Layout((TensorSpec("weight", (2, 3), 0), TensorSpec("bias", (), 6), TensorSpec("none", (0, 4), 7)))
REST = {"bias": np.zeros((), np.float32), "none": np.zeros((0, 4), np.float32)}
MODEL = np.arange(7, dtype=np.float32)
VERDICT = Verdict(passed=True, test="mcnemar", p_value=0.5, worse=1, better=2, voters=4)
BINDING = Binding("grove", "run-1", 3, 1, "b" * 64, "c" * 64, "d" * 32)
HEAD = Checkpoint("phalanx/v1/log/grove/run-1", 10, "e" * 64, b"")


def approved(model: F32 = MODEL) -> Approved:
    return Approved(Candidate(model, model_digest(model), BINDING.model, BINDING), VERDICT)


def published(version: int = 4) -> Release:
    return publish(approved(), HEAD, version=version, previous=version - 1, layout=LAYOUT, entry=9, key=KEY)


def files_of(release: Release) -> tuple[bytes, bytes]:
    manifest, model = (data for _, data in sorted(release_files(release).items()))
    return model, manifest


def signed(body: object) -> bytes:
    return encode({"body": body, "signature": KEY.sign("release", encode(body))})


def test_a_release_opens_to_the_tensors_that_were_approved() -> None:
    assert sorted(release_files(published())) == ["releases/0004.json", "releases/0004.safetensors"]
    found = open_release(*files_of(published()), operator=KEY.public, federation="grove", at_least=0)
    assert (found.version, found.run, found.parameters) == (4, "run-1", model_digest(MODEL))
    assert list(found.tensors) == ["weight", "bias", "none"]
    assert found.tensors["weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found.tensors["bias"].shape == ()
    assert found.tensors["none"].shape == (0, 4)


def test_the_manifest_says_where_the_model_comes_from_and_which_entry_tells_of_it() -> None:
    release = published()
    assert json.loads(release.manifest) == {
        "base": "b" * 64,
        "config": "c" * 64,
        "entry": 9,
        "federation": "grove",
        "layout": LAYOUT.as_json(),
        "model": file_digest(release.model),
        "parameters": model_digest(MODEL),
        "round": 3,
        "run": "run-1",
        "version": 4,
    }


def test_the_initial_model_is_version_zero_and_comes_from_no_other() -> None:
    release = initial_release(
        MODEL, HEAD, federation="grove", run="run-1", config="c" * 64, layout=LAYOUT, entry=1, key=KEY
    )
    body = json.loads(release.manifest)
    assert (release.version, body["version"], body["round"], body["base"]) == (0, 0, 0, None)


@given(hnp.arrays(np.float32, 7, elements=st.floats(width=32, allow_nan=False)))
@settings(max_examples=50, deadline=None)
def test_the_same_model_always_gives_the_same_file_and_any_loader_reads_it(model: F32) -> None:
    data = to_safetensors(model, LAYOUT)
    assert data == to_safetensors(model[::-1].copy()[::-1], LAYOUT)  # another memory order, the same values
    tensors = load(data)
    flat = np.concatenate([tensors[t.name].reshape(-1) for t in LAYOUT.tensors])
    assert flat.tobytes() == model.tobytes()


@pytest.mark.parametrize("version", [3, 2, 0, -1])
def test_a_version_that_is_not_above_the_one_published_is_refused(version: int) -> None:
    with pytest.raises(RollbackError, match=f"version {version} is not above 3"):
        publish(approved(), HEAD, version=version, previous=3, layout=LAYOUT, entry=9, key=KEY)


@pytest.mark.parametrize("entry", [10, 11, -1])
def test_nothing_is_published_before_the_log_tells_of_it(entry: int) -> None:
    with pytest.raises(LogInconsistent, match=f"log entry {entry} is not under a checkpoint of 10 entries"):
        publish(approved(), HEAD, version=4, previous=3, layout=LAYOUT, entry=entry, key=KEY)


def test_a_model_changed_since_the_gate_is_not_signed() -> None:
    changed = replace(approved().candidate, model=MODEL + 1)
    with pytest.raises(IntegrityError, match="not the model"):
        publish(Approved(changed, VERDICT), HEAD, version=4, previous=3, layout=LAYOUT, entry=9, key=KEY)


def test_a_candidate_called_approved_that_did_not_pass_is_not_signed() -> None:
    refused = Approved(approved().candidate, replace(VERDICT, passed=False))
    with pytest.raises(IntegrityError, match="did not pass the gate"):
        publish(refused, HEAD, version=4, previous=3, layout=LAYOUT, entry=9, key=KEY)


def test_a_model_of_another_length_than_its_layout_is_a_programmers_error() -> None:
    with pytest.raises(ValueError, match=re.escape("has 7 parameters, the model has shape (8,)")):
        to_safetensors(np.zeros(8, np.float32), LAYOUT)


def test_any_flipped_bit_of_a_release_is_refused_by_whoever_loads_it() -> None:
    files = files_of(published())
    for which in (0, 1):
        for place in range(8 * len(files[which])):
            changed = [bytearray(data) for data in files]
            changed[which][place // 8] ^= 1 << (place % 8)
            with pytest.raises(IntegrityError):
                open_release(
                    bytes(changed[0]), bytes(changed[1]), operator=KEY.public, federation="grove", at_least=0
                )  # fmt: skip


def test_a_poisoned_model_beside_a_genuine_manifest_loads_only_where_nobody_verifies() -> None:
    poisoned = to_safetensors(MODEL * -1, LAYOUT)
    assert load(poisoned)["bias"] == -6  # the twin: safetensors alone opens it
    with pytest.raises(IntegrityError, match="the manifest has"):
        open_release(poisoned, files_of(published())[1], operator=KEY.public, federation="grove", at_least=0)


def test_a_release_of_another_operator_federation_or_an_older_one_is_refused() -> None:
    files = files_of(published())
    with pytest.raises(BadSignature):
        open_release(*files, operator=SigningKey.from_seed(b"x" * 32).public, federation="grove", at_least=0)
    with pytest.raises(IntegrityError, match="expected 'thicket'"):
        open_release(*files, operator=KEY.public, federation="thicket", at_least=0)
    with pytest.raises(RollbackError, match="version 4, version 5 was already accepted"):
        open_release(*files, operator=KEY.public, federation="grove", at_least=5)


@pytest.mark.parametrize("model", [
    b"", b"\xff" * 16, save({"weight": np.zeros((2, 3), np.float32)}),
    save(REST | {"weight": np.zeros((2, 3), np.int32)}), save(REST | {"weight": np.zeros((3, 2), np.float32)}),
    save(REST | {"weight": np.zeros((2, 3), np.float32), "more": np.zeros(1, np.float32)}),
])  # fmt: skip
def test_a_file_of_other_tensors_is_refused_even_when_signed_so(model: bytes) -> None:
    body = json.loads(published().manifest) | {"model": file_digest(model)}
    with pytest.raises(NotCanonical, match="the file"):
        open_release(model, signed(body), operator=KEY.public, federation="grove", at_least=0)


@pytest.mark.parametrize("layout", [
    None, 3, "abc", [], [["weight", [2, 3], "float32"]] * 3, [["weight"]], [[[], [], []]], {"weight": 1},
])  # fmt: skip
def test_a_layout_of_nonsense_is_refused_even_when_signed_so(layout: object) -> None:
    body = json.loads(published().manifest) | {"layout": layout}
    with pytest.raises(NotCanonical, match="the file"):
        open_release(published().model, signed(body), operator=KEY.public, federation="grove", at_least=0)


@pytest.mark.parametrize("body", [None, [], {}, {"version": 4}, "text", 7])
def test_a_manifest_of_nonsense_is_refused_even_when_signed_so(body: object) -> None:
    with pytest.raises(BadSignature, match="not with the fields of one"):
        open_release(published().model, signed(body), operator=KEY.public, federation="grove", at_least=0)


@pytest.mark.parametrize("manifest", [b"", b"{}", b"[]", b'{"body":{},"signature":7}', b"null"])
def test_a_file_that_is_no_manifest_is_refused(manifest: bytes) -> None:
    with pytest.raises(NotCanonical):
        open_release(published().model, manifest, operator=KEY.public, federation="grove", at_least=0)
