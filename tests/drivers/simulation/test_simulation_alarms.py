"""False alarms and attacks found on test rows: by type of device, by site, with uncertainty; in metrics, events and report."""

from pathlib import Path
from typing import Any

import pytest
from simulated import metrics, simulate  # type: ignore[import-not-found]

from wardround.drivers.sinks.jsonlog import read
from wardround.events import AlarmsCounted


@pytest.fixture(scope="module")
def run(tmp_path_factory: Any) -> Any:
    return simulate(tmp_path_factory.mktemp("alarms"), "data.windows_per_device=400", "evaluation.target_fpr=0.02")


def test_types_and_sites_add_up_to_all_rows(run: Any) -> None:
    groups = metrics(run)["models"]["federated"]["alarms"]["groups"]
    whole = groups[0]
    assert whole["group"] == "all"
    for kind in ("type", "site"):
        parts = [row for row in groups if row["group"] == kind]
        assert len(parts) > 1
        for key in ("benign", "false", "attacks", "found"):
            assert sum(row[key] for row in parts) == whole[key]
    overall = metrics(run)["models"]["federated"]["overall"]
    assert whole["false"] / whole["benign"] == pytest.approx(overall["threshold"]["achieved_fpr"])
    assert whole["recall"] == pytest.approx(overall["threshold"]["recall"])
    for row in groups:
        assert row["fpr"] >= (row["false"] or 3) / max(row["benign"], 3) - 1e-12
        assert row["fpr_interval"][0] <= row["false"] / row["benign"] <= row["fpr_interval"][1]
        assert (row["psi"] is None) == (row["benign"] < 200)


def test_recall_is_quoted_with_its_benign_rows_or_not_at_all(run: Any) -> None:
    rates = metrics(run)["models"]["federated"]["alarms"]["tpr_at"]
    assert [row["rate"] for row in rates] == [0.01, 0.001, 0.0001]
    for row in rates:
        assert (row["recall"] is None) == (row["benign"] * row["rate"] < 3)
        if row["recall"] is not None:
            assert row["interval"][0] <= row["recall"] <= row["interval"][1]


def test_events_say_the_same_and_rows_of_one_kind_do_not_drift(run: Any) -> None:
    found = metrics(run)["models"]["federated"]["alarms"]
    told = [event for event in read(run.log) if isinstance(event, AlarmsCounted)]
    assert [(e.group, e.name, e.benign, e.false_alarms, e.attacks, e.found) for e in told] == [
        (r["group"], r["name"], r["benign"], r["false"], r["attacks"], r["found"]) for r in found["groups"]
    ]
    assert found["drift"]["large"] == 0, "train and test rows are drawn alike"
    assert max(value for _, value in found["drift"]["inputs"]) < 0.1


def test_a_ward_that_was_left_out_shows_its_drift(tmp_path: Path) -> None:
    run = simulate(
        tmp_path, "split.use=groups", "participation.minimum=3", 'split.leave_out=["maternity 1"]', "rounds.count=2"
    )
    found = metrics(run)["models"]["federated"]["alarms"]
    assert [row["name"] for row in found["groups"] if row["group"] == "site"] == ["maternity 1"]
    assert found["drift"]["inputs"][0][1] > 0.1
    page = (run.path / "report.html").read_text()
    assert "site maternity 1" in page
    assert "Stability index" in page
