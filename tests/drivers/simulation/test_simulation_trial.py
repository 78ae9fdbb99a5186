"""The lab's trial after a federation: the whole detector in an unseen ward, its file, its picture, its place in the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from simulated import simulate  # type: ignore[import-not-found]

from wardround.config import override
from wardround.drivers.simulation import trial
from wardround.drivers.sinks.report import figure_png
from wardround.drivers.sources.lab import source
from wardround.drivers.store.rundir import RunDir
from wardround.errors import ConfigError

LAB = """
name = "trial"
seed = 2
[data]
use = "lab"
wards = 4
sessions = 2
minutes = 4
trial = true
[split]
use = "groups"
leave_out = ["surgery 1"]
[partition]
use = "natural"
[scaling]
use = "quantile"
bins = 64
[model]
use = "mlp"
hidden = [16]
[training]
batch_size = 32
learning_rate = 0.1
[rounds]
count = 6
measure_every = 6
[secagg]
use = "plain"
[evaluation]
centralised = false
local = false
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(source.CACHE, str(folder / "cache"))
        patch.setattr(source, "CALM_MINUTES", 4.0)
        patch.setattr(source, "TRIED_MINUTES", 25.0)
        patch.setattr(source, "REST_S", 60.0)
        patch.setattr(trial, "TAUGHT", 400)
        made: RunDir = simulate(folder, text=LAB)
    return made


@pytest.fixture(scope="module")
def found(run: RunDir) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((run.path / "trial.json").read_text())
    return loaded


def test_the_trial_says_what_happened_and_what_was_said(found: dict[str, Any]) -> None:
    assert found["ward"] == "surgery 1"
    assert len(found["attacks"]) >= 5
    assert len({row["name"] for row in found["attacks"]}) == len(found["attacks"])  # each attack once, in turn
    delays = [row["delay_s"] for row in found["attacks"] if row["delay_s"] is not None]
    assert found["found"] == len(delays)
    assert all(
        0 <= d <= row["end_s"] - row["start_s"] + 60 for row in found["attacks"] if (d := row["delay_s"]) is not None
    )
    for before, after in zip(found["attacks"], found["attacks"][1:], strict=False):
        assert after["start_s"] - before["end_s"] >= 60
    assert found["device_days"] == pytest.approx(len(found["devices"]) * 25 / 1440, rel=0.1)
    assert found["false_per_device_day"] == pytest.approx(found["false_incidents"] / found["device_days"])
    assert {row["explained_by"] for row in found["incidents"]} <= {
        "", *(row["name"] for row in (*found["attacks"], *found["oddities"]))
    }  # fmt: skip
    assert len(found["score"]) > 200


def test_a_trained_detector_finds_attacks(found: dict[str, Any]) -> None:
    """Six rounds are no detector to rely on, but flooding attacks must not pass it by."""
    assert found["found"] >= 0.4 * len(found["attacks"])


def test_report_and_picture_show_it(run: RunDir, tmp_path: Path) -> None:
    page = run.report.read_text()
    assert "The detector in a ward it has not seen" in page
    assert "Timeline of 0.4 hours in an unseen ward" in page
    for row in json.loads((run.path / "trial.json").read_text())["attacks"]:
        assert row["name"] in page
    assert figure_png(run.path, tmp_path / "run.png").read_bytes()[:4] == b"\x89PNG"


def test_a_trial_needs_an_unseen_ward(tmp_path: Path) -> None:
    text = override(LAB, ["data.unseen=0"], "lab.toml")
    with pytest.raises(ConfigError, match="set unseen = 1"):
        simulate(tmp_path, text=text)
