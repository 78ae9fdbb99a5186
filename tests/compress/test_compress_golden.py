"""Golden bytes: exact encodings of a small vector, and exact sizes of the model of the figures."""

import hashlib

import numpy as np
import pytest

from wardround.compress.chain import Chain
from wardround.compress.codec import Codec, Memory, Public, flat, public_words, round_id
from wardround.compress.feedback import ErrorFeedback
from wardround.compress.pack import Zstd
from wardround.compress.projections import CountSketch, LowRank
from wardround.compress.quantise import Float32, Integer, Sign, Ternary
from wardround.compress.rotation import Eden
from wardround.compress.sparsify import SparseTernary, Threshold, TopK
from wardround.compress.supports import Importance, RandomK, SharedTop
from wardround.params import Layout

SMALL = np.array([0.5, -0.25, 0.0, 1.0, -2.0, 0.125, 0.0, -0.0625], dtype=np.float32)
MODEL = Layout(("w1", "b1", "w2", "b2", "w3", "b3"), ((39, 64), (64,), (64, 32), (32,), (32, 19), (19,)))


def encoded(*codecs: Codec) -> str:
    chain = Chain.of(codecs)
    coding = chain.plan(chain.init(flat(8)), round_id(b"golden", 1), flat(8))
    return coding.encode(SMALL, Memory(), np.random.default_rng(1))[0].hex()


@pytest.mark.parametrize(
    ("codecs", "golden"),
    [
        ((), "0000003f000080be000000000000803f000000c00000003e00000000000080bd"),
        ((Integer(8, stochastic=False),), "40009f6f7fbf00877f7b"),  # scale 2.0 is 0x4000, zero is 127
        ((Integer(4, stochastic=False),), "4000967b0777"),
        ((Sign(),), "3efc49"),
        ((TopK(0.25),), "0000803f000000c0" + "00e0"),
        ((TopK(0.25), Sign()), "3fc040" + "00e0"),
        ((SparseTernary(0.25),), "3fc040" + "00e0"),
        ((Threshold(1.0, 0.5), Integer(8, stochastic=False)), "00000002" + "4000bf00" + "00e0"),
    ],
)
def test_golden_bytes(codecs: tuple[Codec, ...], golden: str) -> None:
    assert encoded(*codecs) == golden


def test_golden_bytes_of_what_is_random() -> None:
    """Pinned from our own output: they change only when the wire format or a stream does."""
    pinned = {
        "int": encoded(Integer(4)),
        "ternary": encoded(Ternary()),
        "eden": encoded(Eden(2)),
        "random-k": encoded(RandomK(0.25)),
        "importance": encoded(Importance(0.25)),
        "shared-top": encoded(SharedTop(0.25)),
        "count-sketch": encoded(CountSketch(0.5, rows=1)),
    }
    assert pinned == PINNED


@pytest.mark.parametrize(
    ("codecs", "size"),
    [
        ((Float32(),), 21_068),
        ((Integer(8),), 5_269),
        ((Integer(4),), 2_636),
        ((Integer(4, block=256),), 2_676),
        ((Ternary(),), 1_056),
        ((Sign(),), 661),
        ((Eden(1),), 684),
        ((RandomK(0.1),), 2_108),
        ((Importance(0.05), Integer(4)), 134),
    ],
)
def test_sizes_that_do_not_depend_on_values(codecs: tuple[Codec, ...], size: int) -> None:
    least_to_most = Chain.of(codecs).size(MODEL)
    assert (least_to_most.least, least_to_most.expected, least_to_most.most) == (size, size, size)


def test_low_rank_takes_turns() -> None:
    # 2 columns of 39 + 64 + 32 rows, then 2 rows of 64 + 32 + 19 columns; 115 biases
    chain = Chain.of((LowRank(2),))
    size = chain.size(MODEL)
    assert (size.least, size.most) == (4 * (2 * 115 + 115), 4 * (2 * 135 + 115))
    assert chain.linear.outputs(MODEL, turn=1) == 2 * 115 + 115


def test_the_sparse_ternary_update_of_the_figures_is_64_bytes() -> None:
    size = Chain.of((ErrorFeedback(), SparseTernary(0.01))).size(MODEL)
    assert (size.least, size.expected, size.most) == (17, 64, 67)


def test_zstd_says_whether_it_was_worth_it() -> None:
    data, _ = Chain.of((Zstd(),)).plan(Public(), b"", flat(8)).encode(SMALL, Memory(), np.random.default_rng(1))
    assert data[0] == 0
    zeros, _ = (
        Chain.of((Zstd(),))
        .plan(Public(), b"", flat(999))
        .encode(np.zeros(999, np.float32), Memory(), np.random.default_rng(1))
    )
    assert zeros[0] == 1
    assert len(zeros) < 40


def test_public_words_never_change() -> None:
    words = public_words(round_id(b"golden", 1), "importance", 1000)
    assert hashlib.sha256(words.astype(">u8").tobytes()).hexdigest() == WORDS
    assert round_id(b"golden", 1).hex() == IDENTITY


IDENTITY = "7dafee17583f54dca5b28f0a917546a6b849f78ff679168a246b58b017fe628f"
WORDS = "ec0d8453222d8a354dc9e22760c4a82de9fba6a6a881a60b55e00cfa4060bf16"
PINNED = {
    "int": "4000967a0877",
    "ternary": "40002579",
    "eden": "ffe422793e9aea48ba14ba14ba14ba14ba14ba14ba14ba14",
    "random-k": "000000c0000080bd",
    "importance": "0000803f000080bd",
    "shared-top": "0000003f000080bd",
    "count-sketch": "000010c00000003f000088bf0000003e",
}
