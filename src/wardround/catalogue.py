"""The one place where strategies are named.

A strategy is a frozen dataclass whose fields are its TOML keys; ``use = "NAME"`` picks it. Third parties join
through the entry-point group ``wardround.strategies``: an entry point named ``KIND.NAME`` (for example
``rule.my-rule``) that loads such a dataclass. Drivers add the data sources (they live above this floor).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import ClassVar

from wardround.aggregate import optimise, rules
from wardround.auth import choice as auth_choice
from wardround.compress import codecs
from wardround.errors import UsageError
from wardround.federation import algorithms, clusters, fairness, mixtures, momentum, sketches, typeheads
from wardround.secagg import choice
from wardround.traffic import partition, scaling, split
from wardround.training import calm, models, personal, priors

GROUP = "wardround.strategies"
KIND_TEXT = {
    "source": "where the traffic records come from: [data]",
    "split": "which rows train, validate and test: [split]",
    "partition": "how rows are dealt to clients: [partition]",
    "scaling": "federated preprocessing: [scaling]",
    "model": "the light model every gateway trains: [model]",
    "algorithm": "federated optimisation: [algorithm]",
    "rule": "how cohort means become one update: [rule]",
    "optimiser": "the server's optimiser: [server]",
    "secagg": "how answers are added up: [secagg]",
    "personal": "what a client keeps for itself: [personal]",
    "prior": "how a client's own label shares correct the model: [prior]",
    "attack": "an adversary, for evaluation in simulations only: [attack]",
    "auth": "who may take part, and what an answer travels in: [auth]",
    "codec": "what travels instead of whole vectors: [compress] up, down",
}


@dataclass(frozen=True)
class AutoRule:
    """The default for what the server sees: rows of one or two clients, of larger cohorts with or without a root set, or one row.

    It stands for another rule, set for what ``[robust]`` assumes (``wardround explain rule FILE`` says which); the run's folder
    names that one.
    """

    name: ClassVar[str] = "auto"


@dataclass(frozen=True)
class NoAttack:
    """Nobody attacks. Attacks themselves exist in simulations alone: the simulation's driver adds them."""

    name: ClassVar[str] = "none"


@dataclass(frozen=True)
class Catalogue:
    """Strategies by kind and name."""

    kinds: Mapping[str, Mapping[str, type]]

    def find(self, kind: str, name: str) -> type | None:
        return self.kinds.get(kind, {}).get(name)

    def names(self, kind: str) -> list[str]:
        return sorted(self.kinds.get(kind, {}))

    def extended(self, kind: str, more: Mapping[str, type]) -> Catalogue:
        """This catalogue with ``more`` strategies of ``kind``.

        Raises:
            UsageError: a name is taken, or a class is not a frozen dataclass.
        """
        have = dict(self.kinds.get(kind, {}))
        for name, cls in more.items():
            if name in have and have[name] is not cls:
                raise UsageError(f"two strategies of kind {kind} are named {name!r}: rename or uninstall one")
            frozen = dataclasses.is_dataclass(cls) and cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
            if not frozen:
                raise UsageError(f"strategy {kind}.{name} ({cls!r}) is not a frozen dataclass")
            have[name] = cls
        return Catalogue({**self.kinds, kind: have})


def with_entry_points(catalogue: Catalogue, found: list[EntryPoint]) -> Catalogue:
    """``catalogue`` with third parties' strategies (the driver lists the entry points: it may touch the disk).

    Raises:
        UsageError: an entry point is misnamed, does not load, or clashes.
    """
    for point in found:
        kind, _, name = point.name.partition(".")
        if kind not in KIND_TEXT or not name:
            raise UsageError(
                f"entry point {point.name!r} of {GROUP} should be KIND.NAME, KIND one of {list(KIND_TEXT)}"
            )
        try:
            cls = point.load()
        except Exception as error:
            raise UsageError(f"strategy {point.name} ({point.value}) does not load: {error}") from error
        catalogue = catalogue.extended(kind, {name: cls})
    return catalogue


def _named(*classes: type) -> dict[str, type]:
    return {cls.name: cls for cls in classes}  # type: ignore[attr-defined]


CORE = Catalogue(
    {
        "source": {},
        "split": _named(*split.STRATEGIES),
        "partition": _named(*partition.STRATEGIES),
        "scaling": _named(*scaling.STRATEGIES),
        "model": _named(*models.MODELS),
        "algorithm": _named(
            algorithms.FedAvg,
            algorithms.FedProx,
            momentum.ClientMomentum,
            algorithms.Scaffold,
            algorithms.FedNova,
            algorithms.FedDyn,
            algorithms.Moon,
            *fairness.ALGORITHMS,
            *clusters.ALGORITHMS,
            *mixtures.ALGORITHMS,
            *sketches.ALGORITHMS,
            *typeheads.ALGORITHMS,
        ),
        "rule": _named(AutoRule, *rules.RULES),
        "optimiser": _named(*optimise.OPTIMISERS),
        "secagg": _named(*choice.SUMS),
        "personal": _named(*personal.STRATEGIES),
        "prior": _named(*priors.STRATEGIES, *calm.STRATEGIES),
        "attack": _named(NoAttack),
        "auth": _named(*auth_choice.CHOICES),
        "codec": _named(*codecs.CODECS),
    },
)
