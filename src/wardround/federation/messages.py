"""Messages of the round; the server starts every exchange and a client answers each message once.

An answer has the two segments of docs/design/0003: ``update`` holds real values (weight x algorithm block; they may be
quantised, and travel dithered under the lattice), ``counts`` whole numbers (the weight first; exact mode).
The server uses sums of answers over cohorts and nothing else.

With ``[compress]`` (coding.py) an ask brings ``model``, differences from the model the client holds or a snapshot, and
``parameters`` is empty; the summed statistics come ``packed`` instead of as ``preparation``. An open answer is a ``Coded``, one
to a secure sum stays an ``Answer``, of fewer numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from wardround.arrays import F32, F64
from wardround.federation.coding import Coded
from wardround.wire import message


@message(0x4601)
@dataclass(frozen=True, eq=False)
class AskStatistics:
    """Send the sums of your training rows for preprocessing, and your label counts."""

    exchange: int
    schema: str


@message(0x4602)
@dataclass(frozen=True, eq=False)
class AskTraining:
    """Train ``parameters`` [d] on your rows. ``broadcast`` is what the algorithm tells everyone (SCAFFOLD's c);
    ``reach`` [parts]: the scale of the values in a secure sum, empty for a plain one (reach.py);
    ``preparation``: the summed statistics, sent to those who have not confirmed them yet, so that a gateway that
    was away for any number of rounds catches up with this one message. ``link``: the class of link whose codecs to use.
    ``settled``: the exchange whose answer of yours entered the model last; 0: none, or nobody keeps error feedback.
    """

    exchange: int
    round: int
    schema: str
    parameters: F32
    broadcast: F32
    reach: F32
    preparation: F64 | None
    model: bytes = b""
    link: int = 0
    packed: bytes = b""
    settled: int = 0


@message(0x4603)
@dataclass(frozen=True, eq=False)
class AskErrors:
    """Send moments of the reconstruction error per feature over your benign validation rows (autoencoders)."""

    exchange: int
    round: int
    schema: str
    parameters: F32
    preparation: F64 | None
    model: bytes = b""
    packed: bytes = b""


@message(0x4604)
@dataclass(frozen=True, eq=False)
class AskMeasures:
    """Send the confusion counts and score histograms of ``parameters`` on your validation rows.
    ``errors``: the federation's error moments for autoencoders, empty otherwise.
    """

    exchange: int
    round: int
    schema: str
    parameters: F32
    errors: F64
    preparation: F64 | None
    model: bytes = b""
    packed: bytes = b""


@message(0x4E22)
@dataclass(frozen=True, eq=False)
class AskAhead:
    """Asynchronous rounds: do what ``training`` says, keep its answer, and answer that you are ready (buffered.py)."""

    exchange: int
    schema: str
    training: AskTraining


@message(0x4E23)
@dataclass(frozen=True, eq=False)
class AskKept:
    """Asynchronous rounds: send what you kept, weighed by how old it is in ``round``, in units of ``reach``."""

    exchange: int
    round: int
    schema: str
    reach: F32


@message(0x4610)
@dataclass(frozen=True, eq=False)
class Answer:
    """A client's one answer to the exchange: what enters a cohort's sum."""

    exchange: int
    update: F32
    counts: F64


Ask: TypeAlias = AskStatistics | AskTraining | AskErrors | AskMeasures | AskAhead | AskKept
Model: TypeAlias = AskTraining | AskErrors | AskMeasures
"""Asks that bring a model."""
Reply: TypeAlias = Answer | Coded
ANSWERS = (Answer, Coded)
ASKS = (AskStatistics, AskTraining, AskErrors, AskMeasures, AskAhead, AskKept)
