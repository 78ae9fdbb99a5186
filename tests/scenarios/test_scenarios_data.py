"""Scenarios on real data: a quick sanity of CICIoMT2024, and the negative control that must stay at chance."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wardround.config import override
from wardround.drivers.simulation import run as simulation_run
from wardround.drivers.simulation.run import Options, start_run
from wardround.events import ignore
from wardround.training import bundle

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("WARDROUND_DATA") or ROOT.parent / "shared" / "data")

pytestmark = [pytest.mark.data, pytest.mark.slow]


def scored(experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *sets: str) -> dict[str, float]:
    """Overall test measures of a shipped experiment with fewer rounds."""
    if not DATA.is_dir():
        pytest.skip(f"no data sets: {DATA} is not there (WARDROUND_DATA names another folder)")
    monkeypatch.setattr(simulation_run, "write_report", lambda path: path)
    monkeypatch.setattr(bundle, "to_onnx", lambda contents: b"")
    path = ROOT / "experiments" / f"{experiment}.toml"
    text = override(path.read_text(), ["evaluation.local=false", "evaluation.centralised=false", *sets], path.name)
    run = start_run(text, path.name, Options(DATA, tmp_path, None, "scenario"), ignore)
    found: dict[str, float] = run.json("metrics.json")["models"]["federated"]["overall"]
    return found


def test_ciciomt2024_is_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten rounds are a tenth of the way; bench/quality.py measures the whole. A constant answer scores below 0.1."""
    sets = ("rounds.count=10", "rounds.measure_every=10", "secagg.use=plain")
    found = scored("ciciomt2024-6class", tmp_path, monkeypatch, *sets)
    assert found["macro_f1"] > 0.65
    assert found["roc_auc"] > 0.9


@pytest.mark.parametrize("device", ["Fridge"])
def test_the_negative_control_stays_at_chance(device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its time columns this telemetry knows nothing of the label; more than chance would be a leak."""
    sets = ("rounds.count=6", "rounds.measure_every=6", f"data.device={device}", "secagg.use=plain")
    found = scored("ton-iot-control", tmp_path, monkeypatch, *sets)
    assert 0.45 < found["balanced_accuracy"] < 0.55
