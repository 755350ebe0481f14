"""`phalanx run` that a signal strikes at a chosen moment of round 2: python struck.py MOMENT SIGNAL run CONFIG …

The command line as users have it, but for a watch that raises the signal in this very process.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from phalanx.cli import main
from phalanx.engine import assemble
from phalanx.engine.inprocess import COORDINATOR, InProcess
from phalanx.federation import local
from phalanx.round.effects import Append, Charge, Effect, Keep, Publish
from phalanx.store import EffectKey

# Names of the journal's points (docs of the round): R2 updates, R5 charged, R6 aggregate kept, R9 logged, R8 published.
MOMENTS = {
    "after the updates are durable": ("performed", Append, COORDINATOR, "updates"),
    "after a member is charged": ("performed", Charge, "site-5", ""),
    "before the aggregate is kept": ("asked", Keep, COORDINATOR, ""),
    "after the decision is logged": ("asked", Publish, COORDINATOR, ""),
}


def main_struck(moment: str, number: int) -> None:
    """Runs the command line until the moment comes."""
    at, kind, party, entry = MOMENTS[moment]

    def watch(stage: str, key: EffectKey, effect: Effect[Any]) -> None:
        named = not entry or (isinstance(effect, Append) and effect.entries[0]["kind"] == entry)
        if (stage, key.party, key.round) == (at, party, 2) and isinstance(effect, kind) and named:
            os.kill(os.getpid(), number)

    def watched(*args: Any, **options: Any) -> InProcess:
        engine = assemble.assemble(*args, **options)
        engine.watch = watch
        return engine

    vars(local)["assemble"] = watched
    main()


if __name__ == "__main__":
    chosen, name = sys.argv[1:3]
    sys.argv[1:3] = []
    main_struck(chosen, signal.Signals[name])
