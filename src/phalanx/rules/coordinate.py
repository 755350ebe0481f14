"""Coordinate-wise rules. They treat every coordinate by itself, and rows alike."""

from __future__ import annotations

from dataclasses import dataclass

from phalanx.rules.rule import CoordinateRule, Tolerant


@dataclass(frozen=True, slots=True)
class Median(Tolerant, CoordinateRule):
    """Coordinate-wise median.  Yin et al., ICML 2018, Definition 1. n > 2f."""

    name = "median"


@dataclass(frozen=True, slots=True)
class TrimmedMean(Tolerant, CoordinateRule):
    """Coordinate-wise mean without the f largest and f smallest. n > 2f.  Yin et al., ICML 2018, Definition 2."""

    name = "trimmed-mean"


@dataclass(frozen=True, slots=True)
class MeaMed(Tolerant, CoordinateRule):
    """Coordinate-wise mean of the n-f values nearest to the median. n > 2f.  Xie et al., 2018 (1802.10116), 4.2."""

    name = "meamed"


@dataclass(frozen=True, slots=True)
class Bulyan(Tolerant, CoordinateRule):
    """Krum chooses θ = n-2f rows one by one; then the mean of the θ-2f values nearest to their median.

    n >= 4f + 3.  El Mhamdi et al., ICML 2018, section 4.
    """

    name = "bulyan"
    per_f = 4
    slack = 3
