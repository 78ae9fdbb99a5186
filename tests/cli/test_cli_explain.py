"""`wardround explain compress FILE` and `wardround explain secagg`."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from wardround.cli.everything import app
from wardround.errors import ConfigError, UsageError

FILE = """
name = "explained"
[data]
use = "hospital"
wards = 4
windows_per_device = 30
[partition]
use = "natural"
[model]
use = "mlp"
hidden = [16]
"""


def said(tmp_path: Path, more: str, *arguments: str) -> str:
    path = tmp_path / "file.toml"
    path.write_text(FILE + more)
    result = CliRunner().invoke(app, ["explain", arguments[0], str(path), *arguments[1:]])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0
    return result.output


def test_bytes_are_told_before_anything_runs(tmp_path: Path) -> None:
    text = said(tmp_path, '[compress]\nup = [{use = "importance", share = 0.1}]\ndown = ["int"]\n', "compress")
    assert "up, dense" in text
    assert "importance(share=0.1" in text
    assert "bytes of shares, tags, commitments and proof" in text
    assert "sharing values takes" in text
    assert "down: int(bits=8" in text


def test_a_budget_says_what_each_class_gets(tmp_path: Path) -> None:
    table = '[secagg]\nuse = "plain"\n[compress]\nbudget_bytes = 400\nclasses = ["slow"]\nclass_bytes = [60]\nclass_clients = ["ward-1*"]\n'
    text = said(tmp_path, table, "compress")
    assert "up (slow): error-feedback" in text


def test_what_does_not_fit_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="too few"):
        said(tmp_path, "[compress]\nbudget_bytes = 1\n", "compress")
    with pytest.raises(ConfigError, match="'top-k' is not linear"):
        said(tmp_path, '[compress]\nup = ["top-k"]\n', "compress")
    with pytest.raises(ConfigError, match="should be a list of tables"):
        said(tmp_path, '[compress]\nup = "top-k"\n', "compress")
    path = tmp_path / "real.toml"
    path.write_text('name = "x"\n[data]\nuse = "iot-23"\n[partition]\nuse = "natural"\n')
    result = CliRunner(env={"WARDROUND_DATA": ""}).invoke(app, ["explain", "compress", str(path)])
    assert isinstance(result.exception, UsageError)
    assert "name their folder" in str(result.exception)


def test_the_planner_s_choice_is_told(tmp_path: Path) -> None:
    assert "sharing values takes" in said(tmp_path, "", "secagg", "--clients", "50", "--values", "251")
    assert "sharing keys takes" in said(tmp_path, "", "secagg", "--clients", "50", "--values", "20000")
