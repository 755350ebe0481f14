"""Aggregation rules as frozen values: what to do, how many rows it needs, how far one member can move the result.

A rule says nothing about how it is computed: `phalanx.aggregation` runs it in the clear. Rules come in two families,
functions of the Gram matrix and coordinate-wise rules. Pre-steps compose with `>>`:
`ARC(f=2) >> NNM(f=2) >> CAF(f=2)`.
"""

from phalanx.rules.coordinate import Bulyan, MeaMed, Median, TrimmedMean
from phalanx.rules.gram import (
    CAF,
    FLAME,
    MDA,
    CenteredClipping,
    Custom,
    DnC,
    FLTrust,
    FoolsGold,
    GeometricMedian,
    Krum,
    Mean,
    MoNNA,
    MultiKrum,
)
from phalanx.rules.rule import Chain, CoordinateRule, GramRule, PreStep, Rule, Steps
from phalanx.rules.steps import ARC, NNM, Bucketing, NormClip

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
    "CoordinateRule",
    "Custom",
    "DnC",
    "FLTrust",
    "FoolsGold",
    "GeometricMedian",
    "GramRule",
    "Krum",
    "MeaMed",
    "Mean",
    "Median",
    "MoNNA",
    "MultiKrum",
    "NormClip",
    "PreStep",
    "Rule",
    "Steps",
    "TrimmedMean",
]
