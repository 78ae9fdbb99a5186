"""What local training is asked and what it answers: the border between the round and the engines.

The round (federation/) makes one ``Job`` per client; an engine (stacked.py, torch_engine.py) turns a chunk of
jobs into ``Trained`` results in the same order. Law: a client's result depends on its own job alone, never on
its neighbours in the chunk, so any chunking gives the same federation (within float32 rounding of the matrix
products; equal to the bit for equal chunks).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from wardround.arrays import F32, I64, Bool


@dataclass(frozen=True, eq=False)
class Rows:
    """Prepared rows of one client: x [n, f] float32 and finite, y [n] class codes."""

    x: F32
    y: I64

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class LocalTraining:
    """How a client trains in one round: the table ``[training]``.

    Attributes:
        engine: ``stacked`` (numpy, many clients at once) or ``torch`` (extra wardround[torch]).
        epochs: passes over the client's rows; ignored where ``steps`` is positive.
        steps: optimiser steps per round; 0 means whole epochs. Epochs are walked as often as the steps need.
        batch_size: rows per step; the last batch of an epoch holds the rest.
        optimiser: ``sgd`` (with ``momentum``) or ``adamw``; its state lives for one round.
        learning_rate, momentum, weight_decay: of that optimiser (decay is decoupled for adamw, L2 for sgd).
        clip_norm: largest Euclidean norm of one step's gradient; 0 leaves it alone.
        class_weighting: ``none``; ``balanced`` weighs class k by total / (classes * count_k) from the *federation's*
            summed label counts (classes nobody has weigh 0), ``sqrt`` by the square root of that.
        logit_adjustment: strength with which a client's own label shares are taken out of its loss: it adds
            strength * log(own share / federation's share) to the logits while it trains, so that skewed labels pull
            the model less (Menon et al., ICLR 2021; Zhang et al., ICML 2022); 0: plain cross-entropy.
        adjustment_floor: part of the federation's shares mixed into a client's own before the logarithm; bounds what a
            class that the client does not have is pushed by.
        exposure: invented rows beside the benign ones, as a share of a client's rows, that the detector learns to call attacks
            (training/exposure.py): against attacks nobody has labelled. Needs ``labels = "binary"``; 0: none.
        unknown_words: what to make of a row in which a category (a service, a connection's state) has a word that nobody in the
            federation has: ``ignore`` (the model has no input for it) or ``attack`` (training/unknown.py; models ``mlp`` and
            ``logistic``). For sites that join later.
    """

    engine: Literal["stacked", "torch"] = "stacked"
    epochs: int = 1
    steps: int = 0
    batch_size: int = 32
    optimiser: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    class_weighting: Literal["none", "balanced", "sqrt"] = "none"
    logit_adjustment: float = 0.0
    adjustment_floor: float = 0.05
    exposure: float = 0.0
    unknown_words: Literal["ignore", "attack"] = "ignore"

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("steps", 0), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, not {getattr(self, name)}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be above 0, not {self.learning_rate}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be at least 0 and below 1, not {self.momentum}")
        for name in ("weight_decay", "clip_norm", "logit_adjustment", "exposure"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)}")
        if not 0 < self.adjustment_floor <= 1:
            raise ValueError(f"adjustment_floor must be above 0 and at most 1, not {self.adjustment_floor}")


@dataclass(frozen=True, eq=False)
class Contrast:
    """A term of the loss on a row's representation h, the input of the output layer (Li et al., CVPR 2021, eq. 3):
    ``weight`` * -log(e^(cos(h, h_anchor) / t) / (e^(cos(h, h_anchor) / t) + e^(cos(h, h_away) / t))), t = ``temperature``,
    with h_anchor the job's anchor's representation of the row and h_away that of the model ``away`` [d].
    """

    weight: float
    temperature: float
    away: F32


@dataclass(frozen=True, eq=False)
class Job:
    """One client's training in one round.

    ``batches`` is the client's own stream for this round: engines draw one permutation per epoch from it and
    nothing else, so that all engines see the same batches. ``start`` [d] is the model it begins with.
    ``proximal`` is FedProx's mu (adds mu * (w - anchor) to each gradient; ``anchor`` [d] is ``start`` where None);
    ``correction`` [d] is added to each gradient (SCAFFOLD's c - c_i); ``class_weights`` [classes] weigh the loss of each
    row by its class (a step's loss is sum of weighted row losses / sum of weights, as torch's cross_entropy does).
    ``frozen`` [d]: parameters that stay as they are; ``rate`` multiplies the learning rate; ``offset`` [classes] is added
    to a classifier's logits inside the loss (logit adjustment, Menon et al., ICLR 2021), so that the model need not learn it.
    ``contrast``: model-contrastive training of a classifier with a hidden layer; it is not part of the reported loss.
    """

    client: int
    rows: Rows
    batches: np.random.Generator
    start: F32
    proximal: float = 0.0
    correction: F32 | None = None
    class_weights: F32 | None = None
    anchor: F32 | None = None
    frozen: Bool | None = None
    rate: float = 1.0
    offset: F32 | None = None
    contrast: Contrast | None = None


@dataclass(frozen=True, eq=False)
class Trained:
    """What came out: ``delta`` [d] = weights after minus ``start``; ``steps`` taken; ``loss``: mean loss over the
    steps; ``rows`` the client holds. ``delta`` may be non-finite where training diverged: the round's gate says so.
    """

    client: int
    delta: F32
    steps: int
    loss: float
    rows: int


class Engine(Protocol):
    """Trains chunks of clients and runs the model. Engines hold no state between calls; one chunk per thread."""

    @property
    def chunk(self) -> int:
        """How many jobs a chunk should hold to be fast and to stay in cache."""
        ...

    def train(self, jobs: Sequence[Job]) -> list[Trained]:
        """Train every job; results in the order of the jobs.

        Raises:
            ValueError: a job's rows, start or correction do not fit the model.
        """
        ...

    def outputs(self, parameters: F32, x: F32) -> F32:
        """Outputs [n, outputs] of the model with ``parameters`` [d] on prepared rows ``x`` [n, f]."""
        ...
