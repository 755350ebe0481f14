"""A little is enough (ALIE): z standard deviations from the mean, in every coordinate, where honest rows lie too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from statistics import NormalDist

from phalanx.attacks.basis import Basis
from phalanx.attacks.line_search import Line, best_response
from phalanx.attacks.min_max import gammas
from phalanx.attacks.plan import Harm, Plan
from phalanx.attacks.response import Target


def z_max(n: int, f: int) -> float:
    """How many σ away f of n rows still find the honest supporters that they need for a majority.

    Φ⁻¹((n-f-s) / (n-f)) with s = floor(n/2 + 1) - f supporters.  Baruch et al., NeurIPS 2019, Algorithm 3.
    Raises ValueError where the colluders need none (f > n/2), or more than there are.
    """
    honest, supporters = n - f, n // 2 + 1 - f
    if not 0 < supporters < honest:
        raise ValueError(f"z_max needs 0 < s < n - f supporters, got n={n}, f={f} with s={supporters}")
    return NormalDist().inv_cdf((honest - supporters) / honest)


def alie(target: Target, harm: Harm) -> Iterator[Plan]:
    """μ + zσ with the z of most harm, of either sign."""
    basis = target.basis
    line = _line(basis, (*_papers_z(target), *(-gamma for gamma in gammas(basis, basis.at(sigma=-1.0)))))
    z = best_response(target, line, harm)
    yield Plan("alie", line.at(z), {"z": z})


def alie_z_max(target: Target, harm: Harm) -> Iterator[Plan]:
    """μ ± zσ with the paper's z. None where it is not defined."""
    for z in _papers_z(target):
        yield Plan("alie-z-max", _line(target.basis).at(z), {"z": z})


def _line(basis: Basis, marks: Iterable[float] = ()) -> Line:
    return Line(basis.at(mean=1.0), basis.at(sigma=1.0), tuple(marks), both_signs=True)


def _papers_z(target: Target) -> tuple[float, ...]:
    """z_max of both signs, or none where it is not defined."""
    try:
        z = z_max(target.basis.h + target.f, target.f)
    except ValueError:
        return ()
    return (z, -z)
