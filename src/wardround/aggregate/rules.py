"""The rules by name; a new rule is one file and one line here."""

from __future__ import annotations

from wardround.aggregate.centre import CentredClipping, GeometricMedian
from wardround.aggregate.coordinate import Median, TrimmedMean
from wardround.aggregate.mean import Mean, NormClipping, UniformMean
from wardround.aggregate.rooted import FLTrust, RootedMean, Zeno
from wardround.aggregate.rule import Combined, Context, Rule, RuleState
from wardround.aggregate.selection import Bulyan, Krum, MultiKrum
from wardround.aggregate.spectral import DnC

RULES: tuple[type[Rule], ...] = (
    Mean,
    UniformMean,
    NormClipping,
    Median,
    TrimmedMean,
    Krum,
    MultiKrum,
    Bulyan,
    GeometricMedian,
    CentredClipping,
    DnC,
    FLTrust,
    RootedMean,
    Zeno,
)

__all__ = ["RULES", "Combined", "Context", "Rule", "RuleState"]
