"""Edge-IIoTset: packets of an IoT and IIoT test bed with 14 attacks (Ferrag et al. 2022).

IEEE Access 10, doi 10.1109/ACCESS.2022.3165809.

Reads the two files the owners made for learning, one row per packet, tshark's field names. Dropped are the fifteen
columns the owners themselves drop (addresses, ports, payloads, free text) and further ones that only number packets or
connections. Every strict column is numeric in the owners' own preparation; the two that they one-hot encode because
names stray into them are read loosely: a word there is missing, and counted.
What it does not do: order in time (``frame.time`` is damaged in the published files), natural clients.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from wardround.drivers.sources import csvfile
from wardround.drivers.sources.encode import Rows, label_codes
from wardround.drivers.sources.files import Layout, find
from wardround.traffic.table import Column, Dropped, Labels, Schema, Table

METHODS = ("", "GET", "POST", "OPTIONS", "TRACE", "PROPFIND", "PUT", "SEARCH", "HEAD")
FLAGS = (
    *("http.response", "tcp.connection.fin", "tcp.connection.rst", "tcp.connection.syn", "tcp.connection.synack"),
    *("tcp.flags.ack", "dns.qry.qu", "dns.retransmission", "mqtt.conflag.cleansess"),
)
NUMERIC = (
    *("arp.opcode", "arp.hw.size", "http.content_length", "tcp.ack", "tcp.flags", "tcp.len", "tcp.seq"),
    *("udp.time_delta", "dns.qry.type", "mqtt.conflags", "mqtt.hdrflags", "mqtt.len", "mqtt.msgtype"),
    *("mqtt.proto_len", "mqtt.topic_len", "mqtt.ver", "mbtcp.len", "mbtcp.unit_id"),
)
LOOSE = ("dns.qry.name.len", "mqtt.conack.flags")
SCHEMA = Schema(
    "edge-iiotset",
    (
        Column("http.request.method", "category", METHODS),
        *(Column(name, "flag") for name in FLAGS),
        *(Column(name) for name in (*NUMERIC, *LOOSE)),
    ),
)
TYPES = (
    *("Normal", "Backdoor", "DDoS_HTTP", "DDoS_ICMP", "DDoS_TCP", "DDoS_UDP", "Fingerprinting", "MITM", "Password"),
    *("Port_Scanning", "Ransomware", "SQL_injection", "Uploading", "Vulnerability_scanner", "XSS"),
)
FAMILIES = {
    "Normal": ("Normal",),
    "DDoS": ("DDoS_HTTP", "DDoS_ICMP", "DDoS_TCP", "DDoS_UDP"),
    "Recon": ("Fingerprinting", "Port_Scanning", "Vulnerability_scanner"),
    "MITM": ("MITM",),
    "Injection": ("SQL_injection", "Uploading", "XSS"),
    "Malware": ("Backdoor", "Password", "Ransomware"),
}
LABEL_SETS = {"binary": ("Normal", "Attack"), "6class": tuple(FAMILIES), "15class": TYPES}
DROPPED = {
    "frame.time": "absolute time, damaged in the published files",
    **dict.fromkeys(("ip.src_host", "ip.dst_host", "arp.dst.proto_ipv4", "arp.src.proto_ipv4"), "an address"),
    **dict.fromkeys(("tcp.srcport", "tcp.dstport", "udp.port", "http.tls_port"), "a port"),
    **dict.fromkeys(("http.file_data", "tcp.payload", "tcp.options", "mqtt.msg"), "payload"),
    **dict.fromkeys(
        (
            *("http.request.full_uri", "http.request.uri.query", "http.referer", "http.request.version"),
            *("dns.qry.name", "mqtt.topic", "mqtt.protoname", "mqtt.msg_decoded_as"),
        ),
        "free text, names the attack's tool or target",
    ),
    **dict.fromkeys(
        (
            *("icmp.checksum", "icmp.seq_le", "icmp.transmit_timestamp", "icmp.unused", "tcp.ack_raw", "tcp.checksum"),
            *("udp.stream", "mbtcp.trans_id", "dns.retransmit_request", "dns.retransmit_request_in"),
        ),
        "numbers packets or connections, or is a checksum",
    ),
}
LAYOUT = Layout(
    title="Edge-IIoTset",
    patterns=("**/DNN-EdgeIIoT-dataset.csv*", "**/ML-EdgeIIoT-dataset.csv*"),
    advice="Download Edge-IIoTset from IEEE DataPort or Kaggle and name its folder by --data DIR or WARDROUND_DATA.",
)
_ML = Layout(LAYOUT.title, LAYOUT.patterns[1:], advice=LAYOUT.advice)
_DNN = Layout(LAYOUT.title, LAYOUT.patterns[:1], advice=LAYOUT.advice)


@dataclass(frozen=True)
class EdgeIiotset:
    """Edge-IIoTset (Ferrag et al. 2022): packets of an industrial IoT test bed, 14 attacks.

    Attributes:
        file: ``ML`` (157,800 rows) or ``DNN`` (2.2 million rows): which of the owners' two files.
        labels: ``binary``, ``6class`` (Normal, DDoS, Recon, MITM, Injection, Malware) or ``15class``.
        max_rows: at most so many rows of each class, by a seeded sample; 0 reads all.
    """

    name: ClassVar[str] = "edge-iiotset"

    file: Literal["ML", "DNN"] = "ML"
    labels: Literal["binary", "6class", "15class"] = "6class"
    max_rows: int = 0

    def load(self, folder: Path, rng: np.random.Generator) -> Table:
        """All rows of the file; no natural clients, no order in time.

        Raises:
            DataError: nothing is found, or the file is bad.
        """
        file = find(folder, _ML if self.file == "ML" else _DNN)[0]
        names = csvfile.header(file)
        wanted = csvfile.Wanted((*FLAGS, *NUMERIC), ("http.request.method", *LOOSE, "Attack_type"))
        csvfile.require(file, names, wanted, "Edge-IIoTset")
        rows = Rows(SCHEMA, Labels(LABEL_SETS[self.labels], 0), rng, self.max_rows)
        codes = {kind: self._code(kind) for kind in TYPES}
        for frame in csvfile.read(file, names, wanted):
            frame["http.request.method"] = frame["http.request.method"].replace({"0": "", "0.0": ""})
            rows.add(frame, label_codes(frame["Attack_type"], codes, csvfile.Place(file, "Attack_type")))
        rows.close_file()
        return rows.table([Dropped(name, reason) for name, reason in DROPPED.items() if name in names])

    def _code(self, kind: str) -> int:
        if self.labels == "binary":
            return int(kind != "Normal")
        if self.labels == "15class":
            return TYPES.index(kind)
        return next(code for code, members in enumerate(FAMILIES.values()) if kind in members)
