"""Rules between tables: two settings that do not fit together are refused with what would fit.

What it does not do: ranges of single keys (experiment.py).
"""

from __future__ import annotations

from dataclasses import replace

from wardround.compress.chain import Chain
from wardround.compress.table import Compress
from wardround.config.experiment import Experiment
from wardround.errors import ConfigError
from wardround.federation import clusters
from wardround.federation import robust as robustness
from wardround.federation.robust import Setting
from wardround.federation.trust import MOST_CLIENTS, Watch
from wardround.secagg.choice import PairwiseSum, PlainSum
from wardround.secagg.parameters import Lattice
from wardround.training.personal import check_patterns

COMPARABLE = (
    "fedavg",
    "fedprox",
    "moon",
    "client-momentum",
)  # their answers are model updates: they have a norm and a direction
UNKNOWN_CLIENTS = 100  # where only the data says how many clients there are: what the default rule is set for
BUFFERABLE = ("fedavg", "fedprox", "fednova", "moon")
"""Algorithms whose blocks may come from different models (design/0305)."""


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
    _check_layers(experiment, where)
    if experiment.algorithm.name == "fednova" and training.optimiser != "sgd":
        raise ConfigError(f'{where}: [algorithm] fednova normalises SGD steps: set [training] optimiser = "sgd"')


def _check_layers(experiment: Experiment, where: str) -> None:
    hidden = any(not name.startswith("out.") for name in experiment.model.layout(1, 2).names)
    layered = hasattr(experiment.model, "layers")
    name = experiment.algorithm.name
    if name in ("moon", "type-heads") and (experiment.model.unsupervised or not (hidden and layered)):
        raise ConfigError(
            f"{where}: [algorithm] {name} needs an output layer apart from the rest: [model] {experiment.model.name} is no "
            f'classifier with a hidden layer; set [model] use = "mlp" or "residual"'
        )


def setting(experiment: Experiment, clients: int = 0) -> Setting:
    """What the choice of a rule depends on; ``clients`` where the partition does not say how many there are."""
    everybody = clients or int(getattr(experiment.partition, "clients", 0)) or UNKNOWN_CLIENTS
    policy = experiment.participation
    invited = min(everybody, max(policy.minimum, round(policy.fraction * everybody)))
    rooted = experiment.root.size > 0 and not experiment.root.without
    comparable = experiment.algorithm.name in COMPARABLE
    return Setting(invited, experiment.rounds.cohort_size, rooted, comparable)


def watching(experiment: Experiment, clients: int) -> Watch:
    """``[trust]`` as it takes effect among ``clients``: assumed hostile ones are looked for wherever cohorts can be compared."""
    trust, asked = experiment.trust, setting(experiment, clients)
    shown = asked.cohort > 0 and asked.comparable and 0 < clients <= MOST_CLIENTS
    unasked = trust.unasked and experiment.robust.assumed_hostile > 0 and not experiment.asynchronous.buffer
    return replace(trust, watch=True) if shown and unasked else trust


def looked_for(experiment: Experiment, clients: int) -> str:
    """What is added to a rule's outlook where group testing looks for hostile clients; "" where it does not."""
    everybody = clients or int(getattr(experiment.partition, "clients", 0)) or UNKNOWN_CLIENTS
    return "; group testing looks for them ([trust])" if watching(experiment, everybody).watch else ""


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
    words = robustness.text(experiment.rule, assumed, asked) + looked_for(experiment, clients)
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
            f"to one of {', '.join(COMPARABLE)}"
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
    if experiment.algorithm.name not in BUFFERABLE:
        raise ConfigError(
            f"{where}: [asynchronous] buffer = {size}, but what [algorithm] {experiment.algorithm.name} keeps of each round "
            f"belongs to one model that all trained from: use {', '.join(BUFFERABLE)}, or set buffer = 0",
        )
    if experiment.attack.name != "none":
        raise ConfigError(f"{where}: [attack] forges updates of synchronous rounds: set [asynchronous] buffer = 0")
    codecs = experiment.compress
    if codecs.up or codecs.down or codecs.budget_bytes:
        raise ConfigError(
            f"{where}: [asynchronous] sends whole vectors, for who contributes together holds different announced models: "
            f"leave [compress] out, or set buffer = 0"
        )
    if size < policy.minimum:
        raise ConfigError(
            f"{where}: [asynchronous] buffer = {size}, but no sum of fewer than [participation] minimum = {policy.minimum} "
            f"is used: raise buffer or lower minimum",
        )


def _check_clusters(experiment: Experiment, where: str) -> None:
    if clusters.models_of(experiment.algorithm) == 1:
        return
    if experiment.compress != Compress() and getattr(experiment.algorithm, "by_type", False):
        raise ConfigError(
            f"{where}: [algorithm] {experiment.algorithm.name} sends a body once and heads apart, while its models are announced "
            f"whole: [compress] has one layout for both and cannot cut it; ifca, soft and histograms can be cut"
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
        f"[algorithm] {' or '.join(COMPARABLE)}: other blocks have parts of other sensitivity": experiment.algorithm.name
        in COMPARABLE,
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
