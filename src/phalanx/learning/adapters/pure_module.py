"""A torch module as pure functions of its named tensors, for grad and vmap. Needs the `torch` extra."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from phalanx.errors import ConfigError

Make = Callable[[], nn.Module] | nn.Module  # how to make a module, or the module
Loss = Callable[[Tensor, Tensor], Tensor]  # logits (n, classes), labels (n,) → their mean loss, a scalar
PureLoss = Callable[[Mapping[str, Tensor], Tensor, Tensor], Tensor]  # tensors, inputs (n, …), labels (n,) → a scalar


def module_of(make: Make) -> nn.Module:
    """A copy of the module, in evaluation mode: dropout is off.

    `make` runs with torch's CPU generator at a fixed seed, and the generator is put back afterwards: every member
    starts from the same model. A `make` that draws on another device seeds it itself. Raises ConfigError for tensors
    that are not float32 (a silent cast would train another model than the user's) and for a module with nothing to
    train.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        module = copy.deepcopy(make if isinstance(make, nn.Module) else make()).eval()
    for name, one in [*module.named_parameters(), *module.named_buffers()]:
        if (one.is_floating_point() or one.is_complex()) and one.dtype != torch.float32:
            raise ConfigError(f"tensor {name!r} must be float32, got {one.dtype}", hint="call .float() on the module")
    if not trained_parameters(module):
        raise ConfigError("no parameter of this torch module requires a gradient, so there is nothing to train")
    return module


def trained_parameters(module: nn.Module) -> dict[str, Tensor]:
    """The parameters that a gradient moves, by name; frozen ones are constants of the module."""
    return {name: one for name, one in module.named_parameters() if one.requires_grad}


def pure_loss(module: nn.Module, loss: Loss = nn.functional.cross_entropy) -> PureLoss:
    """The mean loss as a function of the tensors; what is not given is the module's own. Changes nothing."""

    def of(tensors: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):  # torch's fused attention has no rule for vmap
            return loss(functional_call(module, dict(tensors), (x,)), y)

    return of


def labels_of(logits: Tensor) -> Tensor:
    """(n, classes) → (n,): -1 where an output is not finite or no class has the lead.

    A tie is no prediction: an untrained model of zeros would otherwise have its first class wholly right, and no
    honest candidate could ever be as good there.
    """
    finite = logits.isfinite().all(dim=1)
    lead = (logits == logits.amax(dim=1, keepdim=True)).sum(dim=1) == 1
    return torch.where(finite & lead, logits.argmax(dim=1), -1)
