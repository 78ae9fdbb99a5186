"""Golden scenarios: every model kind and algorithm ends where it ended when golden.json was written.

Float32 products differ between processors in their last bits, and training carries that on: measures may move by
0.01, losses by 2 %. Counts must be equal. ``python tests/scenarios/scenarios.py`` writes the file anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scenarios import GOLDEN, SCENARIOS, measured  # type: ignore[import-not-found]
from wardround.drivers.simulation import run as simulation_run
from wardround.training import bundle

EXPECTED: dict[str, Any] = json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_scenario(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation_run, "write_report", lambda path: path)
    monkeypatch.setattr(bundle, "to_onnx", lambda contents: b"")
    found, expected = measured(name, tmp_path), EXPECTED[name]
    assert found["parameters"] == expected["parameters"]
    assert found["clients"] == expected["clients"]
    assert [row[0] for row in found["rounds"]] == [row[0] for row in expected["rounds"]]
    for (_, loss), (_, golden) in zip(found["rounds"], expected["rounds"], strict=True):
        assert loss == pytest.approx(golden, rel=0.02, abs=0.002)
    for kind, values in expected["models"].items():
        assert found["models"][kind] == pytest.approx(values, abs=0.01), kind


@pytest.mark.parametrize(
    "name", ["logistic fedavg", "mlp fedavg", "residual fedavg", "autoencoder fedavg", "mlp scaffold"]
)
def test_the_lattice_sum_ends_beside_the_golden_result(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quantised to 8 bits, every model kind ends where plain sums ended: 720 test rows, so a point is seven rows."""
    monkeypatch.setattr(simulation_run, "write_report", lambda path: path)
    monkeypatch.setattr(bundle, "to_onnx", lambda contents: b"")
    found, expected = measured(name, tmp_path, "secagg.use=lattice", "evaluation.local=false"), EXPECTED[name]
    assert [row[0] for row in found["rounds"]] == [row[0] for row in expected["rounds"]]
    for key in ("macro_f1", "roc_auc"):
        assert found["models"]["federated"][key] == pytest.approx(expected["models"]["federated"][key], abs=0.02), key


def test_every_scenario_has_its_golden_result_and_no_other_stands_there() -> None:
    assert set(EXPECTED) == set(SCENARIOS)


def test_the_scenarios_mean_something() -> None:
    """Together the wards do better than each alone, and no algorithm is broken."""
    for name, found in EXPECTED.items():
        federated, local = found["models"]["federated"], found["models"]["local"]
        assert federated["roc_auc"] > 0.6, name
        if not name.startswith("autoencoder"):
            assert federated["macro_f1"] > local["macro_f1"], name
