"""The simulated world: one table in memory, its split, its clients, and what each of them can see.

A client is a list of row numbers; rows are cut out when they are needed, so memory does not grow with the number
of clients that are not in flight.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

import numpy as np

from wardround.arrays import F32, I32, I64
from wardround.compress.budget import Ring
from wardround.config import Experiment, watching
from wardround.drivers.privacy import settle
from wardround.errors import ConfigError
from wardround.federation import clusters
from wardround.federation.algorithms import Algorithm
from wardround.federation.plan import Plan, Prepared, Schedule
from wardround.federation.ring import priced
from wardround.federation.root import RootRows
from wardround.federation.typeheads import TypeHeads
from wardround.rng import stream
from wardround.secagg.choice import PairwiseSum, PlainSum
from wardround.secagg.parameters import Lattice, largest_opened
from wardround.secagg.privacy import Private, private
from wardround.traffic.gaps import lacking, without
from wardround.traffic.partition import ClientShare
from wardround.traffic.root import NOTHING, hold_apart
from wardround.traffic.split import Split
from wardround.traffic.table import Table
from wardround.training import unknown
from wardround.training.personal import Typed
from wardround.training.task import Rows


@dataclass(frozen=True, eq=False)
class World:
    """``shares``: the clients' rows; ``root``: numbers of the rows that the server alone holds."""

    table: Table
    split: Split
    shares: tuple[ClientShare, ...]
    root: I64 = field(default_factory=lambda: NOTHING)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(share.name for share in self.shares)


def build(experiment: Experiment, table: Table) -> World:
    """Split and deal ``table`` as the experiment says, and take away what sensors lack; all from the experiment's seed."""
    split = experiment.split.assign(table, stream(experiment.seed, "split"))
    split, root = hold_apart(experiment.root, table, split, stream(experiment.seed, "root", experiment.root.seed))
    shares = experiment.partition.deal(table, split, stream(experiment.seed, "partition"))
    lacks = lacking(experiment.gaps, table.schema, len(shares), stream(experiment.seed, "gaps"))
    return World(without(table, shares, lacks), split, tuple(shares), root)


def plan(experiment: Experiment, table: Table) -> Plan:
    """What server and clients agree on before the first message.

    Raises:
        ConfigError: the data lacks what the experiment asks for.
    """
    _check_data(experiment, table)
    r, account = experiment.rounds, settle(experiment)
    return Plan(
        schema=table.schema,
        labels=table.labels,
        scaling=experiment.scaling,
        model=experiment.model,
        training=experiment.training,
        algorithm=_clustered(experiment, table),
        rule=experiment.rule,
        optimiser=experiment.server,
        schedule=Schedule(
            account.rounds if account else r.count, r.measure_every, r.keep, r.cohort_size, r.exchange_retries
        ),
        weighting=r.weighting,
        weight_cap=r.weight_cap,
        protected=not isinstance(experiment.secagg, PlainSum),
        personal=experiment.personal,
        compress=experiment.compress,
        identity=f"{experiment.name} {experiment.seed}".encode(),
        ring=prices(experiment, table),
        asynchronous=experiment.asynchronous,
        trust=watching(experiment, _there(experiment, table)),
        normal=experiment.normal,
        limits=replace(
            experiment.types, gateways=max(experiment.types.gateways, getattr(experiment.secagg, "minimum", 1))
        ),
        kinds=table.device_types,
        privacy=replace(experiment.privacy, multiplier=account.multiplier) if account else experiment.privacy,
    )


def protection(experiment: Experiment) -> Lattice | PairwiseSum | None:
    """How sums are protected, with the noise of a private federation; None: not at all."""
    choice, account = experiment.secagg, settle(experiment)
    if isinstance(choice, Lattice) and account is not None and account.privacy.mechanism != "none":
        return private(choice, Private(account.privacy.mechanism, account.multiplier, account.privacy.hostile))
    return None if isinstance(choice, PlainSum) else choice


def _check_data(experiment: Experiment, table: Table) -> None:
    """Does the data have the labels, types and words that the experiment's parts need?

    Raises:
        ConfigError: it has not; the text says what to set.
    """
    if experiment.model.unsupervised and (table.labels.benign is None or len(table.labels.names) != 2):
        raise ConfigError(
            f"[model] {experiment.model.name} tells attacks from normal traffic, the labels are "
            f'{", ".join(table.labels.names)}: set [data] labels = "binary"'
        )
    if experiment.training.exposure and (table.labels.benign is None or len(table.labels.names) != 2):
        raise ConfigError(
            "[training] exposure invents attacks of no class, the labels are "
            f'{", ".join(table.labels.names)}: set [data] labels = "binary", or exposure = 0'
        )
    if experiment.training.unknown_words == "attack":
        _watch_words(experiment, table)
    if experiment.types.even:
        _even_types(experiment, table)
    for strategy, instead in ((experiment.personal, "finetune"), (experiment.algorithm, "fedavg")):
        if isinstance(strategy, Typed | TypeHeads) and not table.device_types:
            raise ConfigError(
                f"{strategy.name} parts rows by the type of their device, which this data does not say: use {instead}"
            )


def _even_types(experiment: Experiment, table: Table) -> None:
    """Can types of device have limits?

    Raises:
        ConfigError: they cannot.
    """
    where = "[types] even = true"
    if not table.device_types:
        raise ConfigError(
            f"{where} parts rows by the type of their device, which this data does not say: set it to false"
        )
    if experiment.model.unsupervised or table.labels.benign is None:
        raise ConfigError(f"{where} moves a classifier's threshold, and needs a benign class: set it to false")


def _watch_words(experiment: Experiment, table: Table) -> None:
    """Can rows with unknown words be told and called attacks?

    Raises:
        ConfigError: they cannot.
    """
    where = '[training] unknown_words = "attack"'
    if table.labels.benign is None or not unknown.can(experiment.model):
        raise ConfigError(f'{where} needs a benign class and [model] use = "mlp" or "logistic"; else set "ignore"')


MANY = 100
"""Clients a budget reckons with where neither file nor data say how many there will be."""


def _clustered(experiment: Experiment, table: Table) -> Algorithm:
    """The algorithm; of clusters under a secure sum none may be smaller than the least set that is opened.

    Raises:
        ConfigError: so many clusters do not fit the cohort.
    """
    algorithm = experiment.algorithm
    if isinstance(algorithm, TypeHeads) and not algorithm.head:
        layout = experiment.model.layout(1, len(table.labels.names))  # the output layer's size does not know the inputs
        sizes = [n for name, n in zip(layout.names, layout.sizes, strict=True) if name.startswith("out.")]
        algorithm = replace(algorithm, head=int(sum(sizes)))
    if isinstance(experiment.secagg, PlainSum) or clusters.models_of(algorithm) == 1:
        return algorithm
    try:
        return clusters.secured(algorithm, experiment.secagg.minimum, invited_cohort(experiment, table)[1])
    except ValueError as error:
        raise ConfigError(f"[algorithm] {experiment.algorithm.name}: {error}") from error


def invited_cohort(experiment: Experiment, table: Table) -> tuple[int, int]:
    """Clients that a round invites, and those of a cohort, as far as file and data say (see ``prices``)."""
    named = getattr(getattr(experiment, "broker", None), "gateways", ())
    natural = len(np.unique(table.group)) if experiment.partition.name == "natural" else MANY
    there = len(named) or getattr(experiment.partition, "clients", 0) or natural
    invited = max(getattr(experiment.secagg, "minimum", 1), round(experiment.participation.fraction * there))
    return invited, min(experiment.rounds.cohort_size or invited, invited)


def prices(experiment: Experiment, table: Table) -> Ring | None:
    """The secure sum as budgets count it; None where sums are open. Both ends must find the same, so it follows from the file,
    and with natural clients from the table that all of a lab share.
    """
    choice = experiment.secagg
    if isinstance(choice, PlainSum):
        return None
    named = getattr(getattr(experiment, "broker", None), "gateways", ())
    natural = len(np.unique(table.group)) if experiment.compress.budget_bytes and not named else MANY
    there = len(named) or getattr(experiment.partition, "clients", natural)
    invited = max(choice.minimum, round(experiment.participation.fraction * there))
    cohort = min(experiment.rounds.cohort_size, invited)
    if isinstance(choice, PairwiseSum):
        return Ring(choice.bits, largest_opened(invited, cohort))
    return priced(choice, invited, cohort)


def _there(experiment: Experiment, table: Table) -> int:
    """How many clients there are: named, dealt, or those of the data."""
    named = getattr(getattr(experiment, "broker", None), "gateways", ())
    return len(named) or int(getattr(experiment.partition, "clients", 0)) or len(np.unique(table.group))


def root_rows(experiment: Experiment, world: World) -> RootRows | None:
    """The server's root rows; None where it has none."""
    if not len(world.root):
        return None
    table = world.table
    return RootRows(experiment.root, table.x[world.root], table.y[world.root])


def fingerprint(table: Table) -> str:
    """SHA-256 of schema, labels and rows: a resumed run must see the same data."""
    digest = hashlib.sha256(f"{table.schema.id} {table.labels}".encode())
    for array in (table.x, table.y, table.group, *([] if table.time is None else [table.time])):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


class PreparedTable:
    """All rows after preprocessing, made once: [n, inputs], a client's training rows side by side.

    So a round, which asks every client for its rows, cuts them out as views and copies none.
    """

    def __init__(self, world: World, prepared: Prepared) -> None:
        table = world.table
        parts = [share.train for share in world.shares]
        dealt = np.zeros(len(table.y), dtype=bool)
        for part in parts:
            dealt[part] = True
        order = np.concatenate([*parts, np.flatnonzero(~dealt)])
        ends = np.cumsum([len(part) for part in parts])
        places = zip(world.shares, ends, strict=True)
        self._train = {share.name: slice(end - len(share.train), end) for share, end in places}
        self._place = np.empty(len(table.y), dtype=np.int64)
        self._place[order] = np.arange(len(order))
        self.prepared = prepared
        self.x: F32 = prepared.preprocessor.apply(table.x)
        for column in self.x.T:  # one column at a time: the table is the largest thing in memory
            column[:] = column[order]
        self.y: I64 = table.y[order]

    def rows(self, index: I64) -> Rows:
        """The rows with these numbers in the world's table."""
        at = self._place[index]
        return Rows(self.x[at], self.y[at])

    def training_rows(self, share: ClientShare) -> Rows:
        """What client ``share`` trains on; not to be written to."""
        here = self._train[share.name]
        return Rows(self.x[here], self.y[here])


class ClientRows:
    """What client ``share`` can see (federation.client.LocalData)."""

    def __init__(self, world: World, share: ClientShare, prepared: PreparedTable | None) -> None:
        self._world, self._share, self._prepared = world, share, prepared

    def raw(self) -> tuple[F32, I64]:
        return self._world.table.x[self._share.train], self._world.table.y[self._share.train]

    def typed(self, part: str) -> tuple[F32, I64, I32]:
        index, table = self._share.train if part == "train" else self._share.validation, self._world.table
        return table.x[index], table.y[index], table.types_of(index)

    def prepared(self, part: str, prepared: Prepared) -> Rows:
        if self._prepared is None:
            raise ValueError("rows are asked for before the federation's statistics are known")
        del prepared  # in a simulation all clients know the same sum, so the table was prepared once for all
        if part == "train":
            return self._prepared.training_rows(self._share)
        return self._prepared.rows(self._share.validation)
