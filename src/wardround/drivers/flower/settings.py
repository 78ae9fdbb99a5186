"""What Flower's two configurations say: the run's (pyproject.toml and `flwr run --run-config`) and a node's (`--node-config`).

Keys are the fields' names with hyphens. Keys that are not ours are left to the app.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from wardround.auth.choice import NoAuth
from wardround.config import Experiment, dump, override, parse
from wardround.drivers.strategies import full
from wardround.drivers.world import build
from wardround.errors import ConfigError, UsageError
from wardround.rng import stream
from wardround.secagg.choice import PairwiseSum, PlainSum
from wardround.traffic.table import Table

S = TypeVar("S")
NOBODY = -1  # no client


@dataclass(frozen=True)
class RunSettings:
    """The run's configuration, ``[tool.flwr.app.config]``.

    Attributes:
        set: settings that change the experiment, ``TABLE.KEY=VALUE`` separated by spaces.
        gateways: names of the clients, separated by commas, each with data of its own; empty: those that [partition] deals to.
        state: the server's folder for checkpoint, log and result, seen from where the SuperLink was started.
        data: the server's data folder, for sources that read files: it takes the columns and labels from there.
        keys: the server's key folder (`wardround keys` makes it), seen from where the SuperLink was started.
        wait_for: nodes that must be there before the first exchange; 0: [participation] minimum.
        gather_s: the run fails after so many seconds without enough nodes; the next one goes on.
        deadline_s: seconds an exchange waits for replies.
        poll_s: seconds between two looks for replies.
    """

    set: str = ""
    gateways: str = ""
    state: str = "wardround-state"
    data: str = ""
    keys: str = "keys"
    wait_for: int = 0
    gather_s: float = 300.0
    deadline_s: float = 120.0
    poll_s: float = 0.2

    def __post_init__(self) -> None:
        for name in ("gather_s", "deadline_s", "poll_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name.replace('_', '-')} must be above 0, not {getattr(self, name)}")
        if self.wait_for < 0:
            raise ValueError(f"wait-for must be 0 or more, not {self.wait_for}")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of clients with data of their own; empty in the lab."""
        return tuple(name.strip() for name in self.gateways.split(",") if name.strip())


@dataclass(frozen=True)
class NodeSettings:
    """A node's configuration, ``flower-supernode --node-config``.

    Attributes:
        partition_id: which client this node is, counted from 0.
        member: in its place, the name of a party of the committee that is no client (a registrar, a regulator).
        data: this site's data folder, for sources that read files.
        state: a folder of this site: what the node must remember survives a restart of the SuperNode and of the run there.
            Under [auth] and [secagg] it holds secrets, and without it the node takes no part.
        keys: this site's key folder, where `wardround enrol` left its identity.
    """

    partition_id: int = NOBODY
    member: str = ""
    data: str = ""
    state: str = ""
    keys: str = ""


def read_node(config: Mapping[str, Any], where: str) -> NodeSettings:
    """A node's settings.

    Raises:
        ConfigError: as ``read_settings``; the node does not say who it is.
    """
    if "partition-id" not in config and not config.get("member"):
        raise ConfigError(f'{where}: partition-id is missing; for example --node-config "partition-id=0"')
    return read_settings(NodeSettings, config, where)


def read_settings(cls: type[S], config: Mapping[str, Any], where: str) -> S:
    """``cls`` from Flower's configuration ``config``; ``where`` names it in errors.

    Raises:
        ConfigError: a key is missing, of the wrong type or out of range.
    """
    values: dict[str, Any] = {}
    for spec in dataclasses.fields(cls):  # type: ignore[arg-type]
        key, wanted = spec.name.replace("_", "-"), {"str": str, "int": int, "float": float}[str(spec.type)]
        if key not in config:
            continue
        value = config[key]
        if wanted is float and type(value) is int:
            value = float(value)
        if type(value) is not wanted:
            raise ConfigError(f"{where}: {key} should be {wanted.__name__}, not {value!r}")
        values[spec.name] = value
    try:
        return cls(**values)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def read_experiment(path: Path, settings: RunSettings) -> Experiment:
    """The app's experiment with the run's settings applied.

    Raises:
        UsageError: the file cannot be read.
        ConfigError: it is not an experiment, or not one that runs over Flower.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}; put the experiment's TOML file into the app") from error
    experiment = parse(override(text, settings.set.split(), path.name), full(), path.name)
    if isinstance(experiment.secagg, PairwiseSum):
        raise ConfigError(
            f'{path.name}: [secagg] use = "pairwise" is a benchmark baseline without signed keys: use = "lattice"'
        )
    if not isinstance(experiment.auth, NoAuth) and experiment.auth.revoke:
        raise ConfigError(
            f"{path.name}: [auth] revoke is a scenario for simulations: use wardround registry revoke NAME"
        )
    if experiment.asynchronous.buffer:
        raise ConfigError(
            f"{path.name}: [asynchronous] takes up each gateway as soon as it is ready, Flower's exchanges end together: "
            f"run over NATS (wardround serve), or set buffer = 0"
        )
    return experiment


def careful(experiment: Experiment) -> bool:
    """Whether keys are in play: then everything is on the disk before anybody hears of it, and nothing is in Flower's Context."""
    return not isinstance(experiment.auth, NoAuth) or not isinstance(experiment.secagg, PlainSum)


def load(experiment: Experiment, folder: str, where: str) -> Table:
    """The table of the experiment's data source; ``where`` says how the folder is named.

    Raises:
        UsageError: the source reads files and no folder is named.
        DataError: the files cannot be used.
    """
    source = experiment.data
    if not folder and getattr(source, "needs_folder", True):
        raise UsageError(f"data source {source.name!r} reads files: name their folder with {where}")
    table: Table = source.load(Path(folder) if folder else None, stream(experiment.seed, "data"))
    return table


def roster(experiment: Experiment, settings: RunSettings, table: Table) -> tuple[str, ...]:
    """The clients' names in the order that numbers them."""
    return settings.names or build(experiment, table).names


def fingerprint(experiment: Experiment, names: tuple[str, ...]) -> str:
    """What a run may not change when it goes on."""
    return hashlib.sha256(f"{dump(experiment)}{names}".encode()).hexdigest()
