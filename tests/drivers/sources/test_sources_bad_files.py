"""A bad file gets one clear error that names file, line and column; nothing else ever comes out."""

from __future__ import annotations

import gzip
import io
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sources_in_layout import (  # type: ignore[import-not-found]
    cic_merged,
    cic_v1,
    cic_v2,
    edge,
    iot23_csv,
    nbaiot_uci,
    ton,
    ton_network,
    wustl,
    xiomt_files,
    zeek,
)

from wardround.drivers.sources import csvfile, files
from wardround.drivers.sources.ciciomt2024 import CicIomt2024
from wardround.drivers.sources.edge_iiotset import EdgeIiotset
from wardround.drivers.sources.inspect import inspect
from wardround.drivers.sources.iot23 import Iot23
from wardround.drivers.sources.nbaiot import NBaIot
from wardround.drivers.sources.ton_iot import TonIot
from wardround.drivers.sources.wustl_ehms import WustlEhms
from wardround.drivers.sources.xiomt import XIomt
from wardround.errors import DataError

# builder, source, a numeric column, the label column ("" where the path tells the class)
CASES: dict[str, tuple[Any, Any, str, str]] = {
    "ciciomt2024 v1": (cic_v1, CicIomt2024(version="v1"), "Rate", ""),
    "ciciomt2024 v2": (cic_v2, CicIomt2024(), "Time_To_Live", ""),
    "wustl": (wustl, WustlEhms(labels="3class"), "Temp", "Attack Category"),
    "iot-23": (iot23_csv, Iot23(), "orig_pkts", "label"),
    "ton-iot": (ton, TonIot(labels="type"), "fridge_temperature", "type"),
    "ton-iot network": (ton_network, TonIot(device="Network"), "duration", "label"),
    "n-baiot": (nbaiot_uci, NBaIot(), "HpHp_L0.01_pcc", ""),
    "x-iomt": (xiomt_files, XIomt(), "frame.len", "anomaly.label"),
    "edge-iiotset": (edge, EdgeIiotset(), "tcp.len", "Attack_type"),
}


def edit(path: Path, change: Callable[[list[list[str]]], None]) -> None:
    """Change the fields of the file and write it back."""
    lines = [line.split(",") for line in path.read_text(encoding="utf-8-sig").splitlines()]
    change(lines)
    path.write_text("\n".join(",".join(line) for line in lines) + "\n")


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Callable[[], object], str, str]:
    build, source, number, label = CASES[request.param]
    path = build(tmp_path)
    return path, lambda: source.load(tmp_path, np.random.default_rng(0)), number, label


def refused(load: Callable[[], object], *words: str) -> None:
    with pytest.raises(DataError) as caught:
        load()
    for word in words:
        assert word in str(caught.value), (word, str(caught.value))
    assert len(str(caught.value)) < 900


def test_the_fixtures_are_good(case: tuple[Path, Callable[[], object], str, str]) -> None:
    case[1]()


def test_text_in_a_number(case: tuple[Path, Callable[[], object], str, str]) -> None:
    path, load, number, _ = case

    def change(lines: list[list[str]]) -> None:
        lines[2][lines[0].index(number)] = "12 apples"

    edit(path, change)
    refused(load, f"{path}:3: column {number!r}: '12 apples' is not a number")


def test_a_row_cut_short(case: tuple[Path, Callable[[], object], str, str]) -> None:
    path, load, _, _ = case
    lengths: list[int] = []

    def change(lines: list[list[str]]) -> None:
        lengths.append(len(lines))
        lines[-1] = lines[-1][:3]

    edit(path, change)
    refused(load, f"{path}:{lengths[0]}: column ", "the row stops after 3 of")


def test_a_row_too_long(case: tuple[Path, Callable[[], object], str, str]) -> None:
    path, load, _, _ = case
    edit(path, lambda lines: lines[1].append("7"))
    refused(load, f"{path}:2: column ", "fields, the header")


def test_a_column_missing(case: tuple[Path, Callable[[], object], str, str]) -> None:
    path, load, number, _ = case

    def change(lines: list[list[str]]) -> None:
        at = lines[0].index(number)
        for line in lines:
            del line[at]

    edit(path, change)
    refused(load, f"{path}:1: ", "column(s) missing", repr(number))


def test_a_column_twice(case: tuple[Path, Callable[[], object], str, str]) -> None:
    path, load, number, _ = case

    def change(lines: list[list[str]]) -> None:
        lines[0][0 if lines[0][0] != number else 1] = number

    edit(path, change)
    refused(load, f"{path}:1: column {number!r} stands in the header twice")


@pytest.mark.parametrize("word", ["", "nonsense"])
def test_a_label_missing_or_unknown(case: tuple[Path, Callable[[], object], str, str], word: str) -> None:
    path, load, _, label = case
    if not label:
        pytest.skip("the path tells the class")

    def change(lines: list[list[str]]) -> None:
        lines[3][lines[0].index(label)] = word

    edit(path, change)
    refused(load, f"{path}:4: column {label!r}: ", "label is missing" if word == "" else "'nonsense' is not a class")


def test_empty_and_header_only(case: tuple[Path, Callable[[], object], str, str]) -> None:
    path, load, _, _ = case
    head = path.read_bytes().splitlines(keepends=True)[0]
    path.write_bytes(head)
    refused(load, f"{path}:2: no rows below the header")
    path.write_bytes(b"")
    refused(load, f"{path}:1: the file is empty")


@pytest.mark.parametrize(
    "content", [b"<html><body>404</body></html>\n", b"\x89PNG\r\n\x1a\n\0\0", b"\0" * 500, b"\xff" * 9]
)
def test_not_csv_at_all(case: tuple[Path, Callable[[], object], str, str], content: bytes) -> None:
    path, load, _, _ = case
    path.write_bytes(content)
    refused(load, f"{path}:1: ")


def test_binary_in_the_middle(case: tuple[Path, Callable[[], object], str, str]) -> None:
    path, load, _, _ = case
    path.write_bytes(path.read_bytes() + b"\xff\xfe\x00\x01\n")
    refused(load, str(path))


def test_truncated_gzip(tmp_path: Path) -> None:
    path = cic_merged(tmp_path)
    whole = path.read_bytes()
    for size in (0, 5, len(whole) // 2, len(whole) - 4):
        path.write_bytes(whole[:size])
        refused(lambda: CicIomt2024().load(tmp_path, np.random.default_rng(0)), str(path))
    path.write_bytes(b"not gzip")
    refused(lambda: CicIomt2024().load(tmp_path, np.random.default_rng(0)), "damaged", "download it again")
    path.write_bytes(gzip.compress(gzip.decompress(whole).replace(b"MQTT-Malformed", b"MQTT-Mystery", 1)))
    refused(lambda: CicIomt2024().load(tmp_path, np.random.default_rng(0)), f"{path}:4: column 'attack_type': 'WiFi")


def test_zeek_form(tmp_path: Path) -> None:
    zeek(tmp_path)
    path = tmp_path / "CTU-Honeypot-Capture-4-1/bro/conn.log.labeled"
    good = path.read_text()
    lines = good.splitlines()

    def load() -> object:
        return Iot23().load(tmp_path, np.random.default_rng(0))

    load()
    path.write_text("\n".join([*lines[:6], lines[6].replace("\t180\t", "\tmany\t"), *lines[7:]]))
    refused(load, f"{path}:7: column 'orig_ip_bytes': 'many' is not a number")
    path.write_text("\n".join([*lines[:5], lines[5].rsplit("   ", 2)[0], *lines[6:]]))
    refused(load, f"{path}:6: column 'label': the label is missing")
    path.write_text("\n".join([*lines[:5], lines[5][:40]]))
    refused(load, f"{path}:6: column ", "the row stops after")
    path.write_text("\n".join(line for line in lines if not line.startswith("#fields")))
    refused(load, "no '#fields' line")


def test_hostile_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "iot-23.tar.xz"

    def write(name: str, content: bytes, kind: bytes = tarfile.REGTYPE) -> None:
        with tarfile.open(archive, "w:xz") as tar:
            member = tarfile.TarInfo(name)
            member.size, member.type, member.linkname = len(content), kind, "/etc/passwd"
            tar.addfile(member, io.BytesIO(content))

    def load() -> object:
        return Iot23().load(tmp_path, np.random.default_rng(0))

    write("CTU-1-labeled.csv", b"", tarfile.SYMTYPE)
    refused(load, "holds no *CTU-*labeled*")
    outside = tmp_path.parent / "CTU-9-labeled.csv"
    write("../CTU-9-labeled.csv", b"not a capture\n")
    refused(load, "../CTU-9-labeled.csv:1: not an IoT-23 capture")
    assert not outside.exists()
    monkeypatch.setattr(files, "ARCHIVE_LIMIT_BYTES", 10)
    refused(load, "unpacks to more than")
    monkeypatch.undo()
    whole = archive.read_bytes()
    for size in (0, 30, len(whole) // 2):
        archive.write_bytes(whole[:size])
        refused(load, f"{archive}: damaged archive")


@contextmanager
def refusal(path: Path) -> Iterator[None]:
    """Let what is inside succeed, or raise a ``DataError`` that names the file; nothing else."""
    try:
        yield
    except DataError as error:
        if str(path) not in str(error):
            raise AssertionError(f"does not name the file: {error}") from error


CELL = st.sampled_from(
    ["1", "", "x", "0.5", "inf", "nan", "-", '"', "'", "\0", "é", "1,2", "\n", "\r", "#", "1e999", "0x1f"]
)
LINES = st.lists(st.lists(CELL, max_size=5).map(",".join), max_size=6).map("\n".join)


@given(st.binary(max_size=200) | LINES.map(str.encode) | LINES.map(lambda text: ("a,b,label\n" + text).encode()))
@settings(max_examples=150, deadline=None, derandomize=True)
@example(b'a,b,label\n"')
@example(b"a,b,label\n1,2,3,4\n")
@example(b"a,a\n1,2\n")
def test_arbitrary_bytes_give_rows_or_a_data_error(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "some.csv"
        path.write_bytes(content)
        file = files.on_disk(path)
        with refusal(path):
            names = csvfile.header(file)
            numeric = tuple(name for name in names if name in ("a", "1"))
            wanted = csvfile.Wanted(numeric, tuple(name for name in names[-1:] if name not in numeric))
            assert sum(len(frame) for frame in csvfile.read(file, names, wanted)) > 0
        with refusal(path):
            assert inspect(path).rows > 0


@given(st.binary(max_size=400), st.integers(0, 3000))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_arbitrary_bytes_inside_a_good_file_give_a_table_or_a_data_error(junk: bytes, at: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = wustl(Path(folder))
        whole = path.read_bytes()
        path.write_bytes(whole[:at] + junk + whole[at:])
        with refusal(path):
            assert not np.isinf(WustlEhms().load(path, np.random.default_rng(0)).x).any()
