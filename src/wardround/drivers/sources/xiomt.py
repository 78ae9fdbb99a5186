"""X-IoMT: packets of body sensors over MQTT and HTTP, anomalies in three layers (Pinto, Silva, Inácio, 2025).

One row per packet, tshark's field names, the device's last reading joined to each of its packets. The files differ
in columns (58 in all; ``tcp.payload`` or the vital signs may be absent): an absent column is missing. Labels are
``anomaly.label`` (0, 1) and ``anomaly.layer`` (0 to 3), also written as decimals.
Trap: readings stand only in packets *from* a sensor, and in the files of clinical anomalies all such packets are
anomalous: that a reading is present is almost the label there. ``telemetry = false`` leaves the readings out.
What it does not do: read the adversarially altered copies (AugmentedDataset).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from wardround.drivers.sources import csvfile
from wardround.drivers.sources.encode import Rows, label_codes
from wardround.drivers.sources.files import DataFile, Layout, find
from wardround.traffic.table import Column, Dropped, Labels, Schema, Table

METHODS = ("", "GET", "POST", "PUT", "HEAD", "OPTIONS")
FLAGS = tuple(f"tcp.flags.{flag}" for flag in ("syn", "ack", "fin", "reset", "push", "urg"))
NUMERIC = {"frame.len": "B", "ip.ttl": "", "tcp.len": "B", "tcp.window_size": "B"}
LOOSE = (
    *("http.content_length", "mqtt.msgtype", "mqtt.topic_len", "mqtt.conflags", "mqtt.conflag.cleansess", "mqtt.len"),
    *("mqtt.proto_len", "mqtt.ver", "mqtt.conack.flags", "mqtt.hdrflags", "mqtt.qos", "mqtt.retain", "mqtt.dupflag"),
)
TELEMETRY = {
    "Temperature": "°C",
    "Memory": "%",
    "In_Temperature": "°C",
    "CPU": "MHz",
    "RSSI": "dBm",
    **dict.fromkeys(("HR", "PULSE", "RESP"), "1/min"),
    "SpO2": "%",
}
WORDS = {"True": 1.0, "False": 0.0}
LABEL_SETS = {"binary": ("Normal", "Anomaly"), "layer": ("Normal", "Perception", "Network", "Application")}
DROPPED = {
    "frame.time": "absolute time; kept apart as the order key",
    **dict.fromkeys(("ip.src_host", "ip.dst_host", "MAC_extracted"), "an address"),
    **dict.fromkeys(("tcp.srcport", "tcp.dstport"), "a port"),
    **dict.fromkeys(("tcp.seq", "tcp.ack"), "the place in the stream, overwritten with readings in some rows"),
    **dict.fromkeys(("tcp.payload", "mqtt.msg", "http.file_data"), "payload"),
    **dict.fromkeys(
        (
            *(
                "http.request.full_uri",
                "http.request.version",
                "http.request.uri.query",
                "http.referer",
                "http.response",
            ),
            *("http.user_agent", "http.host", "mqtt.topic", "mqtt.protoname", "mqtt.msg_decoded_as", "mqtt.clientid"),
            "frame.protocols",
        ),
        "free text, names a device, tool or target",
    ),
    "anomaly.name": "a label",
}
LAYOUT = Layout(
    title="X-IoMT",
    patterns=(
        "**/OriginalDataset/*.csv*",
        "**/NormalTraffic*.csv*|**/NetworkAnomalies*.csv*|**/PhysicalAnomalies*.csv*|**/ApplicationAnomalies*.csv*",
    ),
    advice="Clone the X-IoMT repository of the University of Beira Interior (Git LFS) and name its folder by "
    "--data DIR or WARDROUND_DATA.",
)


@dataclass(frozen=True)
class XIomt:
    """X-IoMT (Pinto et al. 2025): packets of body sensors; anomalies of sensing, network and application.

    Attributes:
        labels: ``binary`` or ``layer`` (Normal, Perception, Network, Application).
        telemetry: keep the sensor's readings; that one is present is almost the label in some files.
        max_rows: at most so many rows of each class from each file, by a seeded sample; 0 reads all.
    """

    name: ClassVar[str] = "x-iomt"

    labels: Literal["binary", "layer"] = "binary"
    telemetry: bool = False
    max_rows: int = 0

    def load(self, folder: Path, rng: np.random.Generator) -> Table:
        """All packets of the original data; ``time`` in Unix seconds, no natural clients.

        Raises:
            DataError: nothing is found, or a file is bad.
        """
        rows = Rows(self._schema(), Labels(LABEL_SETS[self.labels], 0), rng, self.max_rows, WORDS)
        for file in find(folder, LAYOUT):
            self._read(file, rows)
            rows.close_file()
        dropped = dict(DROPPED)
        if not self.telemetry:
            dropped |= dict.fromkeys(
                TELEMETRY, "a reading stands only in packets from a sensor; telemetry = true keeps it"
            )
        notes = (
            ["WARNING: readings are kept; that one is present is almost the label in some files"]
            if self.telemetry
            else []
        )
        return rows.table([Dropped(name, reason) for name, reason in dropped.items()], notes)

    def _schema(self) -> Schema:
        columns = [Column("http.request.method", "category", METHODS)]
        columns += [Column(name, "flag") for name in FLAGS]
        columns += [Column(name, unit=unit) for name, unit in NUMERIC.items()]
        columns += [Column(name) for name in LOOSE]
        if self.telemetry:
            columns += [Column(name, unit=unit) for name, unit in TELEMETRY.items()]
        return Schema("x-iomt" + ("-telemetry" if self.telemetry else ""), tuple(columns))

    def _read(self, file: DataFile, rows: Rows) -> None:
        label = "anomaly.label" if self.labels == "binary" else "anomaly.layer"
        readings = tuple(TELEMETRY) if self.telemetry else ()
        names = csvfile.header(file)
        wanted = csvfile.Wanted(
            numeric=("frame.time", *FLAGS, *NUMERIC),
            text=("http.request.method", *LOOSE, *readings, label),
            optional=readings,
        )
        csvfile.require(file, names, wanted, "X-IoMT")
        codes = {str(code): code for code in range(len(LABEL_SETS[self.labels]))}
        for frame in csvfile.read(file, names, wanted):
            for reading in readings:
                if reading not in frame:
                    frame[reading] = np.full(len(frame), np.nan)
            frame["http.request.method"] = frame["http.request.method"].replace({"0": "", "0.0": ""})
            y = label_codes(frame[label].str.removesuffix(".0"), codes, csvfile.Place(file, label))
            rows.add(frame, y, frame["frame.time"].to_numpy(dtype=np.float64) / 1e6)
