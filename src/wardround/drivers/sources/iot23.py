"""IoT-23: Zeek connection logs of 20 malware and 3 benign captures.

Garcia, Parmisano, Erquiaga, doi 10.5281/zenodo.4743746.

Two forms: the owner's ``conn.log.labeled`` (tab-separated, but the last three columns are parted by spaces) and the
CSV made from it. One capture is one device at one site: the natural client. The shift between captures is extreme
(some all benign, some nine tenths attack). Vocabularies and history letters are Zeek's own, fixed here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from wardround.arrays import I64
from wardround.drivers.sources import csvfile
from wardround.drivers.sources.encode import Rows, label_codes
from wardround.drivers.sources.files import READ_ERRORS, DataFile, Layout, find, natural
from wardround.errors import DataError
from wardround.traffic.table import Column, Dropped, Labels, Schema, Table
from wardround.traffic.table import rows as take

if TYPE_CHECKING:
    from pandas import DataFrame, Series

NUMERIC = {
    **dict.fromkeys(("orig_bytes", "resp_bytes", "missed_bytes", "orig_ip_bytes", "resp_ip_bytes"), "B"),
    **dict.fromkeys(("orig_pkts", "resp_pkts"), "packets"),
    "duration": "s",
}
CATEGORIES = {
    "proto": ("tcp", "udp", "icmp"),
    # Zeek leaves the service unset where it recognises none, which says something: it is a word of its own
    "service": ("", "dns", "dhcp", "http", "irc", "ssl", "ssh", "ftp", "smtp", "ntp", "mqtt"),
    "conn_state": ("S0", "S1", "SF", "REJ", "S2", "S3", "RSTO", "RSTR", "RSTOS0", "RSTRH", "SH", "SHR", "OTH"),
}
# https://docs.zeek.org, Conn::Info history: capitals are the originator's, small letters the responder's
HISTORY = (
    "S",
    "h",
    "A",
    "a",
    "D",
    "d",
    "F",
    "f",
    "R",
    "r",
    "T",
    "t",
    "C",
    "c",
    "G",
    "g",
    "W",
    "w",
    "I",
    "i",
    "Q",
    "q",
    "^",
)
SCHEMA = Schema(
    "iot-23",
    (
        *(Column(name, "category", words) for name, words in CATEGORIES.items()),
        *(Column(name, unit=unit) for name, unit in NUMERIC.items()),
        *(Column(f"history {letter}") for letter in HISTORY),
    ),
)
DROPPED = {
    "ts": "absolute time; kept apart as the order key",
    "uid": "an identifier",
    "id.orig_h": "an address",
    "id.orig_p": "a source port",
    "id.resp_h": "an address",
    "id.resp_p": "a port, which names the malware's server",
    "local_orig": "never set",
    "local_resp": "never set",
    "tunnel_parents": "identifiers; in the CSV form unset in all captures but one, which gives that capture away",
    "history": "replaced by the counts of its letters",
}
FAMILIES = ("Benign", "C&C", "DDoS", "PortScan", "FileDownload", "Okiru", "Attack")
_DETAILS = {
    **dict.fromkeys(
        (
            *("C&C", "C&C-FileDownload", "C&C-HeartBeat", "C&C-HeartBeat-Attack", "C&C-HeartBeat-FileDownload"),
            *("C&C-Mirai", "C&C-PartOfAHorizontalPortScan", "C&C-Torii"),
        ),
        "C&C",
    ),
    "DDoS": "DDoS",
    "PartOfAHorizontalPortScan": "PortScan",
    "PartOfAHorizontalPortScan-Attack": "PortScan",
    "FileDownload": "FileDownload",
    "Okiru": "Okiru",
    "Okiru-Attack": "Okiru",
    "Attack": "Attack",
}
LABEL_SETS = {"binary": ("Benign", "Malicious"), "family": FAMILIES}
DEVICE_TYPES = ("Philips Hue lamp", "Amazon Echo", "Somfy door lock", "Raspberry Pi")
"""What stood behind a capture: three benign devices, and the one board that all malware ran on."""
_HONEYPOTS = {"CTU-Honeypot-Capture-4-1": 0, "CTU-Honeypot-Capture-5-1": 1, "CTU-Honeypot-Capture-7-1": 2}
LAYOUT = Layout(
    title="IoT-23",
    patterns=(
        "**/CTU-*/bro/conn.log.labeled*",
        "**/CTU-*/**/conn.log.labeled*",
        "iot-23/CTU-*-labeled.csv*",
        "**/CTU-*-labeled.csv*",
    ),
    archives=("iot-23.tar.xz", "iot_23_datasets_small.tar.gz", "iot-23/*.tar.xz"),
    members="*CTU-*labeled*",
    advice="Download the small archive of IoT-23 from the Stratosphere Laboratory, unpack it and name its folder by "
    "--data DIR or WARDROUND_DATA.",
)
_CAPTURE = re.compile(r"CTU-(?:IoT-)?(?:Honeypot|Malware)-Capture-\d+-\d+")
_HEADER_LINES = 50
_UNSET = ("-", "(empty)")
_WANTED = csvfile.Wanted(("ts", *NUMERIC), (*CATEGORIES, "history", "label", "detailed-label"))


@dataclass(frozen=True)
class Iot23:
    """IoT-23 (Garcia et al. 2020): Zeek flows of IoT malware and benign devices; one capture is one natural client.

    Attributes:
        labels: ``binary`` or ``family`` (Benign, C&C, DDoS, PortScan, FileDownload, Okiru, Attack).
        deduplicate: keep only the first of equal rows (features and label) of a capture.
        max_rows: at most so many rows of each class from each capture, by a seeded sample (before deduplication);
            0 reads all. The full download has 325 million flows.
    """

    name: ClassVar[str] = "iot-23"

    labels: Literal["binary", "family"] = "binary"
    deduplicate: bool = False
    max_rows: int = 0

    def load(self, folder: Path, rng: np.random.Generator) -> Table:
        """All flows; ``group`` is the capture, ``time`` the flow's start (Unix seconds).

        Raises:
            DataError: nothing is found, or a file is bad.
        """
        files = find(folder, LAYOUT)
        groups = tuple(sorted({capture_of(file) for file in files}, key=natural))
        rows = Rows(SCHEMA, Labels(LABEL_SETS[self.labels], 0), rng, self.max_rows)
        for file in files:
            form = form_of(file)
            for frame in flows(file, form):
                place = csvfile.Place(file, "label", form.dialect, form.skip)
                rows.add(features_of(frame), self._codes(frame, place), frame["ts"].to_numpy(dtype=np.float64))
            rows.close_file(groups.index(capture_of(file)))
        table = rows.table([Dropped(column, reason) for column, reason in DROPPED.items()], groups=groups)
        kinds = np.array([_HONEYPOTS.get(name, 3) for name in groups], dtype=np.int32)
        table = replace(table, device_type=kinds[table.group], device_types=DEVICE_TYPES)
        return _distinct(table) if self.deduplicate else table

    def _codes(self, frame: DataFrame, place: csvfile.Place) -> I64:
        benign = frame["label"].str.lower() == "benign"
        if self.labels == "binary":
            words = frame["label"].str.lower()
            return label_codes(words, {"benign": 0, "malicious": 1}, place)
        words = frame["detailed-label"].where(~benign, "Benign")
        codes = {detail: FAMILIES.index(family) for detail, family in _DETAILS.items()} | {"Benign": 0}
        return label_codes(words, codes, replace(place, column="detailed-label"))


def capture_of(file: DataFile) -> str:
    """The capture's name, from the path of its file."""
    found = _CAPTURE.findall(file.path)
    return found[-1] if found else file.name


@dataclass(frozen=True)
class Form:
    """How one capture is written: its columns, how text is cut, the lines above the rows."""

    names: list[str]
    dialect: csvfile.Dialect
    skip: int


def form_of(file: DataFile) -> Form:
    """The form of a capture's file, told by its name and header.

    Raises:
        DataError: the header is not that of a labelled connection log.
    """
    if ".csv" in file.name:
        form = Form(csvfile.header(file), csvfile.Dialect(missing=_UNSET), 1)
    else:
        names, skip = _zeek_header(file)
        form = Form(names, csvfile.Dialect("\t", quoted=False, missing=_UNSET, comment="#"), skip)
    csvfile.require(file, form.names, _WANTED, "an IoT-23 capture")
    return form


def flows(file: DataFile, form: Form, wanted: csvfile.Wanted = _WANTED) -> Iterator[DataFrame]:
    """Chunks of a capture's wanted columns.

    Raises:
        DataError: the file is bad.
    """
    if form.dialect.delimiter == ",":
        yield from csvfile.read(file, form.names, wanted, form.dialect, form.skip)
        return
    tail = form.names[-3:]
    joined = "   ".join(tail)
    wanted = replace(wanted, text=(*(name for name in wanted.text if name not in tail), joined))
    for frame in csvfile.read(file, [*form.names[:-3], joined], wanted, form.dialect, form.skip):
        parts = frame[joined].str.split(r"\s+", n=2, regex=True, expand=True).reindex(columns=range(3)).fillna("")
        yield frame.drop(columns=joined).assign(**{name: parts[i] for i, name in enumerate(tail)})


def features_of(frame: DataFrame) -> dict[str, Series]:
    """The columns of the schema: those of the file, and how often each letter stands in ``history``."""
    counts = {f"history {letter}": frame["history"].str.count(re.escape(letter)) for letter in HISTORY}
    return {name: frame[name] for name in (*CATEGORIES, *NUMERIC)} | counts


def _zeek_header(file: DataFile) -> tuple[list[str], int]:
    """The names of the ``#fields`` line, the last of its tabbed fields cut at blanks, and the lines above the rows."""
    names: list[str] = []
    above = 0
    try:
        with file.text() as text:
            line = text.readline(csvfile.FIELD_LIMIT)
            while line.startswith("#") and above < _HEADER_LINES:
                names = line.split()[1:] if line.startswith("#fields") else names
                line, above = text.readline(csvfile.FIELD_LIMIT), above + 1
    except (*READ_ERRORS, UnicodeDecodeError) as error:
        raise csvfile.damaged(file, 1, error) from error
    if names[-3:] != ["tunnel_parents", "label", "detailed-label"]:
        raise DataError(
            f"{file.path}:1: not a conn.log.labeled of IoT-23: no '#fields' line that ends in 'detailed-label'"
        )
    return names, above


def _distinct(table: Table) -> Table:
    """The first of equal rows of each capture, in their order: each client can do so alone."""
    key = np.column_stack([table.x.view(np.int32), table.y.astype(np.int32), table.group])
    _, first = np.unique(key, axis=0, return_index=True)
    kept = take(table, np.sort(first).astype(np.int64))
    return replace(kept, notes=(*kept.notes, f"deduplicate: {len(table) - len(kept)} repeated row(s) left out"))
