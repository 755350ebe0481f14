"""Failures that say where: the file, or the entry of the log, that does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from phalanx.errors import IntegrityError, LogInconsistent


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Puts `where` before the message of an IntegrityError raised inside. Its class stays."""
    try:
        yield
    except IntegrityError as error:
        raise type(error)(f"{where}: {error.message}") from None


def require(holds: bool, otherwise: str) -> None:
    """Returns nothing; raises LogInconsistent with the sentence `otherwise` unless `holds`."""
    if not holds:
        raise LogInconsistent(otherwise)
