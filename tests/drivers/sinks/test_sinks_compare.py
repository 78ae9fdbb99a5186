from __future__ import annotations

import io
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from wardround.drivers.sinks.compare import compare, render, spread, write_comparison
from wardround.drivers.sinks.runfiles import load
from wardround.errors import DataError, UsageError

EVIL = '<script>alert("$x^$")</script>&'
Metrics = Callable[[int, int, int, int], dict[str, Any]]
Check = Callable[[str], Any]
WriteRun = Callable[..., Path]
Runs = Callable[..., list[Path]]


@pytest.fixture
def runs(tmp_path: Path, metrics: Metrics, write_run: WriteRun) -> Runs:
    """(seed, rounds) each."""

    def make(*shapes: tuple[int, int]) -> list[Path]:
        return [write_run(tmp_path / f"r{at}", metrics(seed, 5, 3, rounds)) for at, (seed, rounds) in enumerate(shapes)]

    return make


def text(folders: list[Path]) -> str:
    file = io.StringIO()
    Console(file=file, width=140, color_system=None).print(render(compare(folders)))
    return file.getvalue()


def test_seeds_of_one_experiment_are_one_group_with_mean_and_sample_deviation(runs: Runs) -> None:
    folders = runs((1, 10), (2, 10), (3, 10))
    (group,) = compare(folders).groups
    f1 = [load(folder).metrics["models"]["federated"]["overall"]["macro_f1"] for folder in folders]
    found = group.measures["macro-F1, federated"]
    assert group.seeds == (1, 2, 3)
    assert found.n == 3
    assert found.mean == pytest.approx(sum(f1) / 3)
    assert found.std == pytest.approx(statistics.stdev(f1))
    assert compare(folders).differing == ()
    assert "do not differ but for the seed" in text(folders)


def test_other_keys_make_other_groups_and_are_listed(runs: Runs) -> None:
    comparison = compare(runs((1, 10), (2, 20), (3, 10)))
    assert [group.seeds for group in comparison.groups] == [(1, 3), (2,)]
    assert comparison.differing == (("rounds.count", ("10", "20")),)
    assert [group.label for group in comparison.groups] == ["demo #1", "demo #2"]


def test_one_seed_twice_is_not_two_samples(runs: Runs) -> None:
    comparison = compare(runs((1, 10), (1, 10), (2, 10)))
    assert [group.seeds for group in comparison.groups] == [(1, 2), (1,)]
    assert comparison.groups[1].measures["macro-F1, federated"].std is None


def test_the_console_shows_spread_where_there_is_one_and_marks_hints(runs: Runs) -> None:
    shown = text(runs((1, 10), (2, 10), (3, 20)))
    line = next(line for line in shown.splitlines() if "macro-F1, federated" in line)
    assert line.count("±") == 1
    assert "38.0 % *" in shown
    assert "not verifiable" in shown


def test_the_page_is_valid_and_escapes_names(
    tmp_path: Path, runs: Runs, metrics: Metrics, write_run: WriteRun, checked: Check
) -> None:
    values = metrics(1, 5, 3, 8)
    values["experiment"] = EVIL
    folders = [write_run(tmp_path / "evil", values), *runs((1, 10), (2, 10))]
    out = write_comparison(folders, tmp_path / "compare.html")
    page = out.read_text()
    checker = checked(page)
    assert checker.tags.count("svg") == 1
    assert "<script" not in page
    assert "rounds.count" in page


def test_runs_without_measures_are_dashes_not_errors(
    tmp_path: Path, write_run: WriteRun, checked: Check, minimal: dict[str, Any]
) -> None:
    folder = write_run(tmp_path / "run", minimal, rest=False)
    assert "–" in text([folder])
    checked(write_comparison([folder], tmp_path / "compare.html").read_text())


def test_spread_leaves_out_what_is_missing() -> None:
    assert spread([1.0, None, 3.0]).mean == 2.0
    assert spread([None]).mean is None
    assert spread([5.0]).std is None


def test_nothing_to_compare_and_damaged_experiments_are_clear_errors(runs: Runs) -> None:
    with pytest.raises(UsageError, match="at least one run"):
        compare([])
    (folder,) = runs((1, 10))
    (folder / "experiment.toml").write_text("= nonsense")
    with pytest.raises(DataError, match="is damaged"):
        compare([folder])
