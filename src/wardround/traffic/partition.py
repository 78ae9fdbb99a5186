"""Rows -> clients: how the rows of a pooled data set are dealt to simulated gateways.

Each strategy first fixes which share of every class each client holds, and then deals train, validation and test rows
by the same shares, so that a client is measured under its own label skew (Li et al., ICDE 2022, arXiv 2102.02079).
The partition reviewers believe is ``natural``: the devices or sites of the data itself.

Laws: every row of a part goes to exactly one client (``natural`` leaves out rows of no client and clients that are too
small); the same generator state deals the same rows; names are unique.
What it does not do: split into parts (split.py), change features.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np

from wardround.arrays import F64, I64
from wardround.errors import ConfigError
from wardround.traffic.split import Split
from wardround.traffic.table import Labels, Table

DIRICHLET_DRAWS = 20


@dataclass(frozen=True, eq=False)
class ClientShare:
    """One client's row numbers in the table, ascending in each part."""

    name: str
    train: I64
    validation: I64
    test: I64


class Partition(Protocol):
    """A way to deal; ``name`` is what ``use =`` says."""

    name: ClassVar[str]

    def deal(self, table: Table, split: Split, rng: np.random.Generator) -> tuple[ClientShare, ...]:
        """Every client's rows.

        Raises:
            ConfigError: the table cannot be dealt that way (too few rows, no natural clients).
        """
        ...


@dataclass(frozen=True)
class Iid:
    """Every client holds the same share of every class.

    Attributes:
        clients: how many.
    """

    name: ClassVar[str] = "iid"

    clients: int = 10

    def __post_init__(self) -> None:
        _check_clients(self.clients)

    def deal(self, table: Table, split: Split, rng: np.random.Generator) -> tuple[ClientShare, ...]:
        """Rows dealt at random, class by class."""
        classes = len(table.labels.names)
        return _deal(table, split, np.full((classes, self.clients), 1 / self.clients), rng)


@dataclass(frozen=True)
class Dirichlet:
    """Label skew: each class's shares over the clients are one draw of Dirichlet(alpha) (Hsu et al., arXiv 1909.06335).

    When a client comes out with fewer than ``min_rows`` training rows, all shares are drawn again, up to 20 times; then
    the last draw is mixed with the uniform deal, by as few hundredths as suffice.

    Attributes:
        clients: how many.
        alpha: concentration; small is skewed (0.1), large is IID.
        min_rows: every client holds at least so many training rows.
        benign: ``dirichlet`` deals benign traffic like any class, ``everywhere`` evenly, as every hospital has it.
    """

    name: ClassVar[str] = "dirichlet"

    clients: int = 10
    alpha: float = 0.5
    min_rows: int = 10
    benign: Literal["dirichlet", "everywhere"] = "dirichlet"

    def __post_init__(self) -> None:
        _check_clients(self.clients)
        if not self.alpha > 0:
            raise ValueError(f"alpha must be above 0, not {self.alpha}")
        if self.min_rows < 0:
            raise ValueError(f"min_rows must be 0 or more, not {self.min_rows}")

    def deal(self, table: Table, split: Split, rng: np.random.Generator) -> tuple[ClientShare, ...]:
        """Rows dealt by the drawn shares.

        Raises:
            ConfigError: too few training rows for ``clients`` and ``min_rows``, or benign traffic has no class.
        """
        fixed = _benign(table.labels, self.name) if self.benign == "everywhere" else None
        counts = np.bincount(table.y[split.train], minlength=len(table.labels.names))
        for _ in range(DIRICHLET_DRAWS):
            shares = rng.dirichlet(np.full(self.clients, self.alpha), size=len(counts))
            if fixed is not None:
                shares[fixed] = 1 / self.clients
            if _enough(shares, counts, self.min_rows):
                return _deal(table, split, shares, rng)
        return _deal(table, split, _mixed(shares, counts, self.min_rows, self.name), rng)


@dataclass(frozen=True)
class Shards:
    """Pathological label skew: each client holds a few classes only (McMahan et al., AISTATS 2017).

    Classes are handed out in turn from shuffled rounds, so that as many clients as possible hold each class; a class's
    rows are dealt evenly among its holders. With fewer seats than classes a client gets more classes than asked.

    Attributes:
        clients: how many.
        classes_per_client: classes each of them holds.
    """

    name: ClassVar[str] = "shards"

    clients: int = 10
    classes_per_client: int = 2

    def __post_init__(self) -> None:
        _check_clients(self.clients)
        if self.classes_per_client < 1:
            raise ValueError(f"classes_per_client must be 1 or more, not {self.classes_per_client}")

    def deal(self, table: Table, split: Split, rng: np.random.Generator) -> tuple[ClientShare, ...]:
        """Rows dealt to the holders of each class.

        Raises:
            ConfigError: ``classes_per_client`` exceeds the classes there are.
        """
        present = np.unique(np.concatenate([table.y[part] for part in split.parts]))
        if self.classes_per_client > len(present):
            raise ConfigError(
                f"[partition] shards: classes_per_client = {self.classes_per_client}, "
                f"but the data has {len(present)} classes",
            )
        holds = np.zeros((len(table.labels.names), self.clients))
        held = np.zeros(len(present), dtype=np.int64)
        for client in rng.permutation(self.clients):
            # the classes with the fewest holders so far, ties by lot
            chosen = np.lexsort((rng.permutation(len(present)), held))[: self.classes_per_client]
            held[chosen] += 1
            holds[present[chosen], client] = 1
        for orphan in present[held == 0]:
            holds[orphan, rng.integers(self.clients)] = 1
        return _deal(table, split, holds / np.maximum(holds.sum(1, keepdims=True), 1), rng)


@dataclass(frozen=True)
class Quantity:
    """Size skew: client sizes are log-normal, largest to smallest at most ``ratio``; optionally label skew as well.

    Attributes:
        clients: how many.
        sigma: standard deviation of the logarithm of a client's size.
        ratio: largest size over smallest, by clipping (1000: one to a thousand).
        alpha: above 0: each class's shares are drawn from a Dirichlet with this mean concentration around the sizes.
        min_rows: every client holds at least so many training rows, by mixing with the uniform deal where needed.
    """

    name: ClassVar[str] = "quantity"

    clients: int = 10
    sigma: float = 1.5
    ratio: float = 1000.0
    alpha: float = 0.0
    min_rows: int = 1

    def __post_init__(self) -> None:
        _check_clients(self.clients)
        if self.sigma < 0 or self.ratio < 1 or self.alpha < 0 or self.min_rows < 0:
            raise ValueError(f"needs sigma, alpha, min_rows >= 0 and ratio >= 1; this is {self}")

    def deal(self, table: Table, split: Split, rng: np.random.Generator) -> tuple[ClientShare, ...]:
        """Rows dealt in proportion to the drawn sizes.

        Raises:
            ConfigError: too few training rows for ``clients`` and ``min_rows``.
        """
        reach = np.log(self.ratio) / 2
        sizes = np.exp(np.clip(rng.normal(0, self.sigma, self.clients), -reach, reach))
        shares = np.tile(sizes / sizes.sum(), (len(table.labels.names), 1))
        if self.alpha:
            shares = rng.dirichlet(self.alpha * self.clients * shares[0], size=len(shares))
        counts = np.bincount(table.y[split.train], minlength=len(shares))
        return _deal(table, split, _mixed(shares, counts, self.min_rows, self.name), rng)


@dataclass(frozen=True)
class Family:
    """Each client has met one attack family: classes whose names agree up to the last ``-``.

    Recon-OS_Scan and Recon-VulScan are one family; MQTT-DDoS-Connect_Flood and MQTT-DoS-Connect_Flood are two.

    Attributes:
        clients_per_family: clients that share one family's rows.
        benign: ``everywhere`` deals benign traffic evenly to all; ``as_is`` makes it a family with clients of its own.
    """

    name: ClassVar[str] = "family"

    clients_per_family: int = 1
    benign: Literal["everywhere", "as_is"] = "everywhere"

    def __post_init__(self) -> None:
        _check_clients(self.clients_per_family, "clients_per_family")

    def deal(self, table: Table, split: Split, rng: np.random.Generator) -> tuple[ClientShare, ...]:
        """Rows dealt by family.

        Raises:
            ConfigError: ``everywhere`` without a benign class or without an attack class.
        """
        fixed = _benign(table.labels, self.name) if self.benign == "everywhere" else None
        family_of = [label.rsplit("-", 1)[0] for label in table.labels.names]
        families = list(dict.fromkeys(name for code, name in enumerate(family_of) if code != fixed))
        if not families:
            raise ConfigError("[partition] family: the data has no attack class to make clients of")
        each = self.clients_per_family
        shares = np.zeros((len(family_of), len(families) * each))
        for code, name in enumerate(family_of):
            at = families.index(name) * each if code != fixed else 0
            shares[code, at : (at + each) if code != fixed else None] = 1
        names = [name if each == 1 else f"{name} {i + 1}" for name in families for i in range(each)]
        return _deal(table, split, shares / shares.sum(1, keepdims=True), rng, names)


@dataclass(frozen=True)
class Natural:
    """The clients of the data itself: its devices, captures or sites.

    Attributes:
        min_rows: a client with fewer training rows takes no part (a site held back for testing has none).
    """

    name: ClassVar[str] = "natural"

    min_rows: int = 1

    def __post_init__(self) -> None:
        if self.min_rows < 0:
            raise ValueError(f"min_rows must be 0 or more, not {self.min_rows}")

    def deal(self, table: Table, split: Split, rng: np.random.Generator) -> tuple[ClientShare, ...]:
        """Each row to its own device or site; rows of none belong to nobody.

        Raises:
            ConfigError: no natural clients, or none with ``min_rows``.
        """
        del rng  # nothing is drawn: the data says whose the rows are
        if not table.groups:
            raise ConfigError(f'[partition] natural: {table.schema.name} has no natural clients; set use = "dirichlet"')
        owners = [np.asarray(table.group[part], dtype=np.int64) for part in split.parts]
        shares = _shares(split, owners, table.groups)
        large = tuple(share for share in shares if len(share.train) >= self.min_rows)
        if not large:
            raise ConfigError(
                f"[partition] natural: no client has {self.min_rows} training rows; set a smaller min_rows"
            )
        return large


STRATEGIES: tuple[type[Iid | Dirichlet | Shards | Quantity | Family | Natural], ...] = (
    Iid,
    Dirichlet,
    Shards,
    Quantity,
    Family,
    Natural,
)


def label_histograms(table: Table, shares: Sequence[ClientShare]) -> I64:
    """Training rows of each class at each client, [clients, classes]."""
    classes = len(table.labels.names)
    return np.stack([np.bincount(table.y[share.train], minlength=classes) for share in shares])


def label_skew(histograms: I64) -> float:
    """Mean Jensen-Shannon distance (base 2, from 0 to 1) of the clients' label shares to the pooled ones.

    ``histograms`` [clients, classes]; clients without rows are left out; 0 without any rows.
    """
    held = histograms[histograms.sum(1) > 0]
    if not len(held):
        return 0.0
    shares = held / held.sum(1, keepdims=True)
    pooled = held.sum(0) / held.sum()
    middle = (shares + pooled) / 2
    divergence = (
        _relative_entropy(shares, middle) + _relative_entropy(np.broadcast_to(pooled, shares.shape), middle)
    ) / 2
    return float(np.sqrt(np.clip(divergence, 0, 1)).mean())


def _relative_entropy(p: F64, q: F64) -> F64:
    ratio = np.divide(p, q, out=np.ones_like(p), where=p > 0)
    entropy: F64 = (p * np.log2(ratio)).sum(1)
    return entropy


def _check_clients(clients: int, key: str = "clients") -> None:
    if clients < 1:
        raise ValueError(f"{key} must be 1 or more, not {clients}")


def _benign(labels: Labels, strategy: str) -> int:
    if labels.benign is None:
        raise ConfigError(f'[partition] {strategy}: benign = "everywhere", but the data has no benign class')
    return labels.benign


def _enough(shares: F64, counts: I64, min_rows: int) -> bool:
    # dealing rounds each class by less than one row, so the smallest client is judged by what it surely gets
    return bool(np.floor(shares * counts[:, None] + 1e-9).sum(0).min() >= min_rows)


def _mixed(shares: F64, counts: I64, min_rows: int, strategy: str) -> F64:
    """``shares`` [classes, clients] mixed with the uniform deal by as few hundredths as give everyone ``min_rows``."""
    clients = shares.shape[1]
    for part in np.arange(0, 101) / 100:
        mixed: F64 = (1 - part) * shares + part / clients
        if _enough(mixed, counts, min_rows):
            return mixed
    raise ConfigError(
        f"[partition] {strategy}: even dealt evenly some of {clients} clients might hold fewer than {min_rows} "
        f"of the {counts.sum()} training rows; set fewer clients or a smaller min_rows",
    )


def _deal(
    table: Table, split: Split, shares: F64, rng: np.random.Generator, names: Sequence[str] = ()
) -> tuple[ClientShare, ...]:
    """Deal all parts by ``shares`` [classes, clients], whose rows add up to 1."""
    owners = [_owners(table.y[part], shares, rng) for part in split.parts]
    return _shares(split, owners, names or [f"client {i}" for i in range(shares.shape[1])])


def _owners(y: I64, shares: F64, rng: np.random.Generator) -> I64:
    """The client [n] of every row with labels ``y`` [n]."""
    owner = np.empty(len(y), dtype=np.int64)
    for code, share in enumerate(shares):
        at = rng.permutation(np.flatnonzero(y == code))
        owner[at] = np.repeat(np.arange(len(share)), _counts(share, len(at), rng))
    return owner


def _counts(share: F64, total: int, rng: np.random.Generator) -> I64:
    """``total`` rows over clients by ``share`` [clients]: whole rows first, then by largest remainder, ties by lot."""
    exact = share * total
    counts = np.floor(exact + 1e-9).astype(np.int64)
    order = np.lexsort((rng.permutation(len(share)), counts - exact))
    counts[order[: total - int(counts.sum())]] += 1
    return counts


def _shares(split: Split, owners: Sequence[I64], names: Sequence[str]) -> tuple[ClientShare, ...]:
    parts = [_by_owner(part, owner, len(names)) for part, owner in zip(split.parts, owners, strict=True)]
    return tuple(ClientShare(name, *rows) for name, *rows in zip(names, *parts, strict=True))


def _by_owner(index: I64, owner: I64, clients: int) -> list[I64]:
    """The rows ``index`` [n] of each client; an owner of -1 is nobody."""
    order = np.argsort(owner, kind="stable")
    cuts = np.searchsorted(owner[order], np.arange(clients + 1))
    return [index[order[start:end]] for start, end in itertools.pairwise(cuts)]
