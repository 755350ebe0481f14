"""How many threads the numeric libraries of this process use. Needs the `torch` extra."""

from __future__ import annotations

import torch


def use_threads(count: int) -> None:
    """Keeps this process's torch to `count` threads. One is fastest for small models, and parties share the cores.

    The same number gives the same bytes. Raises ValueError below 1.
    """
    if count < 1:
        raise ValueError(f"torch needs at least 1 thread, got {count!r}")
    torch.set_num_threads(count)
