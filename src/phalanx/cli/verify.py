"""`phalanx audit verify`: the offline auditor for people."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

from phalanx.audit import verify_run
from phalanx.cli.output import Output, printable
from phalanx.errors import ConfigError
from phalanx.store import read_public

NOT_ESTABLISHED = 1
_FINGERPRINT = re.compile(r"sha256:[0-9a-f]{64}")


def show_verification(folder: Path, trust: str | None, openings: Path | None, output: Output) -> None:
    """Prints what a run's public folder proves. Raises IntegrityError, naming the entry or file."""
    if trust is not None and not _FINGERPRINT.fullmatch(trust):
        raise ConfigError(
            f"--trust {printable(trust)[:80]!r} is not a fingerprint",
            hint="expected sha256: and 64 hexadecimal characters",
        )
    result = verify_run(read_public(folder), trust, None if openings is None else _read(openings))
    data = asdict(result)
    for line in result.lines():
        output.people.print(line, markup=False, highlight=False, soft_wrap=True)
    if not result.origin_established:
        output.fail(
            NOT_ESTABLISHED,
            "OriginNotEstablished",
            "self-consistent, origin not established",
            "pass --trust with the operator's fingerprint, from another channel than this folder",
            data,
        )
    output.say("[bold green]verified[/]")
    output.succeed(data)


def _read(path: Path) -> bytes:
    """Raises ConfigError for a file that cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
