"""Many updates to one, robustly: `aggregate(rows, rule) -> (vector, report)`."""

from phalanx.aggregation.aggregate import aggregate
from phalanx.aggregation.unsafe_mean import unsafe_mean
from phalanx.rules import ARC, CAF, NNM, Chain, Krum, Mean, Median, MultiKrum, NormClip, TrimmedMean

__all__ = [
    "ARC",
    "CAF",
    "NNM",
    "Chain",
    "Krum",
    "Mean",
    "Median",
    "MultiKrum",
    "NormClip",
    "TrimmedMean",
    "aggregate",
    "unsafe_mean",
]
