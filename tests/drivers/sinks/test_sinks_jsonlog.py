from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path

import pytest

from wardround import events
from wardround.drivers.sinks.jsonlog import JsonLog, read
from wardround.errors import DataError
from wardround.events import Event

STREAM: tuple[Event, ...] = (
    events.RunStarted("r1", "demo", 7, 10, 2, 5000),
    events.ColumnDropped("SrcMac", "an identifier"),
    events.RoundDone(1, 10, 9, 1, 0, 0, 0, 0.5, 1.25, 100, 200, 0.1),
    events.RoundFailed(2, 10, 1, 5, "too few clients answered"),
    events.Measured(1, "validation", 0.75, 0.7, 0.9),
    events.Note("data", "Wörter, \n und <b>"),
    events.RunDone("r1", 2, 0.75, 1.5),
)


def written(path: Path) -> int:
    log = JsonLog(path, None)
    for event in STREAM:
        log(event)
    at = log.position()
    log.close()
    return at


def test_what_is_appended_is_read_back_in_order(tmp_path: Path) -> None:
    at = written(tmp_path / "log.jsonl")
    assert tuple(read(tmp_path / "log.jsonl")) == STREAM
    assert at == (tmp_path / "log.jsonl").stat().st_size


def test_every_line_is_strict_json_with_time_and_kind(tmp_path: Path) -> None:
    log = JsonLog(tmp_path / "log", None, now=lambda: datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    log(events.CheckpointSaved(3))
    log.close()
    line = json.loads((tmp_path / "log").read_text())
    assert line == {"time": "2026-01-02T03:04:05.000+00:00", "event": "CheckpointSaved", "round": 3}


def test_numbers_that_are_not_finite_are_null_in_the_file_and_nan_when_read(tmp_path: Path) -> None:
    log = JsonLog(tmp_path / "log", None)
    log(events.Measured(1, "test", math.nan, math.inf, 0.5))
    log.close()
    assert json.loads((tmp_path / "log").read_text())["macro_f1"] is None
    (back,) = read(tmp_path / "log")
    assert isinstance(back, events.Measured)
    assert math.isnan(back.macro_f1)
    assert math.isnan(back.balanced_accuracy)
    assert back.roc_auc == 0.5


def test_opening_at_a_position_forgets_what_came_after_it(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = JsonLog(path, None)
    log(STREAM[0])
    at = log.position()
    log(STREAM[1])
    log.close()
    again = JsonLog(path, at)
    assert again.position() == at
    again(STREAM[2])
    again.close()
    again.close()
    assert tuple(read(path)) == (STREAM[0], STREAM[2])


def test_opening_without_a_position_starts_anew(tmp_path: Path) -> None:
    written(tmp_path / "log")
    JsonLog(tmp_path / "log", None).close()
    assert (tmp_path / "log").read_bytes() == b""


def test_a_line_torn_anywhere_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log"
    written(path)
    whole = path.read_bytes()
    last = whole[:-1].rfind(b"\n") + 1
    for cut in range(last, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert tuple(read(path)) == STREAM[:-1]


@pytest.mark.parametrize(
    "damage",
    [b"{not json}", b"[1]", b'{"event": "Nonsense"}', b'{"event": "CheckpointSaved"}', b"\xff\xfe"],
)
def test_other_damage_names_file_and_line(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "log"
    written(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], damage + b"\n", *lines[3:]]))
    with pytest.raises(DataError, match=f"{path.name}:3: "):
        list(read(path))


def test_a_log_shorter_than_its_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log"
    at = written(path)
    with pytest.raises(DataError, match="the log was cut"):
        JsonLog(path, at + 1)
    assert tuple(read(path)) == STREAM


def test_a_missing_file_or_folder_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        list(read(tmp_path / "absent"))
    with pytest.raises(DataError, match="cannot be written"):
        JsonLog(tmp_path / "absent" / "log", None)
    with pytest.raises(DataError, match="cannot be written"):
        JsonLog(tmp_path / "absent.log", 5)
