"""A run as JSON lines: one object for each event, appended to a file that other programs read while it grows.

Every object has `schema` ("phalanx/events/1"), `event`, `run` (the run's id) and `time` (RFC 3339, UTC). Then:

| event        | has                                                                                              |
|--------------|--------------------------------------------------------------------------------------------------|
| run.started  | federation, members (names), rounds (planned), rule, closed (rounds closed in earlier sessions), |
|              | privacy: null or {unit, epsilon (the budget), delta, noise_multiplier}                           |
| round.closed | round, attempt, version (the one that is released now), model (its hash), epsilon (spent so far, |
|              | null if none), accepted (names), refused: [{member, reason}],                                    |
|              | gate: {passed, test, p_value, worse, better, voters},                                            |
|              | accuracy: null where it is hidden, or {mean, worst, members} by the members' own ballots         |
| run.ended    | status ("finished", "stopped"), reason ("" or why), rounds (closed), version, epsilon,           |
|              | accuracy: {member: share}, baselines: null or {alone, plain, pooled: {member: share}},           |
|              | median_gain (null if not measured), terminal: true                                               |

Shares are 0 … 1. A number that is not finite is null. No message of a member, no key and no example is in it. The
accuracies of single members, in run.ended, are the lab's own. Names of events and fields stay; new ones may come.

A resumed run goes on in the same file: each round is there once, also one that was closed just before a crash. Several
runs may share a file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phalanx.errors import ConfigError
from phalanx.federation.callbacks import Callback, Started
from phalanx.federation.figures import accuracy_of
from phalanx.round.coordinator import RoundRecord

if TYPE_CHECKING:
    from phalanx.federation.result import Result

SCHEMA = "phalanx/events/1"


class JsonLines(Callback):
    """Appends the run's events to `path`. Raises ConfigError where it cannot be written: before the first round."""

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._run = ""

    def started(self, run: Started) -> None:
        """Writes what an earlier session left out, and run.started."""
        self._run = run.run
        written = self._mend()
        settings, mechanism = run.settings, run.settings.mechanism
        privacy = None
        if settings.privacy is not None and mechanism is not None:
            privacy = {
                "unit": settings.privacy.unit,
                "epsilon": mechanism.epsilon,
                "delta": mechanism.delta,
                "noise_multiplier": mechanism.noise_multiplier,
            }
        for record in run.closed:
            if record.round not in written:
                self.round_closed(record)
        self._write(
            "run.started",
            federation=settings.federation.name,
            members=run.members,
            rounds=settings.run.rounds,
            rule=str(settings.chain),
            closed=len(run.closed),
            privacy=privacy,
        )

    def round_closed(self, record: RoundRecord) -> None:
        """Writes round.closed."""
        verdict, accuracy = record.verdict, accuracy_of(record)
        self._write(
            "round.closed",
            round=record.round,
            attempt=record.attempt,
            version=record.version,
            model=record.model,
            epsilon=record.epsilon,
            accepted=record.accepted,
            refused=[{"member": one.member, "reason": str(one.reason)} for one in record.refused],
            gate={
                "passed": verdict.passed,
                "test": verdict.test,
                "p_value": verdict.p_value,
                "worse": verdict.worse,
                "better": verdict.better,
                "voters": verdict.voters,
            },
            accuracy=None
            if accuracy is None
            else {"mean": accuracy.mean, "worst": accuracy.worst, "members": accuracy.members},
        )

    def ended(self, result: Result) -> None:
        """Writes run.ended."""
        base = result.baselines
        self._write(
            "run.ended",
            status="stopped" if result.stopped else "finished",
            reason=result.stopped,
            rounds=len(result.records),
            version=result.version,
            epsilon=result.epsilon,
            accuracy=dict(result.accuracy),
            baselines=None
            if base is None
            else {"alone": dict(base.alone), "plain": dict(base.plain), "pooled": dict(base.pooled)},
            median_gain=result.median_gain(),
            terminal=True,
        )

    def _write(self, event: str, **fields: Any) -> None:
        head = {"schema": SCHEMA, "event": event, "run": self._run, "time": datetime.now(UTC).isoformat()}
        line = json.dumps(_finite(head | fields), allow_nan=False, ensure_ascii=False)
        try:
            with self._path.open("ab") as file:  # one write a line: a reader never sees half an event, but for a crash
                file.write(line.encode("utf-8") + b"\n")
        except OSError as error:
            raise ConfigError(f"cannot write {self._path}: {error.strerror}") from None

    def _mend(self) -> set[int]:
        """Cuts off a line that a crash left unfinished; the rounds of this run that are in the file."""
        try:
            data = self._path.read_bytes() if self._path.exists() else b""
            whole = data[: data.rfind(b"\n") + 1]
            if len(whole) < len(data):
                if not data[len(whole) :].startswith(_OURS[: len(data) - len(whole)]):
                    raise ConfigError(
                        f"{self._path} ends in an unfinished line that no run of ours began",
                        hint="name a file of its own for the events",
                    )
                with self._path.open("rb+") as file:
                    file.truncate(len(whole))
        except OSError as error:
            raise ConfigError(f"cannot read {self._path}: {error.strerror}") from None
        return {number for line in whole.splitlines() if (number := self._round_in(line)) is not None}

    def _round_in(self, line: bytes) -> int | None:
        """The number of a round of this run; None for anything else, and for a line that is not ours."""
        try:
            event = json.loads(line)
            ours = event["event"] == "round.closed" and event["run"] == self._run
            return int(event["round"]) if ours else None
        except (ValueError, KeyError, TypeError):
            return None


_OURS = b'{"schema": '  # how every line of ours begins


def _finite(value: Any) -> Any:
    """The value with null for numbers that JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
