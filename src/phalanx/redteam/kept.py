"""Outcomes that are there already: a line of JSON a cell, so that a stopped matrix goes on and nothing runs twice.

A line is found by its key, a hash of all that the outcome depends on: the program, the configuration, the members'
code, the attack's own and the cell. Of a line that a crash cut short nothing is kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np

from phalanx.canonical import digest, encode
from phalanx.learning import MemberData
from phalanx.redteam.outcome import Cell, Outcome, outcome_of
from phalanx.store import Folder
from phalanx.types import MemberId

NAME = "cells.jsonl"


class Kept:
    """The outcomes in one folder, which only its owner may read: they hold what was rebuilt of members' examples.

    Durable one by one. `unread` are lines that are no outcome: they are played again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = Folder(folder, secret=True)
        self._outcomes: dict[str, Outcome] = {}
        self.unread = 0
        held = self._folder.read(NAME) or b""
        whole = held[: held.rfind(b"\n") + 1]
        for line in whole.splitlines():
            try:
                one = json.loads(line)
                self._outcomes[str(one["key"])] = outcome_of(one["outcome"])
            except (ValueError, TypeError, KeyError, IndexError, AttributeError):
                self.unread += 1
        if whole != held:
            self._folder.write(NAME, whole)
        self._size = len(whole)

    def get(self, key: str, cell: Cell) -> Outcome | None:
        """The outcome, if that cell was played."""
        held = self._outcomes.get(key)
        return held if held is not None and held.cell == cell else None

    def add(self, key: str, outcome: Outcome) -> None:
        """Makes an outcome durable."""
        line = json.dumps({"key": key, "outcome": outcome.as_json()}, allow_nan=False, sort_keys=True).encode() + b"\n"
        self._folder.append(NAME, line, self._size)
        self._size += len(line)
        self._outcomes[key] = outcome


def key_of(*parts: object) -> str:
    """The hash under which an outcome is kept."""
    return digest("redteam-cell", encode([str(part) for part in parts]))


def data_digest(sites: Mapping[MemberId, MemberData]) -> str:
    """The hash of all members' examples and of the libraries that compute with them."""
    parts = [f"{name} {version(name)}".encode() for name in ("numpy", "scipy")]
    for member, data in sorted(sites.items()):
        for array in (data.x_train, data.y_train, data.x_held, data.y_held):
            shown = repr(array.tolist()).encode() if array.dtype == object else np.ascontiguousarray(array).tobytes()
            parts += [member.encode(), str((array.dtype.str, array.shape)).encode(), shown]
    return digest("redteam-data", b"\n".join(parts))


def program_digest() -> str:
    """The hash of this program's own files: with other code, everything is played again."""
    root = Path(__file__).parent.parent
    files = sorted(path for path in root.rglob("*") if path.suffix in (".py", ".c", ".h"))
    return digest("program", b"".join(str(path.relative_to(root)).encode() + path.read_bytes() for path in files))
