"""What lies on the disk, who may read it, and what happens when it is changed, taken back or full."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phalanx.config import Settings, parse
from phalanx.engine.inprocess import Edges, InProcess
from phalanx.entropy import system_entropy
from phalanx.errors import (
    ConfigError,
    ConflictError,
    IntegrityError,
    LogUnavailable,
    PhalanxError,
    RollbackError,
)
from phalanx.privacy import charge
from phalanx.round.effects import Draw, Effect, Keep, Now, Publish, Train
from phalanx.store import (
    INLINE_BYTES,
    EffectKey,
    Folder,
    LedgerStore,
    MemoryFolder,
    RunStore,
    read_public,
    write_file,
)
from phalanx.types import F32, Layout, Reason, Reservation, TensorSpec, Trained, TrainTask
from tests.engine import tiny

EXAMPLE = {"unit": "example", "epsilon": 50.0, "clip_l2": 1.0, "normaliser": 7, "noise_multiplier": 1.0}
MEAN = {"rule": "mean"}  # of three members: nobody's own update is what is released
PRIVATE = parse(tiny.tables(privacy=EXAMPLE, aggregation=MEAN))
CENTRAL = parse(
    tiny.tables(
        privacy={"unit": "member", "epsilon": 50.0, "noise_multiplier": 1.0},
        aggregation={"rule": "mean", "pre": ["norm-clip"], "clip_l2": 1.0},
    )
)
ONE_ROUND = parse(tiny.tables(privacy=EXAMPLE, aggregation=MEAN, run={"rounds": 1}))
KEY = EffectKey("coordinator", 1, 1, 0)


class Stop(BaseException):
    """The process ends here."""


def _finish(root: Path, settings: Settings = PRIVATE, seed: int = 0) -> dict[str, bytes]:
    """All that is public after the run has ended."""
    engine = tiny.engine(root, settings, seed=seed)
    try:
        engine.run(tiny.INITIAL)
        tiny.verified(engine)
        return read_public(root)
    finally:
        tiny.close(engine)


def _stop_at(
    root: Path, kind: type[Effect[Any]], number: int, stage: str = "performed", settings: Settings = PRIVATE
) -> None:
    """A run that ends when an effect of this kind was performed in this round, all before it durable."""
    engine = tiny.engine(root, settings)

    def watch(at: str, key: EffectKey, effect: Effect[Any]) -> None:
        engine.store.commit()
        if (at, key.round) == (stage, number) and isinstance(effect, kind):
            raise Stop

    engine.watch = watch
    with pytest.raises(Stop):
        engine.run(tiny.INITIAL)
    tiny.close(engine)


# ------------------------------------------------------------------------------------------------------- who may read


def test_secrets_are_the_operators_alone_and_what_is_public_is_readable(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        _stop_at(tmp_path / "run", Keep, 1)
    finally:
        os.umask(before)
    state, public = tmp_path / "run" / "state", tmp_path / "run" / "public"
    assert state.stat().st_mode & 0o777 == 0o700
    files = [path for path in state.rglob("*") if path.is_file()]
    assert len(files) > 8
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in public.rglob("*") if path.is_file()} == {0o644}
    assert (tmp_path / "ledger.db").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o701, 0o710, 0o740, 0o755])
def test_a_state_that_others_may_enter_is_refused(mode: int, tmp_path: Path) -> None:
    _finish(tmp_path / "run")
    (tmp_path / "run" / "state").chmod(mode)
    with pytest.raises(ConflictError, match="others may read it"):
        tiny.engine(tmp_path / "run", PRIVATE)


@pytest.mark.parametrize("name", ["lock", "state.db"])
def test_a_link_in_place_of_the_lock_or_the_database_is_refused(name: str, tmp_path: Path) -> None:
    state = tmp_path / "run" / "state"
    state.mkdir(parents=True, mode=0o700)
    (tmp_path / "elsewhere").write_bytes(b"somebody's")
    (state / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConflictError):
        RunStore(tmp_path / "run", system_entropy)
    assert (tmp_path / "elsewhere").read_bytes() == b"somebody's"


def test_a_link_in_place_of_the_ledger_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConflictError):
        LedgerStore(tmp_path / "ledger.db")
    assert not (tmp_path / "elsewhere").exists()


def test_a_link_where_a_file_is_about_to_be_written_is_not_followed(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "public", secret=False)
    (tmp_path / "elsewhere").write_bytes(b"somebody's")
    for name in (".checkpoint.tmp", "checkpoint", "log.jsonl"):
        (tmp_path / "public" / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LogUnavailable):
        folder.write("checkpoint", b"ours")
    with pytest.raises(LogUnavailable):
        folder.append("log.jsonl", b"ours", 10)
    assert (tmp_path / "elsewhere").read_bytes() == b"somebody's"


def test_a_run_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_bytes(b"")
    with pytest.raises(ConflictError):
        RunStore(tmp_path / "run", system_entropy)


OTHER_PROCESS = """
import sys
from pathlib import Path
from phalanx.entropy import system_entropy
from phalanx.errors import ConflictError
from phalanx.store import RunStore
try:
    RunStore(Path(sys.argv[1]), system_entropy)
except ConflictError as error:
    sys.exit(f"{error.exit_code} {error.message}")
"""


def test_a_second_process_on_the_same_state_is_kept_off_until_the_first_ends(memory_path: Path) -> None:
    store = RunStore(memory_path / "run", system_entropy)
    command = [sys.executable, "-c", OTHER_PROCESS, str(memory_path / "run")]
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert second.stderr.startswith("7 another process runs on")
    store.close()
    assert subprocess.run(command, check=False).returncode == 0


# -------------------------------------------------------------------------------------------------------- what is read


def test_no_update_no_momentum_no_salt_and_no_key_is_ever_on_the_disk_in_clear(memory_path: Path) -> None:
    """Searched for, at every effect, in all bytes of the folder: what members and coordinator must not let lie."""
    root, secrets, seen = memory_path / "run", dict[str, bytes](), 0

    class Spied(tiny.Pull):
        def train(self, model: F32, task: TrainTask, state: F32 | None) -> Trained:
            trained = super().train(model, task, state)
            number = f"{task.round} {len(secrets)}"
            secrets[f"delta {number}"], secrets[f"state {number}"] = trained.delta.tobytes(), trained.state.tobytes()
            secrets[f"noise {number}"] = task.noise_key
            return trained

    drawn: list[bytes] = []
    engine = tiny.engine(root, PRIVATE, {m: Spied(one.goal) for m, one in tiny.pulls().items()})
    real = engine.edges.draw

    def draw(name: str, size: int) -> bytes:
        drawn.append(real(name, size))
        return drawn[-1]

    engine.edges = Edges(engine.edges.clock, draw)

    def watch(stage: str, key: EffectKey, effect: Effect[Any]) -> None:
        nonlocal seen
        engine.store.commit()
        if isinstance(effect, Draw) and effect.purpose != "nonce" and stage == "performed":
            secrets[f"{effect.purpose} {key}"] = drawn[-1]
        _search(root, memory_path / "ledger.db", secrets)
        seen += 1

    engine.watch = watch
    engine.run(tiny.INITIAL)
    tiny.close(engine)
    _search(root, memory_path / "ledger.db", secrets)
    assert seen > 150
    assert {name.split()[0] for name in secrets} >= {"delta", "state", "noise", "ballot-salt", "round-key"}
    assert len(secrets) == 2 * (6 * 3 + 1)  # a round: three and three draws a member, and the round's key


def _search(root: Path, ledger: Path, secrets: dict[str, bytes]) -> None:
    paths = [path for path in root.rglob("*") if path.is_file()] + list(ledger.parent.glob("ledger.db*"))
    identities = {f"seed {path.name}": path.read_bytes() for path in (root / "state" / "secrets").iterdir()}
    for path in paths:
        data = path.read_bytes()
        for name, secret in (secrets | identities).items():
            own = path.parent.name == "secrets" and f"seed {path.name}" == name
            public = name == "seed run-id"  # drawn like a secret, and none
            found = secret in data or secret.hex().encode() in data
            assert own or public or not found, f"{name} lies in {path.name}"


def test_off_twin_the_same_search_finds_what_a_store_without_encryption_would_leave(
    memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phalanx.store._seal", lambda key, data, name, entropy: data)
    _stop_at(memory_path / "run", Keep, 1)
    delta = tiny.pulls()[tiny.MEMBERS[0]].train(tiny.INITIAL, TrainTask(1, None), None)
    with pytest.raises(AssertionError, match="shape lies in"):  # the answer to Train begins with this
        _search(memory_path / "run", memory_path / "ledger.db", {"shape": b"[7,%d]\n" % delta.delta.nbytes})


def test_the_keys_of_a_round_are_erased_when_it_closes_and_its_journal_is_gone(memory_path: Path) -> None:
    state = memory_path / "run" / "state"
    _stop_at(memory_path / "run", Publish, 1)
    assert sorted(path.name for path in (state / "keys").iterdir()) == ["1-1"]
    first = (state / "keys" / "1-1").read_bytes()
    _stop_at(memory_path / "run", Keep, 2)
    assert sorted(path.name for path in (state / "keys").iterdir()) == ["2-1"]
    assert (state / "keys" / "2-1").read_bytes() != first
    _finish(memory_path / "run")
    assert list((state / "keys").iterdir()) == []
    assert _rows(state, "select count(*) from journal") == [(0,)]


def test_keys_that_a_crash_kept_from_being_erased_are_erased_at_the_next_opening(memory_path: Path) -> None:
    _finish(memory_path / "run")
    (memory_path / "run" / "state" / "keys" / "2-1").write_bytes(bytes(32))
    RunStore(memory_path / "run", system_entropy).close()
    assert not (memory_path / "run" / "state" / "keys" / "2-1").exists()


def _rows(state: Path, query: str, *values: Any) -> list[Any]:
    database = sqlite3.connect(state / "state.db")
    try:
        with database:
            return database.execute(query, values).fetchall()
    finally:
        database.close()


def test_a_large_answer_is_a_file_of_its_own_named_by_its_hash_and_encrypted(memory_path: Path) -> None:
    store, answer = RunStore(memory_path / "run", system_entropy), os.urandom(32) * (INLINE_BYTES // 16)
    store.record(KEY, b"question", answer)
    store.commit()
    (blob,) = (memory_path / "run" / "state" / "blobs").iterdir()
    assert answer[:32] not in blob.read_bytes()
    assert store.recall(KEY) == (store.question_hash(KEY, b"question"), answer)
    store.close()


def test_a_large_update_goes_through_a_whole_run(memory_path: Path) -> None:
    layout = Layout((TensorSpec("weight", (20_000,), 0),))
    members = {m: tiny.Pull(np.full(layout.d, 1 + i, np.float32), layout) for i, m in enumerate(tiny.MEMBERS)}
    blobs = memory_path / "run" / "state" / "blobs"
    engine = tiny.engine(memory_path / "run", PRIVATE, members)
    most = 0

    def watch(stage: str, key: EffectKey, effect: Effect[Any]) -> None:
        nonlocal most
        most = max(most, len(list(blobs.glob("*"))))

    engine.watch = watch
    engine.run(np.zeros(layout.d, np.float32))
    tiny.verified(engine)
    tiny.close(engine)
    assert most >= 6  # what each member trained and sent
    assert list(blobs.iterdir()) == []


# ----------------------------------------------------------------------------------------------------- what was changed


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def test_a_large_answer_that_was_changed_or_removed_is_not_believed(memory_path: Path) -> None:
    store = RunStore(memory_path / "run", system_entropy)
    store.record(KEY, b"question", bytes(INLINE_BYTES))
    (blob,) = (memory_path / "run" / "state" / "blobs").iterdir()
    _flip(blob)
    with pytest.raises(IntegrityError, match="gone or was changed"):
        store.recall(KEY)
    blob.unlink()
    with pytest.raises(IntegrityError, match="gone or was changed"):
        store.recall(KEY)
    store.close()


CHANGES = {
    "an answer": "update journal set answer = zeroblob(length(answer)) where party = 'coordinator' and answer <> ''",
    "an answer's type": "update journal set answer = 'text' where party = 'coordinator' and answer <> ''",
    "an answer cut short": "update journal set answer = substr(answer, 1, 5) where party = 'coordinator'",
    "a question": "update journal set question = 'aa' where party = 'coordinator'",
    "two answers exchanged": "update journal set answer = (select answer from journal where party = 'coordinator' "
    "and idx = 1) where party = 'coordinator' and idx = 2",
    "the published log": "update log set leaf = cast(replace(cast(leaf as text), '\"m-0\"', '\"m-9\"') as blob)",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_row_of_the_state_that_was_changed_is_not_gone_on_from(change: str, memory_path: Path) -> None:
    _stop_at(memory_path / "run", Keep, 2)
    _rows(memory_path / "run" / "state", CHANGES[change])
    with pytest.raises(IntegrityError) as raised:
        _finish(memory_path / "run")
    assert raised.value.exit_code == 5


@pytest.mark.parametrize("change", ["replace(cast(outcome as text), 'finished', 'running')", "outcome || ' '", "7"])
def test_the_record_of_a_closed_attempt_that_was_changed_is_not_gone_on_from(change: str, memory_path: Path) -> None:
    _finish(memory_path / "run")
    _rows(memory_path / "run" / "state", f"update sealed set outcome = cast({change} as blob)")
    with pytest.raises(IntegrityError, match="record of a closed attempt was changed"):
        _finish(memory_path / "run")


def test_a_member_whose_own_state_was_changed_says_so_and_the_others_go_on(memory_path: Path) -> None:
    settings = parse(tiny.tables(privacy=EXAMPLE, aggregation=MEAN, gate={"f": 0}))
    _stop_at(memory_path / "run", Now, 2, settings=settings)
    _rows(memory_path / "run" / "state", "update member set state = zeroblob(length(state)) where id = 'm-1'")
    engine = tiny.engine(memory_path / "run", settings)
    engine.run(tiny.INITIAL)
    tiny.close(engine)
    (refusal,) = tiny.logged(engine, "cohort")[1]["refused"]
    assert (refusal["member"], refusal["reason"]) == ("m-1", Reason.DECLINED)
    assert refusal["detail"].startswith("m-1/1 does not open")


@pytest.mark.parametrize("where", [0, 5000])
def test_a_database_that_is_damaged_is_said_to_be(where: int, memory_path: Path) -> None:
    _finish(memory_path / "run")
    path = memory_path / "run" / "state" / "state.db"
    data = bytearray(path.read_bytes())
    data[where : where + 4000] = bytes(range(250)) * 16
    path.write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match="damaged"):
        _finish(memory_path / "run")


@pytest.mark.parametrize("change", [_flip, Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1])])
def test_a_model_of_the_state_that_was_changed_or_removed_is_not_gone_on_from(
    change: Callable[[Path], object], memory_path: Path
) -> None:
    _finish(memory_path / "run")
    (model,) = (memory_path / "run" / "state" / "models").iterdir()
    change(model)
    with pytest.raises(IntegrityError, match="model"):
        _finish(memory_path / "run")


@pytest.mark.parametrize("name", ["operator", "member-m-1", "run-id"])
def test_a_secret_that_is_gone_is_not_drawn_again(name: str, memory_path: Path) -> None:
    _finish(memory_path / "run")
    before = read_public(memory_path / "run")
    (memory_path / "run" / "state" / "secrets" / name).unlink()
    with pytest.raises(IntegrityError, match=f"secrets/{name} of a run that has begun is gone"):
        _finish(memory_path / "run")
    assert read_public(memory_path / "run") == before


def test_a_secret_of_another_length_is_refused(memory_path: Path) -> None:
    _finish(memory_path / "run")
    (memory_path / "run" / "state" / "secrets" / "operator").write_bytes(bytes(31))
    with pytest.raises(IntegrityError, match="31 bytes, expected 32"):
        _finish(memory_path / "run")


def test_a_charge_in_the_ledger_that_was_changed_is_not_added_up(memory_path: Path) -> None:
    ledger = LedgerStore(memory_path / "ledger.db")
    ledger.reserve(_reservation("a"), charge)
    ledger.close()
    for text in ("[]", "{", '{"key": "a"}'):
        database = sqlite3.connect(memory_path / "ledger.db")
        with database:
            database.execute("update charge set reservation = ?", (text,))
        database.close()
        again = LedgerStore(memory_path / "ledger.db")
        with pytest.raises(IntegrityError, match="a charge that is none"):
            again.reserve(_reservation("b"), charge)
        again.close()


def _reservation(key: str) -> Reservation:
    return Reservation(key, "data", "example", 2.0, 8.0, 1e-5)


def test_a_charge_that_is_refused_leaves_no_trace_and_the_ledger_open(memory_path: Path) -> None:
    ledger = LedgerStore(memory_path / "ledger.db")
    narrow = Reservation("big", "data", "example", 0.1, 8.0, 1e-5)
    with pytest.raises(PhalanxError):
        ledger.reserve(narrow, charge)
    assert ledger.reserve(_reservation("a"), charge).charges == 1
    ledger.close()


# ------------------------------------------------------------------------------------------------- what is public again


@pytest.mark.parametrize("cut", [1, 100, 3000])
def test_a_public_log_that_is_torn_is_made_whole(cut: int, memory_path: Path) -> None:
    whole = _finish(memory_path / "run")
    path = memory_path / "run" / "public" / "log.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    assert _finish(memory_path / "run") == whole


def test_a_public_log_whose_unsigned_end_was_never_written_is_made_whole(memory_path: Path) -> None:
    """After a power cut a file may have its new length and not its new bytes."""
    undisturbed = _finish(memory_path / "undisturbed")
    _stop_at(memory_path / "run", Publish, 1, stage="asked")
    path = memory_path / "run" / "public" / "log.jsonl"
    path.write_bytes(path.read_bytes() + bytes(500))
    assert _finish(memory_path / "run") == undisturbed


@pytest.mark.parametrize("name", ["checkpoint", "log.jsonl", "federation.json", "config.json"])
def test_a_public_file_that_was_deleted_is_there_again_after_resuming(name: str, memory_path: Path) -> None:
    whole = _finish(memory_path / "run")
    (memory_path / "run" / "public" / name).unlink()
    assert _finish(memory_path / "run") == whole


def test_what_a_crash_left_half_written_is_tidied_away(memory_path: Path) -> None:
    whole = _finish(memory_path / "run")
    for name in ("public/.log.jsonl.tmp", "public/releases/.0007.json.tmp", "state/.config.json.tmp"):
        (memory_path / "run" / name).write_bytes(b"half")
    assert _finish(memory_path / "run") == whole
    assert not list((memory_path / "run" / "state").rglob("*.tmp"))


def test_a_release_is_never_published_with_other_bytes(memory_path: Path) -> None:
    _stop_at(memory_path / "run", Publish, 1, stage="asked")
    path = memory_path / "run" / "public" / "releases" / "0001.safetensors"
    path.write_bytes(b"another model")
    with pytest.raises(ConflictError, match=r"releases/0001.safetensors was published before with other bytes"):
        _finish(memory_path / "run")
    assert path.read_bytes() == b"another model"


def test_somebody_who_writes_to_the_log_at_the_same_time_is_noticed(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "public", secret=False)
    folder.append("log.jsonl", b"one\n", 0)
    with pytest.raises(IntegrityError, match="another length"):
        folder.append("log.jsonl", b"two\n", 0)
    assert folder.read("log.jsonl") == b"one\n"


# -------------------------------------------------------------------------------------------------------- rolled back


@contextmanager
def _state_put_back(
    root: Path, *, at: type[Effect[Any]], number: int, settings: Settings = PRIVATE
) -> Iterator[dict[str, bytes]]:
    """A run that was finished after it was copied, with the copy's state in the place of its own."""
    _stop_at(root, at, number, settings=settings)
    shutil.copytree(root, root.with_name("copy"))
    published = _finish(root, settings)
    _put_back(root, "state")
    yield published


def _put_back(root: Path, folder: str) -> None:
    shutil.rmtree(root / folder)
    shutil.copytree(root.with_name("copy") / folder, root / folder)


@pytest.mark.parametrize("kind", [Keep, Publish, Train])
@pytest.mark.parametrize("number", [1, 2])
def test_an_older_copy_of_the_state_is_refused(kind: type[Effect[Any]], number: int, memory_path: Path) -> None:
    with _state_put_back(memory_path / "run", at=kind, number=number) as published:
        with pytest.raises(RollbackError, match=r"has \d+ entries and does not go on from .* has 19") as raised:
            tiny.engine(memory_path / "run", PRIVATE)
        assert raised.value.exit_code == 5
        assert "newest copy" in raised.value.hint
        assert read_public(memory_path / "run") == published


@pytest.mark.parametrize("gone", ["log.jsonl", "checkpoint"])
def test_an_older_copy_of_the_state_is_refused_also_where_one_public_file_is_gone(gone: str, memory_path: Path) -> None:
    with _state_put_back(memory_path / "run", at=Keep, number=1):
        (memory_path / "run" / "public" / gone).unlink()
        with pytest.raises(RollbackError):
            tiny.engine(memory_path / "run", PRIVATE)


@pytest.mark.parametrize(("settings", "charges"), [(PRIVATE, 9), (CENTRAL, 3)], ids=["example", "member"])
def test_off_twin_an_older_copy_of_everything_tells_a_second_history_that_verifies_but_pays_for_its_noise(
    settings: Settings, charges: int, memory_path: Path
) -> None:
    """What the check cannot see: only somebody who kept a checkpoint can. And the ledger, which is apart."""
    root = memory_path / "run"
    with _state_put_back(root, at=Now, number=2, settings=settings) as published:
        _put_back(root, "public")
        engine = tiny.engine(root, settings, seed=1)  # entropy does not repeat itself
        engine.run(tiny.INITIAL)
        tiny.verified(engine)
        tiny.close(engine)
    log = read_public(root)["log.jsonl"]
    assert log != published["log.jsonl"]
    assert log.count(b"\n") == published["log.jsonl"].count(b"\n")
    assert _charges(memory_path) == charges  # round 2 twice


def test_a_public_folder_of_another_run_is_refused(memory_path: Path) -> None:
    _finish(memory_path / "one")
    _finish(memory_path / "two", seed=1)
    shutil.rmtree(memory_path / "one" / "public")
    shutil.copytree(memory_path / "two" / "public", memory_path / "one" / "public")
    with pytest.raises(RollbackError):
        tiny.engine(memory_path / "one", PRIVATE)


def test_a_checkpoint_that_is_none_is_not_taken_for_an_empty_one(memory_path: Path) -> None:
    _finish(memory_path / "run")
    (memory_path / "run" / "public" / "checkpoint").write_bytes(b"nonsense")
    with pytest.raises(IntegrityError, match="not a checkpoint"):
        tiny.engine(memory_path / "run", PRIVATE)


# ---------------------------------------------------------------------------------------------------------- disk full


class Full:
    """Counts writes and refuses the n-th, and every one after it."""

    def __init__(self, n: int) -> None:
        self.n, self.count = n, 0

    def __call__(self, error: Exception) -> None:
        self.count += 1
        if self.count > self.n:
            raise error


class FullDatabase:
    """A connection whose disk is full."""

    def __init__(self, real: sqlite3.Connection, full: Full) -> None:
        self.real, self.full = real, full

    def execute(self, statement: str, *values: Any) -> Any:
        if statement.startswith(("begin", "insert", "delete", "commit")):
            self.full(sqlite3.OperationalError("database or disk is full"))
        return self.real.execute(statement, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


def _fill(monkeypatch: pytest.MonkeyPatch, engine: InProcess, full: Full) -> None:
    def refusing(real: Callable[..., Any], counts: Callable[..., bool]) -> Callable[..., Any]:
        def write(*args: Any, **kwargs: Any) -> Any:
            if counts(*args):
                full(OSError(28, "No space left on device"))
            return real(*args, **kwargs)

        return write

    monkeypatch.setattr(os, "open", refusing(os.open, lambda path, flags, *mode: bool(flags & os.O_CREAT)))
    monkeypatch.setattr(os, "fsync", refusing(os.fsync, lambda *args: True))
    monkeypatch.setattr(os, "replace", refusing(os.replace, lambda *args: True))
    monkeypatch.setattr(engine.store, "_database", FullDatabase(engine.store._database, full))
    monkeypatch.setattr(engine.ledger, "_database", FullDatabase(engine.ledger._database, full))


def test_a_disk_that_is_full_at_any_write_is_one_typed_error_and_resuming_loses_nothing(memory_path: Path) -> None:
    undisturbed = _finish(memory_path / "undisturbed", ONE_ROUND)
    failures, n = 0, 0
    while failures == n:  # until the disk holds a whole run
        place = memory_path / str(n)
        place.mkdir()
        engine = tiny.engine(place / "run", ONE_ROUND)
        with pytest.MonkeyPatch.context() as patched:
            _fill(patched, engine, Full(n))
            try:
                engine.run(tiny.INITIAL)
            except LogUnavailable:
                failures += 1
        tiny.close(engine)
        _nothing_beyond_the_log(place / "run", undisturbed)
        assert _finish(place / "run", ONE_ROUND) == undisturbed, f"full at write {n}"
        assert _charges(place) == 3
        shutil.rmtree(place)
        n += 1
    assert n > 150


def _nothing_beyond_the_log(root: Path, undisturbed: dict[str, bytes]) -> None:
    """Every public file is as in the undisturbed run, the log as far as it came, and each release is in that log."""
    public = read_public(root)
    log = public.pop("log.jsonl", b"")
    assert undisturbed["log.jsonl"].startswith(log.rpartition(b"\n")[0])
    public.pop("checkpoint", None)
    assert public.items() <= undisturbed.items()
    releases = [name for name in public if name.endswith(".safetensors")]
    assert len(releases) <= log.count(b'"kind":"release"')


def _charges(place: Path) -> int:
    database = sqlite3.connect(place / "ledger.db")
    (count,) = database.execute("select count(*) from charge").fetchone()
    database.close()
    return int(count)


def test_the_same_process_may_go_on_when_there_is_room_again(memory_path: Path) -> None:
    undisturbed = _finish(memory_path / "undisturbed")
    for n in range(0, 200, 11):
        place = memory_path / str(n)
        place.mkdir()
        engine = tiny.engine(place / "run", PRIVATE)
        with pytest.MonkeyPatch.context() as patched:
            _fill(patched, engine, Full(n))
            with pytest.raises(LogUnavailable):
                engine.run(tiny.INITIAL)
        engine.run(tiny.INITIAL)
        tiny.close(engine)
        assert read_public(place / "run") == undisturbed, f"full at write {n}"


@pytest.mark.parametrize("leaf", range(8))
def test_entries_that_are_appended_together_are_in_the_log_together_or_not_at_all(leaf: int, memory_path: Path) -> None:
    undisturbed, count = _finish(memory_path / "undisturbed"), 0

    class Once(FullDatabase):
        def execute(self, statement: str, *values: Any) -> Any:
            nonlocal count
            count += statement.startswith("insert into log")
            if count == leaf + 1 and statement.startswith("insert into log"):
                raise sqlite3.OperationalError("database or disk is full")
            return self.real.execute(statement, *values)

    engine = tiny.engine(memory_path / "run", PRIVATE)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(engine.store, "_database", Once(engine.store._database, Full(0)))
        with pytest.raises(LogUnavailable):
            engine.run(tiny.INITIAL)
    engine.run(tiny.INITIAL)
    tiny.close(engine)
    assert read_public(memory_path / "run") == undisturbed


def test_a_database_that_is_really_full_says_so_and_the_run_goes_on_later(memory_path: Path) -> None:
    undisturbed = _finish(memory_path / "undisturbed")
    engine = tiny.engine(memory_path / "run", PRIVATE)
    (pages,) = engine.store._database.execute("pragma page_count").fetchone()
    engine.store._database.execute(f"pragma max_page_count = {pages + 3}")
    with pytest.raises(LogUnavailable, match="disk is full"):
        engine.run(tiny.INITIAL)
    tiny.close(engine)
    assert _finish(memory_path / "run") == undisturbed


def test_a_full_disk_is_never_taken_for_a_members_refusal(memory_path: Path) -> None:
    engine = tiny.engine(memory_path / "run", PRIVATE)
    full = Full(10**6)

    def watch(stage: str, key: EffectKey, effect: Effect[Any]) -> None:
        if key.party == "m-1" and isinstance(effect, Train):
            full.n = 0

    engine.watch = watch
    with pytest.MonkeyPatch.context() as patched:
        _fill(patched, engine, full)
        with pytest.raises(LogUnavailable):
            engine.run(tiny.INITIAL)
    assert engine.member_errors == {}
    tiny.close(engine)


# --------------------------------------------------------------------------------------------------- files and folders


def test_the_folder_in_memory_behaves_like_the_one_on_the_disk(tmp_path: Path) -> None:
    real, memory = Folder(tmp_path / "real", secret=False), MemoryFolder()
    for folder in (real, memory):
        assert folder.read("a/b") is None
        folder.write("a/b", b"one")
        folder.write("a/b", b"two")
        folder.append("log", b"x", 0)
        folder.append("log", b"y", 1)
        folder.write("gone", b"")
        folder.erase(["gone", "never there"])
    assert real.names() == memory.names() == ["a/b", "log"]
    assert [real.read(name) for name in real.names()] == [memory.read(name) for name in memory.names()]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path / "public", secret=False)
    folder.write("checkpoint", b"old")

    def refuse(*args: Any) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", refuse)
        with pytest.raises(LogUnavailable, match="Input/output error"):
            folder.write("checkpoint", b"new")
    assert folder.read("checkpoint") == b"old"
    assert folder.names() == ["checkpoint"]


def test_a_file_is_synced_before_it_gets_its_name_and_the_name_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a power cut may take is what was not synced: with the name first, the file could have it and be empty."""
    folder, done, sync, replace = Folder(tmp_path / "public", secret=False), list[str](), os.fsync, os.replace

    def synced(descriptor: int) -> None:
        sync(descriptor)
        done.append("sync " + Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)

    def replaced(source: Path, target: Path) -> None:
        replace(source, target)
        done.append("rename " + source.name)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    folder.write("releases/1", b"model")
    assert done == ["sync public", "sync .1.tmp", "rename .1.tmp", "sync releases"]
    done.clear()
    folder.append("log.jsonl", b"entry", 0)
    assert done == ["sync log.jsonl"]
    done.clear()
    folder.erase(["releases/1"])
    assert done == ["sync releases"]


def test_nothing_is_published_and_no_model_kept_before_what_it_rests_on_is_committed(
    memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, written, real = tiny.engine(memory_path / "run", PRIVATE), list[str](), Folder.write

    def write(folder: Folder, name: str, data: bytes) -> None:
        if not name.startswith(("keys/", "blobs/")):  # these are what later rows rest on
            assert not engine.store._database.in_transaction, name
        written.append(name)
        real(folder, name, data)

    monkeypatch.setattr(Folder, "write", write)
    engine.run(tiny.INITIAL)
    assert {name.partition("/")[0] for name in written} == {
        "config.json", "federation.json", "checkpoint", "keys", "models", "releases"
    }  # fmt: skip
    tiny.close(engine)


def test_the_databases_write_through_to_the_disk_and_over_what_they_delete(memory_path: Path) -> None:
    engine = tiny.engine(memory_path / "run", PRIVATE)
    for database in (engine.store._database, engine.ledger._database):
        modes = [database.execute(f"pragma {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
        assert modes == ["wal", 2]  # 2 is FULL
        assert database.execute("pragma secure_delete").fetchone()[0] == 1
    tiny.close(engine)


def test_a_report_is_written_beside_other_files_and_touches_none_of_them(tmp_path: Path) -> None:
    (tmp_path / "mine.tmp").write_bytes(b"mine")
    write_file(tmp_path / "report.html", b"<html>")
    assert (tmp_path / "report.html").read_bytes() == b"<html>"
    assert (tmp_path / "mine.tmp").read_bytes() == b"mine"


def test_a_folder_that_is_not_there_has_no_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run at"):
        read_public(tmp_path / "nothing")


@pytest.mark.parametrize("kind", ["link", "folder link", "pipe"])
def test_a_public_folder_with_something_else_than_files_is_refused(kind: str, tmp_path: Path) -> None:
    (tmp_path / "public").mkdir()
    odd = tmp_path / "public" / "odd"
    if kind == "pipe":
        os.mkfifo(odd)
    else:
        odd.symlink_to("/dev/zero" if kind == "link" else tmp_path)
    with pytest.raises(IntegrityError, match="odd is not a plain file"):
        read_public(tmp_path)
