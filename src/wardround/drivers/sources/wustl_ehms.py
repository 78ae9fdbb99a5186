"""WUSTL-EHMS-2020: network flows and patient biometrics of one monitored bed (Hady et al. 2020).

IEEE Access 8, doi 10.1109/ACCESS.2020.3000421.

Two attacks by one machine, whose MAC address is the label; addresses, ports and the running number are dropped.
``Flgs`` = M marks Data Alteration almost alone: report results with and without it. Rows stand in time order and
neighbours are alike, so a random split flatters: split by time.
What it does not do: give natural clients (there is one bed).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from wardround.drivers.sources import csvfile
from wardround.drivers.sources.encode import Rows, label_codes
from wardround.drivers.sources.files import DataFile, Layout, find
from wardround.errors import DataError
from wardround.traffic.table import Column, Dropped, Labels, Schema, Table

FLAGS = ("e", "eR", "e s", "M", "M *", "e r", "e d", "e *", "e g", "e &", "M s", "M R")
UNITS = {
    "B": ("SrcBytes", "DstBytes", "sMaxPktSz", "dMaxPktSz", "sMinPktSz", "TotBytes"),
    "bit/s": ("SrcLoad", "DstLoad", "Load"),
    "ms": ("SIntPkt", "DIntPkt", "SIntPktAct", "SrcJitter", "DstJitter"),
    "s": ("Dur",),
    "packets": ("TotPkts", "Loss"),
    "packets/s": ("Rate",),
    "%": ("pLoss", "pSrcLoss", "pDstLoss", "SpO2"),
    "°C": ("Temp",),
    "1/min": ("Pulse_Rate", "Heart_rate", "Resp_Rate"),
    "mmHg": ("SYS", "DIA"),
    "mV": ("ST",),
}
NUMERIC = {name: unit for unit, names in UNITS.items() for name in names}
DROPPED = {
    "SrcMac": "is the label: every attack row has the attacker's address, no other row has",
    "DstMac": "an address",
    "SrcAddr": "an address",
    "DstAddr": "an address",
    "Sport": "an identifier that counts upwards, close to the label",
    "Dport": "constant",
    "Packet_num": "the running number, close to the label",
    **dict.fromkeys(("Dir", "SrcGap", "DstGap", "DIntPktAct", "dMinPktSz", "Trans"), "constant"),
}
LABEL_SETS = {"binary": ("Normal", "Attack"), "3class": ("Normal", "Spoofing", "Data Alteration")}
_CODES = {
    "binary": ("Label", {"0": 0, "1": 1}),
    "3class": ("Attack Category", {"normal": 0, "Spoofing": 1, "Data Alteration": 2}),
}
LAYOUT = Layout(
    title="WUSTL-EHMS-2020",
    patterns=(
        "wustl-ehms-2020/wustl-ehms-2020_with_attacks_categories.csv*",
        "**/wustl-ehms-2020_with_attacks_categories.csv*",
        "**/wustl-ehms-2020.csv*",
    ),
    advice="Download wustl-ehms-2020_with_attacks_categories.csv from Washington University in St. Louis and name its "
    "folder by --data DIR or WARDROUND_DATA.",
)


@dataclass(frozen=True)
class WustlEhms:
    """WUSTL-EHMS-2020 (Hady et al. 2020): flows and vital signs of one monitored bed; spoofing and data alteration.

    Attributes:
        labels: ``binary`` or ``3class`` (Normal, Spoofing, Data Alteration).
        flags: keep ``Flgs``, the state word of the flow; its value M marks Data Alteration almost alone.
        max_rows: at most so many rows of each class, by a seeded sample; 0 reads all.
    """

    name: ClassVar[str] = "wustl-ehms"

    labels: Literal["binary", "3class"] = "binary"
    flags: bool = False
    max_rows: int = 0

    def load(self, folder: Path, rng: np.random.Generator) -> Table:
        """All rows in time order (``time`` is the row's number); no natural clients.

        Raises:
            DataError: nothing is found, or the file is bad.
        """
        file = find(folder, LAYOUT)[0]
        columns = tuple(Column(name, unit=unit) for name, unit in NUMERIC.items())
        if self.flags:
            columns = (Column("Flgs", "category", FLAGS), *columns)
        schema = Schema("wustl-ehms-2020" + ("-flags" if self.flags else ""), columns)
        rows = Rows(schema, Labels(LABEL_SETS[self.labels], 0), rng, self.max_rows)
        names, words = self._read(file, rows)
        dropped = (
            dict(DROPPED)
            if self.flags
            else {**DROPPED, "Flgs": "its value M marks Data Alteration; flags = true keeps it"}
        )
        return rows.table([Dropped(c, reason) for c, reason in dropped.items() if c in names], self._notes(words))

    def _read(self, file: DataFile, rows: Rows) -> tuple[list[str], int]:
        """The header, and how many source ports are words."""
        column, codes = _CODES[self.labels]
        names = csvfile.header(file)
        if column == "Attack Category" and column not in names and "Label" in names:
            raise DataError(f"{file.path}:1: the older file without 'Attack Category'; set labels = \"binary\"")
        wanted = csvfile.Wanted(tuple(NUMERIC), ("Flgs", "Sport", column))
        csvfile.require(file, names, wanted, "WUSTL-EHMS-2020")
        words = 0
        for frame in csvfile.read(file, names, wanted):
            frame["Flgs"] = frame["Flgs"].str.replace(r"\s+", " ", regex=True)
            words += int((~frame["Sport"].str.fullmatch(r"[0-9.]+")).sum())
            y = label_codes(frame[column], codes, csvfile.Place(file, column))
            rows.add(frame, y, frame.index.to_numpy(dtype=np.float64))
        rows.close_file()
        return names, words

    def _notes(self, words: int) -> list[str]:
        notes = ["rows stand in time order and neighbours are alike: split by time"]
        if words:
            notes.append(
                f"Sport: {words} row(s) hold a service's name instead of a number; the column is dropped anyway"
            )
        if self.flags:
            notes.append("WARNING: column 'Flgs' is kept; its value M marks Data Alteration almost alone")
        return notes
