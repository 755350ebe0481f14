"""Any torch module as a `Model`. Needs the `torch` extra.

| of the module                         | here                                                                    |
|---------------------------------------|-------------------------------------------------------------------------|
| parameters                            | tensors of the model                                                    |
| parameters that require no gradient   | constants: every member has to hold the same                            |
| persistent float buffers (batch norm) | tensors that no gradient moves, which have to be local: `refresh`       |
| other buffers                         | constants                                                               |
| dropout                               | off: the same model and examples give the same gradient                 |

Threads are the caller's business: `torch.set_num_threads(1)` is fastest for small models, and the same number of
threads gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from phalanx.learning.adapters import pure_module as pure
from phalanx.learning.adapters import running_statistics as statistics
from phalanx.learning.adapters.torch_many import many_by_inputs
from phalanx.learning.contract import Model, Tensors
from phalanx.learning.data import Array, Labels
from phalanx.types import F32

_ROWS = 2048  # examples at once, and no more of their gradients at once than
_NUMBERS = 1 << 24  # numbers of them: 64 MiB on the device


def torch_model(make: pure.Make, classes: int, loss: pure.Loss = nn.functional.cross_entropy) -> Model:
    """`make`, or the module that it makes, as a `Model`: inputs (n, …) to logits (n, classes), on whatever device.

    Floating inputs are cast to float32. For its per-example gradient each example goes through the module alone;
    where a layer keeps statistics over examples, asking for one raises ConfigError, as `module_of` does.
    """
    module = pure.module_of(make)
    own = _Functions(module, pure.pure_loss(statistics.learning_copy(module), loss))
    return Model(
        classes=classes,
        initial_model=lambda: _arrays(pure.trained_parameters(module) | statistics.moving_buffers(module)),
        predict=own.predict,
        per_example_gradients=own.per_example_gradients,
        gradient=own.gradient,
        refresh=own.refresh if statistics.moving_buffers(module) else None,
        many=many_by_inputs(module) if loss is nn.functional.cross_entropy else None,
        logits=own.logits,
        module=module,
    )


@dataclass(frozen=True, slots=True)
class _Functions:
    """The functions of the `Model`: `module` judges, `loss` is that of its learning copy."""

    module: nn.Module
    loss: pure.PureLoss

    def predict(self, model: Tensors, x: Array) -> Labels:
        return pure.labels_of(self._logits(model, x)).cpu().numpy()

    def logits(self, model: Tensors, x: Array) -> F32:
        return self._logits(model, x).cpu().numpy()

    def _logits(self, model: Tensors, x: Array) -> Tensor:
        moved, fixed = self._parted(model)
        with torch.no_grad():
            chunks = torch.split(self._put(x), _ROWS)
            return torch.cat([functional_call(self.module, moved | fixed, (each,)) for each in chunks])

    def gradient(self, model: Tensors, x: Array, y: Labels) -> dict[str, F32]:
        moved, fixed = self._parted(model)
        here = {name: value.requires_grad_() for name, value in moved.items()}
        loss = self.loss(here | fixed, self._put(x), self._put(y))
        found = torch.autograd.grad(loss, list(here.values()), materialize_grads=True)
        return _arrays(dict(zip(here, found, strict=True)))

    def per_example_gradients(self, model: Tensors, x: Array, y: Labels) -> dict[str, F32]:
        statistics.refuse_across_examples(self.module)
        moved, fixed = self._parted(model)
        alone = grad(lambda here, one, label: self.loss(here | fixed, one[None], label[None]))
        size = max(1, min(_ROWS, _NUMBERS // sum(value.numel() for value in moved.values())))
        rows = {name: np.empty((len(x), *value.shape), np.float32) for name, value in moved.items()}
        for part in (slice(start, start + size) for start in range(0, len(x), size)):
            found = vmap(alone, (None, 0, 0))(moved, self._put(x[part]), self._put(y[part]))
            for name, value in found.items():
                rows[name][part] = value.cpu().numpy()
        return rows

    def refresh(self, model: Tensors, x: Array) -> dict[str, F32]:
        moved, fixed = self._parted(model)
        return _arrays(statistics.refreshed(self.module, moved | fixed, self._put(x)))

    def _parted(self, model: Tensors) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The tensors that a gradient moves, and those that none does."""
        moved, fixed = pure.trained_parameters(self.module), statistics.moving_buffers(self.module)
        return {name: self._put(model[name]) for name in moved}, {name: self._put(model[name]) for name in fixed}

    def _put(self, array: Array) -> Tensor:
        """On the module's device; floating values as float32."""
        dtype = torch.float32 if np.issubdtype(array.dtype, np.floating) else None
        return torch.tensor(array, dtype=dtype, device=next(self.module.parameters()).device)


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, F32]:
    return {name: value.detach().cpu().numpy().copy() for name, value in tensors.items()}
