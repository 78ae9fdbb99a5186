from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.errors import DecodeError
from wardround.federation.messages import ASKS, Answer
from wardround.federation.server_state import ServerState
from wardround.wire import decode, encode

KINDS = (*ASKS, Answer, ServerState)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=200), st.sampled_from([vars(k)["__wire_tag__"] for k in KINDS]))
def test_arbitrary_bytes_decode_canonically_or_raise_decode_error(body: bytes, tag: int) -> None:
    data = b"WR\x01" + tag.to_bytes(2, "big") + body
    try:
        value = decode(data, *KINDS)
    except DecodeError:
        return
    assert encode(value) == data
