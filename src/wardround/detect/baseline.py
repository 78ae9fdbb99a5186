"""What is normal for one type of device: benign rows alone, no attack needed. Two views of the same rows, averaged.

    shape       autoencoders of several seeds; each feature's squared error is divided by its usual error, so that a feature
                that is easy to reproduce counts as much as one that is not; mean over features, log, mean over seeds
    spread      squared Mahalanobis distance with a shrunk covariance (OAS: Chen et al., IEEE TSP 2010, eq. 23), from sums
                alone, so that a federation can fit it under a secure sum: then it is the only view (``of_federation``)

Each view's score is put on the scale of its own benign rows (median and upper spread) and the two are averaged, because one view
at a fixed false-positive rate is unstable (research/ids.md 3.1: recall .44 or .79 by the seed) and the maximum of views
lets the noisiest eat the budget (3.2). Features are s(x) = sign(x) log(1 + |x|) of the raw row, missing as 0 with a bit, then
centred and divided by the benign deviation plus a floor, clipped to +-CLIP: the federation's quantile curves saturate at the
benign edge, and an anomaly is what lies beyond it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wardround.arrays import F32, F64
from wardround.errors import DecodeError
from wardround.rng import stream
from wardround.traffic import normal
from wardround.traffic.normal import Spread
from wardround.training.kernels import Network
from wardround.training.layers import layout
from wardround.training.metrics import ScoreBins
from wardround.training.models import Autoencoder
from wardround.training.stacked import StackedEngine
from wardround.training.task import Job, LocalTraining, Rows
from wardround.wire import decode, encode, message

CLIP = 12.0
FLOOR = 0.02
LEAST = 60
"""Benign rows below which there is no baseline to speak of."""
TRAINING = LocalTraining(epochs=60, batch_size=128, optimiser="adamw", learning_rate=0.003)
_PART = 128
"""Rows at a time: the errors of all seeds stay in the cache, and memory does not grow with the batch."""


@message(0x4404)
@dataclass(frozen=True, eq=False)
class Baseline:
    """What is normal: made by ``learn``. f features, k seeds, d parameters of one autoencoder.

    centre, scale [2f]: of the squeezed row and its missing bits. hidden: widths of the autoencoders; parameters [k, d], k = 0
    where a federation learnt the spread alone; usual [k, 2f]: mean squared error of each feature. inverse [2f, 2f]: of the shrunk
    covariance. place, spread [2]: of each view's benign scores. quantiles [f, 3]: raw 5 %, 50 %, 95 %.
    """

    rows: int
    centre: F64
    scale: F64
    hidden: tuple[int, ...]
    parameters: F32
    usual: F64
    inverse: F64
    place: F64
    spread: F64
    quantiles: F64

    def __post_init__(self) -> None:
        f2 = len(self.centre)
        k = len(self.parameters)
        d = (
            layout(Autoencoder(self.hidden).layers(f2, f2)).size
            if 0 < f2 <= 4096 and self.hidden
            else 0
            if k == 0
            else -1
        )
        shapes = {
            "scale": (f2,),
            "parameters": (k, d),
            "usual": (k, f2),
            "inverse": (f2, f2),
            "place": (2,),
            "spread": (2,),
            "quantiles": (f2 // 2, 3),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, not {shape}")

    @property
    def features(self) -> int:
        return len(self.centre) // 2

    def scores(self, x: F32) -> F64:
        """Anomaly score [n] of raw rows ``x`` [n, f]: about 0 for benign ones, in spreads of benign scores above it.

        Raises:
            ValueError: ``x`` has another number of columns.
        """
        found: F64 = _views(self, self._scaled(x)).mean(axis=1)
        return found

    def contributions(self, x: F32) -> F64:
        """Each feature's share of one row's anomaly [f], for raw ``x`` [f]: its normalised error and its part of the distance."""
        z = self._scaled(x[None])
        errors = np.zeros(len(self.centre))
        if len(self.parameters):
            errors = (_errors(self, z) / self.usual[:, None, :]).mean(0)[0]
        centred = z[0].astype(np.float64)
        distance = np.maximum(centred * (self.inverse @ centred), 0.0)
        both = errors / max(errors.sum(), 1e-12) + distance / max(distance.sum(), 1e-12)
        found: F64 = both[: self.features] + both[self.features :]
        return found

    def to_bytes(self) -> bytes:
        return encode(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Baseline:
        """Raises:
        DecodeError: not what ``to_bytes`` wrote.
        """
        found = decode(data, cls)
        if not all(np.isfinite(a).all() for a in (found.centre, found.scale, found.parameters, found.inverse)):
            raise DecodeError("a baseline's numbers are finite")
        return found

    def _scaled(self, x: F32) -> F32:
        if x.ndim != 2 or x.shape[1] != self.features:
            raise ValueError(f"rows of shape {x.shape} for a baseline of {self.features} columns")
        return _scale(_squeeze(x), self.centre, self.scale)


def learn(x: F32, seed: int, seeds: int = 3, hidden: Sequence[int] = (24, 8, 24)) -> Baseline:
    """The baseline of benign raw rows ``x`` [n, f].

    Raises:
        ValueError: fewer than ``LEAST`` rows.
    """
    if len(x) < LEAST:
        raise ValueError(f"a baseline needs {LEAST} benign windows, here are {len(x)}")
    squeezed = _squeeze(x)
    centre = squeezed.mean(0)
    scale = squeezed.std(0) + FLOOR
    z = _scale(squeezed, centre, scale)
    f2 = z.shape[1]
    parameters = _autoencoders(z, seed, seeds, tuple(hidden))
    raw = np.where(np.isfinite(x), x, np.nan).astype(np.float64)
    empty = np.isnan(raw).all(0)
    raw[:, empty] = 0.0
    draft = Baseline(
        rows=len(x),
        centre=centre,
        scale=scale,
        hidden=tuple(hidden),
        parameters=parameters,
        usual=np.ones((seeds, f2)),
        inverse=normal.shrunk_inverse(len(z), z.sum(0, dtype=np.float64), z.T.astype(np.float64) @ z),
        place=np.zeros(2),
        spread=np.ones(2),
        quantiles=np.nanquantile(raw, [0.05, 0.5, 0.95], axis=0).T.copy(),
    )
    usual = np.zeros((seeds, f2))
    for part in _parts(z):
        usual += _errors(draft, part).sum(axis=1)
    usual = np.maximum(usual / len(z), 1e-3)
    draft = replace(draft, usual=usual)
    views = _views(draft, z)
    place = np.median(views, axis=0)
    # the upper spread: from the median to the 99 % point, in normal deviations
    spread = np.maximum((np.quantile(views, 0.99, axis=0) - place) / 2.326, 1e-3)
    return replace(draft, place=place, spread=spread)


def of_federation(spread: Spread, counts: F64) -> tuple[Baseline, F64]:
    """What a federation learnt of one type from sums, as a baseline, and its benign scores counted in ScoreBins.
    ``counts`` [normal.BINS] of distances: none, then scores are the distances themselves.
    """
    f = len(spread.centre)
    place, upper = normal.quantile(counts, 0.5), normal.quantile(counts, 0.99)
    width = max((upper - place) / 2.326, 1e-3) if counts.sum() else 1.0
    inverse = np.zeros((2 * f, 2 * f))
    inverse[:f, :f] = spread.inverse / f  # the distance per column
    usual = [normal.unsqueeze(spread.centre + k * spread.scale) for k in (-1.645, 0.0, 1.645)]
    made = Baseline(
        rows=spread.rows,
        centre=np.concatenate([spread.centre, np.zeros(f)]),
        scale=np.concatenate([spread.scale, np.ones(f)]),
        hidden=(),
        parameters=np.zeros((0, 0), np.float32),
        usual=np.ones((0, 2 * f)),
        inverse=inverse,
        place=np.array([0.0, place]),
        spread=np.array([1.0, width]),
        quantiles=np.stack(usual, axis=1),
    )
    bins = ScoreBins()
    return made, normal.fine(counts, place, width, (bins.count, bins.lo, bins.hi))


def _squeeze(x: F32) -> F64:
    """Squeezed values and missing bits [n, 2f]."""
    missing = np.isnan(x)
    with np.errstate(all="ignore"):
        values = np.copysign(np.log1p(np.abs(np.nan_to_num(x, nan=0.0, posinf=1e9, neginf=-1e9).astype(np.float64))), x)
    return np.concatenate([np.where(missing, 0.0, values), missing], axis=1)


def _scale(squeezed: F64, centre: F64, scale: F64) -> F32:
    found: F32 = np.clip((squeezed - centre) / scale, -CLIP, CLIP).astype(np.float32)
    return found


def _autoencoders(z: F32, seed: int, seeds: int, hidden: tuple[int, ...]) -> F32:
    """Parameters [seeds, d], trained as one stack."""
    f2 = z.shape[1]
    model = Autoencoder(hidden)
    engine = StackedEngine(model, TRAINING, f2, f2)
    rows = Rows(z, np.zeros(len(z), np.int64))
    starts = [model.init(f2, f2, stream(seed, "baseline", k)) for k in range(seeds)]
    jobs = [Job(k, rows, stream(seed, "baseline batches", k), start) for k, start in enumerate(starts)]
    trained = engine.train(jobs)
    found = np.stack([start + result.delta for start, result in zip(starts, trained, strict=True)])
    return np.nan_to_num(found).astype(np.float32)


def _errors(b: Baseline, z: F32) -> F64:
    """Squared errors [k, n, 2f] of at most ``_PART`` rows."""
    k, f2 = b.parameters.shape[0], z.shape[1]
    network = Network(Autoencoder(b.hidden).layers(f2, f2), b.parameters, None, max(1, len(z)))
    outputs = network.forward(np.broadcast_to(z, (k, *z.shape)))
    found: F64 = np.square(outputs - z, dtype=np.float64)
    return found


def _parts(z: F32) -> list[F32]:
    return [z[at : at + _PART] for at in range(0, len(z), _PART)]


def _views(b: Baseline, z: F32) -> F64:
    """The views [n, 2] on the scale of benign rows ([n, 1] without autoencoders)."""
    found = [_some_views(b, part) for part in _parts(z)]
    return np.concatenate(found) if found else np.zeros((0, 2 if len(b.parameters) else 1))


def _some_views(b: Baseline, z: F32) -> F64:
    centred = z.astype(np.float64)
    spread = np.log(np.maximum(np.einsum("nf,fg,ng->n", centred, b.inverse, centred), 1e-12))
    if not len(b.parameters):
        alone: F64 = ((spread - b.place[1]) / b.spread[1])[:, None]
        return alone
    errors = _errors(b, z)
    shape = np.log(np.maximum((errors / b.usual[:, None, :]).mean(2), 1e-12)).mean(0)
    found: F64 = (np.stack([shape, spread], axis=1) - b.place) / b.spread
    return found
