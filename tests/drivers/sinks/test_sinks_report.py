from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.lines import Line2D

from wardround import events
from wardround.drivers.sinks import facts, figures_training
from wardround.drivers.sinks.figures_clients import worst_tenth
from wardround.drivers.sinks.jsonlog import JsonLog
from wardround.drivers.sinks.report import figure_png, write_report
from wardround.drivers.sinks.runfiles import RunFiles, load
from wardround.errors import DataError

Metrics = Callable[[int, int, int, int], dict[str, Any]]
Check = Callable[[str], Any]
WriteRun = Callable[..., Path]
EVIL = '<script>alert("$x^$")</script>&'


def report(folder: Path) -> str:
    path = write_report(folder)
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


@pytest.fixture
def awkward(metrics: Metrics) -> dict[str, Any]:
    """Nulls where measures can be null, a class without rows, names that are HTML, no baseline."""
    values = metrics(3, 6, 6, 12)
    values["experiment"] = EVIL
    values["data"]["classes"][2] = EVIL
    values["data"]["synthetic"] = False
    values["data"]["dropped"] = [[EVIL, EVIL]]
    values["data"]["skew"] = None
    values["clients"][0]["name"] = EVIL
    values["clients"][1]["labels"] = [0] * 6
    federated = values["models"]["federated"]
    federated["clients"][0].update(name=EVIL, macro_f1=None)
    federated["overall"].update(roc_auc=None, pr_auc=None, threshold=None, ece=None)
    federated["overall"]["recall_at_fpr"] = {"0.01": {"recall": None, "verifiable": False}}
    federated["overall"]["per_class"][2] = {"name": EVIL, "precision": None, "recall": None, "f1": None, "support": 0}
    federated["overall"]["confusion"][2] = [0] * 6
    values["models"]["centralised"] = None
    values["models"]["local"] = None
    for row in values["rounds"]:
        row.update(loss=None, update_norm=None) if row["round"] < 3 else None
    for point in values["curve"]:
        point["test"] = None
        point["validation"]["roc_auc"] = None
    return values


def test_a_full_report_is_one_valid_page_that_needs_nothing_else(full_run: Path, checked: Check) -> None:
    page = (full_run / "report.html").read_text()
    checker = checked(page)
    assert checker.tags.count("svg") == 6
    assert len(checker.labels) == 6
    assert all(len(label) > 30 for label in checker.labels)
    assert len(page) < 400_000


def test_the_first_line_says_that_data_is_synthetic(full_run: Path) -> None:
    page = (full_run / "report.html").read_text()
    text = re.sub(r"<[^>]*>", " ", page[page.index("<main>") :]).split()
    assert text[:2] == ["Synthetic", "data:"]


def test_the_numbers_of_the_run_stand_in_the_page(full_run: Path) -> None:
    page = (full_run / "report.html").read_text()
    values = json.loads((full_run / "metrics.json").read_text())
    for name in ("federated", "centralised", "local"):
        overall = values["models"][name]["overall"]
        assert f">{overall['macro_f1']:.3f}<" in page
        assert f">{overall['n_benign']:,}<" in page
        assert f">{values['models'][name]['spread']['macro_f1']['worst_tenth']:.3f}<" in page
    for row in values["models"]["federated"]["overall"]["confusion"]:
        assert all(f">{number:,}<" in page for number in row)
    assert "38.0 % *" in page
    assert "68.0 % *" not in page
    assert "2 of 40 rounds failed" in page
    assert "SrcMac" in page
    assert "5f1c09aa" in page
    assert "machine.cpu" in page
    assert "[algorithm]" in page


def test_the_headline_compares_as_the_numbers_do(full_run: Path) -> None:
    run = load(full_run)
    values = json.loads((full_run / "metrics.json").read_text())
    f1 = {name: values["models"][name]["overall"]["macro_f1"] for name in ("federated", "centralised", "local")}
    said = facts.headline(run)
    for name in ("centralised", "local"):
        points = 100 * (f1["federated"] - f1[name])
        assert f"{abs(points):.1f} points {'above' if points > 0 else 'below'}" in said


@pytest.mark.parametrize(
    ("better", "word"), [(0.9, "10.0 points above"), (0.7, "10.0 points below"), (0.8, "level with")]
)
def test_above_and_below_are_not_confused(
    tmp_path: Path, better: float, word: str, metrics: Metrics, write_run: WriteRun
) -> None:
    values = metrics(1, 3, 2, 3)
    values["models"]["federated"]["overall"]["macro_f1"] = better
    values["models"]["centralised"]["overall"]["macro_f1"] = 0.8
    values["models"]["local"] = None
    assert word in facts.headline(load(write_run(tmp_path / "run", values)))


def test_an_awkward_run_is_told_without_breaking_and_without_markup_from_names(
    tmp_path: Path, write_run: WriteRun, checked: Check, awkward: dict[str, Any]
) -> None:
    folder = write_run(tmp_path / "run", awkward)
    page = report(folder)
    checked(page)
    assert "ynthetic" not in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "There is no centralised model to compare with." in page
    assert "There is no local model to compare with." in page
    assert "No test row is of class" in page
    assert "No threshold was set in this run." in page
    assert not re.search(r"\bnan\b", page)
    assert "None" not in page
    assert page.count(">not measured<") == 1  # the panel of ROC-AUC
    assert ">not verifiable<" in page
    assert "benign test rows</dd>" in page
    assert "own local model" not in page


def test_a_minimal_run_names_what_is_missing(
    tmp_path: Path, write_run: WriteRun, checked: Check, minimal: dict[str, Any]
) -> None:
    folder = write_run(tmp_path / "run", minimal, rest=False)
    page = report(folder)
    assert checked(page).tags.count("svg") == 0
    for missing in (
        "could not be measured",
        "No learning curve",
        "no confusion matrix",
        "No rounds",
        "experiment.toml is missing",
    ):
        assert missing in page


def test_a_thousand_clients_and_nineteen_classes_stay_a_light_page(
    tmp_path: Path, metrics: Metrics, write_run: WriteRun, checked: Check
) -> None:
    page = report(write_run(tmp_path / "run", metrics(1, 1000, 19, 20)))
    checker = checked(page)
    assert len(page) < 900_000
    assert "900 more clients are in metrics.json" in page
    assert checker.tags.count("svg") == 6


def test_figures_follow_the_colours_of_the_page(full_run: Path) -> None:
    page = (full_run / "report.html").read_text()
    for figure in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL):
        assert "var(--ink)" in figure or "var(--muted)" in figure
        assert "#000000" not in figure
    assert "prefers-color-scheme: dark" in page
    used = set(re.findall(r"var\((--[\w-]+)", page))
    assert used - {"--tone"} <= set(re.findall(r"(--[\w-]+):", page))


def test_the_same_run_gives_the_same_page(full_run: Path) -> None:
    page = (full_run / "report.html").read_text()
    assert report(full_run) == page


@pytest.mark.parametrize("shape", [(12, 6), (60, 12)])
def test_the_picture_for_a_readme_is_one_wide_png(
    tmp_path: Path, shape: tuple[int, int], metrics: Metrics, write_run: WriteRun
) -> None:
    folder = write_run(tmp_path / "run", metrics(1, *shape, 10))
    data = figure_png(folder, tmp_path / "figure.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    assert int.from_bytes(data[16:20], "big") == 2100


def test_the_picture_of_an_awkward_run_is_drawn(
    tmp_path: Path, write_run: WriteRun, awkward: dict[str, Any], minimal: dict[str, Any]
) -> None:
    for number, values in enumerate((awkward, minimal)):
        folder = write_run(tmp_path / f"run{number}", values)
        assert figure_png(folder, tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_without_a_finished_run_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no metrics\.json"):
        write_report(tmp_path)
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(DataError, match=r"metrics\.json is damaged"):
        write_report(tmp_path)
    (tmp_path / "metrics.json").write_text('{"format": 9}')
    with pytest.raises(DataError, match="has format 9"):
        write_report(tmp_path)
    (tmp_path / "metrics.json").write_text("[1]")
    with pytest.raises(DataError, match="must hold a JSON object"):
        write_report(tmp_path)


@pytest.mark.parametrize(("clients", "worst"), [(1, 1), (10, 1), (11, 2), (100, 10)])
def test_the_worst_tenth_is_rounded_up_as_the_measures_do(clients: int, worst: int) -> None:
    assert worst_tenth(np.array([*np.linspace(0, 1, clients), np.nan])) == worst


def test_a_run_with_hostile_clients_says_who_what_and_why(
    metrics: Metrics, write_run: WriteRun, tmp_path: Path, checked: Check
) -> None:
    values = metrics(3, 6, 6, 12)
    values["attack"] = {"use": "model-replacement", "hostile": ["ward 1", EVIL], "backdoor_success": 0.25}
    values["models"]["root"] = {"rows": 300, "overall": values["models"]["local"]["overall"]}
    folder = write_run(tmp_path / "run", values)
    seen: list[events.Event] = [
        events.RowsJudged(1, (0.0, 1.0, -1.0), (0.5, -0.5, 0.0), (0.6, 0.4, 0.0), (5, 5, 5), ("row 2: 3 of 9 values",)),
        events.RowsJudged(2, (0.0, 1.0), (0.5, -0.5), (), (5, 5), ()),
        events.TrustSeen(1, (0.0, 0.9), (0.9, 0.6), ("active", "probation")),
        events.TrustSeen(2, (0.0, 1.0), (0.9, 0.3), ("active", "quarantined")),
        events.TrustMoved(2, EVIL, "probation", "quarantined", "in 14 of 15 rounds its cohort was rejected"),
        events.Note("rule.outlook", "rule mean <does> not hold"),
    ]
    log = JsonLog(folder / "log.jsonl", (folder / "log.jsonl").stat().st_size)
    for event in seen:
        log(event)
    log.close()
    page = write_report(folder).read_text()
    checker = checked(page)
    assert checker.tags.count("svg") == 8
    assert "in 14 of 15 rounds its cohort was rejected" in page
    assert "25.0%" in page
    assert "row 2: 3 of 9 values" in page
    assert "&lt;does&gt; not hold" in page
    assert "300 root rows" in page


def test_a_run_without_rows_to_compare_has_no_such_section(full_run: Path) -> None:
    assert "Hostile clients" not in (full_run / "report.html").read_text()


def test_quality_is_drawn_against_bytes_up_and_down_beside_whole_vectors(full_run: Path) -> None:
    run = load(full_run)
    dense = {"dense_up": 800_000, "dense_down": 400_000, "dense_setup": 100_000}
    coded = replace(run, metrics={**run.metrics, "bytes": {**run.part("bytes"), **dense}})
    rounds, curve = coded.rows("rounds"), coded.rows("curve")
    up, down, whole_up, whole_down = (np.asarray(line.get_xdata()) for line in _lines(coded))
    assert [list(up), list(down)] == [[point[key] for point in curve] for key in ("bytes_up", "bytes_down")]
    assert whole_up[-1] == 800_000 * sum(row["answered"] for row in rounds)
    assert whole_down[-1] == 400_000 * sum(row["invited"] for row in rounds) + 100_000 * rounds[0]["invited"]
    assert len(_lines(run)) == 2


def _lines(run: RunFiles) -> Sequence[Line2D]:
    """Of the panel that shows quality: solid lines, then dashed ones."""
    panel = figures_training.traffic(run).axes[2]
    return sorted(panel.get_lines(), key=lambda line: line.get_linestyle() != "-")
