"""How many threads the numeric libraries of this process use."""

from __future__ import annotations

import sys


def use_threads(count: int) -> None:
    """Keeps this process's torch, where it is loaded, to `count` threads.

    One is fastest for small models, and members in one process share the cores anyway. The same number gives the same
    bytes. Raises ValueError below 1.
    """
    if count < 1:
        raise ValueError(f"expected at least 1 thread, got {count!r}")
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(count)
