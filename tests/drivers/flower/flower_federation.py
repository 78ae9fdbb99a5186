"""A small hospital over the in-process Grid, and the same one in the simulation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from flwr.app import Message
from safetensors.numpy import load_file

from wardround.config import override
from wardround.drivers.flower.apps import client_app, server_app
from wardround.drivers.flower.exchange import Clock
from wardround.drivers.flower.local import Config, LocalGrid, run_local
from wardround.drivers.simulation import run as simulation
from wardround.drivers.sinks.jsonlog import read
from wardround.events import Event, ignore
from wardround.training import bundle

TINY = """
name = "tiny"
seed = 3
[data]
use = "hospital"
wards = 4
devices_per_ward = 3
windows_per_device = 40
labels = "6class"
[split]
use = "stratified"
[partition]
use = "natural"
[scaling]
use = "quantile"
bins = 64
[model]
use = "mlp"
hidden = [8]
[training]
batch_size = 32
learning_rate = 0.1
[rounds]
count = 4
measure_every = 2
[participation]
minimum = 2
[secagg]
use = "plain"
[auth]
use = "none"
[evaluation]
centralised = false
local = false
"""


class Virtual:
    """A clock that stands still until somebody sleeps."""

    def __init__(self) -> None:
        self.at = 0.0

    def tick(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds

    @property
    def clock(self) -> Clock:
        return Clock(self.tick, self.tick, self.sleep)


class Weather(LocalGrid):
    """A Grid whose deliveries ``happens`` decides; ``seen`` keeps the messages."""

    def __init__(
        self, *arguments: Any, happens: Callable[[Message, Callable[[Message], Message | None]], Message | None]
    ) -> None:
        super().__init__(*arguments)
        self.happens, self.seen = happens, list[Message]()

    def deliver(self, message: Message) -> Message | None:
        self.seen.append(message)
        return self.happens(message, super().deliver)


class Lab:
    """An app folder, four nodes, and the server's state folder."""

    def __init__(self, folder: Path, *sets: str, nodes: Sequence[Config] | None = None, **config: Any) -> None:
        self.file = folder / "experiment.toml"
        self.text = override(TINY, list(sets), "tiny.toml")
        self.file.write_text(self.text, encoding="utf-8")
        self.state = folder / "state"
        self.nodes = nodes or [{"partition-id": index} for index in range(4)]
        self.config = {"state": str(self.state), "deadline-s": 30.0, "gather-s": 60.0, "poll-s": 1.0, **config}
        self.clock = Virtual()

    def grid(self, run_id: int = 1) -> LocalGrid:
        return LocalGrid(client_app(self.file), self.nodes, self.config, run_id)

    def weather(self, happens: Any) -> Weather:
        return Weather(client_app(self.file), self.nodes, self.config, happens=happens)

    def run(self, grid: LocalGrid | None = None) -> dict[str, np.ndarray[Any, Any]]:
        """The model of a whole run."""
        run_local(server_app(self.file, self.clock.clock), grid or self.grid(), self.config)
        return self.model()

    def model(self) -> dict[str, np.ndarray[Any, Any]]:
        found: dict[str, np.ndarray[Any, Any]] = load_file(self.state / "model.safetensors")
        return found

    def events(self) -> list[Event]:
        return list(read(self.state / "log.jsonl"))

    def simulated(self, folder: Path) -> dict[str, np.ndarray[Any, Any]]:
        # the report and the ONNX file cost more than the tiny federation, and nobody looks at them here
        with patch.object(simulation, "write_report"), patch.object(bundle, "to_onnx", return_value=b""):
            run = simulation.start_run(
                self.text, "tiny.toml", simulation.Options(None, folder, None, "simulate"), ignore
            )
        found: dict[str, np.ndarray[Any, Any]] = load_file(run.model / "model.safetensors")
        return found


def far(a: dict[str, np.ndarray[Any, Any]], b: dict[str, np.ndarray[Any, Any]]) -> float:
    """Largest difference between two models, over all tensors."""
    assert a.keys() == b.keys()
    return max(float(np.abs(a[name].astype(np.float64) - b[name]).max()) for name in a)
