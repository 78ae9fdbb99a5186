"""N-BaIoT: traffic statistics of nine IoT devices, benign and under two botnets (Meidan et al. 2018).

IEEE Pervasive Computing 17(3), doi 10.1109/MPRV.2018.03367731.

115 features: damped statistics of the recent traffic, by source address (H), source address and MAC (MI_dir), channel
(HH), channel jitter (HH_jit) and socket (HpHp), over five windows (Mirsky et al., Kitsune, NDSS 2018). A device is a
natural client; Ennio_Doorbell and Samsung_SNH_1011_N_Webcam were never infected with Mirai. The attacks are floods and
almost every method separates them: a set for many clients and much data, not for accuracy claims.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from wardround.drivers.sources import csvfile
from wardround.drivers.sources.encode import Rows
from wardround.drivers.sources.files import DataFile, Layout, find
from wardround.errors import DataError
from wardround.traffic.table import Column, Labels, Schema, Table

_WINDOWS = ("L5", "L3", "L1", "L0.1", "L0.01")
_ONE = ("weight", "mean", "variance")
_TWO = ("weight", "mean", "std", "magnitude", "radius", "covariance", "pcc")
_STATISTICS = {"MI_dir": _ONE, "H": _ONE, "HH": _TWO, "HH_jit": _ONE, "HpHp": _TWO}
FEATURES = tuple(
    f"{stream}_{window}_{statistic}"
    for stream, names in _STATISTICS.items()
    for window in _WINDOWS
    for statistic in names
)
SCHEMA = Schema("n-baiot", tuple(Column(name) for name in FEATURES))
DEVICES = (
    *("Danmini_Doorbell", "Ecobee_Thermostat", "Ennio_Doorbell", "Philips_B120N10_Baby_Monitor"),
    *("Provision_PT_737E_Security_Camera", "Provision_PT_838_Security_Camera", "Samsung_SNH_1011_N_Webcam"),
    *("SimpleHome_XCS7_1002_WHT_Security_Camera", "SimpleHome_XCS7_1003_WHT_Security_Camera"),
)
"""In the order of Kaggle's numbers 1 to 9."""
DEVICE_TYPES = ("doorbell", "thermostat", "baby monitor", "security camera", "webcam")
TYPE_OF = np.array([0, 1, 0, 2, 3, 3, 4, 3, 3], dtype=np.int32)
"""The type of each device."""
KINDS = (
    "benign",
    *(f"gafgyt.{kind}" for kind in ("combo", "junk", "scan", "tcp", "udp")),
    *(f"mirai.{kind}" for kind in ("ack", "scan", "syn", "udp", "udpplain")),
)
LABEL_SETS = {"binary": ("benign", "attack"), "3class": ("benign", "gafgyt", "mirai"), "11class": KINDS}
LAYOUT = Layout(
    title="N-BaIoT",
    patterns=(
        "**/benign_traffic.csv*|**/gafgyt_attacks/*.csv*|**/mirai_attacks/*.csv*",
        "**/[1-9].benign.csv*|**/[1-9].gafgyt.*.csv*|**/[1-9].mirai.*.csv*",
    ),
    advice="Download N-BaIoT from the UCI repository (unpack the .rar files of each device) or from Kaggle and name "
    "its folder by --data DIR or WARDROUND_DATA.",
)
_UCI = re.compile(r"([^/\\]+)[/\\](?:(gafgyt|mirai)_attacks[/\\](\w+)|benign_traffic)\.csv")
_KAGGLE = re.compile(r"(?:^|[/\\])([1-9])\.(benign|(?:gafgyt|mirai)\.\w+)\.csv")


@dataclass(frozen=True)
class NBaIot:
    """N-BaIoT (Meidan et al. 2018): 115 traffic statistics of nine IoT devices, each a natural client; two botnets.

    Attributes:
        labels: ``binary``, ``3class`` (benign, gafgyt, mirai) or ``11class`` (benign and ten kinds of attack).
        max_rows: at most so many rows from each file (one device, one kind), by a seeded sample; 0 reads all
            7 million.
    """

    name: ClassVar[str] = "n-baiot"

    labels: Literal["binary", "3class", "11class"] = "binary"
    max_rows: int = 0

    def load(self, folder: Path, rng: np.random.Generator) -> Table:
        """All rows; ``group`` is the device (always the nine names), no time is published.

        Raises:
            DataError: nothing is found, or a file is bad.
        """
        rows = Rows(SCHEMA, Labels(LABEL_SETS[self.labels], 0), rng, self.max_rows)
        wanted = csvfile.Wanted(FEATURES)
        for file in find(folder, LAYOUT):
            device, kind = origin_of(file)
            names = csvfile.header(file)
            csvfile.require(file, names, wanted, "N-BaIoT")
            for frame in csvfile.read(file, names, wanted):
                rows.add(frame, np.full(len(frame), self._code(kind), dtype=np.int64))
            rows.close_file(DEVICES.index(device))
        table = rows.table((), groups=DEVICES)
        return replace(table, device_type=TYPE_OF[table.group], device_types=DEVICE_TYPES)

    def _code(self, kind: str) -> int:
        if self.labels == "binary":
            return int(kind != "benign")
        return LABEL_SETS[self.labels].index(kind if self.labels == "11class" else kind.split(".", maxsplit=1)[0])


def origin_of(file: DataFile) -> tuple[str, str]:
    """The device and the kind of traffic, from the path of the file in either layout.

    Raises:
        DataError: the path names no known device or kind.
    """
    kaggle, uci = _KAGGLE.search(file.path), _UCI.search(file.path)
    if kaggle:
        device, kind = DEVICES[int(kaggle.group(1)) - 1], kaggle.group(2)
    elif uci:
        device, kind = uci.group(1), f"{uci.group(2)}.{uci.group(3)}" if uci.group(2) else "benign"
    else:
        device, kind = "", ""
    if device not in DEVICES or kind not in KINDS:
        raise DataError(f"{file.path}: the path names no device and kind of traffic of N-BaIoT")
    return device, kind
