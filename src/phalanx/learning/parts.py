"""Which tensors of a model travel and which stay with the member.

Local tensors serve members whose data differ: batch norm (FedBN: Li et al., ICLR 2021), a head of one's own (FedPer:
Arivazhagan et al., arXiv:1912.00818), adapters. They never leave the member, and no rule, clip or gate sees them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from phalanx.errors import ConfigError
from phalanx.learning.data import Array
from phalanx.learning.layout import layout_of
from phalanx.types import F32, Layout, TensorSpec


@dataclass(frozen=True, slots=True)
class Parts:
    """`shared`: the layout of what travels (d,). `whole`: all tensors (D,), the shared ones first, then the local."""

    shared: Layout
    whole: Layout

    @property
    def local(self) -> tuple[TensorSpec, ...]:
        """The tensors that stay, with their offsets in the whole."""
        return self.whole.tensors[len(self.shared.tensors) :]


def parts_of(tensors: Mapping[str, Array], local: Sequence[str] = ()) -> Parts:
    """The parts of a model whose tensors match one of the patterns (`bn*.weight`, `head.*`) and those that do not.

    Raises ConfigError for a pattern that matches nothing or patterns that leave nothing to share, ValueError for
    tensors that are not float32.
    """
    for pattern in local:
        if not any(fnmatchcase(name, pattern) for name in tensors):
            raise ConfigError(
                f"no tensor matches learning.local = {pattern!r}", hint=f"the model's tensors: {', '.join(tensors)}"
            )
    stays = {name for name in tensors if any(fnmatchcase(name, pattern) for pattern in local)}
    if stays and len(stays) == len(tensors):
        raise ConfigError(f"learning.local leaves nothing to share: all of {', '.join(sorted(tensors))} stay")
    shared = layout_of({name: value for name, value in tensors.items() if name not in stays})
    if not stays:
        return Parts(shared, shared)
    own = layout_of({name: tensors[name] for name in stays})
    moved = tuple(TensorSpec(one.name, one.shape, one.offset + shared.d) for one in own.tensors)
    return Parts(shared, Layout(shared.tensors + moved))


def flatten_whole(tensors: Mapping[str, Array], whole: Layout) -> F32:
    """The tensors as a new vector (D,) in the order of `whole`. Raises ValueError unless names and shapes are its."""
    _check(tensors, whole)
    out = np.empty(whole.d, np.float32)
    for one in whole.tensors:
        out[one.offset : one.offset + one.size] = np.asarray(tensors[one.name]).ravel()
    return out


def views(vectors: F32, whole: Layout) -> dict[str, F32]:
    """The named tensors inside `vectors` (…, D), as views of shape (…, *shape): what is written there lands there."""
    leading = vectors.shape[:-1]
    return {
        one.name: vectors[..., one.offset : one.offset + one.size].reshape((*leading, *one.shape))
        for one in whole.tensors
    }


def in_words(parts: Parts) -> list[str]:
    """One line for each tensor: what travels, its shape and bytes; what stays. For people, before the first round."""
    lines = [f"{one.name} {_shape(one)}: travels, {4 * one.size:,} bytes" for one in parts.shared.tensors]
    return lines + [f"{one.name} {_shape(one)}: stays with each member" for one in parts.local]


def _shape(one: TensorSpec) -> str:
    return "×".join(str(size) for size in one.shape) or "scalar"


def _check(tensors: Mapping[str, Array], whole: Layout) -> None:
    expected = sorted(one.name for one in whole.tensors)
    if sorted(tensors) != expected:
        raise ValueError(f"expected the tensors {expected}, got {sorted(tensors)}")
    for one in whole.tensors:
        found = np.asarray(tensors[one.name]).shape
        if found != one.shape:
            raise ValueError(f"tensor {one.name!r} must have shape {one.shape}, got {found}")
