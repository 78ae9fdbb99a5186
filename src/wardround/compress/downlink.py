"""The way down: the compressed difference between models, and how a client that missed rounds catches up.

    server   parameters (exact) and the announced model, which all who are up to date hold to the bit
             difference = parameters - announced  -> bytes -> announced += what the bytes say
    client   announced += what the bytes say

What one difference leaves out is still missing from the announced model and so is part of the next: the server's error
feedback is the announced model itself (double-pass compression as in DoubleSqueeze, Tang et al., ICML 2019; the form is
EF21's, Richtarik et al., NeurIPS 2021). Clients train from the announced model. Public state (codec.Public) is learned
from announced differences only, so clients have it without a byte.

A client says the version it has. The server answers with the differences since then, or with a snapshot (model and public
state) where that is shorter or the differences are no longer kept.

Laws: after any pattern of missed rounds a client's announced model and public state equal the server's to the bit; the
announced model plus the next difference is ``parameters`` to rounding; a message for another version changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from wardround.arrays import F32
from wardround.compress.chain import Chain, Coding, LinearChain, LinearCoding
from wardround.compress.codec import Memory, Public, round_id
from wardround.errors import DecodeError, RemoteProtocolError
from wardround.params import Layout
from wardround.wire import decode, encode, message


@dataclass(frozen=True)
class Track:
    """What both sides agree on: the federation's identity, the model's layout, the chains up and down.

    Raises:
        ValueError: the downlink's chain holds error feedback, which the downlink has already.
    """

    federation: bytes
    layout: Layout
    up: Chain | LinearChain
    down: Chain

    def __post_init__(self) -> None:
        if self.down.linear.feedback is not None:
            raise ValueError("the downlink is its own error feedback: take error-feedback out of [compress] down")

    def coding(self, held: Announced) -> Coding | LinearCoding:
        """The uplink of the round that follows the version ``held``."""
        return self.up.plan(held.public, round_id(self.federation, held.version + 1), self.layout)

    def start(self, parameters: F32) -> Announced:
        """The first announced model, which clients get as a snapshot."""
        return Announced(0, parameters.copy(), self.up.init(self.layout))


@message(0x4810)
@dataclass(frozen=True, eq=False)
class Announced:
    """The model that everyone up to date holds, its version, and the public state learned on the way; also the snapshot
    on the wire.
    """

    version: int
    model: F32
    public: Public


@message(0x4811)
@dataclass(frozen=True, eq=False)
class Differences:
    """The encoded differences that lead from version ``since`` to ``since + len(steps)``."""

    since: int
    steps: tuple[bytes, ...]


@message(0x4812)
@dataclass(frozen=True, eq=False)
class Ledger:
    """The server's side: the announced model and the newest encoded differences, the last one leading to it."""

    announced: Announced
    steps: tuple[bytes, ...] = ()


def advance(track: Track, ledger: Ledger, parameters: F32, rng: np.random.Generator) -> Ledger:
    """Announce ``parameters`` [d]: the ledger with one difference more. Differences that together outweigh a snapshot go.

    Raises:
        ValueError: the parameters are not finite or of another length.
    """
    held = ledger.announced
    step, _ = _down(track, held).encode(parameters - held.model, Memory(), rng)
    steps = (*ledger.steps, step)
    while _steps_bytes(steps) > _snapshot_bytes(held):
        steps = steps[1:]
    return Ledger(_moved(track, held, step), steps)


def update_for(ledger: Ledger, version: int | None) -> bytes:
    """The shortest message that brings a client from ``version`` (None: it holds nothing) to the announced model."""
    behind = ledger.announced.version - version if version is not None else -1
    if 0 <= behind <= len(ledger.steps):
        steps = ledger.steps[len(ledger.steps) - behind :]
        if _steps_bytes(steps) < _snapshot_bytes(ledger.announced):
            return encode(Differences(ledger.announced.version - behind, steps))
    return encode(ledger.announced)


def follow(track: Track, held: Announced | None, data: bytes) -> Announced:
    """Client: what it holds after the server's message ``data``.

    Raises:
        DecodeError: damaged, or for a model of another size.
        RemoteProtocolError: differences from a version this client does not hold.
    """
    got: object = decode(data, Announced, Differences)
    if isinstance(got, Announced):
        return held if held is not None and held.version == got.version else _checked(track, got)
    if not isinstance(got, Differences):
        raise DecodeError("neither differences nor a snapshot")
    if held is None or not got.since <= held.version <= got.since + len(got.steps):
        have = "no model" if held is None else f"version {held.version}"
        raise RemoteProtocolError(f"differences from version {got.since} for a client that holds {have}")
    for step in got.steps[held.version - got.since :]:  # an answer that was lost leaves the server behind its client
        held = _moved(track, held, step)
    return held


def _down(track: Track, held: Announced) -> Coding:
    return track.down.plan(held.public, round_id(track.federation, held.version + 1), track.layout)


def _moved(track: Track, held: Announced, step: bytes) -> Announced:
    """The announced model one step on; server and clients both run this, so they agree to the bit."""
    difference = _down(track, held).decode(step)
    with np.errstate(over="ignore"):
        model = held.model + difference
    if not np.isfinite(model).all():
        raise DecodeError("the announced model would not be finite")
    # the public state learns from what was really announced: the difference of the two models as float32 holds them
    return Announced(held.version + 1, model, track.coding(held).learn(held.public, model - held.model))


def _checked(track: Track, got: Announced) -> Announced:
    fresh = track.up.init(track.layout)
    if got.version < 0 or got.model.shape != (track.layout.size,) or not np.isfinite(got.model).all():
        raise DecodeError(
            f"a snapshot of {got.model.shape} values is no finite model of {track.layout.size} parameters"
        )
    if got.public.levels.shape != fresh.levels.shape or not np.isfinite(got.public.factor).all():
        raise DecodeError("a snapshot's public state does not fit the uplink's codecs")
    return replace(got, model=got.model.copy())


def _steps_bytes(steps: tuple[bytes, ...]) -> int:
    return sum(len(step) + 4 for step in steps)  # each travels with its length


def _snapshot_bytes(held: Announced) -> int:
    return 4 * held.model.size + held.public.levels.size + 4 * held.public.factor.size
