import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.drivers.nats import envelope
from wardround.drivers.nats.envelope import Assembly, Notice, Part, Presence, answer_parts, digest_of, join, split
from wardround.errors import DecodeError, RemoteProtocolError
from wardround.wire import decode, encode

BODY = bytes(range(256)) * 9


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envelope, "PART_BYTES", 100)


@given(st.binary(max_size=5000))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_join_undoes_split(body: bytes) -> None:
    assert join(split(body), digest_of(body)) == body


@pytest.mark.usefixtures("small_parts")
def test_parts_in_any_order_repeated_and_mixed_give_each_body_once() -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        parts = answer_parts("r", 1, BODY)
        assert len(parts) == 24
        order = [*range(24), *rng.integers(0, 24, 5)]
        rng.shuffle(order)
        assembly, whole = Assembly(), 0
        for i in order:
            whole += assembly.add(parts[i]) == BODY
        assert whole == 1


@pytest.mark.usefixtures("small_parts")
def test_a_newer_answer_takes_the_place_of_an_unfinished_one() -> None:
    assembly = Assembly()
    old, new = answer_parts("r", 1, BODY), answer_parts("r", 2, BODY[:150])
    assert assembly.add(old[0]) is None
    assert assembly.add(new[1]) is None
    assert assembly.add(new[0]) == BODY[:150]


@pytest.mark.usefixtures("small_parts")
def test_a_part_changed_on_the_way_is_refused() -> None:
    first, second = answer_parts("r", 1, BODY[:150])
    assembly = Assembly()
    assembly.add(first)
    with pytest.raises(RemoteProtocolError, match="not the one"):
        assembly.add(Part("r", 1, second.digest, 1, 2, second.data + b"x"))


@pytest.mark.parametrize(
    "message",
    [Notice("r", 3, digest_of(b""), 1), Part("r", 1, b"d" * 32, 0, 1, b"data"), Presence("0.1", "r", 4, True, False)],
)
def test_every_truncation_and_extension_fails(message: object) -> None:
    data = encode(message)
    assert decode(data, type(message)) == message
    for end in range(len(data)):
        with pytest.raises(DecodeError):
            decode(data[:end], type(message))
    with pytest.raises(DecodeError):
        decode(data + b"\0", type(message))


@pytest.mark.parametrize("parts", [0, -1, envelope.MAX_PARTS + 1])
def test_a_notice_cannot_announce_more_than_a_gateway_would_fetch(parts: int) -> None:
    with pytest.raises(ValueError, match="parts"):
        Notice("r", 1, digest_of(b""), parts)
