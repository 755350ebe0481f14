"""How a torch model's confidence rises with its inputs, for model inversion. Needs the `torch` extra."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

from phalanx.attacks.model_inversion import Slopes
from phalanx.learning.data import Array
from phalanx.types import F32, F64


def slopes_of(module: nn.Module, tensors: Mapping[str, F32], original: Callable[[F64], Array], width: F32) -> Slopes:
    """The slope of each class's log confidence. `original` gives inputs (n, …) of rows 0 … 1, `width` is its factor."""
    device = next(module.parameters()).device
    put = {name: torch.tensor(value, device=device) for name, value in tensors.items()}

    def slopes(here: F64) -> F64:
        inputs = torch.tensor(np.asarray(original(here), np.float32), device=device).requires_grad_()
        confidence = torch.log_softmax(functional_call(module, put, (inputs,)), dim=1)
        (found,) = torch.autograd.grad(confidence.diagonal().sum(), inputs)
        return found.cpu().numpy().reshape(here.shape).astype(np.float64) * width

    return slopes
