"""The real files of ../shared/data (or WARDROUND_DATA): counts of its README, and what ``inspect`` must find there."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sources_in_layout import real_data  # type: ignore[import-not-found]

from wardround.drivers.sources.ciciomt2024 import CicIomt2024
from wardround.drivers.sources.files import find
from wardround.drivers.sources.inspect import inspect
from wardround.drivers.sources.iot23 import Iot23
from wardround.drivers.sources.ton_iot import TonIot, layout_of
from wardround.drivers.sources.wustl_ehms import WustlEhms

pytestmark = pytest.mark.data


@pytest.fixture
def folder() -> Path:
    found: Path = real_data()
    return found


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_ciciomt2024_v2(folder: Path) -> None:
    read = CicIomt2024(labels="19class").load(folder, rng())
    assert read.x.shape == (62_877, 30)
    assert (np.bincount(read.y, minlength=19) > 0).all()
    assert (read.y == 0).sum() == 3_481
    assert read.notes == ("Rate: 880 infinite value(s) read as missing",)
    assert np.isnan(read.x).sum() == 881  # one protocol number lies outside the vocabulary or is missing


def test_ciciomt2024_v1(folder: Path) -> None:
    read = CicIomt2024(version="v1", labels="19class").load(folder, rng())
    assert read.x.shape == (49_413, 34)
    assert (read.y == 0).sum() == 0
    assert not np.isnan(read.x).any()


def test_wustl(folder: Path) -> None:
    read = WustlEhms(labels="3class").load(folder, rng())
    assert np.bincount(read.y).tolist() == [9_966, 758, 698]
    assert "Sport: 3 row(s) hold a service's name instead of a number; the column is dropped anyway" in read.notes


def test_iot23(folder: Path) -> None:
    read = Iot23(labels="family").load(folder, rng())
    assert len(read) == 46_662
    rows = np.column_stack([read.x.view(np.int32), read.y.astype(np.int32)])
    assert len(np.unique(rows, axis=0)) == 11_738
    sizes = {read.groups[g].rsplit("Capture-")[1]: n for g, n in Counter(read.group.tolist()).items()}
    assert sizes == {"4-1": 452, "5-1": 1374, "7-1": 130, "8-1": 10403, "20-1": 3209, "21-1": 3286, "34-1": 23145} | {
        "42-1": 4426,
        "44-1": 237,
    }


@pytest.mark.parametrize(("device", "rows"), [("Fridge", 59_944), ("Thermostat", 52_774), ("Weather", 39_260)])
def test_ton_iot(folder: Path, device: str, rows: int) -> None:
    read = TonIot(device=device).load(folder, rng())  # type: ignore[arg-type]
    assert len(read) == rows
    assert not np.isnan(read.x).any()
    assert read.time is not None


def test_inspect_wustl(folder: Path) -> None:
    found = inspect(folder / "wustl-ehms-2020")
    assert {"SrcMac", "Packet_num"} <= set(found.leaks)
    assert not {"Temp", "SpO2", "Heart_rate", "SrcBytes"} & {*found.leaks, *found.suspects}
    assert "Flgs" in found.suspects


@pytest.mark.parametrize("device", ["Fridge", "Motion_Light", "Garage_Door"])
def test_inspect_ton_iot(folder: Path, tmp_path: Path, device: str) -> None:
    path = tmp_path / f"Train_Test_IoT_{device}.csv"
    path.write_bytes(find(folder, layout_of(device))[0].content or b"")
    found = inspect(path)
    assert {"ts", "date"} <= set(found.leaks)
    # the phone's signal is written 0/1 on the days of attack and false/true on normal days
    assert ("sphone_signal" in found.leaks) == (device == "Garage_Door")
    honest = {"fridge_temperature", "temp_condition", "motion_status", "light_status", "door_state"}
    assert not honest & {*found.leaks, *found.suspects}
    assert found.clients == ((device, found.rows),)


def test_inspect_ciciomt2024_v1(folder: Path) -> None:
    found = inspect(folder / "ciciomt2024/v1_45feat_official_subset")
    assert set(found.suspects) == {"IAT", "Number", "Weight"}
    assert found.constant == ("Drate",)


def test_inspect_ciciomt2024_v2(folder: Path) -> None:
    found = inspect(folder / "ciciomt2024/v2_39feat/merged_sample.csv.gz")
    assert found.leaks == ()
    assert set(found.suspects) == {"Number", "ICMP", "Protocol Type"}  # the last two are nature: an ICMP flood is ICMP
    number = next(s for s in found.shortcuts if s.column == "Number")
    names = [name for name, _ in found.classes]
    assert all(names[code].startswith("TCP_IP") for code in number.groups[1])
    assert len(number.groups[1]) == 8
    assert found.duplicates == 6_800
