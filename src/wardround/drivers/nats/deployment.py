"""The deployed federation's TOML: the experiment's tables plus ``[broker]`` and ``[gateway]``.

One schema with experiments (HOUSE.md, "Words"): a file that `wardround simulate` runs is a federation as it stands, and the two
tables have defaults, so that the same file can be simulated first and deployed later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from wardround.auth.choice import NoAuth
from wardround.config import Experiment, dump, nearest, parse
from wardround.drivers.parties.names import seats
from wardround.drivers.strategies import full
from wardround.drivers.world import build
from wardround.errors import ConfigError, UsageError
from wardround.rng import stream
from wardround.secagg.choice import PairwiseSum
from wardround.traffic.table import Table


@dataclass(frozen=True)
class Broker:
    """The table ``[broker]``: where messages go, and how long the coordinator waits.

    Attributes:
        url: a broker of your own (``tls://host:4222``, several with commas); empty: `wardround serve` starts a private one.
        host, port: where the private broker listens and gateways find it.
        keys: folder of certificates and keys, seen from this file (`wardround keys` makes it).
        gateways: names of the gateways; empty: the clients that [partition] deals to.
        wait_for: gateways that must be there before the first exchange; 0: [participation] minimum.
        patience_s: seconds an exchange waits for gateways' answers.
        committee_s: seconds it waits for the committee at each step of a secure sum, and for what gateways kept.
        repeat_s: an unanswered message is sent again after so many seconds.
        replicas: copies of each stream in a cluster of your own (1, 3 or 5): with 3 any one of its brokers may be lost.
        http: port on 127.0.0.1 of the coordinator's /health, /metrics and /status; 0: none.
    """

    url: str = ""
    host: str = "127.0.0.1"
    port: int = 4222
    keys: str = "keys"
    gateways: tuple[str, ...] = ()
    wait_for: int = 0
    patience_s: float = 60.0
    committee_s: float = 10.0
    repeat_s: float = 5.0
    replicas: int = 1
    http: int = 8470

    def __post_init__(self) -> None:
        if len(set(self.gateways)) != len(self.gateways):
            raise ValueError("gateways names one gateway twice")
        for name in ("patience_s", "committee_s", "repeat_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        for name in ("port", "http"):
            if not 0 <= getattr(self, name) < 65536:
                raise ValueError(f"{name} must be a port (0 to 65535), not {getattr(self, name)}")
        if self.replicas not in (1, 3, 5):
            raise ValueError(f"replicas must be 1, 3 or 5, not {self.replicas}")
        if self.replicas > 1 and not self.url:
            raise ValueError("replicas above 1 need a cluster of your own: set url to its brokers")
        if self.wait_for < 0:
            raise ValueError(f"wait_for must be 0 or more, not {self.wait_for}")

    @property
    def servers(self) -> list[str]:
        """Broker addresses for a client."""
        return [u.strip() for u in self.url.split(",") if u.strip()] or [f"tls://{self.host}:{self.port}"]


@dataclass(frozen=True)
class Gateway:
    """The table ``[gateway]``: what every gateway does alike.

    Attributes:
        own_data: each gateway reads all of its own --data folder; otherwise (the lab) the share that [partition] deals it.
        heartbeat_s: a gateway says so often that it is there; after three silent ones it is not invited.
        http: port on 127.0.0.1 of /health and /metrics; 0: none.
    """

    own_data: bool = False
    heartbeat_s: float = 2.0
    http: int = 0

    def __post_init__(self) -> None:
        if not self.heartbeat_s > 0:
            raise ValueError(f"heartbeat_s must be above 0, not {self.heartbeat_s}")


@dataclass(frozen=True)
class Federation(Experiment):
    """A deployed federation: an experiment, its broker and its gateways."""

    broker: Broker = field(default_factory=Broker)
    gateway: Gateway = field(default_factory=Gateway)


def read(path: Path) -> Federation:
    """The federation in a TOML file.

    Raises:
        UsageError: the file cannot be read.
        ConfigError: it is not a federation's; the text names the key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}; name the federation's TOML file") from error
    federation = parse(text, full(), str(path), Federation)
    if isinstance(federation.secagg, PairwiseSum):
        raise ConfigError(
            f'{path}: [secagg] use = "pairwise" is a benchmark baseline without signed keys: deploy with use = "lattice"'
        )
    if isinstance(federation.auth, NoAuth):
        raise ConfigError(
            f'{path}: [auth] use = "none" is for comparison in simulations: a deployed federation authenticates its gateways; '
            f"leave the table away for x-wing",
        )
    if federation.auth.revoke:
        raise ConfigError(f"{path}: [auth] revoke is a scenario for simulations: use wardround registry revoke NAME")
    if federation.gateway.own_data and not federation.broker.gateways:
        raise ConfigError(f"{path}: [gateway] own_data = true needs the names of the gateways: set [broker] gateways")
    return federation


def load(federation: Federation, folder: Path | None) -> Table:
    """The table of the federation's data source.

    Raises:
        UsageError: the source reads files and no folder is named.
        DataError: the files cannot be used.
    """
    source = federation.data
    if folder is None and getattr(source, "needs_folder", True):
        raise UsageError(
            f"data source {source.name!r} reads files: name their folder with --data DIR or WARDROUND_DATA"
        )
    table: Table = source.load(folder, stream(federation.seed, "data"))
    return table


def roster(federation: Federation, table: Table | None) -> tuple[str, ...]:
    """The gateways' names, in the order that numbers them.

    Raises:
        UsageError: the names come from the partition and there is no ``table`` to deal.
    """
    if federation.broker.gateways:
        return federation.broker.gateways
    if table is None:
        raise UsageError(
            "the gateways' names come from [partition]: name the data's folder with --data, or set [broker] gateways"
        )
    return build(federation, table).names


def unknown(name: str, federation: Federation, names: Sequence[str]) -> str:
    """The text for a name that nobody has."""
    everybody = dict.fromkeys([*names, *(seat.holder for seat in seats(federation, names))])
    return f"no gateway is named {name!r}{nearest(name, everybody)}; there are {', '.join(everybody)}"


def fingerprint(federation: Federation, names: Sequence[str]) -> str:
    """What a run may not change on the way: everything but broker and gateway tables, and the roster."""
    text = dump(replace(federation, broker=Broker(), gateway=Gateway()))
    return hashlib.sha256(f"{text}{tuple(names)}".encode()).hexdigest()
