"""The auditor: everything that a run's public folder proves, offline, trusting nobody.

A second opinion. It shares with the code that writes the log only the forms: canonical JSON, signatures, the hashes of
the Merkle tree and the signed tree head. The grammar, the ε and the reading of files are its own.

Whoever holds the operator's key can sign a wholly different run. That this is the run of *that* operator follows only
from the fingerprint of the key, which has to come over another channel; without it a folder is at most self-consistent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from phalanx.audit.agreed import check_roster, open_config
from phalanx.audit.blame import naming, require
from phalanx.audit.checkpoint import log_origin, open_checkpoint
from phalanx.audit.federation import Federation, open_federation
from phalanx.audit.grammar import Folder, History, walk
from phalanx.audit.merkle import leaf_hash, root
from phalanx.audit.openings import open_openings
from phalanx.audit.published import Expected, check_release
from phalanx.canonical import digest
from phalanx.errors import BadSignature, LogInconsistent
from phalanx.signing import fingerprint, receipt_statement, verify
from phalanx.types import Checkpoint

FEDERATION, CONFIG, LOG, CHECKPOINT = "federation.json", "config.json", "log.jsonl", "checkpoint"
OPENINGS = "the openings"


@dataclass(frozen=True, slots=True)
class Verification:
    """What was proven. `rounds` were opened, `decided` by the gate, `passed` of these released.

    `epsilon` is recomputed from the log, exact, for the party that spent most (None: the run had no privacy plan);
    `epsilon_recorded` is the log's own. `selection` is the policy by which members were asked, `selection_proven`
    whether every cohort is the one that it names: while a run that draws goes on, its seed is secret, and this is
    False. `refused` counts answers that did not count, by (member, reason).

    `secret_rate` is the rate of cohorts that stay secret. `epsilon` is then the auditor's own upper bound, and who took
    part, signatures of updates, weights and the draw are checked only if `opened`, by the openings that were given.
    """

    federation: str
    run: str
    operator: str
    origin_established: bool
    entries: int
    rounds: int
    decided: int
    releases: int
    version: int
    model: str
    unit: str | None
    epsilon: float | None
    epsilon_recorded: float | None
    delta: float | None
    finished: bool
    stopped: str | None
    selection: str
    selection_proven: bool
    refused: tuple[tuple[str, str, int], ...]
    secret_rate: float | None = None
    opened: bool = False

    def lines(self) -> tuple[str, ...]:
        """The result for people, a sentence a line."""
        origin = "origin established: the operator's key is the trusted one"
        if not self.origin_established:
            origin = "self-consistent, origin not established: no fingerprint was given to compare the operator with"
        return (
            f"run {self.run} of federation {self.federation}, operator {self.operator}",
            origin,
            f"{self.entries} log entries, {self.rounds} rounds, {self.decided} decisions of the gate, {self.releases} "
            "releases: version 0, which nobody tried, and one for each candidate that passed",
            self._ending(),
            f"model: version {self.version}, {self.model}",
            self._selection(),
            self._privacy(),
            *(f"not counted: {member}, {reason}, {times} times" for member, reason, times in self.refused),
        )

    def _ending(self) -> str:
        if self.stopped is not None:  # the operator's words, on somebody else's terminal
            return "run stopped: " + "".join(c if c.isprintable() else "?" for c in self.stopped)
        return "run finished" if self.finished else "run not finished"

    def _selection(self) -> str:
        if self.selection == "all":
            return "selection: every admitted member was asked in every attempt"
        if self.secret_rate is not None and not self.opened:
            return (
                f"selection: {self.selection}, the cohorts are secret and no openings were given: who took part, the "
                "signatures of updates, the weights and the draw were not checked"
            )
        if self.secret_rate is not None:
            drawn = (
                "the committed seed gives every cohort" if self.selection_proven else "the draws are not checked yet"
            )
            return f"selection: {self.selection}, the secret cohorts were opened: {drawn}"
        found = (
            "the revealed seed gives every cohort" if self.selection_proven else "not checked, its seed is secret yet"
        )
        return f"selection: {self.selection}, {found}"

    def _privacy(self) -> str:
        if self.epsilon is None or self.epsilon_recorded is None:
            return "privacy: none was promised"
        spent = math.ceil(self.epsilon * 1000) / 1000
        if self.secret_rate is not None:
            return (
                f"privacy: ε ≤ {spent:.3f} by the auditor's own bound, {self.epsilon_recorded:g} recorded, at δ = "
                f"{self.delta:g}, unit: one {self.unit}, for whoever does not know who took part"
            )
        return (
            f"privacy: ε = {spent:.3f} recomputed, {self.epsilon_recorded:g} recorded, "
            f"at δ = {self.delta:g}, unit: one {self.unit}"
        )


def verify_run(files: Mapping[str, bytes], trust: str | None, openings: bytes | None = None) -> Verification:
    """What the public folder `files` (name to bytes) proves. `trust`: the operator's fingerprint, or None.

    `openings`: what opens the cohorts of a run that keeps them secret, if the auditor was handed it.
    Raises IntegrityError (one of its leaves), naming the file or the log entry, unless everything fits. With `trust`
    None all is checked but the one thing that only a fingerprint can establish, and the result says so.
    """
    for name in (FEDERATION, CONFIG, LOG, CHECKPOINT):
        require(name in files, f"{name}: missing")
    federation = _federation(files[FEDERATION], trust)
    with naming(CONFIG):
        agreed = open_config(files[CONFIG])
    with naming(FEDERATION):
        check_roster(agreed, federation)
    leaves = _leaves(files[LOG])
    head = _signed_head(files[CHECKPOINT], leaves, federation)  # cheap, and before any entry is parsed
    with naming(OPENINGS):
        secret = agreed.secret_rate is not None
        require(secret or openings is None, "were given, and this run has nothing sealed")
        opened = None if openings is None else open_openings(openings)
    folder = Folder(federation, digest("file", files[FEDERATION]), agreed, digest("config", files[CONFIG]), opened)
    history = walk(leaves, folder)
    expected = log_origin(federation.id, history.run)
    require(head.origin == expected, f"{CHECKPOINT}: of the log {head.origin!r}, expected {expected!r}")
    _check_releases(files, history)
    for signed in history.signatures:
        with naming(f"{LOG} entry {signed.index} ({signed.entry_kind}), {signed.member}"):
            public = federation.members[signed.member].public
            verify(public, signed.purpose, receipt_statement(signed.binding, signed.receipt), signed.signature)
    return _result(history, trust is not None)


def _federation(data: bytes, trust: str | None) -> Federation:
    with naming(FEDERATION):
        federation = open_federation(data)
        found = fingerprint(federation.operator)
        if trust is not None and found != trust:
            raise BadSignature(f"signed by operator {found}, the trusted one is {trust}")
    return federation


def _leaves(log: bytes) -> list[bytes]:
    *lines, rest = log.split(b"\n")
    require(rest == b"" and len(lines) > 0, f"{LOG}: is empty, or its last line does not end")
    return lines


def _signed_head(note: bytes, leaves: list[bytes], federation: Federation) -> Checkpoint:
    """The tree head that the operator signed over exactly `leaves`, of whichever log it says itself."""
    with naming(CHECKPOINT):
        head = open_checkpoint(note, note.partition(b"\n")[0].decode("utf-8", "replace"), federation.operator)
    require(head.size == len(leaves), f"{LOG}: has {len(leaves)} entries, the checkpoint was signed over {head.size}")
    found = root([leaf_hash(leaf) for leaf in leaves]).hex()
    require(found == head.root, f"{LOG}: is not the log of the checkpoint: its root is {found}, signed was {head.root}")
    return head


def _check_releases(files: Mapping[str, bytes], history: History) -> None:
    names = [f"releases/{release.version:04d}" for release in history.releases]
    expected = {FEDERATION, CONFIG, LOG, CHECKPOINT}
    expected.update(name + kind for name in names for kind in (".json", ".safetensors"))
    for name in sorted(files.keys() ^ expected):
        raise LogInconsistent(f"{name}: {'missing' if name in expected else 'not a file that this run has'}")
    folder = history.folder
    for name, release in zip(names, history.releases, strict=True):
        body = {
            "base": release.base,
            "config": folder.config,
            "entry": release.index,
            "federation": folder.federation.id,
            "model": release.file,
            "parameters": release.parameters,
            "round": release.round,
            "run": history.run,
            "version": release.version,
        }
        logged = Expected(folder.federation.operator, body)
        check_release(name, files[f"{name}.safetensors"], files[f"{name}.json"], logged)


def _result(history: History, origin_established: bool) -> Verification:
    federation, plan, last = history.folder.federation, history.plan, history.last
    rate, opened = history.folder.agreed.secret_rate, history.folder.openings is not None
    selection, ended = history.folder.agreed.selection.policy, history.last["kind"] in ("finished", "stopped")
    require(len(history.releases) > 0, f"{LOG}: ends before the initial model")
    return Verification(
        federation=federation.id,
        run=history.run,
        operator=fingerprint(federation.operator),
        origin_established=origin_established,
        entries=history.entries,
        rounds=history.opened.get("round", 0),
        decided=history.decided,
        releases=len(history.releases),
        version=history.releases[-1].version,
        model=history.releases[-1].parameters,
        unit=plan.get("unit"),
        epsilon=history.epsilon,
        epsilon_recorded=history.epsilon_recorded,
        delta=plan.get("delta"),
        finished=last["kind"] == "finished",
        stopped=last["reason"] if last["kind"] == "stopped" else None,
        selection=selection,
        selection_proven=selection == "all" or (ended and (rate is None or opened)),
        refused=tuple((member, reason, times) for (member, reason), times in sorted(history.refusals.items())),
        secret_rate=rate,
        opened=opened,
    )
