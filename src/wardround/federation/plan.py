"""What server and clients agree on before the first message: the same plan on both sides, none of it secret."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from wardround.aggregate.optimise import ServerOptimiser
from wardround.aggregate.rules import Rule
from wardround.arrays import F32, F64, I64, Bool
from wardround.compress.budget import Ring
from wardround.compress.table import Compress
from wardround.federation.algorithms import Algorithm
from wardround.federation.clusters import models_of
from wardround.federation.coding import Coder
from wardround.federation.privacy import Privacy
from wardround.federation.staleness import Asynchronous
from wardround.federation.trust import Watch
from wardround.params import Layout
from wardround.traffic import normal
from wardround.traffic.normal import NormalTraffic, Spread
from wardround.traffic.preprocess import Preprocessor
from wardround.traffic.scaling import Scaling
from wardround.traffic.table import Labels, Schema
from wardround.training import limits, priors, unknown
from wardround.training.limits import TypeLimits
from wardround.training.models import Model
from wardround.training.personal import Common, Personal
from wardround.training.task import Engine, LocalTraining


@dataclass(frozen=True)
class Schedule:
    """The course of the federation, as ``[rounds]`` says it (config.Rounds)."""

    rounds: int
    measure_every: int
    keep: Literal["last", "best"]
    cohort_size: int
    retries: int


@dataclass(frozen=True)
class Plan:
    """Everything fixed for a federation.

    ``weighting`` and ``weight_cap`` are the server's policy for clients' weights: whole numbers, none above the cap
    (0: set from the summed statistics), so that no client can claim more. ``protected``: sums are secure (layer 2), so
    update values travel within a reach (reach.py). ``compress``: the codecs (coding.py); ``identity`` names the federation
    in what is drawn publicly; ``ring``: the secure sum's numbers, None where sums are open. ``trust``: group testing (trust.py).
    ``privacy``: noise in the updates (privacy.py). ``normal``: a benign-only baseline by the sums (traffic/normal.py), for
    each of
    ``kinds``, the types of device that the rows tell apart. ``limits``: a threshold of its own for a type that alarms more than
    all do (training/limits.py).
    """

    schema: Schema
    labels: Labels
    scaling: Scaling
    model: Model
    training: LocalTraining
    algorithm: Algorithm
    rule: Rule
    optimiser: ServerOptimiser
    schedule: Schedule
    weighting: Literal["rows", "sqrt", "uniform"]
    weight_cap: int
    protected: bool = False
    personal: Personal = Common()
    compress: Compress = field(default_factory=Compress)
    identity: bytes = b""
    ring: Ring | None = None
    asynchronous: Asynchronous = Asynchronous()
    trust: Watch = Watch()
    privacy: Privacy = Privacy()
    normal: NormalTraffic = NormalTraffic()
    kinds: tuple[str, ...] = ()
    limits: TypeLimits = TypeLimits()

    @property
    def packs(self) -> bool:
        """Whether open answers of counts alone travel packed."""
        return self.compress != Compress() and not self.protected

    @property
    def statistics(self) -> int:
        """Length of the summed statistics: clients, scaling, gateways of each type, moments of normal rows, labels."""
        return 1 + self.scaling.size(self.schema) + self.holders + self.moments + self.classes

    @property
    def holders(self) -> int:
        """Length of the numbers of gateways that have benign rows of a type; 0 where types have no limits."""
        return len(self.kinds) if self.limits.even else 0

    @property
    def moments(self) -> int:
        """Length of the moments of normal rows; 0 where no baseline is learnt."""
        return (1 + len(self.kinds)) * normal.width(len(self.schema.columns)) if self.normal.fit else 0

    @property
    def distances(self) -> int:
        """Length of the counts of normal rows by their distance, in a measurement."""
        return (1 + len(self.kinds)) * normal.BINS if self.normal.fit else 0

    @property
    def margins(self) -> int:
        """Length of the counts of benign rows by margin and type, in a measurement."""
        return self.holders * limits.BINS

    @property
    def classes(self) -> int:
        return len(self.labels.names)

    def weight(self, rows: int, heaviest: int) -> int:
        """A client's weight: 0 without rows."""
        if rows == 0:
            return 0
        wanted = {"rows": rows, "sqrt": max(1, round(math.sqrt(rows))), "uniform": 1}[self.weighting]
        return min(heaviest, wanted)

    def heaviest(self, rows: float, clients: float) -> int:
        """The cap on weights: ``weight_cap``, or by default four times the mean (rows and clients come as sums)."""
        if self.weighting == "uniform":
            return 1
        mean = rows / max(clients, 1.0)
        typical: float = mean if self.weighting == "rows" else mean**0.5
        return self.weight_cap or max(1, int(4 * typical + 0.5))


@dataclass(frozen=True, eq=False)
class Prepared:
    """What the federation's summed statistics say: the same for everyone who knows the sum.

    ``layout`` of the model for the inputs found; ``class_weights`` [classes] or None; ``prior`` [classes]: label shares;
    ``heaviest``: the largest weight a client can have. Updates are scaled by weight / heaviest, so that none leaves
    [-1, 1] times its block, whatever is claimed. ``coder``: the codecs for this model; None without ``[compress]``.
    ``normal``: what is normal for all devices and for each type; empty without ``[normal]``. ``asked`` [kinds]: types that enough
    gateways have, for which margins are counted; empty where types have no limits.
    """

    preprocessor: Preprocessor
    layout: Layout
    class_weights: F32 | None
    prior: F64
    heaviest: int
    coder: Coder | None = None
    normal: tuple[Spread | None, ...] = ()
    asked: Bool = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))


def prepare(plan: Plan, totals: F64) -> Prepared:
    """Read the summed statistics: clients, scaling, gateways of each type, moments of normal rows, label counts [classes].

    Raises:
        ValueError: the totals do not fit the schema.
    """
    counts = totals[-plan.classes :]
    before = totals.size - 1 - plan.classes - plan.moments
    scaling, holders, moments = np.split(totals[1 : -plan.classes], [before - plan.holders, before])
    preprocessor = plan.scaling.fit(plan.schema, scaling)
    inputs = len(preprocessor.names)
    layout = plan.model.layout(inputs, plan.classes)
    heaviest = plan.heaviest(float(counts.sum()), float(totals[0]))
    prior = counts / max(counts.sum(), 1.0)
    spreads = normal.fit(moments, len(plan.schema.columns), plan.normal.least) if plan.normal.fit else ()
    weights, asked = class_weights(plan, counts), holders >= plan.limits.gateways
    return Prepared(preprocessor, layout, weights, prior, heaviest, coder(plan, layout), spreads, asked)


def served(plan: Plan, prepared: Prepared, parameters: F32) -> tuple[Model, F32]:
    """The model as it goes into service: (model, parameters), with the alarm for unknown words where the plan has one."""
    if plan.training.unknown_words == "ignore" or plan.labels.benign is None:
        return plan.model, parameters
    return unknown.extended(
        plan.model, parameters, plan.classes, prepared.preprocessor.categories(), plan.labels.benign
    )


def watchful(plan: Plan, prepared: Prepared, engine: Engine) -> Engine:
    """``engine`` as the plan's models are judged: with the alarm for unknown words where the plan has one (once)."""
    if plan.training.unknown_words == "ignore" or plan.labels.benign is None or isinstance(engine, unknown.Watchful):
        return engine
    return unknown.Watchful(engine, prepared.preprocessor.categories(), plan.labels.benign)


def type_limits(plan: Plan, measures: F64) -> F32:
    """The limit of each type of device [kinds] that the summed ``measures`` say; zeros where there are none."""
    if not plan.margins or not measures.size:
        return np.zeros(len(plan.kinds), dtype=np.float32)
    return limits.read(measures[plan.distances : plan.distances + plan.margins], plan.limits.strength)


def coder(plan: Plan, layout: Layout) -> Coder | None:
    """The codecs for a model of ``layout``, or for several in one vector; None: whole float32 vectors travel.

    Raises:
        ValueError: a budget is too small for this model.
    """
    if plan.compress == Compress():
        return None
    return Coder(plan.compress, plan.identity, layout.times(models_of(plan.algorithm)), plan.ring)


def class_weights(plan: Plan, counts: F64) -> F32 | None:
    """Loss weight of each class from the federation's label counts [classes]; None where all weigh the same."""
    if plan.training.class_weighting == "none":
        return None
    present = counts > 0
    balanced = np.where(present, counts.sum() / (present.sum() * np.maximum(counts, 1.0)), 0.0)
    weights = np.sqrt(balanced) if plan.training.class_weighting == "sqrt" else balanced
    return weights.astype(np.float32)


def label_offset(plan: Plan, prepared: Prepared, y: I64) -> F32 | None:
    """What a client with labels ``y`` adds to its logits [classes] while it trains; None without ``logit_adjustment``."""
    training = plan.training
    if not training.logit_adjustment or plan.model.unsupervised:
        return None
    counts = np.bincount(y, minlength=plan.classes).astype(np.float64)
    own = priors.floored(counts, prepared.prior, training.adjustment_floor)
    return np.float32(training.logit_adjustment) * priors.offset(own, prepared.prior)
