"""The way down: every client that follows holds the server's announced model to the bit, whatever it missed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from wardround.arrays import F32
from wardround.compress.chain import Chain, LinearChain
from wardround.compress.codec import Codec, Public
from wardround.compress.downlink import Announced, Differences, Ledger, Track, advance, follow, update_for
from wardround.compress.feedback import ErrorFeedback
from wardround.compress.projections import LowRank
from wardround.compress.quantise import Integer
from wardround.compress.rotation import Eden
from wardround.compress.sparsify import SparseTernary, TopK
from wardround.compress.supports import Importance
from wardround.errors import DecodeError, RemoteProtocolError
from wardround.params import Layout
from wardround.wire import decode, encode

LAYOUT = Layout(("w", "b"), ((30, 20), (20,)))
RI = Importance(0.1)
TRACKS = {
    "dense": Track(b"f", LAYOUT, Chain(), Chain()),
    "stc": Track(b"f", LAYOUT, Chain.of((ErrorFeedback(), SparseTernary(0.02))), Chain.of((TopK(0.05), Integer(8)))),
    "ri": Track(b"f", LAYOUT, LinearChain((RI,)), Chain.of((replace(RI, weigh=False), Integer(8)))),
    "eden": Track(b"f", LAYOUT, LinearChain((RI,)), Chain.of((Eden(2),))),
    "low-rank": Track(b"f", LAYOUT, LinearChain((LowRank(2),)), Chain.of((Integer(8),))),
}
every = pytest.mark.parametrize("track", TRACKS.values(), ids=TRACKS.keys())


def path(rounds: int) -> list[F32]:
    """Parameters that move as under training: ever smaller steps."""
    rng = np.random.default_rng(3)
    at, steps = rng.normal(size=LAYOUT.size).astype(np.float32), []
    for r in range(rounds):
        at = at + (rng.standard_t(3, LAYOUT.size) * 0.1 / (1 + r)).astype(np.float32)
        steps.append(at)
    return steps


def same(one: Announced, other: Announced) -> bool:
    return encode(one) == encode(other)


@every
def test_clients_that_miss_rounds_catch_up_to_the_bit(track: Track) -> None:
    models, rng = path(60), np.random.default_rng(4)
    ledger = Ledger(track.start(models[0]))
    clients: list[Announced | None] = [None] * 6
    often = [1.0, 0.7, 0.3, 0.1, 0.05, 0.02]
    for r, model in enumerate(models):
        for i, held in enumerate(clients):
            if rng.random() < often[i] or r == len(models) - 1:
                message = update_for(ledger, held.version if held else None)
                clients[i] = now = follow(track, held, message)
                assert same(now, ledger.announced)
        ledger = advance(track, ledger, model, np.random.default_rng(r))


@every
def test_the_announced_model_converges_to_parameters_that_stand_still(track: Track) -> None:
    start, goal = path(2)
    ledger = Ledger(track.start(start))
    for r in range(250):
        ledger = advance(track, ledger, goal, np.random.default_rng(r))
    assert np.abs(ledger.announced.model - goal).max() < 0.02 * np.abs(start - goal).max()


def test_what_one_difference_leaves_out_is_part_of_the_next() -> None:
    track = TRACKS["stc"]
    start, goal = path(2)
    first = advance(track, Ledger(track.start(start)), goal, np.random.default_rng(1))
    owed = goal - first.announced.model
    assert np.abs(owed).max() > 0
    second = advance(track, first, goal, np.random.default_rng(2))
    largest = np.argmax(np.abs(owed))
    assert abs(goal[largest] - second.announced.model[largest]) < 0.02 * abs(owed[largest])


def test_a_message_is_never_longer_than_a_snapshot_and_differences_are_used_where_they_are_shorter() -> None:
    track = TRACKS["stc"]
    ledger = Ledger(track.start(path(1)[0]))
    for r, model in enumerate(path(100)):
        ledger = advance(track, ledger, model, np.random.default_rng(r))
    snapshot = len(encode(ledger.announced))
    sizes = [len(update_for(ledger, 100 - behind)) for behind in range(60)]
    assert max(sizes) <= snapshot
    assert sizes[1] < snapshot / 20
    assert isinstance(kind(update_for(ledger, 99)), Differences)
    assert isinstance(kind(update_for(ledger, 1)), Announced)
    assert isinstance(kind(update_for(ledger, 101)), Announced)  # a version the server never announced


def kind(message: bytes) -> object:
    got: object = decode(message, Announced, Differences)
    return got


def test_a_client_up_to_date_is_told_so_in_few_bytes() -> None:
    ledger = Ledger(TRACKS["stc"].start(path(1)[0]))
    message = update_for(ledger, 0)
    assert len(message) < 32
    assert same(follow(TRACKS["stc"], ledger.announced, message), ledger.announced)


def test_differences_for_another_version_are_refused() -> None:
    track = TRACKS["stc"]
    ledger = Ledger(track.start(path(1)[0]))
    message = update_for(advance(track, ledger, path(2)[1], np.random.default_rng(1)), 0)
    for held in (None, replace(ledger.announced, version=5)):
        with pytest.raises(RemoteProtocolError, match="differences from version 0"):
            follow(track, held, message)


@every
def test_damaged_messages_are_refused(track: Track) -> None:
    ledger = Ledger(track.start(path(1)[0]))
    after = advance(track, ledger, path(2)[1], np.random.default_rng(1))
    step = after.steps[0] if after.steps else b""  # a dense step is no shorter than a snapshot and is not kept
    short = np.zeros(3, np.float32)
    nan = np.full(LAYOUT.size, np.nan, np.float32)
    bad = [
        encode(Announced(1, short, Public())),
        encode(replace(after.announced, model=nan)),
        encode(replace(after.announced, version=-1)),
        encode(replace(after.announced, public=Public(levels=np.zeros(7, np.uint8)))),
        encode(replace(after.announced, public=replace(after.announced.public, factor=np.full(3, np.inf, np.float32)))),
        encode(Differences(0, (step[:-1],))),
        encode(Differences(0, (step + b"\x00",))),
        encode(after),
        b"",
    ]
    for message in bad:
        with pytest.raises(DecodeError):
            follow(track, ledger.announced, message)


def test_a_ledger_survives_a_restart() -> None:
    track = TRACKS["ri"]
    ledger = advance(track, Ledger(track.start(path(1)[0])), path(2)[1], np.random.default_rng(1))
    again = decode(encode(ledger), Ledger)
    assert encode(again) == encode(ledger)
    one, two = (advance(track, x, path(3)[2], np.random.default_rng(2)) for x in (ledger, again))
    assert encode(one) == encode(two)


def test_the_server_and_a_follower_draw_the_same_support() -> None:
    track = TRACKS["ri"]
    ledger, held = Ledger(track.start(path(1)[0])), None
    for r, model in enumerate(path(30)):
        held = follow(track, held, update_for(ledger, held.version if held else None))
        z = np.ones(LAYOUT.size, np.float32)
        np.testing.assert_array_equal(support(track, held, z), support(track, ledger.announced, z))
        ledger = advance(track, ledger, model, np.random.default_rng(r))
    assert len(np.unique(ledger.announced.public.levels)) > 5  # it has learned something


def support(track: Track, held: Announced, z: F32) -> F32:
    coding = LinearChain.of(codecs_of(track)).plan(held.public, b"", LAYOUT)
    return coding.backward(coding.forward(z))


def codecs_of(track: Track) -> tuple[Codec, ...]:
    assert isinstance(track.up, LinearChain)
    return track.up.codecs


def test_error_feedback_is_refused_downstream() -> None:
    with pytest.raises(ValueError, match="own error feedback"):
        Track(b"f", LAYOUT, Chain(), Chain.of((ErrorFeedback(), TopK())))
