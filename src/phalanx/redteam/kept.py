"""Outcomes that are there already: a line of JSON a cell, so that a stopped matrix goes on and nothing runs twice.

A line is found by its key, a hash of all that the outcome depends on: the program, the configuration, the members'
code, the attack's own and the cell. Of a line that a crash cut short nothing is kept.
"""

from __future__ import annotations

import json
from pathlib import Path

from phalanx.canonical import digest, encode
from phalanx.redteam.outcome import Outcome, outcome_of
from phalanx.store import Folder

NAME = "cells.jsonl"


class Kept:
    """The outcomes in one folder. Durable one by one."""

    def __init__(self, folder: Path) -> None:
        self._folder = Folder(folder, secret=False)
        self._outcomes: dict[str, Outcome] = {}
        held = self._folder.read(NAME) or b""
        whole = held[: held.rfind(b"\n") + 1]
        for line in whole.splitlines():
            one = json.loads(line)
            self._outcomes[one["key"]] = outcome_of(one["outcome"])
        if whole != held:
            self._folder.write(NAME, whole)
        self._size = len(whole)

    def get(self, key: str) -> Outcome | None:
        """The outcome, if that cell was played."""
        return self._outcomes.get(key)

    def add(self, key: str, outcome: Outcome) -> None:
        """Makes an outcome durable."""
        line = json.dumps({"key": key, "outcome": outcome.as_json()}, allow_nan=False, sort_keys=True).encode() + b"\n"
        self._folder.append(NAME, line, self._size)
        self._size += len(line)
        self._outcomes[key] = outcome


def key_of(*parts: object) -> str:
    """The hash under which an outcome is kept."""
    return digest("redteam-cell", encode([str(part) for part in parts]))


def program_digest() -> str:
    """The hash of this program's own files: with other code, everything is played again."""
    root = Path(__file__).parent.parent
    files = sorted(path for path in root.rglob("*") if path.suffix in (".py", ".c", ".h"))
    return digest("program", b"".join(str(path.relative_to(root)).encode() + path.read_bytes() for path in files))
