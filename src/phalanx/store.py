"""The only code that touches the disk.

    RUN/public/    what anybody may read and verify: roster, config, log, checkpoint, releases
    RUN/state/     secrets and the journal (0700, files 0600): state.db, keys/, blobs/, lock

SQLite in WAL mode with `synchronous=FULL`, and one rule: nothing leaves the database before what it rests on is
committed. Journal answers, member states and receipts wait in an open transaction; it is committed, all at once, before
a log entry counts as appended, before a file is written, and when a round is sealed. What a crash takes from the open
transaction was seen by nobody and is made again. The public log is a copy of the database's, brought up to date before
every publication. Files are written whole beside their place, synced, renamed, and their folder synced.

No member's update lies here in clear: journal answers are encrypted (AES-256-GCM) under the round's key, a file of its
own, erased when the round closes. Erasing unlinks the file; what the medium keeps of it is the medium's.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from phalanx.canonical import digest
from phalanx.entropy import KEY_BYTES, Entropy, expand
from phalanx.errors import ConfigError, ConflictError, IntegrityError, LogUnavailable, RollbackError
from phalanx.types import Receipt, Reservation

INLINE_BYTES = 64 << 10
MAX_PUBLIC_BYTES = 4 << 30
_PUBLIC_FILES = ("federation.json", "config.json", "log.jsonl", "checkpoint")
_RELEASE_NAME = re.compile(r"releases/[0-9]{4,9}\.(json|safetensors)")
_NONCE_BYTES = 12
_TEMPORARY = ".tmp"
_SCHEMA = """
create table if not exists journal(party text, round int, attempt int, idx int, question text, answer blob, blob text,
    primary key(party, round, attempt, idx)) without rowid;
create table if not exists log(idx integer primary key, key text, leaf blob);
create table if not exists sealed(id integer primary key, outcome blob, hash text);
create table if not exists member(id text, round int, state blob, primary key(id, round)) without rowid;
create table if not exists vote(member text, round int, attempt int, name text,
    primary key(member, round, attempt)) without rowid;
create table if not exists receipt(member text, round int, attempt int, receipt text,
    primary key(member, round, attempt, receipt)) without rowid;
create table if not exists opening(id integer primary key, opening blob unique);
"""
_OPENINGS = "openings.jsonl"
_ERASE_OLDER_STATES = """
delete from member where round < (select max(round) from member as later where later.id = member.id and round <= ?)
"""
_LEDGER_SCHEMA = """
create table if not exists identity(id text primary key);
create table if not exists charge(id integer primary key, key text unique, dataset text, reservation text);
"""


@dataclass(frozen=True, slots=True)
class EffectKey:
    """Names one effect of one party for ever: whatever is repeated under the same key happens once."""

    party: str
    round: int
    attempt: int
    index: int

    def __str__(self) -> str:
        return f"{self.party}/{self.round}/{self.attempt}/{self.index}"


# ------------------------------------------------------------------------------------------------------------- folders


class Folder:
    """Whole files under one folder, written so that a crash leaves the old or the new one."""

    def __init__(self, path: Path, *, secret: bool) -> None:
        self.path = path
        self._mode = 0o600 if secret else 0o644
        try:
            _make_folder(path, 0o700 if secret else 0o755)
            open_to_others = path.stat().st_mode & 0o077
        except OSError as error:
            raise ConflictError(f"{path} cannot be used: {error.strerror}") from None
        if secret and open_to_others:
            raise ConflictError(f"{path} holds secrets and others may read it", hint=f"chmod 700 {path}")

    def read(self, name: str) -> bytes | None:
        """The file's bytes, or None where there is none."""
        with _disk(), suppress(FileNotFoundError):
            return (self.path / name).read_bytes()
        return None

    def write(self, name: str, data: bytes) -> None:
        """Replaces the file, durably: temporary file, sync, rename, sync of the folder. Raises LogUnavailable."""
        target = self.path / name
        temporary = target.with_name(f".{target.name}{_TEMPORARY}")
        try:
            with _disk():
                _make_folder(target.parent, 0o755)
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, self._mode)
                _fill(descriptor, data)
                os.replace(temporary, target)
                _sync_folder(target.parent)
        except LogUnavailable:
            with suppress(OSError):  # gives its space back
                temporary.unlink()
            raise

    def append(self, name: str, data: bytes, at: int) -> None:
        """Adds bytes to a file that now has `at` bytes. Raises IntegrityError if it has another length."""
        with _disk():
            descriptor = os.open(self.path / name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, self._mode)
            if os.lseek(descriptor, 0, os.SEEK_END) != at:
                os.close(descriptor)
                raise IntegrityError(f"{name} has another length than the log: somebody else writes to it")
            _fill(descriptor, data)

    def erase(self, names: Sequence[str]) -> None:
        """Removes the files, durably."""
        with _disk():
            for name in names:
                (self.path / name).unlink(missing_ok=True)
            for folder in {(self.path / name).parent for name in names}:
                _sync_folder(folder)

    def tidy(self) -> None:
        """Removes what a crash left half written. Only for whoever is alone with the folder."""
        self.erase([name for name in self.names() if name.endswith(_TEMPORARY)])

    def names(self) -> list[str]:
        """Every file below, as a relative path."""
        return sorted(str(p.relative_to(self.path)) for p in self.path.rglob("*") if p.is_file() or p.is_symlink())


class MemoryFolder:
    """The same, kept in memory: for the comparison runs of the lab, which are made to be thrown away."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}

    def read(self, name: str) -> bytes | None:
        """The file's bytes, or None where there is none."""
        return self._files.get(name)

    def write(self, name: str, data: bytes) -> None:
        """Replaces the file."""
        self._files[name] = data

    def append(self, name: str, data: bytes, at: int) -> None:
        """Adds bytes to a file."""
        self._files[name] = self._files.get(name, b"") + data

    def erase(self, names: Sequence[str]) -> None:
        """Removes the files."""
        for name in names:
            self._files.pop(name, None)

    def names(self) -> list[str]:
        """Every file, sorted."""
        return sorted(self._files)


def _fill(descriptor: int, data: bytes) -> None:
    """Writes and syncs all of `data`, and closes the file."""
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _make_folder(path: Path, mode: int) -> None:
    """The folder and those that it lies in, each durable in its parent."""
    if path.is_dir():
        return
    _make_folder(path.parent, 0o755)
    path.mkdir(mode=mode, exist_ok=True)
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _connect(path: Path | None, schema: str) -> sqlite3.Connection:
    """An open database; in memory without a path. Raises ConflictError for one that cannot be used."""
    try:
        if path is not None:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        database = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False, timeout=30)
        database.execute("pragma journal_mode=wal")
        database.execute("pragma synchronous=full")
        database.execute("pragma secure_delete=on")
        database.executescript(schema)
    except (OSError, sqlite3.OperationalError) as error:
        raise ConflictError(f"cannot open the state {path}: {error}") from None
    except sqlite3.DatabaseError as error:
        raise IntegrityError(f"the state {path} is damaged: {error}") from None
    return database


@contextmanager
def _disk() -> Iterator[None]:
    """What a disk or a database raises, as our own: full or failing is one thing, damaged another."""
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        raise LogUnavailable(f"the disk refuses: {error}", hint="free or mend it, then resume") from None
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.ProgrammingError):  # a store that was closed already
            raise
        raise IntegrityError(f"the state is damaged: {error}") from None


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All of the block or nothing of it, and the only writer meanwhile. Raises LogUnavailable."""
    with _disk():
        database.execute("begin immediate")
        try:
            yield
            database.execute("commit")
        except BaseException:
            with suppress(sqlite3.Error):  # a full disk has rolled back already
                database.execute("rollback")
            raise


# ------------------------------------------------------------------------------------------------------------- ledger


class LedgerStore:
    """Privacy charges, kept by dataset and apart from any run: a new run on the same data finds the old charges."""

    def __init__(self, path: Path | None) -> None:
        self._database = _connect(path, _LEDGER_SCHEMA)

    def identity(self, entropy: Entropy) -> bytes:
        """What tells this ledger from every other, drawn once: a run goes on with the ledger that it began with."""
        with _transaction(self._database):
            self._database.execute(
                "insert into identity select ? where not exists (select * from identity)", (entropy(16).hex(),)
            )
            row = self._database.execute("select id from identity").fetchone()
        return bytes.fromhex(row[0])

    def reserve(self, new: Reservation, charge: Callable[[Sequence[Reservation], Reservation], Receipt]) -> Receipt:
        """Runs `charge` on the dataset's history and makes the new charge durable, in one transaction."""
        with _transaction(self._database):
            rows = self._database.execute(
                "select reservation from charge where dataset = ? or key = ? order by id", (new.dataset, new.key)
            )
            history = [_reservation(row[0]) for row in rows]
            receipt = charge(history, new)
            self._database.execute(
                "insert or ignore into charge(key, dataset, reservation) values (?, ?, ?)",
                (new.key, new.dataset, json.dumps(asdict(new))),
            )
        return receipt

    def close(self) -> None:
        """Closes the database."""
        self._database.close()


def _reservation(text: str) -> Reservation:
    try:
        return Reservation(**json.loads(text))
    except (ValueError, TypeError) as error:
        raise IntegrityError(f"the ledger holds a charge that is none: {error}") from None


# ---------------------------------------------------------------------------------------------------------------- run


class RunStore:
    """Everything durable of one run. `root` None keeps it in memory."""

    def __init__(self, root: Path | None, entropy: Entropy) -> None:
        self._entropy = entropy
        self._keys: dict[tuple[int, int], bytes] = {}
        self._lock: int | None = None
        self.public: Folder | MemoryFolder = MemoryFolder()
        self._state: Folder | MemoryFolder = MemoryFolder()
        if root is None:
            self._database = _connect(None, _SCHEMA)
        else:
            self._open(root)
        self._copied = len(self.public.read("log.jsonl") or b"")

    def _open(self, root: Path) -> None:
        """Raises ConflictError, RollbackError, or IntegrityError for a state that cannot be gone on from."""
        self._state = state = Folder(root / "state", secret=True)
        self._lock = _lock(root / "state" / "lock")
        try:
            self.public = public = Folder(root / "public", secret=False)
            self._database = _connect(root / "state" / "state.db", _SCHEMA)
            try:
                self._check_history()
                state.tidy()
                public.tidy()
                if not self._rows("select 1 from journal limit 1"):  # a crash came between a seal and its end
                    state.erase([name for name in state.names() if name.startswith(("keys/", "blobs/"))])
            except BaseException:
                self._database.close()
                raise
        except BaseException:
            os.close(self._lock)
            raise

    def _check_history(self) -> None:
        """Raises RollbackError unless the database's log goes on from the public one, as far as that was signed.

        The database is written first, so it is behind only if an old copy of it was put back. What the public log has
        past its checkpoint may be torn.
        """
        ours, public = self.leaves(), (self.public.read("log.jsonl") or b"").split(b"\n")[:-1]
        signed = _signed_size(self.public.read("checkpoint"))
        known = max(signed, len(public))
        if known > len(ours) or public[:signed] != ours[: min(signed, len(public))]:
            raise RollbackError(
                f"the state's log has {len(ours)} entries and does not go on from the published one, which has {known}",
                hint="put the newest copy of the state back; going on from this one would tell a second history",
            )

    def close(self) -> None:
        """Closes the database, without what was not committed, and lets another process in."""
        self._database.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # -- the open transaction

    def commit(self) -> None:
        """Makes durable all that was recorded until now. Raises LogUnavailable if the disk refuses."""
        if self._database.in_transaction:
            self._execute("commit", ())

    def _write(self, statement: str, values: Sequence[Any]) -> None:
        if not self._database.in_transaction:
            self._execute("begin immediate", ())
        self._execute(statement, values)

    def _execute(self, statement: str, values: Sequence[Any]) -> None:
        """One step of the open transaction. If it fails, all of the transaction is gone, as after a crash."""
        with _disk():
            try:
                self._database.execute(statement, values)
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk has rolled back already
                    self._database.execute("rollback")
                raise

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with _disk():
            return self._database.execute(query, values).fetchall()

    def _row(self, query: str, values: Sequence[Any] = ()) -> Any:
        return next(iter(self._rows(query, values)), None)

    # -- the journal

    def recall(self, key: EffectKey) -> tuple[str, bytes] | None:
        """The question's hash and the answer that the journal holds under `key`, or None."""
        row = self._row(
            "select question, answer, blob from journal where party = ? and round = ? and attempt = ? and idx = ?",
            (key.party, key.round, key.attempt, key.index),
        )
        if row is None:
            return None
        sealed = row[1] if row[2] is None else self._state.read(f"blobs/{row[2]}")
        if sealed is None or (row[2] is not None and digest("blob", sealed) != row[2]):
            raise IntegrityError(f"the journal's answer {key} is gone or was changed")
        return row[0], _unseal(self._party_key(key), sealed, str(key))

    def record(self, key: EffectKey, question: bytes, answer: bytes) -> None:
        """Keeps an answer, encrypted under the round's key; a large one as a file of its own, written first."""
        sealed: bytes | None = _seal(self._party_key(key), answer, str(key), self._entropy)
        blob = None
        if sealed is not None and len(sealed) > INLINE_BYTES:
            blob = digest("blob", sealed)
            self._state.write(f"blobs/{blob}", sealed)
            sealed = None
        place = (key.party, key.round, key.attempt, key.index)
        values = (*place, self.question_hash(key, question), sealed, blob)
        self._write("insert into journal values (?, ?, ?, ?, ?, ?, ?)", values)

    def question_hash(self, key: EffectKey, question: bytes) -> str:
        """A keyed hash: whoever reads the journal learns nothing about what was asked."""
        return digest("question", self._round_key(key.round, key.attempt) + question)

    def _round_key(self, number: int, attempt: int) -> bytes:
        """The key of one attempt's journal: a file outside the database, erased when the round closes."""
        if (number, attempt) not in self._keys:
            self._keys[number, attempt] = self._drawn(f"keys/{number}-{attempt}", KEY_BYTES, self._entropy)
        return self._keys[number, attempt]

    def _party_key(self, key: EffectKey) -> AESGCM:
        return AESGCM(expand(self._round_key(key.round, key.attempt), f"journal/{key.party}", KEY_BYTES))

    # -- what opens sealed log entries

    def keep_opening(self, opening: bytes) -> None:
        """Keeps an opening, once. It is durable before the log entry is that it opens."""
        self._write("insert or ignore into opening(opening) values (?)", (opening,))

    def write_openings(self, head: bytes) -> None:
        """Writes state/openings.jsonl: the line `head` and every opening, for an auditor to be handed."""
        lines = [head, *(row[0] for row in self._rows("select opening from opening order by id"))]
        self._state.write(_OPENINGS, b"".join(line + b"\n" for line in lines))

    def openings(self) -> bytes | None:
        """What `write_openings` wrote, or None."""
        return self._state.read(_OPENINGS)

    # -- sealed attempts

    def seal(self, number: int, outcome: bytes, *, keep: Iterable[str], forget: int | None = None) -> None:
        """Ends an attempt; `number` is the last closed round. Its outcome is durable, its journal and keys are gone.

        Of the models only those to `keep` stay, and of each member's states its last one, from whichever round: not
        everybody takes part in every round. What members kept in the round to `forget` goes: one whose candidate was
        refused. A crash inside leaves files that nothing refers to; the next seal erases them.
        """
        self._write("insert into sealed(outcome, hash) values (?, ?)", (outcome, digest("outcome", outcome)))
        self._write("delete from journal", ())
        self._write("delete from vote where round <= ?", (number,))  # a closed round is not answered again
        self._write("delete from member where round = ?", (forget,))
        self._write(_ERASE_OLDER_STATES, (number,))
        self.commit()
        self._keys.clear()
        kept = {f"models/{name}" for name in keep}
        gone = [n for n in self._state.names() if n.startswith(("keys/", "blobs/", "models/")) and n not in kept]
        self._state.erase(gone)

    def last_sealed(self) -> bytes | None:
        """The outcome of the last attempt that was sealed."""
        held = self.outcomes()
        return held[-1] if held else None

    def outcomes(self) -> list[bytes]:
        """Outcomes of all sealed attempts, in order. Raises IntegrityError for one that was changed."""
        rows = self._rows("select outcome, hash from sealed order by id")
        for outcome, name in rows:
            if not isinstance(outcome, bytes) or digest("outcome", outcome) != name:
                raise IntegrityError("the state's record of a closed attempt was changed")
        return [outcome for outcome, _ in rows]

    # -- models

    def keep_model(self, name: str, data: bytes) -> None:
        """Makes a model durable under its hash."""
        if self._state.read(f"models/{name}") != data:
            self.commit()
            self._state.write(f"models/{name}", data)

    def model(self, name: str) -> bytes:
        """The model of that hash. Raises IntegrityError if it is not here."""
        held = self._state.read(f"models/{name}")
        if held is None:
            raise IntegrityError(f"the state lacks model {name}")
        return held

    # -- members

    def member_state(self, member: str, number: int, key: bytes) -> bytes | None:
        """What `member` kept at the end of the last round before `number`, decrypted under its own key."""
        row = self._row(
            "select state, round from member where id = ? and round < ? order by round desc limit 1", (member, number)
        )
        return None if row is None else _unseal(AESGCM(key), row[0], f"{member}/{row[1]}")

    def keep_member_state(self, member: str, number: int, key: bytes, state: bytes) -> None:
        """Keeps a member's own state after round `number`, encrypted under its own key."""
        sealed = _seal(AESGCM(key), state, f"{member}/{number}", self._entropy)
        self._write("insert or replace into member values (?, ?, ?)", (member, number, sealed))

    def first_vote(self, member: str, number: int, attempt: int, name: str) -> str:
        """The order by which `member` votes in this attempt: this one, unless it did by another before."""
        self._write("insert or ignore into vote values (?, ?, ?, ?)", (member, number, attempt, name))
        query = "select name from vote where member = ? and round = ? and attempt = ?"
        return str(self._row(query, (member, number, attempt))[0])

    def keep_receipt(self, member: str, number: int, attempt: int, receipt: str) -> None:
        """The member's copy of a receipt, committed together with the answer that it is for."""
        self._write("insert or ignore into receipt values (?, ?, ?, ?)", (member, number, attempt, receipt))

    def receipts(self, member: str) -> list[tuple[int, int, str]]:
        """All receipts of a member: (round, attempt, receipt)."""
        rows = self._rows("select round, attempt, receipt from receipt where member = ?", (member,))
        return sorted((int(r), int(a), str(t)) for r, a, t in rows)

    # -- the log

    def leaves(self, first: int = 0) -> list[bytes]:
        """Log entries from index `first` on, in order."""
        return [row[0] for row in self._rows("select leaf from log where idx >= ? order by idx", (first,))]

    def appended(self, key: EffectKey) -> int | None:
        """How long the log was after the append of `key`, or None if that never happened."""
        row = self._row("select max(idx) from log where key = ?", (str(key),))
        return None if row[0] is None else int(row[0]) + 1

    def append_log(self, key: EffectKey, first: int, leaves: Sequence[bytes]) -> None:
        """Makes leaves durable from index `first` on, with everything recorded before. Raises LogUnavailable."""
        for index, leaf in enumerate(leaves, first):
            self._write("insert into log values (?, ?, ?)", (index, str(key), leaf))
        self.commit()

    def publish(self, files: Mapping[str, bytes], checkpoint: bytes) -> None:
        """Log copy, checkpoint, then `files`, durably in this order. Raises LogUnavailable or ConflictError.

        A name that is published already keeps its bytes; other bytes under it are refused.
        """
        self.commit()
        self._copy_log()
        self.public.write("checkpoint", checkpoint)
        for name, data in files.items():
            held = self.public.read(name)
            if held is not None and held != data:
                raise ConflictError(f"{name} was published before with other bytes")
            if held is None:
                self.public.write(name, data)

    def _copy_log(self) -> None:
        """The public log made equal to the database's. The copy is append-only; a torn tail is written again."""
        whole = b"".join(leaf + b"\n" for leaf in self.leaves())
        held = self.public.read("log.jsonl") or b""
        if len(held) == self._copied and whole.startswith(held):
            self.public.append("log.jsonl", whole[len(held) :], len(held))
        else:
            self.public.write("log.jsonl", whole)
        self._copied = len(whole)

    # -- what the run is made with

    def adopt(self, config: bytes) -> None:
        """Keeps what the run is configured to be. Raises ConflictError if it was begun as something else."""
        held = self._state.read("config.json")
        if held is None:
            self._state.write("config.json", config)
        elif held != config:
            raise ConflictError(
                "the run was begun with another configuration or other code",
                hint="put them back as they were to go on with it, or begin a new run in another folder",
            )

    def secret(self, name: str, size: int, entropy: Entropy) -> bytes:
        """A secret, drawn before the run begins and kept in a file of its own. IntegrityError if it is gone since."""
        if self._state.read(name) is None and self._rows("select 1 from log limit 1"):
            raise IntegrityError(f"the secret {name} of a run that has begun is gone")
        return self._drawn(name, size, entropy)

    def _drawn(self, name: str, size: int, entropy: Entropy) -> bytes:
        held = self._state.read(name)
        if held is None:
            held = entropy(size)
            self._state.write(name, held)
        if len(held) != size:
            raise IntegrityError(f"the secret {name} has {len(held)} bytes, expected {size}")
        return held


def read_public(root: Path) -> dict[str, bytes]:
    """Every file of a public folder by its name; `root` is the folder, or the run's folder around it.

    Nothing is read before every name was found to be one that a run has. Raises IntegrityError for any other name, a
    link, which could point anywhere, or a file larger than a model may be; ConfigError where there is no folder.
    """
    around = (root / "public").is_dir() and not any((root / name).exists() for name in _PUBLIC_FILES)
    folder = root / "public" if around else root
    if not folder.is_dir() or folder.is_symlink():
        raise ConfigError(f"no run at {root}", hint="name a run's folder, or its public folder")
    paths = [path for path in folder.iterdir() if path.name != "releases"]
    releases = folder / "releases"
    if releases.is_symlink():
        raise IntegrityError("releases is not a plain folder")
    if releases.is_dir():
        paths += releases.iterdir()
    for path in paths:
        _check_public(path, str(path.relative_to(folder)))
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths)}


def _check_public(path: Path, name: str) -> None:
    shown = name if name.isprintable() else repr(name)
    if path.is_symlink() or not path.is_file():
        raise IntegrityError(f"{shown} is not a plain file")
    if name not in _PUBLIC_FILES and not _RELEASE_NAME.fullmatch(name):
        raise IntegrityError(f"{shown} is not a file that a run has")
    if path.stat().st_size > MAX_PUBLIC_BYTES:
        raise IntegrityError(f"{name} has {path.stat().st_size} bytes, the limit is {MAX_PUBLIC_BYTES}")


def write_file(path: Path, data: bytes) -> None:
    """A report or result for people, replaced whole."""
    Folder(path.parent, secret=False).write(path.name, data)


def _lock(path: Path) -> int:
    """The lock that keeps a second coordinator off the same state. Raises ConflictError."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ConflictError(f"{path} cannot be used: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise ConflictError(f"another process runs on {path.parent}", hint="wait for it or end it") from None
    return descriptor


def _signed_size(checkpoint: bytes | None) -> int:
    """How many entries a published checkpoint covers: its second line. 0 where there is none."""
    if checkpoint is None:
        return 0
    try:
        return int(checkpoint.split(b"\n")[1])
    except (IndexError, ValueError):
        raise IntegrityError("checkpoint: what was published is not a checkpoint") from None


def _seal(key: AESGCM, data: bytes, name: str, entropy: Entropy) -> bytes:
    nonce = entropy(_NONCE_BYTES)
    return nonce + key.encrypt(nonce, data, name.encode())


def _unseal(key: AESGCM, sealed: bytes, name: str) -> bytes:
    try:
        return key.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], name.encode())
    except (InvalidTag, ValueError, TypeError):  # changed, too short, or not bytes at all
        raise IntegrityError(f"{name} does not open: it was changed, or its key is gone") from None
