"""``wardround lab generate``: what it writes can be watched, and what it refuses it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from wardround.cli.everything import app
from wardround.drivers.sources import feeds
from wardround.errors import UsageError
from wardround.traffic.pkt import PacketFeatures

SMALL = ["--wards", "2", "--unseen", "0", "--sessions", "1", "--minutes", "2"]


def run(*words: str) -> str:
    result = CliRunner().invoke(app, ["lab", "generate", *words])
    if result.exception is not None:
        raise result.exception
    return result.output


def test_a_written_capture_is_read_by_the_live_path(tmp_path: Path) -> None:
    said = run(str(tmp_path / "lab"), *SMALL)
    assert "SYNTHETIC" in said
    captures = sorted((tmp_path / "lab").glob("*.pcap"))
    assert [c.name for c in captures] == ["intensive-care-1.pcap", "radiology-1.pcap"]
    feed = feeds.pcap(captures[0], PacketFeatures())
    rows = sum(len(windows) for windows in feed)
    assert rows > 100
    assert feed.stats.malformed == 0
    lines = (tmp_path / "lab/intensive-care-1.pcap.labels.csv").read_text().splitlines()[1:]
    assert feed.stats.packets == sum(int(line.split(",")[1]) for line in lines)


def test_benign_means_no_incident(tmp_path: Path) -> None:
    said = run(str(tmp_path / "lab"), *SMALL, "--benign")
    assert said.count(" 0 incidents") == 2


@pytest.mark.parametrize(
    ("words", "text"), [(["--held-out", "Worm"], "held_out should be one of"), (["--minutes", "0.1"], "minutes 1")]
)
def test_a_wrong_plan_is_one_error(tmp_path: Path, words: list[str], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        run(str(tmp_path / "lab"), *SMALL, *words)
