"""Live packets from the kernel's ring: AF_PACKET with TPACKET_V3, no libpcap, no C of our own.

The kernel writes frames into blocks of shared memory and hands over a block when it is full or after 50 ms; a block
is copied out, given back, and decoded whole. A one-instruction socket filter cuts every frame to ``snap`` bytes *in the
kernel*, so what lies behind the headers and a message's first bytes never reaches this process.

Linux, Documentation/networking/packet_mmap.rst; needs CAP_NET_RAW and nothing else. The VLAN tag that the network card
took off the frame comes in the frame's header. Turn receive offloads off (``ethtool -K IFACE gro off lro off``), or several
packets count as one: ``offloads`` tells which are on.
What it does not do: transmit, join several interfaces.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from wardround.arrays import I64, U8, Array
from wardround.errors import DataError, UsageError
from wardround.traffic.decode import ETHERNET, PAD, Frames, decode
from wardround.traffic.packets import Packets

_SOL_PACKET = 263
_ADD_MEMBERSHIP, _RX_RING, _STATISTICS, _VERSION, _IGNORE_OUTGOING = 1, 5, 6, 10, 23
_TPACKET_V3, _PROMISCUOUS, _ALL_PROTOCOLS = 2, 1, 3
_SO_ATTACH_FILTER = 26
_BPF_RETURN = 0x06
_USER = 1  # TP_STATUS_USER: the block is ours
_VLAN_VALID = 1 << 4
_LINKS = {1: ETHERNET, 772: ETHERNET, 65534: 12}
"""ARPHRD_ETHER and the loopback have Ethernet headers; a tunnel (ARPHRD_NONE) has IP at once."""
_LOOPBACK = 772
_SIOCGIFHWADDR, _SIOCETHTOOL, _GET_GRO, _GET_FLAGS, _LRO = 0x8927, 0x8946, 0x2B, 0x25, 1 << 15
_HEAD = np.dtype(
    {
        "names": ["second", "nano", "captured", "wire", "status", "mac", "tag"],
        "formats": ["<u4", "<u4", "<u4", "<u4", "<u4", "<u2", "<u4"],
        "offsets": [4, 8, 12, 16, 20, 24, 32],
        "itemsize": 36,
    },
).newbyteorder("=")


@dataclass(frozen=True)
class RingSettings:
    """``block`` bytes times ``blocks`` of shared memory; a block is handed over after ``milliseconds`` at the latest;
    ``snap`` bytes of each frame are kept; ``promiscuous``: frames to other hosts too (a mirror port needs it).
    """

    block: int = 1 << 20
    blocks: int = 16
    milliseconds: int = 50
    snap: int = 320
    promiscuous: bool = True


@dataclass
class Ring:
    """An open ring; made by ``open_ring``. ``seen`` and ``dropped``: the kernel's counts since the ring was opened."""

    interface: str
    settings: RingSettings
    socket: socket.socket
    memory: mmap.mmap
    link: int
    seen: int = 0
    dropped: int = 0
    _block: int = 0
    _bytes: U8 = field(init=False)
    _copy: U8 = field(init=False)

    def __post_init__(self) -> None:
        self._bytes = np.frombuffer(self.memory, dtype=np.uint8)
        self._copy = np.zeros(self.settings.block + PAD, dtype=np.uint8)
        self._poll = select.poll()
        self._poll.register(self.socket, select.POLLIN | select.POLLERR)

    def read(self, seconds: float) -> Packets | None:
        """The packets of the next block; None when none came within ``seconds``.

        Raises:
            DataError: the interface is gone.
        """
        base = self._block * self.settings.block
        if not struct.unpack_from("=I", self.memory, base + 8)[0] & _USER:
            for _, event in self._poll.poll(seconds * 1000):
                if event & select.POLLERR:
                    self._trouble()
            if not struct.unpack_from("=I", self.memory, base + 8)[0] & _USER:
                return None
        count, first, used = struct.unpack_from("=III", self.memory, base + 12)
        data, used = self._copy, min(used, self.settings.block)
        data[:used] = self._bytes[base : base + used]
        struct.pack_into("=I", self.memory, base + 8, 0)  # give it back before the work begins
        self._block = (self._block + 1) % self.settings.blocks
        return decode(_frames(data, count, first, self.link))

    def drops(self) -> int:
        """Packets the kernel dropped because the ring was full, since the ring was opened."""
        counts = self.socket.getsockopt(_SOL_PACKET, _STATISTICS, 12)
        seen, dropped = struct.unpack_from("=II", counts)  # reading sets them to zero
        self.seen += seen
        self.dropped += dropped
        return self.dropped

    def close(self) -> None:
        """Give memory and socket back."""
        self._bytes = np.empty(0, np.uint8)
        self.memory.close()
        self.socket.close()

    def _trouble(self) -> None:
        error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        try:
            socket.if_nametoindex(self.interface)
        except OSError as gone:
            raise DataError(f"interface {self.interface} is gone ({errno.errorcode.get(error, error)})") from gone


def _frames(data: U8, count: int, first: int, link: int) -> Frames:
    """The ``count`` frames of a block, each behind its own header, chained by the distance to the next."""
    next_at, at, places = struct.Struct("=I").unpack_from, first, []
    block = data.data
    for _ in range(count):
        places.append(at)
        at += next_at(block, at)[0]
    start: I64 = np.array(places, dtype=np.int64)
    overlapping: Array = np.ndarray((len(data) - _HEAD.itemsize + 1,), dtype="V36", buffer=data, strides=(1,))
    head = overlapping[start].view(_HEAD)
    tag = np.where(head["status"] & _VLAN_VALID, head["tag"] & 0xFFF, -1).astype(np.int16)
    time = head["second"].astype(np.int64) * 1_000_000_000 + head["nano"]
    return Frames(
        data, time, start + head["mac"], head["captured"].astype(np.int32), head["wire"].astype(np.int32), link, tag
    )


@contextmanager
def open_ring(interface: str, settings: RingSettings = RingSettings()) -> Iterator[Ring]:
    """Capture on ``interface`` until the context ends.

    Raises:
        UsageError: no such interface, no right to capture, or a link that cannot be read.
    """
    try:
        socket.if_nametoindex(interface)
    except OSError as error:
        known = ", ".join(name for _, name in socket.if_nameindex())
        raise UsageError(f"no interface is named {interface!r}; there are {known}") from error
    try:
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    except PermissionError as error:
        raise UsageError(
            f"capturing on {interface} needs CAP_NET_RAW: run as root, or give the service AmbientCapabilities=CAP_NET_RAW",
        ) from error
    with raw:
        kind = _hardware(raw, interface)
        if kind not in _LINKS:
            raise UsageError(f"interface {interface} has link type {kind} (ARPHRD), which cannot be read")
        ring = Ring(interface, settings, raw, _mapped(raw, interface, kind, settings), _LINKS[kind])
        try:
            yield ring
        finally:
            ring.close()


def _mapped(raw: socket.socket, interface: str, kind: int, settings: RingSettings) -> mmap.mmap:
    """The ring's memory, with packets on their way into it."""
    size = settings.block * settings.blocks
    raw.setsockopt(_SOL_PACKET, _VERSION, _TPACKET_V3)
    _cut(raw, settings.snap)
    if kind == _LOOPBACK:  # there every packet passes twice, once on its way out
        raw.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
    frame = 2048
    request = (settings.block, settings.blocks, frame, size // frame, settings.milliseconds, 0, 0)
    try:
        raw.setsockopt(_SOL_PACKET, _RX_RING, struct.pack("=7I", *request))
    except OSError as error:
        raise UsageError(f"no ring of {settings.blocks} blocks of {settings.block} bytes: {error.strerror}") from error
    memory = mmap.mmap(raw.fileno(), size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    raw.bind((interface, _ALL_PROTOCOLS))
    if settings.promiscuous:
        member = struct.pack("=iHH8s", socket.if_nametoindex(interface), _PROMISCUOUS, 0, b"")
        raw.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, member)
    return memory


def _cut(raw: socket.socket, snap: int) -> None:
    """Let the kernel keep ``snap`` bytes of each frame: the classic BPF program "return snap"."""
    program = ctypes.create_string_buffer(struct.pack("=HBBI", _BPF_RETURN, 0, 0, snap))
    raw.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(program)))


def _hardware(raw: socket.socket, interface: str) -> int:
    answer = fcntl.ioctl(raw, _SIOCGIFHWADDR, struct.pack("16s24x", interface.encode()))
    kind: int = struct.unpack_from("=H", answer, 16)[0]
    return kind


def offloads(interface: str) -> tuple[str, ...]:
    """Receive offloads that are on and make several packets look like one: ``gro``, ``lro``; () where nobody can tell."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for name, command, bit in (("gro", _GET_GRO, 1), ("lro", _GET_FLAGS, _LRO)):
            value = ctypes.create_string_buffer(struct.pack("=II", command, 0))
            request = struct.pack("16sP16x", interface.encode(), ctypes.addressof(value))
            try:
                fcntl.ioctl(probe, _SIOCETHTOOL, request)
            except OSError:
                continue
            if struct.unpack_from("=I", value, 4)[0] & bit:
                found.append(name)
    return tuple(found)
