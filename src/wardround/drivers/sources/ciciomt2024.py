"""CICIoMT2024: 40 medical and IoT devices over Wi-Fi and MQTT, 18 attacks (Dadkhah et al. 2024).

Internet of Things 28 (2024) 101351.

Two releases of the same captures. Both describe windows of consecutive packets on the link, not flows:
v1 (45 columns) cuts windows of 10 or 100 packets *per class* and carries the wall clock in ``IAT``, so several columns
are the label in disguise; v2 (39 columns) repaired the clock but still cuts floods into 100-packet windows and all
else into 10. The columns that tell the window's length are dropped unless ``keep`` names them (docs/reference/data.md).
What it does not do: merge ten short windows into one long (needs whole files in order), read the pcaps.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from wardround.drivers.sources import csvfile
from wardround.drivers.sources.encode import Rows, label_codes
from wardround.drivers.sources.files import DataFile, Layout, find
from wardround.errors import DataError, UsageError
from wardround.traffic.ciciomt import COUNTS, SHARES, SIZES, V2, column
from wardround.traffic.table import Column, Dropped, Labels, Schema, Table

V1 = (
    *("Header_Length", "Protocol Type", "Duration", "Rate", "Srate", "Drate"),
    *(*SHARES[:7], *COUNTS, *SHARES[7:], *SIZES, "Magnitue", "Radius", "Covariance", "Variance", "Weight"),
)

_WINDOW = "tells how many packets the window has, and windows were cut per class"
DROPPED_V2 = {
    "Number": f"is the window's length: {_WINDOW}",
    "Tot sum": f"AVG times Number: {_WINDOW}",
    **dict.fromkeys(COUNTS, f"a flag's share times Number: {_WINDOW}"),
    "Tot size": "equals AVG",
    "LLC": "equals IPv",
    "Variance": "Std squared",
}
DROPPED_V1 = {
    "IAT": "holds the absolute capture time, which alone gives the class away",
    "Number": f"is a function of the window's length: {_WINDOW}",
    "Weight": f"Number squared: {_WINDOW}",
    "Tot sum": f"grows with the window's length: {_WINDOW}",
    "Variance": f"a share whose steps (0.1 or 0.01) {_WINDOW}",
    "Srate": "equals Rate",
    "Drate": "always 0",
    "LLC": "equals IPv",
    "Magnitue": "sqrt(2 AVG)",
    "Radius": "sqrt(2) Std",
    "Covariance": "Std squared",
}

FAMILIES: dict[str, tuple[str, ...]] = {
    "Benign": ("Benign",),
    "DDoS": tuple(f"TCP_IP-DDoS-{kind}" for kind in ("ICMP", "SYN", "TCP", "UDP")),
    "DoS": tuple(f"TCP_IP-DoS-{kind}" for kind in ("ICMP", "SYN", "TCP", "UDP")),
    "Recon": tuple(f"Recon-{kind}" for kind in ("OS_Scan", "Ping_Sweep", "Port_Scan", "VulScan")),
    "MQTT": (
        *("MQTT-DDoS-Connect_Flood", "MQTT-DDoS-Publish_Flood", "MQTT-DoS-Connect_Flood", "MQTT-DoS-Publish_Flood"),
        "MQTT-Malformed_Data",
    ),
    "Spoofing": ("ARP_Spoofing",),
}
CLASSES = tuple(name for members in FAMILIES.values() for name in members)
FAMILY_OF = {name: family for family, members in FAMILIES.items() for name in members}
LABEL_SETS = {"binary": ("Benign", "Attack"), "6class": tuple(FAMILIES), "19class": CLASSES}

_NAME = re.compile(
    r"^(?:wifi_and_mqtt_(?:train|test)_)?(.+?)\d*(?:_(?:train|test))?\d*\.pcap(?:\.csv)?(?:\.gz)?$", re.IGNORECASE
)
_ADVICE = (
    "Download CICIoMT2024 from the Canadian Institute for Cybersecurity and name the folder with WiFI_and_MQTT "
    "by --data DIR or WARDROUND_DATA."
)
_V1 = Layout(
    title="CICIoMT2024 v1 (45 columns)",
    patterns=(
        "ciciomt2024/v1_45feat_official_subset/t*/*.pcap.csv*",
        "**/attacks/CSV/t*/*.pcap.csv*",
        "**/t*/*.pcap.csv*",
        "*.pcap.csv*",
    ),
    advice=_ADVICE,
)
_V2 = Layout(
    title="CICIoMT2024 v2 (39 columns)",
    patterns=(
        "**/W[Ii][Ff][Ii]_and_MQTT/t*/*.pcap.csv*",
        "ciciomt2024/v2_39feat/merged_sample.csv*",
        "**/merged_sample.csv*",
        "v2_39feat/t*/*.pcap.csv*",
        "**/t*/*.pcap.csv*",
        "*.pcap.csv*",
    ),
    advice=_ADVICE,
)
LAYOUTS = {"v1": _V1, "v2": _V2}


@dataclass(frozen=True)
class CicIomt2024:
    """CICIoMT2024 (Dadkhah et al. 2024): statistics of packet windows from 40 medical and IoT devices, 18 attacks.

    Attributes:
        version: ``v2`` (39 columns, 30 kept) or ``v1`` (45 columns; leaks the label, for comparison only).
        labels: ``binary``, ``6class`` (Benign, DDoS, DoS, Recon, MQTT, Spoofing) or ``19class``.
        part: ``all`` files, or only the official ``train`` or ``test`` ones (the merged sample is all test).
        keep: columns to keep although they leak the label or repeat another; named in a note of the log.
        max_rows: at most so many rows of each class from each file, by a seeded sample; 0 reads all.
    """

    name: ClassVar[str] = "ciciomt2024"

    version: Literal["v1", "v2"] = "v2"
    labels: Literal["binary", "6class", "19class"] = "6class"
    part: Literal["all", "train", "test"] = "all"
    keep: tuple[str, ...] = ()
    max_rows: int = 0

    def load(self, folder: Path, rng: np.random.Generator) -> Table:
        """All feature rows below ``folder``; no natural clients and no order in time are published.

        Raises:
            DataError: nothing is found, or a file is bad.
            UsageError: ``keep`` names a column that the release does not have.
        """
        layout = LAYOUTS[self.version]
        files = [(f, names) for f in find(folder, layout) if self._in_part(f) for names in [self._header(f)] if names]
        if not files:
            raise DataError(f"{folder}: no {layout.title} with part = {self.part!r} here. {_ADVICE}")
        schema = self._schema()
        classes = LABEL_SETS[self.labels]
        rows = Rows(schema, Labels(classes, 0), rng, self.max_rows)
        for file, names in files:
            self._read(file, names, rows)
            rows.close_file()
        return rows.table(self._dropped(), self._notes())

    def _in_part(self, file: DataFile) -> bool:
        merged = "merged" in file.name
        return self.part == "all" or f"_{self.part}" in file.name or (merged and self.part == "test")

    def _header(self, file: DataFile) -> list[str]:
        """The file's columns; empty for a file of the other release, which may lie in the same folder."""
        names = csvfile.header(file)
        ours, other = (V1, V2) if self.version == "v1" else (V2, V1)
        if set(other) <= set(names) and not set(ours) <= set(names):
            return []
        csvfile.require(file, names, csvfile.Wanted(numeric=ours), f"CICIoMT2024 {self.version}")
        return names

    def _read(self, file: DataFile, names: list[str], rows: Rows) -> None:
        column = next((name for name in ("attack_type", "label", "Label") if name in names), "")
        if not column and class_of(file.name) is None:
            raise DataError(f"{file.path}: the class stands neither in the file's name nor in a column 'attack_type'")
        text = tuple(c.name for c in rows.schema.columns if c.kind == "category")
        numeric = tuple(c.name for c in rows.schema.columns if c.kind != "category")
        codes = {name: self._code(name) for name in CLASSES}
        for frame in csvfile.read(file, names, csvfile.Wanted(numeric, (*text, column) if column else text)):
            for word in text:
                frame[word] = frame[word].str.removesuffix(".0")
            if column:
                words = frame[column].map(lambda name: class_of(name) or name)
                y = label_codes(words, codes, csvfile.Place(file, column))
            else:
                y = np.full(len(frame), codes[class_of(file.name) or ""], dtype=np.int64)
            rows.add(frame, y)

    def _code(self, name: str) -> int:
        if self.labels == "binary":
            return int(name != "Benign")
        return LABEL_SETS[self.labels].index(name if self.labels == "19class" else FAMILY_OF[name])

    def _schema(self) -> Schema:
        names = V1 if self.version == "v1" else V2
        away = self._away()
        unknown = [name for name in self.keep if name not in names]
        if unknown:
            raise UsageError(f"keep = {list(self.keep)}: CICIoMT2024 {self.version} has no column {unknown[0]!r}")
        return Schema(f"ciciomt2024-{self.version}", tuple(self._column(name) for name in names if name not in away))

    def _column(self, name: str) -> Column:
        if name == "Protocol Type" and self.version == "v1":
            return Column(name)  # a mean; v2 has the most frequent one
        return column(name)

    def _away(self) -> dict[str, str]:
        dropped = DROPPED_V1 if self.version == "v1" else DROPPED_V2
        return {name: reason for name, reason in dropped.items() if name not in self.keep}

    def _dropped(self) -> list[Dropped]:
        return [Dropped(name, reason) for name, reason in self._away().items()]

    def _notes(self) -> list[str]:
        dropped = DROPPED_V1 if self.version == "v1" else DROPPED_V2
        return [
            f"WARNING: column {name!r} is kept, but it {dropped[name]}: results will look too good"
            for name in self.keep
            if name in dropped
        ]


def class_of(name: str) -> str | None:
    """The class (of the 19) that a file name or an ``attack_type`` means, None where it means none."""
    bare = _NAME.match(name)
    word = bare.group(1) if bare else name
    return word if word in FAMILY_OF else None
