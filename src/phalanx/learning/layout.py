"""Named tensors ↔ one flat float32 vector (d,).

Tensors lie one after the other in the order of their names, row-major. The coordinator fixes the layout and every
member checks it, so that a name or a shape that differs is refused instead of read at the wrong place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from phalanx.types import F32, Layout, TensorSpec


def layout_of(arrays: Mapping[str, npt.NDArray[Any]]) -> Layout:
    """The layout of these tensors, sorted by name. Raises ValueError if there are none or one is not float32."""
    if not arrays:
        raise ValueError("a model needs at least one tensor, got none")
    tensors = []
    offset = 0
    for name in sorted(arrays):
        if name == "__metadata__":
            raise ValueError("a tensor cannot be called '__metadata__': a safetensors file has its own meaning for it")
        _check_dtype(f"tensor {name!r}", arrays[name])
        tensors.append(TensorSpec(name, arrays[name].shape, offset))
        offset += tensors[-1].size
    return Layout(tuple(tensors))


def flatten(arrays: Mapping[str, npt.NDArray[Any]], layout: Layout) -> F32:
    """The tensors as a new vector (d,). Raises ValueError unless names, shapes and dtype are those of `layout`."""
    _check_names(arrays, layout)
    for tensor in layout.tensors:
        _check_dtype(f"tensor {tensor.name!r}", arrays[tensor.name])
        _check_shape(f"tensor {tensor.name!r}", arrays[tensor.name], tensor.shape)
    return np.concatenate([arrays[tensor.name].ravel() for tensor in layout.tensors])


def unflatten(vector: F32, layout: Layout) -> dict[str, F32]:
    """The named tensors in `vector` (d,), as copies. Raises ValueError unless it is float32 of length d."""
    check_vector(vector, layout)
    return {
        tensor.name: vector[tensor.offset : tensor.offset + tensor.size].reshape(tensor.shape).copy()
        for tensor in layout.tensors
    }


def check_vector(vector: F32, layout: Layout) -> None:
    """Raises ValueError unless `vector` is a float32 vector of the layout's length d."""
    _check_dtype("vector", vector)
    _check_shape("vector", vector, (layout.d,))


def _check_names(arrays: Mapping[str, npt.NDArray[Any]], layout: Layout) -> None:
    expected = [tensor.name for tensor in layout.tensors]
    if sorted(arrays) != expected:
        raise ValueError(f"expected the tensors {expected}, got {sorted(arrays)}")


def _check_dtype(what: str, array: npt.NDArray[Any]) -> None:
    if array.dtype != np.float32:
        raise ValueError(f"{what} must be float32, got {array.dtype}")


def _check_shape(what: str, array: npt.NDArray[Any], expected: tuple[int, ...]) -> None:
    if array.shape != expected:
        raise ValueError(f"{what} must have shape {expected}, got {array.shape}")
