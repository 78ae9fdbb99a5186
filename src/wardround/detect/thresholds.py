"""From benign scores to an alert threshold: histograms that add up, a target rate, a site's own offset, p-values.

Every site counts its benign scores in the same fixed bins (``metrics.ScoreBins``); counts travel in a secure sum, so the
federation's threshold is known and nobody's scores are. Each detector gets its own share of the false-alarm budget and its own
threshold (docs/design/0610): the union of detectors then stays within the budget, whatever their scores depend on (Bonferroni).

    threshold(counts, r)   the score that a share r of the counted benign rows exceeds; between two bin edges by straight line;
                           where fewer than three
                           counted rows would lie above, by the exponential tail that the top 3 % of them say
    Calibration            the federation's counts as a prior, the site's own once it has 10 / r benign rows, at most REACH away

Laws: counts add up; a threshold never rises with the rate; p-values lie in [1/(n+1), 1] and never rise with the score.
What it does not do: score (scorer.py), travel (federation/measure.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from wardround.arrays import F64
from wardround.training.metrics import ScoreBins
from wardround.wire import message

BINS = ScoreBins()
ENOUGH = 10
"""A site's own threshold at rate r counts from 10 / r benign rows on (with fewer, sites asked for 1 % got 0.6 % to 3.7 %)."""
PROVISIONAL = 200
"""Where no federation says anything, a site's own rows count from so many on, by their tail: better than silence."""
TAIL = 0.03
"""Share of the highest benign scores that the exponential tail is fitted to."""
LEAST_TAIL = 15
COUNTED = 3.0
REACH = 6.0
"""How far a site may move the federation's threshold, in log odds: who poisons a site's baseline gets no further."""


def counts(scores: F64) -> F64:
    """Benign ``scores`` [n] as counts [bins]."""
    found: F64 = BINS.histogram(scores, np.zeros(len(scores), dtype=np.bool_))[0].astype(np.float64)
    return found


def threshold(benign: F64, rate: float) -> float:
    """The score that a share ``rate`` of the rows counted in ``benign`` [bins] exceeds; infinite for no rows.

    Where fewer than three rows would lie above, counting says little, and the exponential tail speaks.

    Raises:
        ValueError: ``rate`` is not between 0 and 1, or the counts have another length.
    """
    if not 0 < rate < 1 or benign.shape != (BINS.count,):
        raise ValueError(f"a rate between 0 and 1 and {BINS.count} counts, not {rate} and {benign.shape}")
    rows = float(benign.sum())
    if rows <= 0:
        return math.inf
    wanted = rate * rows
    tail = _tail(benign, rows)
    if tail is not None and wanted < COUNTED:
        return tail.exceeded_by(wanted)
    above = np.concatenate([np.cumsum(benign[::-1])[::-1], [0.0]])  # rows above each lower edge; none above the last
    first = int(np.searchsorted(-above, -wanted))
    first = min(max(first, 1), BINS.count)
    high, low = above[first - 1], above[first]
    share = (high - wanted) / (high - low) if high > low else 1.0  # the rows of a bin lie evenly in it
    return _edge(first - 1) + min(max(share, 0.0), 1.0) * _width()


def p_value(benign: F64, scores: F64) -> F64:
    """Conformal p-values [n]: (1 + benign rows that score at least as high) / (1 + benign rows), by bin (Vovk et al. 2005)."""
    above = np.cumsum(benign[::-1])[::-1]
    position = (np.clip(np.nan_to_num(scores, nan=BINS.hi), BINS.lo, BINS.hi) - BINS.lo) / _width()
    index = np.minimum(position.astype(np.int64), BINS.count - 1)
    found: F64 = (1.0 + above[index]) / (1.0 + benign.sum())
    return found


@message(0x4401)
@dataclass(frozen=True, eq=False)
class Calibration:
    """One detector's threshold at a site. ``rate``: its share of the budget; ``federation`` [bins] and ``site`` [bins]: counts
    of benign scores; ``fixed``: a threshold that came with the model, used where the federation sent no counts (NaN: none).
    """

    rate: float
    federation: F64 = field(default_factory=lambda: np.zeros(BINS.count))
    site: F64 = field(default_factory=lambda: np.zeros(BINS.count))
    fixed: float = math.nan

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            raise ValueError(f"a false-alarm rate lies between 0 and 1, not {self.rate}")
        for name in ("federation", "site"):
            held = getattr(self, name)
            if held.shape != (BINS.count,) or not np.isfinite(held).all() or (held < 0).any():
                raise ValueError(f"{name} should be {BINS.count} counts")

    def with_site(self, scores: F64) -> Calibration:
        """After more benign ``scores`` of this site."""
        return replace(self, site=self.site + counts(scores))

    @property
    def own(self) -> bool:
        """Has the site enough benign rows of its own?"""
        return float(self.site.sum()) >= ENOUGH / self.rate

    @property
    def prior(self) -> float:
        """The federation's threshold; infinite where it is not known."""
        if self.federation.sum():
            return threshold(self.federation, self.rate)
        return math.inf if math.isnan(self.fixed) else self.fixed

    @property
    def offset(self) -> float:
        """What the site adds to the federation's threshold: 0 before it has enough rows, never beyond +-``REACH``."""
        if not self.own or not math.isfinite(self.prior):
            return 0.0
        return min(max(threshold(self.site, self.rate) - self.prior, -REACH), REACH)

    @property
    def value(self) -> float:
        """Alert above it; infinite where neither federation nor site can tell: then this detector is silent."""
        if math.isfinite(self.prior):
            return self.prior + self.offset
        return threshold(self.site, self.rate) if self.site.sum() >= PROVISIONAL else math.inf

    @property
    def counted(self) -> bool:
        """Does the threshold come from counts?"""
        return self.own or bool(self.federation.sum()) or (self.site.sum() >= PROVISIONAL and math.isnan(self.fixed))

    def stricter(self, times: float) -> float:
        """The threshold of a rate so many ``times`` smaller; where nothing was counted, the threshold itself."""
        if not self.counted or not math.isfinite(self.value):
            return self.value
        basis = self.site if self.own or not self.federation.sum() else self.federation
        return self.value + max(0.0, threshold(basis, self.rate / times) - threshold(basis, self.rate))

    def p_values(self, scores: F64) -> F64:
        """Of the site's own benign rows where it has enough, else of the federation's."""
        return p_value(self.site if self.own or not self.federation.sum() else self.federation, scores)

    @property
    def status(self) -> str:
        """For people: what the threshold stands on."""
        have, need = int(self.site.sum()), math.ceil(ENOUGH / self.rate)
        if self.own:
            return f"own threshold from {have} benign windows"
        basis = (
            "the federation's threshold"
            if math.isfinite(self.prior)
            else "provisional"
            if have >= PROVISIONAL
            else "silent"
        )
        return f"{basis}; learning {have}/{need}"


@dataclass(frozen=True)
class _Tail:
    """Scores above ``start`` fall off as exp(-(s - start) / scale); ``rows`` of them."""

    start: float
    scale: float
    rows: float

    def exceeded_by(self, wanted: float) -> float:
        return min(self.start + self.scale * math.log(self.rows / wanted), BINS.hi)


def _tail(benign: F64, rows: float) -> _Tail | None:
    """The exponential tail of the top ``TAIL``, by maximum likelihood (mean excess); None for fewer than ``LEAST_TAIL`` rows."""
    above = np.cumsum(benign[::-1])[::-1]
    first = int(np.searchsorted(-above, -TAIL * rows))
    if first >= BINS.count or above[first] < LEAST_TAIL:
        return None
    start = _edge(first)
    middles = np.arange(first, BINS.count) * _width() + _width() / 2 + BINS.lo - start
    scale = float((benign[first:] * middles).sum() / above[first])
    return _Tail(start, max(scale, _width()), float(above[first]))


def _edge(number: int) -> float:
    return BINS.lo + number * _width()


def _width() -> float:
    return (BINS.hi - BINS.lo) / BINS.count
