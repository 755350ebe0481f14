"""A user's Python file, loaded and blamed by name: what it raises is about the user's function, with its line."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from phalanx.canonical import digest
from phalanx.errors import ConfigError, PhalanxError

_MODULE = "phalanx_member"  # the name under which a user's file is loaded


def load_module(path: Path) -> tuple[ModuleType, str]:
    """The user's module and the hash of its code. It runs with this user's rights: it is the user's own.

    Raises ConfigError if it cannot be read or raises.
    """
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read learning.module {path}: {error.strerror}") from None
    spec = importlib.util.spec_from_file_location(_MODULE, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"learning.module {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except PhalanxError:
        raise
    except Exception as error:
        raise ConfigError(f"learning.module {path} raised {type(error).__name__}{line_of(error)}: {error}") from error
    return module, digest("code", source)


@contextmanager
def users_code(name: str) -> Iterator[None]:
    """Whatever the user's function raises is about the user's function."""
    try:
        yield
    except PhalanxError:
        raise
    except Exception as error:
        raise ConfigError(f"{name} raised {type(error).__name__}{line_of(error)}: {error}") from error


def line_of(error: BaseException) -> str:
    """Where in the user's module an error arose, as " (member.py:33)", or "" if it did not arise there."""
    steps = [step for step in traceback.walk_tb(error.__traceback__) if step[0].f_globals.get("__name__") == _MODULE]
    return f" ({Path(steps[-1][0].f_code.co_filename).name}:{steps[-1][1]})" if steps else ""
