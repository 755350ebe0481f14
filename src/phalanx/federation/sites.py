"""The members' examples as they come from the user: checked, prepared, and parted into training and held-out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from phalanx.config import Settings
from phalanx.errors import ConfigError
from phalanx.federation.prepare import Preparation
from phalanx.learning import MemberData, hold_out
from phalanx.learning.data import Array
from phalanx.types import MemberId

Examples = tuple[Array, Array]  # inputs (n, …), integer labels (n,)

_SCALES_APART = 100  # beyond this, one step suits no two columns
_LARGEST_LOG = 40.0  # of a ratio that is said in figures


def pair_of(found: object, member: str) -> Examples:
    """Inputs and labels as arrays with a row for each example. Raises ConfigError for anything else."""
    if not (isinstance(found, tuple | list) and len(found) == 2):
        raise ConfigError(
            f"the examples of {member} must be two arrays, the inputs and the labels, found {_said(found)}",
            hint='"name": (x, y), with x (n, …) and integer labels y (n,)',
        )
    x, y = (np.asarray(part) for part in found)
    if not x.ndim or not y.ndim:
        raise ConfigError(
            f"the inputs of {member} must be an array (n, …) and the labels one (n,), found "
            f"{' and '.join(type(part).__name__ for part in found)}",
            hint="a sparse matrix becomes an array by x.toarray()",
        )
    if len(x) != len(y):
        raise ConfigError(f"{member} has {len(x)} inputs and {len(y)} labels, expected one label for each input")
    if not len(x):
        raise ConfigError(f"{member} has no examples, expected at least one to train on", hint="leave the member out")
    return x, y


def site_of(found: object, settings: Settings, classes: int, prepare: Preparation, member: MemberId) -> MemberData:
    """The member's data for a run. Raises ConfigError that names the member and says what its examples are not."""
    rows, labels = pair_of(found, member)
    x, y = prepare.applied(rows, labels, member)
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
        raise ConfigError(
            f"the labels of {member} must be integers of shape ({len(x)},), found {y.dtype} of shape {y.shape}",
            hint="whole numbers in another form become integers by y.astype(int), names by np.unique(…, "
            "return_inverse=True) over all members",
        )
    if not 0 <= y.min() <= y.max() < classes:
        raise ConfigError(
            f"the labels of {member} are {y.min()} … {y.max()}, and those of a model of {classes} classes are "
            f"0 … {classes - 1}",
            hint="count labels from 0, or give the model more classes",
        )
    try:
        return hold_out(x, y, classes=classes, member=member, fraction=settings.learning.held_out, by=rows)
    except ValueError as error:
        raise ConfigError(f"the examples of {member}: {error}") from None


def check_alike(sites: Mapping[MemberId, MemberData]) -> None:
    """Raises ConfigError unless an example has the same shape at every member."""
    (first, here), *others = ((member, data.x_train.shape[1:]) for member, data in sites.items())
    for member, there in others:
        if there != here:
            raise ConfigError(
                f"an example of {first} has shape {here}, one of {member} has shape {there}: expected the same",
                hint="the members' columns have to be the same ones in the same order",
            )


def scales_in_words(sites: Mapping[MemberId, MemberData]) -> tuple[str, ...]:
    """A warning where the columns of a table (n, d) of floats differ in scale by more than 100, or nothing.

    A column's scale is the geometric mean of the sizes of its values other than 0, over all members' training
    examples: a column that is mostly 0 is not a small one.
    """
    tables = [data.x_train for data in sites.values()]
    if any(table.ndim != 2 or not np.issubdtype(table.dtype, np.floating) for table in tables):
        return ()
    logs, counts = np.zeros(tables[0].shape[1]), np.zeros(tables[0].shape[1])
    for table in tables:
        sizes = np.abs(table)
        logs += np.log(sizes, out=np.zeros(table.shape), where=sizes > 0).sum(axis=0)
        counts += (sizes > 0).sum(axis=0)
    scales = logs[counts > 0] / counts[counts > 0]
    apart = float(np.exp(min(np.ptp(scales), _LARGEST_LOG))) if len(scales) else 1.0
    if apart <= _SCALES_APART:
        return ()
    return (
        f"columns differ in scale by {_two_digits(apart):,}x: most models train badly on such inputs; scale them by "
        "public constants or see `phalanx survey`",
    )


def check_names(sites: object, named: object) -> None:
    """Raises ConfigError unless `sites` maps names to examples, and to those of `federation.members` if it is there."""
    if not isinstance(sites, Mapping):
        raise ConfigError(
            f"sites must map each member's name to its examples, found {_said(sites)}",
            hint='{"site-a": (x, y), "site-b": (x, y)}',
        )
    if not sites or not all(isinstance(name, str) for name in sites):
        raise ConfigError(
            f"sites must have names of members, found {', '.join(repr(name) for name in sites) or 'none'}",
            hint='a name is 1 to 63 of a-z, 0-9 and "-", such as "site-0"',
        )
    if named is None:
        return
    listed = {str(name) for name in named} if isinstance(named, tuple | list) else {str(named)}
    missing, extra = sorted(listed - set(sites)), sorted(set(sites) - listed)
    if missing or extra:
        raise ConfigError(
            "federation.members and sites differ: "
            + "; ".join(
                f"{', '.join(names)} {'has' if len(names) == 1 else 'have'} {what}"
                for names, what in ((missing, "no examples"), (extra, "examples and no place in federation.members"))
                if names
            ),
            hint="leave federation.members out: it is then the names in sites",
        )


def _two_digits(value: float) -> int:
    return int(float(f"{value:.1e}"))


def _said(found: object) -> str:
    size = f" of {len(found)}" if isinstance(found, tuple | list) else ""
    return f"a {type(found).__name__}{size}"
