"""Which traffic is watched: from the command line's choice to a feed of windows.

One of an interface, a capture file, a Suricata log, a folder of Zeek logs or a NetFlow port. The features are those of the model
in service, so that watching and training agree; without a model ``pkt-v1`` of packets and ``flow-v1`` of logs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wardround.drivers.sources import feeds
from wardround.errors import UsageError
from wardround.traffic.pkt import PacketFeatures
from wardround.traffic.windows import Windows

SECONDS = (5, 1, 2, 3, 4, 6, 8, 10, 15, 20, 30, 60)


@dataclass(frozen=True)
class Choice:
    """What is watched; one of them is set."""

    pcap: Path | None = None

    @property
    def live(self) -> bool:
        return self.pcap is None


@dataclass(frozen=True)
class Opened:
    """``total``: bytes of a file, for progress; 0: endless."""

    windows: Iterable[Windows]
    stats: Any
    text: str
    total: int


def opened(choice: Choice, schema_id: str, stop: Callable[[], bool]) -> Opened:
    """The feed of ``choice`` with the features whose schema is ``schema_id`` (empty: the usual ones).

    Raises:
        UsageError: none or several sources are named, or no features here have that schema.
        DataError: the source cannot be opened.
    """
    del stop
    if choice.pcap is None:
        raise UsageError("name what to watch: --pcap FILE")
    if not choice.pcap.is_file():
        raise UsageError(f"{choice.pcap} is not a file")
    feed = feeds.pcap(choice.pcap, packet_features(schema_id))
    return Opened(feed, feed.stats, f"watching {choice.pcap.name}", choice.pcap.stat().st_size)


def packet_features(schema_id: str) -> Any:
    """The packet extractor with a schema.

    Raises:
        UsageError: there is none.
    """
    if not schema_id:
        return PacketFeatures()
    for seconds in SECONDS:
        features = PacketFeatures(seconds)
        if features.schema.id == schema_id:
            return features
    raise UsageError(
        f"the model in service is for schema {schema_id[:12]}, which no features of packets have; put a model into service "
        "that was trained on packets: wardround models list"
    )
