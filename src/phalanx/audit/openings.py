"""What an auditor may be handed beside the public folder: the openings of log entries whose cohorts are secret.

The file is not believed. Each line opens the one entry whose commitment is the line's hash, so nobody can tell another
story of a round than the one that the log was committed to; whether that story is allowed, the grammar checks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from phalanx.audit.blame import naming, require
from phalanx.canonical import decode, digest
from phalanx.errors import LogInconsistent

_SECRET = re.compile(r"[0-9a-f]{64}")
_PLACE = ("kind", "round", "attempt")


@dataclass(frozen=True, slots=True)
class Openings:
    """The seed of all draws (hex), and what opens the log's entries, by commitment."""

    run: str
    seed: str
    entries: Mapping[str, Mapping[str, Any]]

    def open(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """The sealed `entry` as it would be without a seal. Raises LogInconsistent where no line here opens it."""
        opening = self.entries.get(entry["sealed"])
        if opening is None:
            raise LogInconsistent("no opening has the hash that the log is committed to")
        for name in _PLACE:
            require(opening[name] == entry[name], f"its opening is of {name} {opening[name]!r}")
        shown = {name: value for name, value in entry.items() if name != "sealed"}
        twice = sorted(shown.keys() & opening["fields"].keys())
        require(not twice, f"its opening tells {twice} a second time")
        return shown | dict(opening["fields"])


def open_openings(data: bytes) -> Openings:
    """The openings in `data`. Raises NotCanonical or LogInconsistent, naming the line, for anything else."""
    *lines, rest = data.split(b"\n")
    require(rest == b"" and len(lines) > 0, "is empty, or its last line does not end")
    with naming("line 1"):
        head = decode(lines[0])
        require(isinstance(head, dict) and head.keys() == {"run", "selection_seed"}, "expected run and selection_seed")
        require(isinstance(head["run"], str) and _is_secret(head["selection_seed"]), "run or seed is none")
    entries = {}
    for number, line in enumerate(lines[1:], start=2):
        with naming(f"line {number}"):
            entries[digest("sealed-entry", line)] = _opening(decode(line))
    return Openings(head["run"], head["selection_seed"], entries)


def _opening(value: Any) -> Mapping[str, Any]:
    shaped = isinstance(value, dict) and value.keys() == {*_PLACE, "fields", "salt"}
    require(shaped and isinstance(value["fields"], dict) and _is_secret(value["salt"]), "is no opening")
    return dict(value)


def _is_secret(value: Any) -> bool:
    return isinstance(value, str) and _SECRET.fullmatch(value) is not None
