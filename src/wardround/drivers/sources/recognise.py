"""Which data set a file belongs to, told by its columns or its name, and what its labels and natural clients are.

A new data source adds one entry to ``KINDS``. What it does not do: read rows (inspect.py does).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wardround.drivers.sources import ciciomt2024, edge_iiotset, iot23, nbaiot, ton_iot, wustl_ehms, xiomt
from wardround.drivers.sources.files import DataFile, Layout
from wardround.traffic.ciciomt import V2

USUAL_LABELS = (
    *("label", "Label", "attack_type", "Attack_type", "Attack Category", "attack_cat", "class", "Class", "category"),
    *("type", "attack", "Attack", "Attack_label", "target"),
)
BENIGN = ("benign", "normal", "0", "0.0", "background", "legitimate", "-", "false")


@dataclass(frozen=True)
class Kind:
    """A known data set: its ``name``; how a file's columns (and path) are recognised; the column of its finest
    label, or how the path tells the class; further label columns; how the path tells the natural client;
    ``name_of`` turns a label as written into the class' name.
    """

    name: str
    fits: Callable[[frozenset[str], DataFile], bool]
    label: tuple[str, ...] = ()
    also_labels: tuple[str, ...] = ()
    class_of: Callable[[DataFile], str] | None = None
    client_of: Callable[[DataFile], str] | None = None
    name_of: Callable[[str], str] = str
    layouts: tuple[Layout, ...] = ()


def _nbaiot_device(file: DataFile) -> str:
    return nbaiot.origin_of(file)[0]


def _nbaiot_kind(file: DataFile) -> str:
    return nbaiot.origin_of(file)[1]


def _cic_class(file: DataFile) -> str:
    return ciciomt2024.class_of(file.name) or ""


KINDS = (
    Kind(
        "ciciomt2024 v1",
        lambda names, _: frozenset(ciciomt2024.V1) <= names,
        label=("attack_type",),
        class_of=_cic_class,
        name_of=lambda word: ciciomt2024.class_of(word) or word,
        layouts=(ciciomt2024.LAYOUTS["v1"],),
    ),
    Kind(
        "ciciomt2024 v2",
        lambda names, _: frozenset(V2) <= names,
        label=("attack_type",),
        class_of=_cic_class,
        name_of=lambda word: ciciomt2024.class_of(word) or word,
        layouts=(ciciomt2024.LAYOUTS["v2"],),
    ),
    Kind(
        "wustl-ehms",
        lambda names, _: {"SrcMac", "Packet_num", "Label"} <= names,
        label=("Attack Category", "Label"),
        also_labels=("Attack Category", "Label"),
        layouts=(wustl_ehms.LAYOUT,),
    ),
    Kind(
        "iot-23",
        lambda names, _: {"detailed-label", "conn_state", "history"} <= names,
        label=("detailed-label",),
        also_labels=("label", "detailed-label"),
        client_of=iot23.capture_of,
        layouts=(iot23.LAYOUT,),
    ),
    Kind(
        "ton-iot",
        lambda names, file: {"label", "type"} <= names and ton_iot.device_of(file.name) != "",
        label=("type",),
        also_labels=("label", "type"),
        client_of=lambda file: ton_iot.device_of(file.name),
        layouts=tuple(ton_iot.layout_of(device) for device in (*ton_iot.TELEMETRY, "Network")),
    ),
    Kind(
        "n-baiot",
        lambda names, _: frozenset(nbaiot.FEATURES) <= names,
        class_of=_nbaiot_kind,
        client_of=_nbaiot_device,
        layouts=(nbaiot.LAYOUT,),
    ),
    Kind(
        "x-iomt",
        lambda names, _: {"anomaly.layer", "anomaly.label"} <= names,
        label=("anomaly.name", "anomaly.layer"),
        also_labels=("anomaly.layer", "anomaly.name", "anomaly.label"),
        layouts=(xiomt.LAYOUT,),
    ),
    Kind(
        "edge-iiotset",
        lambda names, _: {"Attack_label", "Attack_type", "tcp.len"} <= names,
        label=("Attack_type",),
        also_labels=("Attack_label", "Attack_type"),
        layouts=(edge_iiotset.LAYOUT,),
    ),
)
UNKNOWN = Kind("unknown", lambda _, __: True, label=USUAL_LABELS, also_labels=USUAL_LABELS)


def kind_of(names: list[str], file: DataFile) -> Kind:
    """The first known data set whose columns ``names`` are, or ``UNKNOWN``."""
    return next((kind for kind in KINDS if kind.fits(frozenset(names), file)), UNKNOWN)
