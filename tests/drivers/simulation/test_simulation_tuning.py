"""`wardround tune`: a real search over a small hospital, stopped and gone on with."""

import json
from pathlib import Path
from typing import Any

import pytest

from wardround.config import parse
from wardround.drivers.simulation.strategies import simulated
from wardround.drivers.simulation.tuning import Budget, Vary, Wish, tune, usual, vary
from wardround.errors import UsageError
from wardround.events import ignore

pytest.importorskip("optuna", reason="needs the extra wardround[tune]")
TEXT = """
name = "tuned"
seed = 3
[data]
use = "hospital"
wards = 4
devices_per_ward = 3
windows_per_device = 24
[partition]
use = "natural"
[model]
use = "logistic"
[secagg]
use = "plain"
[auth]
use = "none"
[training]
learning_rate = 0.0001
[rounds]
count = 4
measure_every = 2
"""


def wish(folder: Path, trials: int, **more: Any) -> Wish:
    what = more.pop(
        "vary", (Vary("training.learning_rate", 0.0001, 0.5), Vary("training.batch_size", 8, 32, whole=True))
    )
    return Wish(more.pop("text", TEXT), "tuned.toml", what, Budget(trials), folder, None)


def test_a_search_beats_a_bad_file_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    first = tune(wish(tmp_path, 3), ignore)
    assert first.trials == 3
    more = tune(wish(tmp_path, 5), ignore)
    assert more.trials == 5
    assert more.value >= first.value
    assert more.value > more.as_it_stands + 0.05
    best = parse((tmp_path / "best.toml").read_text(), simulated(), "best.toml")
    assert best.training.learning_rate == float(more.settings["training.learning_rate"])
    rows = json.loads((tmp_path / "trials.json").read_text())
    assert [row["number"] for row in rows] == [0, 1, 2, 3, 4]


def test_the_same_seed_tries_the_same_settings(tmp_path: Path) -> None:
    tune(wish(tmp_path / "a", 3), ignore)
    tune(wish(tmp_path / "b", 3), ignore)
    a, b = (json.loads((tmp_path / name / "trials.json").read_text()) for name in "ab")
    assert a == b


def test_settings_that_the_experiment_refuses_are_a_failed_trial(tmp_path: Path) -> None:
    found = tune(wish(tmp_path, 2, vary=(Vary("algorithm.use", choices=("nonsense",)),)), ignore)
    rows = json.loads((tmp_path / "trials.json").read_text())
    assert rows[1]["state"] == "FAIL"
    assert "nonsense" in rows[1]["refused"]
    assert found.settings == {}


def test_a_folder_with_another_study_is_refused(tmp_path: Path) -> None:
    tune(wish(tmp_path, 1), ignore)
    with pytest.raises(UsageError, match="another experiment"):
        tune(wish(tmp_path, 1, text=TEXT.replace("seed = 3", "seed = 4")), ignore)


def test_what_is_to_vary_is_read_from_the_command_line() -> None:
    assert vary("training.learning_rate=0.01..0.3") == Vary("training.learning_rate", 0.01, 0.3)
    assert vary("training.epochs=1..4") == Vary("training.epochs", 1, 4, whole=True)
    assert vary("rounds.weighting=rows|sqrt") == Vary("rounds.weighting", choices=("rows", "sqrt"))
    for bad in ("training.epochs", "training.epochs=3", "training.epochs=4..1", "=1..2", "x=a..b"):
        with pytest.raises(UsageError, match="should be TABLE"):
            vary(bad)


def test_the_usual_settings_are_those_of_the_experiments_strategies() -> None:
    fedprox = parse(TEXT + '[algorithm]\nuse = "fedprox"\n', simulated(), "x")
    keys = {one.key for one in usual(fedprox)}
    assert {"training.learning_rate", "algorithm.mu", "server.momentum"} <= keys
    assert "algorithm.mu" not in {one.key for one in usual(parse(TEXT, simulated(), "x"))}
