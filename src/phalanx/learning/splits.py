"""How one data set is split over members, for simulations: which example goes to which member.

Every function gives the indices of each member's examples. Together they are a partition of 0 … n-1: each example is
with exactly one member. With the same generator state and arguments the split is the same. What is drawn comes in
random order within a member, so that the first ones may be held out; `natural` draws nothing and keeps the order of
the column.

| split | amounts | classes |
|---|---|---|
| `iid` | even | as in the whole, up to chance |
| `dirichlet` | uneven | the smaller alpha, the fewer at a member |
| `gamma_similarity` | even | a share as in the whole, the rest in order of the label |
| `by_label` | even | a few at each member |
| `natural` | as they are | as they are |

Letters: `n` examples. A user's setting that cannot be met is ConfigError; labels or members that are no such thing are
ValueError.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from phalanx.errors import ConfigError
from phalanx.learning.data import Labels
from phalanx.types import MemberId, member_id

Indices = npt.NDArray[np.int64]
Parts = dict[MemberId, Indices]

_REDRAWS = 100  # below this many draws a split that is possible at all is practically always found
_LARGEST_ALPHA = 1e6  # shares are even there; far above, the sampler overflows and one member would get everything
_NOT_IN_ID = re.compile(r"[^a-z0-9]")
_LONGEST_ID = 63


def iid(*, examples: int, members: Sequence[MemberId], rng: np.random.Generator) -> Parts:
    """0 … `examples`-1 at random, in parts whose sizes differ by at most 1."""
    _check(examples, members)
    return dict(zip(members, np.array_split(rng.permutation(examples), len(members)), strict=True))


def dirichlet(
    *,
    labels: Labels,
    members: Sequence[MemberId],
    alpha: float,
    rng: np.random.Generator,
    min_examples: int = 1,
) -> Parts:
    """Each class is shared out over the members by its own draw from Dirichlet(alpha, …, alpha).

    Yurochkin et al., ICML 2019, experiments. Labels (n,), any integers; 0 < alpha <= 1e6. The whole split is drawn
    again, up to 100 times, until every member has `min_examples`: amounts are then somewhat more even than without.
    The other split of this name (Hsu et al., 2019, arXiv 1909.06335) draws the class shares of each member instead,
    and gives all members the same amount.
    """
    _check(len(_labels(labels)), members)
    if not 0 < alpha <= _LARGEST_ALPHA:
        raise ConfigError(
            f"a Dirichlet split needs 0 < alpha <= {_LARGEST_ALPHA:g}, got {alpha!r}",
            hint="take an alpha between 0.1 (uneven) and 10 (nearly even), or an IID split",
        )
    if not 0 <= min_examples * len(members) <= len(labels):
        raise ConfigError(
            f"{len(labels)} examples cannot give each of {len(members)} members at least {min_examples}",
            hint=f"take min_examples from 0 to {len(labels) // len(members)}, or fewer members",
        )
    for _ in range(_REDRAWS):
        parts = _dirichlet_once(labels, len(members), alpha, rng)
        if min(map(len, parts)) >= min_examples:
            return dict(zip(members, parts, strict=True))
    raise ConfigError(
        f"no Dirichlet({alpha}) split in {_REDRAWS} draws gives each of {len(members)} members {min_examples} examples",
        hint="take a larger alpha, fewer members or a smaller min_examples",
    )


def gamma_similarity(*, labels: Labels, members: Sequence[MemberId], gamma: float, rng: np.random.Generator) -> Parts:
    """Each member has a share `gamma` (0 … 1) of its examples at random from the whole, the rest in order of the label.

    Karimireddy et al., ICML 2020 (SCAFFOLD), section 7, "s % similarity" with s = 100 gamma: what is not dealt at
    random is sorted by label and cut into contiguous blocks, the first for the first member. Labels (n,), any integers.
    Sizes differ by at most 1; the share is met to half an example at each member. Which examples of a class come to
    whom is drawn.
    """
    _check(len(_labels(labels)), members)
    if not 0 <= gamma <= 1:
        raise ConfigError(
            f"gamma is a share from 0 to 1, got {gamma!r}", hint="0 sorts everything by label, 1 is an IID split"
        )
    shuffled = rng.permutation(len(labels))
    sizes = np.array([len(part) for part in np.array_split(shuffled, len(members))])
    even = np.rint(gamma * sizes).astype(np.int64)
    at_random, rest = np.split(shuffled, [even.sum()])
    dealt = np.split(at_random, np.cumsum(even)[:-1])
    blocks = np.split(_by_label(labels, rest), np.cumsum(sizes - even)[:-1])
    return _joined(members, zip(dealt, blocks, strict=True), rng)


def by_label(
    *, labels: Labels, members: Sequence[MemberId], classes_per_member: int, rng: np.random.Generator
) -> Parts:
    """The examples sorted by label, cut into equal shards, `classes_per_member` shards for each member at random.

    McMahan et al., AISTATS 2017, section 3 (there 2 for each of 100 members). Labels (n,), any integers. A shard may
    lie across a border between classes, and two shards may be of one class: a member has about as many classes as
    shards, not exactly.
    """
    _check(len(_labels(labels)), members)
    classes = len(np.unique(labels))
    if not 1 <= classes_per_member <= classes:
        raise ConfigError(
            f"classes_per_member is from 1 to the {classes} classes in the labels, got {classes_per_member!r}",
            hint="take fewer classes for each member, or an IID split for all of them",
        )
    shards = len(members) * classes_per_member
    if shards > len(labels):
        raise ConfigError(
            f"{len(members)} members with {classes_per_member} shards each need {shards} examples, got {len(labels)}",
            hint="take fewer members or fewer classes for each member",
        )
    cut = np.array_split(_by_label(labels, rng.permutation(len(labels))), shards)
    dealt = rng.permutation(shards).reshape(len(members), classes_per_member).tolist()
    return _joined(members, ([cut[shard] for shard in own] for own in dealt), rng)


def natural(*, column: Iterable[object], min_examples: int = 1) -> tuple[Parts, Parts]:
    """The members that a column of site names gives, and those left out because they have under `min_examples`.

    The column is (n,) strings or integers, one for each example. A value becomes a member id in lower case, with `-`
    for each character outside a-z and 0-9. Both answers are sorted by member, with indices in the order of the column;
    together they are a partition. ConfigError for a value that gives no id, for two different values that give the same
    id (two sites would be simulated as one, unasked), and if nobody has `min_examples`.
    """
    rows: dict[MemberId, list[int]] = {}
    named: dict[MemberId, str | int] = {}
    for row, value in enumerate(column.tolist() if isinstance(column, np.ndarray) else column):
        site = _site(value, row)
        member = _id_of(site, row)
        first = named.setdefault(member, site)
        if repr(first) != repr(site):
            raise ConfigError(
                f"the sites {_said(first)} and {_said(site)} would both be the member {member}",
                hint="write the site of every example in one way, or give different sites names that differ",
            )
        rows.setdefault(member, []).append(row)
    kept = {member: np.array(rows[member], dtype=np.int64) for member in sorted(rows)}
    dropped = {member: kept.pop(member) for member in list(kept) if len(kept[member]) < min_examples}
    if not kept:
        most = max(map(len, dropped.values()), default=0)
        raise ConfigError(
            f"no site has {min_examples} examples, the largest of {len(dropped)} has {most}",
            hint="take a smaller min_examples or another column",
        )
    return kept, dropped


# --------------------------------------------------------------------------------------------------------------- parts


def _dirichlet_once(labels: Labels, n: int, alpha: float, rng: np.random.Generator) -> list[Indices]:
    """One draw for `n` members. The order of the draws is that of the demonstration's committed figures."""
    pieces = []
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        ends = np.cumsum(rng.dirichlet(np.full(n, alpha)))[:-1] * len(rows)
        pieces.append(np.split(rows, ends.astype(np.int64)))
    return [rng.permutation(np.concatenate([of_class[i] for of_class in pieces])) for i in range(n)]


def _by_label(labels: Labels, rows: Indices) -> Indices:
    """`rows` sorted by their labels; equal labels keep their order."""
    return rows[np.argsort(labels[rows], kind="stable")]


def _joined(members: Sequence[MemberId], pieces: Iterable[Sequence[Indices]], rng: np.random.Generator) -> Parts:
    """Each member's pieces as one array, in random order."""
    return {member: rng.permutation(np.concatenate(own)) for member, own in zip(members, pieces, strict=True)}


def _labels(labels: Labels) -> Labels:
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers of shape (n,), got {labels.dtype} of shape {labels.shape}")
    return labels


def _check(examples: int, members: Sequence[MemberId]) -> None:
    if not members or len(set(members)) != len(members):
        raise ValueError(f"a split needs members, each once, got {len(members)} of which {len(set(members))} differ")
    if examples < len(members):
        raise ConfigError(
            f"{examples} examples cannot be split over {len(members)} members: each needs one",
            hint="take fewer members or more data",
        )


def _site(value: object, row: int) -> str | int:
    """A plain string or integer; anything else, a missing value above all, names no site."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value)
    raise ConfigError(
        f"a site is a string or an integer, got {type(value).__name__} {_said(value)} in row {row}",
        hint="fill in or leave out the examples without a site",
    )


def _id_of(site: str | int, row: int) -> MemberId:
    text = _NOT_IN_ID.sub("-", str(site).lower())
    if not 1 <= len(text) <= _LONGEST_ID:
        raise ConfigError(
            f"a site's name has 1 to {_LONGEST_ID} characters, {_said(site)} in row {row} gives {len(text)}",
            hint="give every example the name of its site, and long names a short form",
        )
    return member_id(text)


def _said(value: object) -> str:
    """A value of the column as it is written, cut: nobody bounded how long it is."""
    return f"{value!r:.80}"
