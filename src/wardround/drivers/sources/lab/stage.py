"""The stage: hosts talk, and what they say becomes packets. TCP is numbered, acknowledged, segmented and retransmitted.

Callers collect conversations (``connect``, ``say``) and single packets; ``finish`` turns all of them into frames at
once. The capture point is the ward's switch: every packet is seen once, at the time its sender's frame passes.
Times are seconds since the ward's first midnight; host numbers index ``hosts``.
What it does not do: congestion control (segments leave at the sender's link rate), IP fragments, IPv6.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wardround.arrays import F64, I64, Bool
from wardround.drivers.sources.lab import frames as fr
from wardround.drivers.sources.lab.frames import ACK, FIN, PSH, RST, SYN, Frames, Payloads

HOST = np.dtype(
    [
        ("mac", "u8"),
        ("ip", "u4"),
        ("ttl", "u1"),
        ("linux", "?"),  # a stack with time stamps; else a small embedded one
        ("window", "u2"),
        ("boot", "u4"),  # where its time stamps stand at time 0
        ("delay", "f8"),  # s from the capture point to the host and its stack
    ]
)
OPEN, FIN_CLIENT, FIN_SERVER, RST_CLIENT, RST_SERVER = 0, 1, 2, 3, 4
"""How a conversation ends within the capture: not; or closed or reset by an end."""
SEGMENT = 1448
LINK_S = 1.2e-4
RETRANSMITTED = 0.002
NANO = 1_000_000_000
_CONNECTION = np.dtype(
    [
        ("client", "i4"), ("server", "i4"), ("sport", "u2"), ("dport", "u2"), ("opens", "?"), ("begin", "f8"),
        ("end", "f8"), ("ending", "u1"), ("label", "u1"), ("incident", "i4"),
    ],
)  # fmt: skip
_MESSAGE = np.dtype([("connection", "i4"), ("time", "f8"), ("up", "?"), ("payload", "i4")])


Pair = tuple[ArrayLike, ArrayLike]


class Stage:
    """``hosts`` [h] of dtype ``HOST``; ``epoch_ns``: the ward's first midnight; ``rng`` draws all chance."""

    def __init__(self, hosts: NDArray[Any], payloads: Payloads, epoch_ns: int, rng: np.random.Generator) -> None:
        self.hosts, self.payloads, self.epoch_ns, self.rng = hosts, payloads, epoch_ns, rng
        self._connections: list[NDArray[Any]] = []
        self._messages: list[NDArray[Any]] = []
        self._frames: list[Frames] = []
        self._count = 0
        self.label, self.incident = 0, -1

    def connect(
        self,
        client: ArrayLike,
        server: ArrayLike,
        port: ArrayLike,
        begin: ArrayLike,
        end: ArrayLike,
        *,
        ending: ArrayLike = FIN_CLIENT,
        opens: ArrayLike = True,
    ) -> I64:
        """New TCP conversations, one per element of ``begin``; their numbers. ``opens`` false: open since before."""
        found = np.zeros(len(np.atleast_1d(begin)), _CONNECTION)
        for name, value in (("client", client), ("server", server), ("dport", port), ("begin", begin), ("end", end),
                            ("ending", ending), ("opens", opens)):  # fmt: skip
            found[name] = value
        found["sport"] = self.rng.integers(32768, 61000, len(found))
        found["label"], found["incident"] = self.label, self.incident
        first, self._count = self._count, self._count + len(found)
        self._connections.append(found)
        return np.arange(first, self._count)

    def say(self, connection: ArrayLike, time: ArrayLike, up: ArrayLike, payload: ArrayLike) -> None:
        """Messages in conversations: ``up`` from the client; times must not lie before the handshake's end."""
        found = np.zeros(len(np.atleast_1d(time)), _MESSAGE)
        found["connection"], found["time"], found["up"], found["payload"] = connection, time, up, payload
        self._messages.append(found)

    def datagrams(self, sender: ArrayLike, receiver: ArrayLike, ports: Pair, time: F64, payload: ArrayLike) -> Frames:
        """UDP packets; ``ports``: from, to. The frames, so that the caller may change addresses before ``finish``."""
        frames = self._between(np.asarray(sender), np.asarray(receiver), time, fr.UDP)
        frames["sport"], frames["dport"] = ports
        return self._with_payload(frames, payload)

    def pings(self, sender: ArrayLike, receiver: ArrayLike, kind: Pair, time: F64, payload: ArrayLike) -> Frames:
        """ICMP packets; ``kind``: type * 256 + code (8 * 256 asks for an echo, 0 answers), and the identifier."""
        frames = self._between(np.asarray(sender), np.asarray(receiver), time, fr.ICMP)
        frames["sport"], frames["dport"] = kind
        frames["seq"] = np.arange(len(frames)) & 0xFFFF
        return self._with_payload(frames, payload)

    def segments(self, sender: ArrayLike, receiver: ArrayLike, ports: Pair, time: F64, flags: ArrayLike) -> Frames:
        """Single TCP packets outside any conversation (floods, scans), with the sender's own TTL and options."""
        frames = self._between(np.asarray(sender), np.asarray(receiver), time, fr.TCP)
        frames["sport"], frames["dport"] = ports
        frames["flags"] = flags
        frames["seq"] = self.rng.integers(0, 1 << 32, len(frames))
        has_ack = (frames["flags"] & ACK) > 0
        frames["ack"] = np.where(has_ack, self.rng.integers(0, 1 << 32, len(frames)), 0)
        syn = (frames["flags"] & SYN) > 0
        linux = self.hosts["linux"][np.broadcast_to(np.asarray(sender), len(frames))]
        frames["options"] = np.select([syn & linux, syn], [fr.LINUX_SYN, fr.MSS], fr.BARE)
        return frames

    def arps(self, sender: ArrayLike, target: ArrayLike, operation: ArrayLike, time: F64) -> Frames:
        """ARP packets from ``sender``: requests (1) go to everybody, replies (2) to ``target``."""
        frames = self._between(np.asarray(sender), np.asarray(target), time, fr.ARP)
        frames["flags"] = operation
        frames["dmac"] = np.where(frames["flags"] == 1, 0xFFFFFFFFFFFF, frames["dmac"])
        frames["ttl"] = 0
        return frames

    def finish(self) -> Frames:
        """All packets so far, in the order of time."""
        if self._connections:
            connections = np.concatenate(self._connections)
            messages = np.concatenate(self._messages) if self._messages else np.zeros(0, _MESSAGE)
            self._frames.append(_conversations(self, connections, messages))
        found = np.concatenate(self._frames) if self._frames else fr.new(0)
        self._frames, self._connections, self._messages = [], [], []
        return found[np.argsort(found["time"], kind="stable")]

    def add(self, frames: Frames) -> None:
        """Take packets that the caller made or changed."""
        self._frames.append(frames)

    def address(self, frames: Frames, sender: NDArray[Any], receiver: NDArray[Any]) -> None:
        """Write the hosts' addresses, TTL and window into frames [n]."""
        for field, name, who in (("smac", "mac", sender), ("dmac", "mac", receiver), ("sip", "ip", sender),
                                 ("dip", "ip", receiver), ("ttl", "ttl", sender), ("window", "window", sender)):  # fmt: skip
            frames[field] = self.hosts[name][who]

    def clock(self, seconds: F64) -> I64:
        """Nanoseconds since 1970."""
        result: I64 = self.epoch_ns + np.round(seconds * NANO).astype(np.int64)
        return result

    def _between(self, sender: NDArray[Any], receiver: NDArray[Any], time: F64, kind: int) -> Frames:
        frames = fr.new(len(time))
        frames["time"], frames["kind"] = self.clock(time), kind
        self.address(frames, sender, receiver)
        frames["ipid"] = self.rng.integers(0, 1 << 16, len(frames))
        frames["label"], frames["incident"] = self.label, self.incident
        return frames

    def _with_payload(self, frames: Frames, payload: ArrayLike) -> Frames:
        frames["payload"] = payload
        frames["size"] = self.payloads.sizes()[frames["payload"]] if len(frames) else 0
        return frames


_PACKET = np.dtype(
    [
        ("connection", "i4"),
        ("time", "f8"),
        ("up", "?"),
        ("flags", "u1"),
        ("payload", "i4"),
        ("skip", "i4"),
        ("size", "i4"),
    ]
)


def _conversations(stage: Stage, connections: NDArray[Any], messages: NDArray[Any]) -> Frames:
    """Packets of TCP conversations: handshake, segments, acknowledgements, end; numbers in sequence."""
    away = stage.hosts["delay"][np.stack([connections["server"], connections["client"]])]  # [up?, connection]
    data = _segments(stage, messages)
    parts = [data, _acknowledgements(data, away, stage.rng), *_edges(connections, away)]
    packets = np.concatenate(parts)
    packets = packets[np.lexsort((packets["time"], packets["connection"]))]
    numbered = _numbered(packets, stage.rng)
    frames = _framed(stage, connections, packets, numbered)
    lost = np.flatnonzero((packets["size"] > 0) & (stage.rng.random(len(packets)) < RETRANSMITTED))
    again = frames[lost].copy()
    again["time"] += np.round(stage.rng.uniform(0.2, 0.9, len(lost)) * NANO).astype(np.int64)
    again["ipid"] += 1
    return np.concatenate([frames, again])


def _segments(stage: Stage, messages: NDArray[Any]) -> NDArray[Any]:
    """Data packets: each message cut into segments that leave at the link's rate."""
    messages = messages[np.lexsort((messages["time"], messages["connection"]))]
    size = stage.payloads.sizes()[messages["payload"]] if len(messages) else np.zeros(0, np.int64)
    pieces = np.maximum(-(-size // SEGMENT), 1)
    of = np.repeat(np.arange(len(messages)), pieces)
    number = np.arange(len(of)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    packets = np.zeros(len(of), _PACKET)
    for name in ("connection", "up", "payload"):
        packets[name] = messages[name][of]
    gaps = LINK_S * number * stage.rng.uniform(0.8, 2.5, len(messages))[of]
    packets["time"] = messages["time"][of] + gaps
    packets["skip"] = number * SEGMENT
    packets["size"] = np.minimum(size[of] - packets["skip"], SEGMENT)
    packets["flags"] = np.where(number == pieces[of] - 1, PSH | ACK, ACK)
    return packets


def _acknowledgements(data: NDArray[Any], away: F64, rng: np.random.Generator) -> NDArray[Any]:
    """Bare acknowledgements of every second full segment, and of a last one that no answer follows within 40 ms."""
    if not len(data):
        return data[:0]
    last = data["flags"] == PSH | ACK
    following = np.append(data["connection"][1:] == data["connection"][:-1], False)
    turned = following & np.append(data["up"][1:] != data["up"][:-1], False)
    soon = turned & (np.append(data["time"][1:] - data["time"][:-1], 1.0) < 0.04)
    due = np.where(last, ~soon, data["skip"] // SEGMENT % 2 == 1)
    found = data[due].copy()
    back = away[1 - found["up"].astype(np.int64), found["connection"]]
    lazy = np.where(last[due] & (rng.random(len(found)) < 0.6), 0.04, 0.0)
    found["time"] += back * rng.uniform(1.0, 2.0, len(found)) + lazy
    found["up"], found["flags"], found["size"] = ~found["up"], ACK, 0
    result: NDArray[Any] = found
    return result


def _edges(connections: NDArray[Any], away: F64) -> list[NDArray[Any]]:
    """The three packets that open and the one to three that end a conversation."""
    to_server, to_client = away[0], away[1]
    begin, end, ending, opens = (connections[name] for name in ("begin", "end", "ending", "opens"))
    number = np.arange(len(connections))
    client_ends = np.isin(ending, (FIN_CLIENT, RST_CLIENT))
    there = np.where(client_ends, 2 * to_server, 2 * to_client)
    back = np.where(client_ends, 2 * to_client, 2 * to_server)
    fins, resets = np.isin(ending, (FIN_CLIENT, FIN_SERVER)), np.isin(ending, (RST_CLIENT, RST_SERVER))
    everywhere = np.ones(len(number), dtype=bool)
    return [
        _packets(number, begin, everywhere, SYN, opens),
        _packets(number, begin + 2 * to_server, ~everywhere, SYN | ACK, opens),
        _packets(number, begin + 2 * to_server + 2 * to_client, everywhere, ACK, opens),
        _packets(number, end, client_ends, FIN | ACK, fins),
        _packets(number, end + there, ~client_ends, FIN | ACK, fins),
        _packets(number, end + there + back, client_ends, ACK, fins),
        _packets(number, end, client_ends, RST | ACK, resets),
    ]


def _packets(number: I64, time: F64, up: Bool, flags: int, which: Bool) -> NDArray[Any]:
    found = np.zeros(int(which.sum()), _PACKET)
    found["connection"], found["time"], found["up"], found["flags"] = number[which], time[which], up[which], flags
    return found


def _numbered(packets: NDArray[Any], rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Sequence and acknowledgement numbers: bytes (and SYN, FIN) that each side sent before, per conversation."""
    n = len(packets)
    used = packets["size"] + ((packets["flags"] & (SYN | FIN)) > 0)
    first = np.append(True, packets["connection"][1:] != packets["connection"][:-1]) if n else np.zeros(0, bool)
    start = np.maximum.accumulate(np.where(first, np.arange(n), 0)) if n else np.zeros(0, np.int64)
    sent = {}
    for side in (False, True):
        mine = np.where(packets["up"] == side, used, 0)
        before = np.cumsum(mine) - mine
        sent[side] = before - before[start] if n else before
    isn = rng.integers(0, 1 << 32, (2, n))[:, start] if n else np.zeros((2, 0), np.int64)
    up = packets["up"]
    seq = np.where(up, sent[True] + isn[1], sent[False] + isn[0])
    ack = np.where(up, sent[False] + isn[0], sent[True] + isn[1])
    ack = np.where((packets["flags"] & ACK) > 0, ack, 0)
    return {"seq": seq & 0xFFFFFFFF, "ack": ack & 0xFFFFFFFF}


def _framed(stage: Stage, connections: NDArray[Any], packets: NDArray[Any], numbers: dict[str, NDArray[Any]]) -> Frames:
    frames = fr.new(len(packets))
    of, up = connections[packets["connection"]], packets["up"]
    sender, receiver = np.where(up, of["client"], of["server"]), np.where(up, of["server"], of["client"])
    stage.address(frames, sender, receiver)
    frames["time"], frames["kind"] = stage.clock(packets["time"]), fr.TCP
    frames["sport"], frames["dport"] = np.where(up, of["sport"], of["dport"]), np.where(up, of["dport"], of["sport"])
    for name in ("flags", "payload", "skip", "size"):
        frames[name] = packets[name]
    frames["seq"], frames["ack"] = numbers["seq"], numbers["ack"]
    frames["label"], frames["incident"] = of["label"], of["incident"]
    frames["ipid"] = (np.arange(len(frames)) + stage.hosts["boot"][sender]) & 0xFFFF
    syn = (packets["flags"] & SYN) > 0
    both = stage.hosts["linux"][sender] & stage.hosts["linux"][receiver]
    frames["options"] = np.select(
        [syn & stage.hosts["linux"][sender], syn, both], [fr.LINUX_SYN, fr.MSS, fr.STAMPED], fr.BARE
    )
    milliseconds = np.round(packets["time"] * 1000).astype(np.int64)
    frames["stamp"] = (milliseconds + stage.hosts["boot"][sender]) & 0xFFFFFFFF
    peer = (milliseconds + stage.hosts["boot"][receiver] - 3) & 0xFFFFFFFF
    frames["echo"] = np.where((frames["flags"] & ACK) > 0, peer, 0)
    return frames
