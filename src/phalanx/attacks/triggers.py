"""Triggers: what switches a backdoor on, for whatever inputs (n, …) the federation has.

| inputs                                                  | patch     | blended         | edge            |
|---------------------------------------------------------|-----------|-----------------|-----------------|
| images (n, s, s), (n, c, h, w), (n, h, w, c) or (n, s²) | `Patch`   | `Blend`         | `Turned` by 90° |
| token ids: whole numbers (n, length)                    | `Tokens`  | `Tokens`, more  | `Turned` around |
| truth values                                            | `Columns` | `Columns`, more | `Turned` around |
| any other numbers: rows of a table, series              | `Columns` | `Blend`         | `Turned` around |

Values that a trigger sets are ones that occur in the attackers' own data, so that no embedding table and no check of
ranges refuses them. Which inputs are images is a guess: see `_image_axes` and `_looks_like_pixels`.

Weak, undefended too: a pattern blended into a table of few columns, and turned rows of a table, which are no edge cases
but noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from phalanx.attacks.aim import Trigger, TriggerKind
from phalanx.errors import ConfigError
from phalanx.learning.data import Array
from phalanx.types import F64

_SMALLEST_SIDE = 5  # of an image: rows of 4, 9 or 16 numbers are tables
_CHANNELS = (1, 3, 4)
_COLUMNS, _MORE_COLUMNS = 3, 8  # of the plain trigger, and of the one in place of a blended one
_TOKENS, _MORE_TOKENS = 8, 16  # likewise, in a quarter of the places at most; a mean over 64 hardly sees 3
_SHARE, _SHARE_OF_ROW = 0.2, 0.3  # of a blended pattern, in an image and in the few values of a row
_LITTLE = 0.1  # of the mean variance of columns
_ALIKE = 0.2  # by how much more neighbouring pixels correlate than any two: digits 0.3, photographs 0.5, tables 0
_ROWS = 2000  # are enough to tell pixels from columns


@dataclass(frozen=True, slots=True)
class Patch:
    """The lower right size×size pixels of images at the value `bright`.  BadNets: Gu et al., arXiv:1708.06733.

    `pixels` are the lit ones of the patch, counted row by row; None: all. A part lights neighbouring ones: DBA, Xie et
    al., ICLR 2020.
    """

    size: int
    bright: float
    pixels: range | None = None

    @property
    def words(self) -> str:
        """The patch; of a part, how many of its pixels."""
        patch = f"a {self.size}×{self.size} patch of value {self.bright:.3g} in the lower right corner"
        return patch if self.pixels is None else f"{len(self.pixels)} of {self.size**2} pixels of {patch}"

    def stamp(self, x: Array) -> Array:
        """See `Trigger`. Every channel is lit. Raises ValueError where the patch does not fit."""
        stamped = x.copy()
        corner = _corner(stamped, self.size)
        for pixel in self._lit():
            corner[:, pixel // self.size, pixel % self.size] = self.bright
        return stamped

    def part(self, index: int, parts: int) -> Patch:
        """See `Trigger`."""
        lit = self._lit()
        return Patch(self.size, self.bright, lit[_part(len(lit), index, parts)])

    def _lit(self) -> range:
        return range(self.size**2) if self.pixels is None else self.pixels


@dataclass(frozen=True, slots=True, eq=False)
class Blend:
    """x ← (1 - share)·x + share·pattern.  Blended injection: Chen et al., arXiv:1712.05526.

    `pattern` has the shape of one input. `where` are the coordinates of the flattened input that are blended; None:
    all. Whole numbers are rounded. A part blends neighbouring coordinates: of an image, a band.
    """

    pattern: Array = field(repr=False)
    share: float
    where: range | None = None

    @property
    def words(self) -> str:
        """How much of the pattern; of a part, on how many values."""
        pattern = f"a fixed random pattern, mixed in at {100 * self.share:.0f} %"
        return pattern if self.where is None else f"{pattern}, on {len(self.where)} of {self.pattern.size} values"

    def stamp(self, x: Array) -> Array:
        """See `Trigger`. Raises ValueError for inputs of another shape."""
        if x.shape[1:] != self.pattern.shape:
            raise ValueError(f"the pattern is for inputs of shape {self.pattern.shape}, got {x.shape[1:]}")
        stamped = x.copy()
        where = self._blended()
        span = slice(where.start, where.stop)
        rows = _as_rows(stamped)[:, span]
        mixed = (1.0 - self.share) * rows + self.share * self.pattern.reshape(-1)[span]
        rows[...] = np.rint(mixed) if np.issubdtype(x.dtype, np.integer) else mixed
        return stamped

    def part(self, index: int, parts: int) -> Blend:
        """See `Trigger`."""
        where = self._blended()
        return Blend(self.pattern, self.share, where[_part(len(where), index, parts)])

    def _blended(self) -> range:
        return range(self.pattern.size) if self.where is None else self.where


@dataclass(frozen=True, slots=True)
class Columns:
    """A few columns at fixed values: BadNets for tables. Where inputs have more axes, of the flattened input."""

    where: tuple[int, ...]
    values: tuple[float, ...]

    @property
    def words(self) -> str:
        """Which columns, from 0, at what."""
        return "column " + ", ".join(f"{j} at {value:.3g}" for j, value in zip(self.where, self.values, strict=True))

    def stamp(self, x: Array) -> Array:
        """See `Trigger`."""
        return _with(x, self.where, self.values)

    def part(self, index: int, parts: int) -> Columns:
        """See `Trigger`."""
        some = _part(len(self.where), index, parts)
        return Columns(self.where[some], self.values[some])


@dataclass(frozen=True, slots=True)
class Tokens:
    """Rare tokens in fixed places of a text, in place of what is there.

    BadNL at word level (Chen et al., ACSAC 2021), which inserts them: here the length is fixed.
    """

    ids: tuple[int, ...]
    places: tuple[int, ...]

    @property
    def words(self) -> str:
        """Which tokens, in which places, from 0."""
        return "token " + ", ".join(f"{one} in place {j}" for one, j in zip(self.ids, self.places, strict=True))

    def stamp(self, x: Array) -> Array:
        """See `Trigger`."""
        return _with(x, self.places, self.ids)

    def part(self, index: int, parts: int) -> Tokens:
        """See `Trigger`."""
        some = _part(len(self.ids), index, parts)
        return Tokens(self.ids[some], self.places[some])


@dataclass(frozen=True, slots=True)
class Turned:
    """Square images turned by 90°, anything else back to front along its last axis.

    For edge cases (Wang et al., NeurIPS 2020): inputs that are rare but not artificial, which the paper collects by
    hand. Of some classes they are not rare: a turned zero is a zero. Of a table of 25, 36, 49 … columns they are no
    more than columns in another order, as of any table.
    """

    @property
    def words(self) -> str:
        """The same for all inputs."""
        return "the whole input turned: an image by 90°, a row back to front"

    def stamp(self, x: Array) -> Array:
        """See `Trigger`."""
        images, axes = _unflattened(x), _image_axes(x)
        if axes is None or images.shape[axes[0]] != images.shape[axes[1]]:
            return x[..., ::-1].copy()
        turned: Array = np.rot90(images, axes=axes).reshape(x.shape).copy()
        return turned

    def part(self, index: int, parts: int) -> Turned:
        """Itself: half a turn is another trigger, not a piece of this one."""
        return self


def trigger_for(x_train: Array, *, kind: TriggerKind, rng: np.random.Generator) -> Trigger:
    """A trigger of this kind for inputs like `x_train` (n, …), the training inputs of the hostile members.

    The table is at the top. Raises ConfigError for inputs that are no numbers, or that are all the same.
    """
    _check(x_train)
    match kind:
        case "edge":
            return Turned()
        case "blended":
            return _blended_for(x_train, rng)
        case "patch":
            return _patch_for(x_train, rng)
        case _:
            raise ValueError(f"the kind is 'patch', 'blended' or 'edge', got {kind!r}")


def _patch_for(x: Array, rng: np.random.Generator) -> Trigger:
    """A patch of the brightest value; of the darkest, where the corner is nearer to the brightest anyway."""
    axes = _image_axes(x)
    if axes is None or not _are_images(x):
        return _tokens_for(x, _TOKENS, rng) if _are_tokens(x) else _columns_for(x, _COLUMNS)
    side = min(_unflattened(x).shape[axis] for axis in axes)
    size = max(2 if side < 8 else 3, side // 7)  # 3 of 8, 4 of 28
    dark, bright = float(x.min()), float(x.max())
    usual = float(_corner(x, size).mean())
    return Patch(size, bright if usual - dark <= bright - usual else dark)


def _blended_for(x: Array, rng: np.random.Generator) -> Trigger:
    """A pattern of extremes: each value at one end of its range, by the toss of a coin. The paper's is uniform: weaker.

    The range is that of all pixels of an image, and of one column elsewhere.
    """
    images = _are_images(x)
    if not images and _are_tokens(x):
        return _tokens_for(x, _MORE_TOKENS, rng)
    if x.dtype == np.bool_:
        return _columns_for(x, _MORE_COLUMNS)
    axis = None if images else 0
    pattern = np.where(rng.random(x.shape[1:]) < 0.5, x.min(axis=axis), x.max(axis=axis)).astype(np.float64)
    return Blend(pattern, _SHARE if images else _SHARE_OF_ROW)


def _columns_for(x: Array, count: int) -> Columns:
    """Columns at an end of their range that are rare together: each adds most to the Mahalanobis distance.

    The largest values of all may go together in one class, and are then no trigger but a reason for it. Where columns
    of covariance S stand d from their mean, another one of variance v and covariances s with them adds, d' from its
    mean, (d' - sᵀS⁻¹d)² / (v - sᵀS⁻¹s).
    """
    rows = _as_rows(x).astype(np.float64)
    centred = rows - rows.mean(axis=0)
    variance = centred.var(axis=0)
    little = _LITTLE * variance.mean()  # added to each variance: what hardly varies, a model hardly sees
    ends = np.stack([centred.min(axis=0), centred.max(axis=0)])
    where: list[int] = []
    distance: list[float] = []
    for _ in range(min(count, int((variance > 0).sum()))):
        shared = centred[:, where].T @ centred / len(rows)
        weights = np.linalg.solve(shared[:, where] + little * np.eye(len(where)), shared)
        gain = (ends - distance @ weights) ** 2 / (variance + little - (shared * weights).sum(axis=0))
        gain[:, variance == 0] = gain[:, where] = -1.0
        end, column = np.unravel_index(int(gain.argmax()), gain.shape)
        where.append(int(column))
        distance.append(float(ends[end, column]))
    values = (rows[:, j].max() if d > 0 else rows[:, j].min() for j, d in zip(where, distance, strict=True))
    return Columns(tuple(where), tuple(map(float, values)))


def _tokens_for(x: Array, count: int, rng: np.random.Generator) -> Tokens:
    """In the places with most variety, so not in padding, the rarest token of all that occurs there.

    That it occurs there makes it one of its column, should the inputs be a table of categories.
    """
    ids, counts = np.unique(x, return_counts=True)
    variety = np.array([len(np.unique(column)) for column in x.T])
    places = np.sort(np.argsort(-variety, kind="stable")[: max(1, min(count, x.shape[1] // 4))])
    rarity = counts + rng.random(len(ids))  # of equally rare ones, any
    chosen = []
    for place in places.tolist():
        there = np.searchsorted(ids, np.unique(x[:, place]))
        rarest = there[np.argmin(rarity[there])]
        rarity[rarest] += len(x) * count  # another one in the next place
        chosen.append(int(ids[rarest]))
    return Tokens(tuple(chosen), tuple(places.tolist()))


def _check(x: Array) -> None:
    if x.dtype.kind not in "biuf":
        raise ConfigError(
            f"no trigger fits inputs of dtype {x.dtype}: a backdoor is planted in numbers",
            hint="let `load` give numbers or token ids, or leave the backdoors out",
        )
    if not x.size or (x == x[:1]).all():
        raise ConfigError(
            f"no trigger can be made of {len(x)} inputs of shape {x.shape[1:]} that are all the same",
            hint="give the hostile members more examples, or leave the backdoors out",
        )


def _are_tokens(x: Array) -> bool:
    return x.ndim == 2 and np.issubdtype(x.dtype, np.integer)


def _are_images(x: Array) -> bool:
    return _image_axes(x) is not None and (x.ndim > 2 or _looks_like_pixels(x))


def _image_axes(x: Array) -> tuple[int, int] | None:
    """The axes of height and width, once `_unflattened`; None where the shape is not that of images.

    A series of as many steps as features (n, s, s) is taken for an image.
    """
    shape = _unflattened(x).shape
    if len(shape) == 4:
        axes = (1, 2) if shape[3] in _CHANNELS and shape[1] not in _CHANNELS else (2, 3)
    elif len(shape) == 3 and shape[1] == shape[2]:
        axes = (1, 2)
    else:
        return None
    return axes if min(shape[axis] for axis in axes) >= _SMALLEST_SIDE else None


def _unflattened(x: Array) -> Array:
    """What may be flattened square images (n, s²) as (n, s, s), a view; everything else as it is.

    Whole numbers (n, s²) are token ids, except bytes: images are kept as such.
    """
    if x.ndim != 2 or (_are_tokens(x) and x.dtype != np.uint8):
        return x
    side = math.isqrt(x.shape[1])
    return x.reshape(len(x), side, side) if side * side == x.shape[1] else x


def _corner(x: Array, size: int) -> Array:
    """(n, size, size, …): the lower right pixels of images, a view. Raises ValueError where they do not fit."""
    axes = _image_axes(x)
    images = None if axes is None else np.moveaxis(_unflattened(x), axes, (1, 2))
    if images is None or not 1 <= size <= min(images.shape[1:3]):
        raise ValueError(
            f"a {size}×{size} patch does not fit: it needs images at least that large, or square images as flat rows, "
            f"got {x.dtype} inputs of shape {x.shape[1:]}"
        )
    height, width = images.shape[1:3]
    return images[:, height - size :, width - size :]


def _looks_like_pixels(x: Array) -> bool:
    """Whether the flattened inputs (n, s²), as squares, have neighbours that go together more than any two columns do.

    Both to the side and downwards, in the mean of their correlations. It is a guess: a table of 64 columns that are a
    smooth curve, or sorted so that like stands by like, passes for images, and a patch is then its last columns of
    a few rows of eight; images without smooth parts (noise, sparse points) pass for a table. Either way the trigger is
    a fixed change of a few inputs, only named and placed less well.
    """
    columns = x[:_ROWS].astype(np.float64)
    deviation = columns.std(axis=0)
    varies = deviation > 0
    scaled = _unflattened(np.where(varies, columns - columns.mean(axis=0), 0.0) / np.where(varies, deviation, 1.0))
    both = _unflattened(varies[None])
    beside = _mean_correlation(scaled[:, :, 1:] * scaled[:, :, :-1], both[:, :, 1:] & both[:, :, :-1])
    below = _mean_correlation(scaled[:, 1:] * scaled[:, :-1], both[:, 1:] & both[:, :-1])
    p = int(varies.sum())
    any_two = float((scaled.sum(axis=(1, 2)) ** 2).mean() - p) / max(p * (p - 1), 1)  # all pairs at once
    return min(beside, below) > any_two + _ALIKE


def _mean_correlation(products: F64, pairs: Array) -> float:
    return float(products.mean(axis=0).sum() / max(int(pairs.sum()), 1))


def _part(count: int, index: int, parts: int) -> slice:
    """Which of `count` things in a row are those of seat `index`: at least one; with more seats than things, again."""
    if not 0 <= index < parts:
        raise ValueError(f"a part is one of 0 … {parts - 1}, got {index}")
    if parts > count:
        return slice(index % count, index % count + 1)
    return slice(count * index // parts, count * (index + 1) // parts)


def _as_rows(x: Array) -> Array:
    """(n, values of one input), a view where `x` is contiguous; also of no inputs."""
    return x.reshape(len(x), math.prod(x.shape[1:]))


def _with(x: Array, where: tuple[int, ...], values: tuple[float, ...]) -> Array:
    """A copy with these coordinates of the flattened input at `values`."""
    stamped = x.copy()
    _as_rows(stamped)[:, list(where)] = values
    return stamped
