"""``wardround data``: what it prints about a data set, at 80 columns, and its errors."""

from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from wardround.cli.data import app
from wardround.drivers.sources.listed import SOURCES
from wardround.errors import DataError


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """400 rows: ``mac`` is the label, ``noise`` says nothing, ``site`` never changes, two values are damaged, one row repeats."""
    rows = ["mac,noise,site,a-column-with-a-rather-long-name-that-has-to-be-folded-somewhere-in-a-narrow-table,label"]
    for i in range(400):
        attack = i % 4 == 0
        noise = "" if i == 7 else "inf" if i == 9 else str(i * 7919 % 401)
        rows.append(f"{'aa' if attack else 'bb'},{noise},1,{i * 104729 % 397},{'attack' if attack else 'normal'}")
    rows.append(rows[5])
    path = tmp_path / "planted.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def section(output: str, title: str) -> str:
    return output.split(f"\n{title}", 1)[1].split("\n\n", 1)[0]


def test_inspect_prints_each_section(planted: Path) -> None:
    result = run("inspect", str(planted))
    assert result.exit_code == 0, result.output
    out = result.output
    assert "unknown data set, 1 file, 401 rows, 4 columns" in out
    classes = section(out, "Classes (label: label)")
    assert "attack" in classes
    assert "normal traffic" in next(line for line in classes.splitlines() if line.startswith("normal"))
    columns = section(out, "Columns")
    assert next(line for line in columns.splitlines() if line.startswith("noise")).split()[1:3] == ["1", "1"]
    assert "constant: site" in columns
    assert "1 rows (0.2%) repeat an earlier one" in section(out, "Duplicates")
    assert "none told by the files" in section(out, "Natural clients")


def test_inspect_marks_the_column_that_is_the_label(planted: Path) -> None:
    leaks = section(run("inspect", str(planted)).output, "Columns that predict the label on their own")
    lines = {line.split()[0]: line.split() for line in reversed(leaks.splitlines()) if line.strip()}
    assert lines["mac"][1] == "LEAK"
    assert lines["mac"][3:6] == ["1.000", "0.500", "1.000"]
    assert "LEAK" not in lines["noise"]
    assert "mac parts: {attack} | {normal}" in leaks
    assert "LEAK: alone it gives the label away" in leaks


def test_all_shows_every_column(planted: Path) -> None:
    assert "site" not in section(run("inspect", str(planted)).output, "Columns").split("constant")[0]
    assert "site" in section(run("inspect", str(planted), "--all").output, "Columns").split("constant")[0]


def test_tables_stay_within_80_columns(planted: Path) -> None:
    for arguments in (("inspect", str(planted), "--all"), ("sources",)):
        lines = run(*arguments).output.splitlines()
        assert max(len(line) for line in lines if str(planted) not in line) <= 80


def test_a_label_of_ones_own_and_one_class_only(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("x,outcome\n" + "\n".join(f"{i},quiet" for i in range(60)) + "\n")
    with pytest.raises(DataError, match="--label COLUMN"):
        CliRunner().invoke(app, ["inspect", str(path)], catch_exceptions=False)
    out = run("inspect", str(path), "--label", "outcome").output
    assert "one class only: nothing to predict" in out
    assert "- no class looks like normal traffic" in section(out, "Notes")


def test_nothing_marked_is_not_called_honest(tmp_path: Path) -> None:
    path = tmp_path / "dull.csv"
    path.write_text(
        "x,label\n" + "\n".join(f"{i * 7 % 5},{'normal' if i % 3 else 'attack'}" for i in range(300)) + "\n"
    )
    assert "No column is marked. That does not prove the data honest." in run("inspect", str(path)).output


def test_sources_lists_every_data_set_with_its_keys() -> None:
    out = run("sources").output
    for name in SOURCES:
        assert f'use = "{name}"' in out
    assert 'device = "Fridge"' in out
    assert out.count("embedded: needs no --data") == 2  # the hospital and the lab


def test_names_from_a_file_are_no_markup(tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    path.write_text(
        "[bold]x[/bold],label\n" + "\n".join(f"{i % 5},{'normal' if i % 3 else '[red]'}" for i in range(90))
    )
    out = run("inspect", str(path)).output
    assert "[bold]x[/bold]" in out
    assert "[red]" in out
