import numpy as np
import pytest

from wardround.compress import bits
from wardround.errors import DecodeError


def test_four_bit_numbers_stand_two_to_a_byte() -> None:
    assert bits.pack(np.array([1, 15, 7]), 4) == bytes([0x1F, 0x70])
    assert bits.unpack(bytes([0x1F, 0x70]), 3, 4).tolist() == [1, 15, 7]


def test_three_bit_numbers_are_packed_from_the_highest_bit() -> None:
    assert bits.pack(np.array([0b101, 0b001, 0b111]), 3) == bytes([0b10100111, 0b10000000])


def test_padding_and_length_are_checked() -> None:
    for damaged in (bytes([0x1F]), bytes([0x1F, 0x70, 0]), bytes([0x1F, 0x71])):
        with pytest.raises(DecodeError):
            bits.unpack(damaged, 3, 4)


def test_rice_code_of_known_positions() -> None:
    # gaps 2, 0, 5 with b = 1: low bits 0 0 1, unary 10 0 110 -> 001 10 0 110, padded to 16 bits
    assert bits.rice(np.array([2, 3, 9])) == bytes([1, 0b00110011, 0b00000000])
    assert bits.positions(bytes([1, 0b00110011, 0]), 3, 10).tolist() == [2, 3, 9]


def test_rice_code_is_within_a_twentieth_of_the_information_bound() -> None:
    rng = np.random.default_rng(1)
    for n, k in ((5267, 52), (5267, 526), (111_379, 1113)):
        sizes = [len(bits.rice(np.sort(rng.choice(n, k, replace=False)))) for _ in range(20)]
        bound = sum(np.log2((n - i) / (k - i)) for i in range(k)) / 8
        assert bound < np.mean(sizes) < 1.05 * bound + 1
        assert abs(np.mean(sizes) - bits.rice_size(k, n).expected) < 2


@pytest.mark.parametrize(
    ("data", "k", "n"),
    [
        (b"", 1, 10),
        (bytes([1, 0b00110011]), 3, 10),  # the last unary part does not end
        (bytes([1, 0b00110011, 0]), 3, 9),  # a position beyond n
        (bytes([1, 0b00110011, 1]), 3, 10),  # padding
        (bytes([1, 0b00110011, 0, 0]), 3, 10),  # a byte too many
        (bytes([2, 0b10000100, 0b10000000]), 3, 10),  # the same positions, not in the shortest code
        (bytes([200, 0b00110011, 0]), 3, 10),
        (bytes([1, 0b00110011, 0]), 10**9, 2 * 10**9),  # announces more than there are bytes
        (b"\x00", 0, 10),
    ],
)
def test_damaged_positions_are_refused(data: bytes, k: int, n: int) -> None:
    with pytest.raises(DecodeError):
        bits.positions(data, k, n)
