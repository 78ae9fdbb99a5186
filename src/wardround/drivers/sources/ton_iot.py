"""TON_IoT: telemetry of seven devices and a network log from one test bed (UNSW Canberra).

Alsaedi et al., IEEE Access 8 (2020), doi 10.1109/ACCESS.2020.3022862; Moustafa, Sustainable Cities and Society 72
(2021), doi 10.1016/j.scs.2021.102994.

The negative control of this project: in the telemetry files attacks and normal operation were recorded on different
days, so ``ts``, ``date`` and ``time`` predict the label perfectly and are dropped; what remains of Fridge, Motion_Light
and Thermostat carries next to nothing, and a good score on it is the sign of a leak. The seven files have different
columns, so one experiment reads one device.
Trap: ``sphone_signal`` of Garage_Door is written true/false in one part of the file and 1/0 in another.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from wardround.arrays import F64
from wardround.drivers.sources import csvfile
from wardround.drivers.sources.encode import Rows, label_codes
from wardround.drivers.sources.files import DataFile, Layout, find
from wardround.traffic.table import Column, Dropped, Labels, Schema, Table

if TYPE_CHECKING:
    from pandas import DataFrame

TELEMETRY: dict[str, tuple[Column, ...]] = {
    "Fridge": (Column("fridge_temperature", unit="°C"), Column("temp_condition", "flag")),
    "Garage_Door": (Column("door_state", "flag"), Column("sphone_signal", "flag")),
    "GPS_Tracker": (Column("latitude", unit="°"), Column("longitude", unit="°")),
    "Modbus": tuple(
        Column(name)
        for name in (
            *("FC1_Read_Input_Register", "FC2_Read_Discrete_Value"),
            *("FC3_Read_Holding_Register", "FC4_Read_Coil"),
        )
    ),
    "Motion_Light": (Column("motion_status", "flag"), Column("light_status", "flag")),
    "Thermostat": (Column("current_temperature", unit="°C"), Column("thermostat_status", "flag")),
    "Weather": (Column("temperature", unit="°C"), Column("pressure", unit="bar"), Column("humidity", unit="%")),
}
NETWORK = (
    Column("proto", "category", ("tcp", "udp", "icmp")),
    Column(
        "service",
        "category",
        ("", "dns", "http", "ssl", "ftp", "smb", "gssapi", "dce_rpc", "dhcp", "ntp", "ssh", "smtp"),
    ),
    Column(
        "conn_state",
        "category",
        ("S0", "S1", "SF", "REJ", "S2", "S3", "RSTO", "RSTR", "RSTOS0", "RSTRH", "SH", "SHR", "OTH"),
    ),
    Column("duration", unit="s"),
    *(Column(name, unit="B") for name in ("src_bytes", "dst_bytes", "missed_bytes", "src_ip_bytes", "dst_ip_bytes")),
    *(Column(name, unit="packets") for name in ("src_pkts", "dst_pkts")),
    *(
        Column(name, "flag")
        for name in ("dns_AA", "dns_RD", "dns_RA", "dns_rejected", "ssl_resumed", "ssl_established")
    ),
    *(Column(name, unit="B") for name in ("http_request_body_len", "http_response_body_len")),
)
WORDS = {
    "false": 0.0,
    "true": 1.0,
    "off": 0.0,
    "on": 1.0,
    "closed": 0.0,
    "open": 1.0,
    "low": 0.0,
    "high": 1.0,
    "F": 0.0,
    "T": 1.0,
}
TYPES = ("normal", "backdoor", "ddos", "dos", "injection", "mitm", "password", "ransomware", "scanning", "xss")
LABEL_SETS = {"binary": ("normal", "attack"), "type": TYPES}
_TIME = "the days of attack and of normal operation differ: it is the label in disguise"
_UNSET = ("-",)

Device = Literal["Fridge", "Garage_Door", "GPS_Tracker", "Modbus", "Motion_Light", "Thermostat", "Weather", "Network"]


@dataclass(frozen=True)
class TonIot:
    """TON_IoT (Moustafa 2021): telemetry of one of seven IoT devices, or the network log; the negative control.

    Attributes:
        device: ``Fridge``, ``Garage_Door``, ``GPS_Tracker``, ``Modbus``, ``Motion_Light``, ``Thermostat``,
            ``Weather``, or ``Network`` for train_test_network.csv. Their columns differ, so one is read.
        labels: ``binary`` or ``type`` (normal and nine attacks).
        max_rows: at most so many rows of each class, by a seeded sample; 0 reads all.
    """

    name: ClassVar[str] = "ton-iot"

    device: Device = "Fridge"
    labels: Literal["binary", "type"] = "binary"
    max_rows: int = 0

    def load(self, folder: Path, rng: np.random.Generator) -> Table:
        """All rows of the device; ``group`` is the device, ``time`` in Unix seconds where the file tells it.

        Raises:
            DataError: nothing is found, or the file is bad.
        """
        file = find(folder, layout_of(self.device))[0]
        columns = NETWORK if self.device == "Network" else TELEMETRY[self.device]
        schema = Schema(f"ton-iot-{self.device}", columns)
        rows = Rows(schema, Labels(LABEL_SETS[self.labels], 0), rng, self.max_rows, WORDS)
        names = csvfile.header(file)
        wanted = self._wanted(columns)
        csvfile.require(file, names, wanted, f"TON_IoT {self.device}")
        dialect = csvfile.Dialect(missing=_UNSET)
        place = csvfile.Place(file, "label" if self.labels == "binary" else "type", dialect)
        codes = {"0": 0, "1": 1} if self.labels == "binary" else {name: code for code, name in enumerate(TYPES)}
        for frame in csvfile.read(file, names, wanted, dialect):
            rows.add(frame, label_codes(frame[place.column], codes, place), _time(frame, file))
        rows.close_file(0)
        kept = {column.name for column in columns} | {"label", "type"}
        dropped = [Dropped(name, _reason(name)) for name in names if name not in kept]
        return rows.table(dropped, groups=(self.device,))

    def _wanted(self, columns: tuple[Column, ...]) -> csvfile.Wanted:
        numeric = tuple(c.name for c in columns if c.kind == "numeric" and c.name != "src_bytes")
        # the owner's network file holds an address among the byte counts: src_bytes is read loosely
        text = tuple(c.name for c in columns if c.kind != "numeric" or c.name == "src_bytes")
        return csvfile.Wanted((*numeric, "ts"), (*text, "date", "time", "label", "type"), ("ts", "date", "time"))


def layout_of(device: str) -> Layout:
    """Where the file of ``device`` lies."""
    advice = "Download TON_IoT's Train_Test sets from UNSW Canberra; name their folder by --data DIR or WARDROUND_DATA."
    if device == "Network":
        return Layout(
            "TON_IoT network log", ("**/train_test_network.csv*", "**/Train_Test_Network.csv*"), advice=advice
        )
    file = f"Train_Test_IoT_{device}.csv"
    return Layout(
        title=f"TON_IoT telemetry of {device}",
        patterns=(f"**/Train_Test_IoT_dataset/{file}*", f"**/{file}*"),
        archives=("ton_iot_telemetry.tar.xz",),
        members=f"*{file}",
        advice=advice,
    )


def _reason(name: str) -> str:
    if name in ("ts", "date", "time"):
        return f"absolute time; {_TIME}"
    if name in ("src_ip", "dst_ip", "src_port", "dst_port"):
        return "an address or a port"
    return "free text or a code with few values, close to single attacks"


def _time(frame: DataFrame, file: DataFile) -> F64 | None:
    """Unix seconds from ``ts``, or from ``date`` and ``time`` where there is no ``ts``; None where there is neither."""
    if "ts" in frame:
        return frame["ts"].to_numpy(dtype=np.float64)
    if "date" not in frame or "time" not in frame:
        return None
    from pandas import Timestamp, to_datetime

    moments = to_datetime(frame["date"] + " " + frame["time"], format="%d-%b-%y %H:%M:%S", errors="coerce", utc=True)
    if moments.isna().any():
        row = int(np.flatnonzero(moments.isna())[0])
        wrong = f"{frame['date'].iloc[row]} {frame['time'].iloc[row]}"
        raise csvfile.Place(file, "date").error(int(frame.index[row]), f"{wrong[:40]!r} is not like 25-Apr-19 19:19:40")
    return np.asarray((moments - Timestamp(0, tz="UTC")).dt.total_seconds(), dtype=np.float64)


def device_of(name: str) -> str:
    """The device that a file name tells, "" where it tells none."""
    found = next((device for device in TELEMETRY if f"iot_{device}.csv".lower() in name.lower()), "")
    return found or ("Network" if "train_test_network" in name.lower() else "")
