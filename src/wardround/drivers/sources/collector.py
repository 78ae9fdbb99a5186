"""A UDP socket that exporters of NetFlow and IPFIX send to.

Law: an empty list means that nothing came for a quarter of a second.
What it does not do: decode (traffic/netflow.py), believe what a sender's address says.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

from wardround.errors import UsageError

_LARGEST = 65535
_MOST_AT_ONCE = 512
_PATIENCE = 0.25
_BUFFER = 1 << 23


def collect(address: tuple[str, int], stop: Callable[[], bool]) -> Iterator[list[tuple[bytes, str]]]:
    """Datagrams with their senders' addresses, as many as have come; until ``stop`` says so.

    Raises:
        UsageError: the address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        try:
            listener.bind(address)
        except OSError as error:
            raise UsageError(f"cannot listen on {address[0] or '*'}:{address[1]}: {error.strerror}") from error
        while not stop():
            yield _waiting(listener)


def _waiting(listener: socket.socket) -> list[tuple[bytes, str]]:
    found: list[tuple[bytes, str]] = []
    listener.settimeout(_PATIENCE)
    try:
        while len(found) < _MOST_AT_ONCE:
            data, sender = listener.recvfrom(_LARGEST)
            found.append((data, str(sender[0])))
            listener.setblocking(False)
    except (TimeoutError, BlockingIOError):
        pass
    return found
