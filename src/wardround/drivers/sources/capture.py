"""A site's own captures and sensor logs as training rows: ``[data] use = "capture"``.

Looked for below the folder: ``*.pcap``, ``*.pcapng`` (also ``.gz``), Suricata's ``eve*.json`` and Zeek's ``conn*.log``; logs
fill ``flow-v1`` only. Each may have a label file beside it (labelfile.py); without one all of it is taken for benign, and a
note says so. A window is an attack's when at least ``share`` and ``packets`` of its packets are, normal when none is;
what lies between is left out, because nobody can say what it is.
What it does not do: capture (feeds.py), watch (drivers/live).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from wardround.arrays import F32, F64, I64
from wardround.drivers.sources import feeds, labelfile
from wardround.drivers.sources.ciciomt2024 import FAMILY_OF, LABEL_SETS, class_of
from wardround.drivers.sources.eve import EveReader
from wardround.drivers.sources.feeds import Feed, Stats
from wardround.drivers.sources.files import natural
from wardround.drivers.sources.labelfile import Intervals, Runs
from wardround.drivers.sources.tail import Tail
from wardround.drivers.sources.zeek import ZeekReader
from wardround.errors import DataError, UsageError
from wardround.traffic.ciciomt import CicFeatures
from wardround.traffic.flow import FlowFeatures
from wardround.traffic.flow_of_packets import FlowsOfPackets
from wardround.traffic.flows import Flows
from wardround.traffic.packets import Packets
from wardround.traffic.pkt import PacketFeatures
from wardround.traffic.table import Labels, Table
from wardround.traffic.windows import Extractor, Windows

_CAPTURES = ("*.pcap", "*.pcapng", "*.cap", "*.pcap.gz", "*.pcapng.gz")
_LOGS = ("eve*.json", "conn*.log", "conn*.log.gz", "conn.log.labeled")


@dataclass(frozen=True)
class Capture:
    """Windows of a site's own captures (pcap, pcapng) or sensor logs (Suricata EVE, Zeek conn.log), with label files.

    Attributes:
        schema: ``pkt-v1`` (packets only), ``flow-v1`` (packets or logs) or ``ciciomt2024-v2`` (packets only).
        seconds: length of a window; 0: the schema's own (5, 10 and 10).
        labels: ``binary``, ``6class`` or ``19class`` (the classes of CICIoMT2024); ``binary`` takes any other word for an attack.
        clients: what a natural client is: a ``capture`` file, or a ``device`` in it.
        share: a window is an attack's from this share of its packets on; with fewer (but some) it is left out.
        packets: ... and from so many packets on.
        max_rows: at most so many rows of each class from each file, by a seeded sample; 0: all.
    """

    name: ClassVar[str] = "capture"

    schema: Literal["pkt-v1", "flow-v1", "ciciomt2024-v2"] = "pkt-v1"
    seconds: int = 0
    labels: Literal["binary", "6class", "19class"] = "binary"
    clients: Literal["capture", "device"] = "capture"
    share: float = 0.1
    packets: int = 3
    max_rows: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, not {self.share}")
        if self.packets < 1 or self.max_rows < 0:
            raise ValueError(f"packets must be 1 or more and max_rows 0 or more; this is {self}")
        self._flows() if self.schema == "flow-v1" else self._packets()

    def load(self, folder: Path, rng: np.random.Generator) -> Table:
        """All windows of known nature; ``time`` is a window's end (Unix seconds).

        Raises:
            DataError: nothing is found, or a file is bad.
            UsageError: there are only logs, and the schema needs packets.
        """
        parts: list[_Part] = []
        notes: list[str] = []
        for path in self._files(folder):
            part = self._part(path, self._feed(path, notes), notes)
            parts.append(_sampled(part, self.max_rows, rng) if self.max_rows else part)
        names = [name for part in parts for name in part.clients]
        groups = tuple(sorted(set(names), key=natural))
        x = np.concatenate([part.x for part in parts])
        if not len(x):
            raise DataError(f"{folder}: {len(parts)} file(s), but not one window of known nature in them")
        return Table(
            schema=self.extractor().schema,
            labels=Labels(LABEL_SETS["binary"] if self.labels == "binary" else LABEL_SETS[self.labels], 0),
            x=x,
            y=np.concatenate([part.y for part in parts]),
            group=np.array([groups.index(name) for name in names], np.int32),
            groups=groups,
            time=np.concatenate([part.time for part in parts]),
            notes=tuple(notes),
        )

    def extractor(self) -> Extractor[Packets, Any]:
        """What makes windows of packets."""
        return FlowsOfPackets(self._flows()) if self.schema == "flow-v1" else self._packets()

    def _packets(self) -> PacketFeatures | CicFeatures:
        classes = len(LABEL_SETS[self.labels])
        if self.schema == "pkt-v1":
            return PacketFeatures(self.seconds or 5, classes)
        return CicFeatures(seconds=self.seconds or 10, classes=classes)

    def _flows(self) -> FlowFeatures:
        return FlowFeatures(self.seconds or 10, len(LABEL_SETS[self.labels]))

    def _files(self, folder: Path) -> list[Path]:
        if folder.is_file():
            return [folder]
        if not folder.is_dir():
            raise DataError(
                f"{folder}: no such folder; name the one with your captures by --data DIR or WARDROUND_DATA"
            )
        captures, logs = (
            {path for pattern in patterns for path in folder.rglob(pattern)} for patterns in (_CAPTURES, _LOGS)
        )
        if not captures and logs and self.schema != "flow-v1":
            raise UsageError(
                f'[data] capture: {folder} has only logs, which fill no {self.schema}: set schema = "flow-v1"'
            )
        found = captures | (logs if self.schema == "flow-v1" else set())
        if not found:
            looked = ", ".join((*_CAPTURES, *_LOGS))
            raise DataError(
                f"{folder}: no captures here; looked for: {looked}. Name their folder by --data DIR or WARDROUND_DATA"
            )
        return sorted(found, key=lambda path: natural(str(path)))

    def _code(self, word: str) -> int | None:
        if word.lower() == "benign":
            return 0
        if self.labels == "binary":
            return 1 if word else None
        known = class_of(word)
        if known is None:
            return (
                LABEL_SETS["6class"].index(word) if self.labels == "6class" and word in LABEL_SETS["6class"] else None
            )
        return LABEL_SETS[self.labels].index(FAMILY_OF[known] if self.labels == "6class" else known)

    def _feed(self, path: Path, notes: list[str]) -> Feed[Any]:
        beside = labelfile.beside(path)
        said = labelfile.read(beside, self._code) if beside else None
        stats = Stats()
        if ".json" in path.name or ".log" in path.name:
            reader = (
                EveReader()
                if ".json" in path.name
                else ZeekReader({"benign": 0, "malicious": 1} if self.labels == "binary" else {})
            )
            if isinstance(said, Runs):
                raise DataError(f"{beside}: a log has no packets to number: use start,end,device,label")
            if said is None and not isinstance(reader, ZeekReader):
                notes.append(f"{path.name}: no label file: all of it is taken for benign")
            return Feed(_labelled_flows(Tail(path), reader, said, stats), self._flows(), stats)
        if said is None:
            notes.append(f"{path.name}: no label file: all of it is taken for benign")
        return Feed(_labelled_packets(path, said, stats), self.extractor(), stats)

    def _part(self, path: Path, feed: Feed[Any], notes: list[str]) -> _Part:
        x, y, time, clients, left = [], [], [], [], Counter[str]()
        for windows in feed:
            codes = self.natures(windows)
            left["mixed"] += int((codes < 0).sum())
            kept = np.flatnonzero(codes >= 0)
            x.append(windows.x[kept])
            y.append(codes[kept])
            time.append(windows.end[kept] * 1e-9)
            clients += [path.name if self.clients == "capture" else f"{path.name}/{windows.name(int(i))}" for i in kept]
        stats = feed.stats
        if left["mixed"]:
            notes.append(f"{path.name}: {left['mixed']} window(s) of mixed nature left out")
        if stats.malformed or stats.dropped or stats.lost:
            notes.append(f"{path.name}: {stats.malformed} malformed, {stats.dropped} dropped {stats.lost}".rstrip())
        return _Part(np.concatenate(x), np.concatenate(y), np.concatenate(time), clients)

    def natures(self, windows: Windows) -> I64:
        """The class code [n] of each window by its labelled packets; -1 where it is neither one nor the other."""
        counts = windows.label_counts
        attack = counts[:, 1:].sum(axis=1)
        total = np.maximum(counts.sum(axis=1), 1)
        found = np.where(attack == 0, 0, -1)
        sure = (attack >= self.packets) & (attack / total >= self.share)
        strongest = 1 + np.argmax(counts[:, 1:], axis=1)
        return np.where(sure, strongest, found).astype(np.int64)


@dataclass(frozen=True, eq=False)
class _Part:
    x: F32
    y: I64
    time: F64
    clients: list[str]


def _sampled(part: _Part, most: int, rng: np.random.Generator) -> _Part:
    chosen = []
    for code in np.unique(part.y):
        rows = np.flatnonzero(part.y == code)
        chosen.append(rows if len(rows) <= most else rng.choice(rows, most, replace=False))
    rows = np.sort(np.concatenate(chosen)) if chosen else np.empty(0, np.int64)
    return _Part(part.x[rows], part.y[rows], part.time[rows], [part.clients[int(i)] for i in rows])


def _labelled_packets(path: Path, said: Runs | Intervals | None, stats: Stats) -> Iterator[Packets]:
    number = 0
    for packets in feeds.packets_of(path, stats):
        codes = np.zeros(len(packets), np.int16) if said is None else said.packets(number, packets)
        number += len(packets)
        yield replace(packets, label=codes)


def _labelled_flows(
    tail: Tail, reader: EveReader | ZeekReader, said: Intervals | None, stats: Stats
) -> Iterator[Flows]:
    for lines in tail:
        flows = reader.read(lines)
        stats.malformed = reader.malformed
        feeds.count_flows(stats, flows)
        if said is not None:
            yield replace(flows, label=said.flows(flows))
        elif (flows.label >= 0).any():
            yield flows  # the log says itself what is what
        else:
            yield replace(flows, label=np.zeros(len(flows), np.int64))
