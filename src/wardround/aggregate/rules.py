"""The rules by name; a new rule is one file and one line here."""

from __future__ import annotations

from wardround.aggregate.mean import Mean, NormClipping, UniformMean
from wardround.aggregate.rule import Combined, Context, Rule, RuleState

RULES: tuple[type[Rule], ...] = (Mean, UniformMean, NormClipping)

__all__ = ["RULES", "Combined", "Context", "Rule", "RuleState"]
