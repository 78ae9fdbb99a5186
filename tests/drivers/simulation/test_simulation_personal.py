"""Three numbers per client: what a run says of the common and of the clients' own models."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulated import TINY, metrics, simulate  # type: ignore[import-not-found]

from wardround.config import parse
from wardround.drivers.simulation.personal import COUNTED, FalseAlarms, Traffic
from wardround.drivers.sources.hospital import Hospital
from wardround.drivers.sources.hospital_profiles import DEVICES
from wardround.drivers.strategies import full
from wardround.drivers.world import plan
from wardround.errors import ConfigError
from wardround.rng import stream
from wardround.training.bundle import from_safetensors
from wardround.training.limits import from_arrays
from wardround.training.task import Rows


def personal(tmp_path: Path, *sets: str) -> Any:
    return metrics(simulate(tmp_path, *sets))["personal"]


def test_without_strategies_the_own_model_is_the_common_one(tmp_path: Path) -> None:
    found = personal(tmp_path)
    assert (found["use"], found["prior"]) == ("none", "none")
    assert found["own"] == found["common"]
    assert found["late"] == []


@pytest.mark.parametrize("use", ["finetune", "fedper", "fedrep", "ditto", "apfl"])
def test_every_strategy_gives_each_client_a_model_of_its_own(tmp_path: Path, use: str) -> None:
    found = personal(tmp_path, f"personal.use={use}")
    assert len(found["clients"]) == 4
    assert any(row["own"] != row["common"] for row in found["clients"])
    for row in found["clients"]:
        assert all(value is None or 0 <= value <= 1 for value in row["own"].values())


def test_each_device_type_gets_a_head_of_its_own_and_false_alarms_are_told_by_type(tmp_path: Path) -> None:
    found = personal(tmp_path, "personal.use=typed", "personal.least=20", "rounds.count=6")
    assert any(row["own"] != row["common"] for row in found["clients"])
    names = [row["name"] for row in found["device_types"]]
    assert names
    assert set(names) <= set(DEVICES)
    for row in found["device_types"]:
        assert 0 <= row["own"] <= 1
        assert row["rows"] > 0


def test_false_alarms_are_benign_rows_called_an_attack() -> None:
    counts = {key: np.zeros(3, dtype=np.int64) for key in COUNTED}
    alarms = FalseAlarms(("pump", "monitor", "tablet"), 0, counts)
    rows = Rows(np.zeros((5, 2), np.float32), np.array([0, 0, 0, 1, 0]))
    calm, loud = (
        np.tile(np.array([[1.0, 0.0]], np.float32), (5, 1)),
        np.tile(np.array([[0.0, 1.0]], np.float32), (5, 1)),
    )
    alarms.add(Traffic(rows, np.array([0, 0, 1, 1, -1], np.int32)), {"common": loud, "own": calm})
    assert alarms.table() == [
        {"name": "pump", "rows": 2, "common": 1.0, "own": 0.0, "attacks": 0, "found": 0},
        {"name": "monitor", "rows": 1, "common": 1.0, "own": 0.0, "attacks": 1, "found": 0},
    ]


def test_a_typed_head_needs_data_that_knows_types() -> None:
    table = replace(Hospital(wards=2).load(None, stream(1, "data")), device_type=None, device_types=())
    for use in ("[personal]\nuse = 'typed'\n", "[algorithm]\nuse = 'type-heads'\n"):
        with pytest.raises(ConfigError, match="which this data does not say"):
            plan(parse(TINY + use, full()), table)


def test_shared_heads_are_the_output_layers_parameters(tmp_path: Path) -> None:
    found = metrics(simulate(tmp_path, "algorithm.use=type-heads", "algorithm.clusters=6", "data.clients=device"))
    single = metrics(simulate(tmp_path / "one", "data.clients=device"))
    assert found["model"]["parameters"] == 6 * single["model"]["parameters"]
    more = found["bytes"]["up_per_client"] - single["bytes"]["up_per_client"]
    head = 8 * 6 + 6
    assert 4 * 4 * 5 * head <= more < 1.2 * 4 * 4 * (5 * head + 6)


def test_a_prior_correction_changes_decisions_and_moves_no_byte(tmp_path: Path) -> None:
    plain, corrected = (metrics(simulate(tmp_path / name, f"prior.use={name}")) for name in ("none", "client"))
    assert corrected["bytes"] == plain["bytes"]
    assert corrected["models"]["federated"] == plain["models"]["federated"]
    assert corrected["personal"]["common"] == plain["personal"]["common"]
    assert corrected["personal"]["own"] != corrected["personal"]["common"]


def test_late_clients_never_train_and_get_a_curve(tmp_path: Path) -> None:
    found = metrics(
        simulate(tmp_path, "evaluation.late_clients=0.25", "personal.use=finetune", "participation.minimum=2")
    )
    late = found["personal"]["late"]
    assert [point["rows"] for point in late] == [0, 10, 30, 100, 300, 1000]
    assert late[0]["own"] == late[0]["common"]
    assert len(found["personal"]["clients"]) == 3
    assert all(row["answered"] <= 3 for row in found["rounds"])
    assert np.isfinite(late[-1]["own"]["macro_f1"]["mean"])


@pytest.mark.parametrize("use", ["soft", "histograms", "moon", "type-heads"])
def test_a_secure_sum_gives_what_an_open_one_gives(tmp_path: Path, use: str) -> None:
    more = ["algorithm.clusters=2"] if use != "moon" else []
    more += ["algorithm.warm=1"] if use == "histograms" else []
    sets = [f"algorithm.use={use}", *more, "data.wards=6", "rounds.count=3", "participation.minimum=2"]
    plain = metrics(simulate(tmp_path / "plain", *sets))
    secured = metrics(simulate(tmp_path / "lattice", *sets, "secagg={use='lattice', minimum=2}", "auth={use='none'}"))
    losses = [[row["loss"] for row in found["rounds"]] for found in (plain, secured)]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_clusters_too_small_for_a_secure_sum_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="3 clusters of at least 2 clients do not fit a cohort of 4"):
        simulate(tmp_path, "algorithm.use=ifca", "secagg={use='lattice', minimum=2}", "participation.minimum=2")


def test_clusters_give_each_client_the_model_that_fits_it(tmp_path: Path) -> None:
    found = metrics(simulate(tmp_path, "algorithm.use=ifca", "algorithm.clusters=2"))
    single = metrics(simulate(tmp_path / "one"))
    assert found["model"]["parameters"] == 2 * single["model"]["parameters"]
    assert 0 < found["models"]["federated"]["overall"]["macro_f1"] < 1


def test_a_noisy_type_is_quietened_and_no_type_alarms_more(tmp_path: Path) -> None:
    sets = ("data.wards=6", "data.windows_per_device=200", "split.validation=0.3", "rounds.count=12")
    plain = personal(tmp_path, *sets)["device_types"]
    run = simulate(tmp_path / "even", *sets, "types.even=true", "types.gateways=1", "types.strength=5")
    even = metrics(run)["personal"]["device_types"]
    assert [row["name"] for row in even] == [row["name"] for row in plain]
    assert all(one["common"] <= other["common"] for one, other in zip(even, plain, strict=True))
    assert any(one["common"] < other["common"] for one, other in zip(even, plain, strict=True))
    assert max(row["common"] for row in even) < max(row["common"] for row in plain)
    limits = from_arrays(from_safetensors((run.path / "model" / "model.safetensors").read_bytes()).arrays)
    assert limits
    assert set(limits) <= set(DEVICES)


def test_limits_of_types_are_the_same_under_a_secure_sum_and_respect_its_least_set(tmp_path: Path) -> None:
    sets = ("data.wards=6", "data.devices_per_ward=6", "split.validation=0.3", "rounds.count=8", "auth={use='none'}")
    found = list[dict[str, float]]()
    for more in ("secagg={use='plain'}", "secagg={use='lattice', minimum=3}"):
        run = simulate(tmp_path / str(len(found)), *sets, "types={even=true, strength=5}", more)
        found.append(from_arrays(from_safetensors((run.path / "model" / "model.safetensors").read_bytes()).arrays))
    mine, theirs = found
    assert max(mine.values()) > 0.5
    assert theirs == pytest.approx(mine, abs=0.21), "two bins: the models differ by the lattice's rounding"
    experiment = parse(TINY.replace('use = "plain"', 'use = "lattice"\nminimum = 4') + "[types]\neven = true\n", full())
    assert plan(experiment, Hospital(wards=2).load(None, stream(1, "data"))).limits.gateways == 4


def test_limits_need_types_and_a_benign_class() -> None:
    table = replace(Hospital(wards=2).load(None, stream(1, "data")), device_type=None, device_types=())
    with pytest.raises(ConfigError, match="which this data does not say"):
        plan(parse(TINY + "[types]\neven = true\n", full()), table)
