"""Laws of what codecs put on the wire of a round: what was packed comes back, anything else is DecodeError and nothing worse."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.arrays import F32
from wardround.compress.budget import Ring
from wardround.compress.chain import Coding
from wardround.compress.codec import Codec, Memory
from wardround.compress.feedback import ErrorFeedback
from wardround.compress.quantise import Integer
from wardround.compress.sparsify import SparseTernary
from wardround.compress.supports import Importance, RandomK
from wardround.compress.table import Compress
from wardround.errors import DecodeError
from wardround.federation import coding, reach
from wardround.federation.coding import Coded, Coder, Sender, take_varint, varint
from wardround.federation.reach import Part
from wardround.params import Layout
from wardround.wire import decode, encode

MODEL = Layout(("w", "b"), ((20, 10), (10,)))
D = MODEL.size
BLOCKS = {"fedavg": (Part(D, 1.0),), "scaffold": (Part(D, 1.0), Part(D, 4.0)), "fednova": (Part(D, 1.0), Part(1, 9.0))}
CHAINS: dict[str, tuple[Codec, ...]] = {
    "stc": (ErrorFeedback(), SparseTernary(0.05)),
    "int": (Integer(4, 64),),
    "support": (Importance(0.2), Integer(8)),
}


def block(parts: tuple[Part, ...], seed: int) -> F32:
    return np.random.default_rng(seed).normal(size=sum(p.size for p in parts)).astype(np.float32)


def coder(up: tuple[Codec, ...], ring: Ring | None = None) -> Coder:
    return Coder(Compress(up=up), b"laws", MODEL, ring)


@given(st.integers(0, 2**63 - 1), st.binary(max_size=5))
def test_varints_come_back_and_have_one_form(number: int, rest: bytes) -> None:
    data = varint(number)
    assert take_varint(data + rest, 0) == (number, len(data))
    with pytest.raises(DecodeError):
        take_varint(data[:-1] + bytes([data[-1] | 0x80, 0]), 0)  # a zero group on top is the same number, longer
    with pytest.raises(DecodeError):
        take_varint(data[:-1] + bytes([data[-1] | 0x80]), 0)


@settings(max_examples=40)
@given(st.sampled_from(list(BLOCKS)), st.sampled_from(list(CHAINS)), st.integers(0, 999), st.binary(max_size=80))
def test_open_blocks_come_back_as_sent_and_other_bytes_are_refused(
    name: str, chain: str, seed: int, junk: bytes
) -> None:
    parts, held = BLOCKS[name], coder(CHAINS[chain]).start(np.zeros(D, np.float32)).announced
    used: Any = coder(CHAINS[chain]).coding(held)
    assert isinstance(used, Coding)
    sent, memories = coding.encode_block(parts, block(parts, seed), Sender(used, (), np.random.default_rng(seed)))
    got = coding.decode_block(parts, sent, used)
    assert got.shape == (sum(p.size for p in parts),)
    if name == "fednova":
        assert got[-1] == block(parts, seed)[-1]  # what is not as long as the model travels as it is
    if chain == "stc":  # what the feedback keeps is what did not arrive
        arrived = got[:D] + memories[0].residual
        np.testing.assert_allclose(arrived, block(parts, seed)[:D], atol=1e-6)
    for bad in (sent[:-1], sent + b"\x00", junk):
        with contextlib.suppress(DecodeError):
            assert coding.decode_block(parts, bad, used).shape == got.shape
    with pytest.raises(DecodeError):
        coding.decode_block(parts, sent + b"\x00", used)


@settings(max_examples=60)
@given(st.binary(max_size=60))
def test_arbitrary_bodies_give_a_reading_or_the_documented_error(junk: bytes) -> None:
    for data in (junk, encode(coding.pack(7, [3, 2, 1], junk))[:-1]):
        with contextlib.suppress(DecodeError):
            decode(data, Coded)
    with contextlib.suppress(DecodeError):
        answer = decode(b"WR\x01\x43\x01" + len(junk).to_bytes(4, "big") + junk, Coded)
        with contextlib.suppress(DecodeError):
            coding.unpack(answer)
        with contextlib.suppress(DecodeError):
            coding.unpack_answer(answer, 5)


@settings(max_examples=30)
@given(st.sampled_from(list(BLOCKS)), st.integers(2, 5), st.integers(0, 999))
def test_under_a_secure_sum_the_sum_of_what_is_sent_is_what_the_sum_would_send(name: str, n: int, seed: int) -> None:
    parts, made = BLOCKS[name], coder((RandomK(0.3),), Ring(8, 5))
    held = made.start(np.zeros(D, np.float32)).announced
    used = made.linear(held)
    blocks = [block(parts, seed + i) for i in range(n)]
    sent = [coding.send(parts, each, Sender(used, (Memory(),), np.random.default_rng(0)))[0] for each in blocks]
    whole, _ = coding.send(parts, np.sum(blocks, axis=0).astype(np.float32), Sender(used, (), np.random.default_rng(0)))
    np.testing.assert_allclose(np.sum(sent, axis=0), whole, rtol=1e-4, atol=1e-5)
    assert len(whole) == sum(p.size for p in coding.numbers(parts, used))
    assert coding.spread(parts, whole[None], used).shape == (1, sum(p.size for p in parts))


@given(st.floats(2**-20, 2**10), st.integers(0, 50), st.integers(1, 60))
def test_the_reach_grows_where_much_is_cut_and_shrinks_where_nothing_is(start: float, cut: int, clients: int) -> None:
    parts, now = (Part(100, 1.0),), np.array([start], np.float32)
    (following,) = reach.steered(parts, [float(cut * clients)], clients, now)
    assert (following > now[0]) == (cut >= 1)
    assert (following < now[0]) == (cut == 0)
