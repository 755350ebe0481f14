"""What a rule makes of one row that all colluders send, for many such rows at once, without sending any.

For a rule that is a function of the Gram matrix the answer is exact and costs no pass over the rows. A coordinate-wise
rule is asked on a sample of the columns, so that its answer is an estimate; what is decided by whole rows (clipping,
mixing, Bulyan's choice) is decided by them even then.

Letters: `h` honest rows with mean μ, `f` hostile ones after them, n = h + f; `m` coefficients over the basis, `t` rows
to be tried, `s` sampled columns. F is the aggregate.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from phalanx import kernels
from phalanx.aggregation import aggregate, bulyan
from phalanx.aggregation.gram import Gram
from phalanx.aggregation.weigh import check_quorum, premixed, weighed
from phalanx.attacks.basis import LARGEST, Basis
from phalanx.errors import NotAvailable
from phalanx.rules import Bulyan, Chain, CoordinateRule, GramRule, Rule
from phalanx.types import F32, F64

SAMPLED_COLUMNS = 4096
_GOLDEN = (5**0.5 - 1) / 2
_ELEMENTS = 1 << 22  # of the rows that are handed to a coordinate-wise rule at once: 16 MiB


@dataclass(frozen=True, slots=True)
class Response:
    """(t,) each: ‖F - μ‖; <F, μ> / ‖μ‖², NaN if μ is zero; and the hostile rows' weight in F, NaN if not known."""

    deviation: F64
    progress: F64
    share: F64


@dataclass(frozen=True, slots=True)
class Sample:
    """Some columns: the honest rows (h, s) there, and the vectors (m, s) of the basis."""

    honest: F32 = field(repr=False)
    vectors: F64 = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A rule among honest rows and f colluders. `sample` is there for a coordinate-wise rule, and only then."""

    basis: Basis
    chain: Chain
    f: int
    sample: Sample | None

    @property
    def exact(self) -> bool:
        """Whether all columns have a say in the responses."""
        return self.sample is None or self.sample.honest.shape[1] == self.basis.d

    def respond(self, tried: F64) -> Response:
        """(t, m) coefficients of hostile rows -> what becomes of the aggregate under each."""
        if self.sample is not None:
            return _on_columns(self, self.sample, tried)
        return _on_gram(self, tried)


def target(chain: Chain, basis: Basis, f: int) -> Target:
    """The rule to be attacked. Its reference, if any, is the basis' direction of that name.

    Raises QuorumError if h + f rows are too few for the chain, NotAvailable if it judges rows by their history.
    """
    if "history" in chain.needs:
        raise NotAvailable(f"{chain.rule.name} weighs rows by their past updates; the search sees one round only")
    check_quorum(chain, basis.h + f)
    if not isinstance(chain.rule, CoordinateRule):
        return Target(basis, chain, f, None)
    where = sampled_columns(basis.d, SAMPLED_COLUMNS)
    return Target(basis, chain, f, Sample(np.take(basis.honest, where, axis=1), basis.columns(where)))


def sampled_columns(d: int, count: int) -> npt.NDArray[np.intp]:
    """At most `count` of d columns, spread evenly, the same in every call; all of them if there are no more.

    Multiples of the golden ratio, not a stride: that might fall on the same few inputs of a layer again and again.
    """
    if d <= count:
        return np.arange(d)
    return np.unique((np.arange(count) * _GOLDEN % 1.0 * d).astype(np.intp))


def _on_gram(target: Target, tried: F64) -> Response:
    basis, h, n = target.basis, target.basis.h, target.basis.h + target.f
    if not isinstance(target.chain.rule, GramRule):
        raise ValueError(f"a chain ends in a rule, got {target.chain.rule!r}")
    hostile = tried - basis.at(mean=1.0)  # as seen from the mean
    moved = np.zeros_like(tried)  # coefficients of F - μ
    share = np.zeros(len(tried))
    for i, view in enumerate(_views(basis, hostile, target.f)):
        counted, _ = weighed(target.chain, target.chain.rule, view)
        share[i] = counted[h:n].sum()
        moved[i] = share[i] * hostile[i]
        moved[i, :h] += counted[:h]
        moved[i, h] += counted.sum() - 1.0
        if len(counted) > n:
            moved[i] += basis.at(reference=float(counted[n]))
    squares = np.einsum("ij,ij->i", moved @ basis.products, moved)
    progress = _progress(moved @ basis.products[:, h], float(basis.products[h, h]))
    return Response(np.sqrt(np.maximum(squares, 0.0)), progress, share)


def _views(basis: Basis, hostile: F64, f: int) -> list[Gram]:
    """The Gram matrix of honest rows and f copies, one for each of the hostile rows (t, m) as seen from the mean.

    The centre is μ. Copies have the same products to the last bit, so that they are at distance zero of each other.
    """
    P, h = basis.products, basis.h
    has_reference = "reference" in basis.directions
    # In the small matrix the hostile row has the place of μ, and μ comes last.
    kept = [*range(h), h, *([h + 1 + basis.directions.index("reference")] if has_reference else []), h]
    small = P[np.ix_(kept, kept)]
    copied = np.r_[0:h, [h] * f, h + 1 : len(kept)]
    crossed = hostile @ P
    squares = np.einsum("ij,ij->i", crossed, hostile)
    views = []
    for products, square in zip(crossed[:, kept], squares, strict=True):
        small[h] = small[:, h] = products
        small[h, h] = max(square, 0.0)
        views.append(Gram(small[np.ix_(copied, copied)], has_reference))
    return views


def _on_columns(target: Target, sample: Sample, tried: F64) -> Response:
    basis, (h, s) = target.basis, sample.honest.shape
    mean = sample.vectors[h]
    moved = np.empty((len(tried), s))
    # A coordinate-wise rule minds no neighbours: the columns under several hostile rows are put to it side by side.
    at_once = max(1, _ELEMENTS // (s * (h + target.f)))
    for start in range(0, len(tried), at_once):
        stop = min(start + at_once, len(tried))
        rows = np.hstack(_seen_by_rule(target, sample, tried[start:stop]))
        moved[start:stop] = _rule_alone(rows, target.chain.rule).reshape(-1, s) - mean
    # In units of the spread on the same columns: the few loud ones among them weigh on both.
    spread = float(np.sqrt(np.square(sample.vectors[:h]).sum() / h))
    unit = basis.spread / spread if spread > 0.0 else np.sqrt(basis.d / s)
    progress = _progress(moved @ mean, float(mean @ mean))
    return Response(unit * np.sqrt(np.square(moved).sum(axis=1)), progress, np.full(len(tried), np.nan))


def _seen_by_rule(target: Target, sample: Sample, tried: F64) -> list[F32]:
    """For each hostile row, the sampled columns of what the rule sees: the rows mixed, or those that Bulyan chooses."""
    hostile = np.clip(tried @ sample.vectors, -LARGEST, LARGEST).astype(np.float32)
    blocks = [np.vstack([sample.honest, *[row] * target.f]) for row in hostile]
    rule = target.chain.rule
    if not (target.chain.pre or isinstance(rule, Bulyan)):
        return blocks
    for i, view in enumerate(_views(target.basis, tried - target.basis.at(mean=1.0), target.f)):
        mixing, mixed = premixed(target.chain, view)
        if isinstance(rule, Bulyan):
            mixing = mixing[bulyan.selection(rule, mixed)]
        blocks[i] = (mixing @ blocks[i].astype(np.float64)).astype(np.float32)
    return blocks


def _rule_alone(rows: F32, rule: Rule) -> F32:
    if isinstance(rule, Bulyan):  # its choice is made
        return kernels.mean_near_median(kernels.Seen(rows), len(rows) - 2 * rule.f)[0]
    return aggregate(rows, rule)[0]


def _progress(toward_mean: F64, square: float) -> F64:
    """1 + <F - μ, μ> / ‖μ‖²."""
    return 1.0 + toward_mean / square if square > 0.0 else np.full(len(toward_mean), np.nan)


def measure(chain: Chain, honest: F32, row: F32, f: int, reference: F32 | None = None) -> tuple[float, float]:
    """Deviation and progress, as in `Response`, of really aggregating honest rows (h, d) and f times `row` (d,)."""
    vector, _ = aggregate(np.vstack([honest, *[row] * f]), chain, reference=reference)
    mean = honest.sum(axis=0, dtype=np.float64) / len(honest)
    moved = vector - mean
    progress = _progress(np.array([moved @ mean]), float(mean @ mean))
    return float(np.sqrt(moved @ moved)), float(progress[0])
