"""Which traffic is watched: from the command line's choice to a feed of windows.

One of an interface, a capture file, a Suricata log, a folder of Zeek logs or a NetFlow port. The features are those of the model
in service, so that watching and training agree; without a model ``pkt-v1`` of packets and ``flow-v1`` of logs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wardround.drivers.sources import feeds
from wardround.errors import UsageError, nearest
from wardround.traffic.flow import FlowFeatures
from wardround.traffic.flow_of_packets import FlowsOfPackets
from wardround.traffic.pkt import PacketFeatures
from wardround.traffic.windows import Windows

SECONDS = (5, 1, 2, 3, 4, 6, 8, 10, 15, 20, 30, 60)
STEPS = (10, 1, 2, 3, 4, 5, 6, 12, 15, 20, 30, 60)


@dataclass(frozen=True)
class Choice:
    """What is watched: exactly one of them. ``follow``: a log is read as it is written (else to its end). ``netflow``: a UDP
    address as ``HOST:PORT`` or ``:PORT``. ``features``: name of a schema, such as pkt-v1/5s; empty: the model's.
    """

    pcap: Path | None = None
    iface: str = ""
    eve: Path | None = None
    zeek: Path | None = None
    netflow: str = ""
    follow: bool = False
    features: str = ""

    def __post_init__(self) -> None:
        named = [bool(v) for v in (self.pcap, self.iface, self.eve, self.zeek, self.netflow)]
        if sum(named) != 1:
            raise UsageError("name one source to watch: --iface, --pcap, --eve, --zeek or --netflow")

    @property
    def live(self) -> bool:
        """Does traffic come as it happens?"""
        return bool(self.iface or self.netflow) or (self.follow and self.pcap is None)


@dataclass(frozen=True)
class Opened:
    """``total``: bytes of a file, for progress; 0: endless, or not known."""

    windows: Iterable[Windows]
    stats: feeds.Stats
    text: str
    total: int


def opened(choice: Choice, schema_id: str, stop: Callable[[], bool]) -> Opened:
    """The feed of ``choice`` with the features whose schema is ``schema_id`` (empty: the usual ones).

    Raises:
        UsageError: no features of that source have the schema, or an address or a path is wrong.
        DataError: the source cannot be opened.
    """
    if choice.pcap is not None:
        _file(choice.pcap)
        feed = feeds.pcap(choice.pcap, extractor("packets", schema_id, choice.features))
        return Opened(feed, feed.stats, f"watching {choice.pcap.name}", choice.pcap.stat().st_size)
    if choice.iface:
        live = feeds.iface(choice.iface, extractor("packets", schema_id, choice.features), stop)
        return Opened(live, live.stats, f"watching {choice.iface}", 0)
    flows = extractor("flows", schema_id, choice.features)
    if choice.eve is not None:
        _file(choice.eve)
        log = feeds.eve(choice.eve, flows, choice.follow, stop)
        return Opened(log, log.stats, f"watching {choice.eve.name}", 0)
    if choice.zeek is not None:
        log = feeds.zeek(choice.zeek, flows, choice.follow, stop)
        return Opened(log, log.stats, f"watching Zeek's logs in {choice.zeek}", 0)
    log = feeds.netflow(_address(choice.netflow), flows, stop)
    return Opened(log, log.stats, f"watching NetFlow on {choice.netflow}", 0)


def extractor(source: Literal["packets", "flows"], schema_id: str, name: str = "") -> Any:
    """The extractor of a source whose schema is called ``name`` or else has the id ``schema_id``; the usual one for neither.

    Raises:
        UsageError: there is none.
    """
    known: list[Any] = [FlowFeatures(step=step) for step in STEPS]
    if source == "packets":
        packets = [PacketFeatures(seconds) for seconds in SECONDS]
        known = [*packets, *(FlowsOfPackets(flow) for flow in known)]
    names = [each.schema.name for each in known]
    if name:
        if name not in names:
            raise UsageError(
                f"{source} give no features named {name!r}{nearest(name, names)}; there are {', '.join(names)}"
            )
        return known[names.index(name)]
    if not schema_id:
        return known[0]
    for each in known:
        if each.schema.id == schema_id:
            return each
    raise UsageError(
        f"the model in service is for schema {schema_id[:12]}, and {source} give {names[0]} and the like: put a model into "
        "service that was trained on one of these (wardround models list), or watch another source"
    )


def _file(path: Path) -> None:
    if not path.is_file():
        raise UsageError(f"{path} is not a file")


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(f"--netflow takes HOST:PORT or :PORT, not {text!r}")
    return host, int(port)
