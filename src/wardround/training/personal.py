"""Personal models: what a client keeps for itself while it trains the common one.

A strategy turns a round's job into one or more *legs* (jobs that run one after the other), says which change the server's
sum gets, and what stays in the client's private memory. It works under every aggregation, because the server sees
nothing but the common part. The private part never leaves the gateway: it is in no message (federation/messages.py).

    none      the common model as it is
    finetune  the common model trained on by each client for itself, with early stopping        (no private part in rounds)
    typed     the same for each type of device a client has: a head, or biases, for each
    fedper    some tensors are private, all are trained together        Arivazhagan et al., arXiv 1912.00818
    fedrep    private tensors first, then the common ones               Collins et al., ICML 2021
    ditto     a model of its own, pulled towards the common one         Li et al., ICML 2021
    apfl      a mixture of an own and the common model                  Deng et al., arXiv 2003.13461

Laws: with empty memory ``model`` is the common model (a client that joins late starts there); ``finish`` gives a change
[d] that is 0 where tensors are private; memory has 0 or d values.
What it does not do: correct for label shares (priors.py), run engines (tuning.py, federation/client.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import ClassVar, Protocol

import numpy as np

from wardround.arrays import F32, Bool
from wardround.params import Layout
from wardround.training.task import Job, Trained


class Personal(Protocol):
    """A strategy of the table ``[personal]``; ``legs``: jobs of a round; ``epochs``: what ``tuning`` adds at the end."""

    name: ClassVar[str]
    legs: ClassVar[int]

    @property
    def epochs(self) -> int:
        """Epochs of local tuning after the last round; 0: none."""
        ...

    def job(self, leg: int, base: Job, memory: F32, layout: Layout, done: Sequence[Trained]) -> Job:
        """Leg number ``leg`` of the round whose common job is ``base``; ``done`` are the legs before."""
        ...

    def finish(self, base: Job, memory: F32, layout: Layout, done: Sequence[Trained]) -> tuple[Trained, F32]:
        """(what the common model learns from, new private memory [0 or d])."""
        ...

    def model(self, memory: F32, parameters: F32, layout: Layout) -> F32:
        """The client's own model [d] from its memory and the common ``parameters`` [d]."""
        ...


@dataclass(frozen=True)
class Common:
    """Every client uses the common model. No settings."""

    name: ClassVar[str] = "none"
    legs: ClassVar[int] = 1

    @property
    def epochs(self) -> int:
        """No tuning."""
        return 0

    def job(self, leg: int, base: Job, memory: F32, layout: Layout, done: Sequence[Trained]) -> Job:
        """The common job."""
        del leg, memory, layout, done
        return base

    def finish(self, base: Job, memory: F32, layout: Layout, done: Sequence[Trained]) -> tuple[Trained, F32]:
        """What was trained is common."""
        del base, layout
        return done[0], memory

    def model(self, memory: F32, parameters: F32, layout: Layout) -> F32:
        """The common model."""
        del memory, layout
        return parameters


@dataclass(frozen=True)
class Finetune(Common):
    """After the last round each client goes on alone from the common model, and keeps the epoch its validation rows like best.

    Attributes:
        most_epochs: at most so many.
        patience: stop after so many epochs without a better validation loss.
        tensors: only tensors with these names are tuned (shell patterns; ``*.bias`` tunes biases, ``out.*`` the head).
    """

    name: ClassVar[str] = "finetune"

    most_epochs: int = 20
    patience: int = 3
    tensors: tuple[str, ...] = ("*",)

    def __post_init__(self) -> None:
        for name in ("most_epochs", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)}")
        _patterns(self.tensors)

    @property
    def epochs(self) -> int:
        """Epochs at most."""
        return self.most_epochs


@dataclass(frozen=True)
class Typed(Finetune):
    """As ``finetune``, but for each type of device that a client has: tensors of its own, tuned on this type's rows alone.

    Every row is scored with its device's tensors. Types the client knows too little of use the common model.

    Attributes:
        tensors: names of the tensors that each type has for itself: ``out.*`` is the head, ``*.bias`` all biases.
        least: fewest training rows of a type.
    """

    name: ClassVar[str] = "typed"

    tensors: tuple[str, ...] = ("out.*",)
    least: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.least < 1:
            raise ValueError(f"least must be 1 or more, not {self.least}")


@dataclass(frozen=True)
class FedPer(Common):
    """Private tensors, trained together with the common ones; by default the output layer.

    Attributes:
        private: names of the private tensors (shell patterns): ``out.*`` is the head, ``*.bias`` all biases.
    """

    name: ClassVar[str] = "fedper"

    private: tuple[str, ...] = ("out.*",)

    def __post_init__(self) -> None:
        _patterns(self.private)

    def job(self, leg: int, base: Job, memory: F32, layout: Layout, done: Sequence[Trained]) -> Job:
        """The common job, begun with the client's own private tensors."""
        del leg, done
        return replace(base, start=self.model(memory, base.start, layout))

    def finish(self, base: Job, memory: F32, layout: Layout, done: Sequence[Trained]) -> tuple[Trained, F32]:
        """The private tensors' change stays here."""
        own = chosen(layout, self.private)
        before = self.model(memory, base.start, layout)
        return replace(done[0], delta=np.where(own, np.float32(0), done[0].delta)), before + done[0].delta

    def model(self, memory: F32, parameters: F32, layout: Layout) -> F32:
        """Own private tensors in the common model."""
        return np.where(chosen(layout, self.private), memory, parameters) if memory.size else parameters


@dataclass(frozen=True)
class FedRep(FedPer):
    """As ``fedper``, but the private tensors are trained first and alone, then the common ones alone."""

    name: ClassVar[str] = "fedrep"
    legs: ClassVar[int] = 2

    def job(self, leg: int, base: Job, memory: F32, layout: Layout, done: Sequence[Trained]) -> Job:
        """First the private tensors with the common ones frozen, then the other way round."""
        own = chosen(layout, self.private)
        start = self.model(memory, base.start, layout)
        if leg == 0:
            return replace(base, start=start, frozen=~own)
        return replace(base, start=start + done[0].delta, frozen=own)

    def finish(self, base: Job, memory: F32, layout: Layout, done: Sequence[Trained]) -> tuple[Trained, F32]:
        """The second leg's change is common, the first one's private."""
        return done[1], self.model(memory, base.start, layout) + done[0].delta


@dataclass(frozen=True)
class Ditto(Common):
    """Beside the common model each client trains one of its own, pulled towards the common one.

    Attributes:
        pull: strength of the pull (the paper's lambda); 0 is local training, large is the common model.
    """

    name: ClassVar[str] = "ditto"
    legs: ClassVar[int] = 2

    pull: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.pull < math.inf:
            raise ValueError(f"pull must be 0 or more, not {self.pull}")

    def job(self, leg: int, base: Job, memory: F32, layout: Layout, done: Sequence[Trained]) -> Job:
        """The common job; then the own model, without what the algorithm adds to the common one."""
        del done
        if leg == 0:
            return base
        start = self.model(memory, base.start, layout)
        return replace(
            base, start=start, anchor=base.start, proximal=self.pull, correction=None, offset=None, contrast=None
        )

    def finish(self, base: Job, memory: F32, layout: Layout, done: Sequence[Trained]) -> tuple[Trained, F32]:
        """The own model stays here."""
        return done[0], self.model(memory, base.start, layout) + done[1].delta

    def model(self, memory: F32, parameters: F32, layout: Layout) -> F32:
        """The own model."""
        del layout
        return memory if memory.size else parameters


@dataclass(frozen=True)
class Apfl(Common):
    """The mixture ``share`` * own + (1 - ``share``) * common, of which the own part is trained with the common one held.

    Training u = a v + (1 - a) w with w held moves u by a * rate * a * gradient where v moves by rate * a * gradient
    (Deng et al., eq. 4), so the leg trains u itself at a^2 times the rate. The share is a setting, not adapted.

    Attributes:
        share: weight of the own model (the paper's alpha).
    """

    name: ClassVar[str] = "apfl"
    legs: ClassVar[int] = 2

    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, not {self.share}")

    def job(self, leg: int, base: Job, memory: F32, layout: Layout, done: Sequence[Trained]) -> Job:
        """The common job; then the mixture."""
        del done
        if leg == 0:
            return base
        mixed = self.model(memory, base.start, layout)
        return replace(base, start=mixed, rate=self.share**2, proximal=0.0, correction=None, offset=None, contrast=None)

    def finish(self, base: Job, memory: F32, layout: Layout, done: Sequence[Trained]) -> tuple[Trained, F32]:
        """The own part of the mixture stays here."""
        mixed = self.model(memory, base.start, layout) + done[1].delta
        share = np.float32(self.share)
        return done[0], ((mixed - (1 - share) * base.start) / share).astype(np.float32)

    def model(self, memory: F32, parameters: F32, layout: Layout) -> F32:
        """The mixture."""
        del layout
        share = np.float32(self.share)
        return share * memory + (1 - share) * parameters if memory.size else parameters


STRATEGIES: tuple[type, ...] = (Common, Finetune, Typed, FedPer, FedRep, Ditto, Apfl)


def chosen(layout: Layout, patterns: Sequence[str]) -> Bool:
    """Which parameters [d] belong to tensors whose names fit one of ``patterns``.

    Raises:
        ValueError: no tensor has such a name.
    """
    found = [any(fnmatchcase(name, pattern) for pattern in patterns) for name in layout.names]
    if not any(found):
        raise ValueError(f"no tensor is named {' or '.join(patterns)}; there are {', '.join(layout.names)}")
    return np.repeat(np.array(found), layout.sizes)


def check_patterns(personal: Personal, layout: Layout) -> None:
    """Do the strategy's names of tensors fit a model of this layout?

    Raises:
        ValueError: they fit none, or leave nothing common.
    """
    for key in ("tensors", "private"):
        patterns = getattr(personal, key, None)
        if patterns is not None and chosen(layout, patterns).all() and key == "private":
            raise ValueError("private tensors leave nothing that is common: name fewer")


def _patterns(patterns: Sequence[str]) -> None:
    if not patterns:
        raise ValueError("name at least one tensor")
