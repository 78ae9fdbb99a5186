"""``inspect`` finds what gives labels away, and does not cry wolf on what does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sources_in_layout import (  # type: ignore[import-not-found]
    cic_merged,
    cic_v1,
    cic_v2,
    edge,
    iot23_csv,
    nbaiot_uci,
    table,
    ton,
    wustl,
    xiomt_files,
    zeek,
)

from wardround.drivers.sources.inspect import inspect
from wardround.drivers.sources.shortcut import Shortcut, shortcut
from wardround.errors import DataError


def judge(values: np.ndarray, y: np.ndarray, *, number: bool = True) -> Shortcut:
    codes = np.unique(values, return_inverse=True)[1].astype(np.int64)
    order = values.astype(np.float64) if number else None
    return shortcut("c", codes, order, {"class": y.astype(np.int64)}, np.random.default_rng(0))


def test_noise_says_nothing_and_a_copy_says_all() -> None:
    rng = np.random.default_rng(3)
    y = (rng.random(4000) < 0.9).astype(np.int64)  # nine tenths of one class: accuracy would flatter
    noise = judge(rng.normal(size=4000), y)
    assert noise.mark == ""
    assert abs(noise.skill.balanced_accuracy - 0.5) < 0.06
    assert judge(y * 2.0 + 1, y).mark == "LEAK"


def test_an_identifier_is_no_leak_unless_neighbours_share_the_class() -> None:
    rng = np.random.default_rng(4)
    y = rng.integers(0, 2, 2000)
    assert judge(rng.permutation(2000), y).mark == ""
    clock = judge(np.arange(2000.0), np.sort(y))
    assert clock.mark == "LEAK"
    blocks = judge(np.arange(2000.0), (np.arange(2000) // 10) % 2)
    assert (blocks.mark, blocks.skill.way) == ("", "neighbour")  # 0.9 right at the borders


def test_a_window_length_parts_the_classes_into_groups() -> None:
    y = np.repeat(np.arange(4), 300)
    found = judge(np.where(y < 2, 10.0, 100.0), y)
    assert (found.mark, found.groups) == ("GROUPS", ((0, 1), (2, 3)))
    mixed = np.where(np.random.default_rng(0).random(1200) < 0.05, 10.0, np.where(y < 2, 10.0, 100.0))
    assert judge(mixed, y).mark == ""


@pytest.mark.parametrize(
    ("build", "dataset", "rows", "clients"),
    [
        (cic_v1, "ciciomt2024 v1", 8, 0),
        (cic_v2, "ciciomt2024 v2", 24, 0),
        (cic_merged, "ciciomt2024 v2", 9, 0),
        (wustl, "wustl-ehms", 30, 0),
        (zeek, "iot-23", 18, 3),
        (iot23_csv, "iot-23", 12, 2),
        (ton, "ton-iot", 9, 2),
        (nbaiot_uci, "n-baiot", 10, 2),
        (xiomt_files, "x-iomt", 7, 0),
        (edge, "edge-iiotset", 6, 0),
    ],
)
def test_every_layout_is_recognised(tmp_path: Path, build: object, dataset: str, rows: int, clients: int) -> None:
    build(tmp_path)  # type: ignore[operator]
    found = inspect(tmp_path)
    assert (found.dataset, found.rows, len(found.clients)) == (dataset, rows, clients)
    assert sum(n for _, n in found.classes) == rows
    if clients:
        assert sum(n for _, n in found.clients) == rows


def test_wustl_fixture_shows_its_label_and_constants(tmp_path: Path) -> None:
    found = inspect(wustl(tmp_path))
    assert "SrcMac" in found.leaks
    assert {"SrcAddr", "Dport", "Trans"} <= set(found.constant)
    assert found.benign == "normal"
    assert not {"Label", "Attack Category"} & {s.column for s in found.shortcuts}


def unknown(tmp_path: Path, label: str) -> Path:
    rng = np.random.default_rng(1)
    rows: list[dict[str, object]] = []
    for i in range(400):
        kind = ("normal", "bad")[i % 2]
        rows.append({"a": float(rng.normal()), "b": "inf" if i == 7 else "" if i == 8 else i % 5, label: kind})
    rows += [{"a": 9, "b": 9, label: "normal"}, {"a": 9, "b": 9, label: "bad"}, {"a": 9, "b": 9, label: "bad"}]
    path: Path = table(tmp_path / "mine.csv", rows)
    return path


def test_an_unknown_file_needs_a_label(tmp_path: Path) -> None:
    path = unknown(tmp_path, "verdict")
    with pytest.raises(DataError, match="name it by --label COLUMN"):
        inspect(path)
    with pytest.raises(DataError, match="no column 'verdikt'; the columns are a, b, verdict"):
        inspect(path, label="verdikt")
    found = inspect(path, label="verdict")
    assert (found.dataset, found.label, found.benign) == ("unknown", "verdict", "normal")
    assert found.classes == (("bad", 202), ("normal", 201))
    facts = {column.name: column for column in found.columns}
    assert (facts["b"].missing, facts["b"].infinite) == (1, 1)
    assert (found.duplicates, found.conflicting) == (2, 3)
    assert found.leaks == ()
    assert inspect(unknown(tmp_path, "label")).label == "label"


def test_row_limit_is_said(tmp_path: Path) -> None:
    found = inspect(unknown(tmp_path, "label"), max_rows=100)
    assert found.rows == 100
    assert found.notes == (f"{tmp_path / 'mine.csv'}: only the first 100 rows were read",)


def test_a_folder_with_several_sets_or_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data set known"):
        inspect(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        inspect(tmp_path / "absent")
    wustl(tmp_path / "one")
    edge(tmp_path / "two")
    with pytest.raises(DataError, match=r"several data sets \(wustl-ehms, edge-iiotset\)"):
        inspect(tmp_path)
