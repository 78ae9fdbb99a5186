"""The codecs by name; a new codec is one class and one line here."""

from __future__ import annotations

from wardround.compress.feedback import ErrorFeedback
from wardround.compress.pack import Zstd
from wardround.compress.projections import CountSketch, LowRank
from wardround.compress.quantise import Float32, Integer, Sign, Ternary
from wardround.compress.rotation import Eden
from wardround.compress.sparsify import SparseTernary, Threshold, TopK
from wardround.compress.supports import Importance, RandomK, SharedTop

LINEAR = (RandomK, SharedTop, Importance, CountSketch, LowRank)
"""Those that may stand under a secure sum."""
CODECS = (ErrorFeedback, *LINEAR, TopK, Threshold, Float32, Integer, Ternary, Sign, Eden, SparseTernary, Zstd)
