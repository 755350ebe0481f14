"""Where a run lies on the disk, and which privacy ledger it charges."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from phalanx.engine.assemble import Stores
from phalanx.entropy import system_entropy
from phalanx.errors import ConfigError, ConflictError
from phalanx.store import LedgerStore, RunStore

LEDGER = "phalanx-ledger.db"


def beside(root: Path) -> Path:
    """The ledger that all runs in the same folder as `root` share."""
    return root.resolve().with_name(LEDGER)


def check_folder(root: Path | None, resume: bool) -> None:
    """Raises ConfigError or ConflictError unless the folder is what starting, or resuming, needs."""
    if root is None:
        if resume:
            raise ConfigError("a run that was kept in memory cannot be resumed", hint="name the folder of the run")
        return
    started = (root / "state").exists()
    if resume and not started:
        raise ConfigError(f"there is no run to resume in {root}", hint="leave resume (--resume) out to start one")
    if started and not resume:
        raise ConflictError(
            f"{root} already holds a run", hint="add resume=True (--resume) to go on with it, or choose another folder"
        )


@contextmanager
def opened(root: Path | None, ledger: Path | None) -> Iterator[Stores]:
    """The stores of one run, closed in the end. None keeps them in memory. Raises ConflictError where they do not fit.

    A run remembers its ledger. With another one, a copied configuration's say, its charges would be forgotten.
    """
    with ExitStack() as stack:
        run = stack.enter_context(closing(RunStore(root, system_entropy)))
        stores = Stores(run, stack.enter_context(closing(LedgerStore(ledger))))
        ours = stores.ledger.identity(system_entropy)
        if run.secret("secrets/ledger", len(ours), lambda size: ours) != ours:
            raise ConflictError(
                "this run began with another privacy ledger than the one beside this configuration",
                hint="resume with the configuration, and in the folder, that the run was started from",
            )
        yield stores
