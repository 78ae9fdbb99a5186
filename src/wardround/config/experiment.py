"""The tables of an experiment as frozen dataclasses: what a TOML file can say, and each key's range.

What it does not do: rules between tables (checks.py), reading and writing TOML (toml.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from wardround.aggregate.optimise import ServerOptimiser
from wardround.aggregate.rules import Rule
from wardround.auth.choice import AuthChoice
from wardround.compress.table import Compress
from wardround.federation.algorithms import Algorithm
from wardround.federation.participation import Participation, Weather
from wardround.federation.privacy import Privacy
from wardround.federation.robust import Robust
from wardround.federation.staleness import Asynchronous
from wardround.federation.trust import Watch
from wardround.secagg.choice import SumChoice
from wardround.traffic.gaps import Gaps
from wardround.traffic.normal import NormalTraffic
from wardround.traffic.partition import Partition
from wardround.traffic.root import RootSet
from wardround.traffic.scaling import Scaling
from wardround.traffic.split import SplitStrategy
from wardround.training.limits import TypeLimits
from wardround.training.models import Model
from wardround.training.personal import Personal
from wardround.training.priors import Prior
from wardround.training.task import LocalTraining


def strategy(kind: str, default: str = "") -> Any:
    """A field that holds a strategy of ``kind``; its table names it with ``use``; ``default``: where the table is absent."""
    return field(metadata={"kind": kind, "use": default})


@dataclass(frozen=True)
class Rounds:
    """The course of the federation.

    Attributes:
        count: training rounds.
        measure_every: rounds between two measurements on the clients' validation rows (the last is always measured).
        keep: which model comes out: of the ``last`` round or the ``best`` measured one (validation macro-F1; for
            autoencoders validation ROC-AUC).
        cohort_size: clients whose answers are summed before the rule sees them; 0: all in one cohort.
        weighting: the server's policy for clients' weights: by ``rows`` (at most ``weight_cap``), their ``sqrt``, or ``uniform``.
        weight_cap: no client weighs more than this; 0: four times the mean, known from the summed label counts.
        exchange_retries: how often set-up is tried again when too few clients answer.
    """

    count: int = 30
    measure_every: int = 5
    keep: Literal["last", "best"] = "last"
    cohort_size: int = 0
    weighting: Literal["rows", "sqrt", "uniform"] = "rows"
    weight_cap: int = 0
    exchange_retries: int = 20

    def __post_init__(self) -> None:
        for name, least in (
            ("count", 1),
            ("measure_every", 1),
            ("cohort_size", 0),
            ("weight_cap", 0),
            ("exchange_retries", 0),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, not {getattr(self, name)}")


@dataclass(frozen=True)
class Evaluation:
    """What is measured at the end.

    Attributes:
        target_fpr: the false-positive rate the alert threshold is set for, on validation rows.
        test_every: also score the test rows at every measurement (a learning curve only the experimenter sees).
        centralised: train the same model on the pooled rows, as an upper baseline.
        centralised_epochs, centralised_batch, centralised_learning_rate: of that baseline (AdamW).
        local: train every client alone, for as many epochs as it sees in the federation, as a lower baseline.
        late_clients: share of the clients that never train and join at the end with a few rows (few-shot curve).
        late: names of clients that join late, beside those.
    """

    target_fpr: float = 0.01
    test_every: bool = True
    centralised: bool = True
    centralised_epochs: int = 40
    centralised_batch: int = 128
    centralised_learning_rate: float = 0.002
    local: bool = True
    late_clients: float = 0.0
    late: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.target_fpr < 1:
            raise ValueError(f"target_fpr must lie between 0 and 1, not {self.target_fpr}")
        if not 0 <= self.late_clients < 1:
            raise ValueError(f"late_clients must be at least 0 and below 1, not {self.late_clients}")
        for name in ("centralised_epochs", "centralised_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)}")
        if not self.centralised_learning_rate > 0:
            raise ValueError(f"centralised_learning_rate must be above 0, not {self.centralised_learning_rate}")


@dataclass(frozen=True)
class Run:
    """How the simulation runs; nothing here changes the model.

    Attributes:
        workers: threads that train chunks of clients; 0: one per core.
        checkpoint_every: rounds between two checkpoints.
    """

    workers: int = 0
    checkpoint_every: int = 1

    def __post_init__(self) -> None:
        for name, least in (("workers", 0), ("checkpoint_every", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, not {getattr(self, name)}")


@dataclass(frozen=True)
class Experiment:
    """One experiment, as one TOML file says it.

    Attributes:
        name: short name; run folders are named after it.
        about: one or two sentences for the report.
        seed: everything random follows from it.
    """

    name: str
    data: Any = strategy("source")
    split: SplitStrategy = strategy("split", "stratified")
    partition: Partition = strategy("partition")
    scaling: Scaling = strategy("scaling", "quantile")
    model: Model = strategy("model", "mlp")
    algorithm: Algorithm = strategy("algorithm", "fedavg")
    rule: Rule = strategy("rule", "auto")
    server: ServerOptimiser = strategy("optimiser", "sgd")
    secagg: SumChoice = strategy("secagg", "lattice")
    personal: Personal = strategy("personal", "none")
    prior: Prior = strategy("prior", "none")
    attack: Any = strategy("attack", "none")
    auth: AuthChoice = strategy("auth", "x-wing")
    training: LocalTraining = field(default_factory=LocalTraining)
    compress: Compress = field(default_factory=Compress)
    privacy: Privacy = field(default_factory=Privacy)
    rounds: Rounds = field(default_factory=Rounds)
    participation: Participation = field(default_factory=Participation)
    weather: Weather = field(default_factory=Weather)
    gaps: Gaps = field(default_factory=Gaps)
    root: RootSet = field(default_factory=RootSet)
    robust: Robust = field(default_factory=Robust)
    trust: Watch = field(default_factory=Watch)
    normal: NormalTraffic = field(default_factory=NormalTraffic)
    types: TypeLimits = field(default_factory=TypeLimits)
    evaluation: Evaluation = field(default_factory=Evaluation)
    run: Run = field(default_factory=Run)
    asynchronous: Asynchronous = field(default_factory=Asynchronous)
    about: str = ""
    seed: int = 1

    def __post_init__(self) -> None:
        if not self.name or not all(c.isalnum() or c in "-_." for c in self.name):
            raise ValueError(f"name {self.name!r} should be letters, digits, '-', '_' and '.' (it names a folder)")
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, not {self.seed}")
