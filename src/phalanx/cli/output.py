"""What every command prints: people read stderr, machines one JSON envelope on stdout; errors become exit codes."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import typer
from rich.console import Console

from phalanx.errors import PhalanxError

SCHEMA_VERSION = "1"
PLAIN_WIDTH = 120  # of tables where there is no terminal to ask
INTERRUPTED, TERMINATED, BROKEN_PIPE, BUG = 130, 143, 141, 70
_STOPPED = "stopped where it was: what was durable by then stays"
_RESUME = "the same command goes on from here; `phalanx run` and `survey` with --resume"


class Format(StrEnum):
    """How results are printed."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Output:
    """One command's output."""

    format: Format
    people: Console

    def say(self, text: str = "") -> None:
        """A line for people, on stderr."""
        self.people.print(text, highlight=False, soft_wrap=True)

    def succeed(self, data: dict[str, Any]) -> None:
        """Prints the envelope of a command that did what it was asked."""
        self._envelope("ok", 0, {"data": data})

    def fail(
        self, exit_code: int, error_code: str, message: str, hint: str, data: dict[str, Any] | None = None
    ) -> NoReturn:
        """Says what happened and what to do, and ends with `exit_code`."""
        self._envelope(
            "error", exit_code, {"error_code": error_code, "message": message, "hint": hint, "data": data or {}}
        )
        self.people.print(f"[bold red]{error_code}[/]: ", end="", highlight=False)
        self.people.print(printable(message), markup=False, highlight=False, soft_wrap=True)
        if hint:
            self.people.print(f"  → {printable(hint)}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(exit_code)

    def _envelope(self, status: str, exit_code: int, rest: dict[str, Any]) -> None:
        if self.format is Format.JSON:
            head = {"schema_version": SCHEMA_VERSION, "status": status, "exit_code": exit_code}
            sys.stdout.write(json.dumps(head | rest, allow_nan=False) + "\n")
            sys.stdout.flush()


def run(output_format: Format, command: Callable[[Output], None]) -> None:
    """Runs a command; every failure is one sentence, a hint and an exit code, never a traceback without cause."""
    people = Console(stderr=True)
    if not people.is_terminal:
        people.width = PLAIN_WIDTH
    output = Output(output_format, people)
    signal.signal(signal.SIGTERM, _on_sigterm)
    try:
        command(output)
    except PhalanxError as error:
        output.fail(error.exit_code, type(error).__name__, error.message, error.hint)
    except KeyboardInterrupt:
        output.fail(INTERRUPTED, "Interrupted", _STOPPED, _RESUME)
    except _Terminated:
        output.fail(TERMINATED, "Terminated", _STOPPED, _RESUME)
    except BrokenPipeError:
        os._exit(BROKEN_PIPE)  # the reader of our output has gone: nobody is left to tell, and not all was done
    except typer.Exit:
        raise
    except Exception as error:
        if os.environ.get("PHALANX_TRACEBACK"):
            raise
        hint = "this is a bug in Phalanx: run again with PHALANX_TRACEBACK=1 and report what it prints"
        output.fail(BUG, "Bug", f"{type(error).__name__}: {error}", hint)


def printable(text: str) -> str:
    """`text` as one line without escape codes: somebody else may have written it."""
    return "".join(c if c.isprintable() else "?" for c in text.replace("\n", " "))


class _Terminated(BaseException):
    """SIGTERM arrived: stop where we are; what is durable is durable."""


def _on_sigterm(number: int, frame: FrameType | None) -> NoReturn:
    raise _Terminated


def program() -> str:
    """How this program was called, for commands that are shown to be typed again."""
    path = Path(sys.argv[0])
    if path.name != "phalanx":
        return "phalanx"
    return os.path.relpath(path) if os.sep in sys.argv[0] else "phalanx"
