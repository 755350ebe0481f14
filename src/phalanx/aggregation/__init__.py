"""Many updates to one, robustly: `aggregate(rows, rule) -> (vector, report)`."""

from phalanx.aggregation.aggregate import aggregate
from phalanx.aggregation.check import Traits, check_rule
from phalanx.aggregation.sealed_rows import SealedRows
from phalanx.aggregation.unsafe_mean import unsafe_mean
from phalanx.aggregation.weigh import gram_weights
from phalanx.rules import (
    ARC,
    CAF,
    FLAME,
    MDA,
    NNM,
    Bucketing,
    Bulyan,
    CenteredClipping,
    Chain,
    Custom,
    DnC,
    FLTrust,
    FoolsGold,
    GeometricMedian,
    Krum,
    MeaMed,
    Mean,
    Median,
    MoNNA,
    MultiKrum,
    NormClip,
    TrimmedMean,
)

__all__ = [
    "ARC",
    "CAF",
    "FLAME",
    "MDA",
    "NNM",
    "Bucketing",
    "Bulyan",
    "CenteredClipping",
    "Chain",
    "Custom",
    "DnC",
    "FLTrust",
    "FoolsGold",
    "GeometricMedian",
    "Krum",
    "MeaMed",
    "Mean",
    "Median",
    "MoNNA",
    "MultiKrum",
    "NormClip",
    "SealedRows",
    "Traits",
    "TrimmedMean",
    "aggregate",
    "check_rule",
    "gram_weights",
    "unsafe_mean",
]
