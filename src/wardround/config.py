"""One TOML file -> one frozen ``Experiment``; every key is a field of a frozen dataclass.

Unknown keys, wrong types and values out of range give one ``ConfigError`` that names the key's path and, where a
word is near, asks "did you mean". Law: ``parse(dump(experiment)) == experiment``.
What it does not do: read files (cli), load data (drivers).
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, Union, overload

from wardround.aggregate.optimise import ServerOptimiser
from wardround.aggregate.rules import Rule
from wardround.auth.choice import AuthChoice
from wardround.catalogue import Catalogue
from wardround.compress.chain import Chain
from wardround.compress.table import Compress
from wardround.errors import ConfigError
from wardround.federation import clusters
from wardround.federation import robust as robustness
from wardround.federation.algorithms import Algorithm
from wardround.federation.participation import Participation, Weather
from wardround.federation.privacy import Privacy
from wardround.federation.robust import Robust, Setting
from wardround.federation.staleness import Asynchronous
from wardround.federation.trust import MOST_CLIENTS, Watch
from wardround.secagg.choice import PairwiseSum, PlainSum, SumChoice
from wardround.secagg.parameters import Lattice
from wardround.traffic.partition import Partition
from wardround.traffic.root import RootSet
from wardround.traffic.scaling import Scaling
from wardround.traffic.split import SplitStrategy
from wardround.training.models import Model
from wardround.training.personal import Personal, check_patterns
from wardround.training.priors import Prior
from wardround.training.task import LocalTraining

DEPLOYED = ("broker", "gateway")  # tables that only a deployed federation reads (drivers/nats/deployment.py)


COMPARABLE = ("fedavg", "fedprox")  # algorithms whose answers are model updates: they have a norm and a direction
UNKNOWN_CLIENTS = 100  # where only the data says how many clients there are: what the default rule is set for


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
    root: RootSet = field(default_factory=RootSet)
    robust: Robust = field(default_factory=Robust)
    trust: Watch = field(default_factory=Watch)
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


E = TypeVar("E", bound=Experiment)


@overload
def parse(text: str, catalogue: Catalogue, where: str = "experiment") -> Experiment: ...
@overload
def parse(text: str, catalogue: Catalogue, where: str, cls: type[E]) -> E: ...
def parse(text: str, catalogue: Catalogue, where: str = "experiment", cls: type[Experiment] = Experiment) -> Experiment:
    """The experiment in a TOML text; ``where`` names the file in errors; a subclass ``cls`` adds tables of its own.

    The tables of a deployed federation are left aside where an experiment is wanted, so that one file can be simulated first
    and deployed later.

    Raises:
        ConfigError: not TOML, an unknown or missing key, a value of the wrong type or out of range.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: not valid TOML: {error}") from error
    aside = () if cls is not Experiment else DEPLOYED
    experiment: Experiment = _build(cls, {k: v for k, v in table.items() if k not in aside}, catalogue, where)
    if experiment.rule.name == "auto":
        chosen = robustness.choose(experiment.robust, setting(experiment))
        experiment = dataclasses.replace(experiment, rule=chosen)
    check(experiment, where)
    return experiment


def override(text: str, sets: list[str], where: str) -> str:
    """The TOML text with ``TABLE.KEY=VALUE`` (or ``KEY=VALUE``) settings applied; VALUE is TOML, or a bare word.

    Raises:
        ConfigError: the text is not TOML, or a setting has no ``=``.
    """
    if not sets:
        return text
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: not valid TOML: {error}") from error
    for setting in sets:
        path, equals, value = setting.partition("=")
        keys = path.strip().split(".")
        if not equals or len(keys) > 2 or not all(keys):
            raise ConfigError(f"--set {setting!r} should be TABLE.KEY=VALUE")
        inner = table if len(keys) == 1 else table.setdefault(keys[0], {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {setting!r}: {keys[0]} is a key of {where}, not a table")
        inner[keys[-1]] = _bare(value.strip())
    lines = [f"{k} = {_toml(v)}" for k, v in table.items() if not isinstance(v, dict)]
    for name, inner in table.items():
        if isinstance(inner, dict):
            lines += [f"[{name}]", *(f"{k} = {_toml(v)}" for k, v in inner.items())]
    return "\n".join(lines) + "\n"


def _bare(value: str) -> Any:
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return value


def check(experiment: Experiment, where: str) -> None:
    """Rules between tables.

    Raises:
        ConfigError: two settings do not fit together; the text says which and what would fit.
    """
    training = experiment.training
    if experiment.algorithm.name == "scaffold" and (training.optimiser != "sgd" or training.momentum):
        raise ConfigError(
            f"{where}: [algorithm] scaffold needs plain SGD (its control variates are gradients): "
            f'set [training] optimiser = "sgd" and momentum = 0',
        )
    _check_rule(experiment, where)
    _check_codecs(experiment, where)
    if not isinstance(experiment.secagg, PlainSum):
        _check_sums(experiment, experiment.secagg, where)
    if experiment.privacy.on:
        _check_privacy(experiment, where)
    _check_personal(experiment, where)
    _check_clusters(experiment, where)
    _check_asynchronous(experiment, where)
    if experiment.algorithm.name == "fednova" and training.optimiser != "sgd":
        raise ConfigError(f'{where}: [algorithm] fednova normalises SGD steps: set [training] optimiser = "sgd"')


def setting(experiment: Experiment, clients: int = 0) -> Setting:
    """What the choice of a rule depends on; ``clients`` where the partition does not say how many there are."""
    everybody = clients or int(getattr(experiment.partition, "clients", 0)) or UNKNOWN_CLIENTS
    policy = experiment.participation
    invited = min(everybody, max(policy.minimum, round(policy.fraction * everybody)))
    rooted = experiment.root.size > 0 and not experiment.root.without
    comparable = experiment.algorithm.name in COMPARABLE
    return Setting(invited, experiment.rounds.cohort_size, rooted, comparable)


def check_robust(experiment: Experiment, where: str, clients: int = 0) -> str:
    """Does the rule hold against the hostile clients that ``[robust]`` assumes? The advice in words; "" where none are.

    Raises:
        ConfigError: it does not, and ``on_doubt`` is ``refuse``; the text holds the numbers and what would hold.
    """
    assumed = experiment.robust
    if not assumed.assumed_hostile:
        return ""
    asked = setting(experiment, clients)
    advice = robustness.advise(experiment.rule, assumed, asked)
    words = robustness.text(experiment.rule, assumed, asked)
    if assumed.on_doubt == "refuse" and not (advice.holds or advice.bounded):
        raise ConfigError(f"{where}: [robust] assumes {assumed.assumed_hostile:.0%} hostile clients: {words}")
    return words


def _check_rule(experiment: Experiment, where: str) -> None:
    rule, algorithm, size = experiment.rule, experiment.algorithm.name, experiment.rounds.cohort_size
    if rule.needs and not experiment.root.size:
        raise ConfigError(
            f"{where}: [rule] {rule.name} needs the server's own {' and '.join(rule.needs)}: give it a root set "
            f"([root] size = 300, say), or choose one of trimmed-mean, geometric-median, dnc, norm-clipping",
        )
    plain_updates = algorithm in COMPARABLE
    if (rule.needs or rule.name == "norm-clipping" or "arc" in rule.pre) and not plain_updates:
        raise ConfigError(
            f"{where}: [rule] {rule.name} compares norms of updates, {algorithm} sends other blocks: use fedavg"
        )
    if size == 0 and rule.breakdown(1000) > 0:
        raise ConfigError(
            f"{where}: [rule] {rule.name} compares cohorts, but [rounds] cohort_size = 0 sums all clients into one: "
            f'set cohort_size (1 needs [secagg] use = "plain"), or [rule] use = "mean"',
        )
    if experiment.trust.watch and (size == 0 or algorithm not in COMPARABLE):
        raise ConfigError(
            f"{where}: [trust] watch compares the cohorts' updates: set [rounds] cohort_size to 1 or more and [algorithm] "
            f"to fedavg or fedprox"
        )
    clients = int(getattr(experiment.partition, "clients", 0))
    if experiment.trust.watch and clients > MOST_CLIENTS:
        raise ConfigError(f"{where}: [trust] watch can follow {MOST_CLIENTS} clients, not {clients}")
    if clients:  # else the driver asks once it knows how many there are
        check_robust(experiment, where)


def _check_asynchronous(experiment: Experiment, where: str) -> None:
    size, policy = experiment.asynchronous.buffer, experiment.participation
    if not size:
        return
    if experiment.algorithm.name not in ("fedavg", "fedprox"):
        raise ConfigError(
            f"{where}: [asynchronous] buffer = {size}, but [algorithm] {experiment.algorithm.name} needs updates from one model: "
            f"use fedavg or fedprox",
        )
    if experiment.attack.name != "none":
        raise ConfigError(f"{where}: [attack] forges updates of synchronous rounds: set [asynchronous] buffer = 0")
    codecs = experiment.compress
    if codecs.up or codecs.down or codecs.budget_bytes:
        raise ConfigError(f"{where}: [asynchronous] sends whole vectors: leave [compress] out, or set buffer = 0")
    if policy.fraction != 1.0:
        raise ConfigError(f"{where}: [asynchronous] asks whoever is idle: set [participation] fraction = 1.0")
    if size < policy.minimum:
        raise ConfigError(
            f"{where}: [asynchronous] buffer = {size}, but no sum of fewer than [participation] minimum = {policy.minimum} "
            f"is used: raise buffer or lower minimum",
        )


def _check_clusters(experiment: Experiment, where: str) -> None:
    if clusters.models_of(experiment.algorithm) == 1:
        return
    if experiment.compress != Compress():
        raise ConfigError(
            f"{where}: [algorithm] {experiment.algorithm.name} has several models in one vector: [compress] cannot cut it"
        )
    if experiment.rule.needs or experiment.model.unsupervised:
        raise ConfigError(
            f"{where}: [algorithm] {experiment.algorithm.name} needs a classifier and a rule without a root set: "
            f'set [rule] use = "mean", "norm-clipping" or another'
        )


def _check_personal(experiment: Experiment, where: str) -> None:
    try:
        check_patterns(experiment.personal, experiment.model.layout(1, 2))
    except ValueError as error:
        raise ConfigError(f"{where}: [personal] {experiment.personal.name}: {error}") from error
    if experiment.attack.name != "none" and experiment.personal.legs > 1:
        raise ConfigError(
            f"{where}: [attack] forges the one update a client trains, [personal] {experiment.personal.name} trains in "
            f"{experiment.personal.legs} legs: choose a [personal] that trains once",
        )
    if experiment.model.unsupervised and (experiment.prior.name != "none" or experiment.personal.epochs):
        raise ConfigError(
            f"{where}: [model] {experiment.model.name} has no classes: [prior] and [personal] finetune need a classifier"
        )


def _check_codecs(experiment: Experiment, where: str) -> None:
    up = Chain.of(experiment.compress.up)
    if not isinstance(experiment.secagg, PlainSum):
        try:
            experiment.compress.check_secure()
        except ValueError as error:
            raise ConfigError(f"{where}: [compress] up: {error}") from error
    if experiment.algorithm.name == "scaffold" and (up.biased or experiment.compress.budget_bytes):
        raise ConfigError(
            f"{where}: [compress] up is biased, and scaffold's control variates would drift with it: use unbiased codecs "
            f"(random-k, int, eden), or [algorithm] fedavg"
        )


def _check_privacy(experiment: Experiment, where: str) -> None:
    wanted = {
        '[secagg] use = "lattice": the noise is added inside that sum': isinstance(experiment.secagg, Lattice),
        '[rounds] weighting = "uniform": a weight by rows tells how many there are': experiment.rounds.weighting
        == "uniform",
        "[algorithm] fedavg or fedprox: other blocks have parts of other sensitivity": experiment.algorithm.name
        in ("fedavg", "fedprox"),
        "[compress] up left out: codecs change the sensitivity": not experiment.compress.up
        and not experiment.compress.budget_bytes,
    }
    for rule, met in wanted.items():
        if not met:
            raise ConfigError(f"{where}: [privacy] needs {rule}")


def _check_sums(experiment: Experiment, choice: Lattice | PairwiseSum, where: str) -> None:
    least, cohort = choice.minimum, experiment.rounds.cohort_size
    if experiment.participation.minimum < least:
        raise ConfigError(
            f"{where}: [participation] minimum = {experiment.participation.minimum}, but [secagg] opens no sum of fewer than "
            f"{least}: set [participation] minimum = {least} or more (or [secagg] minimum lower)",
        )
    if 0 < cohort < least:
        raise ConfigError(
            f"{where}: [rounds] cohort_size = {cohort}, but [secagg] opens no sum of fewer than {least} clients: "
            f'set cohort_size = {least} or more, 0 for one sum, or [secagg] use = "plain"',
        )


def dump(experiment: Experiment) -> str:
    """The experiment as TOML with every key written out, defaults too: what a run folder keeps."""
    lines: list[str] = []
    tables: list[tuple[str, Any]] = []
    for spec in dataclasses.fields(experiment):
        value = getattr(experiment, spec.name)
        if dataclasses.is_dataclass(value):
            tables.append((spec.name, value))
        else:
            lines.append(f"{spec.name} = {_toml(value)}")
    for name, value in tables:
        lines += ["", f"[{name}]"]
        if "kind" in _specs(type(experiment))[name].metadata:
            lines.append(f"use = {_toml(value.name)}")
        lines += [f"{spec.name} = {_toml(getattr(value, spec.name))}" for spec in dataclasses.fields(value)]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        keys = [f"{spec.name} = {_toml(getattr(value, spec.name))}" for spec in dataclasses.fields(value)]
        return "{" + ", ".join([f"use = {_toml(value.name)}", *keys]) + "}"  # type: ignore[attr-defined]
    if isinstance(value, Mapping):  # an inline table, as ``override`` meets it
        return "{" + ", ".join(f"{_toml(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    # TOML's strings, numbers and truth values are written as JSON's are, but for one character
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _specs(cls: type) -> dict[str, dataclasses.Field[Any]]:
    return {spec.name: spec for spec in dataclasses.fields(cls) if spec.init}


def _build(cls: type, table: Any, catalogue: Catalogue, path: str) -> Any:
    if not isinstance(table, Mapping):
        raise ConfigError(f"{path} should be a table of keys, not {table!r}")
    specs, hints = _specs(cls), typing.get_type_hints(cls)
    for key in table:
        if key not in specs:
            raise ConfigError(f"{path}: unknown key {key!r}{nearest(key, specs)}")
    values = {}
    for name, spec in specs.items():
        default = spec.metadata.get("use")
        if name in table or default:
            value = table.get(name, {"use": default})
            values[name] = _value(spec, hints[name], value, catalogue, f"{path}: {name}")
        elif spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{path}: {name} is missing{_hint(spec, catalogue)}")
    try:
        return cls(**values)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


def _hint(spec: dataclasses.Field[Any], catalogue: Catalogue) -> str:
    kind = spec.metadata.get("kind")
    return f": add a table [{spec.name}] with use = one of {', '.join(catalogue.names(kind))}" if kind else ""


def _value(spec: dataclasses.Field[Any], hint: Any, value: Any, catalogue: Catalogue, path: str) -> Any:
    kind = spec.metadata.get("kind")
    if kind and spec.metadata.get("many"):
        if not isinstance(value, list):
            raise ConfigError(f"{path} should be a list of tables, not {value!r}")
        tables = [
            {"use": item} if isinstance(item, str) else item for item in value
        ]  # a bare name has no keys of its own
        return tuple(_strategy(kind, item, catalogue, f"{path}[{i}]") for i, item in enumerate(tables))
    if kind:
        return _strategy(kind, value, catalogue, path)
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast("type", hint), value, catalogue, path)
    return _plain(hint, value, path)


def _strategy(kind: str, table: Any, catalogue: Catalogue, path: str) -> Any:
    if not isinstance(table, Mapping) or "use" not in table:
        raise ConfigError(f"{path}: needs use = one of {', '.join(catalogue.names(kind))}")
    name = table["use"]
    cls = catalogue.find(kind, str(name))
    if cls is None:
        names = catalogue.names(kind)
        if kind == "attack" and names == ["none"]:
            raise ConfigError(f"{path}: attacks are simulated, never deployed: remove the table [attack]")
        raise ConfigError(
            f"{path}: no {kind} is named {name!r}{nearest(str(name), names)}; there are {', '.join(names)}"
        )
    return _build(cls, {k: v for k, v in table.items() if k != "use"}, catalogue, f"{path} ({name})")


def _plain(hint: Any, value: Any, path: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value in arguments:
            return value
        words = ", ".join(repr(a) for a in arguments)
        raise ConfigError(f"{path} should be one of {words}, not {value!r}{nearest(str(value), map(str, arguments))}")
    if origin in (Union, types.UnionType):
        inner = [a for a in arguments if a is not type(None)]
        return _plain(inner[0], value, path)
    if origin is tuple:
        if not isinstance(value, list):
            raise ConfigError(f"{path} should be a list, not {value!r}")
        return tuple(_plain(arguments[0], item, f"{path}[{i}]") for i, item in enumerate(value))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Any or (isinstance(value, hint) and not (hint is int and isinstance(value, bool))):
        return value
    raise ConfigError(f"{path} should be {_WORDS.get(hint, hint)}, not {value!r}")


_WORDS = {int: "a whole number", float: "a number", str: "a text in quotes", bool: "true or false"}


def nearest(word: str, names: typing.Iterable[str]) -> str:
    """``; did you mean 'x'?`` where a name is near, else nothing."""
    close = difflib.get_close_matches(word, list(names), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
