"""Asynchronous rounds in the simulation: virtual time, slow sites, secure buffers, resume to the bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulated import events, resume, simulate  # type: ignore[import-not-found]

from wardround.config import parse
from wardround.drivers.strategies import full
from wardround.errors import ConfigError, Stopped
from wardround.events import CheckpointSaved, Note, RoundDone
from wardround.training.bundle import from_safetensors

SLOW = (
    "data.wards=12",
    "data.devices_per_ward=1",
    "weather.stragglers=0.3",
    "weather.slowdown=8.0",
    "asynchronous.buffer=4",
    "rounds.count=8",
    "auth.use=none",
)


def parameters(run: Any) -> Any:
    return from_safetensors((run.path / "model" / "model.safetensors").read_bytes()).parameters


def test_a_buffer_of_everybody_is_the_synchronous_federation(tmp_path: Path) -> None:
    plain = simulate(tmp_path / "a", "auth.use=none")
    wide = simulate(tmp_path / "b", "asynchronous.buffer=4", "auth.use=none")
    rounds = [e for e in events(wide) if isinstance(e, RoundDone)]
    assert [e.answered for e in rounds] == [e.answered for e in events(plain) if isinstance(e, RoundDone)]
    assert np.abs(parameters(wide) - parameters(plain)).max() < 1e-6  # summed in the order in which they were ready


def test_slow_sites_come_in_late_and_count_less(tmp_path: Path) -> None:
    run = simulate(tmp_path, *SLOW)
    rounds = [e for e in events(run) if isinstance(e, RoundDone)]
    assert [e.round for e in rounds] == list(range(1, 9))
    assert all(e.answered == 4 for e in rounds)
    told = [e.text for e in events(run) if isinstance(e, Note) and e.code == "buffer.combined"]
    assert len(told) == 8
    ages = [int(word.strip("[],")) for text in told for word in text.split(": ")[-1].split(", ")]
    assert max(ages) >= 2
    assert min(ages) == 0


@pytest.mark.parametrize("use", ["plain", "lattice"])
def test_a_stopped_run_ends_as_if_it_had_not_been(tmp_path: Path, use: str) -> None:
    sets = (*SLOW, f"secagg.use={use}", "weather.dropout=0.1", "weather.offline=0.1")
    whole = simulate(tmp_path / "whole", *sets)
    seen = 0

    def stop(event: Any) -> None:
        nonlocal seen
        if isinstance(event, CheckpointSaved):
            seen += 1
            if seen == 5:
                raise Stopped

    with pytest.raises(Stopped):
        simulate(tmp_path / "cut", *sets, emit=stop)
    from wardround.drivers.store.rundir import RunDir

    (folder,) = (tmp_path / "cut").iterdir()
    again = resume(RunDir(folder))
    assert np.array_equal(parameters(again), parameters(whole))


def test_secure_buffers_end_within_the_quantisers_error_of_plain_ones(tmp_path: Path) -> None:
    plain = simulate(tmp_path / "a", *SLOW)
    secure = simulate(tmp_path / "b", *SLOW, "secagg.use=lattice")
    assert all(e.answered == 4 for e in events(secure) if isinstance(e, RoundDone))
    assert 0 < np.abs(parameters(secure) - parameters(plain)).max() < 0.05


@pytest.mark.parametrize(
    ("sets", "text"),
    [
        (
            "[asynchronous]\nbuffer = 5\n[algorithm]\nuse = 'scaffold'",
            "use fedavg, fedprox, fednova, moon, or set buffer = 0",
        ),
        ("[asynchronous]\nbuffer = 5\n[compress]\nup = [{use = 'int'}]", "leave .compress. out, or set buffer = 0"),
        ("[asynchronous]\nbuffer = 3", "minimum = 4"),
        ("[asynchronous]\nbuffer = -1", "buffer must be 0 or more"),
    ],
)
def test_what_does_not_fit_is_said(sets: str, text: str) -> None:
    toml = f'name = "x"\n[data]\nuse = "hospital"\n[partition]\nuse = "natural"\n[secagg]\nuse = "plain"\n{sets}\n'
    if "scaffold" in sets:
        toml += "[training]\noptimiser = 'sgd'\nmomentum = 0.0\n"
    with pytest.raises(ConfigError, match=text):
        parse(toml, full())
