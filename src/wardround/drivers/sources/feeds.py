"""From any source of traffic to a stream of windows, in two lines:

    for windows in feeds.pcap(Path("ward.pcap"), PacketFeatures()):
        ...

Each feed is an iterator of ``Windows`` with ``stats`` that are up to date at every step. A live feed also yields (an
empty batch, or windows the clock closed) while nothing arrives, so its reader can act on time.
What it does not do: decide anything about the traffic.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from wardround.drivers.sources import capturefile
from wardround.drivers.sources.collector import collect
from wardround.drivers.sources.eve import EveReader, SensorAlert
from wardround.drivers.sources.ring import RingSettings, open_ring
from wardround.drivers.sources.tail import Tail
from wardround.drivers.sources.zeek import ZeekReader, logs
from wardround.errors import DecodeError
from wardround.traffic.decode import decode, malformed
from wardround.traffic.flows import Flows
from wardround.traffic.flows import concat as concat_flows
from wardround.traffic.netflow import Collector
from wardround.traffic.netflow import decode as decode_netflow
from wardround.traffic.packets import Packets
from wardround.traffic.pairing import Pairing
from wardround.traffic.windows import Extractor, Windows

Batch = TypeVar("Batch")
_PATIENCE = 0.25
_EVE_LAG, _ZEEK_LAG = 5_000_000_000, 60_000_000_000
"""How far a log may be behind the clock before a step is closed: Zeek does not write when a record was written."""


@dataclass
class Stats:
    """What a feed has taken in: ``packets`` (or flow records) and their ``bytes``; ``malformed``: packets without a whole
    header, log lines that are none; ``dropped``: lost by the kernel or the sensor; ``lost``: why a file was not read to
    its end, "" if it was.
    """

    packets: int = 0
    bytes: int = 0
    malformed: int = 0
    dropped: int = 0
    lost: str = ""


@dataclass
class Feed(Generic[Batch]):
    """Batches through an extractor. ``batches`` may hold plain ``int`` times (ns): the clock, with nothing to take in.

    ``stats`` is filled by whatever makes the batches. At the end of ``batches`` open windows are closed.
    """

    batches: Iterable[Batch | int]
    extractor: Extractor[Batch, Any]
    stats: Stats = field(default_factory=Stats)

    def __iter__(self) -> Iterator[Windows]:
        state = self.extractor.init()
        for batch in self.batches:
            if isinstance(batch, int):
                state, windows = self.extractor.tick(state, batch)
            else:
                state, windows = self.extractor.update(state, batch)
            yield windows
        state, windows = self.extractor.flush(state)
        yield windows


def pcap(path: Path, extractor: Extractor[Packets, Any]) -> Feed[Packets]:
    """A pcap or pcapng file (also ``.gz``), read block by block."""
    stats = Stats()
    return Feed(packets_of(path, stats), extractor, stats)


def packets_of(path: Path, stats: Stats) -> Iterator[Packets]:
    """The packets of a capture file in batches of bounded size.

    Raises:
        DataError: the file cannot be opened or is no capture.
    """
    losses = capturefile.Losses()
    with capturefile.open_capture(path) as stream:
        for frames in capturefile.blocks(stream, losses, str(path)):
            packets = decode(frames)
            count(stats, packets)
            yield packets
    stats.dropped += losses.unknown
    if losses.reason:
        stats.lost = f"{losses.reason}; {losses.bytes_left} byte(s) left unread"


def iface(
    interface: str,
    extractor: Extractor[Packets, Any],
    stop: Callable[[], bool] = lambda: False,
    settings: RingSettings = RingSettings(),
) -> Feed[Packets]:
    """Live packets of an interface until ``stop`` says so (asked at least four times a second)."""
    stats = Stats()
    return Feed(live_packets(interface, stats, stop, settings), extractor, stats)


def live_packets(
    interface: str, stats: Stats, stop: Callable[[], bool], settings: RingSettings = RingSettings()
) -> Iterator[Packets | int]:
    """Packets as the kernel hands them over; the clock's time while none come.

    Raises:
        UsageError: the interface cannot be captured.
        DataError: it went away.
    """
    with open_ring(interface, settings) as ring:
        counted = time.monotonic()
        while not stop():
            packets = ring.read(_PATIENCE)
            if time.monotonic() - counted > 1:
                counted, stats.dropped = time.monotonic(), ring.drops()
            if packets is None:
                yield time.time_ns()
            else:
                count(stats, packets)
                yield packets
        stats.dropped = ring.drops()


def eve(
    path: Path,
    extractor: Extractor[Flows, Any],
    follow: bool = False,
    stop: Callable[[], bool] = lambda: False,
    on_alert: Callable[[SensorAlert], None] = lambda _: None,
) -> Feed[Flows]:
    """Suricata's ``eve.json``; ``follow``: as it is written, until ``stop`` says so."""
    stats = Stats()
    return Feed(_logged(Tail(path, follow, stop), EveReader(on_alert), stats), extractor, stats)


def zeek(
    folder: Path, extractor: Extractor[Flows, Any], follow: bool = False, stop: Callable[[], bool] = lambda: False
) -> Feed[Flows]:
    """Zeek's connection logs in a folder (rotated ones too), or one log; ``follow``: the newest as it is written."""
    stats = Stats()
    return Feed(_zeek(folder, follow, stop, stats), extractor, stats)


def _zeek(folder: Path, follow: bool, stop: Callable[[], bool], stats: Stats) -> Iterator[Flows | int]:
    paths = [folder / "conn.log"] if follow and folder.is_dir() else logs(folder)
    reader = ZeekReader()
    for path in paths:
        yield from _logged(Tail(path, follow and path == paths[-1], stop), reader, stats)


def _logged(tail: Tail, reader: EveReader | ZeekReader, stats: Stats) -> Iterator[Flows | int]:
    """Records of a log; the clock's time while nothing is written (only a followed log waits)."""
    for lines in tail:
        flows = reader.read(lines)
        stats.malformed = reader.malformed + tail.overlong
        if lines:
            count_flows(stats, flows)
            yield flows
        else:
            yield time.time_ns() - (_EVE_LAG if isinstance(reader, EveReader) else _ZEEK_LAG)


def netflow(
    address: tuple[str, int], extractor: Extractor[Flows, Any], stop: Callable[[], bool] = lambda: False
) -> Feed[Flows]:
    """NetFlow v5, v9 and IPFIX datagrams that arrive at a UDP ``address``; one-way records are paired."""
    stats = Stats()
    return Feed(_collected(address, stop, stats), extractor, stats)


def _collected(address: tuple[str, int], stop: Callable[[], bool], stats: Stats) -> Iterator[Flows | int]:
    collector, pairing = Collector(), Pairing()
    for datagrams in collect(address, stop):
        found = []
        for data, exporter in datagrams:
            try:
                found.append(decode_netflow(collector, data, exporter))
            except DecodeError:
                stats.malformed += 1
        stats.dropped = collector.lost
        now = time.time_ns()
        flows = pairing.update(concat_flows(found), now)
        if len(flows):
            count_flows(stats, flows)
            yield flows
        yield now
    yield pairing.flush(time.time_ns())


def count_flows(stats: Stats, flows: Flows) -> None:
    """Add a batch of records to ``stats``."""
    stats.packets += len(flows)
    stats.bytes += int(flows.bytes_out.sum() + flows.bytes_in.sum())


def count(stats: Stats, packets: Packets) -> None:
    """Add a batch to ``stats``."""
    stats.packets += len(packets)
    stats.bytes += int(packets.wire.sum())
    stats.malformed += malformed(packets)
