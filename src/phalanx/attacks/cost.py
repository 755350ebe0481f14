"""What it costs to ask a model. Counted and not timed, so that what is cut short by it is the same on every machine."""

from __future__ import annotations

import numpy as np

from phalanx.learning.contract import Model, Tensors
from phalanx.learning.data import Array


def multiplications(model: Model, tensors: Tensors, x: Array) -> int:
    """For one example like those in `x` (n, …): the parameters, or what torch counts on its way through the module.

    A layer that looks at many places of an example multiplies each parameter as often.
    """
    parameters = sum(int(np.size(value)) for value in tensors.values())
    if model.module is None or model.logits is None:
        return parameters
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        model.logits(tensors, x[:1])
    return max(parameters, int(counter.get_total_flops()) // 2)
